package sim

import (
	"bufio"
	"flag"
	"io"
	"os"
	"testing"

	"dnet/netman/seal"
)

var (
	seedsFlag  = flag.Int("seeds", 20, "how many random worlds to live through")
	firstFlag  = flag.Uint64("first", 1, "the seed of the first of them")
	seedFlag   = flag.Uint64("seed", 0, "the seed of the one world to live through; 0: -seeds of them")
	modeFlag   = flag.String("mode", "", "the mode of the worlds: open, pinned or secret; empty: each in turn")
	framesFlag = flag.Bool("frames", false, "print every frame and event of the world of -seed")
)

// tracer is where the trace goes, and a way to flush it.
func tracer() (io.Writer, func()) {
	if !*framesFlag {
		return nil, func() {}
	}
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	return w, func() { w.Flush() }
}

var modes = []seal.Mode{seal.Open, seal.Pinned, seal.Secret}

// TestSeeds lives through random worlds, in each mode.
func TestSeeds(t *testing.T) {
	for _, mode := range modes {
		if *modeFlag == "" || *modeFlag == mode.String() {
			t.Run(mode.String(), func(t *testing.T) { seeds(t, mode) })
		}
	}
}

func seeds(t *testing.T, mode seal.Mode) {
	if *seedFlag != 0 {
		trace, flush := tracer()
		w, err := Random(*seedFlag, mode, trace)
		flush()
		t.Logf("seed %d: %v of virtual time, %d steps, hash %016x, %+v", w.Seed, w.Now(), w.Steps(), w.Hash(), w.Stats)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var sum Stats
	steps, failures := 0, 0
	for i := range *seedsFlag {
		w, err := Random(*firstFlag+uint64(i), mode, nil)
		if err != nil {
			t.Error(err)
			if failures++; failures == 10 {
				t.Fatal("and so on")
			}
		}
		steps += w.Steps()
		sum.add(w.Stats)
	}
	if mode != seal.Open && *seedsFlag >= 20 && sum.Renewed == 0 {
		t.Error("no key was ever renewed")
	}
	t.Logf("%d seeds, %d steps, %+v", *seedsFlag, steps, sum)
}

// add sums up what programs did in several worlds.
func (s *Stats) add(o Stats) {
	s.Calls += o.Calls
	s.Connected += o.Connected
	s.Refused += o.Refused
	s.Ended += o.Ended
	s.Octets += o.Octets
	s.Messages += o.Messages
	s.Interrupts += o.Interrupts
	s.Resets += o.Resets
	s.LinksDown += o.LinksDown
	s.Crashes += o.Crashes
	s.Clashes += o.Clashes
	s.Renewed += o.Renewed
}

// TestScarce: worlds in which limits are one or two come to each of them, and all the same nothing wedges or is left.
func TestScarce(t *testing.T) {
	counted := map[string]uint64{}
	for seed := uint64(1); seed <= 400; seed++ {
		w := New(seed, nil)
		w.Scarce = true
		if err := w.Try(func() { w.live() }); err != nil {
			t.Error(err)
		}
		for _, m := range w.Machines {
			if m.n != nil {
				for name, count := range m.n.Counters() {
					counted[name] += count
				}
			}
		}
	}
	for _, name := range []string{
		"calls full", "hellos of one station limited", "log lines left out", "stations full", "station forgotten for another",
		"names: answers full", "names: held answers full", "names: stations full",
		"packet level: cleared for memory", "packet level: dropped: call without a channel",
	} {
		if counted[name] == 0 {
			t.Errorf("no machine came to the limit that is counted as %q", name)
		}
	}
}

// TestSameSeedSameWorld: nothing but the seed decides what happens.
func TestSameSeedSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		mode := modes[seed%3]
		a, _ := Random(seed, mode, nil)
		b, _ := Random(seed, mode, nil)
		if a.Hash() != b.Hash() || a.Steps() != b.Steps() || a.Now() != b.Now() {
			t.Errorf("seed %d: one run ends at %v after %d steps with %016x, the next at %v after %d with %016x", seed,
				a.Now(), a.Steps(), a.Hash(), b.Now(), b.Steps(), b.Hash())
		}
	}
}
