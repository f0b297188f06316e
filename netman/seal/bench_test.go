package seal

import (
	"testing"
	"time"
)

// BenchmarkFrame seals and opens a frame of an MTU of 1500. Nothing is allocated.
func BenchmarkFrame(b *testing.B) {
	pdu := make([]byte, 1500-3-Overhead)
	p := connected(b, Pinned, Limits{Frames: 1 << 60, Age: time.Hour})
	header := p.low.header(p.low.peer.cur.number, len(pdu)+Overhead)
	dst := make([]byte, 0, 2048)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(1500)
		b.ReportAllocs()
		for b.Loop() {
			p.low.peer.Seal(header, pdu)
		}
	})
	frame := p.low.peer.Seal(header, pdu)
	open := func() {
		p.high.peer.cur.window = window{}
		if _, _, err := p.high.peer.Open(p.now, dst, frame, &p.high.out); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("open", func(b *testing.B) {
		b.SetBytes(1500)
		b.ReportAllocs()
		for b.Loop() {
			open()
		}
	})
}

// BenchmarkHandshake is both ends of one, with all Diffie-Hellmans.
func BenchmarkHandshake(b *testing.B) {
	p := newPair(b, Pinned, Limits{})
	for _, known := range []bool{false, true} {
		name, key := "XX", (*Key)(nil)
		if known {
			k := p.high.desk.Key()
			name, key = "IK", &k
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p.now = p.now.Add(time.Second)
				p.begin(p.low, key)
				p.carry()
				p.say(p.low, p.high, "set up")
			}
		})
	}
}

// TestFrameAllocatesNothing in the steady state.
func TestFrameAllocatesNothing(t *testing.T) {
	p := connected(t, Secret, Limits{})
	pdu := make([]byte, 1400)
	header := p.low.header(p.low.peer.cur.number, len(pdu)+Overhead)
	dst := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(100, func() {
		frame := p.low.peer.Seal(header, pdu)
		if _, newest, err := p.high.peer.Open(p.now, dst, frame, &p.high.out); err != nil || !newest {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}
