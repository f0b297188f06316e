package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/x25"
)

// Who refuses a call or clears a circuit says why, and the other end has it from every call.
func TestClearedFromEveryCall(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		service := r.service()
		lis := r.to.listen(t, service, circuit.Options{})
		const text = `no "room" = none, ånd þ`
		for _, diag := range []x25.Diag{0, 1, 0x42, 0xff} {
			d := r.from.dialLater(t, t.Context(), service)
			call, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if call.Service != service || call.Machine != r.from.Name || call.User != "root" || !call.Stream {
				t.Errorf("the call says %+v", call.Peer)
			}
			if err := call.Refuse(diag, text); err != nil {
				t.Error(err)
			}
			wantCleared(t, fmt.Sprintf("Dial refused with %d", diag), d.ends(t), x25.CauseDTE, diag, text, unix.ECONNREFUSED)
		}
		for name, end := range map[string]func(*circuit.Conn) error{
			"clear": func(c *circuit.Conn) error { return c.Clear(0x42, text) },
			"abort": func(c *circuit.Conn) error { return c.Abort(0x42, text) },
		} {
			caller, server, err := r.meet(lis, service, circuit.Options{Stream: true})
			if err != nil {
				t.Fatal(err)
			}
			for who, ends := range map[string][2]*circuit.Conn{"server": {server, caller}} {
				if err := end(ends[0]); err != nil {
					t.Errorf("%s by the %s: %v", name, who, err)
				}
				afterClear(t, name+" by the "+who, ends[1], text)
				ends[1].Close()
			}
		}
	})
}

// afterClear makes every call on a circuit that was cleared with 00, 42 and a text.
func afterClear(t *testing.T, how string, c *circuit.Conn, text string) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(bound):
		t.Fatalf("%s: Done is not closed", how)
	}
	var p [8]byte
	calls := map[string]func() error{
		"Read":          func() error { _, err := c.Read(p[:]); return err },
		"ReadDatagram":  func() error { _, _, err := c.ReadDatagram(p[:]); return err },
		"Next":          func() error { _, _, err := c.Next(); return err },
		"Write":         func() error { _, err := c.Write(p[:]); return err },
		"WriteDatagram": func() error { return c.WriteDatagram(p[:], circuit.Q) },
		"Interrupt":     func() error { return c.Interrupt(p[:]) },
		"CloseWrite":    func() error { return c.CloseWrite() },
	}
	for range 2 {
		for name, call := range calls {
			wantCleared(t, how+": "+name, call(), x25.CauseDTE, 0x42, text, unix.ECONNREFUSED)
		}
	}
	for range c.Interrupts() {
		t.Errorf("%s: an interrupt that nobody sent", how)
	}
}

// Names that nobody offers: on that machine, on no machine, on any machine.
func TestNoSuchService(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		for _, service := range []string{"nothing." + r.to.Name, "nothing.happy", "nothing"} {
			_, err := r.from.dial(t.Context(), service, circuit.Options{})
			wantCleared(t, "Dial "+service, err, x25.CauseNotObtainable, 0, "*", unix.ENOENT)
		}
		for _, service := range []string{"", "a/b", "två", "_", "a..b"} {
			_, err := r.from.dial(t.Context(), service, circuit.Options{})
			if _, ok := cleared(err); ok || !errors.Is(err, unix.EINVAL) {
				t.Errorf("Dial %q: %v; want EINVAL", service, err)
			}
		}
		service := r.service()
		r.to.listen(t, service, circuit.Options{}).Close()
		eventually(t, "a listener that has closed has no name", func() bool {
			_, err := r.from.dial(t.Context(), service, circuit.Options{})
			return errors.Is(err, unix.ENOENT)
		})
	})
}

// backlog is how many calls wait for a listener (protocol.md 5).
const backlog = 128

// So many calls wait for a listener, and a further one is told at once that it is busy. They are answered in their order, however late;
// those that a listener leaves unanswered when it closes are told that it has gone.
func TestBacklog(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		if r.to.complex {
			return // its calls wait on their channels (complex_test.go)
		}
		service := r.service()
		lis := r.to.listen(t, service, circuit.Options{})
		var waiting []*dialling
		var calls []*circuit.Call
		for range backlog {
			waiting = append(waiting, r.from.dialLater(t, t.Context(), service))
			call, err := lis.Accept() // it has come, but is not answered
			if err != nil {
				t.Fatal(err)
			}
			calls = append(calls, call)
		}
		began := time.Now()
		_, err := r.from.dial(t.Context(), service, circuit.Options{})
		wantCleared(t, "a call beyond the backlog", err, x25.CauseBusy, 0, "*", unix.EBUSY)
		if took := time.Since(began); took > slack*time.Second {
			t.Errorf("a call beyond the backlog was refused after %v", took)
		}
		for i, call := range calls[:backlog/2] {
			server, err := call.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if err := waiting[i].ends(t); err != nil {
				t.Fatalf("call %d, answered late: %v", i, err)
			}
			server.Write([]byte{byte(i)})
			server.Close()
			if got, err := io.ReadAll(waiting[i].conn); err != nil || !bytes.Equal(got, []byte{byte(i)}) {
				t.Errorf("the circuit of call %d gives %x, %v", i, got, err)
			}
		}
		for range backlog / 2 { // there is room again
			waiting = append(waiting, r.from.dialLater(t, t.Context(), service))
		}
		eventually(t, "they wait", func() bool { // all, at the listener's end: one that comes when it has closed finds it busy, or gone
			servers := slices.DeleteFunc(rows(t, r.to.Machine, "circuits"), func(c row) bool { return c["side"] != "server" })
			return len(servers) >= backlog
		})
		lis.Close() // with some calls read and some not
		for _, d := range waiting[backlog:] {
			wantCleared(t, "a call that nobody has read", d.ends(t), x25.CauseNotObtainable, 0, "*", unix.ENOENT)
		}
		for i, call := range calls[backlog/2:] {
			if err := call.Refuse(7, "late"); err != nil {
				t.Error(err)
			}
			err := waiting[backlog/2+i].ends(t)
			wantCleared(t, "a call that was read, and answered after the listener closed", err, x25.CauseDTE, 7, "late", unix.ECONNREFUSED)
		}
	})
}

// A call that its listener does not answer is given up, before the caller's own timer T21 would; the listener takes calls again.
func TestListenerThatTakesNoCall(t *testing.T) {
	r := routes(t)[0]
	r.leavesNothing(t)
	service := r.service()
	lis := r.to.listen(t, service, circuit.Options{})
	began := time.Now()
	var waiting []*dialling
	for i := range 16 {
		waiting = append(waiting, []place{r.from, r.to}[i%2].dialLater(t, t.Context(), service))
	}
	for _, d := range waiting {
		wantCleared(t, "a call without an answer", d.ends(t), x25.CauseBusy, 0, "*", unix.EBUSY)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the calls were given up after %v", took)
	}
	for range waiting { // they are over: whoever accepts one now learns it from the circuit
		call, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c, err := call.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(bound))
		_, _, err = c.Next()
		wantCleared(t, "a call accepted too late", err, x25.CauseBusy, 0, "*", unix.EBUSY)
		c.Close()
	}
	caller, server, err := r.meet(lis, service, circuit.Options{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(server, server)
		server.Close()
	}()
	echo(t, caller, "it lives\n")
	finish(t, caller)
}

// Two listeners have one name only if both say so; then they take turns, and a full or a closed one is passed over.
func TestSharedName(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		shared := circuit.Options{Shared: true}
		for _, o := range [][2]circuit.Options{{{}, {}}, {{}, shared}, {shared, {}}} {
			service := r.service()
			r.to.listen(t, service, o[0])
			o[1].Door = r.to.door
			_, err := circuit.Listen(t.Context(), service, o[1])
			if _, ok := cleared(err); err == nil || ok {
				t.Errorf("a second listener, shared %v after %v: %v", o[1].Shared, o[0].Shared, err)
			}
		}
		service := r.service()
		var ls []*circuit.Listener
		for range 3 {
			ls = append(ls, r.to.listen(t, service, shared))
		}
		take := func(i int) {
			t.Helper()
			caller, server, err := r.meet(ls[i], service, circuit.Options{})
			if err != nil {
				t.Fatalf("listener %d should have this call: %v", i, err)
			}
			caller.Close()
			server.Close()
		}
		for n := range 9 {
			take(n % 3)
		}
		ls[1].Close()
		for n := range 4 {
			take(n % 2 * 2)
		}
		if !r.to.complex { // whose calls wait on their channels
			fillShared(t, r, service, ls[0], ls[2])
		}
	})
}

// fillShared gives two listeners of one name all the calls that they can have waiting. Then the name is busy, until one answers.
func fillShared(t *testing.T, r route, service string, ls ...*circuit.Listener) {
	t.Helper()
	var waiting []*dialling
	var calls [2][]*circuit.Call
	for range backlog {
		for i, lis := range ls {
			waiting = append(waiting, r.from.dialLater(t, t.Context(), service))
			call, err := lis.Accept()
			if err != nil {
				t.Fatal(err)
			}
			calls[i] = append(calls[i], call)
		}
	}
	_, err := r.from.dial(t.Context(), service, circuit.Options{})
	wantCleared(t, "a call when both backlogs are full", err, x25.CauseBusy, 0, "*", unix.EBUSY)
	for range 2 { // whoever has room gets the calls, whosever turn it is
		last := len(calls[1]) - 1
		calls[1][last].Refuse(1, "")
		calls[1] = calls[1][:last]
		eventually(t, "the refusal has come", func() bool {
			n := 0
			for _, d := range waiting {
				if d.over() {
					n++
				}
			}
			return n == backlog-last
		})
		caller, server, err := r.meet(ls[1], service, circuit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		caller.Close()
		server.Close()
	}
	for _, call := range append(calls[0], calls[1]...) {
		call.Refuse(1, "")
	}
	for _, d := range waiting {
		wantCleared(t, "a call that waited", d.ends(t), x25.CauseDTE, 1, "", unix.ECONNREFUSED)
	}
}

// A Dial that is given up, wherever the call has come by then, leaves no circuit and takes no server.
func TestDialGivenUp(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		t.Run("before it begins", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := r.from.dial(ctx, r.service(), circuit.Options{}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		t.Run("while it looks for the server", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			d := r.from.dialLater(t, ctx, "nothing.happy")
			eventually(t, "the call is being placed", func() bool { return len(rows(t, r.from.Machine, "circuits")) > 0 || d.over() })
			cancel()
			if err := d.ends(t); !errors.Is(err, context.Canceled) && !errors.Is(err, unix.ENOENT) { // it looks for 520 ms only
				t.Error(err)
			}
			r.noCircuits(t)
		})
		for name, answer := range map[string]func(*circuit.Call){
			"then accepted": func(call *circuit.Call) {
				if c, err := call.Accept(); err == nil {
					c.SetDeadline(time.Now().Add(bound))
					if _, _, err := c.Next(); err == nil {
						t.Error("data comes from a caller that gave up")
					}
					c.Close()
				}
			},
			"then refused":            func(call *circuit.Call) { call.Refuse(3, "no") },
			"and the next call comes": nil,
		} {
			t.Run("while it waits for the answer, "+name, func(t *testing.T) { givenUpThenAnswered(t, r, answer) })
		}
		t.Run("by its deadline, many at once", func(t *testing.T) {
			service := r.service()
			r.to.listen(t, service, circuit.Options{})
			var all sync.WaitGroup
			for range 50 { // more than the backlog: the others are busy
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					_, err := r.from.dial(ctx, service, circuit.Options{})
					if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, unix.EBUSY) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			r.noCircuits(t)
		})
	})
}

// noCircuits waits until neither end has one.
func (r route) noCircuits(t *testing.T) {
	t.Helper()
	for _, m := range []place{r.from, r.to} {
		eventually(t, "no circuit is left on "+m.Name, func() bool { return len(rows(t, m.Machine, "circuits")) == 0 })
	}
}

// givenUpThenAnswered cancels a Dial whose call the server has, which then answers it; nil: after the next call.
func givenUpThenAnswered(t *testing.T, r route, answer func(*circuit.Call)) {
	service := r.service()
	lis := r.to.listen(t, service, circuit.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	d := r.from.dialLater(t, ctx, service)
	call, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := d.ends(t); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.noCircuits(t)
	if answer != nil {
		answer(call)
	} else {
		defer call.Refuse(0, "")
	}
	caller, server, err := r.meet(lis, service, circuit.Options{})
	if err != nil {
		t.Fatalf("the next call: %v", err)
	}
	caller.Close()
	server.Close()
}
