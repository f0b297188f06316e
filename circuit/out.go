package circuit

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotStream is CloseWrite on a circuit that was not set up as a stream.
var ErrNotStream = fmt.Errorf("not a stream circuit: %w", errors.ErrUnsupported)

// writer is the sending half of a Conn.
type writer struct {
	mu       sync.Mutex
	raw      syscall.RawConn
	send     func(fd uintptr) bool // sends record once; made once, so that a write allocates nothing for it
	control  [1]byte
	record   [2][]byte // control, octets
	sent     error     // of send
	inside   bool      // an M sequence is under way
	q        Bits      // its Q
	shut     atomic.Bool
	deadline atomic.Int64
}

func (w *writer) init(data *os.File) (err error) {
	w.raw, err = data.SyscallConn()
	w.send = w.sendRecord
	return err
}

func (w *writer) setDeadline(t time.Time) { w.deadline.Store(unixNano(t)) }

func (w *writer) ended() bool { return w.shut.Load() }

func (w *writer) sendRecord(fd uintptr) bool {
	for {
		_, w.sent = unix.SendmsgBuffers(int(fd), w.record[:], nil, nil, unix.MSG_NOSIGNAL)
		if w.sent != unix.EINTR {
			return w.sent != unix.EAGAIN
		}
	}
}

// WriteDatagram sends one datagram of any length, also 0; with M in bits, a piece of one, which goes on
// with the next call. Q must be the same in all pieces of a datagram, else EINVAL; the circuit stays.
// It blocks while the circuit takes nothing, and returns when netman, not the other program, has it.
func (c *Conn) WriteDatagram(octets []byte, bits Bits) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if bits&^(Q|M) != 0 || c.out.inside && bits&Q != c.out.q {
		return c.fail("write", fmt.Errorf("bits %02x inside a sequence with Q %02x: %w", byte(bits), byte(c.out.q), syscall.EINVAL))
	}
	_, err := c.sendAll(octets, bits)
	return c.fail("write", err)
}

// Write is the byte view: p as one datagram; nothing when it is empty.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.inside {
		return 0, c.fail("write", fmt.Errorf("inside a datagram: %w", syscall.EINVAL))
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.sendAll(p, 0)
	return n, c.fail("write", err)
}

// sendAll sends a datagram in as many records as it needs; c.out.mu is held.
func (c *Conn) sendAll(octets []byte, bits Bits) (n int, err error) {
	for len(octets) > MaxDatagram {
		if err := c.sendOne(octets[:MaxDatagram], bits|M); err != nil {
			return n, err
		}
		octets, n = octets[MaxDatagram:], n+MaxDatagram
	}
	if err := c.sendOne(octets, bits); err != nil {
		return n, err
	}
	return n + len(octets), nil
}

func (c *Conn) sendOne(octets []byte, bits Bits) error {
	w := &c.out
	if w.ended() {
		return syscall.EPIPE
	}
	if e := c.ended(); e != nil {
		return e
	}
	w.control[0] = byte(bits)
	w.record = [2][]byte{w.control[:], octets}
	err := w.raw.Write(w.send)
	w.record[1] = nil // do not keep the caller's octets
	if err == nil {
		err = w.sent
	}
	switch {
	case err == nil:
		w.inside, w.q = bits&M != 0, bits&Q
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if e := c.ended(); e != nil {
			return e
		}
		return os.ErrDeadlineExceeded
	case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		if w.ended() {
			return syscall.EPIPE
		}
		return c.reason(deadlineOf(w.deadline.Load()))
	}
	return c.orClosed(err)
}

// CloseWrite ends this direction of a stream circuit: the other end reads io.EOF after all data, and
// may go on sending. Datagrams end before it: not between the pieces of one.
func (c *Conn) CloseWrite() error {
	if !c.Stream {
		return c.fail("close", ErrNotStream)
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.inside {
		return c.fail("close", fmt.Errorf("inside a datagram: %w", syscall.EINVAL))
	}
	if e := c.ended(); e != nil {
		return c.fail("close", e)
	}
	c.out.shut.Store(true)
	var err error
	if e := c.out.raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); e != nil {
		err = e
	}
	if errors.Is(err, unix.ENOTCONN) { // the other end has gone, which the next call tells
		err = nil
	}
	return c.fail("close", c.orClosed(err))
}
