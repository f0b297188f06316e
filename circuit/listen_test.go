package circuit_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/circuit/circuittest"
)

// keeper is a listener whose netman goes and comes, and what it is told of that.
func keeper(t *testing.T, d *circuittest.Door, name string) (l *circuit.Listener, told chan error) {
	t.Helper()
	told = make(chan error, 16)
	l, err := circuit.Listen(t.Context(), name, circuit.Options{Door: d.Path, Lost: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, told
}

// hears waits for what the listener is told next.
func hears(t *testing.T, told chan error) error {
	t.Helper()
	select {
	case err := <-told:
		return err
	case <-time.After(bound):
		t.Fatal("the listener is told nothing")
		return nil
	}
}

// A netman that is killed and started again finds its resident servers registered again, whether they wait for a call or not. Accept
// only waits, in however many goroutines.
func TestListenerStays(t *testing.T) {
	t.Cleanup(circuit.CheckFds(t))
	d := circuittest.New(t)
	l, told := keeper(t, d, "name")
	calls := make(chan *circuit.Call)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				call, err := l.Accept()
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("Accept: %v", err)
					}
					return
				}
				calls <- call
			}
		})
	}
	busy, told2 := keeper(t, d, "busy") // nobody calls its Accept
	o := circuit.Options{Door: d.Path}
	for range 3 {
		var dial sync.WaitGroup
		dial.Go(func() {
			if c, err := circuit.Dial(t.Context(), "name", o); err == nil {
				c.Close()
			} else {
				t.Error(err)
			}
		})
		c, err := (<-calls).Accept()
		if err != nil {
			t.Fatal(err)
		}
		dial.Wait()
		c.Close()
		d.Close()
		if err := hears(t, told); !errors.Is(err, syscall.EHOSTDOWN) {
			t.Errorf("when netman has gone: %v", err)
		}
		d = circuittest.NewAt(t, d.Path)
		if err := hears(t, told); err != nil {
			t.Errorf("when it is back: %v", err)
		}
		hears(t, told2)
		hears(t, told2)
	}
	if _, err := circuit.Listen(t.Context(), "busy", o); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a listener that is not in Accept is not registered again: %v", err)
	}
	busy.Close()
	l.Close()
	all.Wait()
}

// What Accept waits for while netman is gone: its deadline, Close, or that the name is another program's now.
func TestListenerWithoutNetman(t *testing.T) {
	t.Cleanup(circuit.CheckFds(t))
	d := circuittest.New(t)
	_, err := circuit.Listen(t.Context(), "name", circuit.Options{Door: d.Path + ".not"})
	if !errors.Is(err, circuit.ErrNoNetman) {
		t.Errorf("the first time: %v", err)
	}
	closes, closed := keeper(t, d, "closes")
	loses, lost := keeper(t, d, "loses")
	d.Close()
	hears(t, closed)
	hears(t, lost)
	closes.SetDeadline(time.Now().Add(time.Millisecond))
	if _, err := closes.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the deadline: %v", err)
	}
	closes.SetDeadline(time.Time{})
	time.AfterFunc(time.Millisecond, func() { closes.SetDeadline(time.Now()) })
	if _, err := closes.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that is set while it waits: %v", err)
	}
	closes.SetDeadline(time.Time{})
	time.AfterFunc(time.Millisecond, func() { closes.Close() })
	if _, err := closes.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed while it waits: %v", err)
	}

	taken, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: d.Path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	go func() {
		if c, err := taken.Accept(); err == nil {
			c.Read(make([]byte, circuit.MaxLine))
			c.Write([]byte("error taken e=EADDRINUSE"))
			c.Close()
		}
	}()
	for range 2 {
		if _, err := loses.Accept(); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the name is another's: %v", err)
		}
	}
}

// A Listen that is given up while netman does not answer ends, and leaves nothing.
func TestListenGivenUp(t *testing.T) {
	t.Cleanup(circuit.CheckFds(t))
	deaf, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: circuittest.New(t).Path + "deaf", Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	o := circuit.Options{Door: deaf.Addr().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := circuit.Listen(ctx, "name", o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Listen: %v", err)
	}
	if _, err := circuit.Dial(ctx, "name", o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial: %v", err)
	}
}
