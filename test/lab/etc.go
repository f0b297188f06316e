package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountEtc gives the machine an /etc of its own: copies of the host's files, the host's own directories, and what this
// machine has by itself. (An overlay would be shorter, but a user namespace may not lay one over an /etc in which the host has
// mounted files, as every container has.)
func mountEtc(p plan) error {
	const etc = "/tmp" // built here, where the machine's own /tmp comes later, then moved
	if err := mount("tmpfs", etc, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	own := map[string]string{"hosts": p.Hosts, "hostname": p.Name + "\n", "dnet": ""}
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, mine := own[e.Name()]; mine {
			continue
		}
		err := borrow(filepath.Join("/etc", e.Name()), filepath.Join(etc, e.Name()), e)
		// What the host keeps from this user it keeps from the machine's root, and what has just gone is gone.
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(etc, "dnet"), 0o755); err != nil {
		return err
	}
	delete(own, "dnet")
	own["dnet/servtab.toml"] = p.Tab
	for name, text := range own {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return mount(etc, "/etc", "", unix.MS_MOVE, "")
}

// borrow makes a file or directory of the host appear elsewhere: a copy of a file or link, a directory itself.
func borrow(from, to string, e fs.DirEntry) error {
	switch {
	case e.IsDir():
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		return mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
	case e.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case e.Type().IsRegular():
		info, err := e.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return err
		}
		return os.Chmod(to, info.Mode().Perm())
	}
	return nil
}
