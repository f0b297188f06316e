package main

import (
	"bytes"
	"errors"
	"io"
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

// unread is a pipe for a command's output that nobody reads yet, and that is full from the beginning.
func unread(t *testing.T) (r, w *os.File, full int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	full, err = w.Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a pipe took %d octets, %v", full, err)
	}
	return r, w, full
}

// afterFirst starts cmd with an output that nobody reads, and gives what comes once the pipe is read.
func afterFirst(t *testing.T, cmd *exec.Cmd) (read func() []byte) {
	t.Helper()
	r, w, full := unread(t)
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return func() []byte {
		p, err := io.ReadAll(r)
		if err != nil || len(p) < full {
			t.Fatalf("%d octets, %v", len(p), err)
		}
		return p[full:]
	}
}

// TestStderrPasses: error output, and the end of it, come though nobody reads the output.
func TestStderrPasses(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		const command = "head -c 1000000 /dev/zero & echo first >&2; head -c 1000000 /dev/zero >&2; echo last >&2; wait; exit 6"
		cmd := rx(t, d, "moon", command)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stderr = w
		read := afterFirst(t, cmd)
		w.Close()
		want := "first\n" + strings.Repeat("\x00", 1000000) + "last\n"
		p := make([]byte, len(want))
		r.SetReadDeadline(time.Now().Add(bound))
		if n, err := io.ReadFull(r, p); string(p) != want {
			t.Errorf("error output: %d octets, %v", n, err)
		}
		if out := read(); len(out) != 1000000 {
			t.Errorf("then the output has %d octets", len(out))
		}
		if status := exitStatus(cmd.Wait()); status != 6 {
			t.Errorf("exit status %d", status)
		}
	})
}

// TestStatusPasses: the exit status comes though nobody reads an output of less than the window (a source
// without credit does not look for the end), the server ends, and rx writes the output before it ends.
func TestStatusPasses(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		data := noise(window - 1)
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		pid := filepath.Join(t.TempDir(), "pid")
		cmd := rx(t, d, "moon", "echo $PPID >"+pid+"; cat "+file+"; exit 3")
		read := afterFirst(t, cmd)
		server := pidIn(t, pid)
		eventually(t, "the end of the server", func() bool { return gone(server) })
		if gone(cmd.Process.Pid) {
			t.Error("rx has ended before it has written the output")
		}
		if out := read(); !bytes.Equal(out, data) {
			t.Errorf("%d octets of %d came, or others", len(out), len(data))
		}
		if status := exitStatus(cmd.Wait()); status != 3 {
			t.Errorf("exit status %d", status)
		}
	})
}

// TestSignalWhileDraining: rx, which only waits for its output to be read, ends by a signal.
func TestSignalWhileDraining(t *testing.T) {
	d := moon(t, circuittest.New)
	pid := filepath.Join(t.TempDir(), "pid")
	cmd := rx(t, d, "moon", "echo $PPID >"+pid+"; echo output")
	afterFirst(t, cmd)
	server := pidIn(t, pid)
	eventually(t, "the end of the server", func() bool { return gone(server) })
	cmd.Process.Signal(syscall.SIGTERM)
	if status := exitStatus(cmd.Wait()); status != 143 {
		t.Errorf("exit status %d", status)
	}
}

// TestSlowReader: a reader that takes little at a time gets everything.
func TestSlowReader(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		data := noise(5*window + 7)
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := rx(t, d, "moon", "cat "+file)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := io.CopyBuffer(&got, onlyReader{out}, make([]byte, 333)); err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d octets of %d came, or others: %v", got.Len(), len(data), err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// onlyReader hides what io.Copy would use instead of its buffer.
type onlyReader struct{ io.Reader }

// TestOutputBounded: a command whose output nobody reads can write what the window and the pipes hold.
func TestOutputBounded(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		for name, redirect := range map[string]string{"output": "", "error output": " >&2"} {
			file := filepath.Join(t.TempDir(), "written")
			// One octet of the file for 4096 of output.
			cmd := rx(t, d, "moon", "i=0; while head -c 4096 /dev/zero"+redirect+"; do printf x >>"+file+"; done")
			_, w, _ := unread(t)
			cmd.Stdout, cmd.Stderr = w, w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			written := func() int {
				info, err := os.Stat(file)
				if err != nil {
					return 0
				}
				return int(info.Size()) * 4096
			}
			eventually(t, "a window of "+name, func() bool { return written() >= window })
			// The status of a second command shows that everything has come to rest, or grown further.
			for range 5 {
				rx(t, d, "moon", "sleep 0.05").Run()
			}
			if n := written(); n > window+2<<16 {
				t.Errorf("%d octets of %s were taken, which nobody reads", n, name)
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
}

// TestClosedWhileBlocked: an output that is closed while it is blocked ends the command as in a pipeline.
func TestClosedWhileBlocked(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		cmd := rx(t, d, "moon", "yes; kill -l $? >&2")
		r, w, _ := unread(t)
		said, theirs, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer said.Close()
		cmd.Stdout, cmd.Stderr = w, theirs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		theirs.Close()
		r.Close()
		if p, _ := io.ReadAll(said); string(p) != "PIPE\n" {
			t.Errorf("yes ended by %q", p)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestSink: the octets held are bounded, come out in order, and end.
func TestSink(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := newSink(w, nil, 1)
	data := noise(3 * window)
	if !s.add(data[:window]) || s.add([]byte{1}) {
		t.Error("the window is what may come before any is written")
	}
	var out []byte
	take := func(n int) {
		for n > 0 {
			p := s.next()
			p = p[:min(n, len(p))]
			out = append(out, p...)
			s.wrote(len(p))
			n -= len(p)
		}
	}
	take(1000)
	for in := window; in < len(data); {
		n := min(999, len(data)-in)
		if !s.add(data[in : in+n]) {
			t.Fatalf("%d octets do not fit where %d were written", n, n)
		}
		in += n
		take(n)
	}
	s.end()
	take(window - 1000)
	if p := s.next(); p != nil || !bytes.Equal(out, data) || len(s.ring) != window {
		t.Errorf("%d octets of %d come out, or others; then %d more", len(out), len(data), len(p))
	}
	s.close()
	if !s.add(make([]byte, 2*window)) || s.held != 0 || s.ring != nil {
		t.Error("a closed sink drops what comes")
	}
}

// TestSource: credit is never more than the window, and a source that is closed does not wait for it.
func TestSource(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := newSource(r, nil, kindData)
	s.use(window)
	s.grant(5)
	if n := s.wait(); n != 5 {
		t.Errorf("credit of %d octets, want 5", n)
	}
	s.grant(0xffffffff)
	if n := s.wait(); n != window {
		t.Errorf("credit of %d octets, want the window", n)
	}
	s.use(window)
	ended := make(chan error)
	go func() { ended <- s.run() }()
	s.close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed source: %v", err)
	}
}

// TestFlowAllocates: a datagram costs no memory of its own.
func TestFlowAllocates(t *testing.T) {
	s := newSink(nil, nil, 1)
	data := make([]byte, 60000)
	s.add(data)
	s.wrote(len(s.next()))
	n := testing.AllocsPerRun(100, func() {
		s.add(data)
		for s.held > 0 {
			s.wrote(len(s.next()))
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for a datagram", n)
	}
}

// TestTerminalDrained: what a terminal still has when its program has exited comes, however late it is read.
func TestTerminalDrained(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		const more = 2000
		pid := filepath.Join(t.TempDir(), "pid")
		cmd := rx(t, d, "-tt", "moon", "stty raw; echo $$ >"+pid+"; head -c "+strconv.Itoa(window+more)+" /dev/zero; exit 3")
		read := afterFirst(t, cmd)
		shell := pidIn(t, pid)
		eventually(t, "the end of the command", func() bool { return gone(shell) })
		rx(t, d, "moon", "sleep 0.3").Run() // longer than a terminal that is read is waited for
		if out := read(); len(out) != window+more {
			t.Errorf("%d octets come, want %d", len(out), window+more)
		}
		if status := exitStatus(cmd.Wait()); status != 3 {
			t.Errorf("exit status %d", status)
		}
	})
}
