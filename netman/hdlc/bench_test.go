package hdlc

import (
	"testing"
	"time"
)

// pair is two links up, joined by nothing but the caller.
func pair(t testing.TB, cfg Config) (a, b *Link, ao, bo *Out) {
	t.Helper()
	cfg.Headroom = testHeadroom
	cfg.Slab = NewSlab(testHeadroom + cfg.N1)
	a, b, ao, bo = NewLink(cfg), NewLink(cfg), new(Out), new(Out)
	b.Expect()
	a.Connect(epoch, ao)
	for range 4 {
		carry(t, epoch, ao, b, bo)
		carry(t, epoch, bo, a, ao)
	}
	if !a.Up() || !b.Up() {
		t.Fatalf("not up: %s, %s", a.State(), b.State())
	}
	return a, b, ao, bo
}

// carry gives all frames of one end to the other.
func carry(t testing.TB, now time.Time, from *Out, to *Link, out *Out) {
	for _, pdu := range from.Frames {
		f, err := Parse(pdu[testHeadroom:])
		if err != nil {
			t.Fatal(err)
		}
		to.HandleFrame(now, f, out)
	}
	from.Reset()
}

// stream sends n packets from a to b in bursts as large as the window lets, as the loop of netman does.
func stream(t testing.TB, n int, a, b *Link, ao, bo *Out) {
	now := epoch
	for sent := 0; sent < n; {
		now = now.Add(50 * time.Microsecond)
		for sent < n && a.Room() > 0 {
			packet := a.Buffer()
			packet = packet[:cap(packet)]
			sent++
			a.Send(now, packet, sent < n && a.Room() > 1, ao)
		}
		carry(t, now, ao, b, bo)
		carry(t, now, bo, a, ao)
		a.HandleTimeout(now, ao)
		b.HandleTimeout(now, bo)
	}
}

// BenchmarkLinkStream is the cost of one I frame at both ends together, with parsing and acknowledgements.
func BenchmarkLinkStream(b *testing.B) {
	x, y, xo, yo := pair(b, Config{N1: 1497, K: MaxWindow, RW: MaxWindow})
	stream(b, 1000, x, y, xo, yo)
	b.ReportAllocs()
	b.ResetTimer()
	stream(b, b.N, x, y, xo, yo)
}

// BenchmarkLinkPingPong is the cost of one I frame each way, never more than one at a time.
func BenchmarkLinkPingPong(b *testing.B) {
	x, y, xo, yo := pair(b, Config{N1: 1497, K: MaxWindow, RW: MaxWindow})
	now := epoch
	turn := func() {
		now = now.Add(50 * time.Microsecond)
		x.Send(now, x.Buffer()[:64], false, xo)
		carry(b, now, xo, y, yo)
		y.Send(now, y.Buffer()[:64], false, yo)
		carry(b, now, yo, x, xo)
		_, _ = x.Deadline(), y.Deadline()
	}
	turn()
	b.ReportAllocs()
	for b.Loop() {
		turn()
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	x, y, xo, yo := pair(t, Config{N1: 1497, K: MaxWindow, RW: MaxWindow})
	stream(t, 1000, x, y, xo, yo)
	if n := testing.AllocsPerRun(10, func() { stream(t, 1000, x, y, xo, yo) }); n != 0 {
		t.Errorf("1000 I frames allocate %v times, want never", n)
	}
}
