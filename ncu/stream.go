package main

import (
	"errors"
	"sync"
)

// outbox has the octets of one direction, from the first that the other end has not taken, and a few before that for one
// who has no past. They can be sent again, on another circuit.
//
//	base            done              sent               end
//	 | taken, history | sent, not taken |  not yet sent  |
type outbox struct {
	mu     sync.Mutex
	change sync.Cond
	octets []byte // from base to end, at most window after done
	base   uint64
	done   uint64
	sent   uint64
	turn   int  // of circuits: whoever sends for an earlier one stops; 0: there is none
	last   int  // the latest turn
	ended  bool // no more will be added
}

func newOutbox() *outbox {
	o := &outbox{}
	o.change.L = &o.mu
	return o
}

// add takes octets, and waits while there is no room for them.
func (o *outbox) add(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(p) > 0 {
		room := func() int { return window - (len(o.octets) - int(o.done-o.base)) }
		for room() <= 0 {
			o.change.Wait()
		}
		n := min(len(p), room())
		o.octets = append(o.octets, p[:n]...)
		p = p[n:]
		o.change.Broadcast()
	}
}

// end lets next return nil when all has been sent.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.change.Broadcast()
}

// attach begins a turn at octet next of those that are here; false when it is not. With unseen that is the first.
func (o *outbox) attach(next uint64) (turn int, from uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if next == unseen {
		next = o.base
	}
	if next < o.base || next > o.base+uint64(len(o.octets)) {
		return 0, 0, false
	}
	o.last++
	o.turn, o.sent = o.last, next
	o.change.Broadcast()
	return o.turn, next, true
}

// renumber says which octet is added next, for somebody who has no past.
func (o *outbox) renumber(next uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.octets, o.base, o.done, o.sent = o.octets[:0], next, next, next
}

// detach ends a turn.
func (o *outbox) detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn = 0
	o.change.Broadcast()
}

// next waits for octets to be sent in a turn, and copies them to p; 0 at the end of all, or of the turn.
func (o *outbox) next(turn int, p []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.turn == turn && o.sent == o.base+uint64(len(o.octets)) && !o.ended {
		o.change.Wait()
	}
	if o.turn != turn {
		return 0
	}
	n := copy(p, o.octets[o.sent-o.base:])
	o.sent += uint64(n)
	return n
}

var errNumber = errors.New("a number that cannot be: the other end does not keep to the protocol")

// taken notes that the other end has taken the octets before number n, and drops them but for the latest.
func (o *outbox) taken(n uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case n < o.base || n > o.sent:
		return errNumber
	case n <= o.done: // one who has no past begins before it
		return nil
	}
	o.done = n
	if old := int(n-o.base) - history; old > 0 {
		o.octets = o.octets[:copy(o.octets, o.octets[old:])]
		o.base += uint64(old)
	}
	o.change.Broadcast()
	return nil
}

// inbox has the octets of the other direction that have come and wait to be written.
type inbox struct {
	mu     sync.Mutex
	change sync.Cond
	octets []byte // at most window
	next   uint64 // number of the octet that comes next
	done   uint64 // the octets before this number have been written
	ended  bool
}

func newInbox() *inbox {
	i := &inbox{}
	i.change.L = &i.mu
	return i
}

// add takes octets; false when there are more than the other end may have sent.
func (i *inbox) add(p []byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.octets)+len(p) > window {
		return false
	}
	i.octets = append(i.octets, p...)
	i.next += uint64(len(p))
	i.change.Signal()
	return true
}

// number is that of the octet which comes next.
func (i *inbox) number() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.next
}

// renumber says which octet comes next, for somebody who has no past.
func (i *inbox) renumber(next uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.next, i.done = next, next
}

// written is the number before which all has been written: what the other end need not keep.
func (i *inbox) written() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

// end lets drain return when all is written.
func (i *inbox) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = true
	i.change.Signal()
}

// drain writes what comes until the end, and calls tell from time to time, when more has been written.
func (i *inbox) drain(write func([]byte) error, tell func()) error {
	p := make([]byte, maxPiece)
	untold := 0
	for {
		n := i.take(p)
		if n == 0 {
			return nil
		}
		if err := write(p[:n]); err != nil {
			return err
		}
		i.wrote(n)
		if untold += n; untold >= takenStep {
			tell()
			untold = 0
		}
	}
}

// take waits for octets and copies some to p; none at the end.
func (i *inbox) take(p []byte) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.octets) == 0 && !i.ended {
		i.change.Wait()
	}
	return copy(p, i.octets)
}

func (i *inbox) wrote(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.octets = i.octets[:copy(i.octets, i.octets[n:])]
	i.done += uint64(n)
}
