package main

import (
	"bytes"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/fusedev"
	"dnet/x25"
)

// write takes a Write, or parks it until the circuit has room.
func (f *file) write(r *fusedev.Request) {
	if errno := f.checkWrite(r.Data); errno != 0 {
		f.m.dev.Fail(r.Unique, errno)
		return
	}
	now := parked{unique: r.Unique, f: f, op: fusedev.Write, data: r.Data}
	if len(f.writes) == 0 && f.push(&now) {
		return
	}
	switch {
	case r.Flags&unix.O_NONBLOCK != 0:
		f.poll.full = true
		f.answerWrite(&now, unix.EAGAIN)
	case f.m.octets+len(now.data) > maxParked:
		f.m.l.count("netphys: too many octets wait to be written")
		f.answerWrite(&now, unix.ENOBUFS)
	default:
		later := now
		later.data = bytes.Clone(now.data)
		f.writes = append(f.writes, f.m.park(&later))
	}
}

// checkWrite says what is wrong with a message, if anything is.
func (f *file) checkWrite(message []byte) unix.Errno {
	switch {
	case f.plain:
	case len(message) > 1+circuit.MaxDatagram:
		return unix.EMSGSIZE
	case len(message) == 0 || circuit.Bits(message[0])&^(circuit.Q|circuit.M) != 0:
		f.m.l.count("program messages refused: EINVAL")
		return unix.EINVAL
	}
	return 0
}

// pushWrites sends what waits to be written while there is room.
func (f *file) pushWrites() {
	for len(f.writes) > 0 {
		p := f.writes[0]
		data := len(p.data)
		if !f.push(p) {
			return
		}
		delete(f.m.parked, p.unique)
		f.m.octets -= data
		f.writes = append(f.writes[:0], f.writes[1:]...)
	}
	if f.endDue {
		f.sendEnd()
	}
}

// push sends what the circuit takes of a write, and answers it if that was all, or if it cannot be sent at all: false if it has to wait.
// A datagram is taken whole; in the plain view the octets go as they fit.
func (f *file) push(p *parked) bool {
	if errno := f.unwritable(); errno != 0 {
		f.answerWrite(p, errno)
		return true
	}
	l := f.m.l
	for f.writable() {
		q, more, data := false, false, p.data[p.done:]
		if f.plain {
			data = data[:min(len(data), circuit.MaxDatagram)]
		} else {
			q, more, data = circuit.Bits(data[0])&circuit.Q != 0, circuit.Bits(data[0])&circuit.M != 0, data[1:]
			p.done++
		}
		if err := f.c.Send(l.now, data, q, more, &l.out); err != nil {
			if err == x25.ErrQ {
				l.count("program messages refused: EINVAL")
			}
			p.done = 0
			f.answerWrite(p, unix.EINVAL)
			return true
		}
		f.outside = more
		if p.done += len(data); p.done == len(p.data) {
			f.answerWrite(p, 0)
			return true
		}
	}
	return false
}

// answerWrite answers a write: with what has been taken of it, or with the error.
func (f *file) answerWrite(p *parked, errno unix.Errno) {
	if p.done > 0 || errno == 0 {
		f.m.dev.Written(p.unique, p.done)
		return
	}
	f.m.dev.Fail(p.unique, errno)
}

// unwritable is why nothing can be written any more; 0 if it can.
func (f *file) unwritable() unix.Errno {
	if errno := f.errno(); errno != 0 {
		return errno
	}
	if f.outEnded || f.phase == fileClosing {
		return unix.EPIPE
	}
	return 0
}

// writable says that the circuit takes a write.
func (f *file) writable() bool { return f.phase == fileConnected && f.ended == nil && f.c.Room() > 0 }

// endWrite ends this end's direction of a stream circuit, after what has been written.
func (f *file) endWrite() unix.Errno {
	switch {
	case f.phase < fileConnected:
		return unix.ENOTCONN
	case !f.c.Stream:
		return unix.EOPNOTSUPP
	case f.outside:
		return unix.EINVAL
	}
	if errno := f.unwritable(); errno != 0 {
		return errno
	}
	f.outEnded, f.endDue = true, true
	f.sendEnd()
	return 0
}

// sendEnd says that this end sends no more, once all that waits has gone and there is room.
func (f *file) sendEnd() {
	if !f.writable() || len(f.writes) > 0 {
		return
	}
	f.endDue = false
	f.c.Send(f.m.l.now, streamEnd, true, false, &f.m.l.out)
}

// sendInterrupt sends an interrupt, or keeps it until the one before is confirmed. A second one that waits replaces the first.
func (f *file) sendInterrupt(octets []byte) unix.Errno {
	if f.phase < fileConnected {
		return unix.ENOTCONN
	}
	if errno := f.errno(); errno != 0 {
		return errno
	}
	l := f.m.l
	switch err := f.c.Interrupt(l.now, octets, &l.out); err {
	case nil:
	case x25.ErrInterruptOutstanding:
		if f.interrupt != nil {
			l.count("interrupts replaced")
		}
		f.interrupt = bytes.Clone(octets)
	case x25.ErrClosed:
		return unix.EPIPE
	default:
		return unix.EINVAL
	}
	return 0
}
