package main

import (
	"bytes"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/fusedev"
	"dnet/x25"
)

// pollState is who waits for a file in poll, select or epoll.
type pollState struct {
	armed bool   // somebody does
	key   uint64 // and is woken by it
	full  bool   // the program was told that it cannot write
}

// Events that the kernel knows beside those of package unix.
const (
	pollReadNormal  = 0x040
	pollWriteNormal = 0x100
)

// pollFor answers Poll: what would not wait now. Whoever waits for more is woken by the next event of the circuit.
func (f *file) pollFor(r *fusedev.Request) {
	events := f.events()
	f.poll.full = events&unix.POLLOUT == 0
	if r.Armed {
		f.poll.armed, f.poll.key = true, r.Key
	}
	f.m.dev.Ready(r.Unique, events)
}

// events are those of poll(2) that hold now.
func (f *file) events() (events uint32) {
	if f.readable() {
		events |= unix.POLLIN | pollReadNormal
	}
	if len(f.writes) == 0 && f.writable() || f.phase >= fileConnected && f.unwritable() != 0 || f.failed != 0 {
		events |= unix.POLLOUT | pollWriteNormal
	}
	if len(f.interrupts) > 0 {
		events |= unix.POLLPRI
	}
	if f.inEnded {
		events |= unix.POLLRDHUP
	}
	if f.ended != nil || f.failed != 0 || f.phase == fileClosing {
		events |= unix.POLLRDHUP | unix.POLLHUP
	}
	if errno := f.errno(); errno != 0 && errno != unix.EPIPE {
		events |= unix.POLLERR
	}
	return events
}

// wake has the kernel ask again on behalf of whoever waits, once.
func (f *file) wake() {
	if f.poll.armed {
		f.poll.armed = false
		f.m.dev.Knock(f.poll.key)
	}
}

// The ioctls of a file (protocol.md 5, netphys.h), by type and number. The sizes are in the structures that go with them.
const (
	ioctlInterrupt     = 'N'<<8 | 1
	ioctlTakeInterrupt = 'N'<<8 | 2
	ioctlEnd           = 'N'<<8 | 3
	ioctlState         = 'N'<<8 | 4
	ioctlPeer          = 'N'<<8 | 5
	ioctlClear         = 'N'<<8 | 6
)

// Sizes of their structures.
const (
	interruptSize = 1 + circuit.MaxInterrupt
	stateSize     = 3 + textSize
	peerSize      = 1 + 81 + 33 + 33
	clearSize     = 1 + textSize
	textSize      = 129 // with its NUL
)

// ioctlSizes are how many octets go in and come out.
var ioctlSizes = map[uint32][2]int{
	ioctlInterrupt: {interruptSize, 0}, ioctlTakeInterrupt: {0, interruptSize}, ioctlEnd: {}, ioctlState: {0, stateSize},
	ioctlPeer: {0, peerSize}, ioctlClear: {clearSize, 0},
}

// ioctl does what has no place in a stream of octets.
func (f *file) ioctl(r *fusedev.Request) {
	command := r.Command & 0xffff
	size, known := ioctlSizes[command]
	if !known || len(r.Data) != size[0] || int(r.Room) != size[1] {
		f.m.dev.Fail(r.Unique, unix.ENOTTY)
		return
	}
	var errno unix.Errno
	var out []byte
	result := int32(0)
	switch command {
	case ioctlInterrupt:
		if n := int(r.Data[0]); n < 1 || n > circuit.MaxInterrupt {
			errno = unix.EINVAL
		} else {
			errno = f.sendInterrupt(r.Data[1 : 1+n])
		}
	case ioctlTakeInterrupt:
		if out = f.nextInterrupt(); out == nil {
			errno = unix.EAGAIN
		} else {
			result = int32(out[0])
		}
	case ioctlEnd:
		errno = f.endWrite()
	case ioctlState:
		out = f.state()
	case ioctlPeer:
		out, errno = f.peer()
	case ioctlClear:
		errno = f.clear(x25.Diag(r.Data[0]), cString(r.Data[1:]))
	}
	if errno != 0 {
		f.m.dev.Fail(r.Unique, errno)
		return
	}
	f.m.dev.Result(r.Unique, result, out)
}

// nextInterrupt is the oldest one that was not taken, with its length before it; nil if there is none.
func (f *file) nextInterrupt() []byte {
	if len(f.interrupts) == 0 {
		return nil
	}
	octets := f.interrupts[0]
	f.interrupts = append(f.interrupts[:0], f.interrupts[1:]...)
	out := make([]byte, interruptSize)
	out[0] = byte(len(octets))
	copy(out[1:], octets)
	return out
}

// What state tells first.
const (
	stateWaiting = iota // there is no circuit yet
	stateOpen
	stateInEnded // the other end sends no more
	stateOver    // for the cause, diagnostic code and text that follow
)

// state is whether the circuit stands, or why not.
func (f *file) state() []byte {
	out := make([]byte, stateSize)
	switch {
	case f.ended != nil:
		out[0], out[1], out[2] = stateOver, byte(f.ended.Cause), byte(f.ended.Diag)
		putCString(out[3:], f.ended.Text)
	case f.failed != 0:
		out[0] = stateOver
		putCString(out[3:], "the circuit was reset")
	case f.phase < fileConnected:
		out[0] = stateWaiting
	case f.readable() && f.inEnded:
		out[0] = stateInEnded
	default:
		out[0] = stateOpen
	}
	return out
}

// Flags of peer.
const (
	peerCalled = 1 << iota // the other end called
	peerStream             // the directions end one by one
)

// peer is who is at the other end: flags, service, machine, user who called.
func (f *file) peer() ([]byte, unix.Errno) {
	if f.phase < fileConnected {
		return nil, unix.ENOTCONN
	}
	out := make([]byte, peerSize)
	if directories[f.node.in].listen {
		out[0] |= peerCalled
	}
	if f.c.Stream {
		out[0] |= peerStream
	}
	putCString(out[1:82], f.c.Service)
	putCString(out[82:115], f.c.Machine)
	putCString(out[115:], f.c.PeerUser)
	return out, 0
}

// clear closes the circuit for a reason: what was written arrives first, as by close(2). What comes meanwhile is discarded.
func (f *file) clear(diag x25.Diag, text string) unix.Errno {
	switch {
	case f.phase < fileConnected:
		return unix.ENOTCONN
	case len(f.writes) > 0:
		return unix.EAGAIN
	}
	if errno := f.unwritable(); errno != 0 && !f.outEnded {
		return errno
	}
	f.phase = fileClosing
	f.close(diag, text)
	f.settleEnd()
	return 0
}

// cString is the text before the first NUL, if it is one that may be sent.
func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return circuit.CutText(string(text))
}

// putCString writes a text with a NUL after it, cut to what there is room for. out is zeros.
func putCString(out []byte, text string) { copy(out[:len(out)-1], text) }
