package test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// terminals makes two machines, and a real terminal on one, in which vim on the other is quiet.
func terminals(t *testing.T) (s *screen, grumpy, doc *lab.Machine) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc = l.Machine("grumpy"), l.Machine("doc")
	write(t, doc, "/root/.vimrc", "set nocompatible mouse=a noswapfile t_RV=\n")
	return newScreen(t, grumpy), grumpy, doc
}

// Programs that need a terminal get one, of this size, and give this one back as it was.
func TestRxTerminal(t *testing.T) {
	s, grumpy, doc := terminals(t)
	need(t, grumpy, "vim")
	before := s.modes()
	s.types("rx doc vim text") // by itself, as vim needs one
	s.shows("~\n", `"text" [New`)
	s.keys("i")
	s.types("grüße")
	s.tmux("resize-window", "-x", "60", "-y", "12")
	s.comes("vim has 12 lines", func(text string) bool { return strings.Count(text, "~") == 9 })
	s.tmux("resize-window", "-x", "80", "-y", "24")
	s.comes("vim has 24 lines", func(text string) bool { return strings.Count(text, "~") == 21 })
	s.keys("Escape")
	s.types(":wq")
	s.ends("here$")
	if got := sh(t, doc, "cat text"); got != "grüße\n\n" {
		t.Errorf("the file has %q", got)
	}
	asBefore := func(when string) {
		t.Helper()
		if got := s.state(); got != fresh {
			t.Errorf("%s the terminal is left with %s, want %s", when, got, fresh)
		}
		if got := s.modes(); got != before {
			t.Errorf("%s the modes are\n%s\nnot\n%s", when, got, before)
		}
	}
	asBefore("after vim")

	s.clears("here$")
	s.types("rx doc top -d 1")
	s.shows("Tasks:", "PID USER")
	s.keys("q")
	s.ends("here$")
	asBefore("after top")

	s.clears("here$")
	s.types("rx -t doc 'tty; stty size; echo $TERM'; rx -T doc tty; rx doc tty; echo x | rx -t doc tty")
	s.shows("/dev/pts/", "24 80", "screen-256color", "not a tty\nnot a tty\nrx: standard input is no terminal", "not a tty\nhere$")

	nap := nap()
	s.clears("here$")
	s.types("rx -t doc 'trap \"echo caught; exit 9\" INT; " + nap + "'; echo status $?")
	eventually(t, "it sleeps", func() bool { return processes(nap) == 1 })
	s.keys("C-c")
	s.shows("\n^Ccaught\nstatus 9")
	asBefore("after ^C")
	idle(t, grumpy, doc)
}

// ^Z and ~^Z, the signals of job control, and those that end rx: the terminal is always given back.
func TestRxTerminalSignals(t *testing.T) {
	s, grumpy, doc := terminals(t)
	before := s.modes()
	asBefore := func(when string) {
		t.Helper()
		if got := s.modes(); got != before {
			t.Errorf("%s the modes are\n%s\nnot\n%s", when, got, before)
		}
	}
	s.types("rx -t doc bash --norc")
	s.shows("bash-")
	raw := s.modes()
	s.types("PS1='far$ '; sleep 777")
	eventually(t, "it sleeps", func() bool { return processes("sleep 777") == 1 })
	s.keys("C-z") // there, not here
	s.shows("Stopped")
	s.ends("far$")
	s.types("kill %1")
	s.keys("Enter", "~", "C-z") // here, not there
	s.ends("here$")
	asBefore("stopped by ~^Z,")
	s.types("fg")
	s.keys("Enter")
	s.ends("far$")
	if got := s.modes(); got != raw {
		t.Errorf("continued, the modes are\n%s\nnot\n%s", got, raw)
	}
	sh(t, grumpy, "kill -TSTP $(pidof rx)")
	s.ends("here$")
	asBefore("stopped by SIGTSTP,")
	s.types("fg")
	s.keys("Enter")
	s.ends("far$")
	sh(t, grumpy, "kill -TERM $(pidof rx)") // an interactive bash ignores it
	s.types("echo still here")
	s.shows("\nstill here")
	s.keys("Enter", "~", ".")
	s.shows("rx: doc: connection closed")
	s.ends("here$")
	asBefore("after ~.")
	s.types("rx -t doc cat; echo status $?")
	eventually(t, "cat runs", func() bool { return processes("cat") == 1 })
	sh(t, grumpy, "kill -TERM $(pidof rx)")
	s.shows("status 143")
	asBefore("after SIGTERM")
	idle(t, grumpy, doc)
}

// A link that goes, a netman that dies and an rx that is killed leave no process there, and no trace in the terminal here.
func TestRxTerminalLost(t *testing.T) {
	for name, how := range map[string]struct {
		lose func(grumpy, doc *lab.Machine)
		told bool
	}{
		"link cut":            {func(grumpy, doc *lab.Machine) { grumpy.LinkDown() }, true},
		"far netman killed":   {func(grumpy, doc *lab.Machine) { doc.KillNetman(unix.SIGKILL) }, true},
		"netman here killed":  {func(grumpy, doc *lab.Machine) { grumpy.KillNetman(unix.SIGKILL) }, true},
		"rx killed":           {func(grumpy, doc *lab.Machine) { grumpy.Sh("kill -KILL $(pidof rx)") }, false},
		"far rx killed":       {func(grumpy, doc *lab.Machine) { doc.Sh("kill -KILL $(pidof rx)") }, true},
		"the terminal closed": {func(grumpy, doc *lab.Machine) { grumpy.Sh("tmux -u kill-server") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, grumpy, doc := terminals(t)
			need(t, grumpy, "vim")
			before := s.modes()
			a, b := nap(), nap()
			edit := "vim " + strings.ReplaceAll(a, " ", "-")
			write(t, doc, "/root/edit", a+" &\n(trap '' HUP TERM; exec "+b+") &\nexec "+edit+"\n")
			s.types("rx -t doc sh edit")
			s.shows("~\n", "sleep-")
			for _, n := range []string{a, b} {
				eventually(t, n+" runs", func() bool { return processes(n) == 1 })
			}
			lost := time.Now()
			how.lose(grumpy, doc)
			if how.told {
				s.shows("rx: doc: lost connection: ", "here$ rx -t doc sh edit")
				if took := time.Since(lost); took > slack*2*time.Second {
					t.Errorf("that was told after %v", took)
				}
				s.ends("here$")
				if got := s.state(); got != fresh {
					t.Errorf("the terminal is left with %s, want %s", got, fresh)
				}
				if got := s.modes(); got != before {
					t.Errorf("the modes are\n%s\nnot\n%s", got, before)
				}
			}
			if name == "far rx killed" {
				// Nobody is left who could end what ignores SIGHUP.
				sh(t, doc, "pkill -KILL -f -x '"+b+"'")
			}
			for _, n := range []string{a, b, edit} {
				within(t, slack*(tolerance+time.Second), n+" has ended", func() bool { return processes(n) == 0 })
			}
		})
	}
}
