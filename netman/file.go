package main

import (
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/fusedev"
	"dnet/netman/node"
	"dnet/x25"
)

// file is a circuit that a program holds as an open file of /netphys: one open(2), and all descriptors that stem from it.
//
// A file that was opened with O_NONBLOCK may be open before it has a circuit; it can then be neither read nor written. It ends when its
// last descriptor is closed: what was written is sent, the node closes the circuit (release, Drained).
type file struct {
	m      *mount
	c      *node.Circuit // nil while the file waits for a call
	node   *fileNode
	fh     uint64 // the handle that the kernel knows it by
	pid    uint32 // of the program that opened it
	plain  bool   // without control bytes
	access uint32 // O_RDONLY, O_WRONLY or O_RDWR
	phase  filePhase
	server *fileServer // whose call it took, or waits for

	opening       *parked // Open, until it is answered
	reads, writes []*parked
	poll          pollState

	taken      int      // octets of the datagram, or piece, at the head that were read
	inside     bool     // what was read last had M: the next one goes on
	inEnded    bool     // the other end sends no more
	interrupts [][]byte // received and not taken

	outside   bool   // what was written last had M
	outEnded  bool   // this end sends no more
	endDue    bool   // and that is to be said as soon as there is room
	interrupt []byte // waits until the one before it is confirmed

	ended  *node.Event // the circuit is over
	failed unix.Errno  // as an open, or because it was reset; it wins
}

// filePhase is how far the circuit of a file has come.
type filePhase uint8

const (
	fileCalling   filePhase = iota // the call is placed
	fileListening                  // it waits for a call
	fileConnected                  // data flows, or has flowed
	fileClosing                    // the program has asked for the end; what it wrote is on its way
	fileReleased                   // no program has it open
)

// open places a call, or waits for one, and answers when there is a circuit. With O_NONBLOCK it answers at once, and the descriptor
// is ready to be written when there is one, or has failed.
func (m *mount) open(r *fusedev.Request) {
	n := m.nodes[r.Node]
	switch {
	case n == nil:
		m.dev.Fail(r.Unique, unix.ESTALE)
		return
	case len(m.files) >= maxFiles:
		m.l.count("netphys: too many open files")
		m.dev.Fail(r.Unique, unix.ENFILE)
		return
	}
	m.handles++
	dir := directories[n.in]
	f := &file{m: m, node: n, fh: m.handles, pid: r.PID, plain: dir.plain, access: r.Flags & unix.O_ACCMODE}
	n.file = f
	n.opens++
	m.files[f.fh] = f
	f.opening = m.park(&parked{unique: r.Unique, f: f, op: fusedev.Open})
	var errno unix.Errno
	if dir.listen {
		errno = m.serve(f, n.name, r.UID)
	} else {
		m.l.withUser(r.UID, f.callAs)
	}
	switch {
	case errno != 0:
		f.openFailed(errno)
	case r.Flags&unix.O_NONBLOCK != 0:
		f.opened()
	}
}

// callAs places the call, unless the file has been closed meanwhile.
func (f *file) callAs(user string) {
	errno := unix.Errno(0)
	if f.phase == fileCalling && f.c == nil && f.failed == 0 {
		errno = f.call(user)
	}
	switch {
	case errno == 0:
	case f.opening != nil:
		f.openFailed(errno)
	default:
		f.failed = errno
		f.settleEnd()
	}
}

// call places the call.
func (f *file) call(user string) unix.Errno {
	l := f.m.l
	c, err := l.node.Call(l.now, f.node.name, user, f.plain, &l.out)
	if err != nil {
		l.count("netphys: calls refused: EINVAL")
		return unix.EINVAL
	}
	f.c = c
	l.hold(c, f)
	return 0
}

// connected is when there is a circuit. Who can only read has nothing to say: a stream ends in that direction.
func (f *file) connected() {
	f.phase = fileConnected
	f.opened()
	if f.access == unix.O_RDONLY && f.plain {
		f.endWrite()
	}
	f.pushWrites()
	f.wake()
}

// opened answers the open that waits, if one does. If nobody is there any more the file is closed.
func (f *file) opened() {
	p := f.opening
	if p == nil {
		return
	}
	f.opening = nil
	f.m.unpark(p)
	if f.m.dev.Opened(p.unique, f.fh) != nil {
		f.release()
	}
}

// openFailed answers an open that waits with an error, after which there is no file.
func (f *file) openFailed(errno unix.Errno) {
	p := f.opening
	f.opening = nil
	f.m.unpark(p)
	f.m.dev.Fail(p.unique, errno)
	f.release()
}

// handle takes an event of the circuit.
func (f *file) handle(ev node.Event) {
	switch ev.Kind {
	case node.Connected:
		if f.phase == fileCalling {
			f.connected()
		}
	case node.Data:
		if f.access == unix.O_WRONLY {
			f.front() // which takes it away
		}
		f.answerReads()
		f.wake()
	case node.Room:
		f.pushWrites()
		if f.poll.full {
			f.wake()
		}
	case node.Interrupt:
		f.takeInterrupt(ev.Octets)
	case node.InterruptConfirmed:
		if octets := f.interrupt; octets != nil {
			f.interrupt = nil
			f.sendInterrupt(octets)
		}
	case node.Reset:
		f.failed = unix.ECONNRESET
		f.settleEnd()
	case node.Drained:
		f.ended = &node.Event{Cause: x25.CauseDTE}
		f.settleEnd()
	case node.Cleared:
		f.cleared(ev)
	}
}

// cleared is when the circuit is over. What came before can still be read.
func (f *file) cleared(ev node.Event) {
	f.ended = &ev
	if f.phase == fileCalling {
		f.failed = f.errno()
		if f.failed == unix.EPIPE {
			f.failed = unix.ECONNREFUSED // as the answer to a call, 00 00 is no ordinary end (protocol.md 4)
		}
		if f.opening != nil {
			f.openFailed(f.failed)
			return
		}
	}
	f.settleEnd()
}

// settleEnd answers all that waits for a circuit that is over.
func (f *file) settleEnd() {
	f.answerReads()
	f.pushWrites()
	f.wake()
	f.letGo()
}

// letGo is when there may be nothing left of the circuit: nothing to be read, or nobody to read it.
func (f *file) letGo() {
	if f.ended == nil || f.phase != fileReleased && f.failed == 0 && f.c.Held() > 0 {
		return
	}
	f.c.Clear(f.m.l.now, x25.CauseDTE, 0, "", &f.m.l.out) // one that is over gives back what it holds
	f.m.l.drop(f)
	f.leaveServer()
}

// errno is the reason of the end (protocol.md 4): EPIPE for the ordinary one, 0 before it.
func (f *file) errno() unix.Errno {
	switch {
	case f.failed != 0:
		return f.failed
	case f.ended != nil:
		return (&circuit.Cleared{Cause: f.ended.Cause, Diag: f.ended.Diag}).Errno()
	}
	return 0
}

// close ends the circuit for the program once what it wrote has arrived. A datagram that is not whole has no ordinary end.
func (f *file) close(diag x25.Diag, text string) {
	if f.outside && diag == x25.DiagNone {
		diag, text = x25.DiagProgramDied, "closed in the middle of a datagram"
	}
	f.c.Close(f.m.l.now, x25.CauseDTE, diag, text, &f.m.l.out)
}

// release is when no program has the file open any more. It cannot be told whether the last one closed it or was killed.
func (f *file) release() {
	if f.phase == fileReleased {
		return
	}
	m, l, was := f.m, f.m.l, f.phase
	f.phase = fileReleased
	delete(m.files, f.fh)
	if f.node.opens--; f.node.file == f {
		f.node.file = nil
	}
	switch {
	case was == fileListening:
		f.server.stopWaiting(f)
	case f.c == nil:
	case f.ended != nil:
		f.letGo()
	case was == fileCalling || f.failed != 0:
		f.c.Clear(l.now, x25.CauseDTE, 0, "", &l.out)
		l.drop(f)
		f.leaveServer()
	case was == fileConnected:
		f.close(x25.DiagNone, "")
	}
}

// leaveServer tells the server, once, that one of its circuits is over.
func (f *file) leaveServer() {
	if s := f.server; s != nil {
		f.server = nil
		s.left()
	}
}

// row is the file in status.
func (f *file) row() circuitRow {
	side := "caller"
	if directories[f.node.in].listen {
		side = "server"
	}
	row := circuitRowOf(f.c, side)
	row.PID = int(f.pid)
	return row
}

// farewell ends the circuit for the program: netman goes.
func (f *file) farewell(gone *node.Event) {
	if f.phase == fileCalling && f.opening == nil || f.phase == fileConnected || f.phase == fileClosing {
		f.ended = gone
		f.answerReads()
		f.pushWrites()
		f.wake()
	}
}
