package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// client is one command that runs elsewhere.
type client struct {
	conn    *circuit.Conn
	machine string
	stdin   *source
	stdout  *sink
	stderr  *sink
}

// blockedOutput is how long after a signal an output that nobody reads may hold rx up.
const blockedOutput = time.Second

// call runs r.command on r.machine and returns the exit status.
func call(r request) int {
	if err := checkCommand(r.command); err != nil {
		say(r.machine, err)
		return exitFailure
	}
	conn, err := circuit.Dial(context.Background(), "rx."+r.machine, circuit.Options{})
	if err != nil {
		say(r.machine, reason(err))
		return exitFailure
	}
	c := &client{
		conn:    conn,
		machine: r.machine,
		stdin:   newSource(os.Stdin, conn, kindData),
		stdout:  newSink(os.Stdout, conn, 1),
		stderr:  newSink(os.Stderr, conn, 2),
	}
	c.passSignals()
	// An output that nobody reads is the command's business, as in a pipeline of one machine.
	signal.Ignore(unix.SIGPIPE)
	s := start{command: r.command}
	for _, v := range os.Environ() {
		if passed(v) && len(s.variables) < maxVariables {
			s.variables = append(s.variables, v)
		}
	}
	var outputs sync.WaitGroup
	outputs.Go(func() { c.write(c.stdout) })
	outputs.Go(func() { c.write(c.stderr) })
	// A failure shows in receive, with its reason.
	if err := conn.WriteDatagram(s.append(nil), circuit.Q); err == nil {
		if r.noInput {
			conn.WriteDatagram(message(kindEnd), circuit.Q)
		} else {
			go c.input()
		}
	}
	status, err := c.receive()
	conn.Close()
	c.stdout.end()
	c.stderr.end()
	outputs.Wait()
	if err != nil {
		say(r.machine, err)
	}
	return status
}

// reason is err without the addresses that package net puts before it.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// passSignals makes interrupts of the signals that somebody wants to end the command with. What is
// ignored, as under nohup, stays so.
func (c *client) passSignals() {
	caught := make(chan os.Signal, 8)
	for _, number := range signals {
		if !signal.Ignored(number) {
			signal.Notify(caught, number)
		}
	}
	go func() {
		for s := range caught {
			for name, number := range signals {
				if number == s {
					c.conn.Interrupt([]byte(name))
					c.endIfBlocked(number)
				}
			}
		}
	}()
}

// endIfBlocked ends rx after a signal once an output stands in one write for long: a command of this
// machine would not have survived the signal there either. The server ends the far command when the
// circuit is gone.
func (c *client) endIfBlocked(s syscall.Signal) {
	for _, output := range []*sink{c.stdout, c.stderr} {
		go func() {
			for !output.stands(blockedOutput) {
			}
			os.Exit(128 + int(s))
		}()
	}
}

// receive takes what the server sends, and returns the command's exit status. Until one has come, the
// connection counts as lost. It never waits for an output.
func (c *client) receive() (status int, err error) {
	r := receiver{next: c.conn.Next}
	for {
		k, value, err := r.receive()
		if err == io.EOF {
			err = errors.New("it ended without an exit status")
		}
		if err != nil {
			return exitFailure, fmt.Errorf("lost connection: %w", reason(err))
		}
		within := true
		switch k {
		case kindData:
			within = c.stdout.add(value)
		case kindStderr:
			within = c.stderr.add(value)
		case kindCredit:
			if number, octets, ok := parseCredit(value); ok && number == 0 {
				c.stdin.grant(octets)
			}
		case kindFailed:
			return exitFailure, errors.New(string(value))
		case kindStatus:
			if len(value) > 0 {
				return int(value[0]), nil
			}
		}
		if !within {
			return exitFailure, errors.New("lost connection: more output than credit")
		}
	}
}

// write writes what comes for an output, and tells the server when nobody reads it: then the command
// gets SIGPIPE, as it would here, and its exit status still comes.
func (c *client) write(output *sink) {
	err := output.run()
	if errors.Is(err, syscall.EPIPE) {
		c.conn.WriteDatagram(message(kindClosed, output.number), circuit.Q)
	} else if err != nil {
		say(err)
		os.Exit(exitFailure)
	}
}

// input sends standard input.
func (c *client) input() {
	if err := c.stdin.run(); err != nil {
		say(err)
	}
	c.conn.WriteDatagram(message(kindEnd), circuit.Q)
}
