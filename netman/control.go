package main

import (
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/x25"
)

// sendControl writes one message on control. It is small, and a program that does not read control loses what does not fit: interrupts
// may be lost, and the end is also told by the end of file.
func (e *endpoint) sendControl(line circuit.Line) {
	if e.control == nil || e.control.fd < 0 {
		return
	}
	if _, err := unix.Write(e.control.fd, line.Append(nil)); err != nil {
		e.l.count("control messages not taken by the program")
	}
}

// controlMessages is how many messages one program's control is read for before others get their turn.
const controlMessages = 16

// controlReady reads what the program says on control.
func (e *endpoint) controlReady(uint32) {
	for turn := 0; turn < controlMessages && e.phase != released; turn++ {
		n, err := circuit.ReadRecord(e.control.fd, e.l.line)
		switch {
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			e.controlEnded()
			return
		}
		e.controlMessage(e.l.line[:n])
	}
}

// controlEnded notes that the program has closed control.
func (e *endpoint) controlEnded() {
	e.controlEnd = true
	e.l.wait(e.control, 0)
	switch e.phase {
	case calling:
		e.abandon()
	case offered:
		e.seen = true
		// It has not had the call: another server may.
		e.c.Clear(e.l.now, x25.CauseNotObtainable, 0, "the server of "+e.c.Service+" has gone", &e.l.out)
		e.release()
	case connected:
		e.programGone()
	}
}

// controlMessage takes one message of the program.
func (e *endpoint) controlMessage(message []byte) {
	line, err := circuit.ParseLine(message)
	switch {
	case err != nil:
		e.l.count("control messages not understood")
	case line.Verb == "interrupt":
		e.sendInterrupt(line.Octets)
	case e.phase == offered:
		e.seen = true
		e.answerOffer(line)
	case line.Verb == "clear" && e.phase == connected:
		e.keepReason(line)
		e.goes()
	case line.Verb == "abort" && e.phase == connected && e.ended == nil:
		e.keepReason(line)
		e.c.Clear(e.l.now, x25.CauseDTE, e.diag, e.text, &e.l.out)
		e.release()
	default:
		e.l.count("control messages without effect")
	}
}

// keepReason keeps what the program gives as its reason.
func (e *endpoint) keepReason(line circuit.Line) {
	if diag, err := line.Octet(0); err == nil {
		e.diag = x25.Diag(diag)
	}
	e.text = line.Text(1)
}

// clearedLine tells the program how its circuit ended.
func clearedLine(ev *node.Event) circuit.Line {
	return circuit.Line{Verb: "cleared", Words: []string{
		circuit.HexOctet(ev.Cause), circuit.HexOctet(ev.Diag), circuit.CutText(ev.Text)}}
}

// errorLine tells the program that something it asked for cannot be done.
func errorLine(errno, why string) circuit.Line {
	return circuit.Line{
		Verb: "error", Words: []string{circuit.CutText(why)}, Keys: []circuit.Key{{Key: "e", Value: errno}},
	}
}

// controlByte is the first octet of a data message.
func controlByte(q, more bool) byte {
	var bits circuit.Bits
	if q {
		bits |= circuit.Q
	}
	if more {
		bits |= circuit.M
	}
	return byte(bits)
}

// sendInterrupt sends an interrupt, or keeps it until the one before it is confirmed. A second one that waits replaces the first.
func (e *endpoint) sendInterrupt(octets []byte) {
	if e.phase != connected || e.closing || e.ended != nil {
		e.l.count("interrupts on a circuit that is not open")
		return
	}
	if len(octets) < 1 || len(octets) > 32 {
		e.complain("an interrupt has 1 to 32 octets")
		return
	}
	switch err := e.c.Interrupt(e.l.now, octets, &e.l.out); err {
	case nil:
	case x25.ErrInterruptOutstanding:
		if e.interrupt != nil {
			e.l.count("interrupts replaced")
		}
		e.interrupt = append([]byte(nil), octets...)
	default:
		e.complain(err.Error())
	}
}

// abandon gives up a call whose program has gone before it was answered.
func (e *endpoint) abandon() {
	e.c.Clear(e.l.now, x25.CauseDTE, 0, "", &e.l.out)
	e.release()
}
