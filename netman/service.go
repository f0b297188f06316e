package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// service is a name that this machine offers: transient, with a program of servtab that is started for each call, or resident, with
// servers that have registered it at the door.
type service struct {
	name      string
	transient bool     // of servtab: a server is started for each call
	indirect  bool     // circuits within this machine go through netman too
	argv      []string // of one that is transient
	guarded   bool     // the keeper says who may call
	uid       uint32   // of as
	bytes     bool     // plain stdin and stdout instead of datagrams with control bytes
	as        string   // the user that its servers run as; empty: netman's own
	max       int      // calls at once

	acceptors []acceptor // of a resident one, whose turn is next first

	running int // servers of a transient one; circuits of a resident one
	calls   uint64
	refused uint64
}

// server is one process that serves one call.
type server struct {
	service *service
	id      uint64 // the keeper's
	as      string // the user that it runs as; "": netman's own
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
	case !s.transient && (l.guarded(s) || l.node.Mode() != seal.Open && !c.Local()):
		l.askAdmission(c)
		return
	case !s.transient:
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
	if !s.bytes {
		e.caller = l.callerOf(c, s)
	}
	l.hold(c, e)
	l.startServer(e)
}

// Calls that wait for their server to be started: of all callers, and of one.
const (
	maxStarting    = 512
	callerStarting = 256
)

var errStarting = fmt.Errorf("%d servers of one caller, or %d of all, wait to be started already", callerStarting, maxStarting)

// startServer has the keeper start the server of a call; spawned follows.
func (l *loop) startServer(e *endpoint) {
	l.serverID++
	e.server.id = l.serverID
	l.servers[e.server.id] = e
	if !l.starting.take(callerOf(e.c)) {
		l.count("door: calls above a share")
		l.starting.take("") // which spawned gives back
		l.spawned(e, spawnResult{err: errStarting})
		return
	}
	m := l.callMemo("start", e.c)
	m.ID = e.server.id
	l.tell(m)
}

// spawnResult is what became of a server that was to be started.
type spawnResult struct {
	fds      []int // the keeper's memo says which
	pid      int
	err      error
	as       string // the user that it runs as
	barred   bool   // the caller is not let in
	unproven bool   // because its credential does not hold
	scarce   bool   // for want of descriptors, memory or processes
}

// serverStarted takes what the keeper says of a server: it runs, and fds are our ends, or there is none.
func (l *loop) serverStarted(m *memo, fds []int) {
	e := l.servers[m.ID]
	switch {
	case e == nil || e.server.pid != 0:
		circuit.CloseFds(fds)
		return
	case m.Error == "" && len(fds) != e.serverDescriptors():
		l.tell(&memo{Kind: "signal", ID: m.ID, Signal: int(unix.SIGKILL)})
		m.Error, m.Scarce = "no descriptors left", true
	}
	if m.Error != "" {
		circuit.CloseFds(fds)
		l.spawned(e, spawnResult{err: errors.New(m.Error), scarce: m.Scarce, barred: m.Barred, unproven: m.Unproven})
		return
	}
	l.spawned(e, spawnResult{pid: m.PID, as: m.As, fds: fds})
}

// serverDescriptors is how many descriptors come with a server.
func (e *endpoint) serverDescriptors() int {
	if e.bytes {
		return 2
	}
	return 3
}

// exited takes the end of a server.
func (l *loop) exited(m *memo) {
	if e := l.servers[m.ID]; e != nil {
		delete(l.servers, m.ID)
		l.serverExited(e, m.Failed)
	}
}

// changeRunning counts the servers of a service and tells the directory whether one more call could be taken.
func (l *loop) changeRunning(s *service, by int) {
	s.running += by
	if l.services[s.name] == s {
		l.node.SetBusy(s.name, s.running >= s.max)
	}
}

// spawned ends the wait of a call: its server runs, or could not be started. The call is answered accordingly.
func (l *loop) spawned(e *endpoint, r spawnResult) {
	s := e.server
	l.starting.give(callerOf(e.c))
	if r.err != nil {
		delete(l.servers, s.id)
		if r.barred {
			l.changeRunning(s.service, -1)
			s.exited = true
			l.bar(e.c, r.err.Error(), r.unproven)
			e.release()
			return
		}
		l.count("service: servers not started")
		l.logf(s.service.name, "not started", "service %s: %v", s.service.name, r.err)
		l.changeRunning(s.service, -1)
		s.exited = true
		if r.scarce {
			l.scarce(e.c, r.err)
			e.release()
			return
		}
		e.refuse(diagServerFailed, "cannot start the server of "+s.service.name)
		return
	}
	s.pid, s.as = r.pid, r.as
	if e.bytes {
		e.in = &desc{fd: r.fds[0]}
		e.out = &desc{fd: r.fds[1]}
	} else {
		e.takeData([2]int(r.fds))
		e.control = &desc{fd: r.fds[2]}
	}
	if e.ended != nil {
		e.release() // the caller has gone meanwhile
		return
	}
	e.join()
	if err := e.c.Accept(l.now, &l.out); err != nil {
		e.release()
		return
	}
	e.start()
}

// scarce refuses a call for which there are no descriptors left.
func (l *loop) scarce(c *node.Circuit, err error) {
	l.count("calls refused: no descriptors or memory left")
	c.Clear(l.now, x25.CauseCongestion, 0, err.Error(), &l.out)
}

// serverExited is told when a server has ended.
func (l *loop) serverExited(e *endpoint, failed bool) {
	s := e.server
	s.exited, s.failed = true, failed
	l.changeRunning(s.service, -1)
	e.programGone()
}

// takeServices makes the services of servtab those that this machine offers. What is running stays as it is.
func (l *loop) takeServices(services map[string]*service) {
	l.offers = services
	for _, name := range sortedKeys(l.services) {
		if s := services[name]; l.services[name].transient && (s == nil || !s.transient) {
			delete(l.services, name)
			l.node.Unregister(name)
		}
	}
	for _, name := range sortedKeys(services) {
		if s := services[name]; s.transient {
			l.takeTransient(s)
		}
	}
}

func (l *loop) takeTransient(s *service) {
	switch old := l.services[s.name]; {
	case old == nil:
		if err := l.node.Register(s.name); err != nil {
			l.logf(s.name, "register", "service %s: %v", s.name, err)
			return
		}
		l.services[s.name] = s
	case !old.transient:
		l.logf(s.name, "registered", "service %s: a resident server has registered the name; it keeps it until it ends", s.name)
	default:
		old.argv, old.indirect, old.bytes, old.as, old.uid, old.guarded, old.max = s.argv, s.indirect, s.bytes, s.as, s.uid, s.guarded, s.max
		l.changeRunning(old, 0)
	}
}

// guarded says whether servtab lets only some call a service that a program has registered.
func (l *loop) guarded(s *service) bool {
	t := l.offers[s.name]
	return t != nil && t.guarded
}
