package test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
)

// A Dial that is abandoned at any moment, while the server is looked for, called, started or has just accepted, leaves no call without
// an owner: no circuit, no server, no descriptor. What was accepted in vain is told to the server.
func TestOpenAbandonedAtAnyMoment(t *testing.T) {
	for _, local := range []bool{false, true} {
		t.Run(map[bool]string{false: "between machines", true: "within a machine"}[local], func(t *testing.T) {
			s := newScene(t, local)
			s.leavesNothing(t)
			resident := s.service()
			lis := s.to.listen(t, resident, circuit.Options{})
			var served sync.WaitGroup
			served.Go(func() { endless(lis, &served) })
			for name, service := range map[string]string{
				"a resident server": resident, "a transient server": s.transient(), "a filter": "witness." + s.to.Name, "nobody": "nothing",
			} {
				t.Run("to "+name, func(t *testing.T) { abandon(t, s, service) })
			}
			lis.Close()
			served.Wait() // each server has been told that its caller is gone
			idle(t, s.from.Machine, s.to.Machine)
			eventually(t, "no server is left", func() bool { return processes(actorPath(t)+" actor serve -B") == 0 })
		})
	}
}

// endless serves every call until the caller goes.
func endless(lis *circuit.Listener, served *sync.WaitGroup) {
	for {
		call, err := lis.Accept()
		if err != nil {
			return
		}
		served.Go(func() {
			c, err := call.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			for err == nil {
				_, _, err = c.Next()
			}
		})
	}
}

// abandon calls a service many times, a few calls at once, and gives each up after a time that is of the order of a call's.
func abandon(t *testing.T, s *scene, service string) {
	var usual time.Duration
	for range 2 { // the first one sets up the link
		began := time.Now()
		c, err := s.from.dial(t.Context(), service, circuit.Options{})
		usual = min(time.Since(began), 20*time.Millisecond)
		if err == nil {
			c.Close()
		}
	}
	var all sync.WaitGroup
	var connected, late atomic.Int32
	for lane := range 4 {
		random := rand.New(rand.NewPCG(1, uint64(lane)))
		all.Go(func() {
			for range 25 {
				ctx, giveUp := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(8*usual))))
				c, err := s.from.dial(ctx, service, circuit.Options{})
				giveUp()
				why, told := cleared(err)
				switch {
				case err == nil:
					c.Abort(0, "")
					connected.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					late.Add(1)
				case told && (why.Cause == 0x0d && strings.HasPrefix(service, "nothing") || why.Cause == 0x01):
				default:
					t.Errorf("a call that may be given up: %v", err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("of 100 calls, each of which takes about %v, %d were given up and %d connected", usual, late.Load(), connected.Load())
	s.noCircuits(t)
}

// A Listen that is abandoned leaves no name.
func TestListenAbandonedAtAnyMoment(t *testing.T) {
	r := routes(t)[0]
	r.leavesNothing(t)
	service := r.service()
	random := rand.New(rand.NewPCG(2, 0))
	for range 200 {
		ctx, giveUp := context.WithTimeout(t.Context(), time.Duration(random.IntN(int(time.Millisecond))))
		lis, err := circuit.Listen(ctx, service, circuit.Options{Door: r.to.door})
		giveUp()
		switch {
		case err == nil:
			if err := lis.Close(); err != nil {
				t.Error(err)
			}
			if _, err := lis.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Close: %v", err)
			}
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, unix.EADDRINUSE): // the one before has just been given up
			t.Errorf("a Listen that may be given up: %v", err)
		}
	}
	eventually(t, "the name is free", func() bool {
		lis, err := circuit.Listen(t.Context(), service, circuit.Options{Door: r.to.door})
		if err == nil {
			lis.Close()
		}
		return err == nil
	})
}
