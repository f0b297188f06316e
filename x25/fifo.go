package x25

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Pool lends buffers of power-of-two sizes to queues. One owner, no lock.
type Pool struct {
	free [32][][]byte // by log2 of the size
	kept int          // octets in free
	lent int          // octets lent
}

// NewPool returns an empty pool.
func NewPool() *Pool { return &Pool{} }

// Lent is the octets of the buffers in use.
func (p *Pool) Lent() int { return p.lent }

const minBufferLog2 = 9

// get lends a buffer of 1<<log2 octets.
func (p *Pool) get(log2 int) []byte {
	p.lent += 1 << log2
	if n := len(p.free[log2]); n > 0 {
		b := p.free[log2][n-1]
		p.free[log2][n-1] = nil
		p.free[log2] = p.free[log2][:n-1]
		p.kept -= 1 << log2
		return b
	}
	return make([]byte, 1<<log2)
}

// getTight lends a buffer of n octets. It is not kept when it comes back, unless that is a power of two.
func (p *Pool) getTight(n int) []byte {
	p.lent += n
	return make([]byte, n)
}

func (p *Pool) put(b []byte) {
	p.lent -= len(b)
	if p.kept+len(b) > poolKeep || bits.OnesCount(uint(len(b))) != 1 {
		return
	}
	p.kept += len(b)
	log2 := bits.Len(uint(len(b))) - 1
	p.free[log2] = append(p.free[log2], b)
}

// chunkHeader precedes each chunk in a fifo: its length, and marks in the top bits.
const chunkHeader = 4

const (
	chunkEnd = 1 << 31 // the last of its sequence; without it M=1
	chunkQ   = 1 << 30
	chunkLen = 1<<30 - 1
)

// fifo is a queue of octets in one contiguous buffer, in chunks: each is a whole sequence or a piece of one. Only the last
// chunk may lack the end mark and grow. The zero fifo is empty; an empty fifo has no buffer.
type fifo struct {
	buf        []byte
	head, tail int   // what is in use: buf[head:tail], chunks with their headers
	last       int   // where the header of the last chunk is
	hint       uint8 // log2 of the buffer that the last filling needed
	tight      bool  // memory is short: a buffer is no larger than what is in it needs
}

func (f *fifo) empty() bool { return f.head == f.tail }

// size is the octets queued, with 4 more per chunk.
func (f *fifo) size() int { return f.tail - f.head }

func (f *fifo) header(at int) uint32 { return binary.LittleEndian.Uint32(f.buf[at:]) }

func (f *fifo) setHeader(at int, h uint32) { binary.LittleEndian.PutUint32(f.buf[at:], h) }

// push adds data to the sequence that is open at the tail, or begins the next one. end closes it. An open piece of no
// octets leaves no trace.
func (f *fifo) push(pool *Pool, data []byte, q, end bool) {
	extend := !f.empty() && f.header(f.last)&chunkEnd == 0
	if len(data) == 0 && !end {
		return
	}
	need := len(data)
	if !extend {
		need += chunkHeader
	}
	f.reserve(pool, need)
	if !extend {
		f.last = f.tail
		f.tail += chunkHeader
		h := uint32(0)
		if q {
			h = chunkQ
		}
		f.setHeader(f.last, h)
	}
	copy(f.buf[f.tail:], data)
	f.tail += len(data)
	h := f.header(f.last) + uint32(len(data))
	if end {
		h |= chunkEnd
	}
	f.setHeader(f.last, h)
}

// reserve makes room for n octets at the tail: in place while that moves no more than half of the buffer, else in a larger
// one.
func (f *fifo) reserve(pool *Pool, n int) {
	if f.tail+n <= len(f.buf) {
		return
	}
	live := f.size()
	if f.buf != nil && live+n <= len(f.buf)/2 {
		copy(f.buf, f.buf[f.head:f.tail])
	} else {
		b := f.grown(pool, live+n)
		copy(b, f.buf[f.head:f.tail])
		if f.buf != nil {
			pool.put(f.buf)
		}
		f.buf = b
	}
	f.last -= f.head
	f.head, f.tail = 0, live
}

// grown is a buffer for n octets.
func (f *fifo) grown(pool *Pool, n int) []byte {
	if f.tight {
		return pool.getTight(n)
	}
	log2 := max(bits.Len(uint(n-1)), minBufferLog2)
	if f.buf == nil {
		log2 = max(log2, int(f.hint))
	}
	return pool.get(log2)
}

// peek shows the first chunk. data is borrowed until the next call that changes the fifo.
func (f *fifo) peek() (data []byte, q, end, ok bool) {
	if f.empty() {
		return nil, false, false, false
	}
	h := f.header(f.head)
	data = f.buf[f.head+chunkHeader:][:h&chunkLen]
	return data, h&chunkQ != 0, h&chunkEnd != 0, true
}

// take removes n octets of the first chunk, and the chunk when nothing of it is left to tell: end says that the taker knows
// of its end mark.
func (f *fifo) take(pool *Pool, n int, end bool) {
	h := f.header(f.head)
	left := h&chunkLen - uint32(n)
	if left > 0 || h&chunkEnd != 0 && !end {
		only := f.last == f.head
		f.head += n
		f.setHeader(f.head, h&^chunkLen|left)
		if only {
			f.last = f.head
		}
		return
	}
	f.head += chunkHeader + n
	if f.empty() {
		f.drop(pool)
	} else if f.last < f.head {
		f.last = f.head // after a cut: any closed chunk will do
	}
}

// cut drops the chunk at the tail if it is open, and returns its octets.
func (f *fifo) cut(pool *Pool) int {
	if f.empty() || f.header(f.last)&chunkEnd != 0 {
		return 0
	}
	n := f.tail - f.last - chunkHeader
	if f.tail = f.last; f.empty() {
		f.drop(pool)
	}
	f.last = f.head // a closed chunk, if there is one: that is all the next push must know
	return n
}

// trim drops whole chunks at the tail, the last of which is closed, until size is at most most, and returns their octets.
func (f *fifo) trim(pool *Pool, most int) int {
	n, keep := 0, f.head
	for at := f.head; at < f.tail; {
		octets := int(f.header(at) & chunkLen)
		if at += chunkHeader + octets; at-f.head <= most {
			keep = at
		} else {
			n += octets
		}
	}
	if f.tail = keep; f.empty() {
		f.drop(pool)
	}
	f.last = f.head
	return n
}

// drop empties the fifo and gives its buffer back.
func (f *fifo) drop(pool *Pool) {
	if f.buf == nil {
		return
	}
	log2 := bits.Len(uint(len(f.buf))) - 1
	if f.tail <= len(f.buf)/2 {
		log2--
	}
	pool.put(f.buf)
	*f = fifo{hint: uint8(max(log2, minBufferLog2))}
}

// check asserts what holds between two calls.
func (f *fifo) check() error {
	if f.empty() {
		if f.buf != nil || f.head != 0 {
			return errors.New("x25: empty fifo with a buffer")
		}
		return nil
	}
	if f.head < 0 || f.tail > len(f.buf) || f.last < f.head || f.last >= f.tail {
		return errors.New("x25: fifo bounds")
	}
	for at := f.head; at < f.tail; {
		h := f.header(at)
		next := at + chunkHeader + int(h&chunkLen)
		if next < f.tail && h&chunkEnd == 0 {
			return errors.New("x25: open chunk inside a fifo")
		}
		if next > f.tail {
			return errors.New("x25: chunk beyond its fifo")
		}
		at = next
	}
	return nil
}
