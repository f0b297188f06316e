package node

import (
	"errors"
	"time"

	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// sealing is what a node has in the modes pinned and secret (protocol.md, Sealed links). In open mode desk is nil.
type sealing struct {
	desk     *seal.Desk
	overhead int    // octets that a seal takes from each frame
	plain    []byte // the frame at hand, opened
	sout     seal.Out
	told     time.Time // until then noticed counts
	noticed  int       // the times that modes were found to differ
}

// stationSeal is what a station has in them.
type stationSeal struct {
	peer     *seal.Peer
	key      seal.Key  // of the machine whose hello the station has
	witness  seal.Key  // that it said
	instance uint32    // of the link, in the last hello to this station
	mode     seal.Mode // another one than ours, that the station told of,
	differs  bool      // if it did
	expect   string    // the machine that it answered as
	suspect  bool      // it spoke in this machine's name while that was being claimed
	barred   time.Time // it proved a wrong key: no handshake is begun for its frames before
}

// bind lets nobody with another key take the station's place, as long as there is a link.
func (s *stationSeal) bind() {
	if key, ok := s.peer.Key(); ok {
		s.peer.Only = &key
	}
}

// startSealing makes the desk of a node that is not in open mode.
func (n *Node) startSealing(cfg *seal.Config) {
	if cfg == nil || cfg.Mode == seal.Open {
		return
	}
	own := *cfg
	own.BootID = n.cfg.BootID
	n.desk, n.overhead = seal.NewDesk(own), seal.Overhead
	n.plain = make([]byte, 0, 1<<16)
}

// errOpenMode is when something of the sealed modes is asked of a node that is in open mode.
var errOpenMode = errors.New("this machine is in mode open: nothing is pinned")

// Key is the machine's own; zero in open mode.
func (n *Node) Key() (k seal.Key) {
	if n.desk != nil {
		k = n.desk.Key()
	}
	return k
}

// SetSecrets changes the site secrets of secret mode: the first is used, all are accepted. Links that are up stay.
func (n *Node) SetSecrets(all []seal.SiteSecret) {
	if n.Mode() == seal.Secret && len(all) > 0 {
		n.desk.SetSecrets(all)
	}
}

// Keys is the printed form of the machine's two keys; empty in open mode.
func (n *Node) Keys() string {
	if n.desk == nil {
		return ""
	}
	return seal.FormatKeys(n.desk.Key(), n.desk.Witness())
}

// Mode is the machine's.
func (n *Node) Mode() seal.Mode {
	if n.desk == nil {
		return seal.Open
	}
	return n.desk.Mode()
}

// safeN1 is the largest PDU that every Ethernet carries.
func (n *Node) safeN1() int { return safeN1 - n.overhead }

// largestN1 is the largest PDU that a port carries.
func (n *Node) largestN1(p *port) int { return min(p.mtu-3, 65535) - n.overhead }

// handleHandshake takes a step of a handshake.
func (n *Node) handleHandshake(now time.Time, key stationKey, m names.Message, out *Out) {
	value := []byte(m.Handshake)
	s := n.stations[key]
	if s == nil || !s.sealed.peer.Live(now) {
		if !seal.First(m.Handshake) && s == nil {
			n.drop(seal.ErrUnexpected.Error())
			return
		}
		if seal.First(m.Handshake) {
			if err := n.desk.Admit(now, value, key.addr, n.ports[key.port].addr); err != nil {
				n.drop(err.Error())
				return
			}
		}
		if s = n.stationAt(now, key, out); s == nil {
			return
		}
	}
	instance := n.instance
	if s.state == up {
		instance = s.sealed.instance // the message may be a recording, or for a new key only
	}
	if err := s.sealed.peer.Handle(now, value, n.payload(s, instance), &n.sout); err != nil {
		n.drop(err.Error())
	}
	n.handleSeal(now, s, out)
}

// payload is what this machine says of itself within a handshake: the hello of open mode.
func (n *Node) payload(s *station, instance uint32) []byte {
	s.sealed.instance = instance
	m := n.helloMessage(s, 0)
	witness := n.desk.Witness()
	m.Instance, m.Mode, m.Witness = instance, uint8(n.Mode()), string(witness[:])
	return m.Append(nil)
}

// shake begins a handshake: with the key that the peer has, if it is known.
func (n *Node) shake(now time.Time, s *station, instance uint32, out *Out) {
	machine := s.peer.machine
	if s.sealed.expect != "" {
		machine = s.sealed.expect
	}
	key, known := s.sealed.peer.Key()
	if pin, ok := n.desk.Pins().Get(machine); ok {
		key, known = pin.Key, true
	}
	var with *seal.Key
	if known {
		with = &key
	}
	if err := s.sealed.peer.Begin(now, with, n.payload(s, instance), &n.sout); err != nil {
		n.drop(err.Error())
	}
	n.handleSeal(now, s, out)
}

// handleSeal carries out what a station's handshakes want done. False: the station proved to be another than it should be.
func (n *Node) handleSeal(now time.Time, s *station, out *Out) (ok bool) {
	ok = true
	for len(n.sout.Values) > 0 || len(n.sout.Events) > 0 {
		values, events := n.sout.Values, n.sout.Events
		n.sout = seal.Out{}
		for _, value := range values {
			n.sendHandshake(s, value, out)
		}
		for _, ev := range events {
			switch ev.Kind {
			case seal.Established:
				ok = n.established(now, s, ev, out) && ok
			case seal.Failed:
				if s.state == greeting {
					n.giveUp(now, s, out)
				}
			}
		}
	}
	if s.state == greeting && !s.sealed.peer.Busy() {
		n.giveUp(now, s, out) // it answered, and nothing came of it
	}
	return ok
}

// sendHandshake sends a step of a handshake.
func (n *Node) sendHandshake(s *station, value []byte, out *Out) {
	m := names.Message{Type: names.Handshake, Mode: uint8(n.Mode()), Handshake: string(value)}
	n.sendControl(s.key.port, s.key.addr, seal.Response(value), m, out)
}

// established is when a station has proved its key and said its hello: who it says it is must be who it is pinned to be.
func (n *Node) established(now time.Time, s *station, ev seal.Event, out *Out) (ok bool) {
	m, err := names.Parse(ev.Payload)
	if err != nil || m.Type != names.Hello {
		n.drop("handshake without a hello")
		s.sealed.peer.Reject(ev)
		return false
	}
	if m.VersionMin > 1 || m.VersionMax < 1 {
		n.drop("hello of another version or mode")
		n.logf(now, s.key.addr, "version", out, "%s (%s) speaks versions %d to %d; this netman speaks 1: no link",
			m.Machine, FormatAddr(s.key.addr), m.VersionMin, m.VersionMax)
		s.sealed.peer.Reject(ev)
		if ev.Initiator && s.state == greeting {
			n.refuseLink(now, s, out)
		}
		return false
	}
	var witness seal.Key
	copy(witness[:], m.Witness)
	if err := n.meet(now, s, m.Machine, ev.Key, witness, out); err != nil {
		n.refusePeer(now, s, m.Machine, err, ev, out)
		return false
	}
	n.sameMachine(now, s, m.Machine, ev.Key, out)
	s.sealed.witness = witness
	s.sealed.differs = false
	n.past["seal: handshakes completed"]++
	if s.state == up && m.BootID == s.peer.boot {
		n.past["seal: keys of a link renewed"]++
	}
	h := hello{
		machine: m.Machine, boot: m.BootID, instance: m.Instance, n1: int(m.N1), rw: int(m.RW), tolerance: m.Tolerance,
	}
	if !n.heed(now, s, h, ev.Initiator, out) {
		return true
	}
	switch {
	case ev.Initiator && s.state == greeting:
		n.connect(now, s, h, out)
	case ev.Initiator && s.state == idle:
		// Nothing but this tells the peer that the link it sent on is no more.
		n.stranger.Refuse(&out.link)
		n.takeFrames(s.key, out)
	}
	return true
}

// failWaiting turns the calls that wait for a link to their next servers.
func (n *Node) failWaiting(now time.Time, s *station, cause x25.Cause, text string, out *Out) {
	n.note(s.quiet)
	wait := s.wait
	s.wait = nil
	for _, c := range wait {
		c.unwait(s)
		n.nextServer(now, c, cause, 0, text, out)
	}
}

// giveUp ends the way to a link of a station that did not answer, or is in another mode.
func (n *Node) giveUp(now time.Time, s *station, out *Out) {
	s.state, s.quiet = idle, now.Add(quietStation)
	if s.sealed.differs {
		n.refuseLink(now, s, out)
		return
	}
	n.failWaiting(now, s, x25.CauseOutOfOrder, n.stationName(s)+" does not answer", out)
}

// unknownKey begins a handshake with a station that seals its frames with a key that we do not have, or have no more. It shows
// who we are, and that we know nothing of its link.
func (n *Node) unknownKey(now time.Time, key stationKey, out *Out) {
	s := n.stations[key]
	if s != nil && now.Before(s.sealed.barred) {
		return
	}
	if s == nil || !s.sealed.peer.Live(now) {
		if !n.desk.AdmitGuest(now) {
			n.drop(seal.ErrPace.Error())
			return
		}
		if s = n.stationAt(now, key, out); s == nil {
			return
		}
	}
	if s.sealed.peer.Unknown(now) {
		n.shake(now, s, s.sealed.instance, out)
	}
}

// rekey begins a new key when the one in use has been used enough.
func (n *Node) rekey(now time.Time, s *station, out *Out) {
	if s.state == up && s.sealed.peer.Rekey(now) {
		n.shake(now, s, s.sealed.instance, out)
	}
}

// sealTimeout runs the timers of a station's keys.
func (n *Node) sealTimeout(now time.Time, s *station, out *Out) {
	s.sealed.peer.HandleTimeout(now, &n.sout)
	n.handleSeal(now, s, out)
	if s.state == up && !s.sealed.peer.Live(now) {
		n.endLink(now, s, "its key is past its limits", out)
	}
	n.rekey(now, s, out)
}

// noteSeal notes the earliest of them.
func (n *Node) noteSeal(s *station) {
	n.note(s.sealed.peer.Deadline())
	if s.state == up {
		n.note(s.sealed.peer.RekeyAt())
		n.note(s.sealed.peer.LiveUntil())
	}
}
