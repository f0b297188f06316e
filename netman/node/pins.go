package node

import (
	"bytes"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// suspect is for a station that speaks in the name of this machine, which is claiming it, in the clear or in a recording: only one that
// proves another key under the name has it. A holder answers the claim; of two that claim, the lower address has it.
func (n *Node) suspect(now time.Time, key stationKey, m names.Message, out *Out) {
	own := n.ports[key.port].addr
	if m.Service != "netman."+n.cfg.Machine || m.Type == names.Query && bytes.Compare(own[:], key.addr[:]) < 0 {
		return
	}
	s := n.stations[key]
	if s != nil && s.sealed.peer.Busy() {
		return
	}
	if !n.desk.AdmitGuest(now) {
		n.drop(seal.ErrPace.Error())
		return
	}
	if s = n.stationAt(now, key, out); s != nil {
		s.sealed.suspect = true
		n.shake(now, s, s.sealed.instance, out)
	}
}

// convict ends the claim to the machine's name: a station has proved another key under it.
func (n *Node) convict(s *station, out *Out) {
	if n.claimed || !s.sealed.suspect {
		return
	}
	out.Events = append(out.Events, Event{Kind: Clash, Text: n.clashText(s.key.addr)})
}

// sameMachine forgets what a station said before, when it proves another key or name now: boot ids and instances are no proof, and what was
// another's must not pass for its own.
func (n *Node) sameMachine(now time.Time, s *station, machine string, key seal.Key, out *Out) {
	if s.sealed.key == key && s.peer.machine == machine {
		return
	}
	if s.state != idle && s.state != greeting {
		n.endLink(now, s, "its station is another machine's now", out)
	}
	n.dropLink(s, out)
	s.peer, s.next, s.past, s.noN1, s.sealed.key = hello{}, nil, [4]uint64{}, false, key
}

// meet holds a machine that proved a key to the pin of its name.
func (n *Node) meet(now time.Time, s *station, machine string, key, witness seal.Key, out *Out) error {
	if machine == n.cfg.Machine {
		n.convict(s, out)
		return seal.ErrChanged // our name is ours
	}
	pin, fresh, err := n.desk.Pins().Meet(machine, key, witness)
	if fresh {
		out.Events = append(out.Events, Event{Kind: Pinned, Pin: &pin})
	}
	return err
}

// refusals says why a machine is refused, to the programs and people on this side, and by which number the other side is told.
func (n *Node) refusal(machine string, err error) (reason uint8, text string) {
	switch {
	case machine == n.cfg.Machine:
		return names.RefuseChanged, machine + " is the name of this machine; another one calls itself so"
	case err == seal.ErrChanged:
		return names.RefuseChanged, "the key of " + machine + " is not the one pinned: if it was reinstalled, run: netman trust replace " + machine
	case err == seal.ErrStrict:
		return names.RefuseStrict, machine + " is not pinned, and pin is strict: run: netman trust add " + machine + " KEY"
	}
	return names.RefuseFull, machine + ": too many machines are pinned: run: netman trust forget NAME"
}

// refusePeer gives up a station that is not who it says it is. Its own handshake harms nobody but itself; the answer to ours fails the calls that
// wait for it. It is told why, under the key that it proved.
func (n *Node) refusePeer(now time.Time, s *station, machine string, err error, ev seal.Event, out *Out) {
	reason, text := n.refusal(machine, err)
	n.drop("machine refused: " + err.Error())
	if pin, ok := n.desk.Pins().Refused(machine); ok && err == seal.ErrChanged {
		out.Events = append(out.Events, Event{Kind: Refused, Pin: &pin})
	}
	n.logf(now, s.key.addr, "refused", out, "no link with the station %s: %s", FormatAddr(s.key.addr), text)
	if s.sealed.peer.Uses(ev) {
		m := names.Message{Type: names.Refusal, Mode: uint8(n.Mode()), Reason: reason}
		n.sendSealed(s, controlPDU(false, hdlc.SAPControl, m), out)
	}
	s.sealed.peer.Reject(ev)
	s.sealed.barred = now.Add(refusedAgain)
	if ev.Initiator && s.state == greeting {
		s.state, s.quiet = idle, now.Add(quietStation)
		n.failWaiting(now, s, x25.CauseBarred, text, out)
	}
}

// proven holds a call to the machine that the station is, whoever answered for its name: an answer is a hint. False: the call went elsewhere.
func (n *Node) proven(now time.Time, c *Circuit, s *station, out *Out) bool {
	_, machine, _ := names.SplitService(c.Service)
	if machine != "" && machine != s.peer.machine {
		n.drop("answer for another machine's name")
		n.logf(now, s.key.addr, "answer", out, "%s (%s) answers for %s, a name of the machine %s", s.peer.machine, FormatAddr(s.key.addr), c.Service, machine)
		n.nextServer(now, c, x25.CauseNotObtainable, 0, noSuch(c.Service), out)
		return false
	}
	c.Machine = s.peer.machine
	return true
}

// Proof is what the machine at the other end of a circuit has proved.
type Proof struct {
	Key      seal.Key
	Accepted bool // its pin was accepted by an administrator: trust rules may match it
	Secret   bool // it knows the site secret
}

// Proof tells who is at the other end. False: within this machine, and in open mode, nothing was proved.
func (c *Circuit) Proof() (p Proof, ok bool) {
	if c.st == nil || c.node.desk == nil {
		return p, false
	}
	p.Key, ok = c.st.sealed.peer.Key()
	pin, _ := c.node.desk.Pins().Get(c.Machine)
	p.Accepted, p.Secret = pin.Accepted && pin.Key == p.Key, c.node.Mode() == seal.Secret
	return p, ok
}

// Pins lists the machines known, by name; none in open mode.
func (n *Node) Pins() []seal.Pin {
	if n.desk == nil {
		return nil
	}
	return n.desk.Pins().All()
}

// RefusedKeys are those that a machine was last refused for, which `trust replace` pins.
func (n *Node) RefusedKeys(machine string) (seal.Pin, bool) {
	if n.desk == nil {
		return seal.Pin{}, false
	}
	return n.desk.Pins().Refused(machine)
}

// SetPin adds or replaces a pin. A link with a machine of that name and another key ends.
func (n *Node) SetPin(now time.Time, pin seal.Pin, out *Out) error {
	if n.desk == nil {
		return errOpenMode
	}
	if err := n.desk.Pins().Set(pin); err != nil {
		return err
	}
	n.endLinksWith(now, pin, "another key was pinned for it", out)
	return nil
}

// ForgetPin removes a pin, and ends the links with the machine: it is met anew. False: it was not pinned.
func (n *Node) ForgetPin(now time.Time, machine string, out *Out) bool {
	if n.desk == nil || !n.desk.Pins().Forget(machine) {
		return false
	}
	n.endLinksWith(now, seal.Pin{Machine: machine}, "it was forgotten", out)
	return true
}

// endLinksWith ends the links with a machine of the pin's name that has other keys than the pin.
func (n *Node) endLinksWith(now time.Time, pin seal.Pin, why string, out *Out) {
	for _, s := range n.order {
		has, ok := s.sealed.peer.Key()
		if s.peer.machine == pin.Machine && ok && (has != pin.Key || s.sealed.witness != pin.Witness) {
			s.sealed.barred = time.Time{}
			n.endLink(now, s, why, out)
		}
	}
	n.settle(now, out)
}
