package node

import (
	"math/rand/v2"
	"testing"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
)

// sealConfig is what a machine of the tests is told of keys; nil in open mode.
func sealConfig(t testing.TB, mode seal.Mode, n byte) *seal.Config {
	if mode == seal.Open {
		return nil
	}
	rng := rand.NewChaCha8([32]byte{n})
	id, err := seal.NewIdentity(rng)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &seal.Config{Mode: mode, Identity: id, Rand: rng, Limits: seal.Limits{Frames: 500}}
	if mode == seal.Secret {
		secret, err := seal.NewSiteSecret([]byte("the secret of these tests is long"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Secrets = []seal.SiteSecret{secret}
	}
	return cfg
}

// startSealing gives an abusive station keys: a member of the site is not to be trusted with the machine's life, either.
func (p *peer) startSealing() {
	cfg := sealConfig(p.a.t, p.a.mode, byte(p.boot))
	if cfg == nil {
		return
	}
	cfg.BootID = p.boot
	p.desk = seal.NewDesk(*cfg)
	p.seal = p.desk.NewPeer(p.addr, p.a.n.ports[p.port].addr)
}

// payload is what the station says of itself in a handshake.
func (p *peer) payload(m names.Message) []byte {
	m.Mode = uint8(p.a.mode)
	return m.Append(nil)
}

// shake begins a handshake.
func (p *peer) shake(m names.Message, known bool) {
	var key *seal.Key
	if k := p.a.n.Key(); known {
		key = &k
	}
	var out seal.Out
	p.seal.Cancel()
	p.seal.Begin(p.a.now, key, p.payload(m), &out)
	for _, v := range out.Values {
		p.sendHandshake(v)
	}
}

func (p *peer) handshake(v []byte) names.Message {
	return names.Message{Type: names.Handshake, Mode: uint8(p.a.mode), Handshake: string(v)}
}

func (p *peer) sendHandshake(v []byte) { p.sendControl(p.handshake(v), seal.Response(v), false) }

// hearHandshake takes a step of one, and owes the next.
func (p *peer) hearHandshake(m names.Message) {
	var out seal.Out
	p.seal.Handle(p.a.now, []byte(m.Handshake), p.payload(p.hello(0)), &out)
	for _, v := range out.Values {
		p.oweControl(p.handshake(v))
	}
	if len(out.Events) == 0 {
		return
	}
	if _, ok := p.seal.Number(); ok && p.seal.Third() != nil {
		p.oweControl(p.handshake(p.seal.Third()))
	}
}

// sealPDU sends a PDU sealed, if it is one that goes sealed and there is a key.
func (p *peer) sealPDU(da Addr, pdu []byte) bool {
	f, err := hdlc.Parse(pdu)
	if p.desk == nil || err != nil {
		return false
	}
	head := func(number uint8, overhead int) []byte {
		return p.a.n.sealedHeader(make([]byte, Headroom), da, p.addr, len(pdu)+overhead, number)
	}
	var frame []byte
	number, ok := p.seal.Number()
	switch m, err := names.Parse(f.Info); {
	case f.Kind == hdlc.UI && err == nil && m.Type <= names.Answer && p.a.mode == seal.Secret:
		frame = p.desk.SealGroup(head(0, seal.GroupOverhead), pdu)
	case ok && (f.Kind != hdlc.UI || err != nil || m.Type == names.Refusal):
		frame = p.seal.Seal(head(number, seal.Overhead), pdu)
	default:
		return false
	}
	p.a.frame(p.port, frame)
	return true
}

// hearSealed gives a frame of the machine to the stations, who open it.
func (a *abuse) hearSealed(f Frame, h header, pdu []byte) {
	whole := f.Octets[:Headroom+len(pdu)]
	for _, p := range a.peers {
		if p.port != f.Port || h.da != Group && h.da != p.addr {
			continue
		}
		switch {
		case h.flags&flagSealed == 0:
			if g, err := hdlc.Parse(pdu); err != nil || g.Kind != hdlc.UI || g.SSAP != hdlc.SAPControl {
				a.t.Fatalf("sent unsealed: %s", FormatFrame(f.Octets))
			}
			p.hear(pdu)
		case h.flags&flagKey == 0:
			inner, err := p.desk.OpenGroup(h.sa, nil, whole)
			if err != nil {
				a.t.Fatalf("a group frame cannot be opened: %v", err)
			}
			p.hear(inner)
		default:
			var out seal.Out
			if inner, _, err := p.seal.Open(a.now, nil, whole, &out); err == nil {
				p.hear(inner)
			}
		}
	}
}
