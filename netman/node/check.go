package node

import (
	"fmt"
	"slices"
	"time"

	"dnet/x25"
)

// Check asserts what must hold between any two calls: of the links, the levels and the directory, and of what joins them. An error
// is a fault of this package or of one of those. It is for tests and the simulator: it walks everything.
func (n *Node) Check() error {
	switch {
	case len(n.stations) != len(n.order):
		return fmt.Errorf("node: %d stations by address, %d in order", len(n.stations), len(n.order))
	case len(n.order) > n.cfg.Limits.Stations:
		return fmt.Errorf("node: %d stations, limit %d", len(n.order), n.cfg.Limits.Stations)
	case len(n.looking) > n.cfg.Limits.Calls:
		return fmt.Errorf("node: %d calls are looking for a server, limit %d", len(n.looking), n.cfg.Limits.Calls)
	case n.xnext != 0 || len(n.xout.Events) != 0:
		return fmt.Errorf("node: %d events of a level were not handled", len(n.xout.Events)-n.xnext)
	case len(n.nout.Events) != 0 || len(n.nout.Messages) != 0:
		return fmt.Errorf("node: what the directory wants done was not done")
	case len(n.staggered) > n.cfg.Limits.Calls:
		return fmt.Errorf("node: %d calls may try a further server, limit %d", len(n.staggered), n.cfg.Limits.Calls)
	case n.late(n.dir.Deadline()):
		return fmt.Errorf("node: the directory's deadline would be missed")
	}
	for _, s := range n.order {
		if err := n.checkStation(s); err != nil {
			return fmt.Errorf("node: station %s, %s: %w", FormatAddr(s.key.addr), s.state, err)
		}
	}
	for _, c := range n.staggered {
		if c.over || c.another.IsZero() || c.query == 0 || n.late(c.another) {
			return fmt.Errorf("node: a call that is over, or too late, is to try a further server")
		}
	}
	for id, c := range n.looking {
		if c.over || c.query != id {
			return fmt.Errorf("node: query %d is of a call that is over or asks otherwise", id)
		}
	}
	for _, k := range n.complexes {
		if err := n.checkComplex(k); err != nil {
			return fmt.Errorf("node: complex server of %s: %w", k.Service, err)
		}
	}
	for _, level := range n.local.levels {
		if err := n.checkLevel(nil, level); err != nil {
			return fmt.Errorf("node: within the machine: %w", err)
		}
		if level.Ready() {
			return fmt.Errorf("node: a packet within the machine was left lying")
		}
	}
	return n.dir.Check()
}

// late says that a timer would be missed.
func (n *Node) late(t time.Time) bool { return !t.IsZero() && (n.next.IsZero() || t.Before(n.next)) }

// checkStation asserts the invariants of a station, its link and its level.
func (n *Node) checkStation(s *station) error {
	switch {
	case n.stations[s.key] != s:
		return fmt.Errorf("not in its place")
	case s.state != idle && s.state != greeting && s.link == nil:
		return fmt.Errorf("no link")
	case (s.level != nil) != (s.state == up || s.state == closing):
		return fmt.Errorf("level %v", s.level != nil)
	case s.link != nil && s.link.Up() != (s.state == up):
		return fmt.Errorf("the link is in %s", s.link.State())
	case len(s.wait) > 0 && (s.state == idle || s.state == up && slices.ContainsFunc(s.wait, func(c *Circuit) bool { return c.vouching != s })):
		return fmt.Errorf("%d calls wait for nothing", len(s.wait))
	case n.desk != nil && s.state == greeting && !s.sealed.peer.Busy():
		return fmt.Errorf("no handshake is under way")
	case n.desk != nil && n.late(s.sealed.peer.Deadline()):
		return fmt.Errorf("its handshake would be repeated too late")
	case n.desk != nil && s.state == up && (n.late(s.sealed.peer.RekeyAt()) || n.late(s.sealed.peer.LiveUntil())):
		return fmt.Errorf("its key would be renewed too late")
	case s.state == greeting && n.late(s.greet.at):
		return fmt.Errorf("its hello would be repeated too late")
	case s.state == idle && n.late(s.quiet):
		return fmt.Errorf("it would be forgotten too late")
	}
	for _, c := range s.wait {
		if !slices.Contains(c.waits, s) || c.over || c.x != nil {
			return fmt.Errorf("a call waits that should not")
		}
	}
	if s.link != nil {
		if err := s.link.Check(); err != nil {
			return fmt.Errorf("hdlc: %w", err)
		}
		if n.late(s.link.Deadline()) {
			return fmt.Errorf("the link's deadline would be missed")
		}
	}
	if s.level == nil {
		return nil
	}
	if s.state == up && s.link.Room() > 0 && s.level.Ready() {
		return fmt.Errorf("a packet was left lying, and the window is open")
	}
	return n.checkLevel(s, s.level)
}

// checkLevel asserts the invariants of a level, and that its circuits are those of this node.
func (n *Node) checkLevel(s *station, level *x25.Level) error {
	if err := level.Check(); err != nil {
		return err
	}
	if n.late(level.Deadline()) {
		return fmt.Errorf("the level's deadline would be missed")
	}
	var err error
	level.Each(func(x *x25.Circuit) {
		switch c, ok := x.User.(*Circuit); {
		case !ok:
			err = fmt.Errorf("lci %d is nobody's", x.LCI())
		case c.x != x || c.over:
			err = fmt.Errorf("lci %d belongs to a circuit that is over or elsewhere", x.LCI())
		case c.st != s:
			err = fmt.Errorf("lci %d belongs to a circuit with another station", x.LCI())
		}
	})
	return err
}

// checkComplex asserts the invariants of a complex server: its level, and what joins its circuits to those of the callers.
func (n *Node) checkComplex(k *Complex) error {
	if err := k.level.Check(); err != nil {
		return err
	}
	switch {
	case n.late(k.level.Deadline()) || n.late(k.until):
		return fmt.Errorf("a deadline would be missed")
	case k.level.Ready() && !k.told:
		return fmt.Errorf("a packet was left lying")
	case k.closed && k.level.Len() > 0:
		return fmt.Errorf("%d circuits at the door, and the program has gone", k.level.Len())
	case k.level.Len() > len(k.splices):
		return fmt.Errorf("%d circuits at the door, %d splices", k.level.Len(), len(k.splices))
	}
	for i, sp := range k.splices {
		if err := sp.check(i); err != nil {
			return fmt.Errorf("lci %d: %w", sp.ends[atDoor].x.LCI(), err)
		}
	}
	return nil
}

// check asserts the invariants of a splice: nothing lies at one end that the other one could take.
func (sp *splice) check(at int) error {
	if sp.at != at || sp.c.splice != sp || sp.c.x != sp.ends[network].x {
		return fmt.Errorf("not in its place")
	}
	if sp.ends[network].over != sp.c.over {
		return fmt.Errorf("the circuit's end and the node's word for it differ")
	}
	for i := range sp.ends {
		from, to := &sp.ends[i], &sp.ends[1-i]
		_, _, _, readable := from.x.Peek()
		switch {
		case from.x.Over() != from.over:
			return fmt.Errorf("end %d is over: %v, and is thought so: %v", i, from.x.Over(), from.over)
		case from.over && to.over:
			return fmt.Errorf("both ends are over")
		case !sp.connected && from.over:
			return fmt.Errorf("not accepted, and end %d is over", i)
		case !sp.connected || from.reset || to.reset:
		case readable && (to.over || to.closing || to.x.Room() > 0):
			return fmt.Errorf("end %d holds what the other one could take", i)
		case from.over && from.x.Held() == 0 && !to.closing:
			return fmt.Errorf("end %d is over, and the other one is not told", i)
		}
	}
	return nil
}

// CheckEmpty asserts that nothing is left: no station, call, circuit or buffer. So it is when the machine's programs have ended and
// the links were idle long enough.
func (n *Node) CheckEmpty() error {
	switch {
	case len(n.order) > 0:
		return fmt.Errorf("node: %d stations are left, the first %s, %s", len(n.order), FormatAddr(n.order[0].key.addr), n.order[0].state)
	case len(n.looking) > 0 || n.dir.Asking() > 0:
		return fmt.Errorf("node: %d calls still look for a server, %d queries are open", len(n.looking), n.dir.Asking())
	case n.pool.Lent() > 0 || n.budget.Used() > 0:
		return fmt.Errorf("node: %d octets of buffers are lent, %d of the budget used", n.pool.Lent(), n.budget.Used())
	}
	for _, k := range n.complexes {
		if k.Len() > 0 || k.level.Len() > 0 {
			return fmt.Errorf("node: the complex server of %s still has %d calls, %d circuits", k.Service, k.Len(), k.level.Len())
		}
	}
	for _, level := range n.local.levels {
		if level.Len() > 0 {
			return fmt.Errorf("node: %d circuits within the machine are left", level.Len())
		}
	}
	for size, slab := range n.slabs {
		if slab.Used() > 0 {
			return fmt.Errorf("node: %d frames of %d octets are still out", slab.Used(), size)
		}
	}
	return nil
}
