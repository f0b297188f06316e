package circuit

import (
	"errors"
	"os"
	"sync"
)

// reader is the receiving half of a Conn.
type reader struct {
	mu     sync.Mutex
	rest   []byte // of the last record: what a short read has left
	bits   Bits   // of rest
	inside bool   // the last record had M, and this Q
	q      Bits
	err    error // sticky
}

// Next returns the next datagram, or the next piece of one: bits has M when more of it follows, Q when
// it is marked so; a datagram's pieces may be cut anywhere. The octets (0 to 65535) are borrowed: they
// are valid until the next read of any kind. At an ordinary end the error is io.EOF, else a *Cleared;
// both come after all data.
func (c *Conn) Next() (octets []byte, bits Bits, err error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if err := c.fill(); err != nil {
		return nil, 0, c.fail("read", err)
	}
	octets, bits = c.in.rest, c.in.bits
	c.in.rest = nil
	return octets, bits, nil
}

// ReadDatagram is Next with a copy into p. What does not fit in p is left for the next read, and bits
// has M then.
func (c *Conn) ReadDatagram(p []byte) (n int, bits Bits, err error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if err := c.fill(); err != nil {
		return 0, 0, c.fail("read", err)
	}
	n, bits = copy(p, c.in.rest), c.in.bits
	if n < len(c.in.rest) {
		c.in.rest = c.in.rest[n:]
		return n, bits | M, nil
	}
	c.in.rest = nil
	return n, bits, nil
}

// Read is the byte view: the octets of the datagrams without Q, one after the other. Datagrams with Q
// and empty ones are skipped.
func (c *Conn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(p) > 0 {
		if err := c.fill(); err != nil {
			return 0, c.fail("read", err)
		}
		if c.in.bits&Q != 0 || len(c.in.rest) == 0 {
			c.in.rest = nil
			continue
		}
		n := copy(p, c.in.rest)
		c.in.rest = c.in.rest[n:]
		if len(c.in.rest) == 0 {
			c.in.rest = nil
		}
		return n, nil
	}
	return 0, nil
}

// fill receives a record unless something of the last one is left; c.in.mu is held. A record that is
// there has a rest that is not nil.
func (c *Conn) fill() error {
	if c.in.rest != nil {
		return nil
	}
	if c.in.err != nil {
		return c.in.err
	}
	if e := c.cleared(); e != nil && e.reset {
		return e
	}
	octets, bits, err := c.carrier.receive()
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.in.err = err
		}
		return err
	}
	if c.in.inside && bits&Q != c.in.q {
		c.in.err = errRecord
		return errRecord
	}
	c.in.inside, c.in.q = bits&M != 0, bits&Q
	c.in.rest, c.in.bits = octets, bits
	return nil
}
