package main

import (
	"fmt"

	"dnet/netman/node"
	"dnet/x25"
)

// service is a name that this machine offers: transient, with a program of servtab that is started for each call, or resident, with
// servers that have registered it at the door.
type service struct {
	name     string
	path     string   // of the program; empty: resident
	argv     []string // argv[0] as written in servtab
	resident bool     // netman keeps its server running, which registers the name itself
	bytes    bool     // plain stdin and stdout instead of datagrams with control bytes
	user     string   // as named in servtab; empty: none was
	as       identity
	max      int // calls at once

	acceptors []acceptor // of a resident one, whose turn is next first

	running int // servers of a transient one; circuits of a resident one
	calls   uint64
	refused uint64
}

// server is one process that serves one call.
type server struct {
	service *service
	pid     int
	exited  bool
	failed  bool // it was killed, or (circuit mode) said that it failed
}

// diagServerFailed refuses a call whose server could not be started (protocol.md 4).
const diagServerFailed x25.Diag = 0xf2

// incoming takes a call that came for a service of this machine.
func (l *loop) incoming(c *node.Circuit) {
	s := l.services[c.Service]
	switch {
	case s == nil:
		c.Clear(l.now, x25.CauseNotObtainable, 0, "no service "+c.Service, &l.out)
		return
	case s.path == "":
		l.offer(s, c)
		return
	}
	if s.running >= s.max {
		s.refused++
		c.Clear(l.now, x25.CauseBusy, 0, fmt.Sprintf("%s serves %d calls already", s.name, s.max), &l.out)
		return
	}
	s.calls++
	l.changeRunning(s, +1)
	e := &endpoint{l: l, c: c, phase: spawning, bytes: s.bytes, server: &server{service: s}}
	l.hold(c, e)
	l.spawn(e)
}

// changeRunning counts the servers of a service and tells the directory whether one more call could be taken.
func (l *loop) changeRunning(s *service, by int) {
	s.running += by
	if l.services[s.name] == s {
		l.node.SetBusy(s.name, s.running >= s.max)
	}
}

// spawned is what the spawner hands back: the server runs, or could not be started. The call is answered accordingly.
func (l *loop) spawned(e *endpoint, r spawnResult) {
	s := e.server
	if r.err != nil {
		l.count("service: servers not started")
		l.logf(s.service.name, "not started", "service %s: %v", s.service.name, r.err)
		l.changeRunning(s.service, -1)
		s.exited = true
		e.refuse(diagServerFailed, "cannot start the server of "+s.service.name)
		return
	}
	s.pid = r.pid
	e.in, e.out, e.control = r.in, r.out, r.control
	if e.ended != nil {
		e.release() // the caller has gone meanwhile
		return
	}
	if err := e.c.Accept(l.now, &l.out); err != nil {
		e.release()
		return
	}
	e.start()
}

// serverExited is told by the spawner when a server has ended.
func (l *loop) serverExited(e *endpoint, failed bool) {
	s := e.server
	s.exited, s.failed = true, failed
	l.changeRunning(s.service, -1)
	e.programGone()
}
