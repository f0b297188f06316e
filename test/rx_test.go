package test

import (
	"crypto/md5"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// noise is n octets that never repeat, the same each time.
func noise(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), n) }

func TestRx(t *testing.T) {
	l := network(t, lab.Config{})
	grumpy := l.Machine("grumpy")
	t.Run("forms", func(t *testing.T) {
		for _, args := range [][]string{
			{"sneezy", "uname", "-n"}, {"sneezy!", "uname", "-n"}, {"sneezy!uname", "-n"}, {"sneezy!uname -n"}, {"sneezy", "uname -n"},
			{"-n", "sneezy", "uname", "-n"}, {"--", "sneezy", "uname", "-n"}, {"SNEEZY", "uname", "-n"},
		} {
			run(t, grumpy, "rx", args...).must(t, "sneezy\n", "", 0)
		}
		run(t, grumpy, "rx", "grumpy", "uname", "-n").must(t, "grumpy\n", "", 0)
		run(t, l.Machine("doc"), "rx", "grumpy", "uname", "-n").must(t, "grumpy\n", "", 0)
		run(t, grumpy, "rx", "sneezy", "rx", "doc", "uname", "-n").must(t, "doc\n", "", 0)
	})
	t.Run("statuses", func(t *testing.T) {
		for command, want := range map[string]int{
			"true": 0, "false": 1, "exit 7": 7, "exit 255": 255, "kill -TERM $$": 143, "kill -KILL $$": 137,
		} {
			run(t, grumpy, "rx", "sneezy", command).must(t, "", "", want)
		}
		if p := run(t, grumpy, "rx", "sneezy", "no-such-command"); p.status() != 127 || !strings.Contains(p.stderr.String(), "no-such-command") {
			t.Errorf("a command that is not there: status %d, %q", p.status(), &p.stderr)
		}
	})
	t.Run("input and status", func(t *testing.T) {
		input := "one\ntwo\x00three\xff"
		start(t, grumpy, strings.NewReader(input), "rx", "doc", "cat; exit 7").ends(t).must(t, input, "", 7)
		sh(t, grumpy, "printf 'in a file' >f")
		if got := sh(t, grumpy, "rx doc 'cat; exit 7' <f; echo = $?"); got != "in a file= 7\n" {
			t.Errorf("rx doc 'cat; exit 7' <f; echo = $? says %q", got)
		}
	})
	t.Run("outputs apart", func(t *testing.T) {
		run(t, grumpy, "rx", "doc", "echo out; echo err >&2").must(t, "out\n", "err\n", 0)
	})
	t.Run("no such machine", func(t *testing.T) {
		p := run(t, grumpy, "rx", "nosuch", "true")
		if p.status() != 255 || p.stdout.String() != "" || !strings.HasPrefix(p.stderr.String(), "rx: nosuch: ") {
			t.Errorf("status %d, output %q, message %q; want 255 and a message that names the machine", p.status(), &p.stdout, &p.stderr)
		}
		if p.took > slack*time.Second/2 {
			t.Errorf("it took %v; about half a second is promised", p.took)
		}
	})
	t.Run("own failures", func(t *testing.T) {
		for _, args := range [][]string{
			{}, {"sneezy"}, {"sneezy!"}, {"!uname"}, {"-Z", "sneezy", "true"}, {"no_such", "true"}, {strings.Repeat("x", 33), "true"}, {"", "true"},
		} {
			p := run(t, grumpy, "rx", args...)
			if p.status() != 255 || p.stdout.String() != "" || !strings.HasPrefix(p.stderr.String(), "rx: ") {
				t.Errorf("rx %q: status %d, output %q, message %q; want 255 and a message", args, p.status(), &p.stdout, &p.stderr)
			}
		}
	})
	t.Run("many at once", func(t *testing.T) { manyAtOnce(t, grumpy) })
	t.Run("a gibibyte", func(t *testing.T) { gibibyte(t, grumpy) })
	idle(t, l.Machines()...)
}

// A server of rx runs commands only where servtab says as whom.
func TestRxWithoutUser(t *testing.T) {
	l := network(t, lab.Config{Servtab: "[[service]]\nname = \"rx.%m\"\nexec = [\"rx\"]\n", Machines: []string{"grumpy", "doc"}})
	p := run(t, l.Machine("grumpy"), "rx", "doc", "echo it ran")
	// Without a user it is nobody's, and where there is no nobody it is not even started.
	why := map[bool]string{true: "names no user", false: "cannot start"}[lab.ManyUsers()]
	if p.status() != 255 || p.stdout.String() != "" || !strings.HasPrefix(p.stderr.String(), "rx: doc: ") ||
		!strings.Contains(p.stderr.String(), why) {
		t.Errorf("status %d, output %q, message %q; want 255 and a refusal", p.status(), &p.stdout, &p.stderr)
	}
}

// An rx that is interrupted or killed ends the command, and what the command started, on the other machine.
func TestRxEnds(t *testing.T) {
	l := network(t, lab.Config{})
	grumpy := l.Machine("grumpy")
	for name, sig := range map[string]unix.Signal{"SIGINT": unix.SIGINT, "SIGTERM": unix.SIGTERM, "SIGHUP": unix.SIGHUP, "SIGKILL": unix.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			a, b := nap(), nap()
			p := start(t, grumpy, nil, "rx", "doc", "echo asleep; "+a+" | "+b)
			endedBy(t, p, sig, a, b)
		})
		t.Run(name+" while input flows", func(t *testing.T) {
			a := nap()
			p := start(t, grumpy, yes(t, grumpy), "rx", "doc", "echo asleep; "+a)
			endedBy(t, p, sig, a)
		})
		t.Run(name+" while output flows", func(t *testing.T) {
			a := nap()
			r, w, err := os.Pipe() // that nobody reads
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			c := grumpy.Command("rx", "doc", a+" & echo asleep >&2; exec yes "+a)
			c.Stdout = w
			p := launch(t, c, nil)
			p.says(t, &p.stderr, "asleep\n")
			eventually(t, "the output is blocked", func() bool {
				n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
				return err == nil && n >= 60<<10
			})
			// Without job control a shell's background processes ignore SIGINT; the rest of the group is the command.
			endedBy(t, p, sig, "yes "+a)
		})
	}
	t.Run("SIGKILL and a command that hears no signal", func(t *testing.T) {
		a := nap()
		p := start(t, grumpy, nil, "rx", "doc", "trap '' HUP INT TERM; echo asleep; "+a)
		endedBy(t, p, unix.SIGKILL, a)
	})
	t.Run("SIGINT and a command that catches it", func(t *testing.T) {
		p := start(t, grumpy, nil, "rx", "doc", "trap 'echo caught; exit 3' INT; echo asleep; while :; do sleep 0.01; done")
		p.says(t, &p.stdout, "asleep\n")
		p.Process.Signal(unix.SIGINT)
		p.ends(t).must(t, "asleep\ncaught\n", "", 3)
	})
	t.Run("the key ^C", func(t *testing.T) {
		a := nap()
		// The key goes to the whole foreground group, as this signal does.
		c := grumpy.Command("sh", "-c", "rx doc 'echo asleep; "+a+"' | cat")
		c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		p := launch(t, c, nil)
		p.says(t, &p.stdout, "asleep\n")
		unix.Kill(-p.Process.Pid, unix.SIGINT)
		p.ends(t)
		eventually(t, "the remote command has ended", func() bool { return processes(a) == 0 })
	})
	idle(t, l.Machines()...)
}

// endedBy sends rx a signal when its commands run, and waits for the end of all.
func endedBy(t *testing.T, p *program, sig unix.Signal, commands ...string) {
	t.Helper()
	for _, c := range commands {
		eventually(t, c+" has begun", func() bool { return processes(c) == 1 })
	}
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	// A command that does not end at SIGHUP has a second.
	for _, c := range commands {
		within(t, slack*time.Second, c+" has ended", func() bool { return processes(c) == 0 })
	}
	select {
	case <-p.ended:
	case <-time.After(time.Until(sent.Add(slack * time.Second))):
		t.Fatalf("rx has not ended %v after %v, though the command has", slack*time.Second, sig)
	}
	if p.status() == 0 {
		t.Errorf("rx ended with status 0 after %v; it complained %q", sig, &p.stderr)
	}
}

// yes is the endless output of yes(1) on a machine.
func yes(t *testing.T, m *lab.Machine) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	defer w.Close()
	c := m.Command("yes")
	c.Stdout = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return r
}

// gibibyte sends 1 GiB through a circuit, 64 MiB with -short.
func gibibyte(t *testing.T, grumpy *lab.Machine) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	sum := md5.New()
	p := start(t, grumpy, io.TeeReader(noise(size), sum), "rx", "doc", "md5sum").ends(t)
	p.must(t, fmt.Sprintf("%x  -\n", sum.Sum(nil)), "", 0)
	t.Logf("%d MiB in %v: %.0f MB/s", size>>20, p.took, float64(size)/1e6/p.took.Seconds())
}

// manyAtOnce runs forty commands on two machines, each with its own input and status.
func manyAtOnce(t *testing.T, grumpy *lab.Machine) {
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			number := fmt.Sprint(i)
			p := start(t, grumpy, strings.NewReader(number), "rx", []string{"sneezy", "doc"}[i%2], "cat; exit "+number)
			p.ends(t).must(t, number, "", i)
		})
	}
	all.Wait()
}
