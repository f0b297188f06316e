package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The token of each session that may be taken up again is in a file of its own, readable to its user only,
// ~/.local/state/dnet/ncu/MACHINE.RANDOM, which is locked as long as an ncu has the session.

// tokenFile is such a file, open and locked.
type tokenFile struct{ f *os.File }

func tokenDirectory() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "dnet", "ncu"), nil
}

// saveToken keeps a token for a later `ncu -r`.
func saveToken(machine string, t token) (*tokenFile, error) {
	dir, err := tokenDirectory()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	forgetOld(dir)
	f, err := os.CreateTemp(dir, machine+".*")
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = fmt.Fprintf(f, "%x\n", t)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return &tokenFile{f}, nil
}

// forgetOld removes the files of sessions that nobody keeps any more.
func forgetOld(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < maxKeep {
			continue
		}
		if t, _, err := openToken(name); err == nil { // not one that an ncu has
			t.forget()
		}
	}
}

// forget removes the file: the session is over.
func (t *tokenFile) forget() {
	if t != nil {
		os.Remove(t.f.Name())
		t.f.Close()
	}
}

var errNoToken = errors.New("there is no session to take up again")

// findTokens opens the files of sessions on a machine that no ncu has, the latest first.
func findTokens(machine string) (files []*tokenFile, tokens []token, err error) {
	dir, err := tokenDirectory()
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	var names []string
	for _, e := range entries {
		if of, _, _ := strings.Cut(e.Name(), "."); of == machine {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(names, later)
	inUse := 0
	for _, name := range names {
		f, t, err := openToken(name)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			inUse++
		case err != nil:
			return files, tokens, err
		default:
			files, tokens = append(files, f), append(tokens, t)
		}
	}
	if len(files) == 0 && inUse > 0 {
		return nil, nil, fmt.Errorf("%w: %d of yours are in use", errNoToken, inUse)
	}
	if len(files) == 0 {
		return nil, nil, errNoToken
	}
	return files, tokens, nil
}

// later orders files by their time, the latest first.
func later(a, b string) int {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	if err1 != nil || err2 != nil {
		return strings.Compare(a, b)
	}
	return y.ModTime().Compare(x.ModTime())
}

func openToken(name string) (*tokenFile, token, error) {
	var t token
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, t, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, t, err
	}
	text := make([]byte, 2*tokenLength+1)
	n, _ := f.Read(text)
	octets, err := hex.DecodeString(string(bytes.TrimSpace(text[:n])))
	if err != nil || len(octets) != tokenLength {
		f.Close()
		return nil, t, fmt.Errorf("%s: not a token; remove it", name)
	}
	copy(t[:], octets)
	return &tokenFile{f}, t, nil
}
