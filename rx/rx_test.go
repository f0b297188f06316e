package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"dnet/circuit"
	"dnet/circuit/circuittest"
	"dnet/session"

	"github.com/rogpeppe/go-internal/testscript"
)

const gorace = "atexit_sleep_ms=0"

// TestMain makes the test binary rx too, so that client and server are real processes.
func TestMain(m *testing.M) {
	// The race detector would wait a second at the end of every process.
	os.Setenv("GORACE", gorace)
	testscript.Main(m, map[string]func(){"rx": main, "wiped": wiped})
}

// wiped is a program that wipes its second argument, and prints what can be seen of all then.
func wiped() {
	session.WipeArgs(os.Args[2])
	p, _ := os.ReadFile("/proc/self/cmdline")
	os.Stdout.Write(p)
}

// ways are the two kinds of circuit: joined as on one machine, relayed as between two.
var ways = map[string]func(testing.TB) *circuittest.Door{"joined": circuittest.New, "relayed": circuittest.NewRelay}

// servant is what netman would start for rx.moon.
func servant(t testing.TB, user string) func() *exec.Cmd {
	home := t.TempDir()
	log, err := os.OpenFile(filepath.Join(home, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return func() *exec.Cmd {
		cmd := exec.Command("rx", "-B")
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "SECRET=server", "SHELL=/bin/sh", "GORACE=" + gorace}
		cmd.Stderr = log // netman's
		if user != "" {
			cmd.Env = append(cmd.Env, "DNET_USER="+user)
		}
		return cmd
	}
}

// moon is a door with the machine moon behind it.
func moon(t testing.TB, open func(testing.TB) *circuittest.Door) *circuittest.Door {
	d := open(t)
	d.Transient("rx.moon", servant(t, "tester"))
	d.Transient("rx.nouser", servant(t, ""))
	return d
}

func TestScripts(t *testing.T) {
	for name, open := range ways {
		t.Run(name, func(t *testing.T) {
			d := moon(t, open)
			refuse(t, d, "rx.shut")
			testscript.Run(t, testscript.Params{
				Dir: "testdata",
				Setup: func(e *testscript.Env) error {
					e.Setenv("DNET_DOOR", d.Path)
					e.Setenv("GORACE", gorace)
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
			})
		})
	}
}

// status runs a command that must end with an exit status: status N COMMAND….
func status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg {
		ts.Fatalf("usage: status N command…")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// refuse is a resident server that takes no calls.
func refuse(t *testing.T, d *circuittest.Door, name string) {
	l, err := circuit.Listen(context.Background(), name, circuit.Options{Door: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			call, err := l.Accept()
			if err != nil {
				return
			}
			call.Refuse(0, "maintenance")
		}
	}()
	t.Cleanup(func() { l.Close() })
}
