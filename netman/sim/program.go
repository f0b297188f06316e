package sim

import (
	"errors"
	"fmt"
	"time"

	"dnet/netman/node"
	"dnet/x25"
)

// maxSend is the most that a program can write at once: one datagram at the door.
const maxSend = 65535

// Diagnostics that tell the ends of simulated programs apart.
const (
	diagAborted   x25.Diag = 0x77
	diagRefused   x25.Diag = 0x42
	diagCancelled x25.Diag = 0x78
)

// request is one call, and what became of it.
type request struct {
	id       int
	service  string
	caller   *program
	servers  []*program // to whom it came
	accepted *program
	outcome  x25.Cause // of a call that was not answered
	failed   bool
}

// finish is when a program closes.
type finish uint8

const (
	whenWritten finish = iota // all it had to say is written
	whenRead                  // and it has read all that the other one had to say
	never                     // it leaves that to the other one
)

// plan is what a program does with its circuit.
type plan struct {
	writes     []write
	pace       time.Duration // between two writes
	read       time.Duration // between two reads; 0: it reads at once
	stall      time.Duration // it reads nothing before
	interrupts int
	every      time.Duration // between two interrupts
	resets     []time.Duration
	abort      time.Duration // it clears the circuit then; 0: it does not
	patience   time.Duration // a caller gives up then, if it was not answered; 0: it does not
	deaf       bool          // once cleared, it does not read what is left
	finish     finish
	diag       x25.Diag // of its close
}

// write is one message to be written.
type write struct {
	n      int
	q      bool
	pieces bool // by several writes, with M
}

// program is one end of a circuit.
type program struct {
	w       *World
	m       *Machine
	c       line
	r       *request
	service *service // nil: the caller
	plan    plan
	out, in *flow

	next      int  // of plan.writes
	waiting   bool // for its pace
	reading   bool // for its read pace
	begun     time.Duration
	connected bool
	closing   bool
	ended     bool // Cleared was heard
	aborted   bool
	gone      bool
	killed    bool // with the process of its complex server
	cause     x25.Cause
	diag      x25.Diag
	told      string // why the circuit was cleared
	text      string // of its own close
	toSend    int    // interrupts
	reset     bool   // its end of the circuit was reset at least once
	lost      bool   // what it had not read of a circuit that is over is lost for want of memory
}

// call has the machine call a service.
func (m *Machine) call(name string, p plan) *request {
	w := m.w
	w.Stats.Calls++
	r := w.newRequest(m, name)
	r.caller.plan = p
	m.turn(func(now time.Time) {
		c, err := m.n.Call(now, name, fmt.Sprintf("r%d", r.id), false, &m.out)
		r.caller.asked(c, err)
	})
	if p.patience > 0 {
		m.after(p.patience, r.caller.cancel)
	}
	return r
}

// locate has the machine ask who offers a service, without calling it.
func (m *Machine) locate(name string) {
	r := m.w.newRequest(m, name)
	m.turn(func(now time.Time) {
		c, err := m.n.Locate(now, name, &m.out)
		r.caller.asked(c, err)
	})
}

// newRequest is one of a program on the machine.
func (w *World) newRequest(m *Machine, name string) *request {
	r := &request{id: len(w.requests), service: name}
	w.requests = append(w.requests, r)
	r.caller = w.newProgram(m, nil, r, nil)
	return r
}

// asked: the node has taken the request, as it must.
func (p *program) asked(c *node.Circuit, err error) {
	if err != nil {
		p.w.failf("%s: %v", p, err)
	}
	p.c, c.User = c, p
}

// machine is the one that the caller's circuit is said to lead to.
func (p *program) machine() string { return p.c.(*node.Circuit).Machine }

func (w *World) newProgram(m *Machine, c line, r *request, s *service) *program {
	p := &program{w: w, m: m, c: c, r: r, service: s, out: newFlow(), in: newFlow()}
	w.open++
	m.programs = append(m.programs, p)
	return p
}

func (p *program) String() string {
	role := "client"
	if p.service != nil {
		role = "server"
	}
	return fmt.Sprintf("r%d %s on %s", p.r.id, role, p.m.name)
}

func (p *program) describe() string {
	held, room := -1, 0
	if p.c != nil {
		held = p.c.Held()
		if p.connected {
			room = p.c.Room()
		}
	}
	return fmt.Sprintf("%s: %s lci %d connected %v closing %v ended %v; wrote %d of %d; room %d, held %d; waits %v %v",
		p, p.r.service, p.c.LCI(), p.connected, p.closing, p.ended, p.next, len(p.plan.writes), room, held, p.waiting, p.reading)
}

// spliced says that the circuit is one of a complex server: two netmans confirm its interrupts, so that a confirmation tells nothing of
// the other program, and one that comes too soon after another replaces it.
func (p *program) spliced() bool {
	if p.service != nil {
		return p.service.complex
	}
	return p.r.accepted != nil && p.r.accepted.service.complex
}

// other is the program at the other end, nil before the call was accepted.
func (p *program) other() *program {
	if p.service == nil {
		return p.r.accepted
	}
	return p.r.caller
}

// release is the end of the program.
func (p *program) release() {
	if p.gone {
		return
	}
	p.gone = true
	p.w.open--
	for i, each := range p.m.programs {
		if each == p {
			p.m.programs = append(p.m.programs[:i], p.m.programs[i+1:]...)
			break
		}
	}
	if s := p.service; s != nil {
		s.running--
		if p.m.n != nil {
			p.m.n.SetBusy(s.name, s.running >= s.max)
		}
	}
}

// accept is when the server of an incoming call runs.
func (p *program) accept(now time.Time) {
	if p.gone || p.ended {
		return
	}
	if err := p.c.Accept(now, &p.m.out); err != nil {
		p.w.failf("%s: accept: %v", p, err)
	}
	r := p.r
	if p.w.Corrupt {
		r = &request{id: r.id, service: r.service, caller: r.caller}
	} else if r.accepted != nil {
		p.w.failf("%s: the call was accepted by the %s before", p, r.accepted)
	}
	if r.accepted = p; r.caller != nil && !p.w.Corrupt {
		p.in, p.out = r.caller.out, r.caller.in
	}
	p.start(now)
}

// refuse is when the server cannot run.
func (p *program) refuse(now time.Time) {
	if !p.gone && !p.ended {
		p.c.Clear(now, x25.CauseDTE, diagRefused, "refused", &p.m.out)
		p.release()
	}
}

// cancel is when the caller loses patience.
func (p *program) cancel(now time.Time) {
	if !p.gone && !p.connected {
		p.c.Clear(now, x25.CauseDTE, diagCancelled, "cancelled", &p.m.out)
		p.aborted = true
		p.release()
	}
}

// start begins what the program does with its circuit.
func (p *program) start(now time.Time) {
	p.connected, p.begun = true, p.w.now
	p.toSend = p.plan.interrupts
	if p.toSend > 0 {
		p.m.after(p.plan.every, p.interrupt)
	}
	for _, d := range p.plan.resets {
		p.m.after(d, p.doReset)
	}
	if p.plan.abort > 0 {
		p.m.after(p.plan.abort, p.abort)
	}
	if p.plan.finish == whenRead {
		p.m.after(time.Second, p.tick)
	}
	p.read(now)
	p.write(now)
}

// tick looks whether the program is done, for what a reset took away raises no event.
func (p *program) tick(now time.Time) {
	if !p.gone && !p.ended && !p.closing {
		p.done(now)
		p.m.after(time.Second, p.tick)
	}
}

// handle takes an event of the circuit.
func (p *program) handle(ev node.Event) {
	if p.gone {
		p.w.failf("%s: %s after its end", p, eventNames[ev.Kind])
	}
	now := p.w.time()
	switch ev.Kind {
	case node.Connected:
		p.answered()
		p.start(now)
	case node.Data:
		p.read(now)
	case node.Room:
		p.write(now)
	case node.Interrupt:
		p.interrupted(ev.Octets)
	case node.InterruptConfirmed:
		p.confirmed()
	case node.Reset:
		p.checkReset(ev)
		p.write(now)
	case node.Drained:
		if !p.closing {
			p.w.failf("%s: drained, and it did not close", p)
		}
		p.w.Stats.Ended++
		p.release()
	case node.Cleared:
		p.cleared(now, ev)
	case node.Located:
		p.located()
	default:
		p.w.failf("%s: unknown event %d", p, ev.Kind)
	}
}

// answered: the call was accepted, by the one server that says so.
func (p *program) answered() {
	p.w.Stats.Connected++
	s := p.r.accepted
	switch {
	case p.w.Corrupt:
	case p.service != nil || p.connected:
		p.w.failf("%s: connected twice, or not the caller", p)
	case s == nil || s.m.name != p.machine():
		p.w.failf("%s: connected to %s, but accepted by %v", p, p.machine(), s)
	}
}

// located: the machine that is named offers the service.
func (p *program) located() {
	for _, m := range p.w.Machines {
		for _, s := range m.services {
			if m.name == p.machine() && s.name == p.r.service {
				p.release()
			}
		}
	}
	if !p.gone && !p.w.Corrupt {
		p.w.failf("%s: %s is said to offer %s", p, p.machine(), p.r.service)
	}
	p.release()
}

// write writes while the circuit takes it.
func (p *program) write(now time.Time) {
	for p.connected && !p.ended && !p.closing && !p.waiting && p.next < len(p.plan.writes) {
		p.m.mark()
		if p.c.Room() <= 0 {
			return
		}
		p.writePiece(now)
	}
	if p.next == len(p.plan.writes) {
		p.out.done = true
		p.done(now)
	}
}

// writePiece writes the next message, or a piece of it.
func (p *program) writePiece(now time.Time) {
	w, out := p.w, p.out
	msg := p.plan.writes[p.next]
	m := out.open()
	if m == nil {
		m = out.begin(w.rng.IntN(textLen-msg.n), msg.q)
	} else if w.chance(0.05) {
		if err := p.c.Send(now, nil, !m.q, false, &p.m.out); !errors.Is(err, x25.ErrQ) && p.c.Room() > 0 {
			w.failf("%s: Q changed inside a sequence: %v", p, err)
		}
		return
	}
	n := msg.n - m.n
	if msg.pieces {
		n = w.rng.IntN(n + 1)
	}
	n = min(n, maxSend)
	piece := w.text[m.from+m.n : m.from+m.n+n]
	m.n += n
	more := m.n < msg.n || msg.pieces && w.chance(0.2)
	m.whole = !more
	if err := p.c.Send(now, piece, msg.q, more, &p.m.out); err != nil {
		w.failf("%s: write: %v", p, err)
	}
	w.Stats.Octets += n
	if more {
		return
	}
	w.Stats.Messages++
	p.next++
	if p.plan.pace > 0 {
		p.waiting = true
		p.m.after(w.between(0, p.plan.pace), func(now time.Time) {
			p.waiting = false
			if !p.gone {
				p.write(now)
			}
		})
	}
}

// done closes the circuit if the program has nothing left to do.
func (p *program) done(now time.Time) {
	if !p.connected || p.ended || p.closing || p.next < len(p.plan.writes) || p.plan.finish == never && !p.w.Corrupt {
		return
	}
	if p.plan.finish == whenRead && !p.w.Corrupt && !(p.in.done && (p.in.complete() || p.in.unsure())) {
		return
	}
	p.close(now)
}

// close ends the circuit when all that was written has arrived.
func (p *program) close(now time.Time) {
	p.closing = true
	p.text = fmt.Sprintf("end of %d", p.r.id)
	p.c.Close(now, x25.CauseDTE, p.plan.diag, p.text, &p.m.out)
	if _, _, _, ok := p.c.Peek(); ok {
		p.w.failf("%s: something to read after close", p)
	}
}

// abort clears the circuit at once.
func (p *program) abort(now time.Time) {
	if p.gone || p.ended || p.closing {
		return
	}
	p.aborted = true
	p.c.Clear(now, x25.CauseDTE, diagAborted, "aborted", &p.m.out)
	p.release()
}

// read reads what has come, at the program's pace; when the circuit is over and all is read, that was it.
func (p *program) read(now time.Time) {
	for p.connected && !p.closing && !p.reading && !p.gone {
		if wait := p.begun + p.plan.stall - p.w.now; wait > 0 {
			p.readLater(wait)
			return
		}
		p.m.mark()
		data, q, more, ok := p.c.Peek()
		if !ok {
			break
		}
		if !p.w.Corrupt && !p.in.take(p.w.text, data, q, more) {
			p.w.failf("%s: read %d octets, Q %v, M %v: not what comes next, at %v of %d epochs", p, len(data), q, more, p.in.at, len(p.in.epochs))
		}
		p.c.Next(now, &p.m.out)
		if p.plan.read > 0 {
			p.readLater(p.w.between(0, p.plan.read))
		}
	}
	switch {
	case p.gone || p.reading || !p.connected:
	case p.ended:
		p.bye()
	default:
		p.done(now)
	}
}

func (p *program) readLater(d time.Duration) {
	p.reading = true
	p.m.after(d, func(now time.Time) {
		p.reading = false
		if !p.gone {
			p.read(now)
		}
	})
}

// cleared: the circuit is over. What has come is read first.
func (p *program) cleared(now time.Time, ev node.Event) {
	p.ended, p.cause, p.diag, p.told = true, ev.Cause, ev.Diag, ev.Text
	p.w.Stats.Ended++
	if !p.w.Corrupt {
		p.checkCleared(ev)
	}
	switch {
	case !p.connected:
		p.r.failed, p.r.outcome = true, ev.Cause
		p.w.Stats.Refused++
		p.release()
	case p.closing:
		p.release()
	case p.plan.deaf:
		p.c.Clear(now, x25.CauseDTE, 0, "", &p.m.out)
		p.release()
	default:
		p.read(now)
	}
}

// bye: all has been read. If the other end closed, that must be all that it wrote.
func (p *program) bye() {
	other := p.other()
	sure := !p.w.Corrupt && !p.lost && !p.in.unsure() && (other == nil || !other.killed)
	if sure && p.cause == x25.CauseDTE && other != nil && other.closing && p.diag == other.plan.diag && !p.in.complete() {
		p.w.failf("%s: read up to %v, but the other end wrote %d epochs, %d messages in the last, and closed", p, p.in.at,
			len(p.in.epochs), len(p.in.epochs[len(p.in.epochs)-1]))
	}
	p.release()
}

// doReset has the program reset its circuit.
func (p *program) doReset(now time.Time) {
	if p.gone || p.ended || p.closing {
		return
	}
	p.m.mark()
	if p.c.Reset(now, 0, &p.m.out) {
		p.markReset()
		p.write(now)
	}
}

// markReset tells the ledger that this end begins anew.
func (p *program) markReset() {
	p.reset = true
	p.out.resetWriter()
	p.in.resetReader(p.spliced())
}

// interrupt sends one every so often.
func (p *program) interrupt(now time.Time) {
	if !p.gone && !p.ended && !p.closing && p.toSend > 0 {
		p.sendInterrupt(now)
		p.m.after(p.plan.every, p.interrupt)
	}
}

// sendInterrupt sends one if there is one left to send; while the last one is outstanding that must be an error.
func (p *program) sendInterrupt(now time.Time) {
	w, out := p.w, p.out
	if p.toSend == 0 {
		return
	}
	p.m.mark()
	n := 1 + w.rng.IntN(32)
	octets := append([]byte{byte(len(out.interrupts) + 1)}, w.text[n:2*n-1]...)
	err := p.c.Interrupt(now, octets, &p.m.out)
	switch {
	case err == nil && out.outstanding:
		w.failf("%s: a second interrupt was taken", p)
	case err == nil:
		out.interrupts, out.outstanding = append(out.interrupts, octets), true
		w.Stats.Interrupts++
		p.toSend--
	case errors.Is(err, x25.ErrInterruptOutstanding) && out.outstanding:
	case errors.Is(err, x25.ErrClosed): // Cleared is on its way
	default:
		w.failf("%s: interrupt: %v, outstanding %v", p, err, out.outstanding)
	}
}

// interrupted: one came. It must be the next one, or after a reset a later one.
func (p *program) interrupted(octets []byte) {
	in := p.in
	if p.w.Corrupt {
		return
	}
	for i := in.delivered; i < len(in.interrupts); i++ {
		if string(in.interrupts[i]) == string(octets) {
			in.delivered = i + 1
			return
		}
		if !p.reset && !p.spliced() {
			break
		}
	}
	p.w.failf("%s: interrupt %x, after %d of %d", p, octets, in.delivered, len(in.interrupts))
}

// markConfirmed tells the ledger that the last interrupt was confirmed.
func (p *program) markConfirmed() {
	out := p.out
	if !out.outstanding && !p.w.Corrupt {
		p.w.failf("%s: an interrupt was confirmed, and none is outstanding", p)
	}
	out.outstanding = false
	out.confirmed = append(out.confirmed, len(out.interrupts))
}

// confirmed: the other end's netman has the interrupt, and so has its program.
func (p *program) confirmed() {
	out, other := p.out, p.other()
	n := out.confirmed[0]
	out.confirmed = out.confirmed[1:]
	if !p.w.Corrupt && !p.spliced() && !other.gone && !other.closing && !other.ended && out.delivered < n {
		p.w.failf("%s: interrupt %d was confirmed; %d were delivered", p, n, out.delivered)
	}
	if p.w.chance(0.5) && !p.ended && !p.closing {
		p.sendInterrupt(p.w.time()) // one that waited, as netman's endpoints have
	}
}
