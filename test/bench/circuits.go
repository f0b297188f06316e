package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"dnet/circuit"
)

// The names of the resident servers on the machine doc, a plain one and a complex one.
const (
	service        = "bench.doc"
	complexService = "many.doc"
)

// What a datagram with Q asks of the server; the answer to sink is the same datagram, when all before it has been read.
const (
	askEcho = "echo" // send back what follows
	askSink = "sink" // read what follows
)

// serveCircuits is `:circuit DOOR`: the resident server. serveComplex is `:complex DOOR`: the same on one descriptor.
func serveCircuits(args []string) error { return serve(service, circuit.Options{Door: args[0]}) }

func serveComplex(args []string) error {
	return serve(complexService, circuit.Options{Door: args[0], Complex: true})
}

func serve(name string, o circuit.Options) error {
	l, err := circuit.Listen(context.Background(), name, o)
	if err != nil {
		return err
	}
	ready()
	for {
		call, err := l.Accept()
		if err != nil {
			return err
		}
		c, err := call.Accept()
		if err != nil {
			return err
		}
		go serveCircuit(c)
	}
}

func serveCircuit(c *circuit.Conn) {
	defer c.Close()
	echo := false
	for {
		octets, bits, err := c.Next()
		if err != nil {
			return
		}
		if bits&circuit.Q != 0 {
			echo = string(octets) == askEcho
		}
		if bits&circuit.Q != 0 && !echo || bits&circuit.Q == 0 && echo {
			if c.WriteDatagram(octets, bits) != nil {
				return
			}
		}
	}
}

// circuitSession is a session over a circuit: netman's, or the relay's.
type circuitSession struct {
	*circuit.Conn
	asked string
	sent  int64
}

func dialCircuit(door string) (session, error) { return dialService(door, service) }

func dialService(door, name string) (session, error) {
	c, err := circuit.Dial(context.Background(), name, circuit.Options{Door: door})
	if err != nil {
		return nil, err
	}
	return &circuitSession{Conn: c}, nil
}

func (s *circuitSession) ask(what string) error {
	if s.asked == what {
		return nil
	}
	s.asked = what
	return s.WriteDatagram([]byte(what), circuit.Q)
}

func (s *circuitSession) trip(message []byte) error {
	if err := s.ask(askEcho); err != nil {
		return err
	}
	if err := s.WriteDatagram(message, 0); err != nil {
		return err
	}
	octets, _, err := s.Next()
	if err == nil && len(octets) != len(message) {
		err = fmt.Errorf("%d octets came back, not %d", len(octets), len(message))
	}
	return err
}

func (s *circuitSession) send(message []byte) error {
	s.sent += int64(len(message))
	return s.WriteDatagram(message, 0)
}

func (s *circuitSession) finish() (int64, error) {
	if err := s.ask(askSink); err != nil {
		return 0, err
	}
	_, _, err := s.Next()
	return s.sent, err
}

// callOnce sets a circuit up and ends it.
func callOnce(door string) error {
	c, err := circuit.Dial(context.Background(), service, circuit.Options{Door: door})
	if err != nil {
		return err
	}
	return c.Close()
}

// dialers is how many calls are placed at a time: fewer than a listener's backlog.
const dialers = 8

// dialMany opens that many circuits. The error tells of the first that could not be.
func dialMany(door, name string, count int) ([]session, error) {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		work  = make(chan int, count)
		first error
		open  []session
	)
	for i := range count {
		work <- i
	}
	close(work)
	for range dialers {
		wg.Go(func() {
			for range work {
				s, err := dialService(door, name)
				mu.Lock()
				if err == nil {
					open = append(open, s)
				} else if first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	if wg.Wait(); first != nil {
		first = fmt.Errorf("of %d circuits %d opened: %w", count, len(open), first)
	}
	return open, first
}

// many is what the client of many circuits prints when all are open and idle.
type many struct{ Seconds float64 }

// manyCircuits is `:circuits DOOR SERVICE COUNT`: opens that many circuits, echoes once on each, and keeps them until standard input ends.
func manyCircuits(args []string) error {
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	began := time.Now()
	open, err := dialMany(args[0], args[1], count)
	if err != nil {
		return err
	}
	for i, s := range open {
		if err := s.trip(make([]byte, tripSize)); err != nil {
			return fmt.Errorf("circuit %d of %d: %w", i, count, err)
		}
	}
	if err := print(many{time.Since(began).Seconds()}, nil); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	for _, s := range open {
		s.(io.Closer).Close()
	}
	return nil
}

// crowd is what many clients print that send at once.
type crowd struct {
	Rate    float64 // MB/s, of all together, until the last has sent all
	Slowest float64 // rate of the slowest client, as a part of the median's
}

// sendMany is `:crowd DOOR SERVICE COUNT MESSAGES`: opens that many circuits and, when standard input ends, sends as many large
// messages on each, all at once.
func sendMany(args []string) error {
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	messages, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	open, err := dialMany(args[0], args[1], count)
	if err != nil {
		return err
	}
	took, errs := make([]time.Duration, count), make([]error, count)
	var wg sync.WaitGroup
	ready()
	io.Copy(io.Discard, os.Stdin)
	began, message := time.Now(), make([]byte, largeSize)
	for i, s := range open {
		wg.Go(func() {
			for range messages {
				if errs[i] = s.send(message); errs[i] != nil {
					return
				}
			}
			_, errs[i] = s.finish()
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	slices.Sort(took)
	last := took[count-1]
	c := crowd{Rate: float64(count*messages*largeSize) / 1e6 / last.Seconds(), Slowest: float64(took[count/2]) / float64(last)}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return fmt.Errorf("client %d of %d: %w", i, count, errs[i])
	}
	return print(c, nil) // and the end of the process is that of the circuits
}

// execs is `:exec TIME COMMAND ARGUMENTS`: how long a command takes, from fork to its end.
func execs(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	once := func() error { return exec.Command(args[1], args[2:]...).Run() }
	if err := once(); err != nil {
		return err
	}
	return print(timed(d, once))
}
