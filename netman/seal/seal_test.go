package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	low  = [6]byte{2, 0, 0, 0, 0, 1}
	high = [6]byte{2, 0, 0, 0, 0, 2}
)

// end is one of two stations.
type end struct {
	t     testing.TB
	name  string
	desk  *Desk
	peer  *Peer
	addr  [6]byte
	other [6]byte
	out   Out
	heard []Event
	buf   []byte
}

// pair is two stations and the time. Nothing is carried but by carry and frame.
type pair struct {
	t    testing.TB
	now  time.Time
	low  *end
	high *end
}

func random(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

func identity(t testing.TB, seed uint64) Identity {
	id, err := NewIdentity(random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func secret(t testing.TB, text string) SiteSecret {
	s, err := NewSiteSecret([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	siteText  = "the secret of this site is long enough"
	otherText = "the secret of another site is long, too"
)

func newPair(t testing.TB, mode Mode, limits Limits) *pair {
	p := &pair{t: t, now: time.Unix(1000, 0)}
	make := func(name string, n uint64, addr, other [6]byte) *end {
		cfg := Config{Mode: mode, Identity: identity(t, n), Rand: random(100 + n), BootID: n, Limits: limits}
		if mode == Secret {
			cfg.Secrets = []SiteSecret{secret(t, siteText)}
		}
		e := &end{t: t, name: name, desk: NewDesk(cfg), addr: addr, other: other}
		e.peer = e.desk.NewPeer(addr, other)
		return e
	}
	p.low, p.high = make("low", 1, low, high), make("high", 2, high, low)
	return p
}

// take gives what an end wants sent, and notes its events.
func (e *end) take() (values [][]byte) {
	values = append(values, e.out.Values...)
	e.heard = append(e.heard, e.out.Events...)
	e.out.Reset()
	return values
}

// handle gives a handshake message to an end.
func (p *pair) handle(e *end, value []byte) error {
	return e.peer.Handle(p.now, value, []byte("hello of "+e.name), &e.out)
}

// carry carries handshake messages until both are silent.
func (p *pair) carry() {
	p.t.Helper()
	for range 10 {
		a, b := p.low.take(), p.high.take()
		if len(a)+len(b) == 0 {
			return
		}
		for _, v := range a {
			p.handle(p.high, v)
		}
		for _, v := range b {
			p.handle(p.low, v)
		}
	}
	p.t.Fatal("no end of handshake messages")
}

// begin begins a handshake at an end.
func (p *pair) begin(e *end, known *Key) {
	p.t.Helper()
	if err := e.peer.Begin(p.now, known, []byte("hello of "+e.name), &e.out); err != nil {
		p.t.Fatal(err)
	}
}

// header is the header of a frame from an end.
func (e *end) header(number uint8, length int) []byte {
	b := append(make([]byte, 0, 2048), e.other[:]...)
	b = append(b, e.addr[:]...)
	b = append(b, 0x88, 0xb5, byte(length>>8), byte(length))
	return append(b, 1<<4|number<<keyShift|2)
}

// seal seals a PDU.
func (p *pair) seal(e *end, pdu string) []byte {
	p.t.Helper()
	number, ok := e.peer.Number()
	if !ok {
		p.t.Fatalf("%s has no key to send under", e.name)
	}
	return e.peer.Seal(e.header(number, len(pdu)+Overhead), []byte(pdu))
}

// open opens a frame at an end.
func (p *pair) open(e *end, frame []byte) (pdu string, newest bool, err error) {
	b, newest, err := e.peer.Open(p.now, nil, frame, &e.out)
	e.heard = append(e.heard, e.out.Events...)
	e.out.Events = nil
	return string(b), newest, err
}

// say has an end say something that the other must understand, the third message first if need be.
func (p *pair) say(from, to *end, pdu string) {
	p.t.Helper()
	frame := p.seal(from, pdu)
	if third := from.peer.Third(); third != nil {
		p.handle(to, third)
		to.heard = append(to.heard, to.out.Events...)
		to.out.Events = nil
	}
	if got, _, err := p.open(to, frame); err != nil || got != pdu {
		p.t.Fatalf("%s says %q to %s, who hears %q, %v", from.name, pdu, to.name, got, err)
	}
}

func (e *end) lastEvent() Event {
	if len(e.heard) == 0 {
		return Event{}
	}
	return e.heard[len(e.heard)-1]
}

var modes = []Mode{Pinned, Secret}

// TestFirstMeeting: XX by whoever begins it. Both prove their keys and say who they are, and understand each other.
func TestFirstMeeting(t *testing.T) {
	for _, mode := range modes {
		for _, upward := range []bool{true, false} {
			p := newPair(t, mode, Limits{})
			a, b := p.low, p.high
			if !upward {
				a, b = b, a
			}
			p.begin(a, nil)
			p.carry()
			if ev := a.lastEvent(); ev.Kind != Established || !ev.Initiator || ev.Key != b.desk.Key() || string(ev.Payload) != "hello of "+b.name {
				t.Fatalf("%v: the beginner is told %+v", mode, ev)
			}
			if len(b.heard) != 0 {
				t.Fatalf("%v: the other side is told %+v before the third message", mode, b.heard)
			}
			p.say(a, b, "set up")
			if ev := b.lastEvent(); ev.Kind != Established || ev.Initiator || ev.Key != a.desk.Key() || string(ev.Payload) != "hello of "+a.name {
				t.Fatalf("%v: the other side is told %+v", mode, ev)
			}
			p.say(b, a, "yes")
			if a.peer.Third() != nil {
				t.Error("the third message is repeated though the peer was heard")
			}
			p.say(a, b, "data")
		}
	}
}

// TestKnownKey: IK. The other side learns of it by the first frame, not by the first message, which may be a recording.
func TestKnownKey(t *testing.T) {
	for _, mode := range modes {
		p := newPair(t, mode, Limits{})
		key := p.high.desk.Key()
		p.begin(p.low, &key)
		p.carry()
		if ev := p.low.lastEvent(); ev.Kind != Established || ev.Key != key {
			t.Fatalf("the beginner is told %+v", ev)
		}
		if len(p.high.heard) != 0 || p.high.peer.Live(p.now) {
			t.Fatalf("the other side took a first message for more than it is: %+v", p.high.heard)
		}
		p.say(p.low, p.high, "set up")
		if ev := p.high.lastEvent(); ev.Kind != Established || ev.Key != p.low.desk.Key() {
			t.Fatalf("the other side is told %+v", ev)
		}
		p.say(p.high, p.low, "yes")
	}
}

// TestWrongKnownKey: a peer that has another key by now does not answer IK; the last try is XX, which proves the new one.
func TestWrongKnownKey(t *testing.T) {
	p := newPair(t, Pinned, Limits{})
	wrong := identity(t, 77).Key
	p.begin(p.low, &wrong)
	p.carry()
	for range 2 {
		p.now = p.low.peer.Deadline()
		p.low.peer.HandleTimeout(p.now, &p.low.out)
		p.carry()
	}
	if ev := p.low.lastEvent(); ev.Kind != Established || ev.Key != p.high.desk.Key() {
		t.Fatalf("told %+v", ev)
	}
}

// TestNobody: three tries, after 0, 40 and 160 ms, and at 520 ms the handshake has failed.
func TestNobody(t *testing.T) {
	p := newPair(t, Pinned, Limits{})
	begin := p.now
	p.begin(p.low, nil)
	var at []time.Duration
	first := p.low.take()[0]
	for p.low.peer.Busy() {
		p.now = p.low.peer.Deadline()
		p.low.peer.HandleTimeout(p.now, &p.low.out)
		at = append(at, p.now.Sub(begin))
		for _, v := range p.low.take() {
			if !bytes.Equal(v, first) {
				t.Error("a try is not the same message again")
			}
		}
	}
	if want := []time.Duration{40e6, 160e6, 520e6}; len(at) != 3 || at[0] != want[0] || at[1] != want[1] || at[2] != want[2] {
		t.Errorf("timeouts at %v", at)
	}
	if p.low.lastEvent().Kind != Failed {
		t.Errorf("told %+v", p.low.lastEvent())
	}
}

// TestSecrets: under another secret nothing is answered; a station that knows the old and the new one answers both.
func TestSecrets(t *testing.T) {
	p := newPair(t, Secret, Limits{})
	p.high.desk.cfg.Secrets = []SiteSecret{secret(t, otherText)}
	p.begin(p.low, nil)
	for _, v := range p.low.take() {
		if err := p.handle(p.high, v); !errors.Is(err, ErrSecret) || len(p.high.out.Values) != 0 {
			t.Fatalf("another secret: %v, %d answers", err, len(p.high.out.Values))
		}
		if err := p.high.desk.Admit(p.now, v, low, high); !errors.Is(err, ErrSecret) {
			t.Fatalf("another secret is admitted: %v", err)
		}
	}
	p.low.peer.Cancel()
	p.high.desk.cfg.Secrets = []SiteSecret{secret(t, otherText), secret(t, siteText)}
	p.begin(p.low, nil)
	p.carry()
	p.say(p.low, p.high, "hello")
}

// TestModesDoNotMix: a handshake of one mode means nothing in another, even with the same keys.
func TestModesDoNotMix(t *testing.T) {
	a, b := newPair(t, Pinned, Limits{}), newPair(t, Secret, Limits{})
	a.begin(a.low, nil)
	b.begin(b.low, nil)
	pinned, sealed := a.low.take()[0], b.low.take()[0]
	if err := b.handle(b.high, pinned); err == nil {
		t.Error("secret mode takes a handshake of pinned mode")
	}
	// Pinned mode answers, for it cannot know; but nothing comes of it.
	a.handle(a.high, sealed)
	for _, v := range a.high.take() {
		if err := b.handle(b.low, v); err == nil {
			t.Error("secret mode takes an answer of pinned mode")
		}
	}
}

// TestReplayWindow: each counter is taken once; up to 64 behind the newest, in any order.
func TestReplayWindow(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	var frames [][]byte
	for range 300 {
		frames = append(frames, p.seal(p.low, "x"))
	}
	expect := func(i int, wantNewest bool, want error) {
		t.Helper()
		_, newest, err := p.open(p.high, frames[i])
		if !errors.Is(err, want) || newest != wantNewest {
			t.Errorf("frame %d: newest %v, %v; expected %v, %v", i, newest, err, wantNewest, want)
		}
	}
	expect(0, true, nil)
	expect(0, false, ErrReplayed)
	expect(2, true, nil)
	expect(1, false, nil)
	expect(1, false, ErrReplayed)
	expect(100, true, nil)
	expect(36, false, ErrOld)
	expect(37, false, nil)
	expect(37, false, ErrReplayed)
	expect(99, false, nil)
	expect(99, false, ErrReplayed)
	expect(100, false, ErrReplayed)
	expect(299, true, nil)
	expect(101, false, ErrOld)
	expect(236, false, nil)
}

// connected is a pair that has met, both ways.
func connected(t testing.TB, mode Mode, limits Limits) *pair {
	t.Helper()
	p := newPair(t, mode, limits)
	p.begin(p.low, nil)
	p.carry()
	p.say(p.low, p.high, "set up")
	p.say(p.high, p.low, "yes")
	p.low.heard, p.high.heard = nil, nil
	return p
}

// TestForged: no octet of a frame can be changed, and a frame is for the station it is addressed to.
func TestForged(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	frame := p.seal(p.low, "the data of a circuit")
	for i := range frame {
		for bit := range 8 {
			bad := bytes.Clone(frame)
			bad[i] ^= 1 << bit
			if _, _, err := p.open(p.high, bad); err == nil {
				t.Fatalf("octet %d, bit %d changed, and nobody noticed", i, bit)
			}
		}
	}
	for n := range frame {
		if _, _, err := p.open(p.high, frame[:n]); err == nil {
			t.Fatalf("%d octets of %d are taken", n, len(frame))
		}
	}
	if _, _, err := p.open(p.low, frame); err == nil {
		t.Error("a frame is taken by the one who sent it")
	}
	if got, _, err := p.open(p.high, frame); err != nil || got != "the data of a circuit" {
		t.Errorf("after all that the true frame is %q, %v", got, err)
	}
}

// TestForgedHandshake: forged answers, and third messages, do not keep the true ones from being taken. Each octet of each message matters.
func TestForgedHandshake(t *testing.T) {
	for _, mode := range modes {
		for n := range 70 {
			p := newPair(t, mode, Limits{})
			var known *Key
			if n%2 == 1 {
				key := p.high.desk.Key()
				known = &key
			}
			p.begin(p.low, known)
			first := p.low.take()[0]
			p.handle(p.high, first)
			second := p.high.take()[0]
			if i := n / 2 * 6; i < len(second) {
				for _, bad := range [][]byte{spoil(second, i), second[:i], make([]byte, len(second))} {
					if p.handle(p.low, bad); len(p.low.take())+len(p.low.heard) > 0 {
						t.Fatalf("%v: second message, octet %d changed, is taken", mode, i)
					}
				}
			}
			p.now = p.now.Add(time.Second)
			if err := p.handle(p.low, second); err != nil {
				t.Fatalf("%v: the true second message after forged ones: %v", mode, err)
			}
			p.low.take()
			if third := p.low.peer.Third(); known == nil {
				if i := n / 2 * 6; i < len(third) {
					for _, bad := range [][]byte{spoil(third, i), third[:i]} {
						if p.handle(p.high, bad); len(p.high.take())+len(p.high.heard) > 0 {
							t.Fatalf("%v: third message, octet %d changed, is taken", mode, i)
						}
					}
				}
			}
			p.now = p.now.Add(time.Second)
			p.say(p.low, p.high, "set up")
		}
	}
}

func spoil(b []byte, i int) []byte {
	bad := bytes.Clone(b)
	bad[i] ^= 0x10
	return bad
}
