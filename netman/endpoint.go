package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/netman/rawcall"
	"dnet/x25"
)

// recordsAtOnce bounds how many records are read from a program, or written to it, in one system call.
const recordsAtOnce = 32

// turnOctets is how much is read from one program before others get their turn.
const turnOctets = 128 << 10

// filterGrace is how long a filter may go on after its circuit is over before it gets SIGHUP, and then SIGKILL.
const filterGrace = 2 * time.Second

// filterExit is how long a filter that has closed its output may take to exit, before that is told as the end of one direction.
const filterExit = 200 * time.Millisecond

// maxSpill bounds what was read of all programs beyond what their circuits took; above it records are read one by one.
const maxSpill = 16 << 20

// filterStall is how long a filter whose circuit is over may take no input while there is some; then it has no more.
const filterStall = 30 * time.Second

// diedDrain is how long what a program wrote before it died may take to arrive.
const diedDrain = time.Second

// streamEnd is how the end of one direction is told on a stream circuit (protocol.md 4).
var streamEnd = []byte("DEND")

// endpoint is a program's end of a circuit: the descriptors between netman and the program, and the circuit in the node.
//
// In circuit mode one seqpacket socket carries datagrams both ways, each with its control byte first, and a second one, control,
// carries interrupts and the end. In bytes mode two pipes carry octets, and there is no control. Two programs of one machine in
// circuit mode are joined: the socket's other end is not netman's but the other program's, and control is all that is left to do.
//
// An endpoint ends in one of two ways. The program leaves: what it wrote is sent, the node closes the circuit (leave, Drained).
// Or the circuit is cleared: the program is told, gets what came before, then the descriptors are closed (cleared, toProgram).
type endpoint struct {
	l       *loop
	c       *node.Circuit
	bytes   bool
	in, out *desc // from and to the program; the same in circuit mode; nil when joined
	control *desc // nil in bytes mode

	joint  *joint    // the socket pair by which the program is joined with the other one
	caller *endpoint // a server's: the one to be joined with

	server     *server     // the transient server behind it, if there is one
	pass       uint64      // by which the keeper knows the caller again
	asks       string      // who waits for the answer to its call; empty: nobody any more
	seen       bool        // the resident server has said something of the call
	offer      *listener   // the resident server behind it, if there is one
	timer      *time.Timer // the listener must answer before
	phase      phase
	inEnded    bool        // the program writes no more
	outEnded   bool        // nothing more goes to the program
	controlEnd bool        // the program has closed control
	clear      bool        // the program asked for the end
	diag       x25.Diag    // with this diagnostic
	text       string      // and text
	closing    bool        // the node closes the circuit
	signalling bool        // the keeper is to send the server a signal
	ended      *node.Event // the circuit is over: what has come goes to the program first
	batch      uint8       // records read at once
	spill      [][]byte    // read, and the circuit was full
	unsent     [][]byte    // taken from the circuit, and the program's socket was full
	partial    []byte      // bytes mode: what the pipe did not take
	interrupt  []byte      // waits until the one before it is confirmed
}

// phase is how far the call of an endpoint has come.
type phase uint8

const (
	calling   phase = iota // placed by a program at the door; control is the door's connection
	spawning               // for a transient server that is being started
	offered                // to a resident server that has not answered
	connected              // data flows
	released               // nothing is left of it
)

// start begins the traffic of a connected circuit.
func (e *endpoint) start() {
	e.phase = connected
	if e.joint == nil {
		e.in.ready, e.out.ready = e.dataReady, e.dataReady
	}
	if e.control != nil {
		e.control.ready = e.controlReady
		e.l.wait(e.control, unix.EPOLLIN)
	}
	e.toProgram()
}

// handle takes an event of the circuit.
func (e *endpoint) handle(ev node.Event) {
	switch ev.Kind {
	case node.Connected:
		if e.phase == calling {
			e.answer()
		}
	case node.Located:
		e.found()
	case node.Data:
		if e.phase == connected {
			e.toProgram()
		}
	case node.Room:
		if e.phase == connected && e.joint == nil && (e.in.mask&unix.EPOLLIN == 0 || len(e.spill) > 0) {
			e.fromProgram() // which was not read while the circuit was full
		}
	case node.Interrupt:
		if e.control == nil {
			e.l.count("interrupts for a filter")
			return
		}
		e.sendControl(circuit.Line{Verb: "interrupt", Octets: ev.Octets})
	case node.InterruptConfirmed:
		if octets := e.interrupt; octets != nil && !e.closing && e.ended == nil {
			e.interrupt = nil
			e.sendInterrupt(octets)
		}
	case node.Reset:
		if e.control != nil {
			e.sendControl(circuit.Line{Verb: "reset", Words: []string{circuit.HexOctet(ev.Cause), circuit.HexOctet(ev.Diag)}})
		}
	case node.Drained:
		e.release()
	case node.Cleared:
		e.ended = &ev
		switch e.phase {
		case connected:
			e.cleared()
		case calling:
			e.reject(&ev)
		case offered:
			e.sendControl(clearedLine(&ev))
			e.release()
		case spawning:
			// The spawner hands the server over, and it is then let go.
		}
	}
}

// dataReady is called by the loop for the data descriptors.
func (e *endpoint) dataReady(events uint32) {
	if events&(unix.EPOLLOUT|unix.EPOLLERR) != 0 {
		e.toProgram()
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP) != 0 {
		e.fromProgram()
	}
}

// settle sets what the descriptors wait for.
func (e *endpoint) settle() {
	if e.phase != connected || e.joint != nil {
		return
	}
	var read, write uint32
	if !e.inEnded && !e.closing && e.ended == nil && e.c.Room() > 0 {
		read = unix.EPOLLIN
	}
	if e.bytes && e.ended != nil && !e.inEnded {
		read = unix.EPOLLIN // see discard
	}
	if _, _, _, held := e.c.Peek(); (held || len(e.partial) > 0 || len(e.unsent) > 0) && !e.outEnded {
		write = unix.EPOLLOUT
	}
	if e.in == e.out {
		e.l.wait(e.in, read|write)
		return
	}
	e.l.wait(e.in, read)
	e.l.wait(e.out, write)
}

// row is the endpoint in status.
func (e *endpoint) row() circuitRow {
	side := "caller"
	if e.server != nil || e.offer != nil {
		side = "server"
	}
	row := circuitRowOf(e.c, side)
	if e.server != nil {
		row.PID, row.As = e.server.pid, e.server.as
	}
	if e.joint != nil {
		row.Direct, row.Held = true, e.joint.held(side == "caller")
	}
	return row
}

// farewell tells the program that netman goes. The keeper ends the servers that it has started.
func (e *endpoint) farewell(gone *node.Event) {
	switch e.phase {
	case connected, offered:
		e.sendControl(clearedLine(gone))
		e.letGo()
	case calling:
		e.reject(gone)
	}
}

// release ends the endpoint: nothing of it is left but a server that still runs.
func (e *endpoint) release() {
	if e.phase == released {
		return
	}
	switch {
	case e.phase == offered:
		e.offer.done(callerOf(e.c), e.seen)
		e.timer.Stop()
	case e.offer != nil:
		e.offer.service.running--
	}
	e.phase = released
	for _, record := range e.spill {
		e.l.spilled -= len(record)
	}
	e.spill = nil
	e.answered()
	e.c.Clear(e.l.now, x25.CauseDTE, 0, "", &e.l.out) // one that is over gives back what it holds
	e.l.forget(e.in)
	if e.out != e.in {
		e.l.forget(e.out)
	}
	e.l.forget(e.control)
	e.letGo()
	e.l.drop(e)
	if s := e.server; s != nil && e.bytes && !s.exited {
		// A filter ends by itself at the end of its input; one that does not is told, and then made to.
		e.l.after(filterGrace, func() { e.hangUp(unix.SIGHUP) })
		e.l.after(2*filterGrace, func() { e.hangUp(unix.SIGKILL) })
	}
}

// fromProgram reads what the program wrote while the circuit takes it, at most turnOctets.
func (e *endpoint) fromProgram() {
	if e.bytes && e.ended != nil {
		e.discard()
		return
	}
	for octets := 0; octets < turnOctets && e.mayRead(); {
		if e.fromSpill() {
			continue
		}
		n, errno := e.receive()
		switch {
		case errno == unix.EINTR || errno == unix.ECONNRESET:
			// After ECONNRESET what is queued can still be read.
			octets++
			continue
		case errno == unix.EAGAIN:
			if e.clear {
				e.leave()
			}
			e.settle()
			return
		case errno != 0 || n == 0:
			e.inputEnd()
			return
		}
		octets += n
	}
	e.settle()
}

// discard reads what a filter still writes when its circuit is over: one that waits for its output to be read takes no input, and would
// not see the end of it.
func (e *endpoint) discard() {
	for octets := 0; octets < turnOctets && e.phase == connected && !e.inEnded; {
		n, err := unix.Read(e.in.fd, e.l.pipe)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			e.inEnded = true
			e.programGone()
		}
		octets += max(n, 1)
	}
	e.settle()
}

// receive reads once from the program and sends what came: n octets, 0 at the end.
func (e *endpoint) receive() (n int, errno unix.Errno) {
	if e.bytes {
		n, err := unix.Read(e.in.fd, e.l.pipe)
		if err != nil {
			return 0, err.(unix.Errno)
		}
		if n > 0 {
			e.c.Send(e.l.now, e.l.pipe[:n], false, false, &e.l.out)
		}
		return n, 0
	}
	records := e.l.fromPrograms
	batch := max(int(e.batch), 1)
	if e.l.spilled > maxSpill {
		batch = 1
	}
	if errno := records.Recv(e.in.fd, batch); errno != 0 {
		return 0, errno
	}
	for i, record := range records.Records {
		n += len(record)
		if i > 0 && !e.mayRead() {
			e.spill = append(e.spill, bytes.Clone(record))
			e.l.spilled += len(record)
			continue
		}
		e.fromDatagram(record)
	}
	if records.Empty && !e.writesNoMore() {
		e.complain("a record without a control byte")
		n++
	}
	// Programs that write many small records are read many at a time; large ones one by one.
	switch {
	case n > turnOctets/2:
		e.batch = 1
	case len(records.Records) >= int(e.batch) && n < turnOctets/4:
		e.batch = uint8(min(2*max(int(e.batch), 1), records.Cap()))
	}
	return n, 0
}

// fromSpill sends a record that was read before and did not fit into the circuit then: false if there is none.
func (e *endpoint) fromSpill() bool {
	if len(e.spill) == 0 {
		return false
	}
	record := e.spill[0]
	e.spill = e.spill[1:]
	e.l.spilled -= len(record)
	e.fromDatagram(record)
	return true
}

// mayRead says whether what the program writes can go on its way.
func (e *endpoint) mayRead() bool {
	return e.phase == connected && !e.inEnded && !e.closing && e.ended == nil && e.c.Room() > 0
}

// fromDatagram sends one message of the program: the control byte and the data.
func (e *endpoint) fromDatagram(message []byte) {
	control := message[0]
	q, more := circuit.Bits(control)&circuit.Q != 0, circuit.Bits(control)&circuit.M != 0
	if len(message) > 1+circuit.MaxDatagram {
		e.complain(fmt.Sprintf("a record of more than %d octets; send it in pieces, with M", circuit.MaxDatagram))
		return
	}
	if circuit.Bits(control)&^(circuit.Q|circuit.M) != 0 {
		e.complain("control byte with bits other than Q and M")
		return
	}
	if err := e.c.Send(e.l.now, message[1:], q, more, &e.l.out); err != nil {
		e.complain(err.Error())
	}
}

// complain tells the program that a message of its was not sent.
func (e *endpoint) complain(why string) {
	e.l.count("program messages refused: EINVAL")
	e.sendControl(errorLine("EINVAL", why))
}

// inputEnd notes that the program writes no more: on a stream circuit the other end is told, unless all is over.
func (e *endpoint) inputEnd() {
	e.inEnded = true
	if e.control != nil {
		e.controlReady(0) // if the program has gone, or wants to, it says so there
	}
	if e.phase != connected || e.programGone() {
		return
	}
	switch {
	case !e.c.Stream || e.controlEnd || e.hungUp(): // it has gone: that is told, and not the end of a direction
	case e.bytes && !e.server.exited:
		e.l.after(filterExit, e.endDirection) // if it goes on; how it ends says whether its output is whole
	default:
		e.endDirection()
	}
	e.settle()
}

// endDirection tells the other end of a stream circuit that the program writes no more.
func (e *endpoint) endDirection() {
	if e.phase != connected || e.closing || e.ended != nil {
		return
	}
	if err := e.c.Send(e.l.now, streamEnd, true, false, &e.l.out); err != nil {
		// A datagram that is cut must not look whole.
		e.complain("the end of a direction inside a datagram")
		e.died("the program ended its direction inside a datagram")
	}
}

// hungUp says that the program holds the data socket no more: it has not ended one direction, it is gone, and control will tell.
func (e *endpoint) hungUp() bool { return !e.bytes && !e.outEnded && e.hangUps()&unix.POLLHUP != 0 }

// writesNoMore says that what the program writes to the data socket has an end.
func (e *endpoint) writesNoMore() bool { return e.hangUps()&(unix.POLLRDHUP|unix.POLLHUP) != 0 }

func (e *endpoint) hangUps() int16 {
	poll := []unix.PollFd{{Fd: int32(e.in.fd), Events: unix.POLLRDHUP}}
	unix.Poll(poll, 0)
	return poll[0].Revents
}

// programGone closes the circuit when the program has: true if so.
func (e *endpoint) programGone() bool {
	if e.phase != connected {
		return false
	}
	if e.ended != nil {
		if e.controlEnd || e.bytes && e.server.exited {
			e.release()
			return true
		}
		return false
	}
	switch s := e.server; {
	case e.clear:
		if !e.inputOver() {
			return false
		}
		e.leave()
	case s == nil && e.controlEnd:
		e.died("")
	case s != nil && s.exited && s.failed:
		e.died("the server of " + s.service.name + " died")
	case s != nil && s.exited && e.inputOver():
		e.leave()
	default:
		return false
	}
	return true
}

// died is when the program has ended without a word: what it wrote has diedDrain to arrive. Whoever serves it must hear of it even if it
// takes no data.
func (e *endpoint) died(text string) {
	e.diag, e.text = x25.DiagProgramDied, text
	if e.joint == nil {
		e.l.after(diedDrain, func() {
			if e.ended == nil && e.phase == connected {
				e.c.Clear(e.l.now, x25.CauseDTE, e.diag, e.text, &e.l.out)
				e.release()
			}
		})
	}
	e.goes()
}

// goes is when the program has asked for the end, or has died: what it has written goes first.
func (e *endpoint) goes() {
	e.clear = true
	if e.joint == nil {
		e.fromProgram()
	}
	if e.inputOver() || e.joint != nil {
		e.leave()
	}
}

// inputOver says that nobody writes any more. Of a program that is joined netman does not see the data: control stands for both.
func (e *endpoint) inputOver() bool {
	if e.joint != nil {
		return e.controlEnd
	}
	return e.inEnded
}

// leave closes the circuit for the program: what it wrote arrives first.
func (e *endpoint) leave() {
	if e.closing || e.ended != nil {
		return
	}
	e.closing, e.outEnded = true, true
	e.c.Close(e.l.now, x25.CauseDTE, e.diag, e.text, &e.l.out)
	e.settle()
}

// cleared tells the program at once that the circuit is over; what came before can still be read, to its end.
func (e *endpoint) cleared() {
	e.sendControl(clearedLine(e.ended))
	if e.ended.Cause != x25.CauseDTE || e.ended.Diag != x25.DiagNone {
		e.hangUp(unix.SIGHUP)
	}
	if e.joint != nil {
		e.release() // the data is in the program's own socket
		return
	}
	e.toProgram()
	if e.bytes {
		e.hurry(e.untaken())
	}
}

// untaken is how much a filter has not taken.
func (e *endpoint) untaken() int { return e.c.Held() + len(e.partial) }

// hurry ends the input of a filter whose circuit is over, if it still takes nothing after filterStall.
func (e *endpoint) hurry(left int) {
	if e.phase != connected {
		return
	}
	e.l.after(filterStall, func() {
		if now := e.untaken(); now != left {
			e.hurry(now)
		} else if e.phase == connected {
			e.release()
		}
	})
}

// toProgram writes what has come while the program takes it; after the last of a circuit that is over it is done.
func (e *endpoint) toProgram() {
	for e.phase == connected && e.flushPartial() && e.flushRecords() {
		if e.gather() {
			continue
		}
		if e.ended != nil && !e.signalling {
			e.release()
		}
		break
	}
	e.settle()
}

// gather takes what the circuit holds, up to a batch, to be written: false if there is nothing.
func (e *endpoint) gather() bool {
	records, octets := e.l.toPrograms, 0
	records.Records = records.Records[:0]
	taken := false
	for octets < turnOctets/2 && len(records.Records) < records.Cap() {
		data, q, more, ok := e.c.Peek()
		if !ok {
			break
		}
		end := q && e.c.Stream && !more && string(data) == string(streamEnd)
		if end && len(records.Records)+len(e.partial) > 0 {
			break // after what comes before it
		}
		taken = true
		octets += len(data) + 1
		switch {
		case e.outEnded: // the program has gone: acknowledged and discarded
			e.l.count("records for a program that has gone")
		case e.bytes && q && !end:
			e.l.count("records with Q for a filter")
		case end:
			e.outputEnd()
		case e.bytes:
			e.partial = append(e.partial, data...)
		default:
			record := records.Slot(len(records.Records))[:1+len(data)]
			record[0] = controlByte(q, more)
			copy(record[1:], data)
			records.Records = append(records.Records, record)
		}
		e.c.Next(e.l.now, &e.l.out)
	}
	e.sendRecords(records)
	return taken
}

// sendRecords writes what was gathered. What the program does not take now is kept.
func (e *endpoint) sendRecords(records *rawcall.Vector) {
	for len(records.Records) > 0 && !e.outEnded {
		n, errno := records.Send(e.out.fd)
		records.Records = records.Records[:copy(records.Records, records.Records[n:])]
		switch {
		case errno == unix.EAGAIN || errno == 0 && n == 0:
			for _, record := range records.Records {
				e.unsent = append(e.unsent, bytes.Clone(record))
			}
			return
		case errno != 0:
			e.outEnded = true // EPIPE: it reads no more
			e.l.counters["records for a program that has gone"] += uint64(len(records.Records))
		}
	}
}

// flushRecords writes what the program did not take before: false if it still does not.
func (e *endpoint) flushRecords() bool {
	if len(e.unsent) == 0 {
		return true
	}
	records := e.l.toPrograms
	records.Records = append(records.Records[:0], e.unsent...)
	e.unsent = nil
	e.sendRecords(records)
	return len(e.unsent) == 0
}

// flushPartial writes what a pipe did not take before: false if it still does not.
func (e *endpoint) flushPartial() bool {
	for len(e.partial) > 0 {
		n, err := unix.Write(e.out.fd, e.partial)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			e.outEnded, e.partial = true, nil
			e.l.count("records for a program that has gone")
		default:
			e.partial = e.partial[n:]
		}
	}
	e.partial = nil
	return true
}

// outputEnd tells the program that the other end writes no more.
func (e *endpoint) outputEnd() {
	e.outEnded = true
	if e.bytes {
		e.l.forget(e.out)
	} else {
		unix.Shutdown(e.out.fd, unix.SHUT_WR)
	}
}

// hangUp signals a filter, which has no control to be told by.
func (e *endpoint) hangUp(signal unix.Signal) {
	if s := e.server; s != nil && e.bytes && s.pid > 0 && !s.exited {
		e.l.tell(&memo{Kind: "signal", ID: s.id, Signal: int(signal)})
		e.signalling = true
	}
}

// signalled is when the keeper has done so. A filter is told that its input was cut before it sees the end of it.
func (l *loop) signalled(m *memo) {
	if e := l.servers[m.ID]; e != nil && e.signalling {
		e.signalling = false
		e.toProgram()
	}
}
