package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// place is a machine whose door this process can reach, and whose netman it can look at.
type place struct {
	*lab.Machine
	door    string
	pid     int  // of netman
	complex bool // its servers have all their circuits on one descriptor
	relay   bool // who listens here is called through netman, from the same machine too
}

func newPlace(t *testing.T, m *lab.Machine) place {
	t.Helper()
	p := place{Machine: m, door: door(t, m)}
	p.pid = netmanPid(t, p.door)
	return p
}

// netmanPid is the process behind a door that has the circuits.
func netmanPid(t *testing.T, door string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: door}); err != nil {
		t.Fatalf("%s: %v", door, err)
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := lab.Wire(int(cred.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// descriptors counts those of a process: "self", or its number.
func descriptors(t *testing.T, process any) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%v/fd", process))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// route is a way from a caller to a server: between two machines, or within one, joined by a socket pair or through netman; to a server
// with a pair of descriptors for each circuit, or one for all.
type route struct {
	name       string
	from, to   place
	direct     bool
	registered *atomic.Int32
}

// routes are all these ways, on a network of two machines.
func routes(t *testing.T) []route {
	t.Helper()
	l := network(t, lab.Config{Machines: []string{"grumpy", "sneezy"}})
	grumpy, sneezy := newPlace(t, l.Machine("grumpy")), newPlace(t, l.Machine("sneezy"))
	registered := new(atomic.Int32)
	through := grumpy
	through.relay = true
	ways := []route{
		{"between machines", grumpy, sneezy, false, registered},
		{"within a machine", grumpy, grumpy, true, registered},
		{"within a machine through netman", grumpy, through, false, registered},
	}
	for _, r := range ways[:2] {
		r.name, r.to.complex, r.direct = r.name+", complex", true, false
		ways = append(ways, r)
	}
	return ways
}

// eachRoute runs a test on all routes, and asks that it leaves nothing.
func eachRoute(t *testing.T, f func(t *testing.T, r route)) {
	for _, r := range routes(t) {
		t.Run(r.name, func(t *testing.T) {
			r.leavesNothing(t)
			f(t, r)
		})
	}
}

// leavesNothing asks that, at the end of the test, there is no circuit in either netman's status, and no more descriptors in them and in
// this process than now.
func (r route) leavesNothing(t *testing.T) {
	processes := map[string]any{"this process": "self", "netman of " + r.from.Name: r.from.pid, "netman of " + r.to.Name: r.to.pid}
	before := map[string]int{}
	for name, process := range processes {
		before[name] = descriptors(t, process)
	}
	t.Cleanup(func() { // after the clean-up of everything that comes later
		idle(t, r.from.Machine, r.to.Machine)
		for _, m := range []place{r.from, r.to} {
			for _, link := range rows(t, m.Machine, "links") {
				if link["circuits"] != 0.0 {
					t.Errorf("on %s is left a link with circuits: %v", m.Name, link)
				}
			}
		}
		for name, process := range processes {
			eventually(t, "the descriptors of "+name+" are back", func() bool { return descriptors(t, process) <= before[name] })
		}
	})
}

// service is a new name on the server's machine.
func (r route) service() string { return fmt.Sprintf("s%d.%s", r.registered.Add(1), r.to.Name) }

func (p place) listen(t *testing.T, service string, o circuit.Options) *circuit.Listener {
	t.Helper()
	o.Door, o.Complex, o.Relay = p.door, p.complex, p.relay
	lis, err := circuit.Listen(t.Context(), service, o)
	if err != nil {
		t.Fatalf("%s: listen %s: %v", p.Name, service, err)
	}
	t.Cleanup(func() { lis.Close() })
	lis.SetDeadline(time.Now().Add(bound))
	return lis
}

func (p place) dial(ctx context.Context, service string, o circuit.Options) (*circuit.Conn, error) {
	o.Door = p.door
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	c, err := circuit.Dial(ctx, service, o)
	if err == nil {
		c.SetDeadline(time.Now().Add(bound))
	}
	return c, err
}

// connect makes a circuit: the caller's end and the server's.
func (r route) connect(t *testing.T, o circuit.Options) (caller, server *circuit.Conn) {
	t.Helper()
	service := r.service()
	lis := r.to.listen(t, service, circuit.Options{})
	defer lis.Close()
	caller, server, err := r.meet(lis, service, o)
	if err != nil {
		t.Fatalf("a circuit %s: %v", r.name, err)
	}
	t.Cleanup(func() { caller.Close(); server.Close() })
	return caller, server
}

// meet calls a listener and accepts that call.
func (r route) meet(lis *circuit.Listener, service string, o circuit.Options) (caller, server *circuit.Conn, err error) {
	dialled := make(chan error, 1)
	go func() {
		var err error
		caller, err = r.from.dial(context.Background(), service, o)
		dialled <- err
	}()
	if call, e := lis.Accept(); e != nil {
		err = e
	} else if server, err = call.Accept(); err == nil {
		server.SetDeadline(time.Now().Add(bound))
	}
	return caller, server, errors.Join(err, <-dialled)
}

// dialling is a Dial that is under way.
type dialling struct {
	conn *circuit.Conn
	err  error
	done chan struct{}
}

func (p place) dialLater(t *testing.T, ctx context.Context, service string) *dialling {
	d := &dialling{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.conn, d.err = p.dial(ctx, service, circuit.Options{Stream: true})
	}()
	t.Cleanup(func() {
		if d.ends(t); d.conn != nil {
			d.conn.Close()
		}
	})
	return d
}

func (d *dialling) ends(t *testing.T) error {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(2 * bound):
		t.Fatal("Dial does not end")
	}
	return d.err
}

func (d *dialling) over() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// wantCleared asks that an error is a *Cleared with these values, found by errors.As, and the errno of the table of causes.
func wantCleared(t *testing.T, what string, err error, cause x25.Cause, diag x25.Diag, text string, errno unix.Errno) {
	t.Helper()
	why, ok := cleared(err)
	if !ok || why.Cause != cause || why.Diag != diag || text != "*" && why.Text != text || !errors.Is(err, errno) {
		t.Errorf("%s: %#v (%v); want cause %02x, diagnostic %d, text %q, %v", what, why, err, uint8(cause), uint8(diag), text, errno)
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Net != "dnet" {
		t.Errorf("%s: %v is not in the form of package net", what, err)
	}
}

// A stream circuit is a net.Conn as package net has it, through two netmans and through one.
func TestCircuitIsNetConn(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		for name, o := range map[string]circuit.Options{"stream": {Stream: true}, "datagrams": {}} {
			t.Run(name, func(t *testing.T) {
				service := r.service()
				lis := r.to.listen(t, service, circuit.Options{})
				lis.SetDeadline(time.Time{})
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					caller, server, err := r.meet(lis, service, o)
					if err != nil {
						return nil, nil, nil, err
					}
					caller.SetDeadline(time.Time{})
					server.SetDeadline(time.Time{})
					return caller, server, func() { caller.Close(); server.Close() }, nil
				})
			})
		}
	})
}

// message is a datagram as it is sent: in pieces, all with one Q.
type message struct {
	pieces []int // octets of each; with M on all but the last
	q      circuit.Bits
}

// messages are datagrams at every edge: of nothing, of a packet (1489 octets of data at an MTU of 1500), of a record.
func messages() (all []message) {
	for _, n := range []int{0, 1, 1488, 1489, 1490, 8192, 16384, 65534, circuit.MaxDatagram} {
		all = append(all, message{[]int{n}, 0}, message{[]int{n}, circuit.Q})
	}
	for _, pieces := range [][]int{
		{1, 1}, {0, 0, 0}, {0, 5}, {5, 0}, {1489, 1489}, {1489, 0}, {1, 65535, 1}, {65535, 65535, 65535}, {100000, 8192, 300000},
		slices.Repeat([]int{1}, 500), slices.Repeat([]int{1500, 0, 1}, 100),
	} {
		all = append(all, message{pieces, 0}, message{pieces, circuit.Q})
	}
	return append(all, message{[]int{0}, 0})
}

// send writes a datagram out of noise, piece by piece.
func (m message) send(c *circuit.Conn, noise []byte) error {
	for i, n := range m.pieces {
		bits := m.q
		if i < len(m.pieces)-1 {
			bits |= circuit.M
		}
		if err := c.WriteDatagram(noise[:n], bits); err != nil {
			return fmt.Errorf("piece %d of %d octets: %w", i, n, err)
		}
		noise = noise[n:]
	}
	return nil
}

// whole reads a datagram; it may arrive in other pieces than it was sent in, all with its Q.
func whole(c *circuit.Conn) (got []byte, q circuit.Bits, err error) {
	for first := true; ; first = false {
		octets, bits, err := c.Next()
		if err != nil {
			return got, q, fmt.Errorf("after %d octets: %w", len(got), err)
		}
		if !first && bits&circuit.Q != q {
			return got, q, fmt.Errorf("after %d octets: Q changes", len(got))
		}
		q = bits & circuit.Q
		if got = append(got, octets...); bits&circuit.M == 0 {
			return got, q, nil
		}
	}
}

// receive reads a datagram and compares it.
func (m message) receive(c *circuit.Conn, noise []byte) error {
	n := 0
	for _, piece := range m.pieces {
		n += piece
	}
	got, q, err := whole(c)
	if err == nil && (q != m.q || !bytes.Equal(got, noise[:n])) {
		err = fmt.Errorf("%d octets with Q %02x arrived of %d sent with Q %02x, or others", len(got), q, n, m.q)
	}
	return err
}

// Datagrams keep their boundaries, their octets and Q, however they were cut, in both directions at once. A short one is one record.
func TestCircuitDatagrams(t *testing.T) {
	noise := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		for _, o := range []circuit.Options{{}, {Stream: true}} {
			a, b := r.connect(t, o)
			var all sync.WaitGroup
			for name, ends := range map[string][2]*circuit.Conn{"to the server": {a, b}, "to the caller": {b, a}} {
				all.Go(func() {
					for i, m := range messages() {
						if err := m.send(ends[0], noise); err != nil {
							t.Errorf("%s: datagram %d %.20v: write: %v", name, i, m, err)
							return
						}
					}
				})
				all.Go(func() {
					for i, m := range messages() {
						if err := m.receive(ends[1], noise); err != nil {
							t.Errorf("%s: datagram %d %.20v: read: %v", name, i, m, err)
							return
						}
					}
				})
			}
			all.Wait()
			for _, n := range []int{0, 1, 1488, 1489, 1490, 8192, circuit.MaxDatagram} {
				if err := a.WriteDatagram(noise[:n], circuit.Q); err != nil {
					t.Fatal(err)
				}
				if got, bits, err := b.Next(); err != nil || bits != circuit.Q || !bytes.Equal(got, noise[:n]) {
					t.Errorf("a datagram of %d octets is read as %d octets, bits %02x, %v: want it whole", n, len(got), bits, err)
				}
			}
		}
	})
}

// exchange sends interrupts both ways by turns, each once its predecessor has come, and gives up when one is missing.
func exchange(t *testing.T, a, b *circuit.Conn, rounds int) {
	t.Helper()
	for i := range rounds {
		for name, ends := range map[string][2]*circuit.Conn{"caller": {a, b}, "server": {b, a}} {
			want := bytes.Repeat([]byte{byte(i)}, 1+i%circuit.MaxInterrupt)
			if err := ends[0].Interrupt(want); err != nil {
				t.Fatalf("interrupt %d of the %s: %v", i, name, err)
			}
			select {
			case got := <-ends[1].Interrupts():
				if !bytes.Equal(got, want) {
					t.Fatalf("interrupt %d of the %s is %x, want %x", i, name, got, want)
				}
			case <-time.After(bound):
				t.Fatalf("interrupt %d of the %s does not come", i, name)
			}
		}
	}
}

// flow writes datagrams until it is told that it is enough, then an empty one, and counts them.
func flow(c *circuit.Conn, octets []byte, enough *atomic.Bool) (n int, err error) {
	for !enough.Load() && err == nil {
		if err = c.WriteDatagram(octets, circuit.Q); err == nil {
			n++
		}
	}
	return n, errors.Join(err, c.WriteDatagram(nil, 0))
}

// drain reads what flow writes.
func drain(c *circuit.Conn, want []byte) (n int, err error) {
	for {
		got, q, err := whole(c)
		switch {
		case err != nil:
			return n, err
		case q == 0 && len(got) == 0:
			return n, nil
		case q == 0 || !bytes.Equal(got, want):
			return n, fmt.Errorf("datagram %d: %d octets, Q %02x", n, len(got), q)
		}
		n++
	}
}

// Interrupts come through while data flows both ways, and all data comes.
func TestInterruptsBesideData(t *testing.T) {
	data := octets(t, 100000)
	eachRoute(t, func(t *testing.T, r route) {
		a, b := r.connect(t, circuit.Options{})
		var enough atomic.Bool
		var all sync.WaitGroup
		var written, read [2]int
		for i, ends := range [][2]*circuit.Conn{{a, b}, {b, a}} {
			all.Go(func() {
				var err error
				if written[i], err = flow(ends[0], data, &enough); err != nil {
					t.Errorf("write: %v", err)
				}
			})
			all.Go(func() {
				var err error
				if read[i], err = drain(ends[1], data); err != nil {
					t.Errorf("read: %v", err)
				}
			})
		}
		exchange(t, a, b, 200)
		enough.Store(true)
		all.Wait()
		if read != written || written[0]*written[1] == 0 {
			t.Errorf("of %v datagrams %v arrived", written, read)
		}
		t.Logf("200 interrupts each way beside %v datagrams of %d octets", written, len(data))
	})
}

// fill writes until the circuit takes nothing for a while, and counts the datagrams that it took.
func fill(t *testing.T, c *circuit.Conn, octets []byte) (n int) {
	t.Helper()
	for {
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		switch err := c.WriteDatagram(octets, 0); {
		case err == nil:
			n++
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.SetWriteDeadline(time.Now().Add(bound))
			return n
		default:
			t.Fatalf("datagram %d: %v", n, err)
		}
	}
}

// A reader that sleeps stops the writer, not the interrupts; when it wakes up, all that was taken is there.
func TestInterruptsPastAReaderThatSleeps(t *testing.T) {
	data := octets(t, 8192)
	eachRoute(t, func(t *testing.T, r route) {
		a, b := r.connect(t, circuit.Options{})
		var taken [2]int
		for i, c := range []*circuit.Conn{a, b} {
			if taken[i] = fill(t, c, data); taken[i]*len(data) > 4<<20 {
				t.Errorf("a circuit that nobody reads took %d octets", taken[i]*len(data))
			}
		}
		exchange(t, a, b, 50)
		for i, c := range []*circuit.Conn{b, a} {
			for n := range taken[i] {
				if got, _, err := whole(c); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("datagram %d of %d: %d octets, %v", n, taken[i], len(got), err)
				}
			}
		}
		exchange(t, a, b, 2)
		t.Logf("%v datagrams of %d octets waited", taken, len(data))
	})
}

// Interrupts that are sent faster than they are confirmed are replaced by later ones. Each one that comes is as it was sent, the last one
// comes, and the circuit stays. The caller's netman is stopped meanwhile, so that it finds them all at once.
func TestInterruptsInABurst(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		a, b := r.connect(t, circuit.Options{Stream: true})
		const last = 15 // as many as a Conn keeps
		r.from.KillNetman(unix.SIGSTOP)
		for i := range last + 1 {
			if err := a.Interrupt(bytes.Repeat([]byte{byte(i)}, circuit.MaxInterrupt-i)); err != nil {
				t.Fatal(err)
			}
		}
		r.from.KillNetman(unix.SIGCONT)
		for seen, late := -1, time.After(bound); seen < last; {
			select {
			case got := <-b.Interrupts():
				i := circuit.MaxInterrupt - len(got)
				if i <= seen || i > last || !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, len(got))) {
					t.Fatalf("after interrupt %d comes %x, and not a later one as it was sent", seen, got)
				}
				seen = i
			case <-late:
				t.Fatalf("after interrupt %d comes nothing, and %d was the last sent", seen, last)
			}
		}
		a.CloseWrite()
		if _, err := io.ReadAll(b); err != nil {
			t.Error(err)
		}
	})
}
