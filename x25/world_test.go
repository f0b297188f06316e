package x25

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// The world: two levels on a link that keeps order and loses nothing while it is up, with delays, a link that goes down and
// up, slow readers, programs that write, interrupt and close whenever they like, and limits down to 1. Everything comes from
// one seed. After every step Check holds on both sides, and the models of the programs find each message whole, in order,
// once; at the end nothing is left.

// message k of one end of a call: its length and mark are remembered, its octets are a function of where it belongs.
type message struct {
	n int
	q bool
}

func octet(call uint32, end, k, i int) byte { return byte(int(call)*131 + end*67 + k*29 + i*7 + i>>8) }

// program is the owner of one end of a circuit.
type program struct {
	w        *world
	side     int // of the level
	call     uint32
	caller   bool
	c        *Circuit
	other    *program
	sent     []message
	left     int // messages still to write
	piece    []byte
	pieceQ   bool
	got      int // whole messages read
	current  int // octets of the one being read
	sentInts int
	gotInts  int
	answerAt time.Time // when an incoming call is answered
	paused   time.Time // the reader sleeps until then
	up       bool
	closing  bool
	over     bool // its circuit's life ended; how often is counted
	ends     int
	cause    Cause
	diag     Diag
	resets   int
	checked  bool
}

type onWire struct {
	at     time.Time
	packet []byte
}

type world struct {
	t         *testing.T
	rng       *rand.Rand
	now       time.Time
	levels    [2]*Level
	outs      [2]Out
	wire      [2][]onWire // by receiving side
	up        [2]bool
	upAt      [2]time.Time
	programs  []*program
	byCall    map[uint32]*program
	calls     uint32
	mode      string
	maxLength int
	messages  int
	healing   bool
	cfg       [2]Config
	trace     []string
	total     map[string]uint64 // what happened in all worlds
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Logf("%s", strings.Join(w.trace[max(0, len(w.trace)-30):], "\n"))
	w.t.Fatalf("%s at %v: %s", w.mode, w.now.Sub(epoch), fmt.Sprintf(format, args...))
}

func (w *world) log(format string, args ...any) {
	if len(w.trace) > 4096 {
		w.trace = append(w.trace[:0], w.trace[2048:]...)
	}
	w.trace = append(w.trace, fmt.Sprintf("%v ", w.now.Sub(epoch))+fmt.Sprintf(format, args...))
}

func newWorld(t *testing.T, seed int64) *world {
	w := &world{t: t, rng: rand.New(rand.NewSource(seed)), now: epoch, byCall: map[uint32]*program{}}
	modes := []string{"plain", "small", "ones", "resets", "budget", "restarts"}
	w.mode = modes[int(seed)%len(modes)]
	w.maxLength, w.messages = 4000, 12
	pool, budget := NewPool(), &Budget{Limit: 64 << 20}
	for i := range w.levels {
		cfg := Config{Role: Role(i), MaxPacket: 1493}
		switch w.mode {
		case "plain":
			cfg.MaxPacket = []int{1493, 8993, 400}[w.rng.Intn(3)]
			w.maxLength = 65535
		case "small":
			cfg.MaxUserData, cfg.Window = 128, 2
			w.maxLength, w.messages = 65535, 4
		case "ones":
			cfg.MaxUserData, cfg.Window, cfg.QueueLimit, cfg.ReceiveLimit, cfg.MaxMessage, cfg.MaxCircuits, cfg.MaxLCI =
				w.oneOrTwo(), w.oneOrTwo(), w.oneOrTwo(), w.oneOrTwo(), w.oneOrTwo(), w.oneOrTwo(), 1+int(seed/6)%2
			w.maxLength = 20
		case "budget":
			budget.Limit = 64 << 10
			w.maxLength = 30000
		}
		cfg.Pool, cfg.Budget = pool, budget
		w.cfg[i] = cfg
		w.levels[i] = NewLevel(cfg)
	}
	return w
}

func (w *world) oneOrTwo() int { return 1 + w.rng.Intn(2) }

func (w *world) chance(n int) bool { return w.rng.Intn(n) == 0 }

var seeds = flag.Int64("seeds", defaultSeeds, "worlds to run")

func TestWorld(t *testing.T) {
	total := map[string]uint64{}
	for seed := range *seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.total = total
			w.run()
		})
	}
	t.Log(total)
	for _, what := range []string{"whole messages", "pieces", "interrupts", "orderly ends", "undelivered", "link downs", "call collisions",
		"resets", "restarts", "cleared for memory", "dropped: data for a closed circuit", "dropped: call without a channel", "refused"} {
		if total[what] == 0 && *seeds >= 36 {
			t.Errorf("no %s in any world: the test is too weak", what)
		}
	}
}

func (w *world) run() {
	for range 3000 {
		w.step()
	}
	w.healing = true
	for range 400000 {
		w.step()
		if w.atRest() {
			w.finish()
			return
		}
	}
	for _, p := range w.programs {
		if !p.over {
			w.log("call %d side %d %s left %d got %d of %d", p.call, p.side, p.c.State(), p.left, p.got, len(p.other.sent))
		}
	}
	w.fatalf("no rest")
}

// step is one moment: time passes, the link does what is due, the programs act, and each side sends a little.
func (w *world) step() {
	if !w.chance(3) {
		w.now = w.now.Add(time.Duration(w.rng.Intn(2000)) * time.Microsecond)
	}
	w.linkStep()
	for side, l := range w.levels {
		if d := l.Deadline(); !d.IsZero() && !w.now.Before(d) {
			l.HandleTimeout(w.now, &w.outs[side])
			w.settle(side)
		}
		w.deliver(side)
	}
	kept := w.programs[:0]
	for _, p := range w.programs {
		if p.act(); !p.over || p.c.Held() > 0 {
			kept = append(kept, p)
		}
	}
	w.programs = kept
	if !w.healing && w.chance(20) {
		w.placeCall(w.rng.Intn(2))
	}
	if w.mode == "restarts" && !w.healing && w.chance(500) {
		// Garbage on LCI 0 has both restart, as a bug of a peer would.
		side := w.rng.Intn(2)
		w.log("side %d hears a stray restart confirmation", side)
		w.levels[side].HandlePacket(w.now, []byte{0x20, 0, 0xff}, &w.outs[side])
		w.settle(side)
	}
	for side := range w.levels {
		w.pump(side)
	}
}

// linkStep takes the link down and up. Layer 2 tells each side in its own time, and what was on the wire is lost with it.
func (w *world) linkStep() {
	if w.up[0] && w.up[1] && !w.healing && w.mode != "small" && w.chance(700) {
		w.total["link downs"]++
		w.log("link down")
		for side, l := range w.levels {
			w.up[side], w.wire[side] = false, nil
			w.upAt[side] = w.now.Add(time.Duration(w.rng.Intn(300)) * time.Millisecond)
			l.LinkDown(w.now, &w.outs[side])
			w.settle(side)
		}
		return
	}
	for side, l := range w.levels {
		if !w.up[side] && !w.now.Before(w.upAt[side]) {
			w.up[side] = true
			l.LinkUp(w.now, &w.outs[side])
			w.settle(side)
		}
	}
}

func (w *world) deliver(side int) {
	for w.up[side] && len(w.wire[side]) > 0 && !w.now.Before(w.wire[side][0].at) {
		packet := w.wire[side][0].packet
		w.wire[side] = w.wire[side][1:]
		w.levels[side].HandlePacket(w.now, packet, &w.outs[side])
		w.settle(side)
		if w.chance(8) {
			return
		}
	}
}

// pump is layer 2 with a window of a few packets.
func (w *world) pump(side int) {
	l := w.levels[side]
	for n := w.rng.Intn(12); n > 0 && w.up[side] && len(w.wire[1-side]) < 64; n-- {
		ready := l.Ready()
		packet := l.AppendNext(w.now, nil, &w.outs[side])
		w.settle(side)
		if len(packet) == 0 {
			if l.Ready() && !ready {
				w.fatalf("side %d became ready by saying nothing", side)
			}
			return
		}
		if len(packet) > l.cfg.MaxPacket {
			w.fatalf("a packet of %d octets", len(packet))
		}
		p, err := Parse(packet)
		if err != nil {
			w.fatalf("% x: %v", packet, err)
		}
		w.log("side %d sends %s", side, p.String()[:min(90, len(p.String()))])
		at := w.now.Add(time.Duration(w.rng.Intn(3000)) * time.Microsecond)
		if n := len(w.wire[1-side]); n > 0 && at.Before(w.wire[1-side][n-1].at) {
			at = w.wire[1-side][n-1].at
		}
		w.wire[1-side] = append(w.wire[1-side], onWire{at, packet})
	}
}

// settle checks the level and hands its events to the programs.
func (w *world) settle(side int) {
	if err := w.levels[side].Check(); err != nil {
		w.fatalf("side %d: %v", side, err)
	}
	events := w.outs[side].Events
	w.outs[side].Events = nil
	for _, e := range events {
		if e.Kind == Restarted {
			continue
		}
		if e.Kind == Incoming {
			w.incoming(side, e)
			continue
		}
		p, ok := e.Circuit.User.(*program)
		if !ok {
			w.fatalf("event %s for nobody", printEvent(e))
		}
		w.log("side %d call %d: %s", p.side, p.call, printEvent(e)[:min(60, len(printEvent(e)))])
		p.event(e)
	}
}

func (w *world) placeCall(side int) {
	l := w.levels[side]
	c, err := l.Call(w.now, binary.BigEndian.AppendUint32(nil, w.calls+1))
	if err != nil {
		if err != ErrNoChannel || l.Len() < min(w.cfg[side].MaxCircuits, 1) && l.table.n < l.cfg.MaxLCI {
			w.fatalf("call: %v with %d circuits", err, l.Len())
		}
		return
	}
	w.calls++
	p := &program{w: w, side: side, call: w.calls, caller: true, c: c, left: w.rng.Intn(w.messages)}
	c.User = p
	w.byCall[p.call] = p
	w.programs = append(w.programs, p)
}

func (w *world) incoming(side int, e Event) {
	caller := w.byCall[binary.BigEndian.Uint32(e.UserData)]
	if caller == nil || caller.other != nil || caller.side == side {
		w.fatalf("incoming call that nobody placed: %x", e.UserData)
	}
	p := &program{w: w, side: side, call: caller.call, c: e.Circuit, left: w.rng.Intn(w.messages), other: caller}
	caller.other = p
	p.c.User = p
	p.answerAt = w.now.Add(time.Duration(w.rng.Intn(20)) * time.Millisecond)
	w.programs = append(w.programs, p)
}

func (p *program) event(e Event) {
	w := p.w
	switch e.Kind {
	case Connected:
		if string(e.UserData) != "welcome" {
			w.fatalf("the accept says %q", e.UserData)
		}
		p.up = true
	case Interrupt:
		n := int(e.UserData[0])
		if len(e.UserData) != n%32+1 || n != p.gotInts && (n < p.gotInts || p.resets+p.other.resets == 0) || n >= p.other.sentInts {
			w.fatalf("call %d: interrupt %x, want number %d of %d", p.call, e.UserData, p.gotInts, p.other.sentInts)
		}
		p.gotInts = n + 1
		w.total["interrupts"]++
	case Reset:
		p.resets++
		p.piece = nil
		if p.c.Over() {
			p.resets = 1 << 20
		}
	case Cleared, Drained:
		if p.ends++; p.ends > 1 {
			w.fatalf("call %d ended twice", p.call)
		}
		if e.Kind == Drained && !p.closing {
			w.fatalf("call %d drained, but not closed", p.call)
		}
		p.over, p.cause, p.diag = true, e.Cause, e.Diag
		if e.Diag == DiagUndelivered {
			w.total["undelivered"]++
		}
		if e.Cause == CauseBusy {
			w.total["refused"]++
		}
		if string(e.UserData) == "no" && e.Cause != CauseBusy {
			w.fatalf("refused with %v", e.Cause)
		}
	}
}

// act is what a program does in a moment.
func (p *program) act() {
	w := p.w
	p.limits()
	switch {
	case p.over:
		p.readAll()
		return
	case !p.up && !p.caller && !p.closing:
		p.answer()
		return
	case !p.up:
		if !p.closing && w.chance(2000) {
			p.close() // a caller that gives up
		}
		return
	}
	p.read()
	if p.closing {
		return
	}
	p.write()
	if p.sentInts < 250 && w.chance(30) && p.c.Interrupt(w.now, p.nextInterrupt()) == nil {
		p.sentInts++
	}
	if w.mode == "resets" && w.chance(300) && p.c.State() == "p4/d1" {
		p.c.Reset(w.now, ResetDTE, 0)
		p.resets++
		p.piece = nil
	}
	if p.left == 0 && p.piece == nil && (w.chance(50) || w.healing && w.chance(5)) || w.chance(3000) && p.piece == nil {
		p.close()
	} else if w.chance(5000) {
		p.c.Clear(w.now, CauseDTE, DiagProgramDied, nil, &w.outs[p.side])
		p.over, p.closing, p.cause, p.diag = true, true, CauseDTE, DiagProgramDied
	}
	w.settle(p.side)
}

func (p *program) answer() {
	w := p.w
	switch {
	case w.now.Before(p.answerAt):
	case w.chance(8):
		p.c.Clear(w.now, CauseBusy, 0, []byte("no"), &w.outs[p.side])
		p.over, p.closing = true, true
	default:
		if err := p.c.Accept(w.now, []byte("welcome")); err != nil {
			w.fatalf("accept: %v", err)
		}
		p.up = true
	}
	w.settle(p.side)
}

func (p *program) close() {
	p.closing = true
	p.c.Close(p.w.now, CauseDTE, 7, nil)
	p.w.settle(p.side)
}

func (p *program) nextInterrupt() []byte {
	b := make([]byte, p.sentInts%32+1)
	b[0] = byte(p.sentInts)
	return b
}

// write sends messages, whole or in pieces, as long as there is room.
func (p *program) write() {
	w := p.w
	for p.c.Room() > 0 && (p.left > 0 || p.piece != nil) && !w.chance(4) {
		if p.piece == nil {
			p.left--
			k := len(p.sent)
			m := message{w.rng.Intn(w.maxLength + 1), w.chance(3)}
			if w.chance(5) {
				m.n = 0
			}
			p.sent = append(p.sent, m)
			p.piece, p.pieceQ = make([]byte, m.n), m.q
			for i := range p.piece {
				p.piece[i] = octet(p.call, p.end(), k, i)
			}
		}
		n := len(p.piece)
		if w.chance(3) {
			n = w.rng.Intn(n + 1)
		}
		last := n == len(p.piece) && !w.chance(4)
		if err := p.c.Send(w.now, p.piece[:n], p.pieceQ, !last); err != nil {
			w.fatalf("send: %v", err)
		}
		if p.piece = p.piece[n:]; last {
			p.piece = nil
		}
	}
}

func (p *program) end() int {
	if p.caller {
		return 0
	}
	return 1
}

// read takes what there is, unless the reader sleeps.
func (p *program) read() {
	w := p.w
	if w.now.Before(p.paused) {
		return
	}
	if w.chance(60) {
		p.paused = w.now.Add(time.Duration(w.rng.Intn(200)) * time.Millisecond)
		if w.chance(10) {
			p.paused = w.now.Add(8 * time.Second)
		}
		return
	}
	for p.readOne() && !w.chance(6) {
	}
	w.settle(p.side)
}

func (p *program) readAll() {
	for p.readOne() {
	}
	if p.checked {
		return
	}
	p.checked = true
	// What was written arrives before an orderly clear, whoever is slow.
	orderly := p.cause == CauseDTE && p.diag == 7
	if orderly && p.resets == 0 && p.other != nil && p.other.resets == 0 && !p.closing {
		p.w.total["orderly ends"]++
		if p.got != len(p.other.sent) || p.current != 0 {
			p.w.fatalf("call %d: read %d messages and %d octets of %d", p.call, p.got, p.current, len(p.other.sent))
		}
		if p.gotInts != p.other.sentInts {
			p.w.fatalf("call %d: %d interrupts of %d", p.call, p.gotInts, p.other.sentInts)
		}
	}
}

// readOne checks the next message, or piece, against what the other end wrote.
func (p *program) readOne() bool {
	data, q, more, ok := p.c.Peek()
	if !ok {
		return false
	}
	w, other := p.w, p.other
	if len(data) > p.c.level.cfg.MaxMessage {
		w.fatalf("call %d: a message of %d octets", p.call, len(data))
	}
	if p.resets+other.resets > 0 {
		p.skipTo(data, q, more)
	}
	if p.got >= len(other.sent) {
		w.fatalf("call %d: a message nobody sent: %d octets", p.call, len(data))
	}
	m := other.sent[p.got]
	if q != m.q && !(more && len(data) == 0) || p.current+len(data) > m.n || !more && p.current+len(data) != m.n {
		w.fatalf("call %d: message %d q %v more %v: %d octets after %d, want %+v", p.call, p.got, q, more, len(data), p.current, m)
	}
	for i, b := range data {
		if b != octet(p.call, other.end(), p.got, p.current+i) {
			w.fatalf("call %d: message %d: octet %d is wrong", p.call, p.got, p.current+i)
		}
	}
	w.total["pieces"]++
	if p.current += len(data); !more {
		w.total["whole messages"]++
		p.got, p.current = p.got+1, 0
	}
	p.c.Next(w.now)
	return true
}

// skipTo passes over messages that a reset may have taken: with resets, limits are such that there are no pieces.
func (p *program) skipTo(data []byte, q, more bool) {
	if more && !p.over {
		p.w.fatalf("call %d: a piece of %d octets", p.call, len(data))
	}
	for k := p.got; k < len(p.other.sent); k++ {
		m := p.other.sent[k]
		same := m.n == len(data) && m.q == q
		for i := 0; same && i < len(data); i++ {
			same = data[i] == octet(p.call, p.other.end(), k, i)
		}
		if same {
			p.got = k
			return
		}
	}
	if !more {
		p.w.fatalf("call %d: %d octets that are no message", p.call, len(data))
	}
}

func (p *program) limits() {
	cfg, c := &p.c.level.cfg, p.c
	if most := cfg.ReceiveLimit + 4 + int(c.rx.w)*(c.rx.size+4); c.Held() > most {
		p.w.fatalf("call %d holds %d octets, at most %d", p.call, c.Held(), most)
	}
	if most := cfg.QueueLimit + 2*chunkHeader + p.w.maxLength; c.Queued() > most {
		p.w.fatalf("call %d queues %d octets, at most %d", p.call, c.Queued(), most)
	}
}

// atRest says that all circuits are over and read, and nothing is under way.
func (w *world) atRest() bool {
	for _, p := range w.programs {
		if !p.over || p.c.Held() > 0 {
			return false
		}
	}
	return w.up[0] && w.up[1] && len(w.wire[0])+len(w.wire[1]) == 0 && !w.levels[0].Ready() && !w.levels[1].Ready() &&
		w.levels[0].State() == "r1" && w.levels[1].State() == "r1" && w.levels[0].table.n+w.levels[1].table.n == 0
}

// finish asserts that nothing is left, and that a link without faults saw none.
func (w *world) finish() {
	for side, l := range w.levels {
		st := l.Stats()
		for c, n := range st {
			w.total[Counter(c).String()] += n
		}
		if l.Len() != 0 || l.cfg.Pool.Lent() != 0 || l.cfg.Budget.Used() != 0 || !l.Deadline().IsZero() {
			w.fatalf("side %d at rest: %d circuits, %d octets lent, %d used, deadline %v", side, l.Len(), l.cfg.Pool.Lent(),
				l.cfg.Budget.Used(), l.Deadline())
		}
		if w.mode != "resets" && w.mode != "restarts" && (st[ProcedureError] > 0 || st[Resets] > 0 || st[DropFormat] > 0) {
			w.fatalf("side %d saw %d procedure errors and %d resets", side, st[ProcedureError], st[Resets])
		}
		if w.mode != "budget" && st[BudgetCleared] > 0 {
			w.fatalf("side %d cleared circuits for memory", side)
		}
	}
}
