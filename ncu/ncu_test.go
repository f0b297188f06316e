package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/circuit/circuittest"
	"dnet/session"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	gorace = "atexit_sleep_ms=0"
	bound  = 20 * time.Second
)

// TestMain makes the test binary ncu too, so that the server is a real process.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", gorace)
	testscript.Main(m, map[string]func(){"ncu": main})
}

// moon is a door with the machine moon behind it. Its server runs as whoever runs the test; for root that is one
// whose sessions would be login's.
func moon(t *testing.T) *circuittest.Door {
	t.Helper()
	d := circuittest.NewRelay(t)
	home := t.TempDir()
	serve := func(user string) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := exec.Command("ncu", "--keep", "1m", "-B")
			cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "SHELL=/bin/sh", "PS1=$ ", "GORACE=" + gorace, "DNET_MODE=open"}
			if user != "" {
				cmd.Env = append(cmd.Env, "DNET_USER="+user)
			}
			log, err := os.OpenFile(filepath.Join(home, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err == nil {
				cmd.Stderr = log
			}
			return cmd
		}
	}
	d.Transient("ncu.moon", serve("tester"))
	d.Transient("ncu.nouser", serve(""))
	return d
}

// answer sends one message to a server and returns the first that says something final.
func answer(t *testing.T, d *circuittest.Door, service string, octets []byte, bits circuit.Bits) string {
	t.Helper()
	conn, err := circuit.Dial(context.Background(), service, circuit.Options{Door: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(bound))
	conn.WriteDatagram(octets, bits)
	r := receiver{next: conn.Next}
	for {
		k, value, err := r.receive()
		switch {
		case err != nil:
			return err.Error()
		case k == kindFailed:
			return string(value)
		case k == kindStatus:
			return "status"
		}
	}
}

// TestRefused: a client that is no ncu is told why, and nothing is started.
func TestRefused(t *testing.T) {
	d := moon(t)
	good := session.Request{Terminal: &session.Terminal{Size: session.Size{Rows: 24, Cols: 80}}}
	other := good
	other.User = "alice"
	for what, row := range map[string]struct {
		service string
		octets  []byte
		bits    circuit.Bits
		want    string
	}{
		"no user in servtab":      {"ncu.nouser", appendStart(nil, good), circuit.Q, "refused: servtab.toml there names no user for ncu.nouser"},
		"keys at once":            {"ncu.moon", []byte("ls\r"), 0, "first message has type 0, not 1"},
		"another message":         {"ncu.moon", message(kindSize, 0, 24, 0, 80, 0, 0, 0, 0), circuit.Q, "first message has type 8, not 1"},
		"another version":         {"ncu.moon", message(kindStart, 2), circuit.Q, "another version of ncu"},
		"garbage":                 {"ncu.moon", append(message(kindStart, 1), "\x84\xff\xff\xff\xff"...), circuit.Q, "cut short"},
		"a session that is not":   {"ncu.moon", resume{someToken, 0}.append(nil), circuit.Q, "there is no such session any more"},
		"a resume cut short":      {"ncu.moon", resume{someToken, 0}.append(nil)[:9], circuit.Q, "first message has type 10, not 1"},
		"a resume of a later ncu": {"ncu.moon", append([]byte{10, 2}, make([]byte, 24)...), circuit.Q, "first message has type 10, not 1"},
	} {
		if got := answer(t, d, row.service, row.octets, row.bits); !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, want %q", what, got, row.want)
		}
	}
	want := "refused: sessions there are tester's: alice cannot be had"
	if os.Getuid() == 0 {
		want = "refused: login there asks for a password, and links are not sealed"
	}
	if got := answer(t, d, "ncu.moon", appendStart(nil, other), circuit.Q); !strings.Contains(got, want) {
		t.Errorf("as alice: %q, want %q", got, want)
	}
}

// TestWithoutTerminal: what ncu itself cannot do is said, with status 255.
func TestWithoutTerminal(t *testing.T) {
	for _, args := range [][]string{{"moon"}, {"-r", "moon"}, {}, {"-x", "moon"}, {"-B"}} {
		cmd := exec.Command("ncu", args...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 255 || !strings.HasPrefix(string(out), "ncu: ") {
			t.Errorf("ncu %q: %v, %q", args, err, out)
		}
	}
	for _, option := range []string{"--help", "--version", "-V"} {
		if out, err := exec.Command("ncu", option).Output(); err != nil || len(out) == 0 {
			t.Errorf("ncu %s: %v, %q", option, err, out)
		}
	}
}
