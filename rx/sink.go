package main

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// sink writes to a descriptor what a source at the other end has sent, in a goroutine of its own, and
// gives credit for what it has written. So whoever receives from the circuit never waits for a
// descriptor, and no sink for another one.
type sink struct {
	f      *os.File
	conn   *circuit.Conn
	number byte         // of the descriptor, as credit names it
	note   func([]byte) // if set, is shown what was written
	last   byte         // written

	mu      sync.Mutex
	change  sync.Cond // octets or the end have come
	ring    []byte    // window octets, made when the first come
	head    int       // of ring: the first octet held
	held    int       // octets received and not written, at most window
	written uint64
	writing bool // a write is under way
	ended   bool // no more will come
	closed  bool // nobody reads: what comes is dropped
}

func newSink(f *os.File, conn *circuit.Conn, number byte) *sink {
	s := &sink{f: f, conn: conn, number: number}
	s.change.L = &s.mu
	return s
}

// add takes data; false when it is more than there was credit for.
func (s *sink) add(data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return true
	case s.held+len(data) > window:
		return false
	case s.ring == nil:
		s.ring = make([]byte, window)
	}
	tail := (s.head + s.held) % window
	n := copy(s.ring[tail:], data)
	copy(s.ring, data[n:])
	s.held += len(data)
	s.change.Signal()
	return true
}

// end lets run end when it has written what is here.
func (s *sink) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.change.Signal()
}

// run writes until the end, and gives credit in halves of the window, so that short output costs no
// message. When a write fails neither octets nor credit go anywhere any more.
func (s *sink) run() error {
	var message []byte
	credit := 0
	for {
		p := s.next()
		if p == nil {
			return nil
		}
		if err := writeAll(s.f, p); err != nil {
			s.close()
			return err
		}
		if s.note != nil {
			s.note(p)
		}
		s.last = p[len(p)-1]
		s.wrote(len(p))
		if credit += len(p); credit >= window/2 {
			message = appendCredit(message[:0], s.number, credit)
			s.conn.WriteDatagram(message, circuit.Q)
			credit = 0
		}
	}
}

// next waits for octets to write, and returns nil at the end. They stay where they are until wrote.
func (s *sink) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.held == 0 && !s.ended {
		s.change.Wait()
	}
	if s.held == 0 {
		return nil
	}
	s.writing = true
	return s.ring[s.head:min(s.head+min(s.held, maxPiece), window)]
}

func (s *sink) wrote(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	s.written += uint64(n)
	s.head, s.held = (s.head+n)%window, s.held-n
	if s.held == 0 {
		s.head = 0 // the part of the ring that the processor's cache has
	}
}

func (s *sink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.closed, s.held, s.ring = false, true, 0, nil
}

// stands watches for d, and tells whether one write has been under way all the time.
func (s *sink) stands(d time.Duration) bool {
	before, writing := s.state()
	time.Sleep(d)
	now, _ := s.state()
	return writing && now == before
}

func (s *sink) state() (written uint64, writing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written, s.writing
}

// writeAll writes to a descriptor that another program may have made non-blocking.
func writeAll(f *os.File, p []byte) error {
	for {
		n, err := f.Write(p)
		if !errors.Is(err, syscall.EAGAIN) {
			return err
		}
		p = p[n:]
		await(f, unix.POLLOUT)
	}
}
