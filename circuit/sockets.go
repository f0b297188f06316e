package circuit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"dnet/x25"

	"golang.org/x/sys/unix"
)

// reasonWait bounds how long a call waits for the reason of an end that it has already seen. netman
// tells it at once; the bound is for a netman that has stopped.
const reasonWait = 5 * time.Second

// errRecord is a record that no circuit has: the other end, or its netman, breaks the protocol. (Where two programs of one machine
// are joined by a socket pair, nobody has looked at the other's records before.)
var errRecord = fmt.Errorf("a record with a wrong control byte or length: %w", syscall.EPROTO)

// sockets are the carrier of a circuit with descriptors of its own: data and control.
type sockets struct {
	c    *Conn
	data *os.File
	ctl  *os.File
	raw  syscall.RawConn // of data

	buf     []byte // receive: one record and an octet more, so that a longer one shows
	control [1]byte
	record  [2][]byte             // send: control, octets
	write   func(fd uintptr) bool // sends record once; made once, so that a send allocates nothing for it
	sent    error                 // of write

	readBy, writeBy atomic.Int64 // deadlines, 0: none
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
	c := newCircuit(peer, local)
	s := &sockets{c: c, data: f, ctl: ctl}
	s.write = s.writeRecord
	if s.raw, err = f.SyscallConn(); err != nil {
		s.data.Close()
		s.ctl.Close()
		return nil, err
	}
	c.carrier = s
	go s.watch()
	return c, nil
}

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

func (s *sockets) setReadDeadline(t time.Time) error {
	s.readBy.Store(unixNano(t))
	return s.data.SetReadDeadline(t)
}

func (s *sockets) setWriteDeadline(t time.Time) error {
	s.writeBy.Store(unixNano(t))
	return s.data.SetWriteDeadline(t)
}

// watch reads control until it ends.
func (s *sockets) watch() {
	if raw, err := s.ctl.SyscallConn(); err == nil {
		raw.Read(func(fd uintptr) bool { return s.drainControl(int(fd)) })
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.deafen()
}

// drainControl takes what control has, without blocking; true when nothing more will come.
func (s *sockets) drainControl(fd int) bool {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var buf [MaxLine]byte
	for c.over == nil {
		n, err := ReadRecord(fd, buf[:])
		switch {
		case err == unix.EAGAIN:
			return false
		case c.closed.Load(): // netman ends what we have closed
			return true
		case err != nil || n == 0:
			c.end(netmanGone())
			// Nobody tells any more when the other end goes: a joined local circuit ends with netman.
			s.shutdownData()
		default:
			s.controlLine(buf[:n])
		}
	}
	return true
}

// controlLine acts on one line of control. What it does not know, it skips.
func (s *sockets) controlLine(record []byte) {
	l, err := ParseLine(record)
	if err != nil {
		return
	}
	switch l.Verb {
	case "interrupt":
		if n := len(l.Octets); n >= 1 && n <= MaxInterrupt {
			s.c.interrupted(l.Octets)
		}
	case "cleared", "reset":
		e, err := parseCleared(l)
		if err != nil {
			return
		}
		s.c.end(e)
		if e.reset { // protocol.md 4: a reset is an error from every call
			s.shutdownData()
		}
		// netman takes nothing any more: a write that waits must not wait until all has been read.
		s.data.SetWriteDeadline(time.Unix(1, 0))
	}
}

func (s *sockets) shutdownData() {
	if raw, err := s.data.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}

// reason waits for the reason of an end seen on data.
func (s *sockets) reason(deadline time.Time) error {
	wait := reasonWait
	if !deadline.IsZero() {
		wait = min(wait, time.Until(deadline))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.c.done:
		return s.c.cleared()
	case <-s.c.quit:
		return net.ErrClosed
	case <-timer.C:
	}
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return os.ErrDeadlineExceeded
	}
	return &Cleared{Cause: x25.CauseOutOfOrder, Text: "netman does not say why"}
}

func (s *sockets) sendInterrupt(octets []byte) error {
	return s.tell(Line{Verb: "interrupt", Octets: octets})
}

// tell sends one line on control.
func (s *sockets) tell(l Line) error {
	c := s.c
	if e := c.ended(); e != nil {
		return e
	}
	raw, err := s.ctl.SyscallConn()
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
		return s.reason(time.Time{})
	}
	return c.orClosed(err)
}

func clearLine(verb string, diag Diag, text string) Line {
	l := Line{Verb: verb, Words: []string{HexOctet(diag)}}
	if text != "" {
		l.Words = append(l.Words, CutText(text))
	}
	return l
}

// close says so to netman, which never lets control fill up, and gives both descriptors back.
func (s *sockets) close(abort bool, diag Diag, text string) error {
	l := clearLine("clear", diag, text)
	if abort {
		l.Verb = "abort"
	}
	if s.c.cleared() == nil {
		if raw, err := s.ctl.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { SendFds(int(fd), l.Append(nil)) })
		}
	}
	err := s.data.Close()
	if e := s.ctl.Close(); err == nil {
		err = e
	}
	return err
}

func (s *sockets) receive() ([]byte, Bits, error) {
	if s.buf == nil {
		s.buf = make([]byte, 1+MaxDatagram+1)
	}
	n, err := s.data.Read(s.buf)
	for errors.Is(err, unix.ECONNRESET) { // the peer closed before it had read all; its data is still here
		n, err = s.data.Read(s.buf)
	}
	if err == io.EOF {
		if s.hangUp() == 0 {
			return nil, 0, errRecord // of no octets at all
		}
		if n = s.behindEnd(); n > 0 {
			err = nil
		}
	}
	switch {
	case err == io.EOF:
		return nil, 0, s.readEnd()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, 0, os.ErrDeadlineExceeded
	case err != nil:
		return nil, 0, s.c.orClosed(err)
	case n > 1+MaxDatagram || Bits(s.buf[0])&^(Q|M) != 0:
		return nil, 0, errRecord
	}
	return s.buf[1:n:n], Bits(s.buf[0]), nil
}

// behindEnd reads the record that an end was told before, into buf: 0 if there is none.
func (s *sockets) behindEnd() (n int) {
	s.raw.Control(func(fd uintptr) { n = readAgain(int(fd), s.buf) })
	return n
}

// readEnd tells what the end of data means (protocol.md 5). A reason is on control by then, or
// comes; without one, the other end of a stream circuit has ended its direction.
func (s *sockets) readEnd() error {
	c := s.c
	if raw, err := s.ctl.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { s.drainControl(int(fd)) })
	}
	var err error
	if e := c.ended(); e != nil {
		err = e
	} else if c.Stream && !s.abandoned() {
		return io.EOF
	} else {
		err = s.reason(deadlineOf(s.readBy.Load()))
	}
	var cleared *Cleared
	if errors.As(err, &cleared) && cleared.closed() {
		return io.EOF
	}
	return err
}

// abandoned tells that data was shut down both ways, and not by us: then the other end has not ended
// one direction, it has closed.
func (s *sockets) abandoned() bool { return !s.c.out.shut.Load() && s.hangUp()&unix.POLLHUP != 0 }

// hangUp tells how far data has ended: POLLRDHUP for this direction, POLLHUP for both.
func (s *sockets) hangUp() (events int16) {
	err := s.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		unix.Poll(p, 0)
		events = p[0].Revents
	})
	if err != nil { // closed by us
		return unix.POLLRDHUP
	}
	return events
}

func (s *sockets) writeRecord(fd uintptr) bool {
	for {
		_, s.sent = unix.SendmsgBuffers(int(fd), s.record[:], nil, nil, unix.MSG_NOSIGNAL)
		if s.sent != unix.EINTR {
			return s.sent != unix.EAGAIN
		}
	}
}

func (s *sockets) send(octets []byte, bits Bits) error {
	c := s.c
	s.control[0] = byte(bits)
	s.record = [2][]byte{s.control[:], octets}
	err := s.raw.Write(s.write)
	s.record[1] = nil // do not keep the caller's octets
	if err == nil {
		err = s.sent
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if e := c.ended(); e != nil {
			return e
		}
		return os.ErrDeadlineExceeded
	case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		if c.out.shut.Load() {
			return syscall.EPIPE
		}
		return s.reason(deadlineOf(s.writeBy.Load()))
	}
	return c.orClosed(err)
}

func (s *sockets) closeWrite() error {
	var err error
	if e := s.raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) }); e != nil {
		err = e
	}
	if errors.Is(err, unix.ENOTCONN) { // the other end has gone, which the next call tells
		err = nil
	}
	return err
}
