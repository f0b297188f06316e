package x25

import (
	"math/rand"
	"testing"
	"time"
)

// abuse drives one level with whatever the octets say: packets that make sense where they are and packets that do not,
// programs that do anything at any time, time that passes. Check must hold after each step, every circuit must end once,
// and nothing may be left.
type abuse struct {
	t        testing.TB
	in       []byte
	l        *Level
	out      Out
	now      time.Time
	circuits []*Circuit
	ends     map[*Circuit]int
}

func (a *abuse) octet() byte {
	if len(a.in) == 0 {
		return 0
	}
	b := a.in[0]
	a.in = a.in[1:]
	return b
}

func (a *abuse) bytes(n int) []byte {
	n = min(n, len(a.in))
	b := a.in[:n]
	a.in = a.in[n:]
	return b
}

func (a *abuse) check() {
	a.t.Helper()
	for _, e := range a.out.Events {
		switch e.Kind {
		case Incoming:
			a.circuits = append(a.circuits, e.Circuit)
		case Cleared, Drained:
			a.ends[e.Circuit]++
		case Restarted:
			if e.Circuit != nil {
				a.t.Fatal("restarted with a circuit")
			}
		}
		if e.Kind != Restarted && e.Circuit == nil {
			a.t.Fatalf("%s without a circuit", e.Kind)
		}
	}
	a.out.Reset()
	if err := a.l.Check(); err != nil {
		a.t.Fatal(err)
	}
}

var fuzzKinds = []Kind{KindData, KindData, KindData, KindRR, KindRNR, KindREJ, KindCall, KindAccept, KindClear,
	KindClearConfirm, KindReset, KindResetConfirm, KindInterrupt, KindInterruptConfirm, KindDiagnostic, KindRestart,
	KindRestartConfirm}

// fits says whether the kind is one that the peer may send on the channel.
func (a *abuse) fits(k Kind, c *Circuit) bool {
	switch k {
	case KindRestart, KindRestartConfirm:
		return a.l.state == r3
	case KindDiagnostic:
		return true
	case KindCall:
		return c == nil || c.state == p3
	case KindAccept:
		return c != nil && c.state == p3
	case KindClear:
		return c != nil && c.state == p3
	case KindClearConfirm:
		return c != nil && c.state == p7
	case KindReset, KindResetConfirm:
		return c != nil && c.data == d3
	case KindInterruptConfirm:
		return c != nil && c.interrupt.i2
	case KindREJ:
		return false
	}
	return c != nil && c.data == d1
}

// packet makes one that may well fit the state: a channel in use, numbers that are due.
func (a *abuse) packet() []byte {
	first, lci, flags := int(a.octet()), uint16(a.octet()&7), a.octet()
	k := fuzzKinds[first%len(fuzzKinds)]
	for i := 1; i < len(fuzzKinds) && first < 240 && !a.fits(k, a.l.table.get(lci)); i++ {
		k = fuzzKinds[(first+i)%len(fuzzKinds)]
	}
	if (k == KindRestart || k == KindRestartConfirm || k == KindDiagnostic) && flags < 250 {
		lci = 0
	}
	p := Packet{Kind: k, LCI: lci}
	if c := a.l.table.get(lci); c != nil {
		p.PS, p.PR = c.rx.vr, c.tx.vs
	}
	switch k {
	case KindData:
		p.M, p.Q, p.D = flags&1 != 0, flags&30 == 6, flags&126 == 120
		p.UserData = a.bytes(int(a.octet()))
	case KindCall, KindAccept:
		if flags&1 != 0 {
			p.Facilities = []byte{0x43, flags >> 5, flags >> 5, 0, 0, 0x7f, 0, flags}
		} else if flags&2 != 0 {
			p.Facilities = a.bytes(int(flags >> 3))
		}
	case KindInterrupt:
		p.UserData = []byte{flags}
	case KindClear, KindReset, KindRestart:
		p.Cause, p.Diag = Cause(flags), Diag(a.octet())
	}
	if flags >= 248 {
		p.PS, p.PR = p.PS+a.octet()&3&127, (p.PR-a.octet()&3)&127
	}
	return p.Append(nil)
}

func (a *abuse) step() {
	switch op := a.octet(); op % 8 {
	case 0, 1, 2:
		a.l.HandlePacket(a.now, a.packet(), &a.out)
	case 3:
		if op > 240 {
			a.l.HandlePacket(a.now, a.bytes(int(a.octet())), &a.out)
			break
		}
		fallthrough
	case 4, 5:
		for range op >> 4 {
			if b := a.l.AppendNext(a.now, nil, &a.out); len(b) > a.l.cfg.MaxPacket {
				a.t.Fatalf("a packet of %d octets", len(b))
			} else if len(b) > 0 {
				if _, err := Parse(b); err != nil {
					a.t.Fatalf("% x: %v", b, err)
				}
			}
			a.check()
		}
	case 6:
		a.now = a.now.Add(time.Duration(op) * time.Duration(op) * 100 * time.Microsecond)
		if d := a.l.Deadline(); !d.IsZero() && !a.now.Before(d) {
			a.l.HandleTimeout(a.now, &a.out)
			if d := a.l.Deadline(); !d.IsZero() && !d.After(a.now) {
				a.t.Fatal("the deadline stays after its timeout")
			}
		}
	case 7:
		a.program()
	}
	a.check()
}

func (a *abuse) program() {
	op := a.octet()
	if op < 4 && a.octet() < 64 {
		a.l.LinkDown(a.now, &a.out)
		a.check()
		if op < 3 {
			a.l.LinkUp(a.now, &a.out)
		}
		return
	}
	if op < 32 || len(a.circuits) == 0 {
		if c, err := a.l.Call(a.now, a.bytes(int(op&7))); err == nil {
			a.circuits = append(a.circuits, c)
		}
		return
	}
	c := a.circuits[int(a.octet())%len(a.circuits)]
	switch op % 8 {
	case 0, 1:
		_ = c.Accept(a.now, nil)
	case 2, 3:
		_ = c.Send(a.now, a.bytes(int(op)), op&64 != 0, op&128 != 0)
	case 4:
		for range op >> 5 {
			c.Peek()
			c.Next(a.now)
		}
	case 5:
		_ = c.Interrupt(a.now, a.bytes(int(op&63)))
	case 6:
		if op&16 != 0 {
			c.Reset(a.now, 0, Diag(op))
		} else {
			c.Close(a.now, 0, Diag(op), a.bytes(int(op)))
		}
	case 7:
		if !c.Over() {
			a.ends[c]++
		}
		c.Clear(a.now, Cause(op), 0, a.bytes(int(op)), &a.out)
	}
}

func runAbuse(t testing.TB, in []byte) {
	a := &abuse{t: t, in: in, now: epoch, ends: map[*Circuit]int{}}
	cfg := Config{Role: Role(a.octet() & 1), MaxLCI: 6, MaxPacket: 1493, Pool: NewPool(), Budget: &Budget{Limit: 1 << 20}}
	if shape := a.octet(); shape&1 != 0 {
		cfg.MaxUserData, cfg.Window, cfg.MaxCircuits = int(shape>>2)+1, int(shape>>5)+1, int(shape>>6)+1
		cfg.QueueLimit, cfg.ReceiveLimit, cfg.MaxMessage = int(shape>>1)+1, int(shape>>3)+1, int(shape>>4)+1
	}
	if a.octet()&1 != 0 {
		cfg.Budget.Limit = 1100
	}
	a.l = NewLevel(cfg)
	a.l.LinkUp(a.now, &a.out)
	a.check()
	for len(a.in) > 0 {
		a.step()
	}
	a.l.LinkDown(a.now, &a.out)
	a.check()
	for _, c := range a.circuits {
		if a.ends[c] != 1 || !c.Over() {
			t.Fatalf("lci %d ended %d times", c.LCI(), a.ends[c])
		}
		c.Clear(a.now, 0, 0, nil, &a.out)
	}
	a.check()
	if a.l.table.n != 0 || a.l.Len() != 0 || cfg.Pool.Lent() != 0 || cfg.Budget.Used() != 0 {
		t.Fatalf("left: %d circuits, %d octets lent, %d used", a.l.table.n, cfg.Pool.Lent(), cfg.Budget.Used())
	}
}

// FuzzLevel looks for octets that break a level.
func FuzzLevel(f *testing.F) {
	rng := rand.New(rand.NewSource(1))
	for range 20 {
		b := make([]byte, 400)
		rng.Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) { runAbuse(t, in) })
}

// TestAbuse is the same from seeds, longer, so that every run of the tests has it.
func TestAbuse(t *testing.T) {
	for seed := range *seeds * 20 {
		rng := rand.New(rand.NewSource(seed))
		in := make([]byte, 200+rng.Intn(4000))
		rng.Read(in)
		if !t.Run("", func(t *testing.T) { runAbuse(t, in) }) {
			t.Fatalf("seed %d", seed)
		}
	}
}
