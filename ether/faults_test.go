package ether

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseFaults(t *testing.T) {
	for s, want := range map[string]Faults{
		"":       {},
		"loss=5": {Loss: 5},
		"loss=5,dup=2,reorder=2,corrupt=0.1,delay=3ms,seed=7": {Loss: 5, Dup: 2, Reorder: 2, Corrupt: 0.1, Delay: 3 * time.Millisecond, Seed: 7},
		"seed=18446744073709551615,loss=100":                  {Loss: 100, Seed: 1<<64 - 1},
		"delay=10s,loss=0":                                    {Delay: 10 * time.Second},
	} {
		got, err := ParseFaults(s)
		if err != nil || got != want {
			t.Errorf("ParseFaults(%q) = %+v, %v", s, got, err)
		}
		if again, err := ParseFaults(got.String()); err != nil || again != got {
			t.Errorf("ParseFaults(%q) = %+v, %v, want what it was made of", got.String(), again, err)
		}
	}
	for s, words := range map[string]string{
		"los=5":         `"los=5" loss, dup, reorder`,
		"loss":          `"loss" percentage from 0 to 100`,
		"loss=101":      `"loss=101" percentage`,
		"dup=-1":        `"dup=-1" percentage`,
		"dup=NaN":       `"dup=NaN" percentage`,
		"loss=5%":       `"loss=5%" percentage`,
		"loss=1,,dup=2": `"" unknown`,
		"loss=1,":       `"" unknown`,
		"loss=1,loss=2": `"loss=2" twice`,
		"delay=3":       `"delay=3" time such as 3ms`,
		"delay=11s":     `"delay=11s" 10s`,
		"delay=-1ms":    `"delay=-1ms" 0s`,
		"seed=-1":       `"seed=-1" whole number`,
		"loss = 5":      `"loss = 5" unknown`,
	} {
		_, err := ParseFaults(s)
		if err == nil {
			t.Errorf("ParseFaults(%q): no error", s)
			continue
		}
		for _, w := range strings.Fields(words) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("ParseFaults(%q): %q does not say %s", s, err, w)
			}
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("loss=5,dup=2,reorder=2,corrupt=0.1,delay=3ms,seed=7")
	f.Add("delay=1h")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseFaults(s)
		if err != nil {
			return
		}
		if again, err := ParseFaults(got.String()); err != nil || again != got {
			t.Errorf("%q: %+v, and again %+v, %v", s, got, again, err)
		}
	})
}

// world is a FaultPort A and a good port B on a bus, in a time of its own.
type world struct {
	t    testing.TB
	now  time.Time
	a    *FaultPort
	b    *BusPort
	next int
}

func newWorld(t testing.TB, f Faults) *world {
	bus := NewBus(1500)
	w := &world{t: t, now: time.Unix(1000, 0), b: bus.Port(stationB)}
	w.a = WithFaults(bus.Port(stationA), f)
	w.a.Clock = func() time.Time { return w.now }
	return w
}

// send sends the next n numbered frames from A to B, and receives from B to A as many.
func (w *world) send(n int) {
	var out, in [][]byte
	for range n {
		out = append(out, frameOf(stationB, stationA, testType, fmt.Sprint(w.next)))
		in = append(in, frameOf(stationA, stationB, testType, fmt.Sprint(w.next)))
		w.next++
	}
	mustSend(w.t, w.a, out...)
	mustSend(w.t, w.b, in...)
}

// pass lets time pass until the deadline, which must be at most limit from now, and handles it.
func (w *world) pass(limit time.Duration) {
	w.t.Helper()
	d := w.a.Deadline()
	if d.IsZero() || d.Sub(w.now) > limit {
		w.t.Fatalf("deadline %v, want within %v of %v", d, limit, w.now)
	}
	if d.After(w.now) {
		w.now = d
	}
	if err := w.a.HandleTimeout(w.now); err != nil {
		w.t.Fatal(err)
	}
}

// numbers are the numbers 0 to n-1 as payloads.
func numbers(n int) []string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

func TestGoodWire(t *testing.T) {
	w := newWorld(t, Faults{})
	w.send(200)
	wantFrames(t, w.b, "sent as it was", numbers(200)...)
	wantFrames(t, w.a, "received as it was", numbers(200)...)
	if !w.a.Deadline().IsZero() {
		t.Error("nothing is held back")
	}
	n, err := w.a.Send([][]byte{frameOf(stationB, stationA, testType, "x"), make([]byte, 2000)})
	if n != 1 || !errors.Is(err, ErrTooLong) {
		t.Errorf("Send of a long frame = %d, %v", n, err)
	}
	wantFrames(t, w.b, "the frame before the long one", "x")
}

func TestLossAndDup(t *testing.T) {
	w := newWorld(t, Faults{Loss: 30, Dup: 20, Seed: 7})
	const n = 1000
	w.send(n)
	for side, p := range map[string]Port{"sent": w.b, "received": w.a} {
		got := drain(t, p)
		in, out := w.a.Counts()
		counts := out
		if side == "received" {
			counts = in
		}
		if len(got) != n-int(counts.Lost)+int(counts.Duplicated) {
			t.Errorf("%s: %d arrive, with %+v", side, len(got), counts)
		}
		if counts.Lost < 250 || counts.Lost > 350 || counts.Duplicated < 100 || counts.Duplicated > 180 {
			t.Errorf("%s: 30%% and 20%% of %d became %+v", side, n, counts)
		}
		if !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("%s: out of order", side)
		}
	}
	all := newWorld(t, Faults{Loss: 100})
	all.send(500)
	wantFrames(t, all.a, "all lost")
	wantFrames(t, all.b, "all lost")
}

func TestCorrupt(t *testing.T) {
	w := newWorld(t, Faults{Corrupt: 100, Seed: 7})
	good := frameOf(stationB, stationA, testType, strings.Repeat("U", 100))
	for range 300 {
		sent := bytes.Clone(good)
		mustSend(t, w.a, sent)
		if !bytes.Equal(sent, good) {
			t.Fatal("the caller's frame was changed")
		}
		room := NewBatch(1, 1514)
		if n, _ := w.b.Recv(room); n != 1 {
			t.Fatal("a corrupted frame arrives")
		}
		wrong := 0
		for i, octet := range room.Frames[0] {
			wrong += bits.OnesCount8(octet ^ good[i])
		}
		if wrong != 1 || !bytes.Equal(room.Frames[0][:HeaderLen], good[:HeaderLen]) {
			t.Fatalf("%d bits are wrong, want one after the header: % x", wrong, room.Frames[0])
		}
	}
	mustSend(t, w.a, good[:HeaderLen]) // nothing to corrupt
}

func TestDelay(t *testing.T) {
	w := newWorld(t, Faults{Delay: 3 * time.Millisecond})
	w.send(2)
	wantFrames(t, w.a, "the frames are on their way")
	wantFrames(t, w.b, "in both directions")
	w.now = w.now.Add(time.Millisecond)
	w.send(1)
	wantFrames(t, w.a, "one more is")
	w.pass(2 * time.Millisecond)
	wantFrames(t, w.b, "after 3 ms the first are there", "0", "1")
	wantFrames(t, w.a, "after 3 ms the first are there", "0", "1")
	w.pass(time.Millisecond)
	wantFrames(t, w.b, "and 1 ms later the last", "2")
	wantFrames(t, w.a, "and 1 ms later the last", "2")
	if !w.a.Deadline().IsZero() {
		t.Error("nothing is held back any more")
	}
}

// TestDelayedMoreThanOneBatch: what a Recv has no room for comes out of the next.
func TestDelayedMoreThanOneBatch(t *testing.T) {
	w := newWorld(t, Faults{Delay: time.Millisecond})
	w.send(200)
	wantFrames(t, w.a, "on their way")
	for range 200 / batchMax { // one Recv reads as much as a batch
		wantFrames(t, w.a, "on their way")
	}
	w.pass(time.Millisecond)
	w.now = w.now.Add(time.Millisecond)
	room := NewBatch(3, 1514)
	n, err := w.a.Recv(room)
	if n != 3 || err != nil {
		t.Fatalf("Recv = %d, %v", n, err)
	}
	if d := w.a.Deadline(); d.IsZero() || d.After(w.now) {
		t.Errorf("the rest is due now: deadline %v, now %v", d, w.now)
	}
	wantFrames(t, w.a, "the rest", numbers(200)[3:]...)
}

func TestReorder(t *testing.T) {
	w := newWorld(t, Faults{Reorder: 20, Seed: 7})
	const n = 1000
	w.send(n)
	w.a.HandleTimeout(w.now)
	got := append(drain(t, w.b), drain(t, w.a)...)
	if d := w.a.Deadline(); !d.IsZero() { // some of the last are still to be overtaken
		w.pass(lateness)
		got = append(got, append(drain(t, w.b), drain(t, w.a)...)...)
	}
	if len(got) != 2*n {
		t.Fatalf("%d of %d arrive", len(got), 2*n)
	}
	in, out := w.a.Counts()
	if out.Reordered < 150 || out.Reordered > 250 || in.Reordered < 150 || in.Reordered > 250 {
		t.Errorf("20%% of %d: %d and %d", n, out.Reordered, in.Reordered)
	}
	moved := 0
	for i, s := range got[:n-10] {
		var number int
		fmt.Sscan(s, &number)
		if number != i {
			moved++
		}
		// Each can be overtaken by 3, and pushed forward by those that are late.
		if number-i > 20 || i-number > 20 {
			t.Errorf("frame %d came as the %dth", number, i)
		}
	}
	if moved < 100 {
		t.Errorf("%d frames are not in their places, want many", moved)
	}
}

func TestReorderNothingFollows(t *testing.T) {
	w := newWorld(t, Faults{Reorder: 100})
	w.send(1)
	wantFrames(t, w.b, "held back to be overtaken")
	wantFrames(t, w.a, "held back to be overtaken")
	w.pass(lateness)
	wantFrames(t, w.b, "late, as nothing overtook it", "0")
	wantFrames(t, w.a, "late, as nothing overtook it", "0")
}

func TestSameSeedSameFate(t *testing.T) {
	record := func(seed uint64) string {
		w := newWorld(t, Faults{Loss: 10, Dup: 10, Reorder: 10, Corrupt: 10, Delay: time.Millisecond, Seed: seed})
		var log []string
		for range 100 {
			w.send(5)
			w.now = w.now.Add(300 * time.Microsecond)
			w.a.HandleTimeout(w.now)
			log = append(log, fmt.Sprintf("%q %q", drain(t, w.a), drain(t, w.b)))
		}
		return strings.Join(log, "\n")
	}
	if record(7) != record(7) {
		t.Error("one seed, two fates")
	}
	if record(7) == record(8) {
		t.Error("two seeds, one fate")
	}
}

func TestHeldLimit(t *testing.T) {
	w := newWorld(t, Faults{Delay: time.Second})
	frames := make([][]byte, heldMax+5)
	for i := range frames {
		frames[i] = frameOf(stationB, stationA, testType, fmt.Sprint(i))
	}
	mustSend(t, w.a, frames...)
	if _, out := w.a.Counts(); out.Overflow != 5 {
		t.Errorf("%d dropped, want 5", out.Overflow)
	}
}

// TestWireFull: what the wrapped port has no room for is kept in order and offered again.
func TestWireFull(t *testing.T) {
	now := time.Unix(1000, 0)
	stub := &stubPort{takes: 2}
	p := WithFaults(stub, Faults{})
	p.Clock = func() time.Time { return now }
	var frames [][]byte
	for i := range 5 {
		frames = append(frames, padded(frameOf(stationB, stationA, testType, fmt.Sprint(i))))
	}
	mustSend(t, p, frames[:3]...)
	if got := p.Deadline(); !got.Equal(now.Add(wireRetry)) {
		t.Errorf("deadline %v, want in %v", got, wireRetry)
	}
	stub.takes = 0
	mustSend(t, p, frames[3:]...)
	now = now.Add(wireRetry)
	stub.takes = 64
	if err := p.HandleTimeout(now); err != nil || !p.Deadline().IsZero() {
		t.Errorf("HandleTimeout: %v, deadline %v", err, p.Deadline())
	}
	if !slices.EqualFunc(stub.sent, frames, bytes.Equal) {
		t.Errorf("sent %q", stub.sent)
	}
}

// TestWireRefuses: a frame that the wrapped port does not take, because its MTU became smaller, does not stop the others; one
// that is down stops all.
func TestWireRefuses(t *testing.T) {
	stub := &stubPort{takes: 2, err: ErrTooLong}
	p := WithFaults(stub, Faults{})
	mustSend(t, p, testFrames(7, 100)...)
	if _, out := p.Counts(); out.Refused != 2 || len(stub.sent) != 5 {
		t.Errorf("refused %d, sent %d; want 2, the 3rd and the 6th, and 5", out.Refused, len(stub.sent))
	}
	stub.takes, stub.err = 0, ErrDown
	if _, err := p.Send(testFrames(3, 100)); !errors.Is(err, ErrDown) {
		t.Errorf("Send = %v", err)
	}
	if _, err := p.Recv(NewBatch(1, 1514)); !errors.Is(err, ErrDown) {
		t.Errorf("Recv = %v", err)
	}
	if !p.Deadline().IsZero() {
		t.Error("frames are held for an interface that is down")
	}
}

// TestHeldFramesEndWithThePort: what was held back on its way in does not come out after an error.
func TestHeldFramesEndWithThePort(t *testing.T) {
	w := newWorld(t, Faults{Delay: time.Millisecond})
	mustSend(t, w.b, frameOf(stationA, stationB, testType, "x"))
	wantFrames(t, w.a, "on its way")
	w.a.Close()
	if _, err := w.a.Recv(NewBatch(1, 1514)); !errors.Is(err, ErrClosed) {
		t.Errorf("Recv = %v", err)
	}
	if !w.a.Deadline().IsZero() {
		t.Error("a frame is still held")
	}
}

// TestFaultsUseTheirMemoryAgain: when all frames have passed, the next ones need no new memory.
func TestFaultsUseTheirMemoryAgain(t *testing.T) {
	w := newWorld(t, Faults{Loss: 5, Dup: 5, Reorder: 5, Corrupt: 5, Delay: time.Millisecond, Seed: 7})
	frames, room := testFrames(64, 1514), NewBatch(64, 1514)
	turn := func() {
		w.a.Send(frames)
		w.b.Send(frames)
		for range 10 {
			w.now = w.now.Add(time.Millisecond)
			w.a.HandleTimeout(w.now)
			w.a.Recv(room)
			w.b.Recv(room)
		}
	}
	for range 1000 {
		turn()
	}
	if allocs := testing.AllocsPerRun(100, turn); allocs != 0 {
		t.Errorf("%v allocations a turn, want none", allocs)
	}
}

// TestWrappersTogether: the timeouts reach the faults through the wrappers round them.
func TestWrappersTogether(t *testing.T) {
	w := newWorld(t, Faults{Delay: time.Millisecond})
	var lines, file bytes.Buffer
	p := Pcap(Trace(w.a, &lines, func([]byte) string { return "frame" }), &file)
	mustSend(t, p, frameOf(stationB, stationA, testType, "x"))
	timed := p.(Timed)
	if got, want := timed.Deadline(), w.now.Add(time.Millisecond); !got.Equal(want) {
		t.Errorf("deadline %v, want %v", got, want)
	}
	w.now = timed.Deadline()
	if err := timed.HandleTimeout(w.now); err != nil {
		t.Fatal(err)
	}
	wantFrames(t, w.b, "sent at its time", "x")
	outer := WithFaults(p, Faults{})
	mustSend(t, outer, frameOf(stationB, stationA, testType, "y"))
	if got, want := outer.Deadline(), w.now.Add(time.Millisecond); !got.Equal(want) {
		t.Errorf("deadline of faults round faults %v, want %v", got, want)
	}
}
