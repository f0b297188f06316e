package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dnet/netman/fusedev"
)

// defaultNetphys is where circuits are files unless --netphys, $DNET_NETPHYS or servtab say otherwise.
const defaultNetphys = "/netphys"

// netphysDir is where netman is to mount, from the command line or servtab; named says that it has to work.
func netphysDir(flag, servtab string) (dir string, named bool) {
	switch {
	case flag != "":
		return flag, true
	case servtab != "":
		return servtab, true
	case os.Getenv("DNET_NETPHYS") != "":
		return os.Getenv("DNET_NETPHYS"), false
	}
	return defaultNetphys, false
}

// keptMount is where the keeper has mounted circuits as files, for the wire.
type keptMount struct {
	dir  string
	made bool // the directory was made for it
	fd   int  // until the wire has it
}

// openMount makes circuits files, unless that is not wanted: nil then. Where it cannot be done and nobody asked for it by name, the log
// says so.
func openMount(dir string, named bool) (*keptMount, error) {
	if dir == "none" {
		return nil, nil
	}
	m, err := mountAt(dir)
	switch {
	case err != nil && named:
		return nil, fmt.Errorf("netphys %s: %w", dir, err)
	case err != nil:
		log.Printf("netphys %s: %v: going on without circuits as files", dir, err)
		return nil, nil
	}
	return m, nil
}

// mountAt mounts on a directory, which is made if it is not there.
func mountAt(dir string) (*keptMount, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	err = os.Mkdir(dir, 0o755)
	made := err == nil
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, errors.Unwrap(err)
	}
	dev, err := fusedev.Mount(dir)
	if err != nil {
		if made {
			os.Remove(dir)
		}
		return nil, err
	}
	return &keptMount{dir: dir, made: made, fd: dev.FD}, nil
}

// give gives the device to the wire.
func (m *keptMount) give(k *keeper) error {
	if m == nil {
		return nil
	}
	err := k.line.send(&memo{Kind: "mount", Name: m.dir}, m.fd)
	m.letGo()
	return err
}

// letGo closes the keeper's descriptor of the device.
func (m *keptMount) letGo() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
}

// close ends the mount, when nobody has the device any more.
func (m *keptMount) close() {
	if m == nil {
		return
	}
	m.letGo()
	fusedev.Unmount(m.dir)
	if m.made {
		os.Remove(m.dir)
	}
}
