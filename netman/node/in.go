package node

import (
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/x25"
)

// HandleFrame takes one frame that a port received: any octets at all.
func (n *Node) HandleFrame(now time.Time, port int, frame []byte, out *Out) {
	h, pdu, err := parseFrame(frame, n.cfg.Ethertype)
	if err != nil {
		n.drop(err.Error())
		return
	}
	if port >= len(n.ports) || !n.ports[port].up || h.da != n.ports[port].addr && h.da != Group {
		n.drop("not for this station")
		return
	}
	key := stationKey{port, h.sa}
	if n.desk != nil || h.flags&flagSealed != 0 {
		n.handleSealed(now, key, h, frame[:Headroom+len(pdu)], out)
		return
	}
	f, err := hdlc.Parse(pdu)
	if err != nil {
		n.drop(err.Error())
		return
	}
	switch {
	case f.SSAP == hdlc.SAPControl && f.DSAP&^1 == hdlc.SAPControl && f.Kind == hdlc.UI:
		n.handleControl(now, key, h.da == Group, f, out)
	case f.SSAP == hdlc.SAPX25 && f.DSAP == hdlc.SAPX25 && h.da != Group && h.sa != n.ports[port].addr:
		n.handleLLC(now, key, f, false, out)
	default:
		n.drop("foreign SAP")
	}
}

// parseControl reads a control message of another machine. False: it is none.
func (n *Node) parseControl(now time.Time, key stationKey, f hdlc.Frame, out *Out) (m names.Message, ok bool) {
	m, err := names.Parse(f.Info)
	switch {
	case err != nil:
		n.drop("control message: " + names.Reason(err))
	case m.BootID == n.cfg.BootID:
		n.drop("own echo")
	case key.addr == n.ports[key.port].addr:
		n.logf(now, key.addr, "own address", out, "another station, machine %q, uses our own address %s on this network: one of the two must change it",
			m.Machine, FormatAddr(key.addr))
		n.drop("own address")
	default:
		return m, true
	}
	return m, false
}

// handleControl takes a message of protocol.md 2.
func (n *Node) handleControl(now time.Time, key stationKey, group bool, f hdlc.Frame, out *Out) {
	m, ok := n.parseControl(now, key, f, out)
	switch {
	case !ok:
		return
	case n.handleProof(now, key, group, m, out):
	case m.Type == names.Hello:
		if group {
			n.drop("hello to the group")
			break
		}
		n.handleHello(now, key, m, f.Response, out)
	default:
		n.dir.Handle(now, names.Station{Port: key.port, Addr: key.addr}, m, group, &n.nout)
		n.handleNames(now, out)
	}
	if s := n.stations[key]; s != nil {
		n.noteStation(s)
	}
	n.settleOthers(now, out)
}

// handleLLC gives a frame of layer 2 to the link it belongs to.
// late: it was overtaken by one sent after it.
func (n *Node) handleLLC(now time.Time, key stationKey, f hdlc.Frame, late bool, out *Out) {
	s := n.stations[key]
	if s != nil && s.hailed && f.Kind == hdlc.SABME && !f.Response {
		n.newLink(s, s.peer, out) // which its hello announced
	}
	if s == nil || s.link == nil {
		n.stranger.HandleFrame(now, f, &out.link)
		n.takeFrames(key, out)
		out.link.Events = out.link.Events[:0]
		return
	}
	if f.Kind == hdlc.SABME && s.next != nil && s.state == up {
		// The peer began its link anew, as its hello announced (protocol.md 2).
		h := *s.next
		n.endLink(now, s, "its netman began the link anew", out)
		n.newLink(s, h, out)
	}
	if late {
		s.link.HandleLate(now, f, &out.link)
	} else {
		s.link.HandleFrame(now, f, &out.link)
	}
	n.handleLink(now, s, out)
	n.pump(now, s, out)
	n.settleOthers(now, out)
}

// handleLink carries out what a link wants done: frames to the wire, data up to layer 3.
func (n *Node) handleLink(now time.Time, s *station, out *Out) {
	n.takeFrames(s.key, out)
	events := out.link.Events
	for i := range events {
		switch ev := &events[i]; ev.Kind {
		case hdlc.Up:
			n.linkUp(now, s, out)
		case hdlc.Down:
			n.linkDown(now, s, ev.Reason, ev.Reason.String(), out)
		case hdlc.Data:
			if s.state != up {
				n.drop("packet on a link that ends")
				continue
			}
			s.level.HandlePacket(now, ev.Info, &n.xout)
			n.handleLevel(now, s, out)
		}
	}
	out.link.Events = events[:0]
}

// handleLevel carries out what the level of a station (nil: the loopback) reports.
func (n *Node) handleLevel(now time.Time, s *station, out *Out) {
	n.handleLevelEvents(now, s, false, out)
}

// handleLevelEvents does so; disc says that the link ended by DISC, after which an unanswered call is placed once more.
func (n *Node) handleLevelEvents(now time.Time, s *station, disc bool, out *Out) {
	for n.xnext < len(n.xout.Events) {
		ev := n.xout.Events[n.xnext]
		n.xnext++
		n.handleLevelEvent(now, s, disc, ev, out)
	}
	n.xout.Reset()
	n.xnext = 0
}

func (n *Node) handleLevelEvent(now time.Time, s *station, disc bool, ev x25.Event, out *Out) {
	if ev.Kind == x25.Incoming {
		n.incoming(now, s, ev, out)
		return
	}
	if ev.Circuit == nil {
		return // Restarted
	}
	if sp, ok := ev.Circuit.User.(*splice); ok {
		sp.handle(now, atDoor, ev)
		return
	}
	c, ok := ev.Circuit.User.(*Circuit)
	if !ok || c.over && ev.Kind != x25.Reset {
		return // a circuit that is over can only lose what it still holds
	}
	if c.splice != nil {
		c.splice.handle(now, network, ev)
		return
	}
	if c.st != s {
		n.others = true // the budget of all links is one: for its sake a circuit of another was cleared
	}
	switch ev.Kind {
	case x25.Connected:
		n.finishLook(c)
		c.answered = true
		out.Events = append(out.Events, Event{Kind: Connected, Circuit: c})
	case x25.Cleared:
		n.cleared(now, s, c, disc, ev, out)
	case x25.Drained:
		c.over = true
		out.Events = append(out.Events, Event{Kind: Drained, Circuit: c})
	case x25.Data:
		out.Events = append(out.Events, Event{Kind: Data, Circuit: c})
	case x25.Room:
		out.Events = append(out.Events, Event{Kind: Room, Circuit: c})
	case x25.Reset:
		out.Events = append(out.Events, Event{Kind: Reset, Circuit: c, Cause: ev.Cause, Diag: ev.Diag})
	case x25.Interrupt:
		out.Events = append(out.Events, Event{Kind: Interrupt, Circuit: c, Octets: append([]byte(nil), ev.UserData...)})
	case x25.InterruptConfirmed:
		out.Events = append(out.Events, Event{Kind: InterruptConfirmed, Circuit: c})
	}
}

// incoming takes a call for this machine: for a service it has, else Clear.
func (n *Node) incoming(now time.Time, s *station, ev x25.Event, out *Out) {
	data, err := names.ParseCall(ev.UserData)
	if err != nil {
		n.drop("call user data: " + names.Reason(err))
		ev.Circuit.Clear(now, x25.CauseLocalProcedure, 0, clearText(err.Error()), &n.xout)
		return
	}
	machine := n.cfg.Machine
	if s != nil {
		machine = s.peer.machine
	}
	if !n.dir.Has(data.Service) || !n.claimed {
		ev.Circuit.Clear(now, x25.CauseNotObtainable, 0, clearText("no service "+data.Service+" on "+n.cfg.Machine), &n.xout)
		return
	}
	c := &Circuit{
		Service: data.Service, Machine: machine, PeerUser: data.User, Stream: data.Stream,
		st: s, x: ev.Circuit, node: n, answered: true,
	}
	ev.Circuit.User = c
	out.Events = append(out.Events, Event{Kind: Incoming, Circuit: c})
}

// cleared ends a circuit, or gives its call to the next server when it was not answered (protocol.md 2).
func (n *Node) cleared(now time.Time, s *station, c *Circuit, disc bool, ev x25.Event, out *Out) {
	text := string(ev.UserData)
	if !c.answered {
		switch {
		case disc && c.crossed:
			// The DISC met the call on its way: the peer cannot have taken it.
			c.crossed = false
			c.x, c.level, c.st = nil, nil, nil
			n.reach(now, c, s.key, out)
			return
		case ev.Cause == x25.CauseBusy || ev.Cause == x25.CauseNotObtainable:
			n.nextServer(now, c, ev.Cause, ev.Diag, text, out)
			return
		}
	}
	n.finishLook(c)
	c.over = true
	out.Events = append(out.Events, Event{Kind: Cleared, Circuit: c, Cause: ev.Cause, Diag: ev.Diag, Text: text})
}
