package test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"dnet/circuit"
	"dnet/test/lab"
)

// octets are n octets of noise.
func octets(t *testing.T, n int64) []byte {
	t.Helper()
	p, err := io.ReadAll(noise(n))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ways are the two kinds of circuits: between two machines, and within one.
var ways = []struct{ name, from, to string }{{"between machines", "grumpy", "doc"}, {"within a machine", "grumpy", "grumpy"}}

// Both ends write a mebibyte and end at once; both read all of it, and nothing is left.
func TestBothEndAtOnce(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	const size = 1 << 20
	want := octets(t, size)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a, b := join(t, l.Machine(way.from), l.Machine(way.to), circuit.Options{Stream: true})
			var all sync.WaitGroup
			for name, c := range map[string]*circuit.Conn{"caller": a, "server": b} {
				all.Go(func() {
					if _, err := c.Write(want); err != nil {
						t.Errorf("%s: write: %v", name, err)
					}
					if err := c.CloseWrite(); err != nil {
						t.Errorf("%s: CloseWrite: %v", name, err)
					}
				})
				all.Go(func() {
					got, err := io.ReadAll(c)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: read %d octets, %v; want the %d that were written", name, len(got), err, size)
					}
				})
			}
			all.Wait()
			all.Go(func() { a.Close() })
			all.Go(func() { b.Close() })
			all.Wait()
			idle(t, l.Machines()...)
		})
	}
}

// What was written before a close arrives, though the writer's program has gone.
func TestCloseDrains(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	want := octets(t, 1<<20)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a, b := join(t, l.Machine(way.from), l.Machine(way.to), circuit.Options{})
			go func() {
				a.Write(want)
				a.Close()
			}()
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d octets, %v; want the %d that were written", len(got), err, len(want))
			}
			b.Close()
			idle(t, l.Machines()...)
		})
	}
}

// Datagrams keep their boundaries and their Q mark, at any length; interrupts come beside them.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	noise := octets(t, 200000)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			a, b := join(t, l.Machine(way.from), l.Machine(way.to), circuit.Options{})
			sizes := []int{0, 1, 2, 41, 42, 43, 1488, 1489, 1490, 2978, 4096, 65534, 65535, 65536, 200000, 0, 7}
			go func() {
				for i, n := range sizes {
					if err := a.WriteDatagram(noise[:n], []circuit.Bits{0, circuit.Q}[i%2]); err != nil {
						t.Errorf("datagram of %d: %v", n, err)
					}
				}
			}()
			for i, n := range sizes {
				var got []byte
				bits := circuit.M
				for bits&circuit.M != 0 {
					piece, marks, err := b.Next()
					if err != nil {
						t.Fatalf("datagram %d, of %d octets, after %d: %v", i, n, len(got), err)
					}
					got, bits = append(got, piece...), marks
				}
				if !bytes.Equal(got, noise[:n]) || (bits&circuit.Q != 0) != (i%2 == 1) {
					t.Fatalf("datagram %d: %d octets, bits %x; want the %d sent, Q %v", i, len(got), bits, n, i%2 == 1)
				}
			}
			for i := range 3 {
				want := fmt.Sprintf("interrupt %d", i)
				if err := a.Interrupt([]byte(want)); err != nil {
					t.Fatal(err)
				}
				if got := <-b.Interrupts(); string(got) != want {
					t.Errorf("interrupt %q, want %q", got, want)
				}
			}
		})
	}
}
