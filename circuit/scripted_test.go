package circuit

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netman is the far end of a circuit's two descriptors, played by the test.
type netman struct {
	t         testing.TB
	data, ctl int
}

// scripted makes a circuit whose netman is the test.
func scripted(t testing.TB, stream bool) (*Conn, *netman) {
	t.Helper()
	t.Cleanup(checkFds(t))
	var fds [4]int
	for i := 0; i < 4; i += 2 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i], fds[i+1] = pair[0], pair[1]
	}
	ctl, err := newFile(fds[2], "circuit control")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newConn(fds[0], ctl, Peer{Service: "s", Machine: "m", Stream: stream}, "")
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	n := &netman{t, fds[1], fds[3]}
	t.Cleanup(func() {
		c.Close()
		n.close()
	})
	return c, n
}

func (n *netman) write(fd int, record string) {
	n.t.Helper()
	if _, err := unix.Write(fd, []byte(record)); err != nil {
		n.t.Error(err)
	}
}

func (n *netman) endData() { unix.Close(n.data); n.data = -1 }

func (n *netman) close() {
	for _, fd := range []*int{&n.data, &n.ctl} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// wantLine is what the program says next on control.
func (n *netman) wantLine(want string) {
	n.t.Helper()
	p := make([]byte, MaxLine)
	if got, err := unix.Read(n.ctl, p); err != nil || string(p[:max(got, 0)]) != want {
		n.t.Errorf("on control: %q, %v, want %q", p[:max(got, 0)], err, want)
	}
}

// TestReasons is the table of protocol.md 4: what netman says, the errno, and what the reader is told.
func TestReasons(t *testing.T) {
	for line, want := range map[string]struct {
		errno syscall.Errno
		text  string
	}{
		"cleared 0d 00":                {syscall.ENOENT, "no such service or machine"},
		"cleared 0d 43":                {syscall.ENOENT, "no such service or machine (invalid called address)"},
		"cleared 01 00":                {syscall.EBUSY, "busy"},
		"cleared 0b 00":                {syscall.EACCES, "not allowed"},
		"cleared 00 42 closed":         {syscall.ECONNREFUSED, "refused: closed"},
		`cleared 00 42 "it is closed"`: {syscall.ECONNREFUSED, "refused: it is closed"},
		"cleared 80 00":                {syscall.EPIPE, ""},
		"cleared 09 00":                {syscall.EHOSTDOWN, "the machine, the link to it or a netman is gone"},
		"cleared 05 00":                {syscall.ENOBUFS, "out of memory, descriptors or channels"},
		"cleared 21 00":                {syscall.EPROTO, "no common version or mode"},
		"cleared 11 00":                {syscall.EPROTO, "protocol error of the far machine"},
		"cleared 13 00":                {syscall.EPROTO, "protocol error of this machine"},
		"cleared 39 00":                {syscall.EPROTO, "cleared: ship absent"},
		"cleared 00 00":                {syscall.EPIPE, ""},
		"cleared 00 f1":                {syscall.ECONNRESET, "the program at the other end died"},
		"cleared 00 f0":                {syscall.ECONNRESET, "undelivered: the other end took nothing any more"},
		"":                             {syscall.EHOSTDOWN, "the machine, the link to it or a netman is gone: netman is gone"},
	} {
		for _, stream := range []bool{false, true} {
			c, n := scripted(t, stream)
			n.write(n.data, "\x00data")
			if line != "" {
				n.write(n.ctl, line)
			}
			n.close()
			if p, _, err := c.Next(); string(p) != "data" || err != nil {
				t.Errorf("%q: the data before it: %q, %v", line, p, err)
			}
			_, _, err := c.Next()
			if want.text == "" {
				if err != io.EOF {
					t.Errorf("%q: reading: %v", line, err)
				}
				err = c.WriteDatagram(nil, 0)
			} else if err == nil || !strings.HasSuffix(err.Error(), ": "+want.text) {
				t.Errorf("%q: reading: %v, want %q", line, err, want.text)
			}
			var cleared *Cleared
			if !errors.Is(err, want.errno) || !errors.As(err, &cleared) || cleared.Errno() != want.errno {
				t.Errorf("%q: %v is not %v", line, err, want.errno)
			}
		}
	}
}

// TestOrder: the reason may come before, between and after the data and its end.
func TestOrder(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for order := range 3 {
			c, n := scripted(t, stream)
			steps := []func(){func() { n.write(n.data, "\x00data") }, n.endData}
			for i := range 3 {
				if i == order {
					n.write(n.ctl, "cleared 09 00")
				}
				if i < len(steps) {
					steps[i]()
				}
			}
			if p, err := io.ReadAll(c); string(p) != "data" || !errors.Is(err, syscall.EHOSTDOWN) {
				t.Errorf("stream %v, the reason at place %d: %q, %v", stream, order, p, err)
			}
		}
	}
}

// TestResetConnection: a peer that closed before it had read all does not cost what it has written.
func TestResetConnection(t *testing.T) {
	c, n := scripted(t, false)
	c.Write([]byte("unread"))
	n.write(n.data, "\x80one")
	n.write(n.data, "\x00two")
	n.write(n.ctl, "cleared 00 f1")
	n.endData()
	for _, want := range []string{"one", "two"} {
		if p, _, err := c.Next(); string(p) != want || err != nil {
			t.Fatalf("%q, %v, want %q", p, err, want)
		}
	}
	if _, _, err := c.Next(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then the reason: %v", err)
	}
}

func TestReset(t *testing.T) {
	c, n := scripted(t, true)
	n.write(n.data, "\x00never seen")
	n.write(n.ctl, "reset 05 01")
	<-c.Done()
	for what, err := range map[string]error{
		"Read":      func() error { _, err := c.Read(make([]byte, 1)); return err }(),
		"Write":     c.WriteDatagram(nil, 0),
		"Interrupt": c.Interrupt([]byte("x")),
	} {
		var cleared *Cleared
		if !errors.As(err, &cleared) || cleared.Cause != 5 || cleared.Diag != 1 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s after a reset: %v", what, err)
		}
	}
}

// TestClearedWakes: a write that waits is told at once, though data to be read is still there.
func TestClearedWakes(t *testing.T) {
	c, n := scripted(t, false)
	n.write(n.data, "\x00to be read")
	time.AfterFunc(10*time.Millisecond, func() { n.write(n.ctl, "cleared 00 f1") })
	var err error
	for err == nil {
		err = c.WriteDatagram(make([]byte, 60000), 0)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("writing: %v", err)
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		t.Error(err)
	}
	if err := c.WriteDatagram(nil, 0); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("writing again: %v", err)
	}
	if p, _, err := c.Next(); string(p) != "to be read" || err != nil {
		t.Errorf("reading: %q, %v", p, err)
	}
}

func TestWrongRecords(t *testing.T) {
	for why, record := range map[string]string{
		"a control byte with other bits": "\x01x",
		"no M and no Q but both halves":  "\x91x",
		"no octets at all":               "",
		"a record longer than any":       strings.Repeat("\x00", 1+MaxDatagram+1),
	} {
		for _, stream := range []bool{false, true} {
			c, n := scripted(t, stream)
			if err := unix.Sendto(n.data, []byte(record), 0, nil); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, _, err := c.Next(); !errors.Is(err, syscall.EPROTO) {
					t.Errorf("%s: %v", why, err)
				}
			}
		}
	}
	for _, second := range []string{"\x00b", "\x10b", ""} { // after a piece with Q
		c, n := scripted(t, false)
		n.write(n.data, "\x90a")
		unix.Sendto(n.data, []byte(second), 0, nil)
		if p, bits, err := c.Next(); string(p) != "a" || bits != Q|M || err != nil {
			t.Errorf("the first piece: %q, %x, %v", p, bits, err)
		}
		if _, _, err := c.Next(); !errors.Is(err, syscall.EPROTO) {
			t.Errorf("Q changes inside a sequence: %v", err)
		}
	}
	c, n := scripted(t, false)
	n.write(n.data, strings.Repeat("\x00", 1+MaxDatagram))
	if p, _, err := c.Next(); len(p) != MaxDatagram || err != nil {
		t.Errorf("the longest record: %d, %v", len(p), err)
	}
	for _, skipped := range []string{"OK", "news 1 2", "cleared", "cleared zz 00", "cleared 00", "interrupt", "interrupt\x00", "interrupt\x00" + strings.Repeat("x", 33), "reset 1 1", "error 0d 00"} {
		n.write(n.ctl, skipped)
	}
	n.write(n.ctl, "interrupt\x00ok")
	if p := <-c.Interrupts(); string(p) != "ok" {
		t.Errorf("interrupt %q", p)
	}
}

// TestPassedDescriptors: descriptors that the peer puts into the data are not taken.
func TestPassedDescriptors(t *testing.T) {
	c, n := scripted(t, false)
	before := openFds(t)
	if err := SendFds(n.data, []byte("\x00x"), 0, 1, 2); err != nil {
		t.Fatal(err)
	}
	if p, _, err := c.Next(); string(p) != "x" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if after := openFds(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestWhatTheProgramSays(t *testing.T) {
	c, n := scripted(t, false)
	c.Interrupt([]byte("\x00a"))
	n.wantLine("interrupt\x00\x00a")
	c.Close()
	n.wantLine("clear 00")
	n.wantLine("")
	c, n = scripted(t, false)
	c.Clear(0x81, "a b")
	n.wantLine(`clear 81 "a b"`)
	c, n = scripted(t, false)
	c.Abort(0x81, strings.Repeat("x", 300))
	n.wantLine("abort 81 " + strings.Repeat("x", MaxText))
	c, n = scripted(t, false)
	n.write(n.ctl, "cleared 00 00")
	<-c.Done()
	c.Close()
	n.wantLine("")
}

// TestEndWithoutReason: data that ends on a circuit that is no stream waits for the reason, no longer than
// the deadline.
func TestEndWithoutReason(t *testing.T) {
	c, n := scripted(t, false)
	unix.Shutdown(n.data, unix.SHUT_WR)
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, _, err := c.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
	c.SetReadDeadline(time.Time{})
	time.AfterFunc(5*time.Millisecond, func() { n.write(n.ctl, "cleared 0b 00") })
	if _, _, err := c.Next(); !errors.Is(err, syscall.EACCES) {
		t.Errorf("without: %v", err)
	}
}

// BenchmarkDatagrams is one circuit joined on one machine: a socket pair and two programs' ends.
func BenchmarkDatagrams(b *testing.B) {
	for name, size := range map[string]int{"64": 64, "64K": MaxDatagram} {
		b.Run(name, func(b *testing.B) {
			c, n := scripted(b, false)
			c.SetDeadline(time.Time{})
			go func() {
				p := make([]byte, 1+MaxDatagram)
				for {
					if k, err := unix.Read(n.data, p); k <= 0 || err != nil {
						return
					}
				}
			}()
			octets := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.WriteDatagram(octets, 0); err != nil {
					b.Fatal(err)
				}
			}
			unix.Shutdown(n.data, unix.SHUT_RDWR)
		})
	}
}

// TestEndToldTooEarly: Linux may tell an end before the last record (protocol.md 5). A record without octets before it makes the same
// two answers of the system calls, and every time: 0, with the other end closed, and then the record.
func TestEndToldTooEarly(t *testing.T) {
	for _, stream := range []bool{false, true} {
		c, n := scripted(t, stream)
		for _, end := range []struct {
			fd     int
			record string
		}{{n.data, "\x00last"}, {n.ctl, "cleared 00 42 bye"}} {
			unix.Sendto(end.fd, nil, 0, nil)
			n.write(end.fd, end.record)
		}
		n.close()
		if p, _, err := c.Next(); string(p) != "last" || err != nil {
			t.Errorf("stream %v: the last record: %q, %v", stream, p, err)
		}
		var cleared *Cleared
		if _, _, err := c.Next(); !errors.As(err, &cleared) || cleared.Text != "bye" {
			t.Errorf("stream %v: the end: %v", stream, err)
		}
	}
	for how, read := range map[string]func(fd int, p []byte) (int, error){
		"ReadRecord": ReadRecord,
		"RecvFds": func(fd int, p []byte) (int, error) {
			n, _, err := RecvFds(fd, p)
			return n, err
		},
	} {
		a, b := socketpair(t)
		SendFds(a, nil)
		SendFds(a, []byte("last"))
		SendFds(b, []byte("unread")) // so that ECONNRESET stands between
		unix.Shutdown(a, unix.SHUT_RDWR)
		p := make([]byte, 8)
		if n, err := read(b, p); string(p[:n]) != "last" || err != nil {
			t.Errorf("%s: the last record: %q, %v", how, p[:n], err)
		}
		if n, err := read(b, p); n != 0 || err != nil && err != io.EOF {
			t.Errorf("%s: the end: %q, %v", how, p[:n], err)
		}
	}
}

// TestWrittenThenClosed is the same as it happens: one end reads while the other writes its last record and closes.
func TestWrittenThenClosed(t *testing.T) {
	for range 2000 {
		a, b := unpaired(t)
		go func() {
			SendFds(a, []byte("last"))
			unix.Close(a)
		}()
		p := make([]byte, 8)
		n, err := 0, error(unix.EAGAIN)
		for err == unix.EAGAIN {
			n, err = ReadRecord(b, p)
		}
		unix.Close(b)
		if string(p[:n]) != "last" || err != nil {
			t.Fatalf("%q, %v before the end", p[:n], err)
		}
	}
}

// unpaired is a socketpair that the test closes.
func unpaired(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}
