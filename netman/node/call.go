package node

import (
	"fmt"
	"time"

	"dnet/netman/names"
	"dnet/x25"
)

// Call asks for a circuit to the first server of a name that answers (protocol.md 2). It returns at once; Connected or
// Cleared follows. An error says what is wrong with the name or the user, and nothing was asked.
func (n *Node) Call(now time.Time, service, user string, stream bool, out *Out) (*Circuit, error) {
	service = names.FoldService(service)
	if err := names.CheckService(service); err != nil {
		return nil, err
	}
	if err := names.CheckUser(user); err != nil {
		return nil, err
	}
	c := &Circuit{Service: service, PeerUser: user, Stream: stream, caller: true, node: n}
	n.begin(now, c, out)
	n.settle(now, out)
	return c, nil
}

// Locate asks which machine offers a name, without calling it: Located or Cleared follows.
func (n *Node) Locate(now time.Time, service string, out *Out) (*Circuit, error) {
	service = names.FoldService(service)
	if err := names.CheckService(service); err != nil {
		return nil, err
	}
	c := &Circuit{Service: service, caller: true, locate: true, node: n}
	if n.dir.Holds(service) {
		n.located(c, n.cfg.Machine, out)
	} else {
		n.look(now, c, out)
	}
	return c, nil
}

// located answers a Locate.
func (n *Node) located(c *Circuit, machine string, out *Out) {
	n.finishLook(c)
	c.over, c.Machine = true, machine
	out.Events = append(out.Events, Event{Kind: Located, Circuit: c})
}

// begin takes the shortest way to a server: within this machine, on a link that is up to the machine named, or by asking the wire.
func (n *Node) begin(now time.Time, c *Circuit, out *Out) {
	service := c.Service
	_, machine, domain := names.SplitService(service)
	switch {
	case machine == n.cfg.Machine && !n.dir.Has(service):
		n.fail(now, c, x25.CauseNotObtainable, 0, fmt.Sprintf("no service %s on this machine", service), out)
	case n.dir.Has(service) && (machine == n.cfg.Machine || !n.dir.Busy(service)):
		c.Machine = n.cfg.Machine
		n.place(now, c, nil, out)
	case machine != "" && domain == "" && n.linkTo(machine) != nil:
		s := n.linkTo(machine)
		c.Machine = machine
		n.place(now, c, s, out)
	default:
		n.look(now, c, out)
	}
}

// look asks the wire for the name. Only calls that do so count towards Limits.Calls.
func (n *Node) look(now time.Time, c *Circuit, out *Out) {
	id, err := n.dir.Query(now, c.Service, &n.nout)
	if err != nil {
		n.drop("calls full")
		n.fail(now, c, x25.CauseCongestion, 0, err.Error(), out)
		return
	}
	c.query = id
	n.looking[id] = c
	n.handleNames(now, out)
}

// nextServer gives a call that has not been answered to the next server, if the reason allows one (protocol.md 2: after
// Clear 01 or 0D, or a link that never came up). Otherwise, or when there is none left, the call has failed.
func (n *Node) nextServer(now time.Time, c *Circuit, cause x25.Cause, diag x25.Diag, text string, out *Out) {
	if c.over {
		return
	}
	if len(c.waits) > 0 {
		c.why = failure{cause, diag, text} // another server is on its way
		return
	}
	c.level, c.x, c.st = nil, nil, nil
	if n.looking[c.query] != c || c.query == 0 {
		n.fail(now, c, cause, diag, text, out)
		return
	}
	c.why = failure{cause, diag, text}
	n.tryServer(now, c, out)
}

// tryServer takes the best answer that has not been tried and goes for a link to its station.
func (n *Node) tryServer(now time.Time, c *Circuit, out *Out) {
	if last := len(c.spare) - 1; last >= 0 {
		key := c.spare[last]
		c.spare = c.spare[:last]
		n.reach(now, c, key, out)
		return
	}
	answer, ok, more := n.dir.Next(now, c.query, &n.nout)
	switch {
	case ok && c.locate:
		c.via = stationKey{answer.Station.Port, answer.Station.Addr}
		n.located(c, answer.Machine, out)
	case ok:
		n.reachAnswer(now, c, answer, out)
	case more:
		// An event will follow.
	case c.why.cause != 0:
		n.fail(now, c, c.why.cause, c.why.diag, c.why.text, out)
	case n.dir.Has(c.Service) && c.locate:
		n.located(c, n.cfg.Machine, out)
	case n.dir.Has(c.Service):
		// Busy here, or registered since: the last one to be tried, which says so itself or lets the call wait.
		n.finishLook(c)
		c.Machine = n.cfg.Machine
		n.place(now, c, nil, out)
	default:
		n.fail(now, c, x25.CauseNotObtainable, 0, noSuch(c.Service), out)
	}
	n.handleNames(now, out)
}

// reachAnswer goes for a link to the station that answered.
func (n *Node) reachAnswer(now time.Time, c *Circuit, answer names.Server, out *Out) {
	key := stationKey{answer.Station.Port, answer.Station.Addr}
	c.Machine = answer.Machine
	if s := n.stationAt(now, key, out); s != nil {
		s.sealed.expect = answer.Machine
	}
	n.reach(now, c, key, out)
}

// noSuch says what nobody answered for.
func noSuch(service string) string {
	if name, machine, _ := names.SplitService(service); machine != "" {
		return fmt.Sprintf("%s does not answer, or does not offer %s", machine, name)
	}
	return fmt.Sprintf("no machine on this network offers %s", service)
}

// reach places the call on the link to a station, which is set up first when need be.
func (n *Node) reach(now time.Time, c *Circuit, key stationKey, out *Out) {
	s := n.stationAt(now, key, out)
	switch {
	case s == nil && len(c.waits) > 0:
	case s == nil:
		n.fail(now, c, x25.CauseCongestion, 0, "too many stations", out)
	case s.state == up:
		c.settleOn(s)
		n.place(now, c, s, out)
	default:
		s.wait = append(s.wait, c)
		c.waits = append(c.waits, s)
		n.stagger(now, c)
		if s.state == idle {
			n.greetStation(now, s, out)
		}
		n.noteStation(s)
	}
}

// place sends the call request on the link to a station; nil: to this machine itself.
func (n *Node) place(now time.Time, c *Circuit, s *station, out *Out) {
	if c.over {
		return
	}
	if s != nil && n.desk != nil && (!n.proven(now, c, s, out) || !n.vouched(c, s, out)) {
		return
	}
	level := n.local.level(x25.DTE)
	if s != nil {
		level = s.level
	}
	data := names.CallData{Service: c.Service, User: c.PeerUser, Stream: c.Stream}.Append(nil)
	x, err := level.Call(now, data)
	if err != nil {
		n.fail(now, c, x25.CauseCongestion, 0, err.Error(), out)
		return
	}
	if s != nil && len(c.credential) > 0 {
		x.SetCredential(c.credential)
	}
	x.User = c
	c.x, c.level, c.st = x, level, s
	c.crossed = s != nil && n.role(s) == x25.DCE && now.Sub(s.empty) > idleLink*3/4
	n.others = true
}

// fail ends a call that was never answered.
func (n *Node) fail(now time.Time, c *Circuit, cause x25.Cause, diag x25.Diag, text string, out *Out) {
	if c.over {
		return
	}
	n.finishLook(c)
	c.leave()
	c.over = true
	out.Events = append(out.Events, Event{Kind: Cleared, Circuit: c, Cause: cause, Diag: diag, Text: text})
}

// finishLook ends the question for the name of a call.
func (n *Node) finishLook(c *Circuit) {
	if c.query != 0 && n.looking[c.query] == c {
		n.dir.Done(c.query)
		delete(n.looking, c.query)
	}
	n.unstagger(c)
	c.query = 0
}

// handleNames carries out what the directory wants done.
func (n *Node) handleNames(now time.Time, out *Out) {
	for len(n.nout.Messages) > 0 || len(n.nout.Events) > 0 {
		messages, events := n.nout.Messages, n.nout.Events
		n.nout = names.Out{}
		for _, m := range messages {
			n.sendNames(m, out)
		}
		for _, ev := range events {
			n.handleNameEvent(now, ev, out)
		}
	}
	n.note(n.dir.Deadline())
}

// sendNames sends one message of the directory: to one station, or to the group on every port.
func (n *Node) sendNames(m names.Outgoing, out *Out) {
	if !m.All {
		if !n.ports[m.To.Port].up {
			n.drop("answer on an interface that is down")
			return
		}
		n.sendControl(m.To.Port, m.To.Addr, m.Response, m.Body, out)
		return
	}
	for id := range n.ports {
		if n.ports[id].up {
			n.sendControl(id, Group, m.Response, m.Body, out)
		}
	}
}

func (n *Node) handleNameEvent(now time.Time, ev names.Event, out *Out) {
	switch ev.Kind {
	case names.Claimed:
		n.claimed = true
		out.Events = append(out.Events, Event{Kind: Claimed})
	case names.Clash:
		out.Events = append(out.Events, Event{Kind: Clash, Text: n.clashText(ev.Station.Addr)})
	case names.Answered:
		switch c := n.looking[ev.ID]; {
		case c == nil || c.x != nil:
		case len(c.waits) == 0:
			n.tryServer(now, c, out)
		case n.desk != nil:
			n.stagger(now, c)
		}
	case names.Failed:
		if c := n.looking[ev.ID]; c != nil && c.x == nil && len(c.waits) == 0 {
			n.tryServer(now, c, out)
		}
	}
}

// clashText says whose name two machines have.
func (n *Node) clashText(other Addr) string {
	return fmt.Sprintf("the machine name %s is in use: by the station %s as well as by this one, %s", n.cfg.Machine, FormatAddr(other), n.ownAddrs())
}

// ownAddrs lists the stations that this machine is.
func (n *Node) ownAddrs() string {
	text := ""
	for _, p := range n.ports {
		if p.up {
			if text != "" {
				text += ", "
			}
			text += FormatAddr(p.addr)
		}
	}
	return text
}
