package main

import (
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/x25"
)

// Limits of a listener (protocol.md 4).
const (
	backlog   = 128             // calls that wait for its answer; a further one is cleared 01
	offerTime = 8 * time.Second // after which a call that it did not answer is cleared 01; shorter than the caller's T21
	maxNames  = 4096            // names registered at the door
)

// listener is a resident server at the door: it is offered the calls for its name and answers each.
type listener struct {
	l       *loop
	desc    *desc
	service *service
	shared  bool // others may register the same name
	waiting int  // calls that it has not answered
}

// listen registers a name for the visitor, whose connection brings the calls from then on.
func (v *visitor) listen(line circuit.Line) {
	name := names.FoldService(line.Word(0))
	shared := line.Get("shared") == "1"
	if line.Get("complex") == "1" {
		v.refuse("complex servers are not in this version of netman")
		return
	}
	lis := &listener{l: v.l, desc: v.desc, shared: shared}
	s, errno, why := v.l.register(name, v.uid, lis)
	if s == nil {
		v.fail(errno, why)
		return
	}
	lis.service = s
	v.desc.ready = lis.ready
	if _, err := unix.Write(v.desc.fd, circuit.Line{Verb: "ok"}.Append(nil)); err != nil {
		lis.close()
	}
}

// ready is called when a listener speaks, which it must not, or has gone.
func (lis *listener) ready(uint32) {
	n, err := unix.Read(lis.desc.fd, lis.l.line)
	if err == unix.EAGAIN || err == unix.EINTR || n > 0 {
		return
	}
	lis.close()
}

// close withdraws a listener, and its name with the last one. Its circuits stay; calls it has not answered end with their own control.
func (lis *listener) close() {
	lis.l.withdraw(lis.service, lis)
	lis.l.forget(lis.desc)
}

func (lis *listener) shares() bool { return lis.shared }

// offer makes the descriptors of a call and sends them to the listener: false if it takes none.
func (lis *listener) offer(c *node.Circuit) bool {
	if lis.waiting >= backlog {
		return false
	}
	l := lis.l
	data, err := dataPair()
	if err != nil {
		return false
	}
	defer unix.Close(data[1])
	control, err := seqpacketPair()
	if err != nil {
		unix.Close(data[0])
		return false
	}
	defer unix.Close(control[1])
	line := circuit.Line{Verb: "call", Keys: []circuit.Key{
		{Key: "service", Value: c.Service}, {Key: "machine", Value: c.Machine}, {Key: "user", Value: c.PeerUser},
	}}
	if c.Stream {
		line.Keys = append(line.Keys, circuit.Key{Key: "stream", Value: "1"})
	}
	if err := circuit.SendFds(lis.desc.fd, line.Append(nil), data[1], control[1]); err != nil {
		unix.Close(data[0])
		unix.Close(control[0])
		return false
	}
	e := &endpoint{l: l, c: c, phase: offered, offer: lis, in: &desc{fd: data[0]}, control: &desc{fd: control[0]}}
	e.out = e.in
	e.control.mask, e.control.ready = unix.EPOLLIN, e.controlReady
	l.hold(c, e)
	lis.waiting++
	l.watch(e.control)
	e.timer = l.after(offerTime, func() {
		if e.phase == offered {
			late := node.Event{Cause: x25.CauseBusy, Text: "the server of " + c.Service + " does not answer"}
			c.Clear(l.now, late.Cause, 0, late.Text, &l.out)
			e.sendControl(clearedLine(&late)) // for a server that accepts too late
			e.release()
		}
	})
	return true
}

// answerOffer takes what a resident server says to a call.
func (e *endpoint) answerOffer(line circuit.Line) {
	switch line.Verb {
	case "accept":
		if err := e.c.Accept(e.l.now, &e.l.out); err != nil {
			e.release()
			return
		}
		e.offer.waiting--
		e.offer.service.running++
		e.timer.Stop()
		e.start()
	case "refuse":
		e.keepReason(line)
		e.refuse(e.diag, e.text)
	default:
		e.complain("accept or refuse the call first")
	}
}
