package test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// asRoot is the user line that a bytes service needs where the world has no nobody.
func asRoot() string {
	if lab.ManyUsers() {
		return ""
	}
	return "user = \"root\"\n"
}

// filter is an entry of servtab in bytes mode.
func filter(name, more string, argv ...string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	return fmt.Sprintf("[[service]]\nname = %q\nexec = [%s]\nmode = \"bytes\"\n%s%s\n", name, strings.Join(quoted, ", "), asRoot(), more)
}

// cleared is the cause of a failed call or an ended circuit.
func cleared(err error) (*circuit.Cleared, bool) {
	var c *circuit.Cleared
	ok := errors.As(err, &c)
	return c, ok
}

// echo sends a line and reads it back.
func echo(t *testing.T, c *circuit.Conn, line string) {
	t.Helper()
	if _, err := c.Write([]byte(line)); err != nil {
		t.Fatalf("write %q: %v", line, err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != line {
		t.Fatalf("echo of %q is %q, %v", line, got, err)
	}
}

// finish ends this direction and reads the other to its end.
func finish(t *testing.T, c *circuit.Conn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Errorf("CloseWrite: %v", err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("after the end of input there are %d octets and %v", len(rest), err)
	}
	c.Close()
}

func TestFilter(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	t.Run("echoes", func(t *testing.T) {
		for _, from := range l.Machines() {
			start(t, from, strings.NewReader("hello\x00\xff"), "netman", "nc", "cat.doc").ends(t).must(t, "hello\x00\xff", "", 0)
			start(t, from, strings.NewReader(""), "netman", "nc", "cat.doc").ends(t).must(t, "", "", 0)
		}
		idle(t, l.Machines()...)
	})
	// max = 2 of cat: one more is cleared 01, and the service recovers by itself.
	for _, from := range l.Machines() {
		t.Run("its limit, called from "+from.Name, func(t *testing.T) {
			var held []*circuit.Conn
			for range 2 {
				c, err := dial(t, from, "cat.doc", circuit.Options{Stream: true})
				if err != nil {
					t.Fatal(err)
				}
				echo(t, c, "held\n")
				held = append(held, c)
			}
			if n := processes("/bin/cat"); n != 2 {
				t.Errorf("%d servers run for two calls", n)
			}
			_, err := dial(t, from, "cat.doc", circuit.Options{Stream: true})
			if why, ok := cleared(err); !ok || why.Cause != x25.CauseBusy || !errors.Is(err, unix.EBUSY) {
				t.Errorf("the third call: %v; want cause 01", err)
			}
			p := start(t, from, strings.NewReader("x"), "netman", "nc", "cat.doc").ends(t)
			if p.status() != 1 || p.stdout.String() != "" || !strings.HasPrefix(p.stderr.String(), "netman: cat.doc: busy") {
				t.Errorf("netman nc: status %d, output %q, message %q; want 1 and: busy", p.status(), &p.stdout, &p.stderr)
			}
			for _, c := range held {
				echo(t, c, "still here\n")
			}
			finish(t, held[0])
			eventually(t, "the service takes a call again", func() bool {
				c, err := dial(t, from, "cat.doc", circuit.Options{Stream: true})
				if err == nil {
					echo(t, c, "again\n")
					finish(t, c)
				}
				return err == nil
			})
			held[1].Abort(0, "")
			idle(t, l.Machines()...)
			eventually(t, "no server is left", func() bool { return processes("/bin/cat") == 0 })
		})
	}
	_ = grumpy
	for _, s := range rows(t, doc, "services") {
		if s["service"] == "cat.doc" && s["refused"].(float64) < 2 {
			t.Errorf("status says that %v calls were refused", s["refused"])
		}
	}
}

// A filter that does not end at the end of its input is told, and then made to.
func TestFilterThatStays(t *testing.T) {
	t.Parallel()
	a, b := nap(), nap()
	l := network(t, lab.Config{
		Machines: []string{"grumpy", "doc"},
		Servtab:  filter("sleeper.%m", "", strings.Fields(a)...) + filter("deaf.%m", "", "/bin/sh", "-c", "trap '' HUP TERM; "+b+"; :"),
	})
	var held []*circuit.Conn
	for _, service := range []string{"sleeper.doc", "deaf.doc"} {
		c, err := dial(t, l.Machine("grumpy"), service, circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	eventually(t, "the filters run", func() bool { return processes(a) == 1 && processes(b) == 1 })
	for _, c := range held {
		c.Close()
	}
	eventually(t, "the filters have ended", func() bool { return processes(a)+processes(b) == 0 })
	idle(t, l.Machines()...)
}

// who asks a service on which machine it runs, and keeps the circuit.
func who(t *testing.T, from *lab.Machine, service string) (*circuit.Conn, string, error) {
	t.Helper()
	c, err := dial(t, from, service, circuit.Options{Stream: true})
	if err != nil {
		return nil, "", err
	}
	octets, _, err := c.Next()
	if err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	name := strings.TrimSpace(string(octets))
	if c.Machine != name {
		t.Errorf("the circuit is to %q, and the server says that it runs on %q", c.Machine, name)
	}
	return c, name, nil
}

// Two machines have a service of one name: the first to answer has the call, a full one passes it on, and one that is gone is missed by
// nobody.
func TestTwoServersOfOneName(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{})
	grumpy := l.Machine("grumpy")
	servers := map[string]*lab.Machine{"sneezy": l.Machine("sneezy"), "doc": l.Machine("doc")}
	for _, m := range servers {
		write(t, m, "/root/work.toml", filter("work", "max = 1\n", "/bin/sh", "-c", "uname -n; exec cat")+lab.Open)
	}
	all := l.Machines()
	netmans(all[:1])
	netmans(all[1:], "-c", "/root/work.toml")

	first, one, err := who(t, grumpy, "work")
	if err != nil {
		t.Fatal(err)
	}
	second, other, err := who(t, grumpy, "work")
	if err != nil {
		t.Fatalf("%s is full, and the call does not go to the other: %v", one, err)
	}
	if one == other || servers[one] == nil || servers[other] == nil {
		t.Errorf("the calls went to %q and %q", one, other)
	}
	_, _, err = who(t, grumpy, "work")
	if why, ok := cleared(err); !ok || why.Cause != x25.CauseBusy {
		t.Errorf("both are full: %v; want cause 01", err)
	}
	echo(t, first, "to the first\n")
	echo(t, second, "to the second\n")
	finish(t, second)
	eventually(t, "the other serves again", func() bool {
		c, name, err := who(t, grumpy, "work")
		if err != nil {
			return false
		}
		if name != other {
			t.Errorf("%s is full and had the call", name)
		}
		finish(t, c)
		return true
	})
	servers[one].KillNetman(unix.SIGKILL)
	first.Close()
	for range 5 {
		c, name, err := who(t, grumpy, "work")
		if err != nil || name != other {
			t.Fatalf("a call after %s was killed: to %q, %v", one, name, err)
		}
		finish(t, c)
		idle(t, grumpy, servers[other])
	}
}

// A program registers a service at the door, answers its calls itself, and takes the name with it when it ends.
func TestRegistered(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	lis := listen(t, doc, "answer", circuit.Options{})
	if _, err := circuit.Listen(t.Context(), "answer", circuit.Options{Door: door(t, doc)}); err == nil {
		t.Error("a second server registered the same name")
	}
	go answer(lis)
	for range 3 {
		c, err := dial(t, grumpy, "answer", circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		if c.Machine != "doc" {
			t.Errorf("the circuit is to %q", c.Machine)
		}
		echo(t, c, "to a program\n")
		finish(t, c)
	}
	_, err := dial(t, doc, "answer", circuit.Options{})
	if why, ok := cleared(err); !ok || why.Cause != x25.CauseDTE || why.Diag != 7 || why.Text != "you are on doc" {
		t.Errorf("a call that the server refuses: %v", err)
	}
	lis.Close()
	eventually(t, "the name is withdrawn", func() bool {
		_, err := dial(t, grumpy, "answer", circuit.Options{})
		why, ok := cleared(err)
		return ok && why.Cause == x25.CauseNotObtainable
	})
	idle(t, l.Machines()...)
}

// answer echoes to root on grumpy, and refuses others.
func answer(lis *circuit.Listener) {
	for {
		call, err := lis.Accept()
		if err != nil {
			return
		}
		if call.Machine != "grumpy" || call.User != "root" || call.Service != "answer" {
			call.Refuse(7, "you are on "+call.Machine)
			continue
		}
		if c, err := call.Accept(); err == nil {
			io.Copy(c, c)
			c.CloseWrite()
			c.Close()
		}
	}
}

// netman keeps a resident server of servtab running, follows servtab at SIGHUP, and changes nothing when that is wrong.
func TestReload(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	netman := daemon(t, doc)
	reload := func(servtab, says string) {
		t.Helper()
		write(t, doc, "/etc/dnet/servtab.toml", servtab)
		netman.Process.Signal(unix.SIGHUP)
		netman.says(t, &netman.stderr, says)
	}
	call := func(service string) *program {
		return start(t, doc, strings.NewReader("hello"), "netman", "nc", service).ends(t)
	}
	call("cat.doc").must(t, "hello", "", 0)

	held, err := dial(t, doc, "cat.doc", circuit.Options{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	twice := "[[service]]\nname = \"once.%m\"\nexec = [\"netman\", \"nc\", \"-l\", \"once.doc\"]\nresident = true\nuser = \"root\"\n"
	reload(twice+filter("tac.%m", "", "tac"), "netman: reload: /etc/dnet/servtab.toml: 2 services\n")
	call("tac.doc").must(t, "hello", "", 0)
	if p := call("cat.doc"); p.status() != 1 || !strings.Contains(p.stderr.String(), "no ") {
		t.Errorf("a service that servtab names no more: status %d, %q", p.status(), &p.stderr)
	}
	echo(t, held, "its circuit stays\n")
	finish(t, held)

	// This server takes one call and ends. netman starts it again.
	for range 2 {
		eventually(t, "the resident server has a call", func() bool { return call("once.doc").status() == 0 })
	}
	if !strings.Contains(netman.stderr.String(), "service once.doc: its server has ended") {
		t.Errorf("netman does not say that the server has ended:\n%s", &netman.stderr)
	}

	// A name may go from a server that stays to one for each call, and back.
	once := "[[service]]\nname = \"once.%m\"\nexec = [\"tac\"]\nmode = \"bytes\"\nuser = \"root\"\n"
	for range 2 {
		reload(once, "netman: reload: /etc/dnet/servtab.toml: 1 services\n")
		eventually(t, "a server is started for each call", func() bool { return call("once.doc").stdout.String() == "hello" })
		reload(twice, "netman: reload: /etc/dnet/servtab.toml: 1 services\n")
		eventually(t, "the resident server has a call", func() bool { p := call("once.doc"); return p.status() == 0 && p.stdout.String() == "" })
	}
	reload(filter("tac.%m", "", "tac"), "netman: reload: /etc/dnet/servtab.toml: 1 services\n")
	eventually(t, "the other service is there", func() bool { return call("tac.doc").status() == 0 })

	reload("bad = 1\n", "netman: reload: /etc/dnet/servtab.toml:1: unknown key \"bad\"")
	call("tac.doc").must(t, "hello", "", 0)

	reload("", "netman: reload: /etc/dnet/servtab.toml: 0 services\n")
	if p := call("tac.doc"); p.status() != 1 {
		t.Errorf("no service is left, and a call ends with %d", p.status())
	}
	eventually(t, "the resident server has ended", func() bool { return processes("netman nc -l once.doc") == 0 })
	netman.Process.Signal(unix.SIGTERM)
	if netman.ends(t); netman.status() != 0 {
		t.Errorf("netman ends with %d", netman.status())
	}
}
