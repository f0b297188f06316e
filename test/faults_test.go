package test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"strings"
	"testing"

	"dnet/test/lab"
)

// Octets arrive whole and in order, there and back at once: on a good wire, on one that loses 5 % in both directions (one netman disturbs
// what it sends and what it receives), and on a worse one.
func TestTwentyMegabytes(t *testing.T) {
	for _, wire := range []struct {
		name, faults string
		machines     int // with the faults
		size         int64
	}{
		{"good wire", "", 0, 20_000_000},
		{"bad wire", "loss=5,dup=2,reorder=2,seed=7", 1, 20_000_000},
		{"bad wire on both sides", "loss=5,dup=2,reorder=2,seed=8", 2, 5_000_000},
		{"long and bad wire", "loss=1,dup=1,reorder=1,delay=2ms,seed=9", 1, 2_000_000},
	} {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
			machines := l.Machines()
			netmans(machines[:wire.machines], "--faults", wire.faults)
			netmans(machines[wire.machines:])
			size := wire.size
			if testing.Short() {
				size /= 10
			}
			thereAndBack(t, l, size)
			resent := 0.0
			for _, m := range machines {
				for _, link := range rows(t, m, "links") {
					resent += link["resent"].(float64)
				}
			}
			if wire.machines > 0 && resent == 0 {
				t.Error("no frame was sent again: were there faults?")
			}
			idle(t, machines...)
		})
	}
}

// thereAndBack sends octets to doc, which sends them back as they come, and compares what was seen at each end.
func thereAndBack(t *testing.T, l *lab.Lab, size int64) {
	t.Helper()
	want := octets(t, size)
	p := start(t, l.Machine("grumpy"), bytes.NewReader(want), "rx", "doc", "tee /dev/stderr | md5sum >sum").ends(t)
	if p.status() != 0 || p.stdout.String() != "" {
		t.Fatalf("status %d, output %.100q", p.status(), &p.stdout)
	}
	if back := p.stderr.String(); back != string(want) {
		t.Errorf("of %d octets %d came back, and not the same", size, len(back))
	}
	if got, want := sh(t, l.Machine("doc"), "cut -c 1-32 sum"), fmt.Sprintf("%x\n", md5.Sum(want)); got != want {
		t.Errorf("what arrived has md5 %s, what was sent %s", got, want)
	}
	t.Logf("%d octets there and back in %v", size, p.took)
}

// Interrupts, statuses and short calls get through a bad wire too.
func TestCallsOnABadWire(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	for i, m := range l.Machines() {
		m.Netman("--faults", fmt.Sprintf("loss=5,dup=2,reorder=2,seed=%d", 20+i))
	}
	for i := range 20 {
		text := strings.Repeat("x", i)
		p := start(t, l.Machine("grumpy"), strings.NewReader(text), "rx", "doc", fmt.Sprintf("cat; exit %d", i))
		p.ends(t).must(t, text, "", i)
	}
	idle(t, l.Machines()...)
}
