package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// Programs that are stopped in the middle, each in its way, cost nobody else anything; and when they go on nothing is lost.
func TestStoppedPrograms(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Servtab: filter("cat.%m", "max = 20\n", "/bin/cat") + filter("zeros.%m", "", "/bin/cat", "/dev/zero")})
	grumpy, doc, sneezy := l.Machine("grumpy"), l.Machine("doc"), l.Machine("sneezy")

	// A transient server: what is written to it waits, and so does its writer.
	want := octets(t, 4<<20)
	transient, err := dial(t, grumpy, "cat.doc", circuit.Options{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	transient.SetDeadline(time.Now().Add(4 * bound))
	echo(t, transient, "before")
	pid := int(find(rows(t, doc, "circuits"), "circuit", "service", "cat.doc")["pid"].(float64))
	sh(t, doc, fmt.Sprintf("kill -STOP %d", pid))
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(transient, bytes.NewReader(want))
		transient.CloseWrite()
		written <- err
	}()

	// A resident server that is stopped before its call, and one after.
	deaf := start(t, doc, held(t), "netman", "nc", "-l", "deaf.doc")
	mute := start(t, doc, held(t), "netman", "nc", "-l", "mute.doc")
	run(t, doc, "netman", "wait", "-w", "20s", "deaf.doc").must(t, "doc\n", "", 0)
	run(t, doc, "netman", "wait", "-w", "20s", "mute.doc").must(t, "doc\n", "", 0)
	deaf.Process.Signal(unix.SIGSTOP)
	waits := start(t, grumpy, nil, "netman", "nc", "deaf.doc")
	muted := start(t, grumpy, ceaseless(t), "netman", "nc", "mute.doc")
	muted.says(t, &muted.stdout, "held")
	mute.Process.Signal(unix.SIGSTOP)

	// A client that is sent more than it reads.
	unread, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	command := grumpy.Command("netman", "nc", "zeros.doc")
	command.Stdout = out
	client := launch(t, command, held(t))
	out.Close()
	eventually(t, "the client's queue is full", func() bool {
		r := find(rows(t, grumpy, "circuits"), "circuit", "service", "zeros.doc")
		return r != nil && r["held"].(float64) > 0
	})
	client.Process.Signal(unix.SIGSTOP)

	othersGoOn(t, grumpy, doc, sneezy)

	// The call of the one that does not answer is cleared after a while; the others go on where they were.
	if waits.ends(t); waits.status() != 1 || waits.took > slack*8*time.Second {
		t.Errorf("the call of a server that is stopped: status %d after %v, %q", waits.status(), waits.took, &waits.stderr)
	}
	sh(t, doc, fmt.Sprintf("kill -CONT %d", pid))
	got, err := io.ReadAll(transient)
	if wrong := <-written; err != nil || wrong != nil || !bytes.Equal(got, want) {
		t.Errorf("the server that went on gave back %d octets of %d: %v, %v", len(got), len(want), err, wrong)
	}
	transient.Close()
	for _, p := range []*program{deaf, mute} {
		p.Process.Signal(unix.SIGCONT)
		p.Process.Signal(unix.SIGTERM)
		p.ends(t)
	}
	muted.ends(t)
	client.Process.Kill()
	idle(t, l.Machines()...)
}

// othersGoOn asks of other programs of the same machines, and of another, that they hardly notice.
func othersGoOn(t *testing.T, grumpy, doc, sneezy *lab.Machine) {
	t.Helper()
	from, to := pair(t, grumpy, doc, "stream")
	s := stream(t, from, to)
	longest := time.Duration(0)
	for range 20 {
		for _, m := range []*lab.Machine{sneezy, grumpy} {
			began := time.Now()
			c, err := dial(t, m, "cat.doc", circuit.Options{Stream: true})
			if err != nil {
				t.Fatal(err)
			}
			echo(t, c, "hello")
			longest = max(longest, time.Since(began))
			finish(t, c)
		}
	}
	s.carries(t, 30_000_000)
	s.finish()
	from.Close()
	to.Close()
	t.Logf("the longest of the others' calls took %v", longest)
	if longest > answerBound {
		t.Errorf("a call took %v, bound %v", longest, answerBound)
	}
}

// ceaseless is an input that goes on as long as it is read.
func ceaseless(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
