package main

import (
	"bytes"
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

// diedDrain is how long what a program wrote before it died may take to arrive.
const diedDrain = time.Second

// streamEnd is how the end of one direction is told on a stream circuit (protocol.md 4).
var streamEnd = []byte("DEND")

// endpoint is a program's end of a circuit: the descriptors between netman and the program, and the circuit in the node.
//
// In circuit mode one seqpacket socket carries datagrams both ways, each with its control byte first, and a second one, control,
// carries interrupts and the end. In bytes mode two pipes carry octets, and there is no control.
//
// An endpoint ends in one of two ways. The program leaves: what it wrote is sent, the node closes the circuit (leave, Drained).
// Or the circuit is cleared: the program is told, gets what came before, then the descriptors are closed (cleared, toProgram).
type endpoint struct {
	l       *loop
	c       *node.Circuit
	bytes   bool
	in, out *desc // from and to the program; the same in circuit mode
	control *desc // nil in bytes mode

	server     *server     // the transient server behind it, if there is one
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
	e.in.ready = e.dataReady
	e.out.ready = e.dataReady
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
		if e.phase == connected && (e.in.mask&unix.EPOLLIN == 0 || len(e.spill) > 0) {
			e.fromProgram() // which was not read while the circuit was full
		}
	case node.Interrupt:
		if e.control != nil {
			e.sendControl(circuit.Line{Verb: "interrupt", Octets: ev.Octets})
		}
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
	if e.phase != connected {
		return
	}
	var read, write uint32
	if !e.inEnded && !e.closing && e.ended == nil && e.c.Room() > 0 {
		read = unix.EPOLLIN
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
	switch {
	case e.server != nil:
		row := circuitRowOf(e.c, "server")
		row.PID, row.As = e.server.pid, e.server.as
		return row
	case e.offer != nil:
		return circuitRowOf(e.c, "server")
	}
	return circuitRowOf(e.c, "caller")
}

// farewell tells the program that netman goes, and ends the server that it started.
func (e *endpoint) farewell(gone *node.Event) {
	if e.server != nil && e.server.pid > 0 && !e.server.exited {
		unix.Kill(-e.server.pid, unix.SIGTERM)
	}
	switch e.phase {
	case connected, offered:
		e.sendControl(clearedLine(gone))
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
		e.offer.waiting--
		e.timer.Stop()
	case e.offer != nil:
		e.offer.service.running--
	}
	e.phase = released
	e.c.Clear(e.l.now, x25.CauseDTE, 0, "", &e.l.out) // one that is over gives back what it holds
	e.l.forget(e.in)
	if e.out != e.in {
		e.l.forget(e.out)
	}
	e.l.forget(e.control)
	e.l.drop(e)
	if s := e.server; s != nil && e.bytes && !s.exited {
		// A filter ends by itself at the end of its input; one that does not is told, and then made to.
		e.l.after(filterGrace, func() { e.hangUp(unix.SIGHUP) })
		e.l.after(2*filterGrace, func() { e.hangUp(unix.SIGKILL) })
	}
}

// fromProgram reads what the program wrote while the circuit takes it, at most turnOctets.
func (e *endpoint) fromProgram() {
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
	if errno := records.Recv(e.in.fd, max(int(e.batch), 1)); errno != 0 {
		return 0, errno
	}
	for i, record := range records.Records {
		n += len(record)
		if i > 0 && !e.mayRead() {
			e.spill = append(e.spill, bytes.Clone(record))
			continue
		}
		e.fromDatagram(record)
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
	if e.phase == connected && !e.programGone() {
		if e.c.Stream && !e.hungUp() {
			e.c.Send(e.l.now, streamEnd, true, false, &e.l.out)
		}
		e.settle()
	}
}

// hungUp says that the program holds the data socket no more: it has not ended one direction, it is gone, and control will tell.
func (e *endpoint) hungUp() bool {
	if e.bytes || e.outEnded {
		return false
	}
	poll := []unix.PollFd{{Fd: int32(e.in.fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(poll, 0)
	return n == 1 && poll[0].Revents&unix.POLLHUP != 0
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
	gone := e.controlEnd && e.inEnded
	if s := e.server; s != nil && !e.clear {
		gone = s.exited && e.inEnded
		if gone && s.failed {
			e.diag, e.text = x25.DiagProgramDied, "the server of "+s.service.name+" died"
		}
	} else if gone && !e.clear {
		e.diag = x25.DiagProgramDied
	}
	if gone {
		e.leave()
	}
	return gone
}

// leave closes the circuit for the program: what it wrote arrives first.
func (e *endpoint) leave() {
	if e.closing || e.ended != nil {
		return
	}
	e.closing, e.outEnded = true, true
	e.c.Close(e.l.now, x25.CauseDTE, e.diag, e.text, &e.l.out)
	e.settle()
	if e.diag == x25.DiagProgramDied {
		// Whoever serves a program that died must hear of it even if it takes no data.
		e.l.after(diedDrain, func() {
			if e.ended == nil && e.phase == connected {
				e.c.Clear(e.l.now, x25.CauseDTE, e.diag, e.text, &e.l.out)
				e.release()
			}
		})
	}
}

// cleared tells the program at once that the circuit is over; what came before can still be read, to its end.
func (e *endpoint) cleared() {
	e.sendControl(clearedLine(e.ended))
	if e.ended.Cause != x25.CauseDTE || e.ended.Diag != x25.DiagNone {
		e.hangUp(unix.SIGHUP)
	}
	e.toProgram()
}

// toProgram writes what has come while the program takes it; after the last of a circuit that is over it is done.
func (e *endpoint) toProgram() {
	for e.phase == connected && e.flushPartial() && e.flushRecords() {
		if e.gather() {
			continue
		}
		if e.ended != nil {
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
		case e.outEnded || e.bytes && q && !end: // the program has gone: acknowledged and discarded
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
		unix.Kill(-s.pid, signal)
	}
}
