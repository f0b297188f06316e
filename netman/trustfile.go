package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"dnet/netman/trust"
)

// trustDir and trustName are where a user says who may be that user, below the home directory.
const (
	trustDir  = ".dnet"
	trustName = "trust"
)

// readTrustFile reads somebody's ~/.dnet/trust and hands it to then, also when it could not be read. A netman that is root reads it with
// the owner's rights to files, so that the owner can make it read nothing that the owner could not. It may wait, and then holds a thread.
func readTrustFile(owner string, then func(*trust.File)) {
	runtime.LockOSThread() // never unlocked: the thread, and the rights that it has given up, end with the goroutine
	then(loadTrustFile(owner, func(uid, gid int) error {
		if os.Getuid() != 0 {
			return nil
		}
		unix.Setfsgid(gid)
		unix.Setfsuid(uid) // which takes the capabilities over files away
		// Neither call tells that it failed.
		if now, _ := unix.SetfsuidRetUid(-1); now != uid {
			return fmt.Errorf("netman cannot read as user %d", uid)
		}
		if now, _ := unix.SetfsgidRetGid(-1); now != gid {
			return fmt.Errorf("netman cannot read as group %d", gid)
		}
		return nil
	}))
}

// loadTrustFile finds the owner's file, and reads it after it has become whom it reads as.
func loadTrustFile(owner string, become func(uid, gid int) error) *trust.File {
	u, err := user.Lookup(owner)
	if err != nil {
		return unreadFile(owner, fmt.Sprintf("there is no user %s here", owner))
	}
	path := filepath.Join(u.HomeDir, trustDir, trustName)
	if u.Uid == "0" {
		return &trust.File{Owner: owner, Path: path, Unread: "root is trusted to others by servtab alone"}
	}
	uid, err := parseID(u.Uid)
	gid, wrong := parseID(u.Gid)
	if err = errors.Join(err, wrong); err == nil {
		err = become(int(uid), int(gid))
	}
	var text string
	if err == nil {
		text, err = readOwned(u.HomeDir, uid)
	}
	if err != nil {
		return &trust.File{Owner: owner, Path: path, Unread: err.Error()}
	}
	return trust.ParseFile(owner, path, text)
}

// readOwned reads the trust file below a home directory, if nobody but its owner and root can have written it: the file and both directories
// are the owner's or root's, nobody else may write to them, and none is a symbolic link but the home, whose place is root's affair. Each
// is opened first and looked at then, so that nothing can be put in its place between.
func readOwned(home string, owner uint32) (string, error) {
	top, err := openOwned(unix.AT_FDCWD, home, home, unix.O_PATH|unix.O_DIRECTORY, owner)
	if err != nil {
		return "", err
	}
	defer unix.Close(top)
	dir := filepath.Join(home, trustDir)
	below, err := openOwned(top, trustDir, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, owner)
	if err != nil {
		return "", err
	}
	defer unix.Close(below)
	// Without O_NONBLOCK the open of a FIFO would wait for a writer.
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	file, err := openOwned(below, trustName, filepath.Join(dir, trustName), flags, owner)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(file), trustName)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, trust.MaxFile+1))
	if err != nil {
		return "", errors.New("it cannot be read")
	}
	if len(text) > trust.MaxFile {
		return "", fmt.Errorf("it has more than %d octets", trust.MaxFile)
	}
	return string(text), nil
}

// openOwned opens a directory, or a file, and says what is wrong with it.
func openOwned(dir int, name, path string, flags int, owner uint32) (fd int, err error) {
	fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENOENT:
		return -1, errors.New("there is no such file")
	case err == unix.ELOOP, err == unix.ENOTDIR:
		return -1, fmt.Errorf("%s is a symbolic link, or no directory", path)
	case err != nil:
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = checkOwned(&st, path, flags&unix.O_DIRECTORY != 0, owner)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func checkOwned(st *unix.Stat_t, path string, directory bool, owner uint32) error {
	switch {
	case directory && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is no directory", path)
	case !directory && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is no regular file", path)
	case !directory && st.Nlink != 1:
		return fmt.Errorf("%s has other names (hard links)", path)
	case st.Uid != owner && st.Uid != 0:
		return fmt.Errorf("%s belongs to another user (%d)", path, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s can be written by its group or others: chmod go-w %s", path, path)
	}
	return nil
}
