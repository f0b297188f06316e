package main

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dnet/netman/node"
	"dnet/x25"
)

// lingerTime is how long the name of a server stays when no open waits for a call and no circuit of its is open: a server that works in
// a loop, or in a shell, comes back.
const lingerTime = 2 * time.Second

// fileServer is a resident server whose program opens /netphys/listen/NAME: each open waits for one call and becomes its circuit.
// Several opens are several takers of the same name. Between two opens calls wait for the next one.
type fileServer struct {
	m        *mount
	service  *service
	uid      uint32 // of all who serve it
	opens    []*file
	calls    []*waitingCall
	circuits int
	linger   *time.Timer // runs while nobody serves
}

// waitingCall is a call that no open has taken yet.
type waitingCall struct {
	s     *fileServer
	c     *node.Circuit
	timer *time.Timer
}

// serve has a file wait for a call. EADDRINUSE: the name is another server's, or another user's.
func (m *mount) serve(f *file, name string, uid uint32) unix.Errno {
	s := m.servers[name]
	if s == nil {
		s = &fileServer{m: m, uid: uid}
		var errno string
		if s.service, errno, _ = m.l.register(name, uid, s); s.service == nil {
			return unix.Errno(map[string]unix.Errno{"EADDRINUSE": unix.EADDRINUSE, "EINVAL": unix.EINVAL}[errno])
		}
		m.servers[name] = s
	}
	if s.uid != uid {
		return unix.EADDRINUSE
	}
	f.server, f.phase = s, fileListening
	s.opens = append(s.opens, f)
	for len(s.calls) > 0 && len(s.opens) > 0 {
		call := s.calls[0]
		s.drop(call)
		s.connect(call.c)
	}
	s.changed()
	return 0
}

// shares says no: one user serves a name through files, and nobody else.
func (s *fileServer) shares() bool { return false }

// offer gives a call to an open that waits, or keeps it for the next one.
func (s *fileServer) offer(c *node.Circuit) bool {
	switch {
	case len(s.opens) > 0:
		s.connect(c)
		s.changed()
		return true
	case len(s.calls) >= backlog:
		return false
	}
	l := s.m.l
	call := &waitingCall{s: s, c: c}
	s.calls = append(s.calls, call)
	s.changed()
	l.hold(c, call)
	call.timer = l.after(offerTime, func() {
		if slices.Contains(s.calls, call) {
			s.drop(call)
			c.Clear(l.now, x25.CauseBusy, 0, "the server of "+c.Service+" does not answer", &l.out)
		}
	})
	return true
}

// connect makes a call the circuit of the open that has waited longest.
func (s *fileServer) connect(c *node.Circuit) {
	f := s.opens[0]
	l := s.m.l
	if err := c.Accept(l.now, &l.out); err != nil {
		c.Clear(l.now, x25.CauseDTE, 0, "", &l.out) // it has gone meanwhile
		return
	}
	s.opens = append(s.opens[:0], s.opens[1:]...)
	s.circuits++
	s.service.running++
	f.c = c
	l.hold(c, f)
	f.connected()
}

// left is told when a circuit is over.
func (s *fileServer) left() {
	s.circuits--
	s.service.running--
	s.changed()
}

// stopWaiting is told when an open is given up.
func (s *fileServer) stopWaiting(f *file) {
	if i := slices.Index(s.opens, f); i >= 0 {
		s.opens = slices.Delete(s.opens, i, i+1)
		s.changed()
	}
}

// changed says to the directory whether calls wait, so that a further one goes to another machine first, and minds the time when nobody
// serves.
func (s *fileServer) changed() {
	l := s.m.l
	l.node.SetBusy(s.service.name, len(s.calls) > 0)
	idle := len(s.opens)+s.circuits == 0
	switch {
	case idle && s.linger == nil:
		var t *time.Timer
		t = l.after(lingerTime, func() {
			if s.linger == t {
				s.withdraw()
			}
		})
		s.linger = t
	case !idle && s.linger != nil:
		s.linger.Stop()
		s.linger = nil
	}
}

// withdraw takes the name back: the server does not come back. Whoever waits may find another one.
func (s *fileServer) withdraw() {
	l := s.m.l
	for len(s.calls) > 0 {
		call := s.calls[0]
		s.drop(call)
		call.c.Clear(l.now, x25.CauseNotObtainable, 0, "the server of "+s.service.name+" has gone", &l.out)
	}
	delete(s.m.servers, s.service.name)
	l.withdraw(s.service, s)
}

// drop takes a call out of those that wait.
func (s *fileServer) drop(call *waitingCall) {
	if i := slices.Index(s.calls, call); i >= 0 {
		s.calls = slices.Delete(s.calls, i, i+1)
	}
	call.timer.Stop()
	s.m.l.drop(call)
	s.changed()
}

// handle takes an event of a call that waits: it can only be given up.
func (call *waitingCall) handle(ev node.Event) {
	if ev.Kind == node.Cleared {
		call.s.drop(call)
	}
}

func (call *waitingCall) row() circuitRow { return circuitRowOf(call.c, "server") }

// farewell has nobody to tell.
func (call *waitingCall) farewell(*node.Event) {}
