package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// source sends what a descriptor gives, as far as there is credit for it. Its other end is a sink.
type source struct {
	f    *os.File
	conn *circuit.Conn
	kind kind // of its datagrams: kindData or kindStderr
	read func([]byte) (int, error)
	keys func([]byte) []byte // if set, takes escapes out of what is typed

	mu     sync.Mutex
	more   sync.Cond // credit was given, or close called
	credit int       // octets that may be sent, at most window
	closed bool
}

func newSource(f *os.File, conn *circuit.Conn, k kind) *source {
	s := &source{f: f, conn: conn, kind: k, credit: window}
	s.read = func(p []byte) (int, error) { return readSome(f, p) }
	s.more.L = &s.mu
	return s
}

// run sends until the end of f, or until nobody wants any more. An error is one of reading: how the
// circuit fares shows where it is received.
func (s *source) run() error {
	buf := make([]byte, maxPiece)
	head, bits := 0, circuit.Bits(0)
	if s.kind != kindData {
		buf[0], head, bits = byte(s.kind), 1, circuit.Q
	}
	for {
		n, err := s.read(buf[head:min(head+s.wait(), len(buf))])
		if n > 0 && s.send(buf[:head+n], head, bits) != nil {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send sends what was read, octets with room for a type before them.
func (s *source) send(octets []byte, head int, bits circuit.Bits) error {
	if s.keys != nil {
		octets = s.keys(octets)
	}
	if len(octets) == head {
		return nil
	}
	s.use(len(octets) - head)
	return s.conn.WriteDatagram(octets, bits)
}

// wait waits for credit. A closed source needs none: reading tells.
func (s *source) wait() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.credit == 0 && !s.closed {
		s.more.Wait()
	}
	return max(s.credit, 1)
}

func (s *source) use(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit -= n
}

func (s *source) grant(octets uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit = int(min(int64(s.credit)+int64(octets), window))
	s.more.Signal()
}

// close ends run: nobody reads what it sends.
func (s *source) close() {
	s.f.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.more.Signal()
}

// appendCredit writes the message that grants octets more to the source of output number, or of input, 0.
func appendCredit(dst []byte, number byte, octets int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(kindCredit), number), uint32(octets))
}

// parseCredit reads the value of a credit; false when it is none.
func parseCredit(value []byte) (number byte, octets uint32, ok bool) {
	if len(value) != 5 {
		return 0, 0, false
	}
	return value[0], binary.BigEndian.Uint32(value[1:]), true
}

// readSome reads from a descriptor that another program may have made non-blocking.
func readSome(f *os.File, p []byte) (int, error) {
	for {
		n, err := f.Read(p)
		if !errors.Is(err, syscall.EAGAIN) {
			return n, err
		}
		await(f, unix.POLLIN)
	}
}

func await(f *os.File, events int16) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1) })
	}
}
