package circuit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrNotStream is CloseWrite on a circuit that was not set up as a stream.
var ErrNotStream = fmt.Errorf("not a stream circuit: %w", errors.ErrUnsupported)

// writer is the sending half of a Conn.
type writer struct {
	mu     sync.Mutex
	inside bool        // an M sequence is under way
	q      Bits        // its Q
	shut   atomic.Bool // this direction was ended
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
	if c.out.shut.Load() {
		return syscall.EPIPE
	}
	if e := c.ended(); e != nil {
		return e
	}
	err := c.carrier.send(octets, bits)
	if err == nil {
		c.out.inside, c.out.q = bits&M != 0, bits&Q
	}
	return err
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
	return c.fail("close", c.orClosed(c.carrier.closeWrite()))
}
