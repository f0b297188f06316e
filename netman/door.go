package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/x25"
)

// visitor is a connection to the door that has not yet said what it wants.
type visitor struct {
	l     *loop
	desc  *desc
	uid   uint32
	user  string // of uid
	pass  uint64 // by which the keeper knows it again
	admin bool   // root, netman's own user, or of the group dnet
}

// Limits of the door: of all users, and of one.
const (
	maxVisitors, userVisitors = 1024, 768     // connections that have not said what they want: the oldest wins, a further one is closed
	maxAsking, userAsking     = 3 << 11, 4096 // calls that are not answered: 05
	maxReaders, userReaders   = 64, 48        // of status, at once: EBUSY
)

// admit lets a visitor in, whom the keeper has asked who it is.
func (l *loop) admit(m *memo, fd int) {
	v := &visitor{l: l, uid: m.UID, user: m.User, pass: m.Pass, admin: m.Admin}
	if !l.visitors.take(v.who()) {
		l.count("door: visitors turned away")
		unix.Close(fd)
		return
	}
	v.desc = &desc{fd: fd, mask: unix.EPOLLIN, ready: v.ready}
	l.watch(v.desc)
	v.ready(0) // most have said it already
}

// ready reads the first line and does what it asks for.
func (v *visitor) ready(uint32) {
	n, err := circuit.ReadRecord(v.desc.fd, v.l.line)
	if err == unix.EAGAIN {
		return
	}
	v.l.visitors.give(v.who())
	if err != nil || n == 0 {
		v.l.count("door: visitors that said nothing")
		v.l.forget(v.desc)
		return
	}
	line, err := circuit.ParseRequest(v.l.line[:n])
	if err != nil {
		v.refuse(err.Error())
		return
	}
	switch line.Verb {
	case "call":
		v.call(line)
	case "find":
		v.find(line)
	case "status":
		v.status(line)
	case "listen":
		v.listen(line)
	case "trace":
		v.trace(line)
	default:
		v.refuse(fmt.Sprintf("%s is not in this version of netman", line.Verb))
	}
}

// refuse answers a line that cannot be carried out at all.
func (v *visitor) refuse(why string) { v.fail("EINVAL", why) }

func (v *visitor) fail(errno, why string) {
	v.l.count("door: requests refused")
	unix.Write(v.desc.fd, errorLine(errno, why).Append(nil))
	v.l.forget(v.desc)
}

// call places a call for the visitor, whose connection becomes control.
func (v *visitor) call(line circuit.Line) {
	if v.mayAsk() {
		c, err := v.l.node.Call(v.l.now, line.Word(0), v.user, line.Get("stream") == "1", &v.l.out)
		v.await(c, err)
	}
}

// find says which machine offers a name, without calling it.
func (v *visitor) find(line circuit.Line) {
	if v.mayAsk() {
		c, err := v.l.node.Locate(v.l.now, line.Word(0), &v.l.out)
		v.await(c, err)
	}
}

// mayAsk takes the visitor's part of the calls that are not answered, or refuses.
func (v *visitor) mayAsk() bool {
	if v.l.asking.take(v.who()) {
		return true
	}
	v.l.count("door: requests refused")
	unix.Write(v.desc.fd, circuit.Line{Verb: "error", Words: []string{circuit.HexOctet(x25.CauseCongestion), circuit.HexOctet(x25.DiagNone),
		"as many calls as one user may place, or all users, wait for their answers"}}.Append(nil))
	v.l.forget(v.desc)
	return false
}

// await makes the visitor's connection the control of what it asked for, whose answer follows.
func (v *visitor) await(c *node.Circuit, err error) {
	if err != nil {
		v.l.asking.give(v.who())
		v.refuse(err.Error())
		return
	}
	e := &endpoint{l: v.l, c: c, pass: v.pass, control: v.desc, asks: v.who()}
	v.desc.ready = e.controlReady
	v.l.hold(c, e)
}

// found answers a find.
func (e *endpoint) found() {
	line := circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "machine", Value: e.c.Machine}, {Key: "service", Value: e.c.Service}}}
	if port, addr, ok := e.c.Via(); ok {
		line.Keys = append(line.Keys, circuit.Key{Key: "interface", Value: e.l.ports[port].name}, circuit.Key{Key: "station", Value: addr})
	}
	e.sendControl(line)
	e.release()
}

// answer gives the caller the data descriptor of a call that was accepted.
func (e *endpoint) answer() {
	e.answered()
	var theirs int
	if e.joint != nil {
		theirs = e.joint.ends[callersEnd]
	} else {
		pair, err := dataPair()
		if err != nil {
			e.c.Clear(e.l.now, x25.CauseCongestion, 0, "", &e.l.out)
			e.reject(&node.Event{Cause: x25.CauseCongestion, Text: err.Error()})
			return
		}
		defer unix.Close(pair[1])
		e.in = &desc{fd: pair[0]}
		e.out, theirs = e.in, pair[1]
	}
	line := circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "machine", Value: e.c.Machine}, {Key: "service", Value: e.c.Service}}}
	if err := circuit.SendFds(e.control.fd, line.Append(nil), theirs); err != nil {
		e.l.count("door: answers not taken")
		e.abandon()
		return
	}
	e.start()
}

// answered gives back the program's part of the calls that are not answered.
func (e *endpoint) answered() {
	if e.asks != "" {
		e.l.asking.give(e.asks)
		e.asks = ""
	}
}

// reject tells the caller why there is no circuit.
func (e *endpoint) reject(ev *node.Event) {
	line := clearedLine(ev)
	line.Verb = "error"
	e.sendControl(line)
	e.release()
}

// refuse clears an incoming call that its server does not take.
func (e *endpoint) refuse(diag x25.Diag, text string) {
	e.c.Clear(e.l.now, x25.CauseDTE, diag, text, &e.l.out)
	e.release()
}
