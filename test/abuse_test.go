package test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// say connects to the door and says one line.
func say(t *testing.T, m *lab.Machine, line string) (fd int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: door(t, m)}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte(line)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// Who asks for the status and does not read it costs neither a thread nor those who come after.
func TestStatusThatNobodyReads(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	for range 600 { // a status of more octets than a socket holds
		say(t, doc, "dnet1 listen many.doc shared=1")
		say(t, doc, "dnet1 call many.doc")
	}
	threads := func() string { return fields(t, doc.NetmanWire())["Threads"] }
	before := threads()
	for range 1000 {
		say(t, doc, "dnet1 status status")
	}
	run(t, doc, "rx", "doc", "uname", "-n").must(t, "doc\n", "", 0)
	if after := threads(); len(after) > 2 {
		t.Errorf("%s threads with 1000 readers that do not read, and %s before", after, before)
	}
	eventually(t, "the status can be read again", func() bool { return run(t, doc, "netman", "counters").status() == 0 })
}

// A program that floods its control has its turn, and no more.
func TestFloodOnControl(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy := l.Machine("grumpy")
	flood := say(t, grumpy, "dnet1 call cat.doc")
	if n, fds, err := circuit.RecvFds(flood, make([]byte, circuit.MaxLine)); err != nil || len(fds) != 1 {
		t.Fatalf("%d octets, %d descriptors, %v", n, len(fds), err)
	} else {
		t.Cleanup(func() { circuit.CloseFds(fds) })
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					unix.Write(flood, []byte("x"))
				}
			}
		}()
	}
	for range 5 {
		p := run(t, grumpy, "rx", "doc", "uname", "-n")
		p.must(t, "doc\n", "", 0)
		if p.took > slack*time.Second {
			t.Errorf("rx took %v beside a program that floods its control", p.took)
		}
	}
}

// What nc and wait say when there is nothing to be had.
func TestVerbsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy := l.Machine("grumpy")
	for _, bad := range []struct {
		line, says string
	}{
		{"netman nc nosuch", "netman: nosuch: no such service or machine"},
		{"netman nc bad_name", "netman: \"bad_name\": service name \"bad_name\": service"},
		{"netman nc ''", "netman: \"\": service name \"\""},
		{"netman nc -l netman.grumpy", "netman: netman.grumpy: "},
		{"netman nc cat.doc </tmp", "netman: cat.doc: standard input: is a directory"},
		{"netman wait 'bad name'", "netman: \"bad name\": service name"},
		{"netman wait -w -1s cat.doc", "netman: --timeout: -1s"},
		{"netman wait -w 10ms nosuch", "netman: nosuch: nobody offered it within 10ms"},
		{"netman status --door /run/nosuch", "netman: /run/nosuch: "},
	} {
		p := run(t, grumpy, "sh", "-c", bad.line)
		if text := p.stderr.String(); p.status() != 1 || !strings.HasPrefix(text, bad.says) || strings.Count(text, "\n") != 1 {
			t.Errorf("%s: status %d, it says\n%s; want 1 and %q...", bad.line, p.status(), text, bad.says)
		}
	}
	run(t, grumpy, "netman", "wait", "-w", "10s", "netman.grumpy").must(t, "grumpy\n", "", 0)
	run(t, grumpy, "netman", "wait", "-w", "10s", "netman.doc").must(t, "doc\n", "", 0)
	for _, line := range []string{"netman nc -l mine.grumpy", "netman nc cat.doc"} {
		r, w := pipe(t)
		defer w.Close()
		p := start(t, grumpy, r, "sh", "-c", "exec "+line)
		eventually(t, line+" has its descriptors", func() bool {
			return strings.Contains(sh(t, grumpy, "netman status"), strings.Fields(line)[len(strings.Fields(line))-1])
		})
		p.Process.Signal(unix.SIGINT)
		p.ends(t).must(t, "", "netman: interrupted\n", 1)
	}
}

// pipe is a pipe whose read end a program may have as its input.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
