package rawcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// Vector is the room for some records of a Unix seqpacket socket, moved in one system call. It has one owner.
type Vector struct {
	Records [][]byte // what Recv received, what Send sends
	Empty   bool     // Recv met a record without octets, or the end

	size  int
	slots []byte
	msgs  []mmsghdr
	iovs  []unix.Iovec
}

// NewVector returns a Vector of at most n records of at most size octets.
func NewVector(n, size int) *Vector {
	v := &Vector{size: size, slots: make([]byte, n*size), msgs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n)}
	v.Records = make([][]byte, 0, n)
	for i := range v.msgs {
		v.msgs[i].hdr.Iov = &v.iovs[i]
		v.msgs[i].hdr.SetIovlen(1)
	}
	return v
}

// Slot is the memory of record i, where a caller may put one that it then appends to Records.
func (v *Vector) Slot(i int) []byte { return v.slots[i*v.size : (i+1)*v.size : (i+1)*v.size] }

// Cap is how many records there is room for.
func (v *Vector) Cap() int { return len(v.msgs) }

// Recv receives at most n records into Records, without waiting. EAGAIN: there is none now. No record and no error: the
// other end has closed, or a record without octets came: the kernel does not tell these apart, poll(2) does. Records longer than
// the size are cut to it.
func (v *Vector) Recv(fd, n int) unix.Errno {
	n = min(n, len(v.msgs))
	v.Records, v.Empty = v.Records[:0], false
	for i := range n {
		v.point(i, v.Slot(i))
	}
	got, errno := v.call(unix.SYS_RECVMMSG, fd, n)
	if errno != 0 {
		return errno
	}
	if got == 1 && v.msgs[0].len == 0 {
		v.Empty, got = true, v.again(fd, n)
	}
	for i := range got {
		length := int(v.msgs[i].len)
		if length == 0 {
			v.Empty = true
			continue
		}
		v.Records = append(v.Records, v.Slot(i)[:length])
	}
	return 0
}

// again looks behind an end that Recv has met (protocol.md 5): Linux looks for records first and then whether the other end has closed,
// so that one who writes and closes in between is told as an end. What was written is there by now. It returns how many came.
func (v *Vector) again(fd, n int) int {
	for {
		got, errno := v.call(unix.SYS_RECVMMSG, fd, n)
		if errno != unix.ECONNRESET { // after which what is queued can still be read
			return got
		}
	}
}

// Send sends the Records, in order, without waiting, and returns how many went. An error is that of the first one that did not.
func (v *Vector) Send(fd int) (int, unix.Errno) {
	for i, record := range v.Records {
		v.point(i, record)
	}
	return v.call(unix.SYS_SENDMMSG, fd, len(v.Records))
}

// point sets the memory of record i.
func (v *Vector) point(i int, memory []byte) {
	v.iovs[i].Base = unsafe.SliceData(memory)
	v.iovs[i].SetLen(len(memory))
}

// call is the system call for the first n records.
func (v *Vector) call(trap uintptr, fd, n int) (int, unix.Errno) {
	for {
		done, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v.msgs))), uintptr(n),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(done), 0
	}
}
