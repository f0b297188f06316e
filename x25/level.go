package x25

import (
	"errors"
	"fmt"
	"time"
)

// levelState is the state of the restart procedure.
type levelState uint8

const (
	down levelState = iota // layer 2 is not up
	r1                     // packet layer ready
	r2                     // the peer's restart is being served: the confirmation is to be sent
	r3                     // our restart is outstanding
)

func (s levelState) String() string { return [...]string{"down", "r1", "r2", "r3"}[s] }

// Level is the packet layer of one link. All its methods, and those of its circuits, belong to one owner.
type Level struct {
	cfg   Config
	state levelState
	table table
	live  int // circuits that a program holds

	restart struct {
		unsent  bool // our request is to be sent
		sent    int  // our requests since r3 was entered
		cause   Cause
		diag    Diag
		surplus int // confirmations that repeated requests may still bring
		t20     time.Time
	}
	diagnostic struct {
		due  bool
		diag Diag
		head [headerLen]byte // of the packet at fault
		n    int
	}

	urgent, control, data list // circuits with something to send, in the order they are served
	acks                  list // circuits with an RR held back, earliest first
	next                  time.Time
	stats                 Stats
}

// NewLevel returns a level in the state before LinkUp.
func NewLevel(cfg Config) *Level {
	return &Level{
		cfg: cfg.withDefaults(), urgent: list{which: inUrgent}, control: list{which: inControl}, data: list{which: inData},
		acks: list{which: inAcks},
	}
}

// Out collects, in order, what the owner must know.
type Out struct{ Events []Event }

// Reset empties the Out once its events are handled.
func (o *Out) Reset() {
	clear(o.Events)
	o.Events = o.Events[:0]
}

// EventKind says what an Event reports.
type EventKind uint8

// Events. The life of a circuit ends with exactly one of: Cleared, Drained, or the owner's call of Clear.
const (
	Restarted          EventKind = iota + 1 // the level is ready (r1); calls that waited go out
	Incoming                                // a call: Accept, Clear or Close it; UserData is the call user data
	Connected                               // the call of this side was accepted; UserData is what came with it
	Cleared                                 // by the peer, a timer, the link, or for memory; what is queued can still be read
	Data                                    // there is something to Peek at where there was nothing
	Room                                    // the send queue fell below its limit after being at it, or ran empty
	Reset                                   // both directions begin anew, data may be lost; on an ended circuit: its queue was dropped for memory
	Interrupt                               // UserData came out of band
	InterruptConfirmed                      // the last Interrupt of this side arrived
	Drained                                 // Close is complete: all was delivered and the clear confirmed, or the peer does not answer
)

func (k EventKind) String() string {
	names := [...]string{"none", "restarted", "incoming", "connected", "cleared", "data", "room", "reset", "interrupt",
		"interrupt confirmed", "drained"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is something the owner must know. Circuit is nil for Restarted. UserData is borrowed from the packet handled.
// Cause and Diag are of Cleared and Reset.
type Event struct {
	Kind     EventKind
	Circuit  *Circuit
	Cause    Cause
	Diag     Diag
	UserData []byte
}

// What the methods for programs report.
var (
	ErrNoChannel            = errors.New("x25: no logical channel available")
	ErrUserDataTooLong      = errors.New("x25: more than 128 octets of user data")
	ErrClosed               = errors.New("x25: circuit is not in data transfer")
	ErrFull                 = errors.New("x25: send queue is full")
	ErrQ                    = errors.New("x25: Q changed inside a sequence")
	ErrInterruptOutstanding = errors.New("x25: interrupt not confirmed yet")
	ErrInterruptLength      = errors.New("x25: an interrupt has 1 to 32 octets")
	ErrNotWaiting           = errors.New("x25: circuit does not wait to be accepted")
)

// LinkUp begins the layer: a restart request clears whatever the peer had (ISO 8208 3.10, 4.1).
func (l *Level) LinkUp(now time.Time, out *Out) {
	if l.state != down {
		l.clearAll(CauseOutOfOrder, DiagNone, out)
	}
	l.restart.surplus = 0
	l.enterR3(RestartDTE, DiagOperational)
}

// LinkDown ends every circuit, calls that wait included: Cleared 09 (ISO 8208 10). Nothing is sent.
func (l *Level) LinkDown(now time.Time, out *Out) {
	l.table.each(func(c *Circuit) {
		l.finish(c, Cleared, CauseOutOfOrder, DiagNone, nil, out)
		l.free(c)
	})
	l.state = down
	l.restart.unsent, l.restart.t20 = false, time.Time{}
	l.diagnostic.due = false
	l.next = time.Time{}
}

// Call asks for a circuit. The call request waits until the level is r1 and layer 2 pulls it; T21 runs from now on.
// userData is at most 128 octets.
func (l *Level) Call(now time.Time, userData []byte) (*Circuit, error) {
	if len(userData) > maxUserData {
		return nil, ErrUserDataTooLong
	}
	lci, ok := l.freeLCI()
	if !ok || l.live >= l.cfg.MaxCircuits {
		l.stats[DropNoChannel]++
		return nil, ErrNoChannel
	}
	c := l.newCircuit(lci, p3)
	c.caller, c.unsent = true, true
	c.setup.userData = append([]byte(nil), userData...)
	c.timer = now.Add(l.cfg.Timers.T21)
	l.note(c.timer)
	l.stats[Calls]++
	l.schedule(c)
	return c, nil
}

// Ready says that there is a packet to send: AppendNext will give it.
func (l *Level) Ready() bool {
	switch {
	case l.state == down:
		return false
	case l.restart.unsent || l.state == r2 || l.diagnostic.due:
		return true
	}
	return l.state == r1 && (l.urgent.head != nil || l.control.head != nil || l.data.head != nil)
}

// Len is the number of circuits that a program holds.
func (l *Level) Len() int { return l.live }

// Circuit is the circuit on a channel, nil where there is none.
func (l *Level) Circuit(lci uint16) *Circuit { return l.table.get(lci) }

// Each calls fn for each circuit that a program holds, by rising LCI. fn may clear any of them.
func (l *Level) Each(fn func(*Circuit)) {
	l.table.each(func(c *Circuit) {
		if !c.ended {
			fn(c)
		}
	})
}

// State is the state of the restart procedure: "r1" when calls may go; "down" without a link.
func (l *Level) State() string { return l.state.String() }

// Stats are the counters.
func (l *Level) Stats() Stats { return l.stats }

// enterR3 begins the restart procedure (ISO 8208 4.1).
func (l *Level) enterR3(cause Cause, diag Diag) {
	l.state = r3
	r := &l.restart
	r.unsent, r.sent, r.cause, r.diag, r.t20 = true, 0, cause, diag, time.Time{}
}

// enterR1 is when both sides know of the restart.
func (l *Level) enterR1(out *Out) {
	l.state = r1
	l.restart.t20 = time.Time{}
	l.restart.unsent = false
	l.rest()
	out.Events = append(out.Events, Event{Kind: Restarted})
}

// rest spares an idle level the deadlines of timers that were stopped.
func (l *Level) rest() {
	if l.table.n == 0 {
		l.next = l.restart.t20
	}
}

// clearAll ends every circuit that the peer knows of, for a restart. Calls not sent yet stay.
func (l *Level) clearAll(cause Cause, diag Diag, out *Out) {
	l.table.each(func(c *Circuit) {
		if c.state == p3 && c.sent == 0 {
			return
		}
		l.finish(c, Cleared, cause, diag, nil, out)
		l.free(c)
	})
}

// freeLCI is the highest free channel for the DTE, the lowest for the DCE (ISO 8208 3.7).
func (l *Level) freeLCI() (uint16, bool) {
	if l.cfg.Role == DTE {
		return l.table.highest(l.cfg.MaxLCI)
	}
	return l.table.lowest(l.cfg.MaxLCI)
}

// newCircuit puts a circuit that a program will hold on a channel.
func (l *Level) newCircuit(lci uint16, s callState) *Circuit {
	c := &Circuit{level: l, lci: lci, state: s}
	l.table.set(lci, c)
	l.live++
	return c
}

// newEnding puts a circuit that nobody holds on a channel, for a clearing procedure to end on.
func (l *Level) newEnding(lci uint16) *Circuit {
	c := &Circuit{level: l, lci: lci, state: p1, ended: true}
	l.table.set(lci, c)
	return c
}

// note remembers that a timer is due at t.
func (l *Level) note(t time.Time) {
	if !t.IsZero() && (l.next.IsZero() || t.Before(l.next)) {
		l.next = t
	}
}

// schedule puts the circuit into the lists it belongs to, and out of the others.
func (l *Level) schedule(c *Circuit) {
	l.urgent.put(c, c.wantsUrgent())
	l.control.put(c, c.wantsControl())
	l.data.put(c, c.wantsData())
}

// table finds circuits by LCI, in blocks that are made when first needed.
type table struct {
	blocks [64]*[64]*Circuit
	used   [64]uint8
	n      int
}

func (t *table) get(lci uint16) *Circuit {
	if b := t.blocks[lci>>6]; b != nil {
		return b[lci&63]
	}
	return nil
}

func (t *table) set(lci uint16, c *Circuit) {
	if t.blocks[lci>>6] == nil {
		t.blocks[lci>>6] = new([64]*Circuit)
	}
	t.blocks[lci>>6][lci&63] = c
	t.used[lci>>6]++
	t.n++
}

func (t *table) clear(lci uint16) {
	t.blocks[lci>>6][lci&63] = nil
	t.used[lci>>6]--
	t.n--
}

func (t *table) lowest(top int) (uint16, bool) {
	for lci := 1; lci <= top; lci++ {
		if lci&63 == 0 && t.used[lci>>6] == 64 {
			lci += 63
		} else if t.get(uint16(lci)) == nil {
			return uint16(lci), true
		}
	}
	return 0, false
}

func (t *table) highest(top int) (uint16, bool) {
	for lci := top; lci >= 1; lci-- {
		if lci&63 == 63 && t.used[lci>>6] == 64 {
			lci -= 63
		} else if t.get(uint16(lci)) == nil {
			return uint16(lci), true
		}
	}
	return 0, false
}

// each calls fn for each circuit by rising LCI. fn may free circuits.
func (t *table) each(fn func(*Circuit)) {
	for i, b := range t.blocks {
		if b == nil || t.used[i] == 0 {
			continue
		}
		for _, c := range b {
			if c != nil {
				fn(c)
			}
		}
	}
}

// The lists that a circuit can be in.
const (
	inHolders = iota // of a Budget, whose zero list it is
	inUrgent
	inControl
	inData
	inAcks
	lists
)

type links struct {
	prev, next *Circuit
	in         bool
}

// list is a queue of circuits, linked through them.
type list struct {
	head, tail *Circuit
	which      uint8
}

// put has c in the list, at the tail if it was not there, or not in it.
func (q *list) put(c *Circuit, in bool) {
	k := &c.links[q.which]
	if k.in == in {
		return
	}
	k.in = in
	if in {
		k.prev, k.next = q.tail, nil
		if q.tail != nil {
			q.tail.links[q.which].next = c
		} else {
			q.head = c
		}
		q.tail = c
		return
	}
	if k.prev != nil {
		k.prev.links[q.which].next = k.next
	} else {
		q.head = k.next
	}
	if k.next != nil {
		k.next.links[q.which].prev = k.prev
	} else {
		q.tail = k.prev
	}
	k.prev, k.next = nil, nil
}
