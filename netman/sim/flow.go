package sim

import "bytes"

// flow is one direction of a circuit: what was written, and where the reader is. A reset cuts it into epochs: what is written in one
// is read in the same one at the other end, or lost.
type flow struct {
	epochs [][]message // as written
	at     []place     // where the reader may be; more than one only after a reset
	reset  int         // resets that the reader knows of
	leaps  bool        // which may be fewer than the writer's: the next epoch that it reads in may be a later one
	done   bool        // the writer has written all it will

	interrupts  [][]byte // as sent
	outstanding bool     // the last one is not confirmed
	confirmed   []int    // numbers of those whose confirmation the writer has not heard of yet, from 1
	delivered   int      // the number of the last one that came, from 1
}

// message is one M sequence: part of the world's text.
type message struct {
	from, n int
	q       bool
	whole   bool // its end was written
}

// place is where a reader is: before octet pos of message i of an epoch.
type place struct{ epoch, i, pos int }

func newFlow() *flow { return &flow{epochs: make([][]message, 1), at: []place{{}}} }

// open is the message being written, or nil.
func (f *flow) open() *message {
	last := f.epochs[len(f.epochs)-1]
	if n := len(last); n > 0 && !last[n-1].whole {
		return &last[n-1]
	}
	return nil
}

// begin opens a message.
func (f *flow) begin(from int, q bool) *message {
	e := len(f.epochs) - 1
	f.epochs[e] = append(f.epochs[e], message{from: from, q: q})
	return f.open()
}

// resetWriter is when the writer's end was reset: what has not come by now is lost.
func (f *flow) resetWriter() {
	f.epochs = append(f.epochs, nil)
	f.outstanding = false
}

// resetReader is when the reader's end was reset: after what it still holds, the next epoch begins. Where a splice is between the two,
// one reset may stand for several of the writer's.
func (f *flow) resetReader(spliced bool) {
	f.reset++
	f.at = append(f.at, place{epoch: f.reset})
	f.leaps = spliced
}

// take is when the reader reads: false if that is not the next thing that was written.
func (f *flow) take(text, data []byte, q, more bool) bool {
	var at []place
	matched := false
	if f.leaps {
		for e := f.at[len(f.at)-1].epoch + 1; e < len(f.epochs); e++ {
			f.at = append(f.at, place{epoch: e})
		}
	}
	for _, p := range f.at {
		if matched && p.i == 0 && p.pos == 0 {
			at = append(at, p) // a later epoch, whose turn may still come
		}
		if next, ok := f.match(p, text, data, q, more); ok {
			at, matched = append(at, next), true
		}
	}
	f.at = at
	return matched
}

// match says where the reader is after it read data at p.
func (f *flow) match(p place, text, data []byte, q, more bool) (place, bool) {
	if p.epoch >= len(f.epochs) || p.i >= len(f.epochs[p.epoch]) {
		return p, false
	}
	m := f.epochs[p.epoch][p.i]
	end := p.pos + len(data)
	switch {
	case q != m.q || end > m.n || more && len(data) == 0 || !more && (!m.whole || end != m.n):
		return p, false
	case !bytes.Equal(data, text[m.from+p.pos:m.from+end]):
		return p, false
	case more:
		return place{p.epoch, p.i, end}, true
	}
	return place{p.epoch, p.i + 1, 0}, true
}

// unsure says that the two ends do not count the same resets: one is on its way, or was repeated since layer 2 took 2 s, which is two
// to the other end. Then nobody knows what is lost.
func (f *flow) unsure() bool { return f.reset != len(f.epochs)-1 }

// complete says that the reader has all that was written, or all since the last reset.
func (f *flow) complete() bool {
	e := len(f.epochs) - 1
	for _, p := range f.at {
		if p.epoch != e {
			continue
		}
		left := f.epochs[e][p.i:]
		if len(left) == 0 || len(left) == 1 && !left[0].whole && p.pos == left[0].n {
			return true
		}
	}
	return false
}
