package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Sizes of messages, in octets.
const (
	tripSize  = 64
	largeSize = 60 << 10
	smallSize = 1 << 10
)

// result is what a client program prints, as one line of JSON.
type result struct {
	Median float64 `json:",omitempty"` // us, of one
	P99    float64 `json:",omitempty"` // us
	Rate   float64 `json:",omitempty"` // MB/s (10^6 octets of the user's)
	Octets int64   `json:",omitempty"` // in all, of Rate
	Count  int     `json:",omitempty"`
}

// session is a conversation of a client with a server of its kind.
type session interface {
	trip(message []byte) error         // there and back
	send(message []byte) error         // one way
	finish() (octets int64, err error) // waits until the server has all of it, and says how much that is
}

// warmUp is how many round trips come before those that count.
const warmUp = 200

// connectsMax bounds the sessions that setUp begins.
const connectsMax = 1000

// errEnough ends timed before its time.
var errEnough = errors.New("enough")

// timed does something again and again for a time, and returns the median and the 99th percentile of how long it took.
func timed(d time.Duration, do func() error) (result, error) {
	var took []time.Duration
	for began := time.Now(); time.Since(began) < d; {
		t := time.Now()
		err := do()
		if err == errEnough && len(took) > 0 {
			break
		}
		if err != nil {
			return result{}, fmt.Errorf("after %d: %w", len(took), err)
		}
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	us := func(i int) float64 { return float64(took[i].Nanoseconds()) / 1e3 }
	return result{Median: us(len(took) / 2), P99: us(len(took) * 99 / 100), Count: len(took)}, nil
}

// roundTrips measures round trips of 64 octets.
func roundTrips(s session, d time.Duration) (result, error) {
	message := make([]byte, tripSize)
	for range warmUp {
		if err := s.trip(message); err != nil {
			return result{}, err
		}
	}
	return timed(d, func() error { return s.trip(message) })
}

// stream measures one direction. It says "streaming" on standard error when that has begun.
func stream(s session, d time.Duration, size int) (result, error) {
	message := make([]byte, size)
	began, count := time.Now(), 0
	for ; time.Since(began) < d; count++ {
		if err := s.send(message); err != nil {
			return result{}, fmt.Errorf("after %d messages: %w", count, err)
		}
		if count == 8 {
			fmt.Fprintln(os.Stderr, streaming)
		}
	}
	octets, err := s.finish()
	if err != nil {
		return result{}, err
	}
	return result{Rate: float64(octets) / 1e6 / time.Since(began).Seconds(), Octets: octets, Count: count}, nil
}

const streaming = "streaming"

// runRole is this program in a machine.
func runRole(role string, args []string) error {
	roles := map[string]struct {
		args int
		run  func(args []string) error
	}{
		":rtt":      {3, func(a []string) error { return measure(a, false) }},
		":stream":   {4, func(a []string) error { return measure(a, true) }},
		":setup":    {3, setUp},
		":circuits": {3, manyCircuits},
		":crowd":    {4, sendMany},
		":exec":     {2, execs},
		":circuit":  {1, serveCircuits},
		":complex":  {1, serveComplex},
		":pair":     {0, servePair},
		":tcp":      {1, serveTCP},
		":wire":     {1, serveWire},
		":relay":    {3, relay},
	}
	r, known := roles[role]
	if !known || len(args) < r.args {
		return errors.New("no such role, or arguments are lacking")
	}
	return r.run(args)
}

// kinds are the ways to have a session with the server at an address.
var kinds = map[string]func(address string) (session, error){
	"circuit": dialCircuit, // the path of a door
	"file":    dialFile,    // the directory of circuits as files
	"pair":    dialPair,    // none: its server is a child of its own
	"tcp":     dialTCP,     // host:port
	"wire":    dialWire,    // a MAC address
}

// measure is `:rtt KIND ADDRESS TIME` and `:stream KIND ADDRESS TIME OCTETS`.
func measure(args []string, oneWay bool) error {
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	s, err := kinds[args[0]](args[1])
	if err != nil {
		return err
	}
	var r result
	if oneWay {
		size := 0
		fmt.Sscan(args[3], &size)
		r, err = stream(s, d, size)
	} else {
		r, err = roundTrips(s, d)
	}
	if c, ok := s.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return print(r, err)
}

// setUp is `:setup KIND ADDRESS TIME`: the time from asking for a session to the end of it.
func setUp(args []string) error {
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	once := func() error {
		switch args[0] {
		case "tcp":
			return connectTCP(args[1], false)
		case "tcp-answer":
			return connectTCP(args[1], true)
		}
		return callOnce(args[1])
	}
	for range 20 {
		if err := once(); err != nil {
			return err
		}
	}
	// Not more than some: each leaves a port in TIME-WAIT for a minute, and connect gets slow when free ones become rare.
	left := connectsMax
	return print(timed(d, func() error {
		if left--; left < 0 {
			return errEnough
		}
		return once()
	}))
}

func print(r any, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// ready tells whoever started a server that it serves.
func ready() { fmt.Println("ready") }
