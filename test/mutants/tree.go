package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a deliberate bug.
type mutant struct {
	title  string // within its room, a few words
	file   string // in the tree
	old    string // exactly once in the file
	new    string
	breaks string // what it breaks, in a sentence
}

// dir is the package it is in.
func (m mutant) dir() string { return filepath.Dir(m.file) }

// testedBy is the packages whose tests are run: the simulator first, where the room is one that its machines are made of.
func (m mutant) testedBy() []string {
	switch dir := m.dir(); dir {
	case "netman", "netman/trust":
		return []string{dir}
	default:
		return []string{simulator, dir}
	}
}

// name is the room and the title.
func (m mutant) name() string { return filepath.Base(m.dir()) + ": " + m.title }

// tree is a copy of the project that mutants are put into.
type tree struct{ dir string }

// copied is what the tests of the mutants' rooms need of the project.
var copied = []string{"go.mod", "go.sum", "doc", "x25", "ether", "circuit", "netman", "test/lab"}

// findRoot is the project's directory: the one with go.mod, here or above.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(text), "module dnet\n") {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("not within the project: no go.mod of dnet here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// copyTree copies the project.
func copyTree(root, dir string) (*tree, error) {
	for _, each := range copied {
		err := filepath.WalkDir(filepath.Join(root, each), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(dir, strings.TrimPrefix(path, root))
			if d.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o644)
		})
		if err != nil {
			return nil, err
		}
	}
	return &tree{dir}, nil
}

// apply puts the mutant into the tree. restore takes it out again.
func (t *tree) apply(m mutant) (restore func(), err error) {
	path := filepath.Join(t.dir, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return nil, fmt.Errorf("its text is %d times in %s, not once: the list must follow the code", n, m.file)
	}
	err = os.WriteFile(path, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644)
	return func() { os.WriteFile(path, text, 0o644) }, err
}
