package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dnet/circuit/circuittest"
)

// bound ends what should have ended by itself.
const bound = 20 * time.Second

func eachWay(t *testing.T, f func(t *testing.T, d *circuittest.Door)) {
	for name, open := range ways {
		t.Run(name, func(t *testing.T) { f(t, moon(t, open)) })
	}
}

// rx is a client, killed when the test takes too long.
func rx(t testing.TB, d *circuittest.Door, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "rx", args...)
	cmd.Env = append(os.Environ(), "DNET_DOOR="+d.Path)
	cmd.WaitDelay = bound
	timer := time.AfterFunc(bound, func() { cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	return cmd
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// eventually waits for something that processes do.
func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(bound); !true(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", bound, what)
		}
	}
}

// pidIn reads a process's number from a file that it writes.
func pidIn(t testing.TB, file string) int {
	t.Helper()
	pid := 0
	eventually(t, "the command writes its number", func() bool {
		p, _ := os.ReadFile(file)
		if !bytes.HasSuffix(p, []byte("\n")) {
			return false
		}
		pid, _ = strconv.Atoi(strings.TrimSpace(string(p)))
		return pid > 0
	})
	return pid
}

// gone tells that no process has this number; a zombie of someone else's is gone.
func gone(pid int) bool {
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(p), ") Z ")
}

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(p)
	return p
}

func TestEightBitClean(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		data := noise(8<<20 + 13)
		cmd := rx(t, d, "moon", "tee /dev/stderr")
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), data) || !bytes.Equal(errs.Bytes(), data) {
			t.Errorf("%d octets of all kinds: %d came back, %d on error output", len(data), out.Len(), errs.Len())
		}
	})
}

func TestSignals(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		for name, number := range signals {
			file := filepath.Join(t.TempDir(), "pid")
			cmd := rx(t, d, "moon", fmt.Sprintf("trap 'echo got %s; exit 7' %s; echo $$ >%s; while :; do sleep 0.02; done", name, name, file))
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pidIn(t, file)
			cmd.Process.Signal(number)
			if status := exitStatus(cmd.Wait()); status != 7 || out.String() != "got "+name+"\n" {
				t.Errorf("SIG%s: exit status %d, output %q", name, status, out.String())
			}
		}
		file := filepath.Join(t.TempDir(), "pid")
		cmd := rx(t, d, "moon", "echo $$ >"+file+"; exec sleep 1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pidIn(t, file)
		cmd.Process.Signal(syscall.SIGINT)
		if status := exitStatus(cmd.Wait()); status != 130 {
			t.Errorf("a command that SIGINT kills: exit status %d", status)
		}
	})
}

func TestIgnoredSignal(t *testing.T) {
	d := moon(t, circuittest.New)
	file := filepath.Join(t.TempDir(), "pid")
	cmd := rx(t, d)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `trap '' HUP; exec rx moon "echo \$\$ >` + file + `; read line; exit 5"`}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pidIn(t, file)
	cmd.Process.Signal(syscall.SIGHUP)
	io.WriteString(stdin, "\n")
	if status := exitStatus(cmd.Wait()); status != 5 {
		t.Errorf("SIGHUP ignored, as under nohup: exit status %d", status)
	}
}

// TestClientKilled: the command ends when the circuit does, also one that ignores SIGHUP, and also one
// that does not read while its client has more to send than anything holds.
func TestClientKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		for what, command := range map[string]string{
			"one that dies of SIGHUP":   "exec sleep 1000",
			"one that ignores it":       "trap '' HUP; sleep 1000; sleep 1000",
			"one that is stopped":       "kill -STOP $$; sleep 1000",
			"one that writes for ever":  "exec yes",
			"one in the background too": "sleep 1000 & sleep 1000",
		} {
			file := filepath.Join(t.TempDir(), "pid")
			cmd := rx(t, d, "moon", "echo $$ >"+file+"; "+command)
			input, err := os.Open("/dev/zero")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = input
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := pidIn(t, file)
			cmd.Process.Kill()
			cmd.Wait()
			input.Close()
			eventually(t, "the end of "+what, func() bool { return syscall.Kill(-pid, 0) == syscall.ESRCH || gone(pid) && emptyGroup(pid) })
		}
	})
}

// emptyGroup tells that all processes of a group are zombies or gone.
func emptyGroup(pgrp int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		p, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		f := strings.Fields(string(p[bytes.LastIndexByte(p, ')')+1:]))
		if len(f) > 2 && f[0] != "Z" && f[2] == strconv.Itoa(pgrp) {
			return false
		}
	}
	return true
}

func TestNetmanGone(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		file := filepath.Join(t.TempDir(), "pid")
		cmd := rx(t, d, "moon", "echo $$ >"+file+"; echo begun; exec sleep 1000")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := pidIn(t, file)
		if p, err := io.ReadAll(io.LimitReader(out, 6)); string(p) != "begun\n" {
			t.Errorf("output %q, %v", p, err)
		}
		go d.Close()
		if status := exitStatus(cmd.Wait()); status != 255 || !strings.HasPrefix(errs.String(), "rx: moon: lost connection: ") {
			t.Errorf("exit status %d, message %q", status, errs.String())
		}
		eventually(t, "the end of the command", func() bool { return gone(pid) })
	})
}

// TestServerKilled: no exit status is never success.
func TestServerKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		cmd := rx(t, d, "moon", "echo begun; kill -KILL $PPID; sleep 1000")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		status := exitStatus(cmd.Run())
		if want := "rx: moon: lost connection: the program at the other end died\n"; status != 255 || errs.String() != want {
			t.Errorf("exit status %d, output %q, message %q", status, out.String(), errs.String())
		}
	})
}

// TestBackpressure: neither end holds much of what the other does not take.
func TestBackpressure(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := rx(t, d, "moon", "read line <"+fifo+"; exec wc -c")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sent, total := 0, 0
		in.(*os.File).SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			n, err := in.Write(make([]byte, 4096))
			if sent += n; err != nil {
				break
			}
		}
		// The window, the pipes at both ends, and what the client has read in advance.
		if sent < window || sent > window+4<<16 {
			t.Errorf("a command that does not read: %d octets of input were taken", sent)
		}
		if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
		in.(*os.File).SetWriteDeadline(time.Time{})
		n, _ := in.Write(make([]byte, 4<<20))
		total = sent + n
		in.Close()
		p, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil || strings.TrimSpace(string(p)) != strconv.Itoa(total) {
			t.Errorf("then it counts %s of %d octets, %v", p, total, err)
		}
	})
}

// TestOutputHeldOpen: as with ssh, rx ends when the output has ended, not when the command has.
func TestOutputHeldOpen(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		cmd := rx(t, d, "moon", "(sleep 0.2; echo late) & exit 4")
		var out bytes.Buffer
		cmd.Stdout = &out
		if status := exitStatus(cmd.Run()); status != 4 || out.String() != "late\n" {
			t.Errorf("exit status %d, output %q", status, out.String())
		}
		file := filepath.Join(t.TempDir(), "pid")
		cmd = rx(t, d, "moon", "sleep 1000 >/dev/null 2>&1 & echo $! >"+file)
		if status := exitStatus(cmd.Run()); status != 0 {
			t.Errorf("exit status %d", status)
		}
		pid := pidIn(t, file)
		if gone(pid) {
			t.Error("a background process with its output elsewhere was ended")
		}
		syscall.Kill(pid, syscall.SIGKILL)
	})
}

// TestOrder: the exit status comes after all output, however much that is.
func TestOrder(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		for range 20 {
			cmd := rx(t, d, "moon", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 9")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if status := exitStatus(cmd.Run()); status != 9 || out.Len() != 300000 || errs.Len() != 300000 {
				t.Fatalf("exit status %d with %d and %d octets", status, out.Len(), errs.Len())
			}
		}
	})
}

func TestLongCommand(t *testing.T) {
	d := moon(t, circuittest.NewRelay)
	long := "true " + strings.Repeat("x", maxCommand-5)
	// One argument of Linux cannot be longer, so two make it too long.
	if err := rx(t, d, "moon", long[:100000], long[100001:]).Run(); err != nil {
		t.Errorf("a command of %d octets: %v", maxCommand, err)
	}
	if status := exitStatus(rx(t, d, "moon", long[:100000], long[100000:]).Run()); status != 255 {
		t.Errorf("one octet more: exit status %d", status)
	}
}

// TestInputThatFails: what could be read of an input is not all of it, and the command must not take it for that.
func TestInputThatFails(t *testing.T) {
	d := moon(t, circuittest.New)
	whole := filepath.Join(t.TempDir(), "whole")
	cmd := rx(t, d, "moon", "cat && touch "+whole)
	directory, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = directory, &stderr
	if status := exitStatus(cmd.Run()); status != 255 || stderr.String() != "rx: moon: input: read /dev/stdin: is a directory\n" {
		t.Errorf("status %d, %q", status, &stderr)
	}
	if _, err := os.Stat(whole); err == nil {
		t.Error("the command went on as if that were its whole input")
	}
}

// BenchmarkTrue is the whole of `rx moon true`: two processes of rx and a shell.
func BenchmarkTrue(b *testing.B) {
	d := moon(b, circuittest.New)
	for b.Loop() {
		if err := rx(b, d, "moon", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProcesses is what BenchmarkTrue cannot go below: the same processes, without a circuit.
func BenchmarkProcesses(b *testing.B) {
	for b.Loop() {
		for _, cmd := range []*exec.Cmd{exec.Command("rx", "--version"), exec.Command("rx", "--version"), exec.Command("/bin/sh", "-c", "true")} {
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
