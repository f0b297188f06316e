package node

import (
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// peer is a station that abuses the machine. It follows what the machine sends, so that its own frames can be nearly right.
type peer struct {
	a        *abuse
	port     int
	addr     Addr
	name     string
	boot     uint64
	instance uint32
	txid     uint32 // of the machine's last hello or query

	ns, nr   uint8 // next to send; next the machine will send
	channels map[uint16]*channel
	owed     [][]byte // PDUs that a polite peer would answer with

	refuses x25.Cause // calls, by a clear of this cause unless it is 0
	deaf    bool      // to hellos

	desk *seal.Desk // in sealed modes
	seal *seal.Peer // what it shares with the machine
}

// channel is a logical channel as the peer sees it.
type channel struct{ ps, pr uint8 }

func newPeer(a *abuse, port int, addr Addr, name string, boot uint64) *peer {
	return &peer{a: a, port: port, addr: addr, name: name, boot: boot, channels: map[uint16]*channel{}}
}

func (p *peer) begin() {
	p.ns, p.nr = 0, 0
	clear(p.channels)
}

// owe notes an answer to be sent by reply.
func (p *peer) owe(f hdlc.Frame) {
	if len(p.owed) < 64 {
		p.owed = append(p.owed, f.Append(nil))
	}
}

func (p *peer) oweControl(m names.Message) {
	p.owe(hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Response: true, Kind: hdlc.UI, Info: m.Append(nil)})
}

// hear takes a PDU that the machine sent.
func (p *peer) hear(pdu []byte) {
	f, err := hdlc.Parse(pdu)
	if err != nil {
		p.a.t.Fatalf("sent: % x: %v", pdu[:min(len(pdu), 40)], err)
	}
	answer := hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Response: true, PF: f.PF}
	switch f.Kind {
	case hdlc.UI:
		p.hearControl(f)
	case hdlc.SABME, hdlc.UA:
		p.begin()
		answer.Kind = hdlc.UA
		if f.Kind == hdlc.SABME {
			p.owe(answer)
		}
	case hdlc.DISC:
		answer.Kind = hdlc.UA
		p.owe(answer)
	case hdlc.TEST:
		answer.Kind, answer.Info = hdlc.TEST, f.Info
		if !f.Response {
			p.owe(answer)
		}
	case hdlc.I:
		if f.NS == p.nr {
			p.nr = (p.nr + 1) & 127
			p.hearPacket(f.Info)
		}
		fallthrough
	case hdlc.RR, hdlc.RNR, hdlc.REJ:
		if f.Kind == hdlc.REJ {
			p.ns = f.NR
		}
		if f.PF && !f.Response {
			answer.Kind, answer.NR = hdlc.RR, p.nr
			p.owe(answer)
		}
	}
}

func (p *peer) hearControl(f hdlc.Frame) {
	m, err := names.Parse(f.Info)
	if err != nil {
		p.a.t.Fatalf("sent: % x: %v", f.Info, err)
	}
	p.txid = m.TxID
	switch {
	case m.Type == names.Handshake:
		p.hearHandshake(m)
	case m.Type == names.Refusal:
	case m.Type == names.Hello && (f.Response || p.deaf):
	case m.Type == names.Hello:
		p.oweControl(p.hello(m.TxID))
	case m.Type == names.Query && p.name != "here":
		p.oweControl(names.Message{Type: names.Answer, BootID: p.boot, TxID: m.TxID, Machine: p.name, Service: m.Service})
	}
}

func (p *peer) hello(txid uint32) names.Message {
	return names.Message{
		Type: names.Hello, BootID: p.boot, TxID: txid, Machine: p.name, VersionMin: 1, VersionMax: 1, Instance: p.instance,
		N1: uint16(p.a.mtu - 3), RW: 127, Tolerance: time.Second,
	}
}

// owePacket notes a packet to be sent by reply.
func (p *peer) owePacket(k x25.Packet) {
	p.owe(p.information(k.Append(nil), false))
	p.ns = (p.ns + 1) & 127
}

// information is the I frame that is due.
func (p *peer) information(info []byte, pf bool) hdlc.Frame {
	return hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.I, PF: pf, NS: p.ns, NR: p.nr, Info: info}
}

// hearPacket follows the channels, and owes what a polite peer answers.
func (p *peer) hearPacket(packet []byte) {
	k, err := x25.Parse(packet)
	if err != nil {
		p.a.t.Fatalf("sent: % x: %v", packet[:min(len(packet), 40)], err)
	}
	c := p.channels[k.LCI]
	switch k.Kind {
	case x25.KindRestart:
		clear(p.channels)
		p.owePacket(x25.Packet{Kind: x25.KindRestartConfirm})
	case x25.KindCall:
		p.channels[k.LCI] = &channel{}
		if p.refuses != 0 {
			p.owePacket(x25.Packet{Kind: x25.KindClear, LCI: k.LCI, Cause: p.refuses})
		} else {
			p.owePacket(x25.Packet{Kind: x25.KindAccept, LCI: k.LCI})
		}
	case x25.KindClear:
		delete(p.channels, k.LCI)
		p.owePacket(x25.Packet{Kind: x25.KindClearConfirm, LCI: k.LCI})
	case x25.KindClearConfirm:
		delete(p.channels, k.LCI)
	case x25.KindReset, x25.KindResetConfirm:
		p.channels[k.LCI] = &channel{}
		if k.Kind == x25.KindReset {
			p.owePacket(x25.Packet{Kind: x25.KindResetConfirm, LCI: k.LCI})
		}
	case x25.KindInterrupt:
		p.owePacket(x25.Packet{Kind: x25.KindInterruptConfirm, LCI: k.LCI})
	case x25.KindData:
		if c != nil {
			c.pr = (k.PS + 1) & 127
			p.owePacket(x25.Packet{Kind: x25.KindRR, LCI: k.LCI, PR: c.pr})
		}
	}
}

// reply sends what is owed, or so many of it.
func (p *peer) reply(n int) {
	if n == 15 {
		p.owed = nil // or forgets it
	}
	for ; n >= 0 && len(p.owed) > 0; n-- {
		pdu := p.owed[0]
		p.owed = p.owed[1:]
		p.sendPDU(pdu, false)
	}
}

// sendPDU gives the machine a frame of this station, now and then twice.
func (p *peer) sendPDU(pdu []byte, group bool) {
	da := p.a.n.ports[p.port].addr
	if group {
		da = Group
	}
	if p.sealPDU(da, pdu) {
		return
	}
	frame := append(make([]byte, Headroom), pdu...)
	putHeader(frame, da, p.addr, Ethertype)
	p.a.frame(p.port, frame)
}

func (p *peer) send(f hdlc.Frame) { p.sendPDU(f.Append(nil), false) }

// near is n, or something else.
func (p *peer) near(n uint8) uint8 {
	switch b := p.a.octet(); {
	case b < 200:
		return n
	case b < 225:
		return (n + b&3 - 1) & 127
	case b < 250:
		return (n - b&63) & 127
	}
	return p.a.octet() & 127
}

var abuseKinds = []x25.Kind{
	x25.KindData, x25.KindData, x25.KindData, x25.KindRR, x25.KindRNR, x25.KindREJ, x25.KindCall, x25.KindCall, x25.KindAccept, x25.KindClear,
	x25.KindClearConfirm, x25.KindReset, x25.KindResetConfirm, x25.KindInterrupt, x25.KindInterruptConfirm, x25.KindDiagnostic,
	x25.KindRestart, x25.KindRestartConfirm, x25.KindData, x25.KindRR, x25.KindCall, x25.KindData,
}

// sendPacket sends an I frame with a packet that may well fit.
func (p *peer) sendPacket() {
	a := p.a
	k := x25.Packet{Kind: abuseKinds[int(a.octet())%len(abuseKinds)]}
	flags := a.octet()
	k.LCI = []uint16{1, 2, 4095, 4094, 3, 4093, 0, 100}[flags&7]
	if n := len(p.channels); n > 0 && flags < 224 && (k.Kind != x25.KindCall || flags&32 != 0) {
		for i, lci := range []uint16{1, 2, 4095, 4094, 3, 4093} {
			if p.channels[lci] != nil && i <= int(flags&7) {
				k.LCI = lci
			}
		}
	}
	c := p.channels[k.LCI]
	if c == nil {
		c = &channel{}
	}
	switch k.Kind {
	case x25.KindData:
		k.M, k.Q, k.D = flags&8 != 0, flags&48 == 48, flags == 255
		k.PS, k.PR = p.near(c.ps), p.near(c.pr)
		k.UserData = a.octets(int(a.octet()))
		c.ps = (c.ps + 1) & 127
	case x25.KindRR, x25.KindRNR, x25.KindREJ:
		k.PR = p.near(c.pr)
	case x25.KindCall:
		k.UserData = names.CallData{Service: abuseServices[flags&1], User: "u"}.Append(nil)
		k.Facilities = []byte{0x01, 0x80}
		if flags >= 240 {
			k.UserData = a.octets(int(flags & 15))
		} else if flags&16 != 0 {
			k.Facilities = append(k.Facilities, 0x43, flags>>5, flags>>5)
		}
		if p.channels[k.LCI] == nil {
			p.channels[k.LCI] = &channel{}
		}
	case x25.KindAccept, x25.KindDiagnostic:
		k.UserData = a.octets(int(flags & 3))
	case x25.KindInterrupt:
		k.UserData = a.octets(1 + int(flags&31))
		if len(k.UserData) == 0 {
			k.UserData = []byte{1}
		}
	case x25.KindClear, x25.KindReset, x25.KindRestart:
		k.Cause, k.Diag = x25.Cause(a.octet()), x25.Diag(flags)
		if flags&8 != 0 {
			k.Cause = []x25.Cause{x25.CauseBusy, x25.CauseNotObtainable}[flags>>4&1]
		}
		fallthrough
	case x25.KindRestartConfirm:
		if k.Kind != x25.KindClear && k.Kind != x25.KindReset && flags < 250 {
			k.LCI = 0
		}
	}
	packet := k.Append(nil)
	if flags == 77 && len(packet) > 0 {
		packet[int(a.octet())%len(packet)] ^= a.octet()
	}
	f := p.information(packet, flags&64 != 0)
	f.NS, f.NR = p.near(f.NS), p.near(f.NR)
	p.ns = (p.ns + 1) & 127
	p.send(f)
}

// sendS sends a supervisory frame.
func (p *peer) sendS() {
	b := p.a.octet()
	p.send(hdlc.Frame{
		DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: []hdlc.Kind{hdlc.RR, hdlc.RR, hdlc.RNR, hdlc.REJ}[b&3], Response: b&4 != 0, PF: b&8 != 0,
		NR: p.near(p.nr),
	})
}

// sendU sends an unnumbered frame.
func (p *peer) sendU() {
	b := p.a.octet()
	f := hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Response: b&16 != 0, PF: b&32 != 0}
	f.Kind = []hdlc.Kind{
		hdlc.SABME, hdlc.SABME, hdlc.UA, hdlc.DISC, hdlc.DM, hdlc.TEST, hdlc.XID, hdlc.FRMR, hdlc.SABME, hdlc.UA, hdlc.UI, hdlc.SABME,
	}[b%12]
	switch f.Kind {
	case hdlc.SABME:
		f.Response = b > 250
		p.begin()
	case hdlc.UA:
		f.Response = b < 250
	case hdlc.TEST, hdlc.UI:
		f.Info = p.a.octets(int(p.a.octet()))
	case hdlc.FRMR:
		f.Info = p.a.octets(5)
	}
	p.send(f)
}

// sendHello says who this station is: as before, of a new link, or of a new boot.
func (p *peer) sendHello() {
	b, wild := p.a.octet(), p.a.octet()
	switch {
	case b < 100:
		p.instance++
	case b < 110:
		p.boot += 16
	}
	m := p.hello(p.txid)
	switch {
	case wild < 16:
		m.N1, m.RW = 512+uint16(p.a.octet())<<8, p.a.octet()&126+1
	case wild < 32:
		m.Tolerance = []time.Duration{50 * time.Millisecond, 30 * time.Second}[wild&1]
	case wild < 36:
		m.VersionMin, m.VersionMax = 2, 3
	case wild < 40:
		m.Mode = 1
	case wild < 44:
		m.BootID = p.boot - 16
	case wild < 46:
		m.BootID = 1
	case wild < 50:
		m.Machine = "other"
	}
	if p.desk != nil && b > 16 {
		p.shake(m, b > 128)
		return
	}
	p.sendControl(m, b&1 != 0, wild == 255)
}

// sendNames asks, or answers.
func (p *peer) sendNames() {
	b, wild := p.a.octet(), p.a.octet()
	m := names.Message{Type: names.Query, BootID: p.boot, TxID: p.txid, Machine: p.name, Service: abuseServices[b&7], Hops: 8}
	if b&8 != 0 {
		m.Type, m.Hops, m.State = names.Answer, 0, b>>4&1
	}
	if wild >= 250 {
		m.TxID += uint32(wild)
	}
	if wild == 1 {
		m.Service = "netman.here"
	}
	p.sendControl(m, m.Type == names.Answer, m.Type == names.Query || wild == 2)
}

func (p *peer) sendControl(m names.Message, response, group bool) {
	dsap := byte(hdlc.SAPControl)
	if group {
		dsap |= 1
	}
	p.sendPDU(hdlc.Frame{DSAP: dsap, SSAP: hdlc.SAPControl, Response: response, Kind: hdlc.UI, Info: m.Append(nil)}.Append(nil), group)
}

// sendRaw sends octets: a whole frame, a PDU, a packet, or a control message of them.
func (p *peer) sendRaw() {
	b := p.a.octet()
	raw := p.a.octets(int(p.a.octet()))
	switch b & 3 {
	case 0:
		p.a.frame(int(b>>2)&3, raw)
	case 1:
		p.sendPDU(raw, b&4 != 0)
	case 2:
		p.send(p.information(raw, b&4 != 0))
		p.ns = (p.ns + 1) & 127
	case 3:
		f := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Info: raw}
		p.sendPDU(f.Append(nil), b&4 != 0)
	}
}
