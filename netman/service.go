package main

import (
	"fmt"
	"log"

	"dnet/netman/node"
	"dnet/netman/trust"
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
	caller   bool     // servers run as whoever the trust rules make of the caller, and without one as as, nobody
	as       identity
	allow    *trust.Allow
	max      int // calls at once

	acceptors []acceptor // of a resident one, whose turn is next first

	running int // servers of a transient one; circuits of a resident one
	calls   uint64
	refused uint64
}

// server is one process that serves one call.
type server struct {
	service *service
	called  service         // the service as it was when the call came: servtab may be read again meanwhile
	caller  *trust.Decision // who the caller is here, where that decides whom the server runs as
	as      string          // the user that it runs as; "": netman's own
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
	case !l.mayCall(c):
		l.count("calls that allow keeps out")
		c.Clear(l.now, x25.CauseBarred, 0, fmt.Sprintf("%s does not let %s@%s call %s", l.node.Machine(), c.PeerUser, c.Machine, c.Service), &l.out)
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
	e := &endpoint{l: l, c: c, phase: spawning, bytes: s.bytes, server: &server{service: s, called: *s}}
	l.hold(c, e)
	if s.caller {
		l.identify(e, l.caller(c, ""))
		return
	}
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
	if s.caller != nil && !l.audit(e, r) {
		return
	}
	if r.err != nil {
		log.Printf("service %s: %v", s.service.name, r.err)
		l.notStarted(s)
		e.refuse(diagServerFailed, "cannot start the server of "+s.service.name)
		return
	}
	s.pid, s.as = r.pid, r.as.name
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

// notStarted takes back that a server was counted before it ran.
func (l *loop) notStarted(s *server) {
	l.changeRunning(s.service, -1)
	s.exited = true
}

// serverExited is told by the spawner when a server has ended.
func (l *loop) serverExited(e *endpoint, failed bool) {
	s := e.server
	s.exited, s.failed = true, failed
	l.changeRunning(s.service, -1)
	e.programGone()
}
