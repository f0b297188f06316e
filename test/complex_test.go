package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// channels is how many circuits a complex server has (protocol.md 5).
const channels = 4095

// guest is one of many, and how long its exchange took.
type guest struct {
	*circuit.Conn
	took time.Duration
}

// gather calls a service from machines by turns, all calls at once.
func gather(t *testing.T, from []place, service string, n int) []*guest {
	t.Helper()
	all := make([]*guest, n)
	var calls sync.WaitGroup
	for i := range all {
		calls.Go(func() {
			c, err := from[i%len(from)].dial(t.Context(), service, circuit.Options{})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			c.SetDeadline(time.Now().Add(4 * bound))
			all[i] = &guest{Conn: c}
		})
	}
	calls.Wait()
	t.Cleanup(func() {
		for _, c := range all {
			if c != nil {
				c.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// converse has every client but the sleeper exchange datagrams with its echo, all at once.
func converse(t *testing.T, all []*guest, rounds int) {
	t.Helper()
	var talks sync.WaitGroup
	began := time.Now()
	for i, c := range all {
		talks.Go(func() {
			for round := range rounds {
				want := fmt.Appendf(nil, "datagram %d of client %d %0*d", round, i, 10+i%1000, i)
				err := c.WriteDatagram(want, circuit.Q)
				if err != nil {
					t.Errorf("client %d: write: %v", i, err)
					return
				}
				if got, bits, err := c.Next(); err != nil || bits != circuit.Q || !bytes.Equal(got, want) {
					t.Errorf("client %d: %.40q, bits %x, %v; want %.40q", i, got, bits, err, want)
					return
				}
			}
			c.took = time.Since(began)
		})
	}
	talks.Wait()
}

// bulk has every client send a large datagram to its echo, all at once: together more than netman may hold.
func bulk(t *testing.T, all []*guest, data []byte) {
	t.Helper()
	began := time.Now()
	var talks sync.WaitGroup
	for i, c := range all {
		talks.Go(func() {
			if err := c.WriteDatagram(data, 0); err != nil {
				t.Errorf("client %d: write: %v", i, err)
			}
		})
		talks.Go(func() {
			if got, _, err := whole(c.Conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("client %d: %d octets of %d came back, %v", i, len(got), len(data), err)
			}
		})
	}
	talks.Wait()
	took := time.Since(began)
	t.Logf("%d octets there and back by each of %d at once in %v: %.0f MB/s each way", len(data), len(all), took.Round(time.Millisecond),
		float64(len(all)*len(data))/took.Seconds()/1e6)
}

// complexEchoes serves a name by a complex server that echoes; the circuits it has accepted are counted by the netman.
func complexEchoes(t *testing.T, p place, service string) {
	t.Helper()
	p.complex = true
	lis := p.listen(t, service, circuit.Options{})
	lis.SetDeadline(time.Time{})
	go func() {
		for {
			call, err := lis.Accept()
			if err != nil {
				return
			}
			if c, err := call.Accept(); err == nil {
				go echoed(c)
			}
		}
	}()
}

// echoed sends back what comes.
func echoed(c *circuit.Conn) {
	defer c.Close()
	for {
		octets, bits, err := c.Next()
		if err != nil || c.WriteDatagram(octets, bits) != nil {
			return
		}
	}
}

// 4095 clients on two machines, all through one descriptor of a server on a third: none loses anything, though one of them never reads.
// One more is told that the server is busy.
func TestComplexServerOfAllChannels(t *testing.T) {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files); files.Max < 3*channels {
		lab.Skip(t, "descriptors", fmt.Sprintf("ulimit -Hn is %d, and %d clients need %d", files.Max, channels, 3*channels))
	}
	l := network(t, lab.Config{Machines: []string{"grumpy", "sneezy", "doc"}})
	doc := newPlace(t, l.Machine("doc"))
	from := []place{newPlace(t, l.Machine("grumpy")), newPlace(t, l.Machine("sneezy"))}
	const service = "echo.doc"
	complexEchoes(t, doc, service)
	first := gather(t, from, service, 2) // the links are up
	descriptorsBefore, memoryBefore := descriptors(t, doc.pid), memory(t, doc.Machine)

	began := time.Now()
	all := append(gather(t, from, service, channels-len(first)), first...)
	t.Logf("%d calls at once in %v", len(all), time.Since(began).Round(time.Millisecond))
	if n := descriptors(t, doc.pid); n != descriptorsBefore {
		t.Errorf("netman on doc has %d descriptors more for %d circuits", n-descriptorsBefore, len(all))
	}
	grown := memory(t, doc.Machine) - memoryBefore
	t.Logf("netman of the server: %d KiB before, %d octets for each circuit", memoryBefore>>10, grown/len(all))
	if grown > idleCost*len(all) {
		t.Errorf("an idle circuit costs netman %d octets, want at most %d", grown/len(all), idleCost)
	}
	_, err := from[0].dial(t.Context(), service, circuit.Options{})
	wantCleared(t, "one call too many", err, x25.CauseBusy, 0, "*", unix.EBUSY)

	sleeper, awake := all[0], all[1:]
	taken := fill(t, sleeper.Conn, octets(t, 8192))
	bulk(t, awake, octets(t, 30000))
	converse(t, awake, 10)
	took := make([]time.Duration, 0, len(awake))
	for _, c := range awake {
		took = append(took, c.took)
	}
	slices.Sort(took)
	t.Logf("10 echoes of each of %d at once: first done after %v, median %v, last %v; one that never reads wrote %d octets", len(awake),
		took[0].Round(time.Millisecond), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), taken*8192)
	t.Logf("netman of the server: %d KiB after", memory(t, doc.Machine)>>10)
	for i := range taken {
		if got, _, err := whole(sleeper.Conn); err != nil || len(got) != 8192 {
			t.Fatalf("the one that did not read: datagram %d of %d: %d octets, %v", i, taken, len(got), err)
		}
	}
	service1 := find(rows(t, doc.Machine, "services"), "service", "service", service)
	if service1["mode"] != "complex" || service1["running"] != float64(channels) || len(rows(t, doc.Machine, "circuits")) != channels {
		t.Errorf("status has %v, and %d circuits", service1, len(rows(t, doc.Machine, "circuits")))
	}
	for _, c := range all {
		c.Close()
	}
	idle(t, l.Machines()...)
}

// complexRoute is the way between machines to a complex server.
func complexRoute(t *testing.T) route {
	t.Helper()
	for _, r := range routes(t) {
		if r.to.complex {
			return r
		}
	}
	t.Fatal("no such route")
	return route{}
}

// When the netman of a complex server dies, all that it served are told at once, at both ends.
func TestComplexServerLosesItsNetman(t *testing.T) {
	r := complexRoute(t)
	lis := r.to.listen(t, r.service(), circuit.Options{})
	var ends []*circuit.Conn
	for range 3 {
		caller, server, err := r.meet(lis, lis.Addr().String(), circuit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { caller.Close(); server.Close() })
		ends = append(ends, server)
	}
	r.to.KillNetman(unix.SIGKILL)
	for _, c := range ends {
		_, _, err := c.Next()
		wantCleared(t, "the server's end", err, x25.CauseOutOfOrder, 0, "netman is gone", unix.EHOSTDOWN)
		select {
		case <-c.Done():
		case <-time.After(bound):
			t.Error("Done is not closed")
		}
		if err := c.WriteDatagram(nil, 0); !errors.Is(err, unix.EHOSTDOWN) {
			t.Errorf("writing then: %v", err)
		}
	}
	r.to.Netman()
	var caller *circuit.Conn
	eventually(t, "the name is registered again", func() (ok bool) {
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if call, err := lis.Accept(); err == nil {
				call.Accept()
			}
		}()
		var err error
		if caller, err = dial(t, r.from.Machine, lis.Addr().String(), circuit.Options{}); err != nil {
			lis.SetDeadline(time.Unix(1, 0))
		}
		<-answered
		lis.SetDeadline(time.Time{})
		return err == nil
	})
	caller.Close()
}

// What was written before a close is there, though the whole process ends with it; a circuit outlives its Listener.
func TestComplexCloseAndListener(t *testing.T) {
	r := complexRoute(t)
	r.leavesNothing(t)
	lis := r.to.listen(t, r.service(), circuit.Options{})
	service := lis.Addr().String()
	caller, server, err := r.meet(lis, service, circuit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	waiting := r.from.dialLater(t, t.Context(), service)
	eventually(t, "the call waits", func() bool { return len(rows(t, r.from.Machine, "circuits")) == 2 })
	lis.Close()
	wantCleared(t, "a call that the listener did not take", waiting.ends(t), x25.CauseNotObtainable, 0, "*", unix.ENOENT)
	want := octets(t, 50000)
	if err := server.WriteDatagram(want, 0); err != nil {
		t.Fatal(err)
	}
	server.Clear(0x42, "bye")
	if got, _, err := whole(caller); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d octets, %v", len(got), err)
	}
	_, _, err = caller.Next()
	wantCleared(t, "then", err, x25.CauseDTE, 0x42, "bye", unix.ECONNREFUSED)
	caller.Close()
}

// A stream both ways at once through a complex server, beside one whose caller never reads: octet for octet.
func TestComplexStreams(t *testing.T) {
	r := complexRoute(t)
	lis := r.to.listen(t, r.service(), circuit.Options{})
	service := lis.Addr().String()
	asleep, writer, err := r.meet(lis, service, circuit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { asleep.Close(); writer.Close() })
	fill(t, writer, octets(t, 60000))
	caller, server, err := r.meet(lis, service, circuit.Options{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close(); server.Close() })
	began := time.Now()
	there, back := stream(t, caller, server), stream(t, server, caller)
	there.carries(t, 32<<20)
	back.carries(t, 32<<20)
	t.Logf("%d MB each way in %v", 32, time.Since(began).Round(time.Millisecond))
	there.finish()
	back.finish()
}

// A complex server written in Python from protocol.md alone, with nothing but the standard library.
func TestComplexServerInPython(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := newPlace(t, l.Machine("grumpy")), newPlace(t, l.Machine("doc"))
	need(t, doc.Machine, "python3")
	text, err := os.ReadFile("complex.py")
	if err != nil {
		t.Fatal(err)
	}
	write(t, doc.Machine, "/root/complex.py", string(text))
	p := start(t, doc.Machine, nil, "python3", "-I", "/root/complex.py", "/run/dnet/door", "echo.doc")
	p.says(t, &p.stdout, "listening\n")
	all := gather(t, []place{grumpy, doc}, "echo.doc", 50)
	converse(t, all, 5)
	noise := octets(t, 1<<20)
	caller := all[0].Conn
	go func() {
		for _, m := range messages() {
			if err := m.send(caller, noise); err != nil {
				t.Errorf("datagram %.20v: %v", m, err)
				return
			}
		}
	}()
	for i, m := range messages() {
		if err := m.receive(caller, noise); err != nil {
			t.Fatalf("datagram %d %.20v: %v", i, m, err)
		}
	}
	if err := caller.Interrupt([]byte("who")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-caller.Interrupts():
		if string(got) != "WHO" {
			t.Errorf("interrupt %q", got)
		}
	case <-time.After(bound):
		t.Error("no interrupt comes back")
	}
	caller.Write([]byte("close"))
	if _, err := io.ReadAll(caller); err == nil {
		t.Error("the server does not say why it closes")
	} else {
		wantCleared(t, "the server's close", err, x25.CauseDTE, 0x42, "as you wish", unix.ECONNREFUSED)
	}
	p.Process.Kill()
	_, _, err = all[1].Next()
	wantCleared(t, "a server that is killed", err, x25.CauseDTE, x25.DiagProgramDied, "*", unix.ECONNRESET)
	for _, c := range all {
		c.Close()
	}
	idle(t, l.Machines()...)
}
