package node

import (
	"bytes"
	"time"

	"dnet/x25"
)

// Deadline is when HandleTimeout is next wanted; zero: not at all. It may come early, never late.
func (n *Node) Deadline() time.Time { return n.next }

// HandleTimeout runs every timer that is due.
func (n *Node) HandleTimeout(now time.Time, out *Out) {
	if n.next.IsZero() || now.Before(n.next) {
		return
	}
	n.next = time.Time{}
	n.dir.HandleTimeout(now, &n.nout)
	n.handleNames(now, out)
	n.local.handleTimeout(now, out)
	for _, k := range n.complexes {
		k.handleTimeout(now, out)
	}
	n.staggerTimeout(now, out)
	for i := 0; i < len(n.order); i++ {
		n.stationTimeout(now, n.order[i], out)
	}
	n.forgetStations(now, out)
	n.settle(now, out)
	for _, s := range n.order {
		n.noteStation(s)
	}
}

// stationTimeout runs the timers of one station.
func (n *Node) stationTimeout(now time.Time, s *station, out *Out) {
	switch {
	case n.desk != nil:
		n.sealTimeout(now, s, out)
	case s.state == greeting && !now.Before(s.greet.at):
		n.greetTimeout(now, s, out)
	}
	if s.link != nil {
		s.link.HandleTimeout(now, &out.link)
		n.handleLink(now, s, out)
	}
	if s.level != nil {
		s.level.HandleTimeout(now, &n.xout)
		n.handleLevel(now, s, out)
	}
	n.idleTimeout(now, s, out)
}

// greetTimeout repeats a hello, or gives the station up.
func (n *Node) greetTimeout(now time.Time, s *station, out *Out) {
	if s.greet.tries < n.cfg.Limits.GreetTries {
		n.sendHello(now, s, out)
		return
	}
	s.why = "it does not answer a hello"
	n.giveUp(now, s, out)
}

// idleTimeout disconnects a link that has had no circuit for a while: the station with the lower address does it.
func (n *Node) idleTimeout(now time.Time, s *station, out *Out) {
	if s.state != up {
		return
	}
	if s.level.Len() > 0 || len(s.wait) > 0 {
		s.empty = now
		return
	}
	own := n.ports[s.key.port].addr
	if now.Sub(s.empty) >= idleLink && bytes.Compare(own[:], s.key.addr[:]) < 0 {
		s.state = closing
		s.link.Disconnect(now, &out.link)
		n.handleLink(now, s, out)
	}
}

// noteStation notes the earliest timer of a station.
func (n *Node) noteStation(s *station) {
	if n.desk != nil {
		n.noteSeal(s)
	}
	switch s.state {
	case greeting:
		n.note(s.greet.at)
	case idle:
		n.note(s.quiet)
	case up:
		if s.level.Len() == 0 && n.role(s) == x25.DTE {
			n.note(s.empty.Add(idleLink)) // the other station leaves it to this one
		}
	}
	if s.link != nil {
		n.note(s.link.Deadline())
	}
	if s.level != nil {
		n.note(s.level.Deadline())
	}
}
