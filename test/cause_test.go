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
	if err != nil || strings.TrimSpace(string(octets)) != "ready" {
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
		Servtab: write("transient", "") + write("full", "max = 1\n") + broken + filters()})
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

	{name: "a filter exits with status 0", setUp: filtering("exits"), told: endClosed},
	{name: "a filter exits with status 3", setUp: filtering("fails"), told: endClosed},
	{name: "a filter is killed", setUp: filtering("dies"), told: endServerDied},

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

// filters are services in bytes mode: each ends in its own way, and one writes down what it sees of its caller's end.
func filters() (all string) {
	for name, script := range map[string]string{
		"exits": "echo ready; read part; exit 0",
		"fails": "echo ready; read part; exit 3",
		"dies":  "echo ready; read part; kill -9 $$",
		"witness": "trap 'echo hup >/root/seen; exit' HUP; trap 'echo term >/root/seen; exit' TERM; echo ready; " +
			"while read line; do :; done; echo end >/root/seen",
	} {
		all += fmt.Sprintf("[[service]]\nname = \"%s.%%m\"\nexec = [\"/bin/sh\", \"-c\", %q]\nmode = \"bytes\"\nuser = \"root\"\n", name, script)
	}
	return all
}

func filtering(name string) func(*scene) (string, string) {
	return func(s *scene) (string, string) { return name + "." + s.to.Name, "begin\n" }
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

// leaving is a row of the other table: what happens to a caller, an actor, and what its server is told.
type leaving struct {
	name   string
	remote bool // only where there are two machines
	kills  bool // the machines are of no use afterwards
	part   string
	happen func(s *scene, caller *program)
	told   ending
	filter string        // what a filter sees of it: the end of its input, or a signal
	limit  time.Duration // in which the server is told; 0: at once
}

var leavings = []leaving{
	{name: "the caller closes", part: "close", told: endClosed, filter: "end"},
	{name: "the caller clears", part: "clear 42 not today", told: endRefused, filter: "hup"},
	{name: "the caller aborts", part: "abort 42 not today", told: endRefused, filter: "hup"},
	{name: "the caller exits without a word", part: "exit 0", told: endDied, filter: "hup"},
	{name: "the caller is killed", part: "wait", happen: func(_ *scene, p *program) { p.Process.Kill() }, told: endDied, filter: "hup"},
	{name: "the caller's machine loses its power", remote: true, kills: true, part: "wait",
		happen: func(s *scene, _ *program) { s.from.Kill() }, told: endOutOfOrder, filter: "hup", limit: tolerance},
	{name: "the caller's netman is killed", remote: true, kills: true, part: "wait",
		happen: func(s *scene, _ *program) { s.from.KillNetman(unix.SIGKILL) }, told: endOutOfOrder, filter: "hup", limit: tolerance},
	{name: "the caller's netman is stopped", remote: true, kills: true, part: "wait",
		happen: func(s *scene, _ *program) { s.from.KillNetman(unix.SIGTERM) }, told: endOutOfOrder, filter: "hup"},
	{name: "the own interface goes down", remote: true, kills: true, part: "wait",
		happen: func(s *scene, _ *program) { sh(s.t, s.to.Machine, "ip link set eth0 down") }, told: endOutOfOrder, filter: "hup"},
	{name: "the own netman is killed", kills: true, part: "wait",
		happen: func(s *scene, _ *program) { s.to.KillNetman(unix.SIGKILL) }, told: endOutOfOrder, filter: "end or term"},
}

// server is a kind of program that takes calls.
type server struct {
	name string
	// serve takes one call of the service, which it has registered when it closes ready, and waits for the end of the circuit.
	serve func(t *testing.T, at place, service string, ready chan<- struct{}) ending
}

var servers = []server{{"circuit", serveByCircuit}}

func serveByCircuit(t *testing.T, at place, service string, ready chan<- struct{}) ending {
	lis := at.listen(t, service, circuit.Options{})
	defer lis.Close()
	close(ready)
	call, err := lis.Accept()
	if err != nil {
		return endingOf(err)
	}
	c, err := call.Accept()
	if err != nil {
		return endingOf(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(bound))
	for {
		if _, _, err := c.Next(); err != nil {
			return endingOf(err)
		}
	}
}

// Whatever ends a circuit, its server is told: a program by cause, errno and text, a filter by the end of its input or a signal.
func TestCausesAtTheServer(t *testing.T) {
	for _, local := range []bool{false, true} {
		t.Run(map[bool]string{false: "between machines", true: "within a machine"}[local], func(t *testing.T) {
			shared := newScene(t, local)
			for _, f := range leavings {
				if f.remote && local {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					s := *shared
					if s.t = t; f.kills {
						t.Parallel()
						s = *newScene(t, local)
					}
					for _, kind := range servers {
						s.leave(t, kind, f)
						if f.kills {
							s = *newScene(t, local)
						}
					}
					s.leaveFilter(t, f)
					if !f.kills {
						idle(t, s.from.Machine, s.to.Machine)
					}
				})
			}
		})
	}
}

// leave lets it happen to the caller of a program.
func (s *scene) leave(t *testing.T, kind server, f leaving) {
	service := s.service()
	ready, over := make(chan struct{}), make(chan ending, 1)
	go func() { over <- kind.serve(t, s.to, service, ready) }()
	<-ready
	caller := startActor(t, s.from.Machine, "call", service, f.part)
	began := time.Now()
	if f.happen != nil {
		eventually(t, "the call is accepted", func() bool { return s.running(service) == 1 })
		began = time.Now()
		f.happen(s, caller)
	}
	limit := f.limit + tolerance/2
	select {
	case got := <-over:
		if !got.is(f.told) {
			t.Errorf("the server is told %v; want %v", got, f.told)
		}
		if took := time.Since(began); took > slack*limit {
			t.Errorf("the server is told after %v; want within %v", took, limit)
		}
	case <-time.After(bound):
		t.Fatalf("the server is not told; want %v", f.told)
	}
}

// leaveFilter lets it happen to the caller of a filter.
func (s *scene) leaveFilter(t *testing.T, f leaving) {
	service := "witness." + s.to.Name
	sh(t, s.to.Machine, "rm -f /root/seen")
	caller := startActor(t, s.from.Machine, "call", service, "hear", f.part)
	caller.says(t, &caller.stdout, "heard\n")
	if f.happen != nil {
		f.happen(s, caller)
	}
	var seen string
	within(t, slack*(f.limit+tolerance/2), "the filter is told", func() bool {
		seen = strings.TrimSpace(sh(t, s.to.Machine, "cat /root/seen 2>/dev/null; :"))
		return seen != ""
	})
	if !strings.Contains(f.filter, seen) {
		t.Errorf("the filter is told by %q; want %q", seen, f.filter)
	}
}

// running is how many calls a service serves.
func (s *scene) running(service string) float64 {
	if r := find(rows(s.t, s.to.Machine, "services"), "service", "service", service); r != nil {
		return r["running"].(float64)
	}
	return 0
}
