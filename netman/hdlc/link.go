package hdlc

import (
	"errors"
	"fmt"
	"time"
)

// Config is what both hellos settled about a link.
type Config struct {
	Headroom  int           // octets before the PDU in each frame of Out, for the caller
	N1        int           // largest PDU, in octets, that this side takes and would send
	SafeN1    int           // N1 above it is used only once a TEST frame of that size came back; 0: N1 is safe
	K         int           // frames this side may have outstanding: the peer's rw; at most MaxWindow
	RW        int           // frames the peer may have outstanding; at most MaxWindow
	Tolerance time.Duration // silence after which the link is down; 50 ms to 30 s, 0: 1 s
	Slab      *Slab         // buffers of at least Headroom + N1 octets
}

// state is one of doc.go's states.
type state uint8

const (
	adm    state = iota // asynchronous disconnected mode
	setup               // SABME sent
	proof               // up for the peer; TEST sent, its echo decides N1
	normal              // information transfer
	dConn               // DISC sent
)

var stateNames = [...]string{"ADM", "SETUP", "PROOF", "NORMAL", "D_CONN"}

// Link is one end of the link between two stations. Its methods have one caller at a time. It is not usable by its zero
// value: see NewLink.
type Link struct {
	cfg   Config
	state state
	stats Stats

	expect bool // a hello announced a SABME
	fresh  bool // nothing but SABME was heard since the link came up: another is the same one, repeated
	late   bool // the frame at hand was overtaken by one that was sent after it
	n1     int  // largest PDU this side sends

	send struct {
		va, vs, vm uint8                 // V(A) oldest unacknowledged; V(S) next to send; one past the newest ever sent
		window     [MaxWindow + 1][]byte // frames va to vm-1, each at its N(S) mod 64
		busy       bool                  // the peer sent RNR
		spare      []byte                // what Buffer showed and Send has not taken
		train      int                   // frames sent at a stretch, for P at its end
		again      int                   // halves of times that the answer to a P told that the frame V(A) was lost once more
		backAt     time.Time             // when the sender last went back to V(A); zero: never
	}
	pace struct { // working window, IEEE 802.2 annex on dynamic windows
		ww      int  // frames that may be outstanding now
		gained  int  // frames acknowledged since it last changed
		healing bool // frames before heal belong to the round trip that lost one
		heal    uint8
	}
	poll struct { // the one P=1 that may be outstanding
		await    bool      // AWAIT: F has not come
		at, last time.Time // when P was first sent, and last
		next     time.Time // an I frame has no P before
		vs       uint8     // V(S) behind it: the answer speaks for all frames before
		carried  bool      // by the frame vs-1 when it was first sent
		alone    bool      // sent when no answer to an earlier one could still come
		repaired bool      // the sender went back since: the answer is old news
		again    int       // times it was repeated
		stale    int       // answers in a row with an N(R) behind V(A)
	}
	recv struct {
		vr      uint8  // V(R)
		unacked int    // I frames that N(R) has not told of
		reject  bool   // REJECT: REJ sent for V(R)
		last    uint8  // the last N(S) heard in that gap
		busy    bool   // BUSY: SetBusy
		rr      []byte // an RR without F that has not left, in the turn of Out rrTurn: a newer N(R) takes its place
		rrTurn  uint64
	}
	time struct {
		t1, t2       time.Time     // zero: stopped
		heard        time.Time     // last valid frame of the peer
		judge        time.Time     // silence is not judged before
		srtt, rttvar time.Duration // of P until F; zero: not measured
		guess        bool          // srtt is of a repeated P: an upper bound
		tries        int           // SABME, DISC or TEST sent
	}
}

// Stats counts what happened on a link. All but the last three only grow.
type Stats struct {
	SentI, ResentI, ReceivedI uint64 // I frames sent first, sent again, taken in sequence
	SentREJ, ReceivedREJ      uint64
	SentRNR, ReceivedRNR      uint64
	Polls, T1Expired, Losses  uint64 // P=1 sent in S frames; T1 run out; times the working window was halved
	// Discarded, by cause.
	DuplicateI, OutOfOrderI, BusyI, EarlyI uint64 // had already; after a gap; own station busy; before N1 is proved
	StaleNR, CopiedREJ, LateF              uint64 // N(R) behind V(A); REJ for a gap already repaired; F that nobody awaits
	UnexpectedSABME, LooseDM, LooseUA      uint64 // no hello announced it; answers no poll; answers nothing
	Malformed, WrongState, WrongSAP        uint64 // sent FRMR; means nothing in this state; not for SAP 7E, or UI

	SRTT, T1 time.Duration
	Window   int // working window
}

// NewLink returns a link in the state ADM. Limits of protocol.md 3 are applied to cfg.
func NewLink(cfg Config) *Link {
	cfg.K = min(max(cfg.K, 1), MaxWindow)
	cfg.RW = min(max(cfg.RW, 1), MaxWindow)
	cfg.N1 = max(cfg.N1, leastN1)
	if cfg.SafeN1 <= 0 || cfg.SafeN1 > cfg.N1 {
		cfg.SafeN1 = cfg.N1
	}
	if cfg.Tolerance == 0 {
		cfg.Tolerance = defaultTolerance
	}
	cfg.Tolerance = min(max(cfg.Tolerance, leastTolerance), mostTolerance)
	if cfg.Slab == nil {
		cfg.Slab = NewSlab(cfg.Headroom + cfg.N1)
	}
	if cfg.Slab.size < cfg.Headroom+cfg.N1 {
		panic("hdlc: slab buffers smaller than headroom and N1")
	}
	l := &Link{cfg: cfg, n1: cfg.SafeN1}
	l.pace.ww = cfg.K
	return l
}

// Expect tells that a hello announced a new instance of the peer's end: its next SABME counts.
func (l *Link) Expect() { l.expect = true }

// Connect sets the link up by SABME. Event Up or Down follows. It does nothing unless the link is down.
func (l *Link) Connect(now time.Time, out *Out) {
	if l.state != adm {
		return
	}
	l.reset(out)
	l.state, l.time.tries = setup, 0
	l.request(now, SABME, out)
}

// Disconnect ends the link by DISC: Down(Local) follows at its answer, or when none came. What is not acknowledged is lost.
func (l *Link) Disconnect(now time.Time, out *Out) {
	if l.state == adm || l.state == dConn {
		return
	}
	l.reset(out)
	l.state, l.time.tries = dConn, 0
	l.request(now, DISC, out)
}

// Drop ends the link at once, without a word to the peer and without an event: for an interface that is gone.
func (l *Link) Drop(out *Out) {
	l.reset(out)
	l.state = adm
}

// Up tells whether packets may be sent: between the events Up and Down.
func (l *Link) Up() bool { return l.state == normal }

// Fresh tells whether nothing but SABME has been heard since the link was set up: who sent that may be nobody.
func (l *Link) Fresh() bool { return l.fresh }

// N1 is the largest PDU this side sends, in octets; settled when the link is up.
func (l *Link) N1() int { return l.n1 }

// State is the name of the state in IEEE 802.2, for status and tests.
func (l *Link) State() string { return stateNames[l.state] }

// Stats returns the counters and the measures of the moment.
func (l *Link) Stats() Stats {
	s := l.stats
	s.SRTT, s.T1, s.Window = l.time.srtt, l.t1(), l.pace.ww
	return s
}

// reset is where every setting up and every end begins: numbers zero, nothing outstanding, timers stopped.
func (l *Link) reset(out *Out) {
	for ; l.send.va != l.send.vm; l.send.va = next(l.send.va) {
		l.takeSent(l.send.va, out)
	}
	if l.send.spare != nil {
		out.release(l.cfg.Slab, l.send.spare)
	}
	l.send.va, l.send.vs, l.send.vm = 0, 0, 0
	l.send.busy, l.send.spare, l.send.train, l.send.again, l.send.backAt = false, nil, 0, 0, time.Time{}
	l.pace.ww, l.pace.gained, l.pace.healing = l.cfg.K, 0, false
	l.poll.await, l.poll.again, l.poll.repaired, l.poll.stale, l.poll.next = false, 0, false, 0, time.Time{}
	l.recv.vr, l.recv.unacked, l.recv.reject, l.recv.busy = 0, 0, false, false
	l.time.t1, l.time.t2 = time.Time{}, time.Time{}
}

// takeSent gives back the buffer of the frame with the number ns.
func (l *Link) takeSent(ns uint8, out *Out) {
	slot := &l.send.window[ns&MaxWindow]
	out.release(l.cfg.Slab, *slot)
	*slot = nil
}

// begin enters information transfer, or the proof of N1 before it, once UA was sent or received.
func (l *Link) begin(now time.Time, out *Out) {
	l.reset(out)
	l.expect, l.fresh, l.n1 = false, true, l.cfg.SafeN1
	l.time.heard, l.time.judge = now, now
	if l.cfg.N1 > l.cfg.SafeN1 {
		l.state, l.time.tries = proof, 0
		l.sendTest(now, out)
		return
	}
	l.up(out)
}

// up tells layer 3 that it may send.
func (l *Link) up(out *Out) {
	l.state = normal
	out.Events = append(out.Events, Event{Kind: Up})
}

// down ends the link and tells layer 3 why.
func (l *Link) down(reason Reason, out *Out) {
	l.reset(out)
	l.state = adm
	out.Events = append(out.Events, Event{Kind: Down, Reason: reason})
}

// next is n+1 modulo 128.
func next(n uint8) uint8 { return (n + 1) % modulus }

// ahead is how far b is ahead of a modulo 128, 0 to 127.
func ahead(a, b uint8) int { return int((b - a) % modulus) }

// Check asserts the invariants of the machine; an error is a fault of this package.
func (l *Link) Check() error {
	outstanding, sent := ahead(l.send.va, l.send.vm), ahead(l.send.va, l.send.vs)
	held := 0
	for _, b := range l.send.window {
		if b != nil {
			held++
		}
	}
	for n := l.send.va; n != l.send.vm; n = next(n) {
		if l.send.window[n&MaxWindow] == nil {
			return fmt.Errorf("frame %d is outstanding and not held", n)
		}
	}
	switch {
	case sent > outstanding:
		return fmt.Errorf("V(A) %d, V(S) %d, newest %d: out of order", l.send.va, l.send.vs, l.send.vm)
	case outstanding > l.cfg.K:
		return fmt.Errorf("%d frames outstanding, k is %d", outstanding, l.cfg.K)
	case held != outstanding:
		return fmt.Errorf("%d buffers held for %d frames", held, outstanding)
	case l.pace.ww < min(leastWindow, l.cfg.K) || l.pace.ww > l.cfg.K:
		return fmt.Errorf("working window %d, k is %d", l.pace.ww, l.cfg.K)
	case l.recv.unacked > 0 != !l.time.t2.IsZero():
		return fmt.Errorf("%d frames to acknowledge, T2 %v", l.recv.unacked, l.time.t2)
	case l.recv.unacked >= l.ackEvery():
		return fmt.Errorf("%d frames not acknowledged", l.recv.unacked)
	case l.n1 != l.cfg.N1 && l.n1 != l.cfg.SafeN1:
		return fmt.Errorf("N1 %d is neither %d nor %d", l.n1, l.cfg.N1, l.cfg.SafeN1)
	}
	return l.checkState(outstanding, sent)
}

// checkState asserts what holds in some states only.
func (l *Link) checkState(outstanding, sent int) error {
	t1 := !l.time.t1.IsZero()
	if l.state != normal && outstanding > 0 {
		return errors.New("frames outstanding on a link that is not up")
	}
	switch l.state {
	case adm:
		if t1 || l.poll.await || !l.Deadline().IsZero() {
			return errors.New("a timer runs in ADM")
		}
	case setup, dConn, proof:
		if !t1 {
			return fmt.Errorf("%s without T1", l.State())
		}
	case normal:
		if want := outstanding > 0 || l.poll.await || l.send.busy; t1 != want {
			return fmt.Errorf("%d outstanding, await %v, busy %v: T1 %v", outstanding, l.poll.await, l.send.busy, l.time.t1)
		}
		if sent < outstanding && sent < l.pace.ww && !l.send.busy {
			return fmt.Errorf("%d frames to send again, window open", outstanding-sent)
		}
	}
	return nil
}
