package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// sealedModes are those in which an attacker must achieve nothing.
var sealedModes = []seal.Mode{seal.Pinned, seal.Secret}

// trySealed runs a directed scenario in each of them. Nothing is excused: no link goes down, no circuit is cleared but by its programs.
func trySealed(t *testing.T, run func(w *World)) {
	t.Helper()
	for _, mode := range sealedModes {
		tryMode(t, mode, func(w *World) {
			w.Trouble = false
			run(w)
		})
	}
}

// thief is a third station that hears all and may send anything with anybody's address.
type thief struct {
	w      *World
	frames [][]byte
}

func newThief(w *World) *thief {
	th := &thief{w: w}
	w.Wire.Tap = func(frame []byte) { th.frames = append(th.frames, bytes.Clone(frame)) }
	return th
}

// replay sends all recorded frames again, at once, in this order or another.
func (th *thief) replay(shuffled bool) {
	frames := th.frames
	if shuffled {
		frames = append([][]byte(nil), frames...)
		th.w.rng.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
	}
	for i, f := range frames {
		th.w.Wire.inject(f)
		if i%50 == 49 {
			th.w.Run(0) // no socket buffer holds them all
		}
	}
	th.w.Run(0)
}

// taken is what a machine's layers 2 and 3 have taken so far: no replayed or forged frame may change it.
func taken(m *Machine) string {
	all, text := m.n.Counters(), ""
	for _, name := range sortedNames(all) {
		if strings.HasPrefix(name, "link: ") || strings.HasPrefix(name, "packet level: ") || strings.HasPrefix(name, "seal: ") {
			text += fmt.Sprintf("%s %d\n", name, all[name])
		}
	}
	return text
}

func sortedNames(all map[string]uint64) (names []string) {
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// untouched runs an attack and asserts that no machine took anything of it.
func untouched(w *World, what string, attack func()) {
	before := map[*Machine]string{}
	for _, m := range w.Machines {
		before[m] = taken(m)
	}
	attack()
	for _, m := range w.Machines {
		if after := taken(m); after != before[m] {
			w.failf("%s: %s took something of it; before\n%safter\n%s", m.name, what, before[m], after)
		}
	}
}

// session is two machines with some circuits, of which the thief has heard every frame.
func session(w *World) (*thief, []*Machine, *program) {
	th := newThief(w)
	m := boot(w, MachineConfig{}, "grumpy", "sneezy")
	for range 3 {
		stream := plan{writes: w.writes(scale{octets: 9000}, 6), finish: whenRead, interrupts: 3, every: time.Millisecond}
		m[1].offer(&service{name: "stream.sneezy", max: 9, plan: func(*request) plan { return stream }})
		r := m[0].call("stream.sneezy", stream)
		w.Until(10*time.Second, "a circuit over", func() bool { return r.caller.gone })
	}
	client, _ := connect(w, m[0], "sink.sneezy", idle())
	w.Run(100 * time.Millisecond)
	return th, m, client
}

// TestReplay: every frame of a session once more, in order, out of order, many times, and after a restart: nothing is accepted.
func TestReplay(t *testing.T) {
	trySealed(t, func(w *World) {
		th, m, client := session(w)
		recorded := th.frames
		untouched(w, "a replay", func() { th.replay(false) })
		th.frames = recorded
		untouched(w, "a shuffled replay", func() { th.replay(true) })
		th.frames = recorded
		w.Run(2 * time.Second)
		if client.gone {
			w.failf("the circuit did not outlive it")
		}
		for range 5 {
			th.replay(true)
			th.frames = recorded
			w.Run(w.between(0, 300*time.Millisecond))
		}
		if client.gone {
			w.failf("the circuit did not outlive it")
		}
		w.Trouble = true
		m[1].Crash()
		w.Run(3 * time.Second)
		m[1].Start()
		w.Until(time.Second, "back", func() bool { return m[1].claimed })
		th.frames = recorded
		untouched(w, "a replay after a restart", func() { th.replay(false) })
		th.frames = recorded
		for _, each := range m {
			for _, row := range each.n.Links() {
				if row.State != "idle" {
					w.failf("%s: a link %s came of recordings", each.name, row.State)
				}
			}
		}
		w.Run(time.Second)
		w.Trouble = false
		again, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "a call over", func() bool { return again.gone })
		if again.reset || again.cause != 0 {
			w.failf("the call after it ended with %v", again.cause)
		}
	})
}

// TestEachFrameReplayed: a thief who doubles every frame at once, forever, is not noticed.
func TestEachFrameReplayed(t *testing.T) {
	trySealed(t, func(w *World) {
		w.Limits = seal.Limits{Frames: 3000, Age: 300 * time.Millisecond}
		w.Wire.Tap = func(frame []byte) {
			f := bytes.Clone(frame)
			for range 2 {
				w.After(w.between(0, 30*time.Millisecond), func() { w.Wire.inject(f) })
			}
		}
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		stream := plan{writes: w.writes(scale{octets: 65536}, 300), finish: whenRead, pace: 10 * time.Millisecond}
		m[1].offer(&service{name: "stream.sneezy", max: 9, plan: func(*request) plan { return stream }})
		client := m[0].call("stream.sneezy", stream)
		w.Until(time.Minute, "over", func() bool { return client.caller.gone })
		if client.failed {
			w.failf("the call failed: %v", client.outcome)
		}
		if n := m[0].n.Counters()["seal: keys of a link renewed"]; n < 5 {
			w.failf("only %d keys were used in turn", n)
		}
	})
}

// frameOf is a frame as a thief makes it.
func frameOf(da, sa node.Addr, flags byte, pdu []byte) []byte {
	frame := append(append(append(make([]byte, 0, 64), da[:]...), sa[:]...), 0x88, 0xb5)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(pdu)))
	return append(append(frame, 0x10|flags), pdu...)
}

// forgeries are frames that would end a link or a circuit in open mode.
func forgeries() (all [][]byte) {
	llc := func(kind hdlc.Kind, response bool, info []byte) {
		for ns := range uint8(8) {
			all = append(all, hdlc.Frame{
				DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: kind, Response: response, PF: true, NS: ns, NR: ns, Info: info,
			}.Append(nil))
		}
	}
	llc(hdlc.DISC, false, nil)
	llc(hdlc.SABME, false, nil)
	llc(hdlc.UA, true, nil)
	llc(hdlc.DM, true, nil)
	llc(hdlc.FRMR, true, []byte{0, 0, 0, 0, 8})
	llc(hdlc.REJ, true, nil)
	for _, lci := range []uint16{1, 2, 4094, 4095} {
		for _, k := range []x25.Packet{
			{Kind: x25.KindClear, LCI: lci, Cause: x25.CauseOutOfOrder}, {Kind: x25.KindReset, LCI: lci},
			{Kind: x25.KindInterrupt, LCI: lci, UserData: []byte{9}}, {Kind: x25.KindData, LCI: lci, UserData: []byte("forged")},
		} {
			llc(hdlc.I, false, k.Append(nil))
		}
	}
	llc(hdlc.I, false, x25.Packet{Kind: x25.KindRestart}.Append(nil))
	return all
}

// TestForgery: a third station with the peer's address sends DISC, SABME, FRMR, Clear, interrupts, and so on: in the clear, as if sealed, and
// sealed with keys of its own. The circuit does not notice.
func TestForgery(t *testing.T) {
	trySealed(t, func(w *World) {
		_, m, client := session(w)
		a, b := m[0].nics[0].addr, m[1].nics[0].addr
		untouched(w, "a forged frame", func() {
			for _, pdu := range forgeries() {
				w.Wire.inject(frameOf(a, b, 0, pdu))
				w.Wire.inject(frameOf(b, a, 0, pdu))
				for number := range byte(4) {
					body := append(make([]byte, 8), pdu...)
					body[7] = byte(w.rng.IntN(256))
					w.Wire.inject(frameOf(a, b, number<<2|2, append(body, make([]byte, 40)...)))
				}
				w.Run(0)
			}
		})
		w.Run(5 * time.Second)
		if client.gone {
			w.failf("the circuit was cleared")
		}
	})
}

// TestStolenAddress: a machine that knows the site, but not the peer's key, makes handshakes with the peer's address. While the link is up
// nobody takes its place, whatever name it gives.
func TestStolenAddress(t *testing.T) {
	trySealed(t, func(w *World) {
		_, m, client := session(w)
		a, b := m[0].nics[0].addr, m[1].nics[0].addr
		for i, name := range []string{"evil", "sneezy", "grumpy"} {
			evil := &seal.Config{Mode: w.Mode, Rand: w.random(), BootID: 99 + uint64(i)}
			id, _ := seal.NewIdentity(w.random())
			evil.Identity = id
			if w.Mode == seal.Secret {
				secret, _ := seal.NewSiteSecret(siteSecret)
				evil.Secrets = []seal.SiteSecret{secret}
			}
			peer := seal.NewDesk(*evil).NewPeer(b, a)
			hello := names.Message{
				Type: names.Hello, BootID: evil.BootID, Machine: name, VersionMin: 1, VersionMax: 1, Instance: 1000, N1: 1400, RW: 60,
				Tolerance: time.Second, Mode: uint8(w.Mode),
			}.Append(nil)
			var out seal.Out
			say := func() {
				for _, v := range out.Values {
					msg := names.Message{Type: names.Handshake, Mode: uint8(w.Mode), Handshake: string(v)}
					llc := hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Response: seal.Response(v), Info: msg.Append(nil)}
					w.Wire.inject(frameOf(a, b, 0, llc.Append(nil)))
				}
				out.Reset()
			}
			established := false
			w.Wire.Tap = func(frame []byte) {
				f, err := hdlc.Parse(frame[node.Headroom:])
				if err != nil || f.Kind != hdlc.UI || frame[16]&2 != 0 {
					return
				}
				if msg, err := names.Parse(f.Info); err == nil && msg.Type == names.Handshake && node.Addr(frame) == b {
					peer.Handle(w.time(), []byte(msg.Handshake), hello, &out)
					established = established || len(out.Events) > 0
				}
			}
			key := m[0].seal.Identity.Key
			for _, known := range []*seal.Key{nil, &key} {
				peer.Begin(w.time(), known, hello, &out)
				say()
				w.Run(200 * time.Microsecond)
				say()
				w.Run(200 * time.Microsecond)
				if number, ok := peer.Number(); ok {
					if third := peer.Third(); third != nil {
						out.Values = append(out.Values, third)
						say()
					}
					for _, pdu := range forgeries() {
						w.Wire.inject(peer.Seal(frameOf(a, b, number<<2|2, make([]byte, len(pdu)+seal.Overhead))[:node.Headroom], pdu))
						w.Run(0)
					}
				}
				w.Run(time.Second)
			}
			w.Wire.Tap = nil
			if client.gone {
				w.failf("%s took the place of sneezy's station", name)
			}
		}
		m[0].turn(client.close)
		w.Until(time.Second, "the circuit closed", func() bool { return client.gone })
		if client.cause != 0 {
			w.failf("cleared %v", client.cause)
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
		key, ok := m[0].n.RefusedKey("sneezy")
		if !ok || key != m[1].seal.Identity.Key {
			w.failf("the refused key is not known: %v", ok)
		}
		m[0].turn(func(now time.Time) {
			m[0].n.SetPin(now, seal.Pin{Machine: "sneezy", Key: key, How: "replaced"}, &m[0].out)
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
				each.n.SetPin(now, seal.Pin{Machine: other.name, Key: other.seal.Identity.Key, Accepted: true, How: "added"}, &each.out)
			})
		}
		c, server := connect(w, m[0], "sink.sneezy", idle())
		for _, p := range []*program{c, server} {
			if proof, ok := p.c.Proof(); !ok || !proof.Accepted || proof.Secret != (w.Mode == seal.Secret) {
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

// TestNothingReadable: in pinned mode no service, user, datagram or clear text can be read but the names in queries and answers; in
// secret mode nothing.
func TestNothingReadable(t *testing.T) {
	trySealed(t, func(w *World) {
		th, _, _ := session(w)
		for _, frame := range th.frames {
			if w.Mode == seal.Pinned && bytes.Contains(frame, []byte("netman.")) {
				continue
			}
			f, err := hdlc.Parse(frame[node.Headroom:])
			if msg, e := names.Parse(f.Info); err == nil && e == nil && w.Mode == seal.Pinned && frame[16]&2 == 0 && msg.Type <= names.Answer {
				continue
			}
			for _, word := range [][]byte{[]byte("sneezy"), []byte("grumpy"), []byte("stream"), []byte("DN\x01"), text[:16]} {
				if bytes.Contains(frame, word) {
					w.failf("%q can be read in % x", word, frame)
				}
			}
		}
	})
}

// TestFlood: 10,000 forged stations send first messages of handshakes, frames under unknown keys, hellos, notices and queries, within a
// second. What they cost is bounded, and a circuit in use goes on.
func TestFlood(t *testing.T) {
	trySealed(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		stream := plan{writes: w.writes(scale{octets: 65536}, 200), finish: whenRead, pace: 5 * time.Millisecond}
		m[1].offer(&service{name: "stream.sneezy", max: 9, plan: func(*request) plan { return stream }})
		client, _ := connect(w, m[0], "stream.sneezy", stream)
		a := m[0].nics[0].addr
		answers, begun := 0, 0
		w.Wire.Tap = func(frame []byte) {
			if f, err := hdlc.Parse(frame[node.Headroom:]); err == nil && node.Addr(frame[6:]) == a && frame[16]&2 == 0 && f.Kind == hdlc.UI {
				if msg, err := names.Parse(f.Info); err == nil && msg.Type == names.Handshake && seal.First(msg.Handshake) {
					begun++
				} else if err == nil && msg.Type == names.Handshake {
					answers++
				}
			}
		}
		rng := w.random()
		control := func(msg names.Message) []byte {
			return hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Info: msg.Append(nil)}.Append(nil)
		}
		for i := range 10_000 {
			from := node.Addr{0x02, 0xff, 0, 0, byte(i >> 8), byte(i)}
			body := make([]byte, 200)
			rng.Read(body)
			xx := append([]byte{1, 1}, body[:32]...)
			if w.Mode == seal.Secret {
				xx = append([]byte{1, 1}, body[:100]...)
			}
			w.Wire.inject(frameOf(a, from, 0, control(names.Message{Type: names.Handshake, Mode: uint8(w.Mode), Handshake: string(xx)})))
			w.Wire.inject(frameOf(a, from, 0, control(names.Message{Type: names.Handshake, Mode: uint8(w.Mode), Handshake: "\x04\x01" + string(body)})))
			w.Wire.inject(frameOf(a, from, 2|byte(i%4)<<2, body))
			w.Wire.inject(frameOf(a, from, 0, control(names.Message{Type: names.Refusal, Mode: 0, Reason: names.RefuseMode})))
			w.Wire.inject(frameOf(a, from, 0, control(names.Message{Type: names.Handshake, Mode: 3 - uint8(w.Mode), Handshake: "\x01"})))
			w.Run(100 * time.Microsecond)
		}
		t.Logf("%d handshakes answered, %d first messages sent; %v", answers, begun, m[0].n.Counters())
		if most := 64 + 200*2; answers+begun/3 > most {
			w.failf("%d handshakes answered and %d begun in a second, at most %d were expected", answers, begun, most)
		}
		if w.Mode == seal.Secret && answers > 0 {
			w.failf("%d strangers got an answer", answers)
		}
		if n := len(m[0].logs); n > 100 {
			w.failf("%d lines logged", n)
		}
		w.Until(time.Minute, "the stream over", func() bool { return client.gone })
		if client.cause != 0 {
			w.failf("the stream ended with %v", client.cause)
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
