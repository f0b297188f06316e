package circuit

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"dnet/x25"

	"golang.org/x/sys/unix"
)

// The packet level of a complex server (protocol.md 5). A circuit holds little here: its window at netman is the buffer.
const (
	muxPacket  = 16 << 10  // octets of the largest packet
	muxWindow  = 8         // packets
	muxQueue   = 128 << 10 // never reached: a circuit that has something queued takes no more
	muxReceive = 64 << 10  // received and not read, up to which a circuit gets credit
	muxBudget  = 512 << 20 // the same of all circuits: above it the largest is cleared 05
)

// mux is the descriptor of a complex server: X.25 packets, netman being the DCE. All its circuits are channels on it. One goroutine
// reads; whoever has something to send writes it, and when the descriptor takes nothing one more goroutine waits until it does again.
type mux struct {
	service string
	f       *os.File
	wake    chan struct{} // of capacity 1: there are calls, or the end has come

	mu      sync.Mutex
	fd      int // of f, -1 once it is closed
	level   *x25.Level
	out     x25.Out
	calls   []*Call // not taken yet
	closed  bool    // the Listener is
	gone    bool    // netman is
	pending []byte  // a packet that the descriptor did not take
	full    bool    // it takes none now
	waits   bool    // a goroutine waits until it does
	timer   *time.Timer
	at      time.Time // when timer fires; zero: it does not
}

// newMux takes the descriptor over.
func newMux(fd int, service string) (*mux, error) {
	f, err := newFile(fd, "circuits")
	if err != nil {
		return nil, err
	}
	m := &mux{service: service, f: f, fd: fd, wake: make(chan struct{}, 1)}
	m.level = x25.NewLevel(x25.Config{
		Role: x25.DTE, MaxPacket: muxPacket, Window: muxWindow, QueueLimit: muxQueue, ReceiveLimit: muxReceive,
		Budget: &x25.Budget{Limit: muxBudget}, Timers: x25.Timers{Drain: 24 * time.Hour},
	})
	m.timer = time.AfterFunc(time.Hour, m.timeout)
	m.do(func(now time.Time) { m.level.LinkUp(now, &m.out) })
	go m.read()
	return m, nil
}

// do does something with the level and carries out what comes of it.
func (m *mux) do(f func(now time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	f(now)
	m.settle(now)
}

// settle carries out what has come of something; m.mu is held.
func (m *mux) settle(now time.Time) {
	m.events()
	m.pump(now)
	if m.full && !m.waits {
		m.waits = true
		go m.unblock()
	}
	if at := m.level.Deadline(); !at.IsZero() && (m.at.IsZero() || at.Before(m.at)) {
		m.at = at
		m.timer.Reset(max(at.Sub(now), 0))
	}
	if m.closed && m.fd >= 0 && m.level.Len() == 0 && len(m.pending) == 0 && !m.level.Ready() {
		m.shut() // netman has all: the last circuit is over
	}
}

// shut ends the descriptor: what was written can still be read, and the goroutine that reads here closes it. m.mu is held.
func (m *mux) shut() {
	unix.Shutdown(m.fd, unix.SHUT_RDWR)
	m.fd = -1
	m.timer.Stop()
}

// timeout runs the timers of the level.
func (m *mux) timeout() {
	m.do(func(now time.Time) {
		m.at = time.Time{}
		if m.fd >= 0 {
			m.level.HandleTimeout(now, &m.out)
		}
	})
}

// pump writes packets while the descriptor takes them; m.mu is held.
func (m *mux) pump(now time.Time) {
	for m.fd >= 0 && !m.full {
		if len(m.pending) == 0 {
			m.pending = m.level.AppendNext(now, m.pending, &m.out)
			m.events()
			if len(m.pending) == 0 && !m.level.Ready() {
				return
			}
			continue
		}
		err := SendFds(m.fd, m.pending)
		if err == unix.EAGAIN {
			m.full = true
			return
		}
		m.pending = m.pending[:0] // after another error there is no netman, which the reader tells
	}
}

// unblock waits until the descriptor takes packets again, and writes them.
func (m *mux) unblock() {
	raw, err := m.f.SyscallConn()
	if err != nil {
		return
	}
	raw.Write(func(uintptr) bool {
		m.do(func(time.Time) { m.full = false })
		m.mu.Lock()
		defer m.mu.Unlock()
		m.waits = m.full
		return !m.full
	})
}

// read takes packets until the descriptor ends.
func (m *mux) read() {
	packet := make([]byte, muxPacket)
	raw, err := m.f.SyscallConn()
	if err == nil {
		raw.Read(func(fd uintptr) bool {
			for {
				n, err := ReadRecord(int(fd), packet)
				switch {
				case err == unix.EAGAIN:
					return false
				case err != nil || n <= 0:
					return true
				default:
					m.do(func(now time.Time) { m.level.HandlePacket(now, packet[:n], &m.out) })
				}
			}
		})
	}
	m.do(func(now time.Time) {
		m.gone = true
		m.level.LinkDown(now, &m.out)
		m.events()
		if m.fd >= 0 {
			m.shut()
		}
		wake(m.wake)
	})
	m.f.Close()
}

// wake wakes whoever waits, or will.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// events takes what the level reports to the circuits; m.mu is held.
func (m *mux) events() {
	for _, ev := range m.out.Events {
		if ev.Kind == x25.Incoming {
			m.incoming(ev)
		} else if ev.Circuit != nil {
			ev.Circuit.User.(*channel).handle(ev)
		}
	}
	m.out.Reset()
}

// incoming queues a call for Accept.
func (m *mux) incoming(ev x25.Event) {
	peer := callPeer(ev.UserData)
	peer.Service = m.service
	ch := newChannel(m, ev.Circuit, peer)
	if m.closed {
		ch.refuse(x25.CauseNotObtainable, 0, "")
		return
	}
	m.calls = append(m.calls, &Call{Peer: peer, channel: ch})
	wake(m.wake)
}

// callPeer reads the user data of a call (protocol.md 5): TLVs 2 user, 3 stream, 4 machine.
func callPeer(data []byte) (p Peer) {
	const mark = 4
	for data = data[min(mark, len(data)):]; len(data) >= 2; {
		kind, n := data[0], int(data[1])
		if data = data[2:]; len(data) < n {
			break
		}
		value := data[:n]
		data = data[n:]
		switch kind {
		case 2:
			p.User = string(value)
		case 3:
			p.Stream = string(value) == "\x01"
		case 4:
			p.Machine = string(value)
		}
	}
	return p
}

// accept waits for the next call.
func (m *mux) accept(l *Listener) (*Call, error) {
	for {
		m.mu.Lock()
		if len(m.calls) > 0 {
			call := m.calls[0]
			if m.calls = m.calls[1:]; len(m.calls) > 0 || m.gone {
				wake(m.wake) // for whoever else waits
			}
			m.mu.Unlock()
			return call, nil
		}
		gone, closed := m.gone, m.closed
		m.mu.Unlock()
		switch {
		case closed:
			wake(m.wake)
			return nil, net.ErrClosed
		case gone:
			wake(m.wake)
			return nil, netmanGone()
		}
		select {
		case <-m.wake:
		case <-l.deadline.passed():
			return nil, os.ErrDeadlineExceeded
		}
	}
}

// close is when the Listener is closed: calls that were not taken may go to another server. The descriptor stays until the last
// circuit is over.
func (m *mux) close() {
	m.do(func(time.Time) {
		m.closed = true
		for _, call := range m.calls {
			call.channel.refuse(x25.CauseNotObtainable, 0, "the server of "+m.service+" has gone")
		}
		m.calls = nil
		wake(m.wake)
	})
}

// channel is the carrier of a circuit that is one of a complex server's.
type channel struct {
	c        *Conn
	m        *mux
	x        *x25.Circuit
	readable chan struct{} // of capacity 1: look again
	writable chan struct{}
	readBy   deadline
	writeBy  deadline
	buf      []byte // receive: the last record

	// Under m.mu.
	closed  bool
	waiting []byte // an interrupt that waits until the one before it is confirmed
}

func newChannel(m *mux, x *x25.Circuit, peer Peer) *channel {
	c := newCircuit(peer, Addr(peer.Service))
	ch := &channel{c: c, m: m, x: x, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	ch.readBy.init()
	ch.writeBy.init()
	c.carrier, x.User = ch, ch
	return ch
}

// handle takes an event of the circuit; m.mu is held.
func (ch *channel) handle(ev x25.Event) {
	switch ev.Kind {
	case x25.Data:
		wake(ch.readable)
	case x25.Room:
		wake(ch.writable)
	case x25.Interrupt:
		ch.c.mu.Lock()
		ch.c.interrupted(ev.UserData)
		ch.c.mu.Unlock()
	case x25.InterruptConfirmed:
		if octets := ch.waiting; octets != nil {
			ch.waiting = nil
			ch.interrupt(time.Now(), octets)
		}
	case x25.Reset:
		ch.over(&Cleared{Cause: ev.Cause, Diag: ev.Diag, reset: true})
	case x25.Cleared:
		e := &Cleared{Cause: ev.Cause, Diag: ev.Diag, Text: string(ev.UserData)}
		if ch.m.gone {
			e.Text = "netman is gone"
		}
		ch.over(e)
	}
}

// over tells everybody that the circuit has ended; m.mu is held.
func (ch *channel) over(e *Cleared) {
	ch.c.mu.Lock()
	ch.c.end(e)
	ch.c.deafen()
	ch.c.mu.Unlock()
	wake(ch.readable)
	wake(ch.writable)
}

// answer accepts the call. The caller may have gone meanwhile, which the circuit then tells.
func (ch *channel) answer() *Conn {
	ch.m.do(func(now time.Time) { ch.x.Accept(now, nil) })
	return ch.c
}

// refuse clears the call; m.mu is held.
func (ch *channel) refuse(cause Cause, diag Diag, text string) {
	ch.x.Clear(time.Now(), cause, diag, []byte(CutText(text)), &ch.m.out)
}

func (ch *channel) receive() ([]byte, Bits, error) {
	for {
		if ch.readBy.expired() {
			return nil, 0, os.ErrDeadlineExceeded
		}
		bits, ok, err := ch.take()
		if ok || err != nil {
			return ch.buf[:len(ch.buf):len(ch.buf)], bits, err
		}
		select {
		case <-ch.readable:
		case <-ch.c.quit:
		case <-ch.readBy.passed():
		}
	}
}

// streamEnd is a Q datagram that ends one direction of a stream circuit (protocol.md 4).
const streamEnd = "DEND"

// take takes the next record into buf, if there is one.
func (ch *channel) take() (bits Bits, ok bool, err error) {
	m := ch.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if ch.closed {
		return 0, false, net.ErrClosed
	}
	data, q, more, ok := ch.x.Peek()
	if !ok {
		e := ch.c.cleared()
		switch {
		case e == nil:
			return 0, false, nil
		case e.closed():
			return 0, false, io.EOF
		}
		return 0, false, e
	}
	if q {
		bits |= Q
	}
	if more {
		bits |= M
	}
	ch.buf = append(ch.buf[:0], data...)
	now := time.Now()
	ch.x.Next(now)
	m.settle(now)
	if ch.c.Stream && bits == Q && string(ch.buf) == streamEnd {
		return 0, false, io.EOF
	}
	if ch.buf == nil {
		ch.buf = []byte{}
	}
	return bits, true, nil
}

func (ch *channel) send(octets []byte, bits Bits) error {
	for {
		if ch.writeBy.expired() {
			return os.ErrDeadlineExceeded
		}
		if done, err := ch.trySend(octets, bits); done || err != nil {
			return err
		}
		select {
		case <-ch.writable:
		case <-ch.c.quit:
		case <-ch.writeBy.passed():
		}
	}
}

// trySend sends a record if nothing that was sent before it is still here.
func (ch *channel) trySend(octets []byte, bits Bits) (done bool, err error) {
	m := ch.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := ch.c.ended(); e != nil {
		return false, e
	}
	if ch.x.Queued() > 0 {
		return false, nil
	}
	now := time.Now()
	err = ch.x.Send(now, octets, bits&Q != 0, bits&M != 0)
	m.settle(now)
	return err == nil, err
}

func (ch *channel) closeWrite() error {
	var err error
	ch.m.do(func(now time.Time) { err = ch.x.Send(now, []byte(streamEnd), true, false) })
	if errors.Is(err, x25.ErrClosed) { // it is over, which the next call tells
		err = nil
	}
	return err
}

func (ch *channel) sendInterrupt(octets []byte) error {
	if e := ch.c.ended(); e != nil {
		return e
	}
	ch.m.do(func(now time.Time) { ch.interrupt(now, octets) })
	return nil
}

// interrupt sends one, or keeps it while the last one is not confirmed; one more replaces it. m.mu is held.
func (ch *channel) interrupt(now time.Time, octets []byte) {
	if ch.x.Interrupt(now, octets) == x25.ErrInterruptOutstanding {
		ch.waiting = append([]byte(nil), octets...)
	}
}

// close ends the circuit. What was sent and has left this process arrives: netman keeps it. What has not is sent first.
func (ch *channel) close(abort bool, diag Diag, text string) error {
	ch.m.do(func(now time.Time) {
		ch.closed = true
		ch.c.mu.Lock()
		ch.c.deafen()
		ch.c.mu.Unlock()
		reason := []byte(CutText(text))
		if abort || ch.x.Queued() == 0 && ch.waiting == nil {
			ch.x.Clear(now, x25.CauseDTE, diag, reason, &ch.m.out)
		} else {
			ch.x.Close(now, x25.CauseDTE, diag, reason)
		}
	})
	return nil
}

func (ch *channel) setReadDeadline(t time.Time) error {
	if ch.c.closed.Load() {
		return net.ErrClosed
	}
	ch.readBy.set(t)
	return nil
}

func (ch *channel) setWriteDeadline(t time.Time) error {
	if ch.c.closed.Load() {
		return net.ErrClosed
	}
	ch.writeBy.set(t)
	return nil
}
