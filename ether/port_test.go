package ether

import (
	"bytes"
	"errors"
	"testing"
)

func TestAddr(t *testing.T) {
	a, err := ParseAddr("03-44-4E-45-54-00")
	if err != nil || a != (Addr{0x03, 0x44, 0x4e, 0x45, 0x54, 0x00}) || !a.IsGroup() {
		t.Errorf("group address: %v, %v, group %v", a, err, a.IsGroup())
	}
	a, err = ParseAddr("02:00:00:00:00:01")
	if err != nil || a.String() != "02:00:00:00:00:01" || a.IsGroup() {
		t.Errorf("station address: %v, %v, group %v", a, err, a.IsGroup())
	}
	for _, wrong := range []string{"", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "grumpy", "02:00:00:00:00:1g"} {
		if a, err := ParseAddr(wrong); err == nil {
			t.Errorf("ParseAddr(%q) = %v, want an error", wrong, a)
		}
	}
}

// drain receives all there is.
func drain(t testing.TB, p Port) []string {
	t.Helper()
	var got []string
	b := NewBatch(64, HeaderLen+p.MTU())
	for {
		n, err := p.Recv(b)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return got
		}
		for _, f := range b.Frames[:n] {
			got = append(got, string(bytes.TrimRight(f[HeaderLen:], "\x00")))
		}
	}
}

// wantFrames fails unless what p receives are frames with these payloads.
func wantFrames(t testing.TB, p Port, why string, want ...string) {
	t.Helper()
	got := drain(t, p)
	if len(got) != len(want) {
		t.Fatalf("%s: got %q, want %q", why, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: got %q, want %q", why, got, want)
		}
	}
}

func TestBusDelivers(t *testing.T) {
	bus := NewBus(1500)
	a, b, c := bus.Port(stationA), bus.Port(stationB), bus.Port(stationB)
	if a.Addr() != stationA || a.MTU() != 1500 || a.Fd() != -1 {
		t.Errorf("port %v MTU %d descriptor %d", a.Addr(), a.MTU(), a.Fd())
	}
	mustSend(t, a, frameOf(testGroup, stationA, testType, "to all"), frameOf(stationB, stationA, testType, "to b"))
	wantFrames(t, b, "group and own frames, in order", "to all", "to b")
	wantFrames(t, c, "two stations of one address both hear", "to all", "to b")
	wantFrames(t, a, "nobody hears itself")
	mustSend(t, b, frameOf(stationA, stationB, testType, "to a"), frameOf(Addr{2}, stationB, testType, "to nobody"))
	wantFrames(t, a, "own frames only", "to a")
	wantFrames(t, c, "not those of others")

	c.Close()
	mustSend(t, a, frameOf(stationB, stationA, testType, "b alone"))
	wantFrames(t, b, "after another left", "b alone")
	if _, err := c.Recv(NewBatch(1, 1514)); !errors.Is(err, ErrClosed) {
		t.Errorf("Recv after Close: %v", err)
	}
	if _, err := c.Send(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestBusLimits(t *testing.T) {
	bus := NewBus(100)
	a, b := bus.Port(stationA), bus.Port(stationB)
	frame := frameOf(stationB, stationA, testType, "x")
	for range busQueueMax + 3 {
		mustSend(t, a, frame)
	}
	if b.Drops() != 3 {
		t.Errorf("dropped %d at a full port, want 3", b.Drops())
	}
	if got := drain(t, b); len(got) != busQueueMax {
		t.Errorf("%d frames waited, want %d", len(got), busQueueMax)
	}
	n, err := a.Send([][]byte{frame, make([]byte, 115)})
	if n != 1 || !errors.Is(err, ErrTooLong) {
		t.Errorf("Send of a long frame = %d, %v", n, err)
	}
	if n, err := a.Send([][]byte{frame[:13]}); n != 0 || !errors.Is(err, ErrTooShort) {
		t.Errorf("Send of a short frame = %d, %v", n, err)
	}
	small := NewBatch(4, 50)
	if n, err := b.Recv(small); n != 0 || err != nil || b.Drops() != 4 {
		t.Errorf("a padded frame longer than the room: Recv = %d, %v, drops %d", n, err, b.Drops())
	}
}

func TestBusPadsAndCopies(t *testing.T) {
	bus := NewBus(100)
	a, b := bus.Port(stationA), bus.Port(stationB)
	frame := frameOf(stationB, stationA, testType, "first")
	want := padded(frame)
	mustSend(t, a, frame)
	frame[HeaderLen] = 'F' // the caller's again after Send
	room := NewBatch(4, 114)
	if n, err := b.Recv(room); n != 1 || err != nil || !bytes.Equal(room.Frames[0], want) {
		t.Fatalf("Recv = %d, %v, % x", n, err, room.Frames[0])
	}
	mustSend(t, a, frameOf(stationB, stationA, testType, "later"))
	if !bytes.Equal(room.Frames[0], want) {
		t.Error("a received frame changed before the next Recv")
	}
}

func TestBusAllocatesNothing(t *testing.T) {
	bus := NewBus(1500)
	a, b := bus.Port(stationA), bus.Port(stationB)
	frames, room := testFrames(64, 1514), NewBatch(64, 1514)
	turn := func() {
		for range 3 {
			a.Send(frames)
		}
		for n := 1; n > 0; {
			n, _ = b.Recv(room)
		}
	}
	for range busQueueMax {
		turn() // every slot of the ring gets its memory
	}
	if allocs := testing.AllocsPerRun(100, turn); allocs != 0 {
		t.Errorf("%v allocations a turn, want none", allocs)
	}
}

// testFrames makes frames from A to B of one size.
func testFrames(n, size int) [][]byte {
	var frames [][]byte
	for range n {
		frames = append(frames, append(frameOf(stationB, stationA, testType, ""), make([]byte, size-HeaderLen)...))
	}
	return frames
}
