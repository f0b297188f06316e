package x25

import (
	"fmt"
	"testing"
	"time"
	"unsafe"
)

// pair is two levels joined by nothing but the order of their packets.
type pair struct {
	t        testing.TB
	now      time.Time
	dte, dce *Level
	out      [2]Out
	buf      []byte
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newPair(t testing.TB, a, b Config) *pair {
	a.Role, b.Role = DTE, DCE
	p := &pair{t: t, now: epoch, dte: NewLevel(a), dce: NewLevel(b)}
	p.dte.LinkUp(p.now, &p.out[0])
	p.dce.LinkUp(p.now, &p.out[1])
	p.carry()
	p.out[0].Reset()
	p.out[1].Reset()
	return p
}

// carry moves packets until neither side has any.
func (p *pair) carry() {
	for p.dte.Ready() || p.dce.Ready() {
		p.move(p.dte, p.dce, &p.out[0], &p.out[1])
		p.move(p.dce, p.dte, &p.out[1], &p.out[0])
	}
}

func (p *pair) move(from, to *Level, fromOut, toOut *Out) {
	for from.Ready() {
		if p.buf = from.AppendNext(p.now, p.buf[:0], fromOut); len(p.buf) > 0 {
			to.HandlePacket(p.now, p.buf, toOut)
		}
	}
}

// circuit sets up a call from the DTE and gives both ends.
func (p *pair) circuit() (a, b *Circuit) {
	a, err := p.dte.Call(p.now, []byte("call"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.carry()
	b = p.out[1].Events[len(p.out[1].Events)-1].Circuit
	if err := b.Accept(p.now, nil); err != nil {
		p.t.Fatal(err)
	}
	p.carry()
	p.out[0].Reset()
	p.out[1].Reset()
	return a, b
}

func TestStreamDoesNotAllocate(t *testing.T) {
	for _, size := range []int{60 << 10, 1 << 10, 64} {
		p := newPair(t, Config{MaxPacket: 1493}, Config{MaxPacket: 1493})
		send := p.stream(size)
		for range 1000 {
			send()
		}
		if n := testing.AllocsPerRun(1000, send); n != 0 {
			t.Errorf("%d octets: %v allocations per message", size, n)
		}
	}
}

// stream returns a function that has one message go from one program to the other.
func (p *pair) stream(size int) func() {
	a, b := p.circuit()
	data := make([]byte, size)
	got := 0
	return func() {
		if err := a.Send(p.now, data, false, false); err != nil {
			p.t.Fatal(err)
		}
		for p.dte.Ready() {
			p.buf = p.dte.AppendNext(p.now, p.buf[:0], &p.out[0])
			p.dce.HandlePacket(p.now, p.buf, &p.out[1])
			for p.dce.Ready() {
				p.buf = p.dce.AppendNext(p.now, p.buf[:0], &p.out[1])
				p.dte.HandlePacket(p.now, p.buf, &p.out[0])
			}
		}
		for {
			m, _, more, ok := b.Peek()
			if !ok {
				break
			}
			got += len(m)
			b.Next(p.now)
			if !more {
				if got != size {
					p.t.Fatalf("message of %d octets, want %d", got, size)
				}
				got = 0
			}
		}
		p.out[0].Reset()
		p.out[1].Reset()
	}
}

func BenchmarkStream(b *testing.B) {
	for _, mtu := range []int{1493, 8993} {
		for _, size := range []int{60 << 10, 1 << 10, 64} {
			b.Run(fmt.Sprintf("packet=%d/message=%d", mtu, size), func(b *testing.B) {
				p := newPair(b, Config{MaxPacket: mtu}, Config{MaxPacket: mtu})
				send := p.stream(size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				packets := p.dte.stats[PacketsOut] + p.dce.stats[PacketsOut]
				b.ResetTimer()
				for b.Loop() {
					send()
				}
				packets = p.dte.stats[PacketsOut] + p.dce.stats[PacketsOut] - packets
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
			})
		}
	}
}

func TestIdleCircuitIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Circuit{}); n > 1024 {
		t.Errorf("a circuit has %d octets", n)
	} else {
		t.Logf("a circuit has %d octets, a level %d", n, unsafe.Sizeof(Level{}))
	}
	p := newPair(t, Config{MaxPacket: 1493}, Config{MaxPacket: 1493})
	send := p.stream(60 << 10)
	send()
	for _, l := range []*Level{p.dte, p.dce} {
		if l.cfg.Pool.Lent() != 0 || l.cfg.Budget.Used() != 0 {
			t.Errorf("an idle %s holds %d octets of buffers, %d of budget", l.cfg.Role, l.cfg.Pool.Lent(), l.cfg.Budget.Used())
		}
	}
}
