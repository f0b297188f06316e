package hdlc

import (
	"container/heap"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the one world to run; 0: the usual ones")

// wire is what lies between two links in virtual time: it loses, doubles, delays and reorders, from one seed.
type wire struct {
	delay           time.Duration
	octet           time.Duration // time that one octet takes on the wire; 0: none
	loss, dup, late float64       // chances per frame; a late frame is delayed by up to lateBy more
	lateBy          time.Duration
	eats            int // PDUs above this size never arrive; 0: all do
}

// flight is a PDU on its way to an end.
type flight struct {
	at    time.Time
	order int
	to    int
	pdu   []byte
}

type flights []flight

func (q flights) Len() int { return len(q) }
func (q flights) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q flights) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *flights) Push(x any)   { *q = append(*q, x.(flight)) }
func (q *flights) Pop() any {
	old := *q
	f := old[len(old)-1]
	*q = old[:len(old)-1]
	return f
}

// end is one of the two stations of a world.
type end struct {
	link      *Link
	out       Out
	slab      *Slab
	toSend    int // packets this end still has to send
	sent      int
	received  int
	packetLen int
	smallLen  int // of every second packet; 0: as the others
	ups       int
	reasons   []Reason
	idleUntil time.Time // this end's program gives nothing before
	free      time.Time // the wire from this end is free at
}

// world is two links and a wire.
type world struct {
	t      testing.TB
	seed   uint64
	rng    *rand.Rand
	now    time.Time
	wire   wire
	queue  flights
	order  int
	ends   [2]*end
	steps  int
	copied int
	spare  [][]byte
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const testHeadroom = 17

func newWorld(t testing.TB, seed uint64, w wire, cfg Config) *world {
	s := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, wire: w}
	for i := range s.ends {
		c := cfg
		c.Headroom = testHeadroom
		c.Slab = NewSlab(testHeadroom + c.N1)
		s.ends[i] = &end{link: NewLink(c), slab: c.Slab, packetLen: c.N1 - 4}
	}
	return s
}

// failf ends the test with the seed that repeats it.
func (s *world) failf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d, step %d, at %v: %s", s.seed, s.steps, s.now.Sub(epoch), fmt.Sprintf(format, args...))
}

// after runs end i's machine to completion: checks it, takes its events, gives it packets and puts its frames on the wire.
func (s *world) after(i int) {
	e := s.ends[i]
	s.events(i)
	for e.toSend > 0 && e.link.Room() > 0 && !s.now.Before(e.idleUntil) {
		// The payload is its own number, so that the receiver can tell loss, doubling and order.
		packet := binary.BigEndian.AppendUint32(e.link.Buffer(), uint32(e.sent))
		packet = packet[:e.packetLen]
		if e.smallLen > 0 && e.sent%2 == 1 {
			packet = packet[:e.smallLen]
		}
		e.toSend--
		e.sent++
		e.link.Send(s.now, packet, e.toSend > 0 && e.link.Room() > 1, &e.out)
	}
	if err := e.link.Check(); err != nil {
		s.failf("end %d: %v", i, err)
	}
	for _, f := range e.out.Frames {
		s.transmit(i, f[testHeadroom:])
	}
	e.out.Reset()
}

func (s *world) events(i int) {
	e := s.ends[i]
	for _, ev := range e.out.Events {
		switch ev.Kind {
		case Up:
			e.ups++
		case Down:
			e.reasons = append(e.reasons, ev.Reason)
		case Data:
			if got := int(binary.BigEndian.Uint32(ev.Info)); got != e.received {
				s.failf("end %d received packet %d, expected %d", i, got, e.received)
			}
			e.received++
		}
	}
}

// transmit puts a PDU on the wire.
func (s *world) transmit(from int, pdu []byte) {
	e := s.ends[from]
	if e.free.Before(s.now) {
		e.free = s.now
	}
	e.free = e.free.Add(time.Duration(len(pdu)+testHeadroom) * s.wire.octet)
	if s.rng.Float64() < s.wire.loss || s.wire.eats > 0 && len(pdu) > s.wire.eats {
		return
	}
	copies := 1
	if s.rng.Float64() < s.wire.dup {
		copies = 2
	}
	for range copies {
		at := e.free.Add(s.wire.delay)
		if s.rng.Float64() < s.wire.late {
			at = at.Add(time.Duration(s.rng.Int64N(int64(s.wire.lateBy) + 1)))
		}
		var b []byte
		if n := len(s.spare); n > 0 {
			b, s.spare = s.spare[n-1], s.spare[:n-1]
		}
		s.order++
		heap.Push(&s.queue, flight{at, s.order, 1 - from, append(b[:0], pdu...)})
	}
}

// step goes on to what happens next: a frame that arrives, or a timer. It returns false when nothing will.
func (s *world) step() bool {
	s.steps++
	next := time.Time{}
	if len(s.queue) > 0 {
		next = s.queue[0].at
	}
	timer := -1
	for i, e := range s.ends {
		d := e.link.Deadline()
		if e.toSend > 0 && e.link.Room() > 0 && s.now.Before(e.idleUntil) {
			d = earlier(d, e.idleUntil)
		}
		if !d.IsZero() && (next.IsZero() || d.Before(next)) {
			next, timer = d, i
		}
	}
	if next.IsZero() {
		return false
	}
	if s.now.Before(next) {
		s.now = next
	}
	if timer >= 0 {
		s.ends[timer].link.HandleTimeout(s.now, &s.ends[timer].out)
		s.after(timer)
		return true
	}
	fl := heap.Pop(&s.queue).(flight)
	f, err := Parse(fl.pdu)
	if err != nil {
		s.failf("end %d sent what does not parse: %v", 1-fl.to, err)
	}
	s.ends[fl.to].link.HandleFrame(s.now, f, &s.ends[fl.to].out)
	s.after(fl.to)
	s.spare = append(s.spare, fl.pdu)
	return true
}

// until steps while the condition does not hold, for at most limit of virtual time.
func (s *world) until(limit time.Duration, what string, done func() bool) {
	s.t.Helper()
	end := s.now.Add(limit)
	for !done() {
		if !s.step() {
			s.failf("nothing will happen any more, and not yet %s; %s | %s", what, s.describe(0), s.describe(1))
		}
		if s.now.After(end) {
			s.failf("not %s within %v; %s | %s", what, limit, s.describe(0), s.describe(1))
		}
	}
}

func (s *world) describe(i int) string {
	e := s.ends[i]
	return fmt.Sprintf("end %d %s: to send %d, received %d, reasons %v, stats %+v", i, e.link.State(), e.toSend, e.received, e.reasons, e.link.Stats())
}

// connect sets the link up from end 0.
func (s *world) connect(limit time.Duration) {
	s.t.Helper()
	s.ends[1].link.Expect()
	s.ends[0].link.Connect(s.now, &s.ends[0].out)
	s.after(0)
	s.until(limit, "up", func() bool { return s.ends[0].link.Up() && s.ends[1].link.Up() })
}

// move sends n packets from end 0 and m from end 1 and returns the virtual time until all are acknowledged.
func (s *world) move(n, m int, limit time.Duration) time.Duration {
	s.t.Helper()
	begin := s.now
	want := [2]int{s.ends[0].received + m, s.ends[1].received + n}
	s.ends[0].toSend, s.ends[1].toSend = n, m
	s.after(0)
	s.after(1)
	s.until(limit, "all delivered and acknowledged", func() bool {
		for i, e := range s.ends {
			if e.toSend > 0 || e.received != want[i] || e.link.send.va != e.link.send.vm {
				return false
			}
		}
		return true
	})
	return s.now.Sub(begin)
}

// finish disconnects and asserts that nothing is left.
func (s *world) finish() {
	s.t.Helper()
	s.ends[0].link.Disconnect(s.now, &s.ends[0].out)
	s.after(0)
	// When DISC is lost for good, the other end hears DM to its polls.
	s.until(time.Minute, "down at both ends", func() bool {
		return s.ends[0].link.state == adm && s.ends[1].link.state == adm
	})
	for s.step() {
	}
	for i, e := range s.ends {
		if e.slab.Used() != 0 {
			s.failf("end %d: %d buffers are still out", i, e.slab.Used())
		}
		if !e.link.Deadline().IsZero() {
			s.failf("end %d: a timer still runs", i)
		}
		if e.ups != 1 || len(e.reasons) != 1 {
			s.failf("end %d: came up %d times, went down for %v", i, e.ups, e.reasons)
		}
	}
}

// seeds are those of the worlds to run.
func seeds(n int) []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return all
}

// TestWorld moves tens of thousands of frames both ways over bad wires: in order, once each, windows kept, within a bounded
// virtual time, and nothing left at the end.
func TestWorld(t *testing.T) {
	const us = time.Microsecond
	for _, row := range []struct {
		name  string
		wire  wire
		cfg   Config
		n, m  int
		limit time.Duration
	}{
		// A frame is late by at most the delay, so that its numbers are at most 64 behind.
		{"clean", wire{delay: 100 * us}, Config{N1: 64, K: 63, RW: 63}, 20000, 20000, time.Second},
		{"bad", wire{delay: 100 * us, loss: 0.05, dup: 0.02, late: 0.02, lateBy: 100 * us}, Config{N1: 64, K: 63, RW: 63}, 6000, 6000, 20 * time.Second},
		{"very bad", wire{delay: 3 * ms, loss: 0.2, dup: 0.2, late: 0.3, lateBy: 3 * ms}, Config{N1: 64, K: 63, RW: 63}, 500, 500, 2 * time.Minute},
		{"one way", wire{delay: 500 * us, loss: 0.1, dup: 0.1, late: 0.1, lateBy: 500 * us}, Config{N1: 64, K: 63, RW: 63}, 5000, 0, time.Minute},
		{"doubled", wire{delay: 100 * us, dup: 1, late: 0.5, lateBy: 100 * us}, Config{N1: 64, K: 63, RW: 63}, 3000, 3000, 20 * time.Second},
		{"small windows", wire{delay: 100 * us, loss: 0.03, dup: 0.02, late: 0.02, lateBy: 100 * us}, Config{N1: 64, K: 4, RW: 4}, 3000, 3000, 20 * time.Second},
		{"window of one", wire{delay: 100 * us, loss: 0.03, dup: 0.02, late: 0.02, lateBy: 100 * us}, Config{N1: 64, K: 1, RW: 1}, 1000, 1000, 20 * time.Second},
		{"far", wire{delay: 50 * ms, loss: 0.01, dup: 0.01, late: 0.005, lateBy: 5 * ms}, Config{N1: 64, K: 63, RW: 63}, 2000, 2000, time.Minute},
		{"very far", wire{delay: 200 * ms, loss: 0.005}, Config{N1: 64, K: 63, RW: 63, Tolerance: 4 * time.Second}, 1000, 0, 2 * time.Minute},
		{"10 Mbit/s", wire{delay: 100 * us, octet: 800, loss: 0.005}, Config{N1: 1497, K: 63, RW: 63}, 2000, 500, 20 * time.Second},
		{"slow", wire{delay: ms, octet: 10 * us, loss: 0.01}, Config{N1: 1497, K: 63, RW: 63, Tolerance: 4 * time.Second}, 500, 0, time.Minute},
		{"large frames", wire{delay: 100 * us, loss: 0.02}, Config{N1: 8997, SafeN1: 1497, K: 63, RW: 63}, 2000, 2000, 20 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			var worst time.Duration
			var sent, again uint64
			for _, seed := range seeds(4) {
				s := newWorld(t, seed, row.wire, row.cfg)
				s.connect(20 * time.Second)
				for _, e := range s.ends {
					e.packetLen = e.link.N1() - 4
				}
				worst = max(worst, s.move(row.n, row.m, row.limit))
				for _, e := range s.ends {
					sent += e.link.Stats().SentI
					again += e.link.Stats().ResentI
				}
				s.finish()
			}
			t.Logf("at most %v of virtual time; sent again %d of %d", worst.Round(ms), again, sent)
		})
	}
}

// TestWorldRepeats: the same seed is the same world.
func TestWorldRepeats(t *testing.T) {
	run := func() string {
		s := newWorld(t, 5, wire{delay: 100 * time.Microsecond, loss: 0.05, dup: 0.05, late: 0.05, lateBy: 100 * time.Microsecond}, Config{N1: 64, K: 63, RW: 63})
		s.connect(time.Second)
		s.move(1000, 1000, time.Minute)
		return s.describe(0) + s.describe(1) + s.now.String()
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// TestEatingPath: large frames that never pass are found out before the link is up, or, if they stop passing later, by
// eight sendings in vain.
func TestEatingPath(t *testing.T) {
	s := newWorld(t, 1, wire{delay: 100 * time.Microsecond, eats: 1500}, Config{N1: 8997, SafeN1: 1497, K: 63, RW: 63})
	s.connect(time.Second)
	for i, e := range s.ends {
		if e.link.N1() != 1497 {
			t.Errorf("end %d sends up to %d octets, want 1497", i, e.link.N1())
		}
		e.packetLen = 1493
	}
	s.move(1000, 1000, time.Second)
	s.finish()

	s = newWorld(t, 1, wire{delay: 100 * time.Microsecond}, Config{N1: 8997, SafeN1: 1497, K: 63, RW: 63})
	s.connect(time.Second)
	if s.ends[0].link.N1() != 8997 {
		t.Fatalf("N1 of %d proved, want 8997", s.ends[0].link.N1())
	}
	s.wire.eats = 1500
	s.ends[0].toSend = 10
	s.after(0)
	s.until(2*time.Second, "given up", func() bool { return len(s.ends[0].reasons) > 0 && len(s.ends[1].reasons) > 0 })
	if got := s.ends[0].reasons[0]; got != PathMTU {
		t.Errorf("down for %v, want %v", got, PathMTU)
	}
}

// TestEatingBothWays: large frames of both ends are eaten between small ones that pass, so that each end answers the other's P by REJ.
// Both say that the path eats them within a second or so, whoever is first.
func TestEatingBothWays(t *testing.T) {
	for _, row := range []struct {
		delay time.Duration
		n, m  int
	}{{100 * time.Microsecond, 2, 2}, {100 * time.Microsecond, 2, 3}, {360 * time.Microsecond, 10, 2}, {3 * ms, 20, 20}, {50 * ms, 2, 2}} {
		s := newWorld(t, 1, wire{delay: row.delay}, Config{N1: 8997, SafeN1: 1497, K: 63, RW: 63})
		s.connect(time.Second)
		s.move(50, 50, 10*time.Second) // the round trip is known
		s.wire.eats = 1500
		for i, e := range s.ends {
			e.toSend, e.smallLen = []int{row.n, row.m}[i], 20
		}
		s.after(0)
		s.after(1)
		s.until(2*time.Second+20*row.delay, "given up", func() bool { return len(s.ends[0].reasons) > 0 && len(s.ends[1].reasons) > 0 })
		if s.ends[0].reasons[0] != PathMTU && s.ends[1].reasons[0] != PathMTU {
			t.Errorf("delay %v: down for %v and %v, want one for %v", row.delay, s.ends[0].reasons, s.ends[1].reasons, PathMTU)
		}
		for i, e := range s.ends {
			if again := e.link.Stats().ResentI; again > 4*maxSends*uint64(max(row.n, row.m)) {
				t.Errorf("delay %v: end %d sent %d frames again before it gave up", row.delay, i, again)
			}
		}
	}
}

// TestLostTail: what is lost at the end of a train, or its REJ, costs about T1, not a tolerance.
func TestLostTail(t *testing.T) {
	for lost := 1; lost <= 12; lost++ {
		s := newWorld(t, 1, wire{delay: 100 * time.Microsecond}, Config{N1: 64, K: 63, RW: 63})
		s.connect(time.Second)
		s.move(100, 0, time.Second)
		s.ends[0].toSend = 10
		begin, frames := s.now, 0
		s.after(0)
		s.until(time.Second, "done", func() bool {
			// The lost-th frame from now on is lost, whichever way it goes.
			if frames++; frames == lost && len(s.queue) > 0 {
				heap.Pop(&s.queue)
			}
			return s.ends[1].received == 110 && s.ends[0].link.send.va == s.ends[0].link.send.vm
		})
		if d := s.now.Sub(begin); d > t1Least+5*ms {
			t.Errorf("one frame lost costs %v", d)
		}
	}
}

// TestNoLongStall: on a bad wire no run of losses holds a stream up for anything like a tolerance.
func TestNoLongStall(t *testing.T) {
	for _, seed := range seeds(40) {
		s := newWorld(t, seed, wire{delay: 100 * time.Microsecond, loss: 0.05, dup: 0.02, late: 0.02, lateBy: 100 * time.Microsecond},
			Config{N1: 64, K: 63, RW: 63})
		s.connect(time.Second)
		s.ends[0].toSend, s.ends[1].toSend = 3000, 3000
		s.after(0)
		s.after(1)
		for s.ends[0].received < 3000 || s.ends[1].received < 3000 {
			before := s.ends[0].received + s.ends[1].received
			s.until(200*ms, "further", func() bool { return s.ends[0].received+s.ends[1].received > before })
		}
	}
}

// TestDeadPeer: whatever the link is doing, silence ends it within the tolerance, and a bit for the last poll.
func TestDeadPeer(t *testing.T) {
	for _, tolerance := range []time.Duration{leastTolerance, time.Second, mostTolerance} {
		for _, seed := range seeds(20) {
			s := newWorld(t, seed, wire{delay: 100 * time.Microsecond, loss: 0.02}, Config{N1: 64, K: 63, RW: 63, Tolerance: tolerance})
			s.connect(20 * time.Second)
			s.ends[0].toSend = int(seed % 3 * 1000)
			s.ends[1].toSend = int(seed % 2 * 1000)
			s.after(0)
			s.after(1)
			for range seed * 17 {
				s.step()
			}
			if len(s.ends[0].reasons) > 0 || len(s.ends[1].reasons) > 0 {
				continue // the shortest tolerance does not survive all losses
			}
			s.wire.loss, s.queue = 1, nil
			died := s.now
			s.until(tolerance+ms, "down", func() bool { return len(s.ends[0].reasons) > 0 && len(s.ends[1].reasons) > 0 })
			if d := s.now.Sub(died); d < tolerance/2 || s.ends[0].reasons[0] != Silent {
				t.Errorf("down after %v for %v, tolerance %v", d, s.ends[0].reasons[0], tolerance)
			}
		}
	}
}

// TestThroughput prints how long 20 MB take in virtual time, so that a slower recovery is seen.
func TestThroughput(t *testing.T) {
	const packets = 20_000_000 / 1493
	rows := []struct {
		name string
		w    wire
	}{
		{"clean", wire{}},
		{"1% loss", wire{loss: 0.01}},
		{"5% loss", wire{loss: 0.05}},
		{"2% dup", wire{dup: 0.02}},
		{"2% reorder", wire{late: 0.02}},
		{"5% loss 2% dup 2% reorder", wire{loss: 0.05, dup: 0.02, late: 0.02}},
		{"10% loss 2% dup 2% reorder", wire{loss: 0.10, dup: 0.02, late: 0.02}},
	}
	for _, octet := range []time.Duration{0, 8} { // none, and 1 Gbit/s
		for _, r := range rows {
			r.w.delay, r.w.lateBy, r.w.octet = 100*time.Microsecond, 100*time.Microsecond, octet
			s := newWorld(t, 1, r.w, Config{N1: 1497, K: 63, RW: 63})
			s.connect(5 * time.Second)
			d := s.move(packets, 0, time.Minute)
			st, rt := s.ends[0].link.Stats(), s.ends[1].link.Stats()
			t.Logf("%d ns/octet, %-27s %6v %6.1f MB/s; I sent %d, again %d; window halved %d, REJ %d, timer %d", octet, r.name,
				d.Round(ms), 20/d.Seconds(), st.SentI, st.ResentI, st.Losses, rt.SentREJ, st.T1Expired)
			if r.w.loss <= 0.05 && d > 6*time.Second {
				t.Errorf("%s: 20 MB take %v", r.name, d)
			}
			s.finish()
		}
	}
}
