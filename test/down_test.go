package test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// told waits until a circuit's holder is told that the other end is out of order.
func told(t *testing.T, end string, c *circuit.Conn, since time.Time, limit time.Duration) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(time.Until(since.Add(limit))):
		t.Errorf("%s has not been told after %v", end, limit)
		return
	}
	took := time.Since(since)
	_, _, err := c.Next()
	if why, ok := cleared(err); !ok || why.Cause != x25.CauseOutOfOrder {
		t.Errorf("%s was told %v; want cause 09", end, err)
	} else {
		t.Logf("%s was told after %v: %v", end, took, err)
	}
}

// departure is a way in which a machine goes away and comes back.
type departure struct {
	name        string
	leave, back func(t *testing.T, m *lab.Machine)
	here, there time.Duration // in which who holds a circuit is told, on that machine and on the other; 0: it cannot be known
}

// What is promised is the tolerance where silence tells, and at once where somebody does: half of it, so that one is told from the other.
var departures = []departure{
	{"cable pulled", func(_ *testing.T, m *lab.Machine) { m.LinkDown() }, func(_ *testing.T, m *lab.Machine) { m.LinkUp() },
		tolerance / 2, slack * tolerance},
	{"interface down", func(t *testing.T, m *lab.Machine) { sh(t, m, "ip link set eth0 down") },
		func(t *testing.T, m *lab.Machine) { sh(t, m, "ip link set eth0 up") }, tolerance / 2, slack * tolerance},
	{"netman killed", kill(unix.SIGKILL), restart, tolerance / 2, slack * tolerance},
	{"netman stopped", kill(unix.SIGTERM), restart, tolerance / 2, tolerance / 2},
	{"netman silent", kill(unix.SIGSTOP), func(t *testing.T, m *lab.Machine) { kill(unix.SIGKILL)(t, m); restart(t, m) },
		0, slack * tolerance},
}

func kill(sig unix.Signal) func(*testing.T, *lab.Machine) {
	return func(_ *testing.T, m *lab.Machine) { m.KillNetman(sig) }
}

func restart(_ *testing.T, m *lab.Machine) { m.Netman() }

// However a machine goes away, whoever holds a circuit is told on both ends, rx ends, its command ends; and the machine comes back with
// no clean-up by hand.
func TestGone(t *testing.T) {
	for _, how := range departures {
		for _, goes := range []string{"doc", "grumpy"} {
			t.Run(how.name+" on "+goes, func(t *testing.T) {
				t.Parallel()
				gone(t, how, goes)
			})
		}
	}
}

func gone(t *testing.T, how departure, goes string) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	caller, server := join(t, grumpy, doc, circuit.Options{})
	a := nap()
	rx := start(t, grumpy, nil, "rx", "doc", "echo asleep; "+a)
	rx.says(t, &rx.stdout, "asleep\n")
	eventually(t, a+" runs", func() bool { return processes(a) == 1 })
	limits := map[string]time.Duration{"grumpy": how.there, "doc": how.there}
	limits[goes] = how.here

	began := time.Now()
	how.leave(t, l.Machine(goes))
	var all sync.WaitGroup
	for machine, c := range map[string]*circuit.Conn{"grumpy": caller, "doc": server} {
		if limit := limits[machine]; limit > 0 {
			all.Go(func() { told(t, "whoever holds the circuit on "+machine, c, began, limit) })
		}
	}
	all.Wait()
	if limits["grumpy"] > 0 {
		lost(t, rx)
	}
	if limits["doc"] > 0 {
		eventually(t, a+" has ended", func() bool { return processes(a) == 0 })
	}

	how.back(t, l.Machine(goes))
	eventually(t, "calls go again", func() bool { return run(t, grumpy, "rx", "doc", "uname -n").status() == 0 })
	run(t, grumpy, "rx", "doc", "uname -n").must(t, "doc\n", "", 0)
	run(t, doc, "rx", "grumpy", "uname -n").must(t, "grumpy\n", "", 0)
	caller.Close()
	server.Close()
	idle(t, l.Machines()...)
}

// lost asks rx to say that it has lost the connection to doc.
func lost(t *testing.T, rx *program) {
	t.Helper()
	rx.ends(t)
	if rx.status() != 255 || rx.stdout.String() != "asleep\n" || !strings.HasPrefix(rx.stderr.String(), "rx: doc: lost connection") {
		t.Errorf("rx ended with %d, output %q, message %q; want 255 and: lost connection", rx.status(), &rx.stdout, &rx.stderr)
	}
}

// netman ends at SIGTERM and SIGINT with status 0, and its servers with it; after SIGKILL too.
func TestNetmanEnds(t *testing.T) {
	t.Parallel()
	a, b := nap(), nap()
	servtab := filter("sleeper.%m", "", strings.Fields(a)...) +
		"[[service]]\nname = \"resident.%m\"\nexec = [\"" + strings.ReplaceAll(b, " ", "\", \"") + "\"]\nresident = true\n" + asRoot()
	l := lab.New(t, lab.Config{Machines: []string{"doc"}, Servtab: servtab})
	doc := l.Machine("doc")
	for name, sig := range map[string]unix.Signal{"SIGTERM": unix.SIGTERM, "SIGINT": unix.SIGINT, "SIGKILL": unix.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			netman := daemon(t, doc)
			c, err := dial(t, doc, "sleeper.doc", circuit.Options{Stream: true})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the servers run", func() bool { return processes(a) == 1 && processes(b) == 1 })
			began := time.Now()
			netman.Process.Signal(sig)
			netman.ends(t)
			if want := map[unix.Signal]int{unix.SIGKILL: 137}[sig]; netman.status() != want {
				t.Errorf("netman ended with %d (%v), want %d", netman.status(), netman.err, want)
			}
			told(t, "the caller", c, began, slack*tolerance)
			eventually(t, "the servers have ended", func() bool { return processes(a)+processes(b) == 0 })
			if sig != unix.SIGKILL {
				if left := sh(t, doc, "ls /run/dnet"); left != "door.lock\n" {
					t.Errorf("in /run/dnet are left %q", left)
				}
			}
		})
	}
	netman := daemon(t, doc) // over what the killed one left
	netman.Process.Kill()
	netman.ends(t)
	p := run(t, doc, "netman", "status")
	if p.status() != 1 || !strings.HasPrefix(p.stderr.String(), "netman: /run/dnet/door: ") {
		t.Errorf("status of a netman that is dead: %d, %q", p.status(), &p.stderr)
	}
	p = run(t, doc, "rx", "doc", "true")
	if p.status() != 255 || !strings.Contains(p.stderr.String(), "netman") {
		t.Errorf("rx without netman: %d, %q", p.status(), &p.stderr)
	}
}

// A resident server has its name again when its netman has been killed and started anew, though it does nothing about it.
func TestListenerOutlivesNetman(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	lost := make(chan error, 16)
	lis := listen(t, doc, "answer", circuit.Options{Lost: func(err error) { lost <- err }})
	go answer(lis)
	call := func() {
		t.Helper()
		c, err := dial(t, grumpy, "answer", circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, "to a program\n")
		finish(t, c)
	}
	call()
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		began := time.Now()
		doc.KillNetman(sig)
		if err := <-lost; !errors.Is(err, unix.EHOSTDOWN) || time.Since(began) > slack*tolerance {
			t.Errorf("after %v the server is told %v, after %v", sig, err, time.Since(began))
		}
		doc.Netman()
		began = time.Now()
		if err := <-lost; err != nil || time.Since(began) > slack*time.Second {
			t.Errorf("netman is back, and the server is told %v, after %v", err, time.Since(began))
		}
		call()
	}
	lis.Close()
	eventually(t, "the name is withdrawn", func() bool {
		_, err := dial(t, grumpy, "answer", circuit.Options{})
		return errors.Is(err, unix.ENOENT)
	})
}
