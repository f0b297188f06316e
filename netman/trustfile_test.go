package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/netman/trust"
)

// home is a home directory with a trust file as it should be.
type home struct {
	dir, below, file string
	owner            uint32
}

func newHome(t *testing.T) home {
	dir := filepath.Join(t.TempDir(), "alice")
	h := home{dir, filepath.Join(dir, ".dnet"), filepath.Join(dir, ".dnet", "trust"), uint32(os.Getuid())}
	if h.owner == 0 {
		h.owner = 12345
	}
	for _, err := range []error{os.MkdirAll(h.below, 0o755), os.WriteFile(h.file, []byte("moon alice\n"), 0o644), h.give(h.dir, h.below, h.file)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// give makes files the owner's.
func (h home) give(paths ...string) error {
	for _, path := range paths {
		if err := os.Lchown(path, int(h.owner), -1); err != nil {
			return err
		}
	}
	return nil
}

// move puts something elsewhere, and a symbolic link in its place.
func move(path string) error {
	if err := os.Rename(path, path+".real"); err != nil {
		return err
	}
	return os.Symlink(path+".real", path)
}

// The classic checks: of the file, of ~/.dnet and of ~ itself.
func TestReadOwned(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(h home) error
		says  string // "": it is read
	}{
		{"as it should be", func(home) error { return nil }, ""},
		{"for the owner alone", func(h home) error {
			return firstError(os.Chmod(h.file, 0o600), os.Chmod(h.below, 0o700), os.Chmod(h.dir, 0o700))
		}, ""},
		{"the home is elsewhere", func(h home) error { return move(h.dir) }, ""},
		{"no file", func(h home) error { return os.Remove(h.file) }, "no such file"},
		{"no directory", func(h home) error { return os.RemoveAll(h.below) }, "no such file"},
		{"no home", func(h home) error { return os.RemoveAll(h.dir) }, "no such file"},
		{"file: a link", func(h home) error { return move(h.file) }, "trust is a symbolic link"},
		{"file: a link that leads nowhere", func(h home) error { return firstError(os.Remove(h.file), os.Symlink("/no/such", h.file)) }, "symbolic link"},
		{"directory: a link", func(h home) error { return move(h.below) }, ".dnet is a symbolic link"},
		{"file: group may write", func(h home) error { return os.Chmod(h.file, 0o664) }, "chmod go-w"},
		{"file: others may write", func(h home) error { return os.Chmod(h.file, 0o646) }, "chmod go-w"},
		{"directory: group may write", func(h home) error { return os.Chmod(h.below, 0o775) }, "chmod go-w"},
		{"directory: others may write", func(h home) error { return os.Chmod(h.below, 0o1777) }, "chmod go-w"},
		{"home: group may write", func(h home) error { return os.Chmod(h.dir, 0o770) }, "chmod go-w"},
		{"home: others may write", func(h home) error { return os.Chmod(h.dir, 0o757) }, "chmod go-w"},
		{"file: a directory", func(h home) error { return firstError(os.Remove(h.file), os.Mkdir(h.file, 0o755), h.give(h.file)) }, "no regular file"},
		{"file: a FIFO", func(h home) error { return firstError(os.Remove(h.file), unix.Mkfifo(h.file, 0o644), h.give(h.file)) }, "no regular file"},
		{"directory: a file", func(h home) error {
			return firstError(os.RemoveAll(h.below), os.WriteFile(h.below, nil, 0o644), h.give(h.below))
		}, "no directory"},
		{"file: hard links", func(h home) error { return os.Link(h.file, h.file+".too") }, "hard links"},
		{"file: as large as may be", func(h home) error { return os.WriteFile(h.file, make([]byte, trust.MaxFile), 0o644) }, ""},
		{"file: too large", func(h home) error { return os.WriteFile(h.file, make([]byte, trust.MaxFile+1), 0o644) }, "more than 65536 octets"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHome(t)
			if err := row.spoil(h); err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			text, err := readOwned(h.dir, h.owner)
			switch {
			case row.says == "" && (err != nil || text == ""):
				t.Errorf("it is not read: %v", err)
			case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
				t.Errorf("%q, %v; want an error that says %q", text, err, row.says)
			}
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors are open, before it were %d", after, before)
			}
		})
	}
}

// Each of the three belongs to the user or to root.
func TestReadOwnedOwners(t *testing.T) {
	h := newHome(t)
	if _, err := readOwned(h.dir, h.owner+1); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("somebody else's home: %v", err)
	}
	if os.Getuid() != 0 {
		return
	}
	for _, path := range []string{h.dir, h.below, h.file} {
		for uid, says := range map[int]string{54321: path + " belongs to another user (54321)", 0: ""} {
			os.Chown(path, uid, -1)
			_, err := readOwned(h.dir, h.owner)
			if (err == nil) != (says == "") || err != nil && err.Error() != says {
				t.Errorf("%s belongs to %d: %v; want %q", path, uid, err, says)
			}
		}
		os.Chown(path, int(h.owner), -1)
	}
}

// A file that cannot be read tells so, and the owner is one of this machine, and not root.
func TestLoadTrustFile(t *testing.T) {
	none := func(int, int) error { return nil }
	if f := loadTrustFile("nosuchuser", none); f.Owner != "nosuchuser" || !strings.Contains(f.Unread, "no user") {
		t.Errorf("%+v", f)
	}
	if f := loadTrustFile("root", none); f.Owner != "root" || f.Path != "/root/.dnet/trust" || !strings.Contains(f.Unread, "servtab alone") {
		t.Errorf("%+v", f)
	}
	read := make(chan *trust.File)
	go readTrustFile("nobody", func(f *trust.File) { read <- f })
	if f := <-read; f.Owner != "nobody" || f.Unread == "" {
		t.Errorf("nobody has a trust file: %+v", f)
	}
	// The thread that read has given up its rights, and no other has.
	if uid, _ := unix.SetfsuidRetUid(-1); uid != os.Getuid() {
		t.Errorf("a thread of the tests works with the rights of %d", uid)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func openFiles(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
