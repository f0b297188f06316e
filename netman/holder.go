package main

import (
	"fmt"
	"slices"

	"dnet/netman/node"
	"dnet/x25"
)

// holder is who holds an end of a circuit on behalf of a program, from the call on: an endpoint, whose program has sockets or pipes.
type holder interface {
	// handle takes an event of the circuit.
	handle(ev node.Event)
	// row describes the circuit.
	row() circuitRow
	// farewell tells the program that netman goes. Nothing follows.
	farewell(gone *node.Event)
}

// hold makes h the holder of the circuit, until drop.
func (l *loop) hold(c *node.Circuit, h holder) {
	c.User = h
	l.holders[h] = struct{}{}
}

// drop forgets a holder.
func (l *loop) drop(h holder) { delete(l.holders, h) }

// circuitRowOf is what there is to say of any circuit.
func circuitRowOf(c *node.Circuit, side string) circuitRow {
	return circuitRow{
		Row: "circuit", Service: c.Service, Machine: c.Machine, LCI: int(c.LCI()), User: c.PeerUser, Side: side, Held: c.Held(),
	}
}

// acceptor is who takes the calls for a resident service: a listener at the door, or a complex server.
type acceptor interface {
	// offer gives it a call: false if it takes none now, and another may.
	offer(c *node.Circuit) bool
	// shares says whether others may register the same name.
	shares() bool
}

// register gives a name to an acceptor of a user's: to one alone, unless all who have it share. It returns the service, or the errno and
// why not.
func (l *loop) register(name string, uid uint32, a acceptor) (s *service, errno, why string) {
	if why := l.mayListen(name, uid); why != "" {
		return nil, "EACCES", why
	}
	s = l.services[name]
	switch {
	case s == nil:
		if err := l.node.Register(name); err != nil {
			return nil, "EINVAL", err.Error()
		}
		s = &service{name: name}
		l.services[name] = s
	case s.transient:
		return nil, "EADDRINUSE", name + " is a service of servtab"
	case !a.shares() || !s.acceptors[0].shares():
		return nil, "EADDRINUSE", name + " is registered already; servers that share a name all say shared=1"
	}
	s.acceptors = append(s.acceptors, a)
	return s, "", ""
}

// withdraw takes an acceptor from its service, and the name with the last one. Its circuits stay.
func (l *loop) withdraw(s *service, a acceptor) {
	if i := slices.Index(s.acceptors, a); i >= 0 {
		s.acceptors = slices.Delete(slices.Clone(s.acceptors), i, i+1)
	}
	if len(s.acceptors) == 0 && l.services[s.name] == s {
		delete(l.services, s.name)
		l.node.Unregister(s.name)
		if t := l.offers[s.name]; t != nil && t.transient {
			l.takeTransient(t) // servtab has come to name it meanwhile
		}
	}
}

// offer gives a call to a resident service: to the next acceptor in turn that takes it.
func (l *loop) offer(s *service, c *node.Circuit) {
	for range s.acceptors {
		a := s.acceptors[0]
		s.acceptors = append(s.acceptors[1:len(s.acceptors):len(s.acceptors)], a)
		if a.offer(c) {
			s.calls++
			return
		}
	}
	s.refused++
	c.Clear(l.now, x25.CauseBusy, 0, fmt.Sprintf("as many calls as may wait for the server of %s wait already", s.name), &l.out)
}
