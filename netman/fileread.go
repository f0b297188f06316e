package main

import (
	"bytes"

	"golang.org/x/sys/unix"

	"dnet/netman/fusedev"
)

// maxTaken bounds the interrupts of one file that the program has not taken; a further one is dropped.
const maxTaken = 16

// read answers a Read, or parks it until there is something to be read.
func (f *file) read(r *fusedev.Request) {
	switch {
	case r.Size == 0:
		f.m.dev.Reply(r.Unique)
	case len(f.reads) == 0 && f.answerRead(r.Unique, int(r.Size)):
	case r.Flags&unix.O_NONBLOCK != 0:
		f.m.dev.Fail(r.Unique, unix.EAGAIN)
	case len(f.reads) >= maxParkedReads:
		f.m.l.count("netphys: too many reads wait")
		f.m.dev.Fail(r.Unique, unix.ENOBUFS)
	default:
		f.reads = append(f.reads, f.m.park(&parked{unique: r.Unique, f: f, op: fusedev.Read, size: int(r.Size)}))
	}
}

// answerReads answers the reads that wait, in order, as far as there is something for them.
func (f *file) answerReads() {
	for len(f.reads) > 0 && f.answerRead(f.reads[0].unique, f.reads[0].size) {
		f.m.unpark(f.reads[0])
		f.reads = append(f.reads[:0], f.reads[1:]...)
	}
}

// answerRead answers a read with at most one datagram, or piece, or the end: false if there is nothing yet.
func (f *file) answerRead(unique uint64, size int) bool {
	if f.failed != 0 {
		f.m.dev.Fail(unique, f.failed)
		return true
	}
	data, q, more, ok := f.front()
	switch {
	case ok:
		f.give(unique, size, data, q, more)
	case f.inEnded || f.phase == fileClosing:
		f.m.dev.Reply(unique)
	case f.ended == nil:
		return false
	case f.errno() == unix.EPIPE:
		f.m.dev.Reply(unique) // an ordinary end reads as the end of the file
	default:
		f.m.dev.Fail(unique, f.errno())
	}
	return true
}

// front shows what is left of the datagram, or piece, at the head. What is not for the program is taken away: in the plain view
// datagrams with Q and empty ones, what comes after the end of the other end's direction, and everything if the program can only write.
func (f *file) front() (data []byte, q, more, ok bool) {
	if f.phase != fileConnected || f.failed != 0 {
		return nil, false, false, false
	}
	for {
		data, q, more, ok = f.c.Peek()
		if !ok {
			return nil, false, false, false
		}
		end := f.c.Stream && q && !more && !f.inside && f.taken == 0 && bytes.Equal(data, streamEnd)
		switch {
		case end:
			f.inEnded = true
		case f.inEnded || f.access == unix.O_WRONLY:
		case f.plain && (q || len(data) == f.taken):
		default:
			return data[f.taken:], q, more, true
		}
		f.next(more)
	}
}

// next says that what Peek showed is done with. more: it was a piece, and the next one goes on.
func (f *file) next(more bool) {
	f.taken, f.inside = 0, more
	f.c.Next(f.m.l.now, &f.m.l.out)
	f.letGo()
}

// give answers a read with what there is room for. What is not answered, because the reader has gone, stays.
func (f *file) give(unique uint64, size int, data []byte, q, more bool) {
	var err error
	n := min(len(data), size)
	if f.plain {
		err = f.m.dev.Reply(unique, data[:n])
	} else {
		if size < 2 && len(data) > 0 {
			f.m.dev.Fail(unique, unix.EINVAL) // it could go on like this for ever
			return
		}
		n = min(len(data), size-1)
		f.m.l.control[0] = controlByte(q, more || n < len(data))
		err = f.m.dev.Reply(unique, f.m.l.control[:], data[:n])
	}
	if err != nil {
		f.m.l.count("netphys: answers that nobody waited for")
		return
	}
	f.taken += n
	if n == len(data) {
		f.next(more)
	}
}

// readable says that a read would not wait.
func (f *file) readable() bool {
	_, _, _, ok := f.front()
	return ok || f.inEnded || f.ended != nil || f.failed != 0 || f.phase == fileClosing
}

// takeInterrupt keeps an interrupt for the program.
func (f *file) takeInterrupt(octets []byte) {
	if f.phase == fileReleased || len(f.interrupts) >= maxTaken {
		f.m.l.count("interrupts not taken by the program")
		return
	}
	f.interrupts = append(f.interrupts, bytes.Clone(octets))
	f.wake()
}
