package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/netman/trust"
	"dnet/test/lab"
)

// stranger takes calls of this machine as if they came from a machine with authority, which no wire can give yet.
type stranger struct {
	l       *loop
	service *service
	call    trust.Call
	offered chan *endpoint
}

func (s *stranger) shares() bool { return false }

func (s *stranger) offer(c *node.Circuit) bool {
	s.l.changeRunning(s.service, +1)
	e := &endpoint{l: s.l, c: c, phase: spawning, bytes: true, server: &server{service: s.service, called: *s.service}}
	s.l.hold(c, e)
	s.l.identify(e, s.call)
	s.offered <- e
	return true
}

// nobody is what a server says that was started as nobody.
func (s *stranger) nobody() string { return fmt.Sprintf("%d none", s.service.as.uid) }

// daemon is a netman without a wire in this process, whose service "who" tells what became of the caller.
func daemon(t *testing.T, rules ...trust.Rule) (s *stranger, door string) {
	t.Helper()
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	l.setup(&setup{machine: "doc", tolerance: time.Second})
	door = filepath.Join(t.TempDir(), "door")
	if l.door, err = l.openDoor(door); err != nil {
		t.Fatal(err)
	}
	l.trust = trustRules{rules: rules, files: true}
	nobody, err := findUser("")
	if err != nil {
		lab.Skip(t, "nobody", err.Error())
	}
	s = &stranger{l: l, offered: make(chan *endpoint, 1), service: &service{
		name: "who", path: "/bin/sh", argv: []string{"sh", "-c", "echo $(id -u) $DNET_USER $DNET_TRUST"}, bytes: true, caller: true, as: nobody, max: 9}}
	if _, errno, why := l.register("who", 0, s); errno != "" {
		t.Fatal(why)
	}
	go l.spawnServers()
	l.node.Start(l.now, &l.out)
	l.flush()
	ended := make(chan error, 1)
	go func() { ended <- l.run() }()
	t.Cleanup(func() {
		l.post(func() { l.stop = errStopped })
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.door.close()
		close(l.spawner)
	})
	return s, door
}

// do has the loop do something, and waits until it has.
func (s *stranger) do(f func()) {
	done := make(chan struct{})
	s.l.post(func() {
		f()
		close(done)
	})
	<-done
}

// ask calls as the stranger, and gives what the server says.
func (s *stranger) ask(t *testing.T, door string, call trust.Call) (string, error) {
	t.Helper()
	call.Machine, call.Service = "moon", "who"
	s.do(func() { s.call = call })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := dialWho(ctx, door)
	if err != nil {
		return "", err
	}
	defer c.Close()
	<-s.offered
	said, err := io.ReadAll(c)
	return strings.TrimSpace(string(said)), err
}

// dialWho calls the service once the machine's name is claimed.
func dialWho(ctx context.Context, door string) (c *circuit.Conn, err error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err = circuit.Dial(ctx, "who", circuit.Options{Stream: true, Door: door})
		if !errors.Is(err, unix.ENOENT) || ctx.Err() != nil {
			return c, err
		}
		<-tick.C
	}
}

// A caller from a machine with authority becomes the user that a rule makes of it, or nobody.
func TestIdentify(t *testing.T) {
	if os.Getuid() != 0 {
		lab.Skip(t, "root", "only root runs servers as other users")
	}
	rule := trust.Rule{Where: "tab:7", Machines: []string{"moon"}, Users: []string{"root", "daemon", "erin"}, As: []string{"=", "root"}, Services: []string{"*"}}
	s, door := daemon(t, rule)
	nobody := s.nobody()
	for _, row := range []struct {
		name string
		call trust.Call
		says string
	}{
		{"root is named on both sides", trust.Call{User: "root", Authority: trust.Accepted}, "0 root tab:7"},
		{"without authority", trust.Call{User: "root"}, nobody},
		{"a rule, and an account that may not log in", trust.Call{User: "daemon", Authority: trust.Secret}, nobody},
		{"a rule, and no account", trust.Call{User: "erin", Authority: trust.Accepted}, nobody},
		{"no rule, and no file", trust.Call{User: "nobody", Authority: trust.Accepted}, nobody},
		{"no rule, no file, no account", trust.Call{User: "frank", Authority: trust.Accepted}, nobody},
		{"another user is wanted", trust.Call{User: "erin", As: "root", Authority: trust.Secret}, "0 root tab:7"},
	} {
		if said, err := s.ask(t, door, row.call); err != nil || said != row.says {
			t.Errorf("%s: the server says %q, %v; want %q", row.name, said, err, row.says)
		}
	}
}

// What servtab says while somebody's file is read is for later calls: this one is served as it came, and not as the user that is named now.
func TestReloadWhileAFileIsRead(t *testing.T) {
	if os.Getuid() != 0 {
		lab.Skip(t, "root", "only root runs servers as other users")
	}
	s, door := daemon(t)
	slow, want := &reading{}, s.nobody()
	s.do(func() { s.l.reading = map[string]*reading{"erin": slow} })
	said := make(chan string, 1)
	go func() {
		text, err := s.ask(t, door, trust.Call{User: "erin", Authority: trust.Accepted})
		if err != nil {
			text = err.Error()
		}
		said <- text
	}()
	eventually(t, "the call waits", func() bool {
		waits := false
		s.do(func() { waits = len(slow.waiting) == 1 })
		return waits
	})
	s.do(func() {
		s.service.caller, s.service.as, s.service.user = false, identity{name: "root", home: "/root"}, "root"
		s.service.argv = []string{"sh", "-c", "echo another"}
		slow.tell(unreadFile("erin", "it is not"))
	})
	if text := <-said; text != want {
		t.Errorf("the server says %q; want %q", text, want)
	}
}

// While somebody's file is read the caller waits, and may go: then nothing is started, and nothing is left.
func TestCallerGoesWhileItsFileIsRead(t *testing.T) {
	s, door := daemon(t)
	slow := &reading{}
	s.do(func() { s.l.reading = map[string]*reading{"erin": slow} })
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	s.do(func() { s.call = trust.Call{Machine: "moon", User: "erin", Service: "who", Authority: trust.Accepted} })
	go func() {
		_, err := dialWho(ctx, door)
		asked <- err
	}()
	<-s.offered
	cancel()
	if err := <-asked; err == nil {
		t.Fatal("the call is answered before it is known who calls")
	}
	type state struct{ holders, running, waiting int }
	look := func() (st state) {
		s.do(func() { st = state{len(s.l.holders), s.service.running, len(slow.waiting)} })
		return st
	}
	eventually(t, "only the server's end waits", func() bool { return look() == state{holders: 1, running: 1, waiting: 1} })
	s.do(func() { slow.tell(unreadFile("erin", "it is not")) })
	eventually(t, "nothing is left", func() bool { return look() == state{} })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
