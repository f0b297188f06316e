package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"dnet/circuit"
)

// service is the name of the resident server, on the machine doc.
const service = "bench.doc"

// What a datagram with Q asks of the server; the answer to sink is the same datagram, when all before it has been read.
const (
	askEcho = "echo" // send back what follows
	askSink = "sink" // read what follows
)

// serveCircuits is `:circuit DOOR`: the resident server.
func serveCircuits(args []string) error {
	l, err := circuit.Listen(context.Background(), service, circuit.Options{Door: args[0]})
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

func dialCircuit(door string) (session, error) {
	c, err := circuit.Dial(context.Background(), service, circuit.Options{Door: door})
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

// many is what the client of many circuits prints when all are open and idle.
type many struct {
	Open, Echoed int
	Seconds      float64
}

// dialers is how many calls are placed at a time: fewer than a listener's backlog.
const dialers = 8

// manyCircuits is `:circuits DOOR COUNT`: opens that many circuits, echoes once on each, and keeps them until standard input ends.
func manyCircuits(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var (
		m     many
		mu    sync.Mutex
		wg    sync.WaitGroup
		work  = make(chan int, count)
		first error
		keep  []session
	)
	for i := range count {
		work <- i
	}
	close(work)
	began := time.Now()
	for range dialers {
		wg.Go(func() {
			for range work {
				s, err := dialCircuit(args[0])
				opened := err == nil
				if opened {
					err = s.trip(make([]byte, tripSize))
				}
				mu.Lock()
				if opened {
					m.Open++
					keep = append(keep, s)
				}
				if err == nil {
					m.Echoed++
				} else if first == nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	m.Seconds = time.Since(began).Seconds()
	if first != nil {
		fmt.Fprintf(os.Stderr, "bench: of %d circuits %d opened and %d echoed: %v\n", count, m.Open, m.Echoed, first)
	}
	if err := print(m, nil); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	for _, s := range keep {
		s.(io.Closer).Close()
	}
	return nil
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
