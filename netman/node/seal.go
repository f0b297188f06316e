package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// sealing is what a node has in the modes pinned and secret (protocol.md, Sealed links). In open mode desk is nil.
type sealing struct {
	desk     *seal.Desk
	overhead int    // octets that a seal takes from each frame
	plain    []byte // the frame at hand, opened
	body     []byte // a group frame before it is sealed
	sout     seal.Out
	told     time.Time // until then noticed counts
	noticed  int       // the times that modes were found to differ
}

// stationSeal is what a station has in them.
type stationSeal struct {
	peer     *seal.Peer
	instance uint32    // of the link, in the last hello to this station
	mode     seal.Mode // another one than ours, that the station told of,
	differs  bool      // if it did
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

// handleSealed takes a frame, without its padding, in a sealed mode, and a sealed one in open mode.
func (n *Node) handleSealed(now time.Time, key stationKey, h header, frame []byte, out *Out) {
	group := h.da == Group
	switch {
	case h.flags&flagSealed == 0:
		n.handlePlain(now, key, group, frame[Headroom:], out)
	case n.desk == nil:
		n.drop(errSealed.Error())
		if h.flags&flagKey == 0 {
			n.tellMode(now, key, 0, "it asks for names under a site secret", out)
		}
	case h.flags&flagKey == 0:
		n.openGroup(now, key, group, frame, out)
	case group || h.sa == n.ports[key.port].addr:
		n.drop("sealed frame not for this station")
	default:
		n.openStation(now, key, frame, out)
	}
	if s := n.stations[key]; s != nil {
		n.noteStation(s)
	}
	n.settle(now, out)
}

// handlePlain takes what may come unsealed: handshakes, refusals because of modes, and in pinned mode queries and answers, which are hints.
func (n *Node) handlePlain(now time.Time, key stationKey, group bool, pdu []byte, out *Out) {
	f, err := hdlc.Parse(pdu)
	if err != nil {
		n.drop(err.Error())
		return
	}
	if f.SSAP != hdlc.SAPControl || f.DSAP&^1 != hdlc.SAPControl || f.Kind != hdlc.UI {
		n.drop("unsealed frame")
		return
	}
	m, ok := n.parseControl(now, key, f, out)
	if !ok {
		return
	}
	switch {
	case n.handleProof(now, key, group, m, out):
	case m.Type == names.Hello:
		if !group {
			n.tellMode(now, key, m.TxID, m.Machine+" is in mode open", out)
		}
	case n.Mode() == seal.Secret:
		n.drop("unsealed " + m.Type.String())
		if m.Type == names.Query {
			n.tellMode(now, key, m.TxID, "it asks for names in the clear", out)
		}
	case m.Machine == n.cfg.Machine && !n.claimed:
		n.suspect(now, key, m, out)
	default:
		n.dir.Handle(now, names.Station{Port: key.port, Addr: key.addr}, m, group, &n.nout)
		n.handleNames(now, out)
	}
}

// suspect is for a station that speaks in the name of this machine, which is claiming it, in the clear: only one that proves another key under
// the name has it. A holder answers the claim; of two that claim, the lower address has it.
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

// handleProof takes a handshake, or a refusal in the clear; in open mode too, where both only tell of another mode. False: it is neither.
func (n *Node) handleProof(now time.Time, key stationKey, group bool, m names.Message, out *Out) bool {
	switch {
	case m.Type != names.Handshake && m.Type != names.Refusal:
		return false
	case group:
		n.drop("handshake to the group")
	case m.Type == names.Refusal:
		n.heardMode(now, key, m, out)
	case seal.Mode(m.Mode) != n.Mode():
		n.tellMode(now, key, m.TxID, "it is in mode "+seal.Mode(m.Mode).String(), out)
	case n.desk != nil:
		n.handleHandshake(now, key, m, out)
	}
	return true
}

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
	if err := s.sealed.peer.Handle(now, value, n.payload(s, n.instance), &n.sout); err != nil {
		n.drop(err.Error())
	}
	n.handleSeal(now, s, out)
}

// payload is what this machine says of itself within a handshake: the hello of open mode.
func (n *Node) payload(s *station, instance uint32) []byte {
	s.sealed.instance = instance
	m := n.helloMessage(s, 0)
	m.Instance, m.Mode = instance, uint8(n.Mode())
	return m.Append(nil)
}

// shake begins a handshake: with the key that the peer has, if it is known.
func (n *Node) shake(now time.Time, s *station, instance uint32, out *Out) {
	machine := s.peer.machine
	if len(s.wait) > 0 {
		machine = s.wait[0].Machine
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
	if err := n.meet(now, s, m.Machine, ev.Key, out); err != nil {
		n.refusePeer(now, s, m.Machine, err, ev, out)
		return false
	}
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

// meet holds a machine that proved a key to the pin of its name.
func (n *Node) meet(now time.Time, s *station, machine string, key seal.Key, out *Out) error {
	if machine == n.cfg.Machine {
		n.convict(s, out)
		return seal.ErrChanged // our name is ours
	}
	pin, fresh, err := n.desk.Pins().Meet(machine, key)
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

// failWaiting turns the calls that wait for a link to their next servers.
func (n *Node) failWaiting(now time.Time, s *station, cause x25.Cause, text string, out *Out) {
	n.note(s.quiet)
	wait := s.wait
	s.wait = nil
	for _, c := range wait {
		c.wait = nil
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

// openStation opens a frame sealed with the key of its station, and takes what is in it.
func (n *Node) openStation(now time.Time, key stationKey, frame []byte, out *Out) {
	s := n.stations[key]
	if s == nil {
		n.drop(seal.ErrUnknown.Error())
		n.unknownKey(now, key, out)
		return
	}
	pdu, newest, err := s.sealed.peer.Open(now, n.plain[:0], frame, &n.sout)
	if err != nil {
		n.drop(err.Error())
		if err == seal.ErrUnknown {
			n.unknownKey(now, key, out)
		}
		return
	}
	if !n.handleSeal(now, s, out) {
		return
	}
	f, err := hdlc.Parse(pdu)
	switch {
	case err != nil:
		n.drop(err.Error())
	case f.SSAP == hdlc.SAPX25 && f.DSAP == hdlc.SAPX25:
		n.handleLLC(now, key, f, !newest, out)
	case f.SSAP == hdlc.SAPControl && f.DSAP == hdlc.SAPControl && f.Kind == hdlc.UI:
		n.handleRefusal(now, s, f, out)
	default:
		n.drop("foreign SAP")
	}
}

// handleRefusal takes what a station says, under its key, instead of a link.
func (n *Node) handleRefusal(now time.Time, s *station, f hdlc.Frame, out *Out) {
	m, err := names.Parse(f.Info)
	if err != nil || m.Type != names.Refusal {
		n.drop("sealed control message that is no refusal")
		return
	}
	s.sealed.peer.Rejected()
	who, text := n.stationName(s), ""
	switch m.Reason {
	case names.RefuseChanged:
		text = fmt.Sprintf("%s has another key pinned for %s: if %s was reinstalled, run on %s: netman trust replace %s",
			who, n.cfg.Machine, n.cfg.Machine, who, n.cfg.Machine)
	case names.RefuseStrict:
		text = fmt.Sprintf("%s accepts pinned machines only: run there: netman trust add %s %v", who, n.cfg.Machine, n.desk.Key())
	default:
		text = fmt.Sprintf("%s refuses this machine, reason %d", who, m.Reason)
	}
	n.logf(now, s.key.addr, "refused by", out, "no link with %s: %s", who, text)
	if s.state != greeting && s.state != setup {
		return
	}
	n.dropLink(s, out)
	s.state, s.quiet = idle, now.Add(quietStation)
	n.failWaiting(now, s, x25.CauseBarred, text, out)
}

// openGroup opens a frame sealed for the whole site: a query, or an answer.
func (n *Node) openGroup(now time.Time, key stationKey, group bool, frame []byte, out *Out) {
	if n.Mode() != seal.Secret {
		n.drop(errSealed.Error())
		n.tellMode(now, key, 0, "it asks for names under a site secret", out)
		return
	}
	pdu, err := n.desk.OpenGroup(key.addr, n.plain[:0], frame)
	if err != nil {
		n.drop("group: " + err.Error())
		return
	}
	f, err := hdlc.Parse(pdu)
	if err != nil || f.SSAP != hdlc.SAPControl || f.DSAP&^1 != hdlc.SAPControl || f.Kind != hdlc.UI {
		n.drop("group: foreign SAP")
		return
	}
	m, ok := n.parseControl(now, key, f, out)
	if !ok {
		return
	}
	if m.Type != names.Query && m.Type != names.Answer {
		n.drop("group: " + m.Type.String())
		return
	}
	n.dir.Handle(now, names.Station{Port: key.port, Addr: key.addr}, m, group, &n.nout)
	n.handleNames(now, out)
}

// ack is an acknowledgement that is not sealed yet: more may come, and make it say more.
type ack struct {
	key stationKey
	pdu []byte
}

// takeSealed gives the frames of a link their header, seals them and puts them in line. An acknowledgement waits for Finish, or for a
// frame that says the same.
func (n *Node) takeSealed(key stationKey, out *Out) {
	s := n.stations[key]
	for _, frame := range out.link.Frames[out.taken:] {
		pdu := frame[Headroom:]
		if s == nil {
			n.drop("frame without a key")
			continue
		}
		if hdlc.Numbered(pdu) {
			out.acks = slices.DeleteFunc(out.acks, func(a ack) bool { return a.key == key })
		}
		if hdlc.IsAck(pdu) {
			out.acks = append(out.acks, ack{key, pdu})
			continue
		}
		n.sendSealed(s, pdu, out)
	}
	out.taken = len(out.link.Frames)
}

// Finish completes Out.Frames. The owner calls it when it has told the node all that came at once, before it sends them: an
// acknowledgement of many frames is sealed once.
func (n *Node) Finish(out *Out) {
	for _, a := range out.acks {
		if s := n.stations[a.key]; s != nil {
			n.sendSealed(s, a.pdu, out)
		}
	}
	out.acks = out.acks[:0]
}

// sendSealed seals a PDU for a station into a buffer that is given back when it is sent. The PDU stays as it is: it may have to be sent again.
func (n *Node) sendSealed(s *station, pdu []byte, out *Out) {
	number, ok := s.sealed.peer.Number()
	if !ok {
		n.drop("frame without a key")
		return
	}
	if third := s.sealed.peer.Third(); third != nil {
		n.sendHandshake(s, third, out)
	}
	p := &n.ports[s.key.port]
	slab := n.slabOf(Headroom - 3 + p.mtu)
	buf := slab.Get()
	out.link.Release(slab, buf)
	if need := Headroom + len(pdu) + seal.Overhead; need > cap(buf) {
		buf = make([]byte, 0, need) // the echo of a TEST that was larger
	}
	head := n.sealedHeader(buf[:Headroom], s.key.addr, p.addr, len(pdu)+seal.Overhead, number)
	out.Frames = append(out.Frames, Frame{s.key.port, s.sealed.peer.Seal(head, pdu)})
}

// sealedHeader writes the header of a sealed frame, complete as it is to be authenticated.
func (n *Node) sealedHeader(head []byte, da, sa Addr, length int, number uint8) []byte {
	putHeader(head, da, sa, n.cfg.Ethertype)
	binary.BigEndian.PutUint16(head[14:], uint16(length))
	head[16] = frameVersion | number<<2 | flagSealed
	return head
}

// sendGroup seals a query or an answer for the whole site.
func (n *Node) sendGroup(port int, to Addr, pdu []byte, out *Out) {
	length := len(pdu) + seal.GroupOverhead
	head := n.sealedHeader(make([]byte, Headroom, Headroom+length), to, n.ports[port].addr, length, 0)
	out.Frames = append(out.Frames, Frame{port, n.desk.SealGroup(head, pdu)})
}

// controlPDU is the PDU of a control message.
func controlPDU(response bool, dsap byte, m names.Message) []byte {
	return m.Append(hdlc.Frame{DSAP: dsap, SSAP: hdlc.SAPControl, Response: response, Kind: hdlc.UI}.Append(nil))
}

// tellMode is when a station shows that it is in another mode: the log says so, and the station is told ours, so that its log does.
func (n *Node) tellMode(now time.Time, key stationKey, txid uint32, how string, out *Out) {
	n.drop("station in another mode")
	if !n.mayNotice(now) {
		return
	}
	n.logf(now, key.addr, "mode", out, "no link with the station %s: %s, and this machine is in mode %v: set the same mode under [security] on both",
		FormatAddr(key.addr), how, n.Mode())
	n.sendControl(key.port, key.addr, true, names.Message{
		Type: names.Refusal, TxID: txid, Mode: uint8(n.Mode()), Reason: names.RefuseMode,
	}, out)
}

// mayNotice rations what is said and logged about modes, for invented stations cost nothing.
func (n *Node) mayNotice(now time.Time) bool {
	if !now.Before(n.told) {
		n.told, n.noticed = now.Add(time.Second), 0
	}
	n.noticed++
	return n.noticed <= maxNotices
}

// heardMode is when a station tells its mode in the clear, which anybody can: a link that comes about all the same shows that it is not so.
func (n *Node) heardMode(now time.Time, key stationKey, m names.Message, out *Out) {
	mode := seal.Mode(m.Mode)
	if m.Reason != names.RefuseMode || mode == n.Mode() {
		n.drop("refusal in the clear")
		return
	}
	s := n.stations[key]
	who := FormatAddr(key.addr)
	if s != nil {
		who = n.stationName(s)
		s.sealed.mode, s.sealed.differs = mode, true
	}
	if !n.mayNotice(now) {
		n.drop("refusal in the clear")
		return
	}
	n.logf(now, key.addr, "mode", out, "no link with %s: it is in mode %v, and this machine is in mode %v: set the same mode under [security] on both",
		who, mode, n.Mode())
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

// RefusedKey is the key that a machine was last refused for, which `trust replace` pins.
func (n *Node) RefusedKey(machine string) (seal.Key, bool) {
	if n.desk == nil {
		return seal.Key{}, false
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
	n.endLinksWith(now, pin.Machine, pin.Key, "another key was pinned for it", out)
	return nil
}

// ForgetPin removes a pin, and ends the links with the machine: it is met anew. False: it was not pinned.
func (n *Node) ForgetPin(now time.Time, machine string, out *Out) bool {
	if n.desk == nil || !n.desk.Pins().Forget(machine) {
		return false
	}
	n.endLinksWith(now, machine, seal.Key{}, "it was forgotten", out)
	return true
}

// endLinksWith ends the links with a machine that has another key than the one given.
func (n *Node) endLinksWith(now time.Time, machine string, key seal.Key, why string, out *Out) {
	for _, s := range n.order {
		if has, ok := s.sealed.peer.Key(); s.peer.machine == machine && ok && has != key {
			s.sealed.barred = time.Time{}
			n.endLink(now, s, why, out)
		}
	}
	n.settle(now, out)
}
