package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/rawcall"
)

// keptDoor is the socket that programs knock at. Its lock says whose it is: the one netman that holds it replaces what a dead one left.
type keptDoor struct {
	path string
	lock *os.File
	fd   int
}

// openDoor makes the socket, for everybody (protocol.md 5).
func openDoor(path string) (*keptDoor, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("door %s: another netman holds it; give this one a door of its own with --door", path)
	}
	fd, err := listenSeqpacket(path)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("door %s: %w", path, err)
	}
	return &keptDoor{path: path, lock: lock, fd: fd}, nil
}

// openTrustDoor makes the other one, which the lock of the first holds too.
func openTrustDoor(path string) (*keptDoor, error) {
	fd, err := listenSeqpacket(path)
	if err != nil {
		return nil, fmt.Errorf("door %s: %w", path, err)
	}
	return &keptDoor{path: path, fd: fd}, nil
}

// maxSocketPath is the longest path of a Unix socket, in octets (unix(7)).
const maxSocketPath = 107

// listenSeqpacket replaces the socket that a dead netman has left at path.
func listenSeqpacket(path string) (int, error) {
	if len(path) > maxSocketPath {
		return -1, fmt.Errorf("the path of a socket has at most %d octets: give another with --door", maxSocketPath)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return -1, err
	case info.Mode().Type() != os.ModeSocket:
		return -1, errors.New("there is something that is no socket; move it away, or give netman another door with --door")
	default:
		if err := os.Remove(path); err != nil {
			return -1, err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = os.Chmod(path, 0o666); err == nil {
			err = unix.Listen(fd, 1024)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// close takes the socket away. The lock file stays, so that two netmans never lock different files.
func (d *keptDoor) close() {
	os.Remove(d.path)
	if d.lock != nil {
		d.lock.Close()
	}
}

// serveDoor lets visitors in: it asks the kernel who they are, which nobody can say otherwise, and hands them to the wire.
func (k *keeper) serveDoor() {
	for {
		fd, _, err := unix.Accept4(k.door.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch err {
		case nil:
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			log.Printf("door: %v", err)
			time.Sleep(time.Second) // until some are closed
			continue
		default:
			log.Printf("door: %v: nobody can come in any more", err)
			return
		}
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			k.mu.Lock()
			u := k.users.of(cred.Uid)
			pass := k.passes.give(u)
			k.mu.Unlock()
			err = k.line.send(&memo{Kind: "visitor", UID: cred.Uid, User: u, Pass: pass, Admin: k.administers(fd, cred)}, fd)
		}
		unix.Close(fd)
	}
}

// traceGroup is the group whose members may do what only the administrator may, beside root.
const traceGroup = "dnet"

// administers says whether a visitor is root, netman's own user, or of the group, as its process was when it connected.
func (k *keeper) administers(fd int, cred *unix.Ucred) bool {
	if cred.Uid == 0 || cred.Uid == uint32(os.Getuid()) {
		return true
	}
	group, err := user.LookupGroup(traceGroup)
	if err != nil {
		return false
	}
	gid, err := parseID(group.Gid)
	if err != nil {
		return false
	}
	more, _ := rawcall.PeerGroups(fd)
	return slices.Contains(append(more, cred.Gid), gid)
}

// userNames remembers the names of the users that called, as long as the file with the names stays as it is: a number that is given to
// another user must not call by the name of the one before.
type userNames struct {
	byID map[uint32]string
	file unix.Stat_t
	logs node.Limiter
}

// of is the caller's name as the other machine sees it: of SO_PEERCRED, so that nobody can say another's.
func (u *userNames) of(uid uint32) string {
	var file unix.Stat_t
	unix.Stat("/etc/passwd", &file)
	file.Atim = unix.Timespec{}
	if u.file != file || len(u.byID) >= 4096 {
		u.file, u.byID = file, map[uint32]string{}
	}
	if name, ok := u.byID[uid]; ok {
		return name
	}
	name := strconv.Itoa(int(uid))
	if entry, err := user.LookupId(name); err == nil && names.CheckUser(entry.Username) == nil {
		name = entry.Username
	} else if err != nil && u.logs.Allow(time.Now(), "", "no name") {
		log.Printf("caller: no name for user %d: calling as %q", uid, name)
	}
	u.byID[uid] = name
	return name
}
