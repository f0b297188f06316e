package x25

import "time"

// callState is the state of a circuit's set-up and clearing.
type callState uint8

const (
	p1 callState = iota + 1 // ready: not on a channel
	p2                      // the peer's call awaits our answer
	p3                      // our call awaits the peer's answer; before sent > 0 the peer does not know of it
	p4                      // data transfer
	p5                      // call collision: as the DCE the peer's call awaits our answer, as the DTE ours the peer's
	p6                      // the peer's clear is being served: the confirmation is to be sent
	p7                      // our clear is outstanding
)

func (s callState) String() string {
	return [...]string{"", "p1", "p2", "p3", "p4", "p5", "p6", "p7"}[s]
}

// dataState is the state of the reset procedure, within p4.
type dataState uint8

const (
	d1 dataState = iota + 1 // flow control ready
	d2                      // the peer's reset is being served
	d3                      // our reset is outstanding
)

func (s dataState) String() string { return [...]string{"", "d1", "d2", "d3"}[s] }

// Circuit is a virtual circuit, from Call or Incoming on.
type Circuit struct {
	User any // the owner's

	level *Level
	lci   uint16
	state callState
	data  dataState // in p4

	caller   bool
	partial  bool // partly filled packets may bear M
	accepted bool // in p2, p5: the accept is to be sent
	ended    bool // no program holds it any more
	unsent   bool // the request of this state is to be sent: call, clear or reset
	answered bool // in p7: only surplus answers are awaited
	sent     uint8
	surplus  uint8 // reset confirmations that repeated requests may still bring

	setup     setup
	tx        sender
	rx        receiver
	interrupt interrupts
	closing   closing

	timer time.Time // T21 in p3, T22 in d3, T23 in p7
	links [lists]links
}

// setup is what a call, an accept or a clear takes along.
type setup struct {
	answer   facilities // in p2, p5; in p3 what was proposed
	fast     bool       // user data of 128 octets
	userData []byte
	cause    Cause
	diag     Diag

	credential string // of the call request
}

// sender is the sending half of data transfer.
type sender struct {
	q    fifo
	w    uint8 // window
	vs   uint8 // V(S), next to send
	lwe  uint8 // lower window edge, the last P(R) received
	open bool  // the last Send had more
	mark bool  // Q of the open sequence
	rnr  bool  // the peer said RNR
	full bool  // Room had come to 0, or a reset dropped what was queued
	size int   // user data of a packet
}

// receiver is the receiving half.
type receiver struct {
	q        fifo
	w        uint8
	vr       uint8 // V(R), next expected
	pr       uint8 // P(R) that may be said: vr, or less while credit is withheld
	said     uint8 // P(R) last sent
	due      bool  // RR is due
	open     bool  // the last data packet had M
	mark     bool  // Q of the open sequence
	peeked   bool  // Peek has shown n octets; end: to the end of the sequence
	end      bool
	n        int
	size     int // user data of a packet
	counted  int // octets in the budget
	promised int // likewise, of the window
	ack      time.Time
}

// interrupts are the two slots, one per direction.
type interrupts struct {
	octets [maxInterrupt]byte
	n      uint8 // octets to be sent; 0 when sent
	i2     bool  // ours is not confirmed
	j2     bool  // the peer's is not confirmed yet
}

// closing is a Close under way.
type closing struct {
	on       bool
	cause    Cause
	diag     Diag
	userData []byte
	stall    time.Time // gives up unless P(R) moves
}

// MaxCredential is the length of the longest credential, in octets: the facilities of a call request have room for it.
const MaxCredential = 64

// SetCredential has the call request, which is not sent yet, carry octets that prove who calls: 1 to MaxCredential.
func (c *Circuit) SetCredential(octets []byte) {
	c.setup.credential = string(octets[:min(len(octets), MaxCredential)])
}

// Credential is what the peer's call request carried; empty: nothing.
func (c *Circuit) Credential() string { return c.setup.credential }

// Level is the level that the circuit is, or was, on.
func (c *Circuit) Level() *Level { return c.level }

// LCI is the circuit's channel, 1..4095; the last one it had once it is over.
func (c *Circuit) LCI() uint16 { return c.lci }

// State names the state as the standard does: "p3", "p4/d1".
func (c *Circuit) State() string {
	if c.state == p4 {
		return "p4/" + c.data.String()
	}
	return c.state.String()
}

// Over says that the circuit has ended for its program.
func (c *Circuit) Over() bool { return c.ended }

// Held is the octets received and not taken, with 4 per message.
func (c *Circuit) Held() int { return c.rx.q.size() }

// Queued is the octets waiting to be sent, with 4 per message.
func (c *Circuit) Queued() int { return c.tx.q.size() }

// Room is the octets that the send queue takes before it is full; a Send is taken whole while it is above 0.
func (c *Circuit) Room() int {
	if !c.open() {
		return 0
	}
	return c.level.cfg.QueueLimit - c.tx.q.size()
}

// open says that the program may send.
func (c *Circuit) open() bool {
	return !c.ended && !c.closing.on && (c.state == p4 || c.accepted)
}

// Accept answers an incoming call. userData is at most 128 octets, none if the call was without fast select.
func (c *Circuit) Accept(now time.Time, userData []byte) error {
	if len(userData) > maxUserData || len(userData) > 0 && !c.setup.fast {
		return ErrUserDataTooLong
	}
	if c.ended || c.accepted || c.caller || c.state != p2 && c.state != p5 {
		return ErrNotWaiting
	}
	c.accepted = true
	c.setup.userData = append([]byte(nil), userData...)
	c.level.schedule(c)
	return nil
}

// Send queues data, which is copied: with more, a piece of a sequence, else the end of one. q must be the same in a whole
// sequence. Empty data is legal. Errors: ErrClosed, ErrQ, and ErrFull only if Room was not above 0.
func (c *Circuit) Send(now time.Time, data []byte, q, more bool) error {
	switch {
	case !c.open():
		return ErrClosed
	case c.tx.open && q != c.tx.mark:
		return ErrQ
	case c.Room() <= 0:
		return ErrFull
	}
	c.tx.q.push(c.level.cfg.Pool, data, q, !more)
	c.tx.open, c.tx.mark = more, q
	c.tx.full = c.Room() <= 0
	c.level.data.put(c, c.wantsData())
	return nil
}

// Peek shows the next message for the program: a whole sequence, or with more set a piece of one, since it is longer than
// MaxMessage, or the buffer or the window is full. data is borrowed until the next call of Next or of the level.
func (c *Circuit) Peek() (data []byte, q, more, ok bool) {
	data, q, end, ok := c.rx.q.peek()
	if !ok || !c.readable() {
		c.rx.peeked = false
		return nil, false, false, false
	}
	if most := c.level.cfg.MaxMessage; len(data) > most {
		data, end = data[:most], false
	}
	c.rx.peeked, c.rx.n, c.rx.end = true, len(data), end
	return data, q, !end, true
}

// readable says that Peek has something to show.
func (c *Circuit) readable() bool {
	data, _, end, ok := c.rx.q.peek()
	if !ok {
		return false
	}
	cfg := &c.level.cfg
	return end || c.ended || len(data) >= cfg.MaxMessage || c.rx.q.size() >= cfg.ReceiveLimit ||
		(c.rx.vr-c.rx.pr)&127 >= c.rx.w
}

// Next removes the message that Peek showed last; without a Peek before it, it does nothing. It may give credit.
func (c *Circuit) Next(now time.Time) {
	if !c.rx.peeked {
		return
	}
	c.rx.peeked = false
	c.rx.q.take(c.level.cfg.Pool, c.rx.n, c.rx.end)
	c.level.account(c)
	c.level.credit(now, c)
}

// Interrupt sends 1 to 32 octets out of band. Errors: ErrClosed, ErrInterruptLength, ErrInterruptOutstanding while the
// last one is not confirmed.
func (c *Circuit) Interrupt(now time.Time, data []byte) error {
	switch {
	case !c.open():
		return ErrClosed
	case len(data) < 1 || len(data) > maxInterrupt:
		return ErrInterruptLength
	case c.interrupt.i2 || c.interrupt.n > 0:
		return ErrInterruptOutstanding
	}
	c.interrupt.n = uint8(copy(c.interrupt.octets[:], data))
	c.level.schedule(c)
	return nil
}

// Reset begins both directions anew (ISO 8208 8.1): what is queued to be sent is dropped, and received octets of a sequence
// that is not complete. No event follows. It does nothing outside d1.
func (c *Circuit) Reset(now time.Time, cause Cause, diag Diag) {
	if c.state != p4 || c.data != d1 || c.ended || c.closing.on {
		return
	}
	c.level.stats[Resets]++
	c.level.flush(c)
	c.level.enterD3(c, cause, diag)
}

// Clear ends the circuit at once and drops what is queued in both directions; the program lets go of it. userData, at most
// 128 octets, goes along where the call was with fast select. No event follows, not even of a Close under way. On a circuit
// that is over it only drops what was received. Out takes nothing today.
func (c *Circuit) Clear(now time.Time, cause Cause, diag Diag, userData []byte, _ *Out) {
	l := c.level
	if !c.ended {
		l.end(c)
		c.closing = closing{}
		l.startClear(c, cause, diag, userData)
	}
	l.dropReceived(c)
}

// Close ends the circuit when all that was sent has arrived (protocol.md 4, 'Close drains'). What is received from now on is
// acknowledged and discarded. Drained follows, or Cleared if the peer, a timer or the link ends it before. On a circuit that
// is over it only drops what was received.
func (c *Circuit) Close(now time.Time, cause Cause, diag Diag, userData []byte) {
	l := c.level
	if c.ended {
		l.dropReceived(c)
		return
	}
	if c.closing.on {
		return
	}
	c.closing = closing{on: true, cause: cause, diag: diag, userData: clipUserData(userData)}
	l.dropReceived(c)
	if c.state != p4 && !c.accepted {
		l.startClear(c, cause, diag, userData)
		return
	}
	c.closing.stall = now.Add(l.cfg.Timers.Drain)
	l.note(c.closing.stall)
	l.credit(now, c)
	l.drained(c)
}

func clipUserData(b []byte) []byte {
	return append([]byte(nil), b[:min(len(b), maxUserData)]...)
}

func (c *Circuit) wantsUrgent() bool {
	switch c.state {
	case p6:
		return true
	case p4:
		return c.data == d2 || c.data == d1 && (c.interrupt.j2 || c.interrupt.n > 0)
	}
	return false
}

func (c *Circuit) wantsControl() bool {
	switch c.state {
	case p2, p5:
		return c.accepted
	case p3, p7:
		return c.unsent
	case p4:
		return c.data == d3 && c.unsent || c.data == d1 && c.rx.due
	}
	return false
}

// wantsData says that a data packet can go: there is one, and the window is open. Where partly filled packets must not bear
// M, an open sequence waits until it fills one.
func (c *Circuit) wantsData() bool {
	if c.state != p4 || c.data != d1 || c.tx.rnr || (c.tx.vs-c.tx.lwe)&127 >= c.tx.w {
		return false
	}
	data, _, end, ok := c.tx.q.peek()
	return ok && (end || c.partial || len(data) >= c.tx.size)
}
