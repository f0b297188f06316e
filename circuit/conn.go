package circuit

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bits are the marks of a datagram, as in its control byte.
type Bits byte

const (
	Q Bits = 0x80 // data about the data: metadata of the programs
	M Bits = 0x10 // more of this datagram follows
)

// Addr is an end of a circuit: a service with its machine, or a machine.
type Addr string

// Network is "dnet".
func (a Addr) Network() string { return "dnet" }

func (a Addr) String() string { return string(a) }

// Peer says what netman knows about a circuit.
type Peer struct {
	Service string // the service that was called, with its machine where the name has one
	Machine string // the machine at the other end
	User    string // who calls; "" at the calling end
	Stream  bool   // its directions can be ended one by one
}

// Conn is a circuit. All methods may be called at once from several goroutines. It is a net.Conn:
// Read and Write are its byte view.
type Conn struct {
	Peer
	carrier carrier
	local   Addr

	in  reader
	out writer

	closed    atomic.Bool
	quit      chan struct{} // closed by Close
	interrupt chan []byte
	lost      atomic.Uint64

	mu   sync.Mutex
	over *Cleared      // why the circuit has ended, nil before
	done chan struct{} // closed when over is set
	deaf bool          // interrupt is closed
}

// carrier is what takes a circuit's records to netman and back: two sockets of its own, or a channel of
// the descriptor of a complex server. What it learns of the end it says by Conn.end, and what comes out
// of band by Conn.interrupted.
type carrier interface {
	// receive waits for the next record, which is borrowed until the next call. The end of the other
	// direction, and an ordinary end of the circuit, is io.EOF.
	receive() (octets []byte, bits Bits, err error)
	// send sends one record, or nothing and an error.
	send(octets []byte, bits Bits) error
	// closeWrite ends this direction.
	closeWrite() error
	// sendInterrupt sends octets out of band.
	sendInterrupt(octets []byte) error
	// close ends the circuit, once what was sent has arrived or at once, and gives everything back.
	close(abort bool, diag Diag, text string) error
	setReadDeadline(t time.Time) error
	setWriteDeadline(t time.Time) error
}

// newCircuit is a Conn without its carrier.
func newCircuit(peer Peer, local Addr) *Conn {
	return &Conn{
		Peer:      peer,
		local:     local,
		quit:      make(chan struct{}),
		interrupt: make(chan []byte, maxInterrupts),
		done:      make(chan struct{}),
	}
}

// interrupted takes an interrupt that came; c.mu is held. The oldest that waits gives way.
func (c *Conn) interrupted(octets []byte) {
	if c.deaf {
		return
	}
	if len(c.interrupt) == cap(c.interrupt) {
		select {
		case <-c.interrupt:
			c.lost.Add(1)
		default:
		}
	}
	c.interrupt <- append([]byte(nil), octets...)
}

// deafen ends the interrupts; c.mu is held.
func (c *Conn) deafen() {
	if !c.deaf {
		c.deaf = true
		close(c.interrupt)
	}
}

// end notes why the circuit ended; c.mu is held. The first reason stands.
func (c *Conn) end(e *Cleared) {
	if c.over == nil {
		c.over = e
		close(c.done)
	}
}

// ended is why the circuit takes no calls any more, nil while it does.
func (c *Conn) ended() error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if e := c.cleared(); e != nil {
		return e
	}
	return nil
}

// cleared is why the circuit has ended, nil while it has not.
func (c *Conn) cleared() *Cleared {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// Done is closed when the circuit has been cleared, reset, or has lost its netman; data that came
// before may still be readable. It is not closed by Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Interrupt sends 1 to 32 octets out of band: they overtake all data. The far netman confirms them;
// one more before that may replace the one not yet taken.
func (c *Conn) Interrupt(octets []byte) error {
	if len(octets) < 1 || len(octets) > MaxInterrupt {
		return c.fail("interrupt", fmt.Errorf("an interrupt has 1 to %d octets, not %d: %w", MaxInterrupt, len(octets), syscall.EINVAL))
	}
	return c.fail("interrupt", c.carrier.sendInterrupt(octets))
}

// Interrupts gives the interrupts received. It is closed when the circuit has ended. At most 16 wait;
// then the oldest gives way (InterruptsLost).
func (c *Conn) Interrupts() <-chan []byte { return c.interrupt }

// InterruptsLost counts received interrupts that nobody took in time.
func (c *Conn) InterruptsLost() uint64 { return c.lost.Load() }

// Close closes the circuit: what was written arrives first, then the other end reads io.EOF.
func (c *Conn) Close() error {
	return c.finish(false, 0, "")
}

// Clear closes the circuit with a diagnostic and a text that the other end gets as a *Cleared with
// cause 00, after what was written has arrived. Diagnostic 0 is an ordinary end.
func (c *Conn) Clear(diag Diag, text string) error {
	return c.finish(false, diag, text)
}

// Abort is Clear at once: what is still on its way is dropped.
func (c *Conn) Abort(diag Diag, text string) error {
	return c.finish(true, diag, text)
}

// finish ends the circuit, once.
func (c *Conn) finish(abort bool, diag Diag, text string) error {
	if c.closed.Swap(true) {
		return c.fail("close", net.ErrClosed)
	}
	close(c.quit)
	return c.carrier.close(abort, diag, text)
}

// LocalAddr is this end: the service at the called end, nothing at the calling one.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end: the service that was called, or the calling machine.
func (c *Conn) RemoteAddr() net.Addr {
	if c.local == "" {
		return Addr(c.Service)
	}
	return Addr(c.Machine)
}

// SetDeadline sets both deadlines, as net.Conn says.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds the reads, now blocked and later; zero is none. After it they return
// os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.fail("set", c.orClosed(c.carrier.setReadDeadline(t)))
}

// SetWriteDeadline bounds the writes likewise. A datagram that needs several records may have been
// sent in part; the circuit should then be cleared.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return nil // writes fail at once
	}
	return c.fail("set", c.orClosed(c.carrier.setWriteDeadline(t)))
}

// orClosed makes net.ErrClosed of the several errors of a closed descriptor.
func (c *Conn) orClosed(err error) error {
	if err != nil && c.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// fail gives err the form of package net; nil and io.EOF stay what they are.
func (c *Conn) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "dnet", Addr: c.RemoteAddr(), Err: err}
}

var _ net.Conn = (*Conn)(nil)
