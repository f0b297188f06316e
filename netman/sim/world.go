package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"dnet/netman/seal"
)

// World is a network of machines in virtual time.
type World struct {
	Seed uint64
	Wire Wire
	Rules
	Mode     seal.Mode // of all machines but those told otherwise
	Limits   seal.Limits
	Machines []*Machine

	rng      *rand.Rand
	now      time.Duration // since the beginning
	queue    queue
	requests []*request
	open     int      // ends of circuits that have not ended
	spare    [][]byte // frame buffers
	text     []byte   // what all programs write is cut from
	trace    io.Writer
	hash     uint64
	steps    int
	still    int // steps since the time moved on
	Stats    Stats
}

// Rules is what a world allows to happen besides what always may.
type Rules struct {
	Trouble   bool // links go down
	Strangers bool // some machines refuse each other: 0B, 21
	Scarce    bool // limits are small: 05
	Corrupt   bool // frames are wrong: nothing is sure but that nobody crashes, hangs or grows
}

// Stats counts what programs did.
type Stats struct {
	Calls, Connected, Refused, Ended     int
	Octets, Messages, Interrupts, Resets int
	LinksDown, Crashes, Clashes          int
	Renewed                              int // keys of links that were up, as far as machines still knew at the end
}

// epoch is when every world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// textLen is what programs write from: a message is a part of it.
const textLen = 512 << 10

var text = func() []byte {
	rng := rand.NewChaCha8([32]byte{'d', 'n', 'e', 't'})
	b := make([]byte, textLen)
	rng.Read(b)
	return b
}()

// New returns an empty world. trace, if not nil, gets a line per frame and event.
func New(seed uint64, trace io.Writer) *World {
	w := &World{Seed: seed, rng: rand.New(rand.NewPCG(seed, 0x646e6574)), text: text, trace: trace, now: time.Second}
	w.Wire.w = w
	w.Wire.Delay = 100 * time.Microsecond
	return w
}

// Failure is an invariant that did not hold.
type Failure struct {
	Seed uint64
	Mode seal.Mode
	At   time.Duration
	Step int
	Text string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, at %v, step %d: %s\nrun it again with: go test ./netman/sim -run 'TestSeeds$' -seed=%d -mode=%v -frames",
		f.Seed, f.At, f.Step, f.Text, f.Seed, f.Mode)
}

// failf ends the run: Try returns the Failure.
func (w *World) failf(format string, args ...any) {
	f := &Failure{w.Seed, w.Mode, w.now, w.steps, fmt.Sprintf(format, args...)}
	w.tracef("FAILURE %s", f.Text)
	panic(f)
}

// Try runs something in the world and returns how it failed, or nil. A panic of a node is a failure, too.
func (w *World) Try(run func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Failure:
			err = r
		default:
			err = &Failure{w.Seed, w.Mode, w.now, w.steps, fmt.Sprintf("panic: %v\n%s", r, debug.Stack())}
		}
	}()
	run()
	return nil
}

// Now is the virtual time since the world began.
func (w *World) Now() time.Duration { return w.now }

// Hash is the fingerprint of all frames and events so far.
func (w *World) Hash() uint64 { return w.hash }

// Steps is how much has happened.
func (w *World) Steps() int { return w.steps }

// time is the moment as nodes are told it.
func (w *World) time() time.Time { return epoch.Add(w.now) }

// tracef writes a line of the trace.
func (w *World) tracef(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%12.6f  %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// chance is true with the probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between is a random time from a to b.
func (w *World) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)+1))
}

// buffer is an empty one for a frame.
func (w *World) buffer() []byte {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 2048)
}

// After does something in a while.
func (w *World) After(d time.Duration, do func()) { w.queue.push(item{at: w.now + d, do: do}) }

// manySteps at one moment, or stepLimit in all, mean that somebody spins.
const (
	manySteps = 100_000
	stepLimit = 20_000_000
)

// step goes on to what happens next: false if nothing will.
func (w *World) step(end time.Duration) bool {
	next := time.Duration(-1)
	if len(w.queue.items) > 0 {
		next = w.queue.items[0].at
	}
	var due *Machine
	for _, m := range w.Machines {
		if at := m.due(); at >= 0 && (next < 0 || at < next) {
			next, due = at, m
		}
	}
	if next < 0 || next > end {
		return false
	}
	w.steps++
	if next > w.now {
		w.now, w.still = next, 0
	} else if w.still++; w.still > manySteps {
		w.failf("%d steps and the time does not move on", w.still)
	}
	if w.steps > stepLimit {
		w.failf("%d steps: no end", w.steps)
	}
	if due != nil {
		due.wake()
		return true
	}
	switch it := w.queue.pop(); {
	case it.do != nil:
		it.do()
	case it.nic.up:
		it.nic.m.arrive(it.nic, it.frame)
	default:
		w.spare = append(w.spare, it.frame)
	}
	return true
}

// Run lets a time pass.
func (w *World) Run(d time.Duration) {
	end := w.now + d
	for w.step(end) {
	}
	w.now = end
}

// Until runs until done, which must come within a time.
func (w *World) Until(limit time.Duration, what string, done func() bool) time.Duration {
	begin := w.now
	for !done() {
		if !w.step(begin + limit) {
			w.failf("not %s within %v%s", what, limit, w.unfinished())
		}
	}
	return w.now - begin
}

// unfinished describes the ends of circuits that are still there.
func (w *World) unfinished() string {
	text := ""
	for _, r := range w.requests {
		for _, p := range append([]*program{r.caller}, r.servers...) {
			if p != nil && !p.gone {
				text += "\n" + p.describe()
			}
		}
	}
	return text
}
