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
		stream := plan{writes: w.writes(scale{octets: 65536}, 400), finish: whenRead, pace: 10 * time.Millisecond}
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
