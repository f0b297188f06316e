package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestStreamOverLostCircuits: whatever is on its way when a circuit goes, the octets come out once and in order.
func TestStreamOverLostCircuits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 10*window)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	out, in := newOutbox(), newInbox()
	var got bytes.Buffer
	var mu sync.Mutex
	arrived := 0 // of this circuit: the rest of what is sent is lost
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		in.drain(func(p []byte) error { got.Write(p); return nil }, func() {
			mu.Lock()
			defer mu.Unlock()
			if arrived > 0 {
				out.taken(in.written())
			}
		})
	}()
	go func() {
		out.add(data)
		out.end()
	}()
	p := make([]byte, maxPiece)
	for circuits := 0; in.number() < uint64(len(data)); circuits++ {
		turn, from, ok := out.attach(in.number())
		if !ok || from != in.number() {
			t.Fatalf("circuit %d: octet %d is not there", circuits, in.number())
		}
		mu.Lock()
		arrived = 1 + random.IntN(4*window)
		out.taken(in.written())
		mu.Unlock()
		for lost := false; !lost; {
			n := out.next(turn, p[:1+random.IntN(maxPiece)])
			mu.Lock()
			lost = n == 0 || n > arrived
			if !lost {
				arrived -= n
				if !in.add(p[:n]) {
					t.Fatal("more than a window is on its way")
				}
			}
			mu.Unlock()
		}
		mu.Lock()
		arrived = 0
		mu.Unlock()
		out.detach()
	}
	in.end()
	<-drained
	if !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d octets of %d came, or others", got.Len(), len(data))
	}
}

// TestOutboxNumbers: numbers that cannot be are refused; what was taken is kept for a while.
func TestOutboxNumbers(t *testing.T) {
	const k = 1000
	o := newOutbox()
	o.add(make([]byte, 100*k))
	turn, _, _ := o.attach(0)
	if n := o.next(turn, make([]byte, 60*k)); n != 60*k {
		t.Fatalf("%d octets are sent", n)
	}
	for _, n := range []uint64{60*k + 1, 100 * k, 1 << 63, unseen} {
		if err := o.taken(n); !errors.Is(err, errNumber) {
			t.Errorf("%d octets were sent and %d are said to be taken: %v", 60*k, n, err)
		}
	}
	if err := o.taken(50 * k); err != nil {
		t.Error(err)
	}
	if err := o.taken(50*k - history - 1); !errors.Is(err, errNumber) {
		t.Errorf("what is not kept any more is said to be taken: %v", err)
	}
	const first = 50*k - history
	for next, want := range map[uint64]bool{first - 1: false, first: true, 60 * k: true, 100 * k: true, 100*k + 1: false, 1 << 63: false} {
		if _, from, ok := o.attach(next); ok != want || ok && from != next {
			t.Errorf("resumed at %d: %v", next, ok)
		}
	}
	if _, from, ok := o.attach(unseen); !ok || from != first {
		t.Errorf("somebody without a past begins at %d, %v", from, ok)
	}
	if n := o.next(turn, make([]byte, 1)); n != 0 {
		t.Error("an earlier circuit goes on sending")
	}
}

func TestInboxBound(t *testing.T) {
	i := newInbox()
	if !i.add(make([]byte, window)) || i.add([]byte{1}) {
		t.Error("a window is what may come before any is written")
	}
}
