package circuit

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"dnet/x25"

	"golang.org/x/sys/unix"
)

// dce is the far end of a complex server's descriptor, played by the test: a packet level, which the test drives by hand.
type dce struct {
	t     *testing.T
	fd    int
	level *x25.Level
	out   x25.Out
}

// complexListener is a Listener whose netman is the test.
func complexListener(t *testing.T) (*Listener, *dce) {
	t.Helper()
	t.Cleanup(checkFds(t))
	var fds [4]int
	for i := 0; i < 4; i += 2 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i], fds[i+1] = pair[0], pair[1]
	}
	door, err := newFile(fds[0], "door")
	if err != nil {
		t.Fatal(err)
	}
	reg := &registration{door: door}
	if reg.mux, err = newMux(fds[2], "s"); err != nil {
		t.Fatal(err)
	}
	l := newListener("s", Options{Complex: true, Door: "/nowhere"}, reg)
	n := &dce{t: t, fd: fds[3], level: x25.NewLevel(x25.Config{Role: x25.DCE, MaxPacket: muxPacket})}
	n.level.LinkUp(time.Now(), &n.out)
	t.Cleanup(func() {
		l.Close()
		n.end()
		unix.Close(fds[1])
	})
	n.until("restarted", func(ev x25.Event) bool { return ev.Kind == x25.Restarted })
	return l, n
}

func (n *dce) end() {
	if n.fd >= 0 {
		unix.Close(n.fd)
		n.fd = -1
	}
}

// turn moves packets both ways, and waits a little when there are none.
func (n *dce) turn() {
	n.t.Helper()
	now := time.Now()
	n.level.HandleTimeout(now, &n.out)
	for packet := n.level.AppendNext(now, nil, &n.out); len(packet) > 0; packet = n.level.AppendNext(now, nil, &n.out) {
		if _, err := unix.Write(n.fd, packet); err != nil && err != unix.EPIPE { // the program has closed it
			n.t.Fatal(err)
		}
	}
	poll := []unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
	unix.Poll(poll, 2)
	buf := make([]byte, muxPacket)
	for {
		k, err := unix.Read(n.fd, buf)
		if err != nil || k == 0 {
			return
		}
		n.level.HandlePacket(time.Now(), buf[:k], &n.out)
	}
}

// until turns until an event has come.
func (n *dce) until(what string, is func(x25.Event) bool) (found x25.Event) {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); n.turn() {
		for i, ev := range n.out.Events {
			if is(ev) {
				n.out.Events = append([]x25.Event(nil), n.out.Events[i+1:]...)
				ev.UserData = bytes.Clone(ev.UserData)
				return ev
			}
		}
		n.out.Reset()
	}
	n.t.Fatalf("not %s", what)
	return
}

// waiting is how many calls were not taken.
func (m *mux) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.calls)
}

// call places a call of the user alice on grumpy.
func (n *dce) call(stream bool) *x25.Circuit {
	n.t.Helper()
	data := "\xc4DN\x01\x02\x05alice"
	if stream {
		data += "\x03\x01\x01"
	}
	x, err := n.level.Call(time.Now(), []byte(data+"\x63\x02??"+"\x04\x06grumpy"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.turn()
	return x
}

// connect is a circuit that was accepted: the program's end and netman's.
func (n *dce) connect(l *Listener, stream bool) (*Conn, *x25.Circuit) {
	n.t.Helper()
	x := n.call(stream)
	call, err := l.Accept()
	if err != nil {
		n.t.Fatal(err)
	}
	if want := (Peer{Service: "s", Machine: "grumpy", User: "alice", Stream: stream}); call.Peer != want {
		n.t.Fatalf("the call says %+v, want %+v", call.Peer, want)
	}
	c, err := call.Accept()
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := call.Accept(); err == nil {
		n.t.Error("a call was accepted twice")
	}
	n.until("connected", func(ev x25.Event) bool { return ev.Kind == x25.Connected && ev.Circuit == x })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, x
}

func TestMuxDatagrams(t *testing.T) {
	l, n := complexListener(t)
	c, x := n.connect(l, false)
	big := bytes.Repeat([]byte("0123456789abcdef"), MaxDatagram/16)
	var writer sync.WaitGroup
	writer.Go(func() {
		for _, d := range []struct {
			octets []byte
			bits   Bits
		}{{[]byte("one"), 0}, {nil, Q}, {big, Q}, {[]byte("pie"), M}, {[]byte("ce"), 0}} {
			if err := c.WriteDatagram(d.octets, d.bits); err != nil {
				t.Error(err)
			}
		}
	})
	for _, want := range []struct {
		octets string
		q      bool
	}{{"one", false}, {"", true}, {string(big), true}, {"piece", false}} {
		var got []byte
		for more := true; more; {
			data, q, m, ok := x.Peek()
			if !ok {
				n.turn()
				continue
			}
			if got, more = append(got, data...), m; q != want.q {
				t.Errorf("Q %v", q)
			}
			x.Next(time.Now())
		}
		if string(got) != want.octets {
			t.Errorf("%d octets arrive of %d", len(got), len(want.octets))
		}
	}
	writer.Wait()
	x.Send(time.Now(), []byte("abcde"), true, false)
	n.turn()
	p := make([]byte, 3)
	if k, bits, err := c.ReadDatagram(p); string(p[:k]) != "abc" || bits != Q|M || err != nil {
		t.Errorf("a short read: %q %02x %v", p[:k], bits, err)
	}
	if octets, bits, err := c.Next(); string(octets) != "de" || bits != Q || err != nil {
		t.Errorf("the rest: %q %02x %v", octets, bits, err)
	}
}

// TestMuxBlocks: a write waits while the window of its circuit is shut, no longer than its deadline, and another circuit's does not.
func TestMuxBlocks(t *testing.T) {
	l, n := complexListener(t)
	shut, _ := n.connect(l, false)
	open, x := n.connect(l, false)
	shut.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	var err error
	for sent := 0; err == nil; sent++ {
		if err = shut.WriteDatagram(make([]byte, 10000), 0); sent > 1000 {
			t.Fatal("a circuit that nobody reads takes everything")
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing to a circuit that nobody reads: %v", err)
	}
	if err := open.WriteDatagram([]byte("through"), 0); err != nil {
		t.Error(err)
	}
	n.until("data", func(ev x25.Event) bool { return ev.Kind == x25.Data && ev.Circuit == x })
	shut.SetWriteDeadline(time.Time{})
	time.AfterFunc(5*time.Millisecond, func() { shut.Close() })
	for err = nil; err == nil; {
		err = shut.WriteDatagram(make([]byte, 10000), 0)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it writes: %v", err)
	}
}

func TestMuxInterrupts(t *testing.T) {
	l, n := complexListener(t)
	c, x := n.connect(l, false)
	for i := range byte(4) { // netman does not look meanwhile: the first goes out, the last waits
		if err := c.Interrupt([]byte{i}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []byte{0, 3} {
		if ev := n.until("interrupt", func(ev x25.Event) bool { return ev.Kind == x25.Interrupt }); ev.UserData[0] != want {
			t.Errorf("interrupt %d, want %d", ev.UserData[0], want)
		}
	}
	x.Interrupt(time.Now(), []byte("back"))
	n.until("confirmed", func(ev x25.Event) bool { return ev.Kind == x25.InterruptConfirmed })
	if got := <-c.Interrupts(); string(got) != "back" {
		t.Errorf("interrupt %q", got)
	}
}

// TestMuxEnds: how a circuit ends is told by every call, after what came before.
func TestMuxEnds(t *testing.T) {
	for name, row := range map[string]struct {
		end   func(n *dce, x *x25.Circuit)
		read  syscall.Errno // 0: end of file
		write syscall.Errno
	}{
		"closed":     {func(n *dce, x *x25.Circuit) { x.Close(time.Now(), 0, 0, nil) }, 0, syscall.EPIPE},
		"refused":    {func(n *dce, x *x25.Circuit) { x.Close(time.Now(), 0, 0x42, []byte("why")) }, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		"link gone":  {func(n *dce, x *x25.Circuit) { x.Close(time.Now(), 9, 0, nil) }, syscall.EHOSTDOWN, syscall.EHOSTDOWN},
		"netman":     {func(n *dce, x *x25.Circuit) { n.end() }, syscall.EHOSTDOWN, syscall.EHOSTDOWN},
		"no memory":  {func(n *dce, x *x25.Circuit) { x.Close(time.Now(), 5, 163, nil) }, syscall.ENOBUFS, syscall.ENOBUFS},
		"died there": {func(n *dce, x *x25.Circuit) { x.Close(time.Now(), 0, x25.DiagProgramDied, nil) }, syscall.ECONNRESET, syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			l, n := complexListener(t)
			n.t = t
			c, x := n.connect(l, false)
			x.Send(time.Now(), []byte("last"), false, false)
			n.turn()
			row.end(n, x)
			for n.fd >= 0 && c.cleared() == nil {
				n.turn()
			}
			<-c.Done()
			if octets, _, err := c.Next(); string(octets) != "last" || err != nil {
				t.Errorf("what came before: %q, %v", octets, err)
			}
			_, _, err := c.Next()
			if row.read == 0 && err != io.EOF || row.read != 0 && !errors.Is(err, row.read) {
				t.Errorf("reading: %v", err)
			}
			if err := c.WriteDatagram([]byte("x"), 0); !errors.Is(err, row.write) {
				t.Errorf("writing: %v", err)
			}
			if err := c.Interrupt([]byte("x")); !errors.Is(err, row.write) {
				t.Errorf("interrupting: %v", err)
			}
			for range c.Interrupts() {
				t.Error("an interrupt nobody sent")
			}
		})
	}
}

func TestMuxReset(t *testing.T) {
	l, n := complexListener(t)
	c, x := n.connect(l, false)
	x.Reset(time.Now(), 5, 1)
	n.turn()
	<-c.Done()
	for what, err := range map[string]error{"reading": func() error { _, err := c.Read(make([]byte, 1)); return err }(), "writing": c.WriteDatagram(nil, 0)} {
		var e *Cleared
		if !errors.As(err, &e) || e.Cause != 5 || e.Diag != 1 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s after a reset: %v", what, err)
		}
	}
}

// TestMuxCloses: a close says its reason after what was written; half of a stream can be closed; a Listener that closes gives calls that
// were not taken to others, and its circuits stay.
func TestMuxCloses(t *testing.T) {
	l, n := complexListener(t)
	c, x := n.connect(l, true)
	c.Write([]byte("answer"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing then: %v", err)
	}
	x.Send(time.Now(), []byte("question"), false, false)
	x.Send(time.Now(), []byte("DEND"), true, false)
	n.turn()
	if p, err := io.ReadAll(c); string(p) != "question" || err != nil {
		t.Errorf("the question: %q, %v", p, err)
	}
	waiting := n.call(false)
	within := time.Now().Add(20 * time.Second)
	for l.reg.mux.waiting() == 0 && time.Now().Before(within) {
		n.turn()
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed Listener: %v", err)
	}
	ev := n.until("the call given back", func(ev x25.Event) bool { return ev.Kind == x25.Cleared && ev.Circuit == waiting })
	if ev.Cause != x25.CauseNotObtainable {
		t.Errorf("a call that was not taken is cleared with %v", ev.Cause)
	}
	c.Clear(0x42, "bye")
	ev = n.until("cleared", func(ev x25.Event) bool { return ev.Kind == x25.Cleared && ev.Circuit == x })
	if ev.Cause != 0 || ev.Diag != 0x42 || string(ev.UserData) != "bye" {
		t.Errorf("cleared %02x %02x %q", uint8(ev.Cause), uint8(ev.Diag), ev.UserData)
	}
	for _, want := range []string{"answer", "DEND"} {
		if data, _, _, _ := x.Peek(); string(data) != want {
			t.Errorf("before it: %q, want %q", data, want)
		}
		x.Next(time.Now())
	}
	for { // the descriptor ends with the last circuit
		if k, err := unix.Read(n.fd, make([]byte, muxPacket)); k == 0 && err == nil {
			break
		}
		n.turn()
		if time.Now().After(within) {
			t.Fatal("the descriptor stays open")
		}
	}
}

// TestMuxAnyPackets: a netman that writes nonsense costs no more than its circuits.
func TestMuxAnyPackets(t *testing.T) {
	l, n := complexListener(t)
	c, _ := n.connect(l, false)
	for _, packet := range []string{"\x20", "\x10\x01\x00\x00", "\x20\x01\x0f", "\x2f\xff\xfb\x00\x00", "\x20\x00\xf1\x01", "\x20\x01\x99\x00"} {
		if _, err := unix.Write(n.fd, []byte(packet)); err != nil {
			t.Fatal(err)
		}
	}
	<-c.Done()
	l.SetDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Accept: %v", err)
	}
}
