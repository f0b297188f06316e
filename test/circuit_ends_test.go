package test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/x25"
)

// Deadlines end what blocks, now and later, and only that; a circuit goes on after one.
func TestCircuitDeadlines(t *testing.T) {
	data := octets(t, 8192)
	eachRoute(t, func(t *testing.T, r route) {
		a, b := r.connect(t, circuit.Options{})
		timedOut := func(what string, err error) {
			t.Helper()
			var e net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &e) || !e.Timeout() {
				t.Errorf("%s: %v; want a deadline", what, err)
			}
		}
		for _, limit := range []time.Duration{-time.Second, time.Millisecond, 50 * time.Millisecond} {
			began := time.Now()
			a.SetReadDeadline(began.Add(limit))
			_, _, err := a.Next()
			timedOut("Next", err)
			if took := time.Since(began); took < limit || took > limit+slack*time.Second {
				t.Errorf("a deadline of %v ends a read after %v", limit, took)
			}
		}
		blocked := make(chan error, 1)
		a.SetReadDeadline(time.Time{})
		go func() {
			_, err := a.Read(make([]byte, 1))
			blocked <- err
		}()
		a.SetReadDeadline(time.Now().Add(time.Millisecond))
		timedOut("a read that blocks already", <-blocked)

		n := fill(t, a, data) // by write deadlines
		a.SetWriteDeadline(time.Now().Add(-time.Second))
		timedOut("WriteDatagram", a.WriteDatagram(nil, 0))
		_, err := a.Write(data)
		timedOut("Write", err)
		a.SetDeadline(time.Now().Add(bound))
		for i := range n {
			if got, _, err := whole(b); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("datagram %d of %d after the deadlines: %d octets, %v", i, n, len(got), err)
			}
		}
		for _, ends := range [][2]*circuit.Conn{{a, b}, {b, a}} {
			if err := ends[0].WriteDatagram([]byte("on"), 0); err != nil {
				t.Error(err)
			}
			if got, _, err := ends[1].Next(); string(got) != "on" {
				t.Errorf("after deadlines: %q, %v", got, err)
			}
		}
		lis := r.to.listen(t, r.service(), circuit.Options{})
		lis.SetDeadline(time.Now().Add(time.Millisecond))
		_, err = lis.Accept()
		timedOut("Accept", err)
	})
}

// What was written before a circuit is cleared with a reason is read first, then the reason; an ordinary end reads io.EOF.
func TestClearDrains(t *testing.T) {
	data := octets(t, 300000)
	eachRoute(t, func(t *testing.T, r route) {
		for diag, errno := range map[x25.Diag]unix.Errno{0: unix.EPIPE, 0x42: unix.ECONNREFUSED} {
			a, b := r.connect(t, circuit.Options{})
			written := make(chan error, 1)
			go func() {
				_, err := b.Write(data)
				written <- errors.Join(err, b.Clear(diag, "enough"))
			}()
			got, err := io.ReadAll(a)
			if !bytes.Equal(got, data) {
				t.Errorf("%d octets arrived of %d", len(got), len(data))
			}
			if diag != 0 {
				wantCleared(t, "Read", err, x25.CauseDTE, diag, "enough", errno)
			} else if err != nil {
				t.Errorf("after an ordinary end: %v", err)
			}
			wantCleared(t, "Write", a.WriteDatagram(nil, 0), x25.CauseDTE, diag, "enough", errno)
			if err := <-written; err != nil {
				t.Errorf("the end that clears: %v", err)
			}
			a.Close()
		}
	})
}

// One direction ends, the other goes on, whichever end begins; interrupts pass until the circuit is closed.
func TestHalfClose(t *testing.T) {
	data := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		for _, first := range []string{"caller", "server"} {
			a, b := r.connect(t, circuit.Options{Stream: true})
			if first == "server" {
				a, b = b, a
			}
			for i, ends := range [][2]*circuit.Conn{{a, b}, {b, a}} {
				go func() {
					ends[0].Write(data)
					if err := ends[0].CloseWrite(); err != nil {
						t.Errorf("CloseWrite: %v", err)
					}
				}()
				got, err := io.ReadAll(ends[1])
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("the %s ends first; direction %d: %d octets of %d, %v", first, i, len(got), len(data), err)
				}
				if _, err := ends[0].Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
					t.Errorf("writing after CloseWrite: %v", err)
				}
				if n, err := ends[1].Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("reading on after the end: %d, %v", n, err)
				}
				exchange(t, a, b, 1)
			}
			select {
			case <-a.Done():
				t.Errorf("both directions have ended, but nobody has closed: %v", a.CloseWrite())
			default:
			}
			a.Close()
			<-b.Done()
			b.Close()
		}
		a, _ := r.connect(t, circuit.Options{})
		if err := a.CloseWrite(); !errors.Is(err, circuit.ErrNotStream) {
			t.Errorf("CloseWrite of a circuit of datagrams: %v", err)
		}
	})
}

// Both ends write a mebibyte, and each closes as soon as it has read the other's, whether its own has been taken or not.
func TestBothWriteAndClose(t *testing.T) {
	data := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		for range 10 {
			a, b := r.connect(t, circuit.Options{Stream: true})
			var all sync.WaitGroup
			for name, c := range map[string]*circuit.Conn{"caller": a, "server": b} {
				var written sync.WaitGroup
				written.Go(func() {
					_, err := c.Write(data)
					if err = errors.Join(err, c.CloseWrite()); err != nil {
						t.Errorf("%s: write: %v", name, err)
					}
				})
				all.Go(func() {
					got, err := io.ReadAll(c)
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s: read %d octets of %d, %v", name, len(got), len(data), err)
					}
					written.Wait()
					if err := c.Close(); err != nil {
						t.Errorf("%s: close: %v", name, err)
					}
				})
			}
			all.Wait()
		}
	})
}

// On circuits of datagrams a close ends both directions: who has written and closed has no more use for what comes, and all that
// it wrote is read, though the other end writes too.
func TestCloseDrainsAgainstData(t *testing.T) {
	data := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		for range 5 {
			a, b := r.connect(t, circuit.Options{})
			var all sync.WaitGroup
			all.Go(func() {
				_, err := a.Write(data)
				if err = errors.Join(err, a.Close()); err != nil {
					t.Errorf("write and close: %v", err)
				}
			})
			all.Go(func() {
				for b.WriteDatagram(data[:8192], 0) == nil { // until it is told that nobody reads
				}
			})
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d octets of %d, %v", len(got), len(data), err)
			}
			all.Wait()
			b.Close()
		}
	})
}
