package fusedev

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Op is what a request asks for.
type Op uint32

// The opcodes that have a meaning here.
const (
	Lookup      Op = 1
	Forget      Op = 2
	GetAttr     Op = 3
	SetAttr     Op = 4
	MkNod       Op = 8
	MkDir       Op = 9
	Unlink      Op = 10
	RmDir       Op = 11
	Rename      Op = 12
	Link        Op = 13
	Symlink     Op = 6
	Open        Op = 14
	Read        Op = 15
	Write       Op = 16
	StatFS      Op = 17
	Release     Op = 18
	Fsync       Op = 20
	GetXattr    Op = 22
	ListXattr   Op = 23
	Flush       Op = 25
	Init        Op = 26
	OpenDir     Op = 27
	ReadDir     Op = 28
	ReleaseDir  Op = 29
	Create      Op = 35
	Interrupt   Op = 36
	Destroy     Op = 38
	Ioctl       Op = 39
	Poll        Op = 40
	BatchForget Op = 42
	Rename2     Op = 45
)

// MaxWrite is the most that one Write brings; the kernel cuts what is longer into several, whose Offset is not 0 from the second on.
const MaxWrite = 128 << 10

// MaxRequest is the longest request.
const MaxRequest = MaxWrite + 4096

// Request is one request of the kernel. Which fields have a meaning depends on Op. Name, Data and Forgotten
// are borrowed from the octets parsed.
type Request struct {
	Op            Op
	Unique        uint64 // by which it is answered
	Node          uint64
	UID, GID, PID uint32 // of the caller; PID is 0 where nobody in particular calls

	Name   []byte // Lookup, and what makes or takes away a name; GetXattr: of the attribute
	Handle uint64 // Open's, in Read, Write, Release, Poll, Ioctl, ReadDir
	Flags  uint32 // Open: as for open(2); Read, Write: those that the descriptor has now
	Offset uint64 // Read, Write, ReadDir
	Size   uint32 // Read, ReadDir, GetXattr, ListXattr: the room for the answer
	Data   []byte // Write; Ioctl: what comes in

	Events  uint32 // Poll: what is waited for
	Key     uint64 // Poll: by which to knock
	Armed   bool   // Poll: somebody waits for a knock
	Command uint32 // Ioctl
	Room    uint32 // Ioctl: octets that go out
	Target  uint64 // Interrupt: the unique number of the request that is to end

	Forgotten []Forgotten // Forget, BatchForget; borrowed

	init fuse.InitIn
}

// Forgotten is a node that the kernel does not know any more; n is how often it was looked up.
type Forgotten struct{ Node, N uint64 }

// Errors of Parse.
var (
	errShort  = errors.New("fuse: request shorter than its kind")
	errLength = errors.New("fuse: request of another length than it says")
	errName   = errors.New("fuse: name without an end")
)

// view is the beginning of b as a structure of the kernel's; the rest follows it.
func view[T any](b []byte) (v *T, rest []byte, ok bool) {
	size := int(unsafe.Sizeof(*v))
	if len(b) < size {
		return nil, nil, false
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(b))), b[size:], true
}

// Parse reads one request. It takes any octets; an opcode that is not known has only the fields of the header.
func (r *Request) Parse(b []byte) error {
	h, body, ok := view[fuse.InHeader](b)
	if !ok {
		return errShort
	}
	*r = Request{Op: Op(h.Opcode), Unique: h.Unique, Node: h.NodeId, UID: h.Uid, GID: h.Gid, PID: h.Pid}
	if int(h.Length) != len(b) {
		return errLength
	}
	switch r.Op {
	case Lookup, Unlink, RmDir:
		return r.name(body)
	case Open, OpenDir:
		return parse(b, func(in *fuse.OpenIn, _ []byte) { r.Flags = in.Flags })
	case Read, ReadDir:
		return parse(b, func(in *fuse.ReadIn, _ []byte) {
			r.Handle, r.Flags, r.Offset, r.Size = in.Fh, in.Flags, in.Offset, in.Size
		})
	case Write:
		return r.write(b)
	case Release, ReleaseDir:
		return parse(b, func(in *fuse.ReleaseIn, _ []byte) { r.Handle = in.Fh })
	case Poll:
		return parse(b, func(in *pollIn, _ []byte) {
			r.Handle, r.Key, r.Events, r.Armed = in.handle, in.key, in.events, in.flags&pollScheduleNotify != 0
		})
	case Ioctl:
		return r.ioctl(b)
	case GetXattr:
		return r.xattr(body)
	case ListXattr:
		return parse(body, func(in *xattrIn, _ []byte) { r.Size = in.size })
	case Forget:
		return parse(b, func(in *fuse.ForgetIn, _ []byte) { r.Forgotten = []Forgotten{{r.Node, in.Nlookup}} })
	case BatchForget:
		return r.batchForget(body)
	case Interrupt:
		return parse(b, func(in *fuse.InterruptIn, _ []byte) { r.Target = in.Unique })
	case Init:
		return r.parseInit(b)
	}
	return nil
}

// parse hands a request, as a structure, to f; or says that it is too short.
func parse[T any](b []byte, f func(in *T, rest []byte)) error {
	in, rest, ok := view[T](b)
	if !ok {
		return errShort
	}
	f(in, rest)
	return nil
}

// name takes a name that ends with a NUL.
func (r *Request) name(b []byte) error {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return errName
	}
	r.Name = b[:end]
	return nil
}

func (r *Request) write(b []byte) error {
	in, rest, ok := view[fuse.WriteIn](b)
	if !ok {
		return errShort
	}
	if int64(in.Size) != int64(len(rest)) {
		return errLength
	}
	r.Handle, r.Flags, r.Offset, r.Size, r.Data = in.Fh, in.Flags, in.Offset, in.Size, rest
	return nil
}

func (r *Request) ioctl(b []byte) error {
	in, rest, ok := view[fuse.IoctlIn](b)
	if !ok {
		return errShort
	}
	if int64(in.InSize) > int64(len(rest)) {
		return errLength
	}
	r.Handle, r.Command, r.Room, r.Data = in.Fh, in.Cmd, in.OutSize, rest[:in.InSize]
	return nil
}

// pollIn is struct fuse_poll_in.
type pollIn struct {
	fuse.InHeader
	handle, key   uint64
	flags, events uint32
}

const pollScheduleNotify = 1 // FUSE_POLL_SCHEDULE_NOTIFY

// xattrIn is struct fuse_getxattr_in.
type xattrIn struct{ size, _ uint32 }

func (r *Request) xattr(body []byte) error {
	in, rest, ok := view[xattrIn](body)
	if !ok {
		return errShort
	}
	r.Size = in.size
	return r.name(rest)
}

// parseInit takes the first request of a mount, which is shorter from older kernels.
func (r *Request) parseInit(b []byte) error {
	const least = unsafe.Offsetof(r.init.Flags2)
	if len(b) < int(least) {
		return errShort
	}
	var whole [unsafe.Sizeof(r.init)]byte
	copy(whole[:], b)
	in, _, _ := view[fuse.InitIn](whole[:])
	r.init = *in
	return nil
}

func (r *Request) batchForget(body []byte) error {
	count, rest, ok := view[[2]uint32](body)
	if !ok || int64(len(rest)) < int64(count[0])*int64(unsafe.Sizeof(Forgotten{})) {
		return errShort
	}
	r.Forgotten = unsafe.Slice((*Forgotten)(unsafe.Pointer(unsafe.SliceData(rest))), count[0])
	return nil
}

var opNames = map[Op]string{
	Lookup: "LOOKUP", Forget: "FORGET", GetAttr: "GETATTR", SetAttr: "SETATTR", MkNod: "MKNOD", MkDir: "MKDIR", Unlink: "UNLINK",
	RmDir: "RMDIR", Rename: "RENAME", Link: "LINK", Symlink: "SYMLINK", Open: "OPEN", Read: "READ", Write: "WRITE", StatFS: "STATFS",
	Release: "RELEASE", Fsync: "FSYNC", GetXattr: "GETXATTR", ListXattr: "LISTXATTR", Flush: "FLUSH", Init: "INIT", OpenDir: "OPENDIR",
	ReadDir: "READDIR", ReleaseDir: "RELEASEDIR", Create: "CREATE", Interrupt: "INTERRUPT", Destroy: "DESTROY", Ioctl: "IOCTL",
	Poll: "POLL", BatchForget: "BATCH_FORGET", Rename2: "RENAME2",
}

func (o Op) String() string {
	if name, ok := opNames[o]; ok {
		return name
	}
	return fmt.Sprintf("opcode %d", uint32(o))
}
