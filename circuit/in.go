package circuit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errRecord is a record that no circuit has: the other end, or its netman, breaks the protocol. (Where two programs of one machine
// are joined by a socket pair, nobody has looked at the other's records before.)
var errRecord = fmt.Errorf("a record with a wrong control byte or length: %w", syscall.EPROTO)

// reader is the receiving half of a Conn.
type reader struct {
	mu       sync.Mutex
	buf      []byte // one record and an octet more, so that a longer one shows
	rest     []byte // of buf: what a short read has left
	bits     Bits   // of rest
	inside   bool   // the last record had M, and this Q
	q        Bits
	err      error // sticky
	deadline atomic.Int64
}

func (r *reader) setDeadline(t time.Time) { r.deadline.Store(unixNano(t)) }

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func deadlineOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
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
	if c.in.buf == nil {
		c.in.buf = make([]byte, 1+MaxDatagram+1)
	}
	n, err := c.data.Read(c.in.buf)
	for errors.Is(err, unix.ECONNRESET) { // the peer closed before it had read all; its data is still here
		n, err = c.data.Read(c.in.buf)
	}
	switch {
	case err == io.EOF && c.hangUp() == 0:
		c.in.err = errRecord // of no octets at all
		return errRecord
	case err == io.EOF:
		err = c.readEnd()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.in.err = err
		}
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case err != nil:
		return c.orClosed(err)
	case n > 1+MaxDatagram || Bits(c.in.buf[0])&^(Q|M) != 0:
		c.in.err = errRecord
		return errRecord
	}
	c.in.bits = Bits(c.in.buf[0])
	if c.in.inside && c.in.bits&Q != c.in.q {
		c.in.err = errRecord
		return errRecord
	}
	c.in.inside, c.in.q = c.in.bits&M != 0, c.in.bits&Q
	c.in.rest = c.in.buf[1:n:n]
	return nil
}

// readEnd tells what the end of data means (protocol.md 5). A reason is on control by then, or
// comes; without one, the other end of a stream circuit has ended its direction.
func (c *Conn) readEnd() error {
	if raw, err := c.ctl.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { c.drainControl(int(fd)) })
	}
	var err error
	if e := c.ended(); e != nil {
		err = e
	} else if c.Stream && !c.abandoned() {
		return io.EOF
	} else {
		err = c.reason(deadlineOf(c.in.deadline.Load()))
	}
	var cleared *Cleared
	if errors.As(err, &cleared) && cleared.closed() {
		return io.EOF
	}
	return err
}

// abandoned tells that data was shut down both ways, and not by us: then the other end has not ended
// one direction, it has closed.
func (c *Conn) abandoned() bool { return !c.out.ended() && c.hangUp()&unix.POLLHUP != 0 }

// hangUp tells how far data has ended: POLLRDHUP for this direction, POLLHUP for both.
func (c *Conn) hangUp() (events int16) {
	raw, err := c.data.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			unix.Poll(p, 0)
			events = p[0].Revents
		})
	}
	if err != nil { // closed by us
		return unix.POLLRDHUP
	}
	return events
}
