package node

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

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
	default:
		n.handleName(now, key, group, m, out)
	}
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
	if s.sealed.peer.Past() {
		n.drop("sealed frame of an earlier link")
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
		text = fmt.Sprintf("%s accepts pinned machines only: run there: netman trust add %s %s", who, n.cfg.Machine, n.Keys())
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
	n.handleName(now, key, group, m, out)
}

// handleName takes a query or an answer.
func (n *Node) handleName(now time.Time, key stationKey, group bool, m names.Message, out *Out) {
	if m.Machine == n.cfg.Machine && !n.claimed {
		n.suspect(now, key, m, out)
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
