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
	backlog    = 128             // calls of one caller that wait for its answer; a further one is cleared 01
	backlogs   = 256             // the same, of all callers
	offerTime  = 8 * time.Second // after which a call that it did not answer is cleared 01; shorter than the caller's T21
	maxNames   = 4096            // names registered at the door: EBUSY
	namesOfOne = 3072            // by one user
)

// listener is a resident server at the door: it is offered the calls for its name and answers each.
type listener struct {
	l       *loop
	desc    *desc
	service *service
	shared  bool     // others may register the same name
	through bool     // calls of this machine go through netman too
	who     string   // whose program it is
	waiting shares   // calls that it has not answered
	unseen  []string // callers of calls that ended before the listener had read of them, and count until it has
}

// listen registers a name for the visitor, whose connection brings the calls from then on.
func (v *visitor) listen(line circuit.Line) {
	name := names.FoldService(line.Word(0))
	shared := line.Get("shared") == "1"
	if line.Get("complex") == "1" {
		v.listenComplex(name, shared)
		return
	}
	lis := &listener{l: v.l, desc: v.desc, shared: shared, through: line.Get("direct") == "0", who: v.who(), waiting: newShares(backlogs, backlog)}
	if !v.l.names.take(lis.who) {
		v.fail("EBUSY", "as many names as one user may register, or all users, are registered")
		return
	}
	s, errno, why := v.l.register(name, v.uid, lis)
	if s == nil {
		v.l.names.give(lis.who)
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
	if n > 0 {
		lis.l.count("door: lines that nobody asked for")
	}
	if err == unix.EAGAIN || err == unix.EINTR || n > 0 {
		return
	}
	lis.close()
}

// close withdraws a listener, and its name with the last one. Its circuits stay; calls it has not answered end with their own control.
func (lis *listener) close() {
	lis.l.names.give(lis.who)
	lis.l.withdraw(lis.service, lis)
	lis.l.forget(lis.desc)
}

func (lis *listener) shares() bool { return lis.shared }

// offer gives the listener a call: false if it takes none.
func (lis *listener) offer(c *node.Circuit) bool {
	l, who := lis.l, callerOf(c)
	lis.reclaim()
	if !lis.waiting.take(who) {
		l.count("door: calls above a share")
		return false
	}
	if !lis.hand(c) {
		lis.waiting.give(who)
		return false
	}
	return true
}

// done notes that a call is answered, or has ended. One that the listener has not seen yet counts until it has: a caller who gives up each
// call at once would else fill its socket.
func (lis *listener) done(who string, seen bool) {
	if seen {
		lis.waiting.give(who)
		return
	}
	lis.unseen = append(lis.unseen, who)
}

// reclaim gives back what unseen calls held, once the listener has read all that was written to it.
func (lis *listener) reclaim() {
	if len(lis.unseen) == 0 {
		return
	}
	if unread, err := unix.IoctlGetInt(lis.desc.fd, unix.SIOCOUTQ); err == nil && unread > 0 {
		return
	}
	for _, who := range lis.unseen {
		lis.waiting.give(who)
	}
	lis.unseen = lis.unseen[:0]
}

// hand makes the descriptors of a call and sends them to the listener.
func (lis *listener) hand(c *node.Circuit) bool {
	l := lis.l
	e := &endpoint{l: l, c: c, phase: offered, offer: lis}
	if !lis.through {
		e.caller = l.callerOf(c, lis.service)
	}
	data, err := dataPair()
	if err != nil {
		l.scarce(c, err)
		return true
	}
	control, err := seqpacketPair()
	if err != nil {
		closeAll(data[:])
		l.scarce(c, err)
		return true
	}
	defer unix.Close(control[1])
	line := circuit.Line{Verb: "call", Keys: []circuit.Key{
		{Key: "service", Value: c.Service}, {Key: "machine", Value: c.Machine}, {Key: "user", Value: c.PeerUser},
	}}
	if c.Stream {
		line.Keys = append(line.Keys, circuit.Key{Key: "stream", Value: "1"})
	}
	if err := circuit.SendFds(lis.desc.fd, line.Append(nil), data[1], control[1]); err != nil {
		closeAll(data[:])
		l.count("door: calls not taken by a listener")
		unix.Close(control[0])
		return false
	}
	e.takeData(data)
	e.control = &desc{fd: control[0]}
	e.control.mask, e.control.ready = unix.EPOLLIN, e.controlReady
	l.hold(c, e)
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
		e.join()
		if err := e.c.Accept(e.l.now, &e.l.out); err != nil {
			e.release()
			return
		}
		e.offer.done(callerOf(e.c), true)
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
