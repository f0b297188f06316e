package circuit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dnet/x25"

	"golang.org/x/sys/unix"
)

// Bits are the marks of a datagram, as in its control byte.
type Bits byte

const (
	Q Bits = 0x80 // data about the data: metadata of the programs
	M Bits = 0x10 // more of this datagram follows
)

// reasonWait bounds how long a call waits for the reason of an end that it has already seen. netman
// tells it at once; the bound is for a netman that has stopped.
const reasonWait = 5 * time.Second

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
	data  *os.File
	ctl   *os.File
	local Addr

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

// newFile takes fd over, for the poller.
func newFile(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// newConn takes both descriptors over.
func newConn(data int, ctl *os.File, peer Peer, local Addr) (*Conn, error) {
	f, err := newFile(data, "circuit data")
	if err != nil {
		ctl.Close()
		return nil, err
	}
	c := &Conn{
		Peer:      peer,
		data:      f,
		ctl:       ctl,
		local:     local,
		quit:      make(chan struct{}),
		interrupt: make(chan []byte, maxInterrupts),
		done:      make(chan struct{}),
	}
	if err := c.out.init(c.data); err != nil {
		c.data.Close()
		c.ctl.Close()
		return nil, err
	}
	go c.watch()
	return c, nil
}

// watch reads control until it ends.
func (c *Conn) watch() {
	if raw, err := c.ctl.SyscallConn(); err == nil {
		raw.Read(func(fd uintptr) bool { return c.drainControl(int(fd)) })
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
	close(c.interrupt)
}

// drainControl takes what control has, without blocking; true when nothing more will come.
func (c *Conn) drainControl(fd int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var buf [MaxLine]byte
	for c.over == nil {
		n, err := unix.Read(fd, buf[:])
		switch {
		case err == unix.EINTR || err == unix.ECONNRESET: // after ECONNRESET comes what was queued
		case err == unix.EAGAIN:
			return false
		case c.closed.Load(): // netman ends what we have closed
			return true
		case err != nil || n == 0:
			c.end(netmanGone())
			// Nobody tells any more when the other end goes: a joined local circuit ends with netman.
			c.shutdownData()
		default:
			c.controlLine(buf[:n])
		}
	}
	return true
}

// controlLine acts on one line of control. What it does not know, it skips.
func (c *Conn) controlLine(record []byte) {
	l, err := ParseLine(record)
	if err != nil {
		return
	}
	switch l.Verb {
	case "interrupt":
		if n := len(l.Octets); n < 1 || n > MaxInterrupt || c.deaf {
			return
		}
		if len(c.interrupt) == cap(c.interrupt) {
			select {
			case <-c.interrupt:
				c.lost.Add(1)
			default:
			}
		}
		c.interrupt <- append([]byte(nil), l.Octets...)
	case "cleared", "reset":
		e, err := parseCleared(l)
		if err != nil {
			return
		}
		c.end(e)
		if e.reset { // protocol.md 4: a reset is an error from every call
			c.shutdownData()
		}
		// netman takes nothing any more: a write that waits must not wait until all has been read.
		c.data.SetWriteDeadline(time.Unix(1, 0))
	}
}

// end notes why the circuit ended; c.mu is held. The first reason stands.
func (c *Conn) end(e *Cleared) {
	if c.over == nil {
		c.over = e
		close(c.done)
	}
}

func (c *Conn) shutdownData() {
	if raw, err := c.data.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
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

// reason waits for the reason of an end seen on data.
func (c *Conn) reason(deadline time.Time) error {
	wait := reasonWait
	if !deadline.IsZero() {
		wait = min(wait, time.Until(deadline))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.cleared()
	case <-c.quit:
		return net.ErrClosed
	case <-timer.C:
	}
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return os.ErrDeadlineExceeded
	}
	return &Cleared{Cause: x25.CauseOutOfOrder, Text: "netman does not say why"}
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
	return c.fail("interrupt", c.tell(Line{Verb: "interrupt", Octets: octets}))
}

// Interrupts gives the interrupts received. It is closed when the circuit has ended. At most 16 wait;
// then the oldest gives way (InterruptsLost).
func (c *Conn) Interrupts() <-chan []byte { return c.interrupt }

// InterruptsLost counts received interrupts that nobody took in time.
func (c *Conn) InterruptsLost() uint64 { return c.lost.Load() }

// tell sends one line on control.
func (c *Conn) tell(l Line) error {
	if e := c.ended(); e != nil {
		return e
	}
	raw, err := c.ctl.SyscallConn()
	if err != nil {
		return net.ErrClosed
	}
	record := l.Append(nil)
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = SendFds(int(fd), record)
		return sent != unix.EAGAIN
	})
	if err == nil {
		err = sent
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return c.reason(time.Time{})
	}
	return c.orClosed(err)
}

// Close closes the circuit: what was written arrives first, then the other end reads io.EOF.
func (c *Conn) Close() error {
	return c.finish(Line{Verb: "clear", Words: []string{HexOctet(Diag(0))}})
}

// Clear closes the circuit with a diagnostic and a text that the other end gets as a *Cleared with
// cause 00, after what was written has arrived. Diagnostic 0 is an ordinary end.
func (c *Conn) Clear(diag Diag, text string) error {
	return c.finish(clearLine("clear", diag, text))
}

// Abort is Clear at once: what is still on its way is dropped.
func (c *Conn) Abort(diag Diag, text string) error {
	return c.finish(clearLine("abort", diag, text))
}

func clearLine(verb string, diag Diag, text string) Line {
	l := Line{Verb: verb, Words: []string{HexOctet(diag)}}
	if text != "" {
		l.Words = append(l.Words, CutText(text))
	}
	return l
}

// finish says l to netman, which never lets control fill up, and gives both descriptors back.
func (c *Conn) finish(l Line) error {
	if c.closed.Swap(true) {
		return c.fail("close", net.ErrClosed)
	}
	close(c.quit)
	if c.cleared() == nil {
		if raw, err := c.ctl.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { SendFds(int(fd), l.Append(nil)) })
		}
	}
	err := c.data.Close()
	if e := c.ctl.Close(); err == nil {
		err = e
	}
	return err
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
	c.in.setDeadline(t)
	return c.fail("set", c.orClosed(c.data.SetReadDeadline(t)))
}

// SetWriteDeadline bounds the writes likewise. A datagram that needs several records may have been
// sent in part; the circuit should then be cleared.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return nil // writes fail at once
	}
	c.out.setDeadline(t)
	return c.fail("set", c.orClosed(c.data.SetWriteDeadline(t)))
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
