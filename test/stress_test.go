package test

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// memory is what netman on a machine has in RAM, in octets (VmRSS).
func memory(t *testing.T, m *lab.Machine) (octets int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.NetmanWire()))
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	octets, _ = strconv.Atoi(kib)
	octets *= 1024
	if err != nil || octets == 0 {
		t.Fatalf("%s: memory of netman: %d, %v", m.Name, octets, err)
	}
	return octets
}

// echoes serves a name on a machine: every datagram goes back, by one goroutine for each circuit.
func echoes(t *testing.T, m *lab.Machine, service string) {
	t.Helper()
	lis := listen(t, m, service, circuit.Options{})
	go func() {
		for {
			call, err := lis.Accept()
			if err != nil {
				return
			}
			if c, err := call.Accept(); err == nil {
				go func() {
					defer c.Close()
					for {
						octets, bits, err := c.Next()
						if err != nil || c.WriteDatagram(octets, bits) != nil {
							return
						}
					}
				}()
			}
		}
	}()
}

// crowd calls a service so many times, with a few calls under way at any time. A call beyond the listener's backlog is placed again.
func crowd(t *testing.T, m *lab.Machine, service string, n int) []*circuit.Conn {
	t.Helper()
	path := door(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	defer cancel()
	held := make([]*circuit.Conn, n)
	var next atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c, err := circuit.Dial(ctx, service, circuit.Options{Door: path})
				for errors.Is(err, unix.EBUSY) && ctx.Err() == nil {
					c, err = circuit.Dial(ctx, service, circuit.Options{Door: path})
				}
				if err != nil {
					t.Errorf("call %d: %v", i, err)
					return
				}
				c.SetDeadline(time.Now().Add(2 * bound))
				held[i] = c
			}
		})
	}
	all.Wait()
	t.Cleanup(func() {
		for _, c := range held {
			if c != nil {
				c.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return held
}

// turn has every circuit echo a datagram of its own, all of them under way at once.
func turn(t *testing.T, circuits []*circuit.Conn, round int) {
	t.Helper()
	text := func(i int) []byte { return fmt.Appendf(nil, "round %d on circuit %d %0*d", round, i, 10+i%1000, i) }
	for i, c := range circuits {
		if err := c.WriteDatagram(text(i), 0); err != nil {
			t.Fatalf("circuit %d: write: %v", i, err)
		}
	}
	for i, c := range circuits {
		got, bits, err := c.Next()
		if err != nil || bits != 0 || !bytes.Equal(got, text(i)) {
			t.Fatalf("circuit %d: %.60q, bits %x, %v; want %.60q", i, got, bits, err, text(i))
		}
	}
}

// What an idle circuit may cost a netman, in octets.
const idleCost = 12 << 10

// Two thousand circuits at once, each echoing; none is lost, and when they idle they cost little.
func TestTwoThousandCircuits(t *testing.T) {
	const circuits = 2000
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files); files.Max < 5*circuits {
		lab.Skip(t, "descriptors", fmt.Sprintf("ulimit -Hn is %d, and %d circuits need %d", files.Max, circuits, 5*circuits))
	}
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	echoes(t, doc, "echo.doc")
	first := crowd(t, grumpy, "echo.doc", 1) // the link is up
	turn(t, first, 0)
	before := []int{memory(t, grumpy), memory(t, doc)}

	began := time.Now()
	held := crowd(t, grumpy, "echo.doc", circuits)
	t.Logf("%d calls in %v", circuits, time.Since(began))
	began = time.Now()
	for round := range 3 {
		turn(t, held, round)
	}
	t.Logf("3 echoes of each in %v", time.Since(began))
	for _, s := range rows(t, doc, "services") {
		if s["service"] == "echo.doc" && s["running"] != float64(circuits+1) {
			t.Errorf("echo.doc runs %v circuits, want %d", s["running"], circuits+1)
		}
	}
	for i, m := range l.Machines() {
		if n := len(rows(t, m, "circuits")); n != circuits+1 {
			t.Errorf("%s has %d circuits, want %d", m.Name, n, circuits+1)
		}
		grown := memory(t, m) - before[i]
		t.Logf("%s: netman had %d KiB, and has %d octets for each circuit more", m.Name, before[i]>>10, grown/circuits)
		if grown > idleCost*circuits {
			t.Errorf("%s: an idle circuit costs netman %d octets, want at most %d", m.Name, grown/circuits, idleCost)
		}
	}
	turn(t, held, 3)
	for _, c := range append(held, first...) {
		c.Close()
	}
	idle(t, l.Machines()...)
	run(t, grumpy, "rx", "doc", "uname -n").must(t, "doc\n", "", 0)
}

// pump writes octets without end to one circuit until stop is closed, ends the direction, and gives what was written.
func pump(c *circuit.Conn, stop <-chan struct{}) (written int64, sum [md5.Size]byte, err error) {
	source, hash, piece := noise(1<<62), md5.New(), make([]byte, 60<<10)
	for {
		select {
		case <-stop:
			hash.Sum(sum[:0])
			return written, sum, c.CloseWrite()
		default:
		}
		io.ReadFull(source, piece)
		if _, err := c.Write(piece); err != nil {
			return written, sum, err
		}
		hash.Write(piece)
		written += int64(len(piece))
	}
}

// streamed is a stream from one end of a circuit to the other that runs until it is told to end.
type streamed struct {
	stop, over chan struct{} // closed when it is to end; when it has
	got        atomic.Int64
}

// stream begins one, and judges it when it ends.
func stream(t *testing.T, from, to *circuit.Conn) *streamed {
	s := &streamed{stop: make(chan struct{}), over: make(chan struct{})}
	var want, have [md5.Size]byte
	var written int64
	var both sync.WaitGroup
	both.Go(func() {
		var err error
		if written, want, err = pump(from, s.stop); err != nil {
			t.Errorf("stream: write: %v", err)
		}
	})
	both.Go(func() {
		hash := md5.New()
		for {
			octets, _, err := to.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("stream: read after %d octets: %v", s.got.Load(), err)
				break
			}
			hash.Write(octets)
			s.got.Add(int64(len(octets)))
		}
		hash.Sum(have[:0])
	})
	go func() {
		defer close(s.over)
		both.Wait()
		if s.got.Load() != written || want != have {
			t.Errorf("stream: %d octets of %d arrived, or not the same", s.got.Load(), written)
		}
	}()
	return s
}

// carries waits until so many octets have arrived, or the stream has failed.
func (s *streamed) carries(t *testing.T, octets int64) {
	t.Helper()
	within(t, 2*bound, fmt.Sprintf("%d octets arrive", octets), func() bool {
		select {
		case <-s.over:
			return true
		default:
			return s.got.Load() >= octets
		}
	})
}

// finish ends the stream, waits until all has arrived, and tells how much.
func (s *streamed) finish() int64 {
	close(s.stop)
	<-s.over
	return s.got.Load()
}

// pingpong is the median and the longest of so many round trips of 64 octets.
func pingpong(t *testing.T, a, b *circuit.Conn, n int) (median, most time.Duration) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range n {
			octets, bits, err := b.Next()
			if err == nil {
				err = b.WriteDatagram(octets, bits)
			}
			if err != nil {
				t.Errorf("pong: %v", err)
				return
			}
		}
	}()
	times, ball := make([]time.Duration, n), octets(t, 64)
	for i := range times {
		began := time.Now()
		if err := a.WriteDatagram(ball, 0); err != nil {
			t.Fatalf("ping: %v", err)
		}
		if _, _, err := a.Next(); err != nil {
			t.Fatalf("ping: %v", err)
		}
		times[i] = time.Since(began)
	}
	<-ended
	slices.Sort(times)
	return times[n/2], times[n-1]
}

// besideStream is how many times as long a round trip may take beside a stream on the same link.
const besideStream = 8

// A circuit that streams leaves the other one its turn, in both directions of the stream.
func TestPingBesideStream(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	a, b := join(t, l.Machine("grumpy"), l.Machine("doc"), circuit.Options{})
	idleMedian, idleMost := pingpong(t, a, b, 200)
	t.Logf("idle link: median %v, at most %v", idleMedian, idleMost)
	from, to := pair(t, l.Machine("grumpy"), l.Machine("doc"), "stream")
	for _, way := range []struct {
		name string
		a, b *circuit.Conn
	}{{"with the pings", from, to}, {"against the pings", to, from}} {
		s := stream(t, way.a, way.b)
		s.carries(t, 1<<20)
		began, had := time.Now(), s.got.Load()
		median, most := pingpong(t, a, b, 200)
		rate := float64(s.got.Load()-had) / time.Since(began).Seconds() / 1e6
		total := s.finish()
		t.Logf("beside a stream of %.0f MB/s %s: median %v (%.1f times), at most %v; %d octets in all",
			rate, way.name, median, float64(median)/float64(idleMedian), most, total)
		if limit := slack * besideStream * max(idleMedian, 100*time.Microsecond); median > limit {
			t.Errorf("beside a stream a round trip takes %v, want at most %v", median, limit)
		}
	}
}

// pair is join for stream circuits, of which there may be several, each with a name of its own.
func pair(t *testing.T, from, to *lab.Machine, name string) (caller, server *circuit.Conn) {
	t.Helper()
	lis := listen(t, to, name+"."+to.Name, circuit.Options{})
	accepted := make(chan error, 1)
	go func() {
		call, err := lis.Accept()
		if err == nil {
			server, err = call.Accept()
		}
		accepted <- err
	}()
	caller, err := dial(t, from, name+"."+to.Name, circuit.Options{Stream: true})
	if err == nil {
		err = <-accepted
	}
	if err != nil {
		t.Fatalf("a circuit from %s to %s: %v", from.Name, to.Name, err)
	}
	lis.Close()
	t.Cleanup(func() { server.Close() })
	for _, c := range []*circuit.Conn{caller, server} {
		c.SetDeadline(time.Now().Add(4 * bound))
	}
	return caller, server
}

// A reader that sleeps holds up its own circuit and no other on the link, and loses nothing.
func TestReaderThatSleeps(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	const size = 4 << 20 // more than all queues on the way
	want := octets(t, size)
	var sleepers []*circuit.Conn
	var writers sync.WaitGroup
	for i := range 3 {
		from, to := pair(t, grumpy, doc, fmt.Sprintf("sleeper%d", i))
		sleepers = append(sleepers, to)
		writers.Go(func() {
			if _, err := io.Copy(from, bytes.NewReader(want)); err != nil {
				t.Errorf("to the reader that sleeps: %v", err)
			}
			from.CloseWrite()
		})
	}
	held := 0.0
	within(t, bound, "the sleepers' queues are full", func() bool {
		was := held
		held = 0
		for _, r := range rows(t, doc, "circuits") {
			held += r["held"].(float64)
		}
		return held > 0 && held == was
	})
	t.Logf("netman holds %.0f octets for those who sleep", held)
	var others []*streamed
	for i := range 4 {
		from, to := pair(t, grumpy, doc, fmt.Sprintf("other%d", i))
		if i%2 == 1 {
			from, to = to, from
		}
		others = append(others, stream(t, from, to))
	}
	for _, s := range others {
		s.carries(t, size)
		s.finish()
	}
	for i, to := range sleepers {
		got, err := io.ReadAll(to)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("sleeper %d read %d octets of %d, %v", i, len(got), size, err)
		}
	}
	writers.Wait()
}

// outcomes calls a service many times at once, and counts how the calls ended; those that stand are given back.
func outcomes(t *testing.T, m *lab.Machine, service string, n int) (held []*circuit.Conn, ended map[string]int) {
	t.Helper()
	path := door(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	defer cancel()
	var mu sync.Mutex
	ended = map[string]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			c, err := circuit.Dial(ctx, service, circuit.Options{Door: path, Stream: true})
			mu.Lock()
			defer mu.Unlock()
			why, ok := cleared(err)
			switch {
			case err == nil:
				held = append(held, c)
				ended["connected"]++
			case ok:
				ended[fmt.Sprintf("%02x %02x", byte(why.Cause), byte(why.Diag))]++
			default:
				ended[err.Error()]++
			}
		})
	}
	all.Wait()
	t.Cleanup(func() {
		for _, c := range held {
			c.Abort(0, "")
		}
	})
	return held, ended
}

// limited are two machines with services to be called too often.
type limited struct {
	*lab.Lab
	grumpy, doc *lab.Machine
}

// says asks that calls ended in no other ways than these, and gives their circuits up.
func (l limited) says(t *testing.T, held []*circuit.Conn, ended map[string]int, allowed ...string) {
	t.Helper()
	t.Logf("the calls ended so: %v", ended)
	for how := range ended {
		if !slices.Contains(allowed, how) {
			t.Errorf("a call ended by %q", how)
		}
	}
	for _, c := range held {
		c.Abort(0, "")
	}
	idle(t, l.Machines()...)
}

// works has each circuit echo a line.
func works(t *testing.T, held []*circuit.Conn) {
	t.Helper()
	for _, c := range held {
		c.SetDeadline(time.Now().Add(bound))
		echo(t, c, "held\n")
	}
}

// Limits are reached, said, and passed by: what comes after works again.
func TestLimits(t *testing.T) {
	servtab := filter("few.%m", "max = 8\n", "/bin/cat") + filter("many.%m", "max = 1000\n", "/bin/cat")
	l := limited{Lab: network(t, lab.Config{Machines: []string{"grumpy", "doc"}, Servtab: servtab})}
	l.grumpy, l.doc = l.Machine("grumpy"), l.Machine("doc")
	for _, from := range l.Machines() {
		t.Run("servers of a service, from "+from.Name, func(t *testing.T) {
			held, ended := outcomes(t, from, "few.doc", 40)
			if len(held) != 8 {
				t.Errorf("%d calls are served, want 8", len(held))
			}
			works(t, held)
			l.says(t, held, ended, "connected", "01 00")
		})
	}
	t.Run("servers that wait to be started", func(t *testing.T) {
		held, ended := outcomes(t, l.grumpy, "many.doc", 600)
		if len(held) < 256 {
			t.Errorf("%d calls are served, want at least the 256 that may wait", len(held))
		}
		works(t, held)
		l.says(t, held, ended, "connected", "00 f2")
	})
	t.Run("calls that wait for a listener", func(t *testing.T) { backlogs(t, l) })
	t.Run("calls that look for a server", func(t *testing.T) {
		held, ended := outcomes(t, l.grumpy, "nobody.nowhere", 4500)
		l.says(t, held, ended, fmt.Sprintf("%02x 00", byte(x25.CauseNotObtainable)), fmt.Sprintf("%02x 00", byte(x25.CauseCongestion)))
	})
	for _, from := range l.Machines() {
		start(t, from, strings.NewReader("hello"), "netman", "nc", "few.doc").ends(t).must(t, "hello", "", 0)
	}
	idle(t, l.Machines()...)
}

// backlogs calls a listener that takes no call until those beyond its backlog have been refused.
func backlogs(t *testing.T, l limited) {
	const calls, backlog = 200, 128
	lis := listen(t, l.doc, "slow.doc", circuit.Options{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(tolerance); time.Now().Before(end); <-tick.C {
			r := find(rows(t, l.doc, "services"), "service", "service", "slow.doc")
			if r != nil && r["refused"] == float64(calls-backlog) {
				break
			}
		}
		for {
			call, err := lis.Accept()
			if err != nil {
				return
			}
			if c, err := call.Accept(); err == nil {
				t.Cleanup(func() { c.Close() })
			}
		}
	}()
	held, ended := outcomes(t, l.grumpy, "slow.doc", calls)
	if len(held) != backlog {
		t.Errorf("%d calls waited, want %d", len(held), backlog)
	}
	l.says(t, held, ended, "connected", "01 00")
	lis.Close()
	<-served
}
