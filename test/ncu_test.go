package test

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// alices is a servtab that serves rx and ncu as alice.
func alices(options string) string {
	return "[[service]]\nname = \"rx.%m\"\nexec = [\"rx\"]\nuser = \"alice\"\n\n" +
		"[[service]]\nname = \"ncu.%m\"\nexec = [\"ncu\"" + options + "]\nuser = \"alice\"\n"
}

// withAlice makes machines on which there is alice, with a shell that is quiet.
func withAlice(t *testing.T, servtab string, machines ...string) *lab.Lab {
	t.Helper()
	if !lab.ManyUsers() {
		lab.Skip(t, "other users", "sessions are another user's")
	}
	l := lab.New(t, lab.Config{Machines: machines, Servtab: servtab})
	for _, m := range l.Machines() {
		sh(t, m, "echo 'alice:x:4711:4711:Alice:/tmp/alice:/bin/bash' >>/etc/passwd && echo 'alice:x:4711:' >>/etc/group && "+
			"echo 'crew:x:4712:alice' >>/etc/group && mkdir -p /tmp/alice && printf 'PS1=\"there\\\\$ \"\\nunset HISTFILE\\n' >/tmp/alice/.bash_profile && chown -R 4711:4711 /tmp/alice")
	}
	netmans(l.Machines())
	return l
}

func TestNcu(t *testing.T) {
	l := withAlice(t, alices(""), "grumpy", "doc")
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	s := newScreen(t, grumpy)
	before := s.modes()
	s.types("ncu doc")
	s.ends("there$")

	s.types("echo $(uname -n) $(id -un) $(id -Gn) $PWD $HOME $SHELL $TERM $(tty) $(stty size) $0 $(umask)")
	s.shows("doc alice alice crew /tmp/alice /tmp/alice /bin/bash screen-256color /dev/pts/", " 24 80 -bash 00")
	s.types("ps -o pid= -o sid= -p $$ | awk '{print $1 == $2 ? \"leader\" : \"member\"}'")
	s.shows("leader")
	s.types("echo grüße ♥ | tr a-z A-Z")
	s.shows("GRüßE ♥")

	s.types("sh -c 'trap \"echo resized \\$(stty size)\" WINCH; echo ready; while :; do sleep 0.05; done'")
	s.shows("\nready")
	s.tmux("resize-window", "-x", "100", "-y", "30")
	s.shows("resized 30 100")
	s.tmux("resize-window", "-x", "80", "-y", "24")
	s.shows("resized 24 80")
	s.keys("C-c")

	nap := nap()
	s.types(nap)
	eventually(t, "it sleeps", func() bool { return processes(nap) == 1 })
	s.keys("C-c")
	s.types("echo status $?")
	s.shows("status 130")
	s.types(nap)
	eventually(t, "it sleeps", func() bool { return processes(nap) == 1 })
	s.keys("C-z")
	s.shows("Stopped")
	s.types("bg; jobs")
	s.shows("Running")

	s.clears("there$")
	s.keys("~", "?")
	s.shows("~.   ends the connection")
	s.keys("Enter", "~", "~", "Enter")
	s.shows("/tmp/alice: Is a directory")
	s.types("clear; echo x~''.")
	s.shows("x~.")
	s.keys("~", "C-z")
	s.ends("here$")
	if got := s.modes(); got != before {
		t.Errorf("while ncu is stopped the modes are\n%s\nnot\n%s", got, before)
	}
	s.types("fg")
	s.keys("C-l")
	s.ends("there$")
	tmuxInNcu(t, s, doc)
	s.types("clear; exit 7")
	s.ends("here$")
	s.types("echo status $?")
	s.shows("status 7")
	if got := s.modes(); got != before {
		t.Errorf("after the end the modes are\n%s\nnot\n%s", got, before)
	}
	// Job control stays with the shell there, as with any login; what it leaves in the background is its own affair.
	sh(t, doc, "pkill -f -x '"+nap+"' || true")
	if err := doc.WaitLog("ncu: session of root@grumpy as alice: \"login\" on pts/", bound); err != nil {
		t.Error(err)
	}
	if err := doc.WaitLog(" s: exit status 7\n", bound); err != nil {
		t.Error(err)
	}
	idle(t, l.Machines()...)
}

// tmuxInNcu runs tmux over there, in the terminal that is tmux's here.
func tmuxInNcu(t *testing.T, s *screen, doc *lab.Machine) {
	t.Helper()
	s.types("tmux -u new-session 'echo tmux in tmux; while read line; do echo got $line; echo $line >file; done'")
	s.shows("tmux in tmux")
	s.types("grüße")
	s.shows("got grüße") // so that tmux has had the answers to what it asks a terminal at first
	s.keys("C-d")
	s.shows("[exited]")
	s.ends("there$")
	if got := sh(t, doc, "cat /tmp/alice/file"); got != "grüße\n" {
		t.Errorf("tmux has written %q", got)
	}
}

// The session ends with ~. and with the terminal, and leaves no process.
func TestNcuEnds(t *testing.T) {
	l := withAlice(t, alices(""), "grumpy", "doc")
	for _, how := range []string{"~.", "terminal closed", "client killed"} {
		t.Run(how, func(t *testing.T) {
			grumpy := l.Machine("grumpy")
			s := newScreen(t, grumpy)
			before := s.modes()
			a, b, c := nap(), nap(), nap()
			s.types("ncu doc")
			s.ends("there$")
			s.types("nohup " + a + " >/dev/null 2>&1 & (trap '' HUP TERM INT; " + b + ") & " + c)
			for _, n := range []string{a, b, c} {
				eventually(t, n+" runs", func() bool { return processes(n) == 1 })
			}
			switch how {
			case "~.":
				s.keys("Enter", "~", ".")
				s.shows("ncu: doc: connection closed")
				s.ends("here$")
				if got := s.modes(); got != before {
					t.Errorf("the modes are\n%s\nnot\n%s", got, before)
				}
			case "terminal closed":
				s.tmux("kill-server")
			case "client killed":
				s.m.Sh("kill -KILL $(pidof ncu)")
			}
			for _, n := range []string{a, b, c} {
				within(t, slack*time.Second, n+" has ended", func() bool { return processes(n) == 0 })
			}
			idle(t, l.Machines()...)
			run(t, grumpy, "ncu", "-r", "doc").must(t, "", "ncu: doc: standard input is no terminal; to run a command: rx doc COMMAND\n", 255)
		})
	}
	s := newScreen(t, l.Machine("doc"))
	s.types("ncu -r doc; echo status $?")
	s.shows("ncu: doc: there is no session to take up again", "status 255")
}

// vim in the screen, the link cut: the terminal here is a shell's again, and told why; when the cable is back the
// session goes on where it was.
func TestLinkCutInVim(t *testing.T) {
	l := withAlice(t, alices(""), "grumpy", "doc")
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	need(t, grumpy, "vim")
	write(t, doc, "/tmp/alice/vimrc", "set nocompatible mouse=a noswapfile t_RV=\n")
	sh(t, doc, "printf 'first line\\n' >/tmp/alice/text && chown 4711 /tmp/alice/*")
	s := newScreen(t, grumpy)
	before := s.modes()
	s.types("ncu doc")
	s.ends("there$")
	s.types("vim -u ~/vimrc ~/text")
	s.shows("first line", "~\n")
	s.keys("i")
	s.types("typed before")
	s.shows("typed before", "-- INSERT --")
	if got := s.state(); got == fresh {
		t.Fatalf("vim has switched on nothing: %s", got)
	}

	cut := time.Now()
	grumpy.LinkDown()
	s.shows("ncu: doc: lost connection: the machine, the link to it or a netman is gone", "the session is kept for 10m0s")
	if took := time.Since(cut); took > slack*2*time.Second {
		t.Errorf("that was told after %v", took)
	}
	s.comes("the shell's part of the screen is back", func(text string) bool { return strings.Contains(text, "here$ ncu doc") })
	if got := s.state(); got != fresh {
		t.Errorf("the terminal is left with %s, want %s", got, fresh)
	}
	if got := s.modes(); got != before {
		t.Errorf("the modes are\n%s\nnot\n%s", got, before)
	}

	s.types("typed while it was lost, to nobody")
	grumpy.LinkUp()
	s.shows("typed before", "first line", "-- INSERT --")
	s.types("typed after")
	s.keys("Escape")
	s.types(":wq")
	s.ends("there$")
	if got := sh(t, doc, "cat /tmp/alice/text"); got != "typed before\ntyped after\nfirst line\n" {
		t.Errorf("the file has %q", got)
	}
	s.types("exit")
	s.ends("here$")
	if got := s.state(); got != fresh {
		t.Errorf("after the end the terminal is left with %s, want %s", got, fresh)
	}
	idle(t, l.Machines()...)
}

// A session that its client has left is taken up by another, by ncu -r, and by nobody but its user.
func TestTakenUpAgain(t *testing.T) {
	l := withAlice(t, alices(", \"--keep\", \"1h\""), "grumpy", "doc")
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	s := newScreen(t, grumpy)
	s.types("ncu doc")
	s.ends("there$")
	s.types("n=$((6*7)); stty -echo; seq 100000 | tail -n 30000 & sleep 1000")
	s.shows("100000\n")
	nap := "sleep 1000"
	grumpy.LinkDown()
	s.shows("kept for 1h0m0s", "^C gives up")
	s.keys("C-c")
	s.shows("given up; as long as the session is kept, ncu -r doc takes it up again")
	s.ends("here$")
	if processes(nap) != 1 {
		t.Error("the session was not kept")
	}
	grumpy.LinkUp()
	// Another user of the same machine has neither the token nor the name.
	sh(t, grumpy, "cp -r /root/.local /tmp/alice && chown -R alice /tmp/alice/.local && chmod 700 /tmp/alice/.local")
	s.clears("here$")
	s.types("setpriv --reuid=4711 --regid=4711 --clear-groups env HOME=/tmp/alice ncu -r doc")
	s.shows("ncu: doc: there is no such session any more")
	s.clears("here$")
	s.types("ncu -r doc")
	s.shows("100000\n")
	s.keys("C-c")
	s.types("stty echo; clear; echo $n")
	s.shows("42\n")

	// netman's death is a lost link as well, and the session outlives it.
	doc.KillNetman(unix.SIGKILL)
	s.shows("ncu: doc: lost connection")
	doc.Netman()
	s.shows("ncu: doc: the session goes on")
	s.types("echo $((n + 1))")
	s.shows("43\n")
	s.types("exit 3")
	s.ends("here$")
	s.types("echo status $?; ls -A ~/.local/state/dnet/ncu | wc -l")
	s.shows("status 3\n0\n")
	idle(t, l.Machines()...)
}

// resumed sends a resume, typed from protocol.md 7, and returns the first message of the answer and what is shown then.
func resumed(t *testing.T, m *lab.Machine, token string) (kind byte, text string, c *circuit.Conn) {
	t.Helper()
	c, err := dial(t, m, "ncu.doc", circuit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.WriteDatagram([]byte("\x0a\x01"+token+strings.Repeat("\xff", 8)), circuit.Q)
	for {
		octets, bits, err := c.Next()
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if bits&circuit.Q != 0 && len(octets) > 0 {
			return octets[0], string(octets[1:]), c
		}
	}
}

// The token makes a session its holder's, who must be the user of the machine who began it; whoever had it is told.
func TestTakenFromAnother(t *testing.T) {
	l := withAlice(t, alices(""), "grumpy", "doc")
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	s := newScreen(t, grumpy)
	s.types("ncu doc; echo status $?")
	s.ends("there$")
	s.types("n=$((6*7))")
	text := sh(t, grumpy, "cat .local/state/dnet/ncu/doc.*; ls -ld .local/state/dnet/ncu .local/state/dnet/ncu/* | cut -c1-10")
	if !strings.HasSuffix(text, "\ndrwx------\n-rw-------\n") {
		t.Errorf("the token is not for one's own eyes: %q", text)
	}
	octets, err := hex.DecodeString(text[:32])
	if err != nil {
		t.Fatal(err)
	}
	token := string(octets)
	const none = "there is no such session any more"
	if kind, text, _ := resumed(t, doc, token); kind != 5 || text != none {
		t.Errorf("from another machine: %d %q", kind, text)
	}
	if kind, text, _ := resumed(t, grumpy, token[:15]+string([]byte{token[15] ^ 1})); kind != 5 || text != none {
		t.Errorf("with another token: %d %q", kind, text)
	}
	s.types("echo $((n + 1))")
	s.shows("43\n")
	// The same user, with the token.
	kind, _, c := resumed(t, grumpy, token)
	if kind != 11 {
		t.Fatalf("the answer is %d", kind)
	}
	s.shows("ncu: doc: the session was taken up by another ncu", "status 255")
	c.WriteDatagram([]byte("echo $((n + 2))\r"), 0)
	for shown := ""; !strings.Contains(shown, "44\r\n"); {
		octets, bits, err := c.Next()
		if err != nil {
			t.Fatalf("%v after %q", err, shown)
		}
		if bits&circuit.Q == 0 {
			shown += string(octets)
		}
	}
	c.Close()
	idle(t, l.Machines()...)
}

// A session that nobody comes back to ends with its time; without --keep it ends at once.
func TestKeptNoLonger(t *testing.T) {
	for keep, promised := range map[string]time.Duration{"2s": 2 * time.Second, "0": 0} {
		t.Run(keep, func(t *testing.T) {
			l := withAlice(t, alices(", \"--keep\", \""+keep+"\""), "grumpy", "doc")
			s := newScreen(t, l.Machine("grumpy"))
			nap := nap()
			s.types("ncu doc; echo status $?")
			s.ends("there$")
			s.types(nap)
			eventually(t, "it sleeps", func() bool { return processes(nap) == 1 })
			l.Machine("grumpy").LinkDown()
			s.shows("ncu: doc: lost connection", "status 255")
			within(t, slack*(promised+tolerance+time.Second), "it has ended", func() bool { return processes(nap) == 0 })
		})
	}
}

// asRootLogin is a servtab whose ncu runs login(1).
func asRootLogin(options string) string {
	return "[[service]]\nname = \"ncu.%m\"\nexec = [\"ncu\"" + options + "]\nuser = \"root\"\n"
}

// secret is how shadow(5) has the password "secret".
const secret = "$6$dnet$f2lFojYSGLVbxtXRo9dxl50ZVSw3uZOsE8PcH4qxasR9ypclQWNIoTQsdVlwyFWpRs9JDDXWVS01Dq0UpMh3t1"

// login(1) asks for a name and a password: not where all could read them, unless that is allowed on purpose.
func TestNcuLogin(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		l := withAlice(t, asRootLogin(""), "grumpy", "doc")
		s := newScreen(t, l.Machine("grumpy"))
		s.types("ncu doc; echo status $?")
		s.shows("ncu: doc: refused: login there asks for a password, and links are not sealed", "status 255")
		if err := l.Machine("doc").WaitLog("refused: login there asks", bound); err != nil {
			t.Error(err)
		}
		idle(t, l.Machines()...)
	})
	t.Run("allowed", func(t *testing.T) {
		l := withAlice(t, asRootLogin(`, "--allow-open"`), "grumpy", "doc")
		grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
		need(t, doc, "login")
		write(t, doc, "/root/shadow", "alice:"+secret+":19000:0:99999:7:::\n")
		sh(t, doc, "cat /root/shadow >>/etc/shadow; touch /run/utmp; rm -rf /tmp/alice/.local")
		s := newScreen(t, grumpy)
		s.types("ncu doc; echo status $?")
		s.shows("doc login:")
		s.types("alice")
		s.shows("Password:")
		s.types("wrong")
		s.shows("Login incorrect")
		s.keys("Enter", "~", ".")
		s.shows("status 255")
		s.clears("here$")
		s.types("ncu -l alice doc; echo status $?")
		s.shows("Password:")
		s.types("secret")
		s.ends("there$")
		if strings.Contains(s.text(), "secret") {
			t.Error("the password was shown")
		}
		s.types("id -un; tty")
		s.shows("alice\n/dev/pts/")
		// who(1) names the user and the calling machine, as long as the session lasts.
		who := func() string { return sh(t, doc, "who /run/utmp | tr -s ' '") }
		if got := who(); !strings.HasPrefix(got, "alice pts/") || !strings.HasSuffix(got, "(grumpy)\n") {
			t.Errorf("who says %q", got)
		}
		s.types("exit")
		s.shows("status 0")
		eventually(t, "who has forgotten the session", func() bool { return who() == "" })
		idle(t, l.Machines()...)
	})
}

// garbledMessages are what a client may say that is no ncu: octets of Q datagrams, typed from protocol.md 7.
var garbledMessages = []string{
	"\x08", "\x08\x00\x18", "\x0c", "\x0c\x00", "\x0b\x00", "\x0d\x1b", "\x09\x00", "\x0e", "\xff\xff", "\x00", "\x01\x01", "\x04\x00", "\x05why",
	"\x0a\x01" + "0123456789abcdef" + "\x00\x00\x00\x00\x00\x00\x00\x00",
}

// Whatever a client says, the server takes no harm, and no session or process stays.
func TestNcuGarbled(t *testing.T) {
	l := withAlice(t, alices(""), "grumpy", "doc")
	grumpy := l.Machine("grumpy")
	begin := func(t *testing.T) *circuit.Conn {
		t.Helper()
		c, err := dial(t, grumpy, "ncu.doc", circuit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.WriteDatagram([]byte("\x01\x01\x84\x00\x00\x00\x08\x00\x18\x00\x50\x00\x00\x00\x00"), circuit.Q)
		return c
	}
	// until reads until the server has shown a text, or says why it does not.
	until := func(c *circuit.Conn, text string) (shown, failed string) {
		for !strings.Contains(shown, text) {
			octets, bits, err := c.Next()
			switch {
			case err != nil:
				return shown, err.Error()
			case bits&circuit.Q == 0:
				shown += string(octets)
			case len(octets) > 0 && octets[0] == 5:
				return shown, string(octets[1:])
			}
		}
		return shown, ""
	}
	t.Run("junk", func(t *testing.T) {
		c := begin(t)
		for _, junk := range garbledMessages {
			c.WriteDatagram([]byte(junk), circuit.Q)
		}
		c.Interrupt([]byte("KILL"))
		c.WriteDatagram([]byte("echo still $((6*7))\n"), 0)
		if shown, failed := until(c, "still 42"); failed != "" {
			t.Errorf("%q after %q", failed, shown)
		}
	})
	for what, say := range map[string]func(c *circuit.Conn){
		"taken what was not sent": func(c *circuit.Conn) {
			c.WriteDatagram([]byte("\x0c\x00\x00\x00\x00\x7f\xff\xff\xff"), circuit.Q)
		},
		"more typed than a window": func(c *circuit.Conn) {
			for range 64 {
				c.WriteDatagram(make([]byte, 60000), 0)
			}
		},
		"an endless message": func(c *circuit.Conn) {
			for range 9 {
				c.WriteDatagram(make([]byte, 60000), circuit.Q|circuit.M)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := begin(t)
			nap := nap()
			c.WriteDatagram([]byte("exec "+nap+"\n"), 0)
			eventually(t, "it sleeps", func() bool { return processes(nap) == 1 })
			say(c)
			if _, failed := until(c, "nothing of the kind"); failed == "" {
				t.Error("it was taken")
			}
			within(t, slack*2*time.Second, "it has ended", func() bool { return processes(nap) == 0 })
		})
	}
	idle(t, l.Machines()...)
}
