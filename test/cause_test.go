package test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// The table of causes of protocol.md 4, typed from there: what happened, and what whoever holds the circuit is told of it.

// caller is a kind of program that calls services: a way to be told.
type caller struct {
	name string
	// call calls a service and writes the server's part (see act). When the server is ready it says so by closing ready, and it waits for the
	// end of the circuit. It returns what it was told, of a call that came to nothing at once.
	call func(t *testing.T, from place, service, part string, ready chan<- struct{}) ending
}

// callers are all kinds of them; the rows below are asked of each.
var callers = []caller{{"circuit", callByCircuit}}

func callByCircuit(t *testing.T, from place, service, part string, ready chan<- struct{}) ending {
	c, err := from.dial(t.Context(), service, circuit.Options{})
	if err != nil {
		return endingOf(err)
	}
	defer c.Close()
	if err := c.WriteDatagram([]byte(part), 0); err != nil {
		return endingOf(err)
	}
	octets, _, err := c.Next()
	if err != nil || string(octets) != "ready" {
		t.Errorf("%s: the server says %q, %v", service, octets, err)
		return endingOf(err)
	}
	close(ready)
	for {
		if _, _, err := c.Next(); err != nil {
			return endingOf(err)
		}
	}
}

// The endings of the table.
var (
	endNoService  = ending{0x0d, 0, unix.ENOENT, "no such service or machine: "}
	endBusy       = ending{0x01, 0, unix.EBUSY, "busy: "}
	endRefused    = ending{0x00, 0x42, unix.ECONNREFUSED, "refused: not today"}
	endNoServer   = ending{0x00, 0xf2, unix.ECONNREFUSED, "refused: cannot start the server of "}
	endOutOfOrder = ending{0x09, 0, unix.EHOSTDOWN, "the machine, the link to it or a netman is gone"}
	endClosed     = ending{0x00, 0, 0, ""}
	endDied       = ending{0x00, 0xf1, unix.ECONNRESET, "the program at the other end died"}
	endServerDied = ending{0x00, 0xf1, unix.ECONNRESET, "the program at the other end died: the server of "}
)

// scene is two machines on which everything can happen.
type scene struct {
	route
	t      *testing.T
	server *program // the resident one, once it is started
}

// newScene makes the machines, with transient actors as services.
func newScene(t *testing.T, local bool) *scene {
	t.Helper()
	write := func(name, more string) string { return actorService(t, name+".%m", more) }
	broken := strings.Replace(write("broken", ""), actorPath(t), "/root/broken", 1)
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "sneezy"},
		Servtab: write("transient", "") + write("full", "max = 1\n") + broken})
	for _, m := range l.Machines() {
		sh(t, m, "printf '#!/no/such/interpreter\\n' >/root/broken; chmod 755 /root /root/broken")
	}
	netmans(l.Machines())
	if t.Failed() {
		t.FailNow()
	}
	s := &scene{t: t}
	s.name, s.from, s.to, s.registered = "between machines", newPlace(t, l.Machine("grumpy")), newPlace(t, l.Machine("sneezy")), new(atomic.Int32)
	if local {
		s.name, s.to, s.direct = "within a machine", s.from, true
	}
	return s
}

// resident starts a resident actor, and gives its service.
func (s *scene) resident() string {
	service := s.service()
	s.server = startActor(s.t, s.to.Machine, "listen", service)
	return service
}

func (s *scene) transient() string { return "transient." + s.to.Name }

// fate is a row: what happens, and what the caller is told.
type fate struct {
	name   string
	remote bool // only where there are two machines
	kills  bool // the machines are of no use afterwards
	// setUp prepares it, and gives the service to be called and the server's part.
	setUp func(s *scene) (service, part string)
	// happen does it, once the server is ready; nil: nothing has to be done, or the call fails.
	happen func(s *scene)
	told   ending
	limit  time.Duration // in which the caller is told; 0: at once
}

func transient(part string) func(*scene) (string, string) {
	return func(s *scene) (string, string) { return s.transient(), part }
}

func resident(part string) func(*scene) (string, string) {
	return func(s *scene) (string, string) { return s.resident(), part }
}

var fates = []fate{
	{name: "no such service", setUp: func(s *scene) (string, string) { return "nothing." + s.to.Name, "" }, told: endNoService},
	{name: "no such machine", setUp: func(*scene) (string, string) { return "transient.happy", "" }, told: endNoService},
	{name: "nobody offers it", setUp: func(*scene) (string, string) { return "nothing", "" }, told: endNoService},
	{name: "busy: as many calls as max", setUp: fullService, told: endBusy},
	{name: "busy: as many calls as wait for a listener", setUp: fullListener, told: endBusy},
	{name: "refused", setUp: refusing, told: endRefused},
	{name: "the server cannot be started", setUp: func(s *scene) (string, string) { return "broken." + s.to.Name, "" }, told: endNoServer},

	{name: "a resident server closes", setUp: resident("close"), told: endClosed},
	{name: "a transient server closes", setUp: transient("close"), told: endClosed},
	{name: "a resident server clears", setUp: resident("clear 42 not today"), told: endRefused},
	{name: "a transient server aborts", setUp: transient("abort 42 not today"), told: endRefused},
	{name: "a resident server exits without a word", setUp: resident("exit 0"), told: endDied},
	{name: "a transient server exits with status 0", setUp: transient("exit 0"), told: endClosed},
	{name: "a transient server exits with status 3", setUp: transient("exit 3"), told: endServerDied},
	{name: "a resident server is killed", setUp: resident("wait"), happen: func(s *scene) { s.server.Process.Kill() }, told: endDied},
	{name: "a transient server is killed", setUp: transient("wait"), happen: killTransient, told: endServerDied},

	{name: "the machine loses its power", remote: true, kills: true, setUp: transient("wait"),
		happen: func(s *scene) { s.to.Kill() }, told: endOutOfOrder, limit: tolerance},
	{name: "the far netman is killed and its cable cut", remote: true, kills: true, setUp: transient("wait"),
		happen: func(s *scene) { s.to.LinkDown(); s.to.KillNetman(unix.SIGKILL) }, told: endOutOfOrder, limit: tolerance},
	{name: "the far interface goes down", remote: true, kills: true, setUp: resident("wait"),
		happen: func(s *scene) { sh(s.t, s.to.Machine, "ip link set eth0 down") }, told: endOutOfOrder, limit: tolerance},
	{name: "the own interface goes down", remote: true, kills: true, setUp: resident("wait"),
		happen: func(s *scene) { sh(s.t, s.from.Machine, "ip link set eth0 down") }, told: endOutOfOrder},
	{name: "the far netman is killed", remote: true, kills: true, setUp: resident("wait"),
		happen: func(s *scene) { s.to.KillNetman(unix.SIGKILL) }, told: endOutOfOrder, limit: tolerance},
	{name: "the far netman is stopped", remote: true, kills: true, setUp: resident("wait"),
		happen: func(s *scene) { s.to.KillNetman(unix.SIGTERM) }, told: endOutOfOrder},
	{name: "the own netman is killed", kills: true, setUp: resident("wait"),
		happen: func(s *scene) { s.from.KillNetman(unix.SIGKILL) }, told: endOutOfOrder},
	{name: "the own netman is stopped", kills: true, setUp: resident("wait"),
		happen: func(s *scene) { s.from.KillNetman(unix.SIGTERM) }, told: endOutOfOrder},
}

// fullService is one whose one server is busy.
func fullService(s *scene) (string, string) {
	service := "full." + s.to.Name
	c, err := s.from.dial(s.t.Context(), service, circuit.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return service, ""
}

// fullListener is a listener that has all the calls that it may leave unanswered.
func fullListener(s *scene) (string, string) {
	service := s.service()
	lis := s.to.listen(s.t, service, circuit.Options{})
	ctx, giveUp := context.WithCancel(s.t.Context())
	s.t.Cleanup(giveUp)
	for range backlog {
		s.from.dialLater(s.t, ctx, service)
		call, err := lis.Accept()
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { call.Refuse(0, "") })
	}
	return service, ""
}

// refusing is a listener that refuses a call.
func refusing(s *scene) (string, string) {
	service := s.service()
	lis := s.to.listen(s.t, service, circuit.Options{})
	go func() {
		if call, err := lis.Accept(); err == nil {
			call.Refuse(0x42, "not today")
		}
	}()
	return service, ""
}

// killTransient kills the server that netman has started.
func killTransient(s *scene) {
	for _, r := range rows(s.t, s.to.Machine, "circuits") {
		if pid, ok := r["pid"]; ok {
			sh(s.t, s.to.Machine, fmt.Sprint("kill -9 ", pid))
		}
	}
}

// Whatever ends a call or a circuit, the caller is told, with its own cause, errno and text, and nothing is left.
func TestCauses(t *testing.T) {
	for _, kind := range callers {
		for _, local := range []bool{false, true} {
			var shared *scene
			where := map[bool]string{false: "between machines", true: "within a machine"}[local]
			t.Run(kind.name+" "+where, func(t *testing.T) {
				t.Parallel()
				for _, f := range fates {
					if f.remote && local {
						continue
					}
					if f.kills {
						t.Run(f.name, func(t *testing.T) {
							t.Parallel()
							newScene(t, local).play(t, kind, f)
						})
						continue
					}
					if shared == nil {
						shared = newScene(t, local)
					}
					t.Run(f.name, func(t *testing.T) {
						s := *shared
						s.t = t
						s.leavesNothing(t)
						s.play(t, kind, f)
					})
				}
			})
		}
	}
}

// play lets it happen, and looks what the caller is told.
func (s *scene) play(t *testing.T, kind caller, f fate) {
	service, part := f.setUp(s)
	ready, over := make(chan struct{}), make(chan ending, 1)
	go func() { over <- kind.call(t, s.from, service, part, ready) }()
	began := time.Now()
	if f.happen != nil {
		select {
		case <-ready:
		case e := <-over:
			t.Fatalf("the call comes to nothing: %v", e)
		}
		began = time.Now()
		f.happen(s)
	}
	limit := f.limit + tolerance/2
	select {
	case got := <-over:
		if !got.is(f.told) {
			t.Errorf("the caller is told %v; want %v", got, f.told)
		}
		if took := time.Since(began); took > slack*limit {
			t.Errorf("the caller is told after %v; want within %v", took, limit)
		}
	case <-time.After(bound):
		t.Fatalf("the caller is not told; want %v", f.told)
	}
	if s.server != nil {
		s.server.Process.Kill()
		<-s.server.ended
	}
}
