// Package dnet_test holds the rules of the house as tests: which package may import which, what pure packages may
// not do, how long a function may be, that every package says what it is for. See doc/hacking.md.
package dnet_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// policy says what a package of the project may import, of the project and from outside; the standard library is free, except for
// pure packages. "*" stands for a command: nothing imports it. This is a statement of policy: do not widen it to fix a build.
var policy = map[string]string{
	// Protocol cores: leaves, and pure.
	"x25":          "",
	"netman/hdlc":  "",
	"netman/names": "",
	"netman/seal":  "github.com/flynn/noise",
	"netman/node":  "netman/hdlc netman/names netman/seal x25",
	"netman/trust": "",
	"netman/sim":   "netman/hdlc netman/names netman/node netman/seal x25",

	// Shared by commands.
	"ether":               "github.com/mdlayher/packet golang.org/x/net golang.org/x/sys",
	"circuit":             "x25 golang.org/x/sys",
	"circuit/circuittest": "circuit x25 golang.org/x/sys",
	"session":             "circuit github.com/creack/pty golang.org/x/sys",

	// Commands.
	"netman": "* circuit ether netman/fusedev netman/hdlc netman/rawcall netman/names netman/node netman/seal netman/trust x25 " +
		"github.com/BurntSushi/toml github.com/elastic/go-seccomp-bpf github.com/spf13/cobra golang.org/x/sys",
	"netman/fusedev": "github.com/hanwen/go-fuse golang.org/x/sys",
	"netman/rawcall": "golang.org/x/sys",
	"rx":             "* circuit session golang.org/x/sys",
	"ncu":            "* circuit session golang.org/x/sys",

	// Tests with real processes.
	"test":         "circuit ether x25 test/lab golang.org/x/sys",
	"test/lab":     "golang.org/x/sys",
	"test/demo":    "* test/lab golang.org/x/sys",
	"test/mutants": "*",
	"test/bench":   "* circuit ether x25 test/lab golang.org/x/sys",
	".":            "",
}

// inTests is what any test may import besides.
const inTests = "google.golang.org/grpc test/lab circuit/circuittest pgregory.net/rapid github.com/rogpeppe/go-internal golang.org/x/net golang.org/x/sys"

// pure packages have no I/O, clock, goroutine, channel or lock: the same input gives the same output, in the daemon and in the simulator.
var pure = map[string]bool{"x25": true, "netman/hdlc": true, "netman/names": true, "netman/seal": true, "netman/node": true, "netman/trust": true}

// pureImports is what a pure package may import of the standard library.
const pureImports = "bytes encoding/binary errors fmt math/bits slices sort strings time"

// sealImports is what package seal, whose business is cryptography, may import besides: no source of random numbers (crypto/rand) is among
// it, they are read from the io.Reader that it is given.
const sealImports = "cmp crypto/aes crypto/cipher crypto/ecdh crypto/hkdf crypto/hmac crypto/sha256 encoding/base64 io github.com/flynn/noise"

// clocks are the functions of package time that read a clock, or wait for one.
const clocks = "After AfterFunc NewTicker NewTimer Now Since Sleep Tick Until"

// lines is how long a function may be.
const lines = 70

// source is one Go file of the project.
type source struct {
	path, dir string // slashes; dir is "." for the root
	test      bool
	text      []byte
	file      *ast.File
	at        func(token.Pos) string
	line      func(token.Pos) int
}

// sources parses every Go file of the project.
func sources(t *testing.T) (all []source) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{
			path: filepath.ToSlash(name), dir: path.Dir(filepath.ToSlash(name)), test: strings.HasSuffix(name, "_test.go"),
			text: text, file: file,
			at:   func(p token.Pos) string { return set.Position(p).String() },
			line: func(p token.Pos) int { return set.Position(p).Line },
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d Go files were found", len(all))
	}
	return all
}

// imports calls f for each import of a file.
func (s source) imports(f func(name, at string)) {
	for _, spec := range s.file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		f(name, s.at(spec.Pos()))
	}
}

// outside reports whether an import is neither the project's nor the standard library's.
func outside(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.Contains(first, ".")
}

// listed reports whether a name, or the module that it is in, is in a list of words.
func listed(name, list string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(w string) bool {
		return name == w || outside(w) && strings.HasPrefix(name, w+"/")
	})
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		may, known := policy[s.dir]
		if !known {
			t.Errorf("%s: package %s is not in the import policy", s.path, s.dir)
		}
		s.imports(func(name, at string) {
			name, ours := strings.CutPrefix(name, "dnet/")
			switch {
			case !ours && !outside(name):
				return
			case ours && strings.HasPrefix(policy[name], "*"):
				t.Errorf("%s: nothing imports a command (%s)", at, name)
			case listed(name, may), s.test && (listed(name, inTests) || name == s.dir):
			default:
				t.Errorf("%s: package %s may not import %s", at, s.dir, name)
			}
		})
	}
}

func TestPurity(t *testing.T) {
	for _, s := range sources(t) {
		if !pure[s.dir] || s.test {
			continue
		}
		s.imports(func(name, at string) {
			if !strings.HasPrefix(name, "dnet/") && !listed(name, pureImports) && !(s.dir == "netman/seal" && listed(name, sealImports)) {
				t.Errorf("%s: package %s is pure and may not import %s", at, s.dir, name)
			}
		})
		for node := range ast.Preorder(s.file) {
			if what := impure(node); what != "" {
				t.Errorf("%s: package %s is pure: %s", s.at(node.Pos()), s.dir, what)
			}
		}
	}
}

// impure says what a node does that a pure package may not do.
func impure(node ast.Node) string {
	switch n := node.(type) {
	case *ast.GoStmt:
		return "no goroutines"
	case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
		return "no channels"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "no channels"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && listed(n.Sel.Name, clocks) {
			return "no clock (time." + n.Sel.Name + "): the time is given"
		}
	}
	return ""
}

func TestFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > lines {
					t.Errorf("%s: %s has %d lines, more than %d", s.at(f.Pos()), f.Name.Name, n, lines)
				}
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && s.dir != "." {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s does not say what it is for (doc.go)", dir)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, s := range sources(t) {
		formatted, err := format.Source(s.text)
		if err != nil || !bytes.Equal(formatted, s.text) {
			t.Errorf("%s is not as gofmt has it: %v", s.path, err)
		}
	}
}

// A skip that `make test` does not hear of would be forgotten.
func TestSkips(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "test/lab" {
			continue
		}
		for node := range ast.Preorder(s.file) {
			if sel, ok := node.(*ast.SelectorExpr); ok && s.test && listed(sel.Sel.Name, "Skip Skipf SkipNow") {
				if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "lab" {
					t.Errorf("%s: tests skip by lab.Skip, which tells make test", s.at(sel.Pos()))
				}
			}
		}
	}
}
