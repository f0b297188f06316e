package lab

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeNetman is what this program is under the name netman: as much of the real one as the lab sees.
func fakeNetman() {
	host, _ := os.Hostname()
	if len(os.Args) > 1 && os.Args[1] == "broken" {
		fmt.Fprintln(os.Stderr, "netman: as wished, not today")
		os.Exit(3)
	}
	os.MkdirAll(filepath.Dir(Door), 0o755)
	os.Remove(Door)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: Door})
	}
	if err == nil && len(os.Args) < 2 {
		err = unix.Listen(fd, 8)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netman:", err)
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM, unix.SIGUSR1)
	fmt.Fprintf(os.Stderr, "netman: %s is up\n", host)
	if <-term == unix.SIGUSR1 {
		fmt.Fprintln(os.Stderr, "netman: oh")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "netman: good bye")
	os.Exit(0)
}

// withFakes makes a lab whose netman is this program.
func withFakes(t T, dir string, cfg Config) *Lab {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "netman"), self, 0o755)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	l := New(t, Config{Machines: cfg.Machines})
	l.bin = dir
	return l
}

// witness is a T that notes what is said to it.
type witness struct {
	*testing.T
	said     strings.Builder
	failed   bool
	cleanups []func()
}

type fatal struct{}

func (w *witness) Cleanup(f func())                { w.cleanups = append(w.cleanups, f) }
func (w *witness) Failed() bool                    { return w.failed }
func (w *witness) Logf(format string, args ...any) { fmt.Fprintf(&w.said, format+"\n", args...) }
func (w *witness) Errorf(format string, args ...any) {
	w.failed = true
	w.Logf(format, args...)
}
func (w *witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	panic(fatal{})
}

// testify runs f as a test of its own, to its cleanups, and returns what was said.
func testify(t *testing.T, f func(w *witness)) *witness {
	w := &witness{T: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(fatal{}) {
				panic(r)
			}
		}()
		f(w)
	}()
	for i := len(w.cleanups) - 1; i >= 0; i-- {
		w.cleanups[i]()
	}
	return w
}

func TestNetman(t *testing.T) {
	l := withFakes(t, t.TempDir(), Config{})
	l.Netman()
	m := l.Machine("sneezy")
	if got := m.NetmanLog(); got != "netman: sneezy is up\n" {
		t.Errorf("the log is %q", got)
	}
	m.KillNetman(unix.SIGSTOP)
	m.KillNetman(unix.SIGCONT)
	m.KillNetman(unix.SIGTERM)
	if err := m.WaitLog("good bye", time.Second); err != nil {
		t.Error(err)
	}
	m.Netman()
	m.KillNetman(unix.SIGKILL)
	m.Netman()
}

func TestNetmanThatEnds(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		act  func(l *Lab, m *Machine)
		want string
	}{
		"at once":      {[]string{"broken"}, nil, "netman: as wished, not today"},
		"with no door": {[]string{"deaf"}, nil, "its door does not open: connection refused"},
		"by itself later": {nil, func(l *Lab, m *Machine) {
			m.netman.cmd.Process.Signal(unix.SIGUSR1)
			m.WaitLog("oh", time.Second)
			<-m.netman.ended
		}, "netman: oh"},
	} {
		w := testify(t, func(w *witness) {
			l := withFakes(w, t.TempDir(), Config{})
			m := l.Machine("doc")
			m.Netman(c.args...)
			if c.act != nil {
				c.act(l, m)
			}
		})
		if !w.failed || !strings.Contains(w.said.String(), c.want) {
			t.Errorf("%s: failed %v, said:\n%s\nwant %s", name, w.failed, w.said.String(), c.want)
		}
	}
}

func TestNetmanNotBuilt(t *testing.T) {
	w := testify(t, func(w *witness) {
		l := New(w, Config{Machines: []string{"grumpy"}})
		l.bin = t.TempDir()
		l.Netman()
	})
	if want := "build it first"; !strings.Contains(w.said.String(), want) {
		t.Errorf("said %q, want %q", w.said.String(), want)
	}
}
