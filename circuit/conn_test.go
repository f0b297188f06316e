package circuit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/circuit/circuittest"

	"golang.org/x/net/nettest"
)

// bound ends what should have ended by itself.
const bound = 20 * time.Second

// ways are the two kinds of circuit: joined as on one machine, relayed as between two.
var ways = map[string]func(testing.TB) *circuittest.Door{"joined": circuittest.New, "relayed": circuittest.NewRelay}

func eachWay(t *testing.T, f func(t *testing.T, d *circuittest.Door)) {
	for name, open := range ways {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(circuit.CheckFds(t))
			f(t, open(t))
		})
	}
}

func listen(t testing.TB, d *circuittest.Door, name string) *circuit.Listener {
	t.Helper()
	l, err := circuit.Listen(t.Context(), name, circuit.Options{Door: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

var names atomic.Int64

// connect makes a circuit: the caller's end and the server's.
func connect(t testing.TB, d *circuittest.Door, o circuit.Options) (caller, server *circuit.Conn) {
	t.Helper()
	o.Door = d.Path
	name := fmt.Sprint("test", names.Add(1))
	l, err := circuit.Listen(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *circuit.Conn, 1)
	go func() {
		call, err := l.Accept()
		if err != nil {
			t.Error(err)
			close(accepted)
			return
		}
		c, err := call.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	caller, err = circuit.Dial(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	if server == nil {
		t.FailNow()
	}
	for _, c := range []*circuit.Conn{caller, server} {
		c.SetDeadline(time.Now().Add(bound))
		t.Cleanup(func() { c.Close() })
	}
	return caller, server
}

func TestNetConn(t *testing.T) {
	for name, open := range ways {
		for _, stream := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " stream"}[stream], func(t *testing.T) {
				d := open(t)
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					a, b := connect(t, d, circuit.Options{Stream: stream})
					a.SetDeadline(time.Time{})
					b.SetDeadline(time.Time{})
					return a, b, func() { a.Close(); b.Close() }, nil
				})
			})
		}
	}
}

func TestDatagrams(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{})
		big := bytes.Repeat([]byte("0123456789abcdef"), circuit.MaxDatagram/16+1)
		sent := []struct {
			octets []byte
			bits   circuit.Bits
		}{
			{[]byte("one"), 0}, {nil, 0}, {[]byte("meta"), circuit.Q}, {nil, circuit.Q},
			{[]byte("pie"), circuit.M}, {[]byte("ce"), 0}, {big[:circuit.MaxDatagram], 0},
		}
		go func() {
			for _, s := range sent {
				if err := a.WriteDatagram(s.octets, s.bits); err != nil {
					t.Error(err)
				}
			}
		}()
		for i, s := range sent {
			octets, bits, err := b.Next()
			if err != nil || !bytes.Equal(octets, s.octets) || bits != s.bits {
				t.Fatalf("datagram %d: %d octets, bits %02x, %v; want %d, %02x", i, len(octets), bits, err, len(s.octets), s.bits)
			}
		}
		go a.WriteDatagram(big, circuit.Q)
		var got []byte
		for {
			octets, bits, err := b.Next()
			if err != nil || bits&circuit.Q == 0 {
				t.Fatalf("a piece of a long datagram: bits %02x, %v", bits, err)
			}
			if got = append(got, octets...); bits&circuit.M == 0 {
				break
			}
		}
		if !bytes.Equal(got, big) {
			t.Errorf("a datagram of %d octets arrived with %d", len(big), len(got))
		}
	})
}

func TestShortReads(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{})
		a.WriteDatagram([]byte("abcde"), circuit.Q)
		a.WriteDatagram([]byte("fg"), 0)
		for _, want := range []struct {
			text string
			bits circuit.Bits
		}{{"ab", circuit.Q | circuit.M}, {"cd", circuit.Q | circuit.M}, {"e", circuit.Q}, {"fg", 0}} {
			p := make([]byte, 2)
			if n, bits, err := b.ReadDatagram(p); err != nil || string(p[:n]) != want.text || bits != want.bits {
				t.Errorf("a read of two octets gave %q, bits %02x, %v; want %q, %02x", p[:n], bits, err, want.text, want.bits)
			}
		}
		a.WriteDatagram([]byte("not for the byte view"), circuit.Q)
		a.WriteDatagram(nil, 0)
		a.Write([]byte("hijk"))
		p := make([]byte, 3)
		n, err := b.Read(p)
		if err != nil || string(p[:n]) != "hij" {
			t.Errorf("the byte view skips Q and empty datagrams: %q, %v", p[:n], err)
		}
		if octets, bits, err := b.Next(); string(octets) != "k" || bits != 0 || err != nil {
			t.Errorf("the rest of a datagram: %q %02x %v", octets, bits, err)
		}
	})
}

func TestWrongBits(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{Stream: true})
		if err := a.WriteDatagram(nil, 0x01); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("bits that do not exist: %v", err)
		}
		a.WriteDatagram([]byte("x"), circuit.M)
		if err := a.WriteDatagram([]byte("y"), circuit.Q); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Q changes inside a sequence: %v", err)
		}
		if _, err := a.Write([]byte("y")); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("the byte view inside a sequence: %v", err)
		}
		if err := a.CloseWrite(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("the end of the direction inside a sequence: %v", err)
		}
		if err := a.WriteDatagram([]byte("z"), 0); err != nil {
			t.Errorf("the circuit stays: %v", err)
		}
		if p, _ := io.ReadAll(io.LimitReader(b, 2)); string(p) != "xz" {
			t.Errorf("arrived: %q", p)
		}
	})
}

func TestInterrupts(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{})
		for a.WriteDatagram(make([]byte, 60000), 0) == nil { // until the circuit takes nothing any more
			a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		}
		octets := []byte("\x00 \"=\nINT")
		if err := a.Interrupt(octets); err != nil {
			t.Fatal(err)
		}
		if got := <-b.Interrupts(); !bytes.Equal(got, octets) {
			t.Errorf("interrupt %q overtook all data as %q", octets, got)
		}
		for _, n := range []int{0, circuit.MaxInterrupt + 1} {
			if err := a.Interrupt(make([]byte, n)); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("an interrupt of %d octets: %v", n, err)
			}
		}
		a.Close()
		go io.Copy(io.Discard, b)
		for range b.Interrupts() {
			t.Error("an interrupt nobody sent")
		}
	})
}

func TestInterruptsNotTaken(t *testing.T) {
	d := circuittest.New(t)
	a, b := connect(t, d, circuit.Options{})
	for i := byte(0); i < 20; i++ {
		if err := a.Interrupt([]byte{i}); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	<-b.Done()
	var got []byte
	for p := range b.Interrupts() {
		got = append(got, p...)
	}
	if len(got) != 16 || got[15] != 19 || b.InterruptsLost() != 4 {
		t.Errorf("of 20 interrupts the last 16 wait and 4 are counted: %d, %d", got, b.InterruptsLost())
	}
}

func TestCloseDrains(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{})
		b.Write([]byte("never read"))
		a.Write([]byte("first"))
		a.WriteDatagram([]byte("last"), circuit.Q)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		for _, want := range []string{"first", "last"} {
			if octets, _, err := b.Next(); err != nil || string(octets) != want {
				t.Fatalf("what was written before the close: %q, %v, want %q", octets, err, want)
			}
		}
		for range 2 {
			if _, _, err := b.Next(); err != io.EOF {
				t.Errorf("after it, an ordinary end: %v", err)
			}
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing to an end that has closed: %v", err)
		}
		if err := b.Interrupt([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("interrupting it: %v", err)
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the second close: %v", err)
		}
		for what, err := range map[string]error{
			"Next":        second(a.Next()),
			"Write":       a.WriteDatagram(nil, 0),
			"Interrupt":   a.Interrupt([]byte("x")),
			"SetDeadline": a.SetDeadline(time.Time{}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
	})
}

func second[A, B any](_ A, _ B, err error) error { return err }

func TestClearWithReason(t *testing.T) {
	for _, stream := range []bool{false, true} {
		eachWay(t, func(t *testing.T, d *circuittest.Door) {
			for _, abort := range []bool{false, true} {
				a, b := connect(t, d, circuit.Options{Stream: stream})
				a.Write([]byte("data"))
				text := `no "room" = none`
				if abort {
					a.Abort(0x42, text)
				} else {
					a.Clear(0x42, text)
				}
				p, err := io.ReadAll(b)
				var cleared *circuit.Cleared
				if string(p) != "data" || !errors.As(err, &cleared) || cleared.Cause != 0 || cleared.Diag != 0x42 || cleared.Text != text {
					t.Errorf("abort %v: data %q, then %v", abort, p, err)
				}
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("errno of %v", err)
				}
				if err := b.WriteDatagram(nil, 0); !errors.As(err, &cleared) {
					t.Errorf("writing then: %v", err)
				}
				if err := b.CloseWrite(); stream && (!errors.As(err, &cleared) || cleared.Diag != 0x42) {
					t.Errorf("ending the direction then: %v", err)
				}
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		l := listen(t, d, "shop.moon")
		go func() {
			for diag := range circuit.Diag(2) {
				call, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				if call.Service != "shop.moon" || call.Machine != circuittest.Machine || call.User != "tester" {
					t.Errorf("the call says %+v", call.Peer)
				}
				if err := call.Refuse(diag, "closed on Sundays"); err != nil {
					t.Error(err)
				}
				if _, err := call.Accept(); err == nil {
					t.Error("a refused call was accepted")
				}
			}
		}()
		for diag := range circuit.Diag(2) {
			_, err := circuit.Dial(t.Context(), "shop.moon", circuit.Options{Door: d.Path})
			var cleared *circuit.Cleared
			if !errors.As(err, &cleared) || cleared.Cause != 0 || cleared.Diag != diag || cleared.Text != "closed on Sundays" {
				t.Errorf("refused with diagnostic %d: %#v", diag, err)
			}
			if !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != "dial dnet shop.moon: refused: closed on Sundays" {
				t.Errorf("refused with diagnostic %d: %v", diag, err)
			}
		}
	})
}

func TestDialErrors(t *testing.T) {
	t.Cleanup(circuit.CheckFds(t))
	d := circuittest.New(t)
	o := circuit.Options{Door: d.Path}
	if _, err := circuit.Dial(t.Context(), "nobody", o); !errors.Is(err, syscall.ENOENT) || err.Error() != "dial dnet nobody: no such service or machine" {
		t.Errorf("no such service: %v", err)
	}
	if _, err := circuit.Dial(t.Context(), "a/b", o); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "not a name") {
		t.Errorf("not a name: %v", err)
	}
	if _, err := circuit.Dial(t.Context(), strings.Repeat("x", 3000), o); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a name longer than a line: %v", err)
	}
	l := listen(t, d, "slow")
	if _, err := circuit.Listen(t.Context(), "slow", o); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a name that is taken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		call, err := l.Accept()
		cancel()
		if err != nil {
			t.Error(err)
			return
		}
		call.Refuse(0, "")
	}()
	if _, err := circuit.Dial(ctx, "slow", o); !errors.Is(err, context.Canceled) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a call given up: %v", err)
	}
	if _, err := circuit.Dial(ctx, "slow", o); !errors.Is(err, context.Canceled) {
		t.Errorf("a call given up before: %v", err)
	}
	_, err := circuit.Dial(t.Context(), "x", circuit.Options{Door: d.Path + ".not"})
	if !errors.Is(err, circuit.ErrNoNetman) || errors.Is(err, syscall.ENOENT) {
		t.Errorf("no door: %v", err)
	}
	t.Setenv("DNET_DOOR", d.Path)
	if _, err := circuit.Dial(t.Context(), "nobody", circuit.Options{}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("$DNET_DOOR: %v", err)
	}
}

func TestListenerCloses(t *testing.T) {
	t.Cleanup(circuit.CheckFds(t))
	d := circuittest.New(t)
	l := listen(t, d, "name")
	l.SetDeadline(time.Now().Add(time.Millisecond))
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the deadline: %v", err)
	}
	l.SetDeadline(time.Time{})
	time.AfterFunc(time.Millisecond, func() { l.Close() })
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it waits: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestNetListener(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		var l net.Listener = listen(t, d, "web").NetListener()
		if a := l.Addr(); a.Network() != "dnet" || a.String() != "web" {
			t.Errorf("the address is %v of %s", a, a.Network())
		}
		for range 3 {
			go func() {
				c, err := circuit.Dial(t.Context(), "web", circuit.Options{Door: d.Path})
				if err != nil {
					t.Error(err)
					return
				}
				c.Write([]byte("hello"))
				c.Close()
			}()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if p, err := io.ReadAll(c); string(p) != "hello" || err != nil {
				t.Errorf("%q, %v", p, err)
			}
			if peer := c.(*circuit.Conn).Peer; peer.User != "tester" || c.RemoteAddr().String() != circuittest.Machine {
				t.Errorf("the call is from %+v, %v", peer, c.RemoteAddr())
			}
			c.Close()
		}
		time.AfterFunc(time.Millisecond, func() { l.Close() })
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while it waits: %v", err)
		}
	})
}

func TestNetmanGone(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{})
		a.Write([]byte("last words"))
		if p, err := io.ReadAll(io.LimitReader(b, 10)); err != nil {
			t.Fatalf("%q, %v", p, err)
		}
		go d.Close()
		for _, c := range []*circuit.Conn{a, b} {
			_, _, err := c.Next()
			if !errors.Is(err, syscall.EHOSTDOWN) {
				t.Errorf("reading when netman goes: %v", err)
			}
			if err := c.WriteDatagram(nil, 0); !errors.Is(err, syscall.EHOSTDOWN) {
				t.Errorf("writing then: %v", err)
			}
		}
	})
}

func TestHalfClose(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, b := connect(t, d, circuit.Options{Stream: true})
		if !b.Stream {
			t.Fatal("the server does not know that it is a stream")
		}
		a.Write([]byte("question"))
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing after the end of the direction: %v", err)
		}
		if p, err := io.ReadAll(b); string(p) != "question" || err != nil {
			t.Errorf("the question: %q, %v", p, err)
		}
		b.Write([]byte("answer"))
		b.CloseWrite()
		if p, err := io.ReadAll(a); string(p) != "answer" || err != nil {
			t.Errorf("the answer: %q, %v", p, err)
		}
		if err := b.Interrupt([]byte("!")); err != nil {
			t.Errorf("both directions have ended, the circuit not: %v", err)
		}
		if p := <-a.Interrupts(); string(p) != "!" {
			t.Errorf("interrupt %q", p)
		}
		a.Close()
		<-b.Done()
		if _, err := b.Write(nil); err != nil {
			t.Errorf("an empty write: %v", err)
		}
	})
	d := circuittest.New(t)
	a, _ := connect(t, d, circuit.Options{})
	if err := a.CloseWrite(); !errors.Is(err, circuit.ErrNotStream) {
		t.Errorf("CloseWrite without a stream: %v", err)
	}
}

func TestDeadlineWakes(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		a, _ := connect(t, d, circuit.Options{})
		a.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		_, _, err := a.Next()
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("reading: %v", err)
		}
		a.SetReadDeadline(time.Time{})
		time.AfterFunc(5*time.Millisecond, func() { a.Close() })
		if _, _, err := a.Next(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while it reads: %v", err)
		}
	})
}
