package main

import (
	"fmt"
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
	s := v.l.services[name]
	switch {
	case s == nil && len(v.l.services) >= maxNames:
		v.refuse(fmt.Sprintf("%d names are registered already", maxNames))
		return
	case s == nil:
		if err := v.l.node.Register(name); err != nil {
			v.refuse(err.Error())
			return
		}
		s = &service{name: name}
		v.l.services[name] = s
	case s.path != "":
		v.taken(name + " is a service of servtab")
		return
	case !shared || !s.listeners[0].shared:
		v.taken(name + " is registered already; servers that share a name all say shared=1")
		return
	}
	lis := &listener{l: v.l, desc: v.desc, service: s, shared: shared}
	s.listeners = append(s.listeners, lis)
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
	s := lis.service
	for i, other := range s.listeners {
		if other == lis {
			s.listeners = append(s.listeners[:i:i], s.listeners[i+1:]...)
			break
		}
	}
	if len(s.listeners) == 0 {
		delete(lis.l.services, s.name)
		lis.l.node.Unregister(s.name)
	}
	lis.l.forget(lis.desc)
}

// offer gives a call to a resident server: to the next in turn that has room in its backlog.
func (l *loop) offer(s *service, c *node.Circuit) {
	for range s.listeners {
		lis := s.listeners[0]
		s.listeners = append(s.listeners[1:len(s.listeners):len(s.listeners)], lis)
		if lis.waiting < backlog && l.offerTo(lis, c) {
			s.calls++
			return
		}
	}
	s.refused++
	c.Clear(l.now, x25.CauseBusy, 0, fmt.Sprintf("%d calls wait for the server of %s already", backlog, s.name), &l.out)
}

// offerTo makes the descriptors of a call and sends them to a listener: false if it takes none.
func (l *loop) offerTo(lis *listener, c *node.Circuit) bool {
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
	c.User = e
	l.endpoints[e] = struct{}{}
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
		e.farewell(line)
		e.refuse(e.diag, e.text)
	default:
		e.complain("accept or refuse the call first")
	}
}
