package fusedev

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Device is a mount, seen from the daemon's side. It has one owner. The descriptor does not block.
type Device struct {
	FD  int
	Dir string

	buf  []byte // of the request at hand
	head fuse.OutHeader
	iovs [4]unix.Iovec
	two  [2]uint32 // what a short reply says
	key  uint64    // what a knock says
}

// ErrMounted is Mount's answer when a live daemon has the directory already.
var ErrMounted = errors.New("another netman has mounted it")

// Mount opens a FUSE device and mounts it on a directory, in place of what a daemon that died has left there. Everybody may use it;
// the kernel checks permissions.
func Mount(dir string) (*Device, error) {
	if err := clear(dir); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions", fd, os.Getuid(), os.Getgid())
	if err := unix.Mount("netphys", dir, fsType, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mount: %w", err)
	}
	return New(fd, dir), nil
}

// New returns the device that a descriptor is, of a mount on a directory: of one that another process has made by Mount.
func New(fd int, dir string) *Device { return &Device{FD: fd, Dir: dir, buf: make([]byte, MaxRequest)} }

// stale bounds the dead mounts that are taken away, one under another.
const stale = 64

// patience is how long a mount that stands on the directory already may take to show that it lives.
const patience = 2 * time.Second

// fsType is what mounts of this package are called in /proc/mounts.
const fsType = "fuse.netphys"

// clear takes dead mounts away: those whose daemon is gone answer ENOTCONN.
func clear(dir string) error {
	for range stale {
		if !mounted(dir) {
			return nil
		}
		answer := make(chan error, 1)
		go func() { // it asks the daemon, which may have been stopped
			var st unix.Statfs_t
			answer <- unix.Statfs(dir, &st)
		}()
		select {
		case err := <-answer:
			if err != unix.ENOTCONN && err != unix.ECONNABORTED {
				return ErrMounted
			}
		case <-time.After(patience):
			return ErrMounted
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("the mount of a daemon that died cannot be taken away: %w", err)
		}
	}
	return ErrMounted
}

// mounted says whether a mount of this package stands on the directory.
func mounted(dir string) bool {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == dir && strings.Contains(line, " - "+fsType+" ") {
			return true
		}
	}
	return false
}

// Unmount takes a mount of this package away whose daemon has closed its device.
func Unmount(dir string) {
	if mounted(dir) {
		unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
}

// Close ends the mount: what is open there fails from now on.
func (d *Device) Close() {
	if d.FD < 0 {
		return
	}
	unix.Close(d.FD) // first, so that nobody has to be asked for the mount to go
	d.FD = -1
	Unmount(d.Dir)
}

// Next takes the next request, which borrows the Device's buffer until the call after. Errors are those of read(2): EAGAIN when there
// is none, ENODEV when the mount is gone; ErrBad is a request that was not understood, and has been refused.
func (d *Device) Next(r *Request) error {
	for {
		n, err := unix.Read(d.FD, d.buf)
		if err == unix.EINTR || err == unix.ENOENT { // ENOENT: it was interrupted before it was read
			continue
		}
		if err != nil {
			return err
		}
		if err := r.Parse(d.buf[:n]); err != nil {
			if r.Unique != 0 {
				d.Fail(r.Unique, unix.EIO)
			}
			return fmt.Errorf("%w: %w", ErrBad, err)
		}
		if r.Op != Init {
			return nil
		}
		d.greet(r)
	}
}

// ErrBad is a request that was not understood.
var ErrBad = errors.New("request not understood")

// minor is the version of the protocol, 7.minor, that is spoken here, or an older one if the kernel is older.
const minor = 40

// greet answers Init. O_TRUNC comes with Open, so that nothing takes the inode's lock for it.
func (d *Device) greet(r *Request) {
	in := &r.init
	if in.Major != 7 || in.Minor < 23 {
		d.Fail(r.Unique, unix.EPROTO)
		return
	}
	const wanted = fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_BIG_WRITES | fuse.CAP_PARALLEL_DIROPS | fuse.CAP_MAX_PAGES
	out := fuse.InitOut{
		Major: 7, Minor: min(in.Minor, minor), Flags: in.Flags & wanted, MaxWrite: MaxWrite, TimeGran: 1,
		MaxPages: MaxWrite >> 12, MaxBackground: 12, CongestionThreshold: 9,
	}
	d.Reply(r.Unique, octets(&out))
}

// octets are those of a structure of the kernel's.
func octets[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// Reply answers a request. The error tells that nobody waits for it any more (ENOENT), or that the mount is gone.
func (d *Device) Reply(unique uint64, parts ...[]byte) error {
	return d.write(unique, 0, parts)
}

// Fail answers a request with an error; 0 is success, with nothing to say.
func (d *Device) Fail(unique uint64, errno unix.Errno) error {
	return d.write(unique, -int32(errno), nil)
}

func (d *Device) write(unique uint64, status int32, parts [][]byte) error {
	d.head = fuse.OutHeader{Unique: unique, Status: status, Length: uint32(unsafe.Sizeof(d.head))}
	iovs := d.iovs[:1]
	iovs[0].Base = (*byte)(unsafe.Pointer(&d.head))
	iovs[0].SetLen(int(unsafe.Sizeof(d.head)))
	for _, part := range parts {
		if len(part) > 0 {
			iov := unix.Iovec{Base: unsafe.SliceData(part)}
			iov.SetLen(len(part))
			iovs = append(iovs, iov)
			d.head.Length += uint32(len(part))
		}
	}
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(d.FD), uintptr(unsafe.Pointer(&iovs[0])), uintptr(len(iovs)))
	d.iovs = [4]unix.Iovec{}
	if errno != 0 {
		return errno
	}
	return nil
}

// Knock wakes whoever polls a file, once: Poll is asked again.
func (d *Device) Knock(key uint64) {
	const notifyPoll = 1 // FUSE_NOTIFY_POLL
	d.key = key
	d.write(0, notifyPoll, [][]byte{octets(&d.key)})
}

// Attr is what there is to know of a node.
type Attr struct {
	Node   uint64
	Number uint64 // of the inode, for people
	Mode   uint32 // with the type
	Since  time.Time
}

func (a Attr) attr() fuse.Attr {
	since := uint64(a.Since.Unix())
	return fuse.Attr{
		Ino: a.Number, Mode: a.Mode, Nlink: 1, Blksize: blockSize, Atime: since, Mtime: since, Ctime: since,
		Owner: fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())},
	}
}

// Entry answers Lookup: this is the node of that name, and nothing of it is to be remembered.
func (d *Device) Entry(unique uint64, a Attr) error {
	return d.Reply(unique, octets(&fuse.EntryOut{NodeId: a.Node, Generation: 1, Attr: a.attr()}))
}

// Attributes answers GetAttr and SetAttr.
func (d *Device) Attributes(unique uint64, a Attr) error {
	return d.Reply(unique, octets(&fuse.AttrOut{Attr: a.attr()}))
}

// Opened answers Open for a stream: not cached, without a position (and the kernel's lock of it), without Flush.
func (d *Device) Opened(unique, handle uint64) error {
	return d.Reply(unique, octets(&fuse.OpenOut{Fh: handle, OpenFlags: fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM |
		fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_NOFLUSH}))
}

// OpenedDir answers OpenDir.
func (d *Device) OpenedDir(unique, handle uint64) error {
	return d.Reply(unique, octets(&fuse.OpenOut{Fh: handle}))
}

// Written answers Write: n octets were taken.
func (d *Device) Written(unique uint64, n int) error {
	d.two = [2]uint32{uint32(n)}
	return d.Reply(unique, octets(&d.two))
}

// Ready answers Poll.
func (d *Device) Ready(unique uint64, events uint32) error {
	d.two = [2]uint32{events}
	return d.Reply(unique, octets(&d.two))
}

// Result answers Ioctl: what it returns, and the octets that go out.
func (d *Device) Result(unique uint64, result int32, out []byte) error {
	return d.Reply(unique, octets(&fuse.IoctlOut{Result: result}), out)
}

// Xattr answers GetXattr and ListXattr with a value for which the caller has room, or with its length if room is 0.
func (d *Device) Xattr(unique uint64, value []byte, room uint32) error {
	switch {
	case room == 0:
		return d.Reply(unique, octets(&[2]uint32{uint32(len(value))}))
	case len(value) > int(room):
		return d.Fail(unique, unix.ERANGE)
	}
	return d.Reply(unique, value)
}

const blockSize = 4096

// FileSystem answers StatFS: one without room for anything.
func (d *Device) FileSystem(unique uint64) error {
	return d.Reply(unique, octets(&fuse.StatfsOut{Bsize: blockSize, Frsize: blockSize, NameLen: 255}))
}

// Dir is a directory's listing being put together: at most room octets.
type Dir struct {
	octets []byte
	room   int
}

// dirent is struct fuse_dirent, before its name.
type dirent struct {
	node, next     uint64
	length, kindOf uint32
}

// NewDir begins a listing that has room for so many octets.
func NewDir(room uint32) *Dir { return &Dir{room: int(min(room, MaxWrite))} }

// Add adds a name, after which the listing goes on at the position next; false if there is no room for it.
func (d *Dir) Add(name string, node, next uint64, mode uint32) bool {
	entry := dirent{node: node, next: next, length: uint32(len(name)), kindOf: mode >> 12}
	padded := (len(name) + 7) &^ 7
	if len(d.octets)+int(unsafe.Sizeof(entry))+padded > d.room {
		return false
	}
	d.octets = append(append(d.octets, octets(&entry)...), name...)
	d.octets = append(d.octets, make([]byte, padded-len(name))...)
	return true
}

// Listing answers ReadDir; an empty one is the end.
func (d *Device) Listing(unique uint64, dir *Dir) error { return d.Reply(unique, dir.octets) }
