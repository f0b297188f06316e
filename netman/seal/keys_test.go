package seal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestNewKey: a new key comes about without a gap: what was sealed under the old one is opened, before and after, until the new one was heard
// and Grace is over. The one who answers goes on under the old key until it has heard the new one.
func TestNewKey(t *testing.T) {
	for _, mode := range modes {
		p := connected(t, mode, Limits{Grace: 2 * time.Second})
		late := []string{"late 1", "late 2"}
		var frames [][]byte
		for _, text := range late {
			frames = append(frames, p.seal(p.low, text))
		}
		old := p.high.peer.cur
		key := p.high.desk.Key()
		p.begin(p.low, &key)
		p.carry()
		if p.high.peer.cur != old {
			t.Fatalf("%v: the new key is in use at the one who answered, before anything was heard under it", mode)
		}
		p.say(p.high, p.low, "still under the old key")
		if got, newest, err := p.open(p.high, frames[0]); err != nil || !newest || got != late[0] {
			t.Fatalf("%v: a late frame: %q, %v, %v", mode, got, newest, err)
		}
		p.say(p.low, p.high, "under the new key")
		if p.high.peer.cur == old {
			t.Fatalf("%v: the old key is in use though the new one was heard", mode)
		}
		p.say(p.high, p.low, "under the new key, too")
		p.now = p.now.Add(1900 * time.Millisecond)
		if got, newest, err := p.open(p.high, frames[1]); err != nil || newest || got != late[1] {
			t.Fatalf("%v: a frame late by 1.9 s: %q, %v, newest %v", mode, got, err, newest)
		}
		p.now = p.now.Add(2 * time.Second)
		if _, _, err := p.open(p.high, frames[1]); !errors.Is(err, ErrUnknown) {
			t.Fatalf("%v: after the time of grace: %v", mode, err)
		}
	}
}

// TestHeldBack: the window goes on from key to key: a frame under the old one that somebody held back is refused when 64 others were opened since,
// be it that its own window would let it pass.
func TestHeldBack(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	held := [][]byte{p.seal(p.low, "held 1"), p.seal(p.low, "held 2")}
	key := p.high.desk.Key()
	p.begin(p.low, &key)
	p.carry()
	for range 60 {
		p.say(p.low, p.high, "under the new key")
	}
	if got, newest, err := p.open(p.high, held[0]); err != nil || newest || got != "held 1" {
		t.Errorf("62 behind: %q, %v, %v", got, newest, err)
	}
	for range 5 {
		p.say(p.low, p.high, "under the new key")
	}
	if _, _, err := p.open(p.high, held[1]); !errors.Is(err, ErrOld) {
		t.Errorf("66 behind: %v", err)
	}
}

// TestLimitsOfKey: the lower address begins a new key at the limits of frames, in either direction, and of age. At four times the limit nothing
// is sent, and nothing taken.
func TestLimitsOfKey(t *testing.T) {
	p := connected(t, Pinned, Limits{Frames: 10, Age: time.Minute})
	if p.low.peer.Rekey(p.now) || p.high.peer.Rekey(p.now) {
		t.Error("a new key at once")
	}
	for i := range 9 {
		p.say(p.high, p.low, fmt.Sprint(i))
	}
	if !p.low.peer.Rekey(p.now) || p.high.peer.Rekey(p.now) {
		t.Error("ten frames were heard: the lower address, and only it, begins a new key")
	}
	for range 30 {
		p.say(p.high, p.low, "more")
	}
	if _, ok := p.high.peer.Number(); ok {
		t.Error("41 frames may be sent")
	}

	p = connected(t, Pinned, Limits{Frames: 10, Age: time.Minute})
	if at := p.low.peer.RekeyAt(); !at.Equal(p.now.Add(time.Minute)) || !p.high.peer.RekeyAt().IsZero() {
		t.Errorf("a new key is due at %v", at)
	}
	p.now = p.now.Add(time.Minute)
	if !p.low.peer.Rekey(p.now) {
		t.Error("a minute is over and no new key is due")
	}
	frame := p.seal(p.high, "x")
	p.now = p.now.Add(3 * time.Minute)
	if p.low.peer.Live(p.now) {
		t.Error("four minutes are over, and the key lives")
	}
	if _, _, err := p.open(p.low, frame); err == nil {
		t.Error("a frame under a key of four minutes is taken")
	}
}

// TestRepeatedFirst: the same first message is answered by the same second one, and costs nothing; once its key is in use it is not answered.
func TestRepeatedFirst(t *testing.T) {
	for _, known := range []bool{false, true} {
		p := newPair(t, Pinned, Limits{})
		var key *Key
		if known {
			k := p.high.desk.Key()
			key = &k
		}
		p.begin(p.low, key)
		first := p.low.take()[0]
		var answer string
		for i := range 100 {
			if err := p.handle(p.high, first); err != nil {
				t.Fatalf("repeated %d times: %v", i, err)
			}
			values := p.high.take()
			if len(values) != 1 || i > 0 && string(values[0]) != answer {
				t.Fatalf("repeated %d times: another answer", i)
			}
			answer = string(values[0])
		}
		p.handle(p.low, []byte(answer))
		p.low.take()
		p.say(p.low, p.high, "set up")
		if known {
			if err := p.handle(p.high, first); !errors.Is(err, ErrRepeated) {
				t.Errorf("the first message of the key in use: %v", err)
			}
		}
	}
}

// TestRecordedFirst: first messages of earlier handshakes change nothing, however many come: not the key in use, not a handshake under way.
func TestRecordedFirst(t *testing.T) {
	p := newPair(t, Pinned, Limits{})
	var recorded [][]byte
	key := p.high.desk.Key()
	for i := range 40 {
		var with *Key
		if i%2 == 0 {
			with = &key
		}
		p.begin(p.low, with)
		recorded = append(recorded, p.low.take()...)
	}
	p.low.peer.Cancel()
	p.begin(p.low, nil)
	p.carry()
	p.say(p.low, p.high, "set up")
	p.say(p.high, p.low, "yes")
	cur, events := p.high.peer.cur, len(p.high.heard)
	for _, v := range recorded {
		p.now = p.now.Add(60 * time.Millisecond) // as fast as they are taken
		p.handle(p.high, v)
		p.high.take()
	}
	if p.high.peer.cur != cur || len(p.high.heard) != events {
		t.Error("a recording changed the key in use")
	}
	if len(p.high.peer.theirs) > maxHalfOpen {
		t.Errorf("%d handshakes wait", len(p.high.peer.theirs))
	}
	p.say(p.low, p.high, "all is as it was")

	// One of them comes between the first and the third message of a true one.
	p.begin(p.low, nil)
	first := p.low.take()[0]
	p.now = p.now.Add(time.Second)
	p.handle(p.high, first)
	second := p.high.take()[0]
	for _, v := range recorded[:8] {
		p.handle(p.high, v)
		p.high.take()
	}
	p.now = p.now.Add(time.Second)
	p.handle(p.low, second)
	p.low.take()
	p.say(p.low, p.high, "the true one is finished")
}

// TestPace: first messages of one station are answered eight at once, then 20 a second.
func TestPace(t *testing.T) {
	p := newPair(t, Pinned, Limits{})
	answered := 0
	for range 1000 {
		p.begin(p.low, nil)
		p.handle(p.high, p.low.take()[0])
		answered += len(p.high.take())
		p.now = p.now.Add(time.Millisecond)
	}
	if answered < 20 || answered > 8+20 {
		t.Errorf("%d of 1000 first messages in a second were answered", answered)
	}
}

// TestUnknownKey: a frame under an unknown key calls for a handshake, once a second at most, and not while one is under way.
func TestUnknownKey(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	fresh := p.high.desk.NewPeer(high, low)
	p.high.peer = fresh
	begun := 0
	for range 40 {
		if _, _, err := p.open(p.high, p.seal(p.low, "x")); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		if fresh.Unknown(p.now) {
			begun++
		}
		p.now = p.now.Add(100 * time.Millisecond)
	}
	if begun != 4 {
		t.Errorf("%d handshakes in 4 seconds", begun)
	}
	p.begin(p.high, nil)
	if p.now = p.now.Add(10 * time.Second); fresh.Unknown(p.now) {
		t.Error("one is under way, and a second one is begun")
	}
}

// TestOnly: as long as a peer is bound to its key, nobody else takes its place, whichever pattern is tried.
func TestOnly(t *testing.T) {
	for _, known := range []bool{false, true} {
		p := connected(t, Pinned, Limits{})
		key, own := p.low.desk.Key(), p.high.desk.Key()
		p.high.peer.Only = &key
		thief := NewDesk(Config{Mode: Pinned, Identity: identity(t, 99), Rand: random(99), BootID: 99})
		true1 := p.low.peer
		p.low.peer = thief.NewPeer(low, high)
		p.now = p.now.Add(time.Second)
		if known {
			p.begin(p.low, &own)
		} else {
			p.begin(p.low, nil)
		}
		p.carry()
		if third := p.low.peer.third(); third != nil {
			if err := p.handle(p.high, third); !errors.Is(err, ErrOther) {
				t.Errorf("the thief's third message: %v", err)
			}
		}
		if number, ok := p.low.peer.Number(); ok {
			frame := p.low.peer.Seal(p.low.header(number, 3+Overhead), []byte("bad"))
			if _, _, err := p.open(p.high, frame); err == nil {
				t.Error("a frame of the thief is taken")
			}
		}
		p.low.peer = true1
		p.say(p.low, p.high, "still here")
		p.say(p.high, p.low, "so am I")
	}
}

func (p *Peer) third() []byte {
	if p.cur == nil {
		return nil
	}
	return p.Third()
}

// net carries messages of both kinds as a bad wire does.
type net struct {
	*pair
	rng  *rand.Rand
	sent []parcel
}

type parcel struct {
	to    *end
	value []byte
	frame []byte
}

func (n *net) collect() {
	for _, e := range []*end{n.low, n.high} {
		for _, v := range e.take() {
			n.sent = append(n.sent, parcel{to: n.otherEnd(e), value: v})
		}
	}
}

func (n *net) otherEnd(e *end) *end {
	if e == n.low {
		return n.high
	}
	return n.low
}

// poke has an end send a frame, as layer 2 does again and again.
func (n *net) poke(e *end) {
	number, ok := e.peer.Number()
	if !ok {
		return
	}
	if third := e.peer.Third(); third != nil {
		n.sent = append(n.sent, parcel{to: n.otherEnd(e), value: third})
	}
	n.sent = append(n.sent, parcel{to: n.otherEnd(e), frame: e.peer.Seal(e.header(number, 4+Overhead), []byte("poke"))})
}

// step lets something happen.
func (n *net) step(loss float64) {
	switch r := n.rng.IntN(10); {
	case r == 0:
		n.poke([]*end{n.low, n.high}[n.rng.IntN(2)])
	case r == 1:
		n.now = n.now.Add(time.Duration(n.rng.IntN(20)) * time.Millisecond)
		for _, e := range []*end{n.low, n.high} {
			e.peer.HandleTimeout(n.now, &e.out)
		}
		n.collect()
	case len(n.sent) > 0:
		i := n.rng.IntN(min(len(n.sent), 3))
		c := n.sent[i]
		if n.rng.Float64() > 0.1 {
			n.sent = append(n.sent[:i], n.sent[i+1:]...)
		}
		if n.rng.Float64() < loss {
			return
		}
		if c.value != nil {
			n.handle(c.to, c.value)
		} else {
			_, _, err := c.to.peer.Open(n.now, nil, c.frame, &c.to.out)
			if errors.Is(err, ErrUnknown) && c.to.peer.Unknown(n.now) {
				n.begin(c.to, nil)
			}
		}
		n.collect()
	}
}

// TestCrossing: both begin, again and again, over a wire that loses, doubles and reorders; whatever happens, once all is quiet each understands
// the other, and at most two keys are about.
func TestCrossing(t *testing.T) {
	for seed := range uint64(100) {
		n := &net{pair: newPair(t, modes[seed%2], Limits{}), rng: rand.New(rand.NewPCG(seed, 1))}
		ends := []*end{n.low, n.high}
		for range 1 + n.rng.IntN(3) {
			for _, e := range ends {
				if n.rng.IntN(4) > 0 {
					var known *Key
					if n.rng.IntN(2) == 0 {
						key := n.otherEnd(e).desk.Key()
						known = &key
					}
					n.begin(e, known)
					n.collect()
				}
			}
			for range n.rng.IntN(60) {
				n.step(0.1)
			}
		}
		// Who has no key and no handshake begins one, as for a frame under an unknown key; then the wire is well.
		for i := 0; i < 2000 && !(i > 400 && n.low.peer.Live(n.now) && n.high.peer.Live(n.now)); i++ {
			for _, e := range ends {
				if !e.peer.Live(n.now) && !e.peer.Busy() {
					n.begin(e, nil)
					n.collect()
				}
			}
			n.step(0)
		}
		for _, e := range ends {
			e.peer.Cancel()
		}
		n.now = n.now.Add(100 * time.Millisecond)
		for range 6 {
			n.say(n.low, n.high, "down")
			n.say(n.high, n.low, "up")
			n.now = n.now.Add(time.Second)
		}
		if t.Failed() {
			t.Fatalf("seed %d: low %+v high %+v", seed, n.low.peer, n.high.peer)
		}
	}
}

// TestRejected: a key that one side has dropped, and told the other so, keeps neither from a new one.
func TestRejected(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	p.low.peer.last = p.low.peer.cur
	p.low.peer.Rejected()
	if _, ok := p.low.peer.Number(); ok {
		t.Error("the key is still in use")
	}
	key := p.low.desk.Key()
	p.now = p.now.Add(time.Second)
	p.begin(p.high, &key)
	p.carry()
	p.say(p.high, p.low, "anew")
	p.say(p.low, p.high, "yes")
}

// TestPins: the table of names and keys.
func TestPins(t *testing.T) {
	one, two := identity(t, 1).Key, identity(t, 2).Key
	pins := newPins([]Pin{{Machine: "doc", Key: one, Accepted: true, How: "added"}}, false, 2)
	if pin, fresh, err := pins.Meet("doc", one, Key{}); err != nil || fresh || !pin.Accepted {
		t.Errorf("a pinned machine: %+v, %v, %v", pin, fresh, err)
	}
	if _, _, err := pins.Meet("doc", two, Key{}); !errors.Is(err, ErrChanged) {
		t.Errorf("another key: %v", err)
	}
	if _, _, err := pins.Meet("doc", one, two); !errors.Is(err, ErrChanged) {
		t.Errorf("another witness with the same key: %v", err)
	}
	if _, _, err := pins.Meet("doc", two, Key{}); !errors.Is(err, ErrChanged) {
		t.Errorf("another key: %v", err)
	}
	if pin, ok := pins.Refused("doc"); !ok || pin.Key != two || pin.Witness != (Key{}) {
		t.Error("the refused key is not remembered")
	}
	if pin, fresh, err := pins.Meet("grumpy", two, Key{}); err != nil || !fresh || pin.Accepted || pin.How != "met" {
		t.Errorf("a first meeting: %+v, %v, %v", pin, fresh, err)
	}
	if _, _, err := pins.Meet("sneezy", two, Key{}); !errors.Is(err, ErrFull) {
		t.Errorf("a third machine: %v", err)
	}
	if err := pins.Set(Pin{Machine: "sneezy", Key: two}); !errors.Is(err, ErrFull) {
		t.Errorf("a third pin: %v", err)
	}
	if err := pins.Set(Pin{Machine: "doc", Key: two, How: "replaced"}); err != nil {
		t.Error(err)
	}
	if _, ok := pins.Refused("doc"); ok {
		t.Error("a key that is pinned is still refused")
	}
	if all := pins.All(); len(all) != 2 || all[0].Machine != "doc" || all[0].Key != two || all[1].Machine != "grumpy" {
		t.Errorf("all: %+v", all)
	}
	if !pins.Forget("grumpy") || pins.Forget("grumpy") {
		t.Error("forget")
	}
	strict := newPins(nil, true, 2)
	if _, _, err := strict.Meet("doc", one, Key{}); !errors.Is(err, ErrStrict) {
		t.Errorf("strict: %v", err)
	}
	for i := range 1000 {
		strict.Meet(fmt.Sprintf("m%d", i), one, Key{})
	}
	if len(strict.refused) > maxRefused {
		t.Errorf("%d refused keys are remembered", len(strict.refused))
	}
}

// TestKeyText: a key is read as it is printed.
func TestKeyText(t *testing.T) {
	key := identity(t, 5).Key
	if again, err := ParseKey(key.String()); err != nil || again != key || len(key.String()) != 43 {
		t.Errorf("%v: %v, %v", key, again, err)
	}
	for _, bad := range []string{"", "x", key.String()[1:], key.String() + "A", key.String()[:42] + "!", key.String() + "="} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is taken for a key", bad)
		}
	}
}

// TestEarlierLink: a frame under a key from before the present link began is opened, and known to be of an earlier one.
func TestEarlierLink(t *testing.T) {
	p := connected(t, Pinned, Limits{})
	held := p.seal(p.low, "DISC of the link before")
	key := p.high.desk.Key()
	p.begin(p.low, &key)
	p.carry()
	p.say(p.low, p.high, "SABME")
	p.high.peer.NewLink()
	if p.say(p.low, p.high, "data"); p.high.peer.Past() {
		t.Error("a frame of the present link is taken for one of an earlier one")
	}
	if _, _, err := p.open(p.high, held); err != nil || !p.high.peer.Past() {
		t.Errorf("a frame of an earlier link is not known as such: %v", err)
	}
}

// TestMove: with another address of this side nothing agreed before counts, and all can be agreed anew.
func TestMove(t *testing.T) {
	p := connected(t, Secret, Limits{})
	moved := [6]byte{2, 0, 0, 0, 0, 9}
	p.high.peer.Move(moved)
	if p.high.peer.Live(p.now) {
		t.Error("the keys are still in use")
	}
	p.high.addr, p.low.other = moved, moved
	p.low.peer = p.low.desk.NewPeer(low, moved)
	p.begin(p.low, nil)
	p.carry()
	p.say(p.low, p.high, "anew")
	p.say(p.high, p.low, "yes")
}
