// Package test runs the real commands, bin/netman, bin/rx and bin/ncu, on machines made of namespaces (package lab), and asks of them what
// the manual pages and protocol.md promise.
//
//	rx_test.go         commands on another machine: input, output, status, signals
//	service_test.go    services: filters, limits, several servers of one name, resident ones
//	direct_test.go     programs of one machine, joined without netman between
//	data_test.go       large and marked datagrams, both ends at once
//	faults_test.go     a bad wire
//	cause_test.go      the table of causes, row by row
//	kill_test.go       kill -9 of anybody at any moment
//	abandon_test.go    calls and registrations that are given up
//	sleepers_test.go   readers that sleep, and one that does not
//	actor_test.go      the programs that are killed in these
//	down_test.go       whoever holds a circuit is told when the other end is gone
//	netman_test.go     the verbs of netman, reload
//	doctor_test.go     what keeps machines from seeing each other is found out
//	stopped_test.go    programs that are stopped cost nobody else anything
//	flood_test.go      one station floods another, and the others hardly notice
//	several_test.go    two netmans on one interface
//	trace_test.go      the frames of a running netman, for people and for tshark
//	badinput_test.go   what is wrong is said
//	capture_test.go    what is on the wire, as tshark sees it
//	seal_test.go       sealed links: what cannot be read on it, machines with another key, modes that differ
//	programs_test.go   programs of others through rx and the door
//	netphys_test.go    circuits as files, from Python and Go; netphys_poll_test.go waits for them, netphys_shell_test.go has shells,
//	                   filters, C, and many
//	complex_test.go    servers with all their circuits on one descriptor; complex.py is one
//	drivers_test.go    programs that drive ssh drive rx; several machines at once
//	terminal_test.go   rx in a real terminal
//	ncu_test.go        logins, and sessions that outlive their circuit
//
// Where a time is promised, five times that is asserted. Nothing here sleeps: a wait is for an event, or for a state that is looked
// at again and again.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "actor" {
		os.Exit(act(os.Args[2:]))
	}
	flag.Set("test.parallel", "4") // they wait more than they work
	lab.Main(m)
}

const (
	tolerance = time.Second      // netman's default (protocol.md 3)
	slack     = 5                // what is promised may take so many times as long here
	bound     = 30 * time.Second // ends what should have ended by itself
)

// network makes machines with a netman on each.
func network(t *testing.T, cfg lab.Config, args ...string) *lab.Lab {
	t.Helper()
	l := lab.New(t, cfg)
	netmans(l.Machines(), args...)
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// netmans starts netman on machines, all at once: each claims its name for half a second.
func netmans(machines []*lab.Machine, args ...string) {
	var all sync.WaitGroup
	for _, m := range machines {
		all.Go(func() { m.Netman(args...) })
	}
	all.Wait()
}

// said is what a program has written to one of its outputs.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed, and replaced, when there is more
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}

func (s *said) state() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.more
}

func (s *said) String() string {
	text, _ := s.state()
	return text
}

// program is one that runs in a machine.
type program struct {
	*lab.Cmd
	stdout, stderr said
	began          time.Time
	ended          chan struct{}
	err            error // how; then
	took           time.Duration
}

// start starts a program with its input; nil is none.
func start(t *testing.T, m *lab.Machine, stdin io.Reader, name string, args ...string) *program {
	t.Helper()
	return launch(t, m.Command(name, args...), stdin)
}

// launch starts a command that has been prepared.
func launch(t *testing.T, c *lab.Cmd, stdin io.Reader) *program {
	t.Helper()
	p := &program{Cmd: c, began: time.Now(), ended: make(chan struct{})}
	p.stdout.more, p.stderr.more = make(chan struct{}), make(chan struct{})
	p.Stdin, p.WaitDelay = stdin, bound
	if p.Stdout == nil {
		p.Stdout = &p.stdout
	}
	p.Stderr = &p.stderr
	if err := p.Start(); err != nil {
		t.Fatalf("%s: %v", c, err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	go func() {
		p.err = p.Wait()
		p.took = time.Since(p.began)
		close(p.ended)
	}()
	return p
}

// says waits until the program has written a text to an output.
func (p *program) says(t *testing.T, where *said, text string) {
	t.Helper()
	late := time.After(bound)
	for {
		all, more := where.state()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-more:
		case <-p.ended:
			if !strings.Contains(where.String(), text) {
				t.Fatalf("%s ended (%v) before it said %q; it said:\n%s%s", p, p.err, text, &p.stdout, &p.stderr)
			}
		case <-late:
			t.Fatalf("%s did not say %q within %v; it said:\n%s%s", p, text, bound, &p.stdout, &p.stderr)
		}
	}
}

// ends waits until the program has ended.
func (p *program) ends(t *testing.T) *program {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(bound):
		p.Process.Kill()
		t.Fatalf("%s did not end within %v; it said:\n%s%s", p, bound, &p.stdout, &p.stderr)
	}
	return p
}

// status is the exit status, 128 and the signal's number after a signal.
func (p *program) status() int {
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return 0
	case !errors.As(p.err, &exit):
		return -1
	case exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 128 + int(exit.Sys().(interface{ Signal() unix.Signal }).Signal())
}

// must asks for exactly this output, error output and status.
func (p *program) must(t *testing.T, stdout, stderr string, status int) {
	t.Helper()
	if p.stdout.String() != stdout || p.stderr.String() != stderr || p.status() != status {
		t.Errorf("%s\nsaid %.400q, complained %.400q, ended with %d (%v);\nit should say %.400q, complain %.400q, end with %d",
			p, p.stdout.String(), p.stderr.String(), p.status(), p.err, stdout, stderr, status)
	}
}

// run runs a program without input to its end.
func run(t *testing.T, m *lab.Machine, name string, args ...string) *program {
	t.Helper()
	return start(t, m, nil, name, args...).ends(t)
}

// sh runs a line of shell, which must succeed, and gives its output.
func sh(t *testing.T, m *lab.Machine, line string) string {
	t.Helper()
	p := run(t, m, "sh", "-c", line)
	if p.err != nil {
		t.Fatalf("%s$ %s: %v\n%s%s", m.Name, line, p.err, &p.stdout, &p.stderr)
	}
	return p.stdout.String()
}

// daemon starts netman as a program whose end, and its status, are the test's own affair.
func daemon(t *testing.T, m *lab.Machine, args ...string) *program {
	t.Helper()
	p := start(t, m, nil, "netman", args...)
	p.says(t, &p.stderr, "netman: "+m.Name+" is up\n")
	return p
}

// write writes a file in a machine.
func write(t *testing.T, m *lab.Machine, path, text string) {
	t.Helper()
	if err := m.Do(func() error { return os.WriteFile(path, []byte(text), 0o644) }); err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
}

// eventually waits for a state that nobody announces, such as that of /proc.
func eventually(t *testing.T, what string, state func() bool) {
	t.Helper()
	within(t, bound, what, state)
}

func within(t *testing.T, limit time.Duration, what string, state func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !state(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// marks counts the sleeps of this run.
var marks atomic.Int32

// nap is a command that sleeps longer than any test, with an argument of its own by which it is found again.
func nap() string { return fmt.Sprintf("sleep 9%05d.5", marks.Add(1)) }

// processes counts the processes, in all machines, with exactly this command line.
func processes(command string) (n int) {
	want := strings.ReplaceAll(command, " ", "\x00") + "\x00"
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if text, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && string(text) == want {
			n++
		}
	}
	return n
}

// row is a line of netman's status.
type row map[string]any

// rows are what a verb of netman shows.
func rows(t *testing.T, m *lab.Machine, verb string) (all []row) {
	t.Helper()
	p := run(t, m, "netman", verb, "--json")
	if p.err != nil {
		t.Fatalf("%s: %s: %v\n%s", m.Name, p, p.err, &p.stderr)
	}
	for line := range strings.Lines(p.stdout.String()) {
		r := row{}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %s: %v in %q", m.Name, p, err, line)
		}
		all = append(all, r)
	}
	return all
}

// idle waits until none of the machines has a circuit, or a server that was started for one.
func idle(t *testing.T, machines ...*lab.Machine) {
	t.Helper()
	for _, m := range machines {
		var left []row
		eventually(t, "no circuit and no server left on "+m.Name, func() bool {
			left = rows(t, m, "circuits")
			for _, s := range rows(t, m, "services") {
				if s["running"] != 0.0 {
					left = append(left, s)
				}
			}
			return len(left) == 0
		})
	}
}

// door is a machine's door, as a path of this process.
func door(t *testing.T, m *lab.Machine) string {
	t.Helper()
	c := m.Command("sleep", "infinity")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/proc/%d/root%s", c.Process.Pid, lab.Door)
}

// dial calls a service from a machine.
func dial(t *testing.T, m *lab.Machine, service string, o circuit.Options) (*circuit.Conn, error) {
	t.Helper()
	o.Door = door(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	conn, err := circuit.Dial(ctx, service, o)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(bound))
	}
	return conn, err
}

// listen registers a service on a machine.
func listen(t *testing.T, m *lab.Machine, service string, o circuit.Options) *circuit.Listener {
	t.Helper()
	o.Door = door(t, m)
	lis, err := circuit.Listen(t.Context(), service, o)
	if err != nil {
		t.Fatalf("%s: listen %s: %v", m.Name, service, err)
	}
	t.Cleanup(func() { lis.Close() })
	return lis
}

// join makes a circuit between programs on two machines: the caller's end and the server's.
func join(t *testing.T, from, to *lab.Machine, o circuit.Options) (caller, server *circuit.Conn) {
	t.Helper()
	service := "held." + to.Name
	lis := listen(t, to, service, circuit.Options{})
	accepted := make(chan error, 1)
	go func() {
		call, err := lis.Accept()
		if err == nil {
			server, err = call.Accept()
		}
		accepted <- err
	}()
	caller, err := dial(t, from, service, o)
	if err == nil {
		err = <-accepted
	}
	if err != nil {
		t.Fatalf("a circuit from %s to %s: %v", from.Name, to.Name, err)
	}
	t.Cleanup(func() { server.Close() })
	server.SetDeadline(time.Now().Add(bound))
	return caller, server
}
