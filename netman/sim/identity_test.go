package sim

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// pretender is a member of the site, with a key and a name of its own, that uses another machine's address towards a third.
type pretender struct {
	w      *World
	victim node.Addr // to whom it speaks
	addr   node.Addr // whose address it uses
	peer   *seal.Peer
	hello  []byte
	proved bool // it has proved its key
	called bool // it was sent a call
}

// newPretender makes one. It hears what is sent to the address, and answers handshakes.
func newPretender(w *World, victim, addr node.Addr, name string, boot uint64) *pretender {
	id, _ := seal.NewIdentity(w.random())
	cfg := seal.Config{Mode: w.Mode, Rand: w.random(), BootID: boot, Identity: id}
	if w.Mode == seal.Secret {
		secret, _ := seal.NewSiteSecret(siteSecret)
		cfg.Secrets = []seal.SiteSecret{secret}
	}
	z := &pretender{w: w, victim: victim, addr: addr, peer: seal.NewDesk(cfg).NewPeer(addr, victim)}
	z.hello = names.Message{
		Type: names.Hello, BootID: boot, Machine: name, VersionMin: 1, VersionMax: 1, Instance: 1000, N1: 1400, RW: 60,
		Tolerance: time.Second, Mode: uint8(w.Mode),
	}.Append(nil)
	w.Wire.Tap = z.hear
	return z
}

// say sends a control message in the clear.
func (z *pretender) say(response bool, msg names.Message) {
	llc := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Response: response, Info: msg.Append(nil)}
	z.w.Wire.inject(frameOf(z.victim, z.addr, 0, llc.Append(nil)))
}

// seal sends a PDU under its key.
func (z *pretender) seal(pdu []byte) {
	if number, ok := z.peer.Number(); ok {
		head := frameOf(z.victim, z.addr, number<<2|2, make([]byte, len(pdu)+seal.Overhead))[:node.Headroom]
		z.w.Wire.inject(z.peer.Seal(head, pdu))
	}
}

// shake sends what its handshake wants sent.
func (z *pretender) shake(out *seal.Out) {
	for _, v := range out.Values {
		z.say(seal.Response(v), names.Message{Type: names.Handshake, Mode: uint8(z.w.Mode), Handshake: string(v)})
	}
	z.proved = z.proved || len(out.Events) > 0
	out.Reset()
}

// begin begins a handshake.
func (z *pretender) begin(known *seal.Key) {
	var out seal.Out
	z.peer.Begin(z.w.time(), known, z.hello, &out)
	z.shake(&out)
}

// third sends the third message of one.
func (z *pretender) third() {
	if _, ok := z.peer.Number(); ok && z.peer.Third() != nil {
		z.shake(&seal.Out{Values: [][]byte{z.peer.Third()}})
	}
}

// hear takes what is sent to the address.
func (z *pretender) hear(frame []byte) {
	var out seal.Out
	if node.Addr(frame) != z.addr {
		return
	}
	if frame[16]&2 != 0 {
		if pdu, _, err := z.peer.Open(z.w.time(), nil, bytes.Clone(frame), &out); err == nil {
			z.serve(pdu)
		}
	} else if f, err := hdlc.Parse(frame[node.Headroom:]); err == nil && f.Kind == hdlc.UI {
		if msg, err := names.Parse(f.Info); err == nil && msg.Type == names.Handshake {
			z.peer.Handle(z.w.time(), []byte(msg.Handshake), z.hello, &out)
		}
	}
	z.shake(&out)
}

// serve plays the other end of a link as far as a call.
func (z *pretender) serve(pdu []byte) {
	f, err := hdlc.Parse(pdu)
	if err != nil {
		return
	}
	answer := hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25}
	switch p, err := x25.Parse(f.Info); {
	case f.Kind == hdlc.SABME:
		answer.Kind, answer.Response, answer.PF = hdlc.UA, true, true
	case f.Kind == hdlc.I && err == nil && p.Kind == x25.KindRestart:
		answer.Kind, answer.NR, answer.Info = hdlc.I, 1, f.Info
	default:
		z.called = z.called || err == nil && p.Kind == x25.KindCall
		return
	}
	z.seal(answer.Append(nil))
}

// TestStolenAddress: a machine that knows the site, but not the peer's key, makes handshakes with the peer's address. While the link is up
// nobody takes its place, whatever name it gives.
func TestStolenAddress(t *testing.T) {
	trySealed(t, func(w *World) {
		_, m, client := session(w)
		a, b := m[0].nics[0].addr, m[1].nics[0].addr
		for i, name := range []string{"evil", "sneezy", "grumpy"} {
			z := newPretender(w, a, b, name, 99+uint64(i))
			key := m[0].seal.Identity.Key
			for _, known := range []*seal.Key{nil, &key} {
				z.begin(known)
				w.Run(500 * time.Microsecond)
				z.third()
				for _, pdu := range forgeries() {
					z.seal(pdu)
					w.Run(0)
				}
				w.Run(time.Second)
			}
			if !z.proved {
				w.failf("the handshakes were not answered at all")
			}
			if client.gone {
				w.failf("%s took the place of sneezy's station", name)
			}
		}
		w.Wire.Tap = nil
		m[0].turn(client.close)
		w.Until(time.Second, "the circuit closed", func() bool { return client.gone })
		if client.cause != 0 {
			w.failf("cleared %v", client.cause)
		}
	})
}

// TestBorrowedBoot: a machine of the site takes the address of one that has gone, and its boot id, which anybody can read in queries. It proves its
// own key and name: what was known of the station before must not pass for its own.
func TestBorrowedBoot(t *testing.T) {
	tryMode(t, seal.Pinned, func(w *World) {
		w.Strangers = true
		boots := map[string]uint64{}
		hear := func(frame []byte) (msg names.Message) {
			if f, err := hdlc.Parse(frame[node.Headroom:]); err == nil {
				msg, _ = names.Parse(f.Info)
			}
			return msg
		}
		w.Wire.Tap = func(frame []byte) {
			if msg := hear(frame); msg.Type == names.Query {
				boots[msg.Machine] = msg.BootID
			}
		}
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		c, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "over", func() bool { return c.gone })
		m[1].Stop()
		w.Run(100 * time.Millisecond)
		z := newPretender(w, m[0].nics[0].addr, m[1].nics[0].addr, "evil", boots["sneezy"])
		w.Wire.Tap = func(frame []byte) {
			if msg := hear(frame); msg.Type == names.Query {
				z.say(true, names.Message{Type: names.Answer, BootID: boots["sneezy"], TxID: msg.TxID, Service: msg.Service, Machine: "sneezy"})
			}
			z.hear(frame)
		}
		r := m[0].call("sink.sneezy", plan{})
		w.Until(20*time.Second, "the call ended", func() bool { return r.caller.gone })
		if !z.proved {
			w.failf("the pretender did not get as far as a key of his own")
		}
		if z.called {
			w.failf("the pretender got the call for sneezy: %v", m[0].n.Links())
		}
	})
}

// logged counts the lines of a machine's log with a text.
func logged(m *Machine, text string) (n int) {
	for _, line := range m.logs {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestImpostor: a third station with the name of a pinned machine answers faster than the true one. It gets no call and places none; both sides
// log it once.
func TestImpostor(t *testing.T) {
	trySealed(t, func(w *World) {
		w.Strangers = true
		a := w.AddMachine("grumpy", MachineConfig{})
		b := w.AddMachine("sneezy", MachineConfig{})
		evil := w.AddMachine("sneezy", MachineConfig{})
		for _, m := range []*Machine{a, b, evil} {
			for _, other := range []*Machine{a, b, evil} {
				if m != other && (m == evil || other == evil) {
					w.Wire.Cut(m, other, true) // until each has its name
				}
			}
		}
		served := map[*Machine]int{}
		for _, m := range []*Machine{b, evil} {
			m.offer(&service{name: "date.sneezy", max: 9, plan: func(*request) plan { served[m]++; return plan{} }})
		}
		a.offer(&service{name: "date.grumpy", max: 9, plan: func(*request) plan { return plan{} }})
		for _, m := range []*Machine{a, b, evil} {
			m.Start()
		}
		w.Until(time.Second, "all claimed", func() bool { return a.claimed && b.claimed && evil.claimed })
		first, _ := connect(w, a, "date.sneezy", plan{})
		w.Until(time.Second, "the first call, which pins, over", func() bool { return first.gone })
		w.Run(100 * time.Second) // the link is gone, the station forgotten
		w.Wire.Cut(a, evil, false)
		w.Wire.Cut(evil, a, false)
		b.Latency = 10 * time.Millisecond
		for range 5 {
			c, server := connect(w, a, "date.sneezy", plan{})
			w.Until(time.Second, "over", func() bool { return c.gone })
			if server.m != b || served[evil] > 0 {
				w.failf("the impostor was called")
			}
			w.Run(time.Second)
		}
		r := evil.call("date.grumpy", plan{})
		w.Until(2*time.Second, "the impostor's call told", func() bool { return r.failed })
		if r.outcome != x25.CauseBarred || len(r.servers) > 0 {
			w.failf("the impostor's call ended with %v at %d servers", r.outcome, len(r.servers))
		}
		if n := logged(a, "the key of sneezy is not the one pinned"); n != 1 {
			w.failf("grumpy logged it %d times: %q", n, a.logs)
		}
		if n := logged(evil, "grumpy has another key pinned for sneezy"); n != 1 {
			w.failf("the impostor logged it %d times: %q", n, evil.logs)
		}
	})
}

// TestReinstalled: a machine that comes back with another key is refused, by it and to it, and both are told what to run; after that it is
// welcome again.
func TestReinstalled(t *testing.T) {
	trySealed(t, func(w *World) {
		w.Strangers = true
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		c, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "over", func() bool { return c.gone })
		w.Run(100 * time.Second)
		m[1].Stop()
		m[1].newKey()
		m[1].Start()
		w.Until(time.Second, "back", func() bool { return m[1].claimed })
		for i, from := range m {
			r := from.call("sink."+m[1-i].name, plan{})
			w.Until(5*time.Second, "refused", func() bool { return r.failed })
			if r.outcome != x25.CauseBarred || !strings.Contains(r.caller.told, "netman trust replace sneezy") {
				w.failf("%s is told %v %q", from.name, r.outcome, r.caller.told)
			}
		}
		pin, ok := m[0].n.RefusedKeys("sneezy")
		if !ok || pin.Key != m[1].seal.Identity.Key {
			w.failf("the refused key is not known: %v", ok)
		}
		m[0].turn(func(now time.Time) {
			m[0].n.SetPin(now, seal.Pin{Machine: "sneezy", Key: pin.Key, Witness: pin.Witness, How: "replaced"}, &m[0].out)
		})
		for i, from := range m {
			c, _ := connect(w, from, "sink."+m[1-i].name, plan{})
			w.Until(time.Second, "over", func() bool { return c.gone })
		}
	})
}

// TestStrict: no unknown machine is accepted.
func TestStrict(t *testing.T) {
	trySealed(t, func(w *World) {
		w.Strangers = true
		m := boot(w, MachineConfig{Strict: true}, "grumpy", "sneezy")
		r := m[0].call("sink.sneezy", plan{})
		w.Until(5*time.Second, "refused", func() bool { return r.failed })
		if r.outcome != x25.CauseBarred || !strings.Contains(r.caller.told, "netman trust add sneezy") {
			w.failf("told %v %q", r.outcome, r.caller.told)
		}
		for i, each := range m {
			other := m[1-i]
			each.turn(func(now time.Time) {
				each.n.SetPin(now, seal.Pin{Machine: other.name, Key: other.seal.Identity.Key, Witness: other.seal.Witness, Accepted: true, How: "added"}, &each.out)
			})
		}
		c, server := connect(w, m[0], "sink.sneezy", idle())
		for _, p := range []*program{c, server} {
			if proof, ok := p.c.(*node.Circuit).Proof(); !ok || !proof.Accepted || proof.Secret != (w.Mode == seal.Secret) {
				w.failf("%s: the other end has proved %+v, %v", p, proof, ok)
			}
		}
	})
}

// TestModesDiffer: a station of one mode opens no link to one of another; both logs name the modes, once.
func TestModesDiffer(t *testing.T) {
	for _, one := range modes {
		for _, other := range modes {
			if one == other {
				continue
			}
			tryMode(t, one, func(w *World) {
				w.Strangers = true
				a := w.AddMachine("grumpy", MachineConfig{Mode: &one})
				b := w.AddMachine("sneezy", MachineConfig{Mode: &other})
				b.offer(&service{name: "date.sneezy", max: 9, plan: func(*request) plan { return plan{} }})
				a.Start()
				b.Start()
				w.Until(time.Second, "claimed", func() bool { return a.claimed && b.claimed })
				for range 3 {
					r := a.call("date.sneezy", plan{})
					w.Until(5*time.Second, "failed", func() bool { return r.failed })
					want := x25.CauseIncompatible
					if one == seal.Secret || other == seal.Secret {
						want = x25.CauseNotObtainable // it does not even hear the name
					}
					if r.outcome != want {
						w.failf("%v calls %v and is told %v %q", one, other, r.outcome, r.caller.told)
					}
					if want == x25.CauseIncompatible && !strings.Contains(r.caller.told, "mode "+other.String()) {
						w.failf("the caller is told %q", r.caller.told)
					}
				}
				for _, m := range []*Machine{a, b} {
					if n := logged(m, "set the same mode"); n != 1 {
						w.failf("%v and %v: %s logged it %d times: %q", one, other, m.name, n, m.logs)
					}
				}
			})
		}
	}
}

// TestAnotherSecret: a station with another site secret sees no name, gets no answer, opens no link. It is counted and not logged.
func TestAnotherSecret(t *testing.T) {
	tryMode(t, seal.Secret, func(w *World) {
		var seen [][]byte
		a := w.AddMachine("grumpy", MachineConfig{Secret: []byte("another secret, which is long enough as well")})
		b := w.AddMachine("sneezy", MachineConfig{})
		b.offer(&service{name: "date.sneezy", max: 9, plan: func(*request) plan { return plan{} }})
		w.Wire.Tap = func(frame []byte) { seen = append(seen, bytes.Clone(frame)) }
		a.Start()
		b.Start()
		w.Until(time.Second, "claimed", func() bool { return a.claimed && b.claimed })
		for range 20 {
			r := a.call("date.sneezy", plan{})
			w.Until(5*time.Second, "failed", func() bool { return r.failed })
			if r.outcome != x25.CauseNotObtainable {
				w.failf("told %v", r.outcome)
			}
		}
		if n := b.n.Counters()["group: "+seal.ErrSecret.Error()]; n != 63 || len(b.logs) > 0 {
			w.failf("%d queries counted, logged: %q", n, b.logs)
		}
		for _, frame := range seen {
			for _, name := range []string{"sneezy", "grumpy", "date", "netman"} {
				if bytes.Contains(frame, []byte(name)) {
					w.failf("%q can be read in % x", name, frame)
				}
			}
		}
	})
}

// TestForgedHolder: in pinned mode a thief who answers a claim, or claims the name himself, in the clear and without proving a key, keeps no machine
// from starting.
func TestForgedHolder(t *testing.T) {
	tryMode(t, seal.Pinned, func(w *World) {
		m := w.AddMachine("grumpy", MachineConfig{})
		w.Wire.Tap = func(frame []byte) {
			f, err := hdlc.Parse(frame[node.Headroom:])
			if err != nil {
				return
			}
			msg, err := names.Parse(f.Info)
			if err != nil || msg.Type != names.Query {
				return
			}
			for i, kind := range []names.Type{names.Answer, names.Query} {
				forged := names.Message{Type: kind, BootID: 7, TxID: msg.TxID, Service: msg.Service, Machine: "grumpy", Hops: 8}
				llc := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Response: i == 0, Info: forged.Append(nil)}
				w.Wire.inject(frameOf(m.nics[0].addr, node.Addr{0, 0, 0, 0, 0, byte(i)}, 0, llc.Append(nil)))
			}
		}
		m.Start()
		w.Until(time.Second, "claimed, whatever is forged", func() bool { return m.claimed })
		if w.Stats.Clashes > 0 {
			w.failf("%d clashes", w.Stats.Clashes)
		}
	})
}

// TestFalseAnswer: a machine of the site that answers for a name of another one gets no call: the answer is a hint, and its own key tells who it is.
func TestFalseAnswer(t *testing.T) {
	tryMode(t, seal.Pinned, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy", "evil")
		evil := m[2].nics[0].addr
		w.Wire.Tap = func(frame []byte) {
			f, err := hdlc.Parse(frame[node.Headroom:])
			if err != nil {
				return
			}
			msg, err := names.Parse(f.Info)
			if err != nil || msg.Type != names.Query || msg.Service != "sink.sneezy" {
				return
			}
			forged := names.Message{Type: names.Answer, BootID: 7, TxID: msg.TxID, Service: msg.Service, Machine: "sneezy"}
			llc := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Response: true, Info: forged.Append(nil)}
			w.Wire.inject(frameOf(m[0].nics[0].addr, evil, 0, llc.Append(nil)))
		}
		c, server := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "over", func() bool { return c.gone })
		if server.m != m[1] || m[2].n.Counters()["packet level: calls"] > 0 || m[0].n.Counters()["answer for another machine's name"] != 1 {
			w.failf("called %s; evil: %v", server.m.name, m[2].n.Counters())
		}
	})
}

// TestDeafAnswers: two invented stations answer at once for a name and then say nothing. The true server is tried beside them, and the call
// does not wait for them to be given up.
func TestDeafAnswers(t *testing.T) {
	tryMode(t, seal.Pinned, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		m[1].Latency = time.Millisecond
		w.Wire.Tap = func(frame []byte) {
			f, err := hdlc.Parse(frame[node.Headroom:])
			if err != nil {
				return
			}
			msg, err := names.Parse(f.Info)
			if err != nil || msg.Type != names.Query || msg.Service != "sink.sneezy" {
				return
			}
			for i := range byte(2) {
				forged := names.Message{Type: names.Answer, BootID: 7, TxID: msg.TxID, Service: msg.Service, Machine: "sneezy"}
				llc := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Response: true, Info: forged.Append(nil)}
				w.Wire.inject(frameOf(m[0].nics[0].addr, node.Addr{2, 0xff, 0, 0, 0, i}, 0, llc.Append(nil)))
			}
		}
		r := m[0].call("sink.sneezy", idle())
		w.Until(60*time.Millisecond, "connected", func() bool { return r.caller.connected })
		w.Run(2 * time.Second)
		if r.caller.gone || len(r.servers) != 1 {
			w.failf("%d servers were called", len(r.servers))
		}
		m[0].turn(r.caller.close)
		w.Until(time.Second, "over", func() bool { return r.caller.gone })
	})
}

// TestBusyBeside: a server whose handshake ran beside that of the one that got the call is turned to when that one does not take it.
func TestBusyBeside(t *testing.T) {
	trySealed(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy", "doc")
		served := map[string]int{}
		for _, each := range m[1:] {
			each.offer(&service{name: "date", max: 9, plan: func(*request) plan { served[each.name]++; return idle() }})
		}
		w.Wire.Delay = 15 * time.Millisecond // a handshake takes longer than until the next one is begun
		r := m[0].call("date", idle())
		w.Until(time.Second, "the link to one is up, that to the other soon", func() bool {
			links := m[0].n.Links()
			return len(links) == 2 && (links[0].State == "up" || links[1].State == "up")
		})
		for _, each := range m[1:] {
			if each.n.Links()[0].State == "up" {
				each.turn(func(time.Time) { each.n.Unregister("date") })
			}
		}
		w.Until(time.Second, "connected to the other one", func() bool { return r.caller.connected })
		if len(served) != 1 {
			w.failf("served by %v", served)
		}
	})
}
