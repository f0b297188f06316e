package ether

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults says what a bad wire does to frames, in each direction. Loss, Dup, Reorder and Corrupt are percentages of the frames,
// 0 to 100. The zero value is a good wire.
type Faults struct {
	Loss    float64       // the frame does not arrive
	Dup     float64       // it arrives twice
	Reorder float64       // it is overtaken by 1 to 3 later frames, or 2 ms late when there are none
	Corrupt float64       // one bit after the Ethernet header is wrong
	Delay   time.Duration // how long every frame is on its way
	Seed    uint64        // what happens to which frame depends only on it and on the frames before
}

// faultKeys are the words of ParseFaults, in the order of String.
var faultKeys = []string{"loss", "dup", "reorder", "corrupt", "delay", "seed"}

// percentage returns the field that a key names, if it is a percentage.
func (f *Faults) percentage(key string) *float64 {
	switch key {
	case "loss":
		return &f.Loss
	case "dup":
		return &f.Dup
	case "reorder":
		return &f.Reorder
	case "corrupt":
		return &f.Corrupt
	}
	return nil
}

// ParseFaults reads a list such as "loss=5,dup=2,reorder=2,corrupt=0.1,delay=3ms,seed=7". What is not named is zero; the empty
// string names nothing. The error names the word and what is right there.
func ParseFaults(s string) (Faults, error) {
	var f Faults
	seen := map[string]bool{}
	if s == "" {
		return f, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(word, "=")
		if !slices.Contains(faultKeys, key) {
			return Faults{}, fmt.Errorf("faults: %q: unknown; there are %s", word, strings.Join(faultKeys, ", "))
		}
		if seen[key] {
			return Faults{}, fmt.Errorf("faults: %q: %s is there twice", word, key)
		}
		seen[key] = true
		if err := f.set(key, value); err != nil {
			return Faults{}, fmt.Errorf("faults: %q: %w", word, err)
		}
	}
	return f, nil
}

// set gives a key its value.
func (f *Faults) set(key, value string) error {
	switch key {
	case "delay":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || d > delayMax {
			return fmt.Errorf("want a time from 0s to %v, such as 3ms", delayMax)
		}
		f.Delay = d
	case "seed":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return errors.New("want a whole number, not negative")
		}
		f.Seed = n
	default:
		percent, err := strconv.ParseFloat(value, 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return errors.New("want a percentage from 0 to 100")
		}
		*f.percentage(key) = percent
	}
	return nil
}

// String returns the faults as ParseFaults reads them, without those that are zero.
func (f Faults) String() string {
	var words []string
	for _, key := range faultKeys {
		value := ""
		switch p := f.percentage(key); {
		case p != nil && *p != 0:
			value = strconv.FormatFloat(*p, 'g', -1, 64)
		case key == "delay" && f.Delay != 0:
			value = f.Delay.String()
		case key == "seed" && f.Seed != 0:
			value = strconv.FormatUint(f.Seed, 10)
		}
		if value != "" {
			words = append(words, key+"="+value)
		}
	}
	return strings.Join(words, ",")
}

// FaultCounts are what a FaultPort did in one direction.
type FaultCounts struct {
	Lost, Duplicated, Reordered, Corrupted uint64
	Overflow                               uint64 // dropped because too many were held back
	Refused                                uint64 // sent late, and then refused by the wrapped port as of a wrong length
}

// FaultPort is a Port whose wire is bad in both directions. It is a Timed: frames held back on their way out are sent by
// HandleTimeout, and those held back on their way in come out of the Recv after it.
type FaultPort struct {
	wrapper
	Clock func() time.Time // time.Now, unless a test has a time of its own

	in, out lane
	batch   *Batch
	retry   time.Time // when to offer again what the wire had no room for; zero: nothing waits for that
	due     [][]byte
}

// WithFaults returns p on a bad wire. It takes every frame at once, as a wire does: Send never returns a short count but with
// ErrDown or ErrClosed.
func WithFaults(p Port, f Faults) *FaultPort {
	size := HeaderLen + p.MTU()
	return &FaultPort{
		wrapper: wrapper{p},
		Clock:   time.Now,
		in:      newLane(f, 1, size),
		out:     newLane(f, 2, size),
		batch:   NewBatch(batchMax, size),
	}
}

// Counts returns what was done to received and to sent frames.
func (p *FaultPort) Counts() (in, out FaultCounts) { return p.in.counts, p.out.counts }

// Send implements Port.
func (p *FaultPort) Send(frames [][]byte) (int, error) {
	now := p.Clock()
	for i, frame := range frames {
		if err := checkLen(frame, p.MTU()); err != nil {
			p.flush(now)
			return i, err
		}
		p.out.put(frame, now)
	}
	if err := p.flush(now); err != nil {
		return 0, err
	}
	return len(frames), nil
}

// flush sends what has come to its time.
func (p *FaultPort) flush(now time.Time) error {
	p.retry = time.Time{}
	for {
		p.due = p.out.due(now, p.due[:0], batchMax)
		if len(p.due) == 0 {
			return nil
		}
		n, err := p.Port.Send(p.due)
		switch {
		case errors.Is(err, ErrTooLong) || errors.Is(err, ErrTooShort):
			p.out.counts.Refused++
			n++
		case err != nil:
			p.out.clear()
			return err
		}
		p.out.gone(n)
		if err == nil && n < len(p.due) {
			p.retry = now.Add(wireRetry)
			return nil
		}
	}
}

// Recv implements Port.
func (p *FaultPort) Recv(b *Batch) (int, error) {
	now := p.Clock()
	p.in.giveBack()
	for range batchMax { // so often all that came may be lost, and more asked for
		if n := p.deliver(now, b); n > 0 {
			return n, nil
		}
		n, err := p.Port.Recv(p.batch)
		if err != nil {
			p.in.clear()
			return 0, err
		}
		if n == 0 {
			return 0, nil
		}
		for _, frame := range p.batch.Frames[:n] {
			p.in.put(frame, now)
		}
	}
	return p.deliver(now, b), nil
}

// deliver puts what has come to its time into b.
func (p *FaultPort) deliver(now time.Time, b *Batch) int {
	n := len(p.in.due(now, b.Frames[:0], len(b.Frames)))
	p.in.lend(n)
	return n
}

// Deadline implements Timed.
func (p *FaultPort) Deadline() time.Time {
	out := p.out.deadline()
	if !p.retry.IsZero() {
		out = p.retry
	}
	return earliest(earliest(out, p.in.deadline()), p.wrapper.Deadline())
}

// HandleTimeout implements Timed.
func (p *FaultPort) HandleTimeout(now time.Time) error {
	return errors.Join(p.wrapper.HandleTimeout(now), p.flush(now))
}

// earliest is the earlier of two times, of which a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// lane is one direction of a bad wire. It owns copies of the frames on it.
type lane struct {
	faults Faults
	rnd    *rand.Rand
	size   int // of the largest frame
	counts FaultCounts

	late   []held   // taken out of their order, not yet overtaken
	queue  []held   // on their way, in order
	lent   [][]byte // with the caller of Recv until its next
	unused [][]byte
}

// held is a frame on its way.
type held struct {
	frame    []byte
	due      time.Time // when it arrives; of a late one: when it is late enough though nothing overtook it
	overtake int       // how many frames shall still overtake it
}

func newLane(f Faults, direction uint64, size int) lane {
	return lane{faults: f, rnd: rand.New(rand.NewPCG(f.Seed, direction)), size: size}
}

// put takes a frame onto the lane, and does to it what chance wants.
func (l *lane) put(frame []byte, now time.Time) {
	if l.happens(l.faults.Loss) {
		l.counts.Lost++
		return
	}
	l.place(frame, now)
	if l.happens(l.faults.Dup) {
		l.counts.Duplicated++
		l.place(frame, now)
	}
}

func (l *lane) place(frame []byte, now time.Time) {
	if len(l.late)+len(l.queue) >= heldMax {
		l.counts.Overflow++
		return
	}
	frame = append(l.take(), frame...)
	if len(frame) > HeaderLen && l.happens(l.faults.Corrupt) {
		l.counts.Corrupted++
		bit := l.rnd.IntN(8 * (len(frame) - HeaderLen))
		frame[HeaderLen+bit/8] ^= 1 << (bit % 8)
	}
	if l.happens(l.faults.Reorder) {
		l.counts.Reordered++
		l.late = append(l.late, held{frame: frame, due: now.Add(lateness), overtake: 1 + l.rnd.IntN(overtakeMax)})
		return
	}
	l.queue = append(l.queue, held{frame: frame, due: now.Add(l.faults.Delay)})
	for i := range l.late {
		l.late[i].overtake--
	}
	l.release(now)
}

// release puts late frames that were overtaken, or waited long enough for it, back on their way.
func (l *lane) release(now time.Time) {
	l.late = slices.DeleteFunc(l.late, func(h held) bool {
		ready := h.overtake <= 0 || !now.Before(h.due)
		if ready {
			l.queue = append(l.queue, held{frame: h.frame, due: now.Add(l.faults.Delay)})
		}
		return ready
	})
}

// due appends the frames whose time has come, at most limit of them. They stay on the lane until gone or lend.
func (l *lane) due(now time.Time, frames [][]byte, limit int) [][]byte {
	l.release(now)
	for _, h := range l.queue[:min(len(l.queue), limit)] {
		if now.Before(h.due) {
			break
		}
		frames = append(frames, h.frame)
	}
	return frames
}

// gone takes the first n frames off the lane.
func (l *lane) gone(n int) {
	l.lend(n)
	l.giveBack()
}

// lend takes the first n frames off the lane, but leaves their memory alone until giveBack.
func (l *lane) lend(n int) {
	for _, h := range l.queue[:n] {
		l.lent = append(l.lent, h.frame)
	}
	l.queue = slices.Delete(l.queue, 0, n)
}

func (l *lane) giveBack() {
	l.unused = append(l.unused, l.lent...)
	l.lent = l.lent[:0]
}

// clear drops all frames on the lane.
func (l *lane) clear() {
	for _, h := range l.late {
		l.unused = append(l.unused, h.frame)
	}
	l.late = slices.Delete(l.late, 0, len(l.late))
	l.gone(len(l.queue))
}

// deadline is when the next frame comes to its time.
func (l *lane) deadline() time.Time {
	var first time.Time
	if len(l.queue) > 0 {
		first = l.queue[0].due
	}
	if len(l.late) > 0 {
		first = earliest(first, l.late[0].due)
	}
	return first
}

// take returns memory for a frame.
func (l *lane) take() []byte {
	if n := len(l.unused); n > 0 {
		frame := l.unused[n-1]
		l.unused = l.unused[:n-1]
		return frame[:0]
	}
	return make([]byte, 0, l.size)
}

func (l *lane) happens(percent float64) bool { return percent > 0 && 100*l.rnd.Float64() < percent }
