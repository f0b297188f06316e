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
	"dnet/session"

	"golang.org/x/sys/unix"
)

// client is one command that runs elsewhere.
type client struct {
	conn     *circuit.Conn
	machine  string
	terminal *session.Local // of whoever sits here, nil unless the command has one too
	escape   session.Escape
	stdin    *source
	stdout   *sink
	stderr   *sink

	mu   sync.Mutex
	lost error // of reading our input: the command must not take what it has for all of it
}

// blockedOutput is how long after a signal an output that nobody reads may hold rx up.
const blockedOutput = time.Second

// outcome is how a command on one machine ended.
type outcome struct {
	status int
	signal string // that killed it, such as TERM
	err    error  // why there is no status of its own
}

// call runs a command on one machine and returns its exit status.
func call(r request) int {
	var local *session.Local
	terminal := r.wantsTerminal()
	if terminal {
		local = session.OpenLocal(os.Stdin, os.Stdout)
	}
	o := run(r, r.machines[0], terminal, local, os.Stdout, os.Stderr)
	if o.err != nil {
		say(r.machines[0], o.err)
	}
	return o.status
}

// run runs r's command on a machine. The command has a terminal if terminal is set, like local if that is not nil.
func run(r request, machine string, terminal bool, local *session.Local, stdout, stderr *os.File) outcome {
	s := start{command: r.command, subsystem: r.subsystem}
	s.User, s.Variables = r.user, append(session.Variables(terminal), r.variables...)
	if s.subsystem == "" {
		if err := checkCommand(s.command); err != nil {
			return outcome{status: exitFailure, err: err}
		}
	}
	conn, err := circuit.Dial(context.Background(), "rx."+machine, circuit.Options{})
	if err != nil {
		return outcome{status: exitFailure, err: reason(err)}
	}
	c := &client{
		conn:     conn,
		machine:  machine,
		terminal: local,
		stdin:    newSource(os.Stdin, conn, kindData),
		stdout:   newSink(stdout, conn, 1),
		stderr:   newSink(stderr, conn, 2),
	}
	if terminal {
		s.Terminal = c.openTerminal(r.escape)
	}
	c.passSignals()
	// An output that nobody reads is the command's business, as in a pipeline of one machine.
	signal.Ignore(unix.SIGPIPE)
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
	o := c.receive()
	c.mu.Lock()
	if c.lost != nil && o.err != nil {
		o.err = fmt.Errorf("input: %w", c.lost)
	}
	c.mu.Unlock()
	conn.Close()
	c.stdout.end()
	c.stderr.end()
	outputs.Wait()
	if o.err != nil {
		c.terminal.PutRight()
	}
	c.terminal.Restore()
	return o
}

// openTerminal says what the far terminal is to be like. The keys of ours go there from now on.
func (c *client) openTerminal(escape byte) *session.Terminal {
	if c.terminal == nil {
		return &session.Terminal{}
	}
	t := c.terminal.Terminal()
	c.escape.Char = escape
	c.stdin.keys = c.keys
	c.stdout.note = c.terminal.Note
	c.terminal.Raw()
	c.terminal.Watch(func(size session.Size) {
		c.conn.WriteDatagram(size.Append(message(kindSize)), circuit.Q)
	})
	return t
}

// keys acts on escapes in what was typed, and returns the rest.
func (c *client) keys(typed []byte) (send []byte) {
	for len(typed) > 0 {
		octets, action, rest := c.escape.Next(typed)
		send, typed = append(send, octets...), rest
		switch action {
		case session.Disconnect:
			c.terminal.PutRight()
			say(c.machine, "connection closed")
			c.exit(exitFailure)
		case session.Suspend:
			c.terminal.Stop()
		case session.Help:
			os.Stderr.WriteString(session.EscapeHelp(c.escape.Char))
		}
	}
	return send
}

// exit ends rx from wherever it is; the server ends the command when the circuit is gone.
func (c *client) exit(status int) {
	c.terminal.Restore()
	c.conn.Close()
	os.Exit(status)
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
				if number == s && s == unix.SIGHUP && c.terminal != nil { // there is nobody at the terminal any more
					c.exit(128 + int(unix.SIGHUP))
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
			if output.stands(blockedOutput) {
				c.exit(128 + int(s))
			}
		}()
	}
}

// receive takes what the server sends, up to the command's exit status. Until one has come, the
// connection counts as lost. It never waits for an output.
func (c *client) receive() outcome {
	r := receiver{next: c.conn.Next}
	for {
		k, value, err := r.receive()
		if err == io.EOF {
			err = errors.New("it ended without an exit status")
		}
		if err != nil {
			return outcome{status: exitFailure, err: fmt.Errorf("lost connection: %w", reason(err))}
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
			return outcome{status: exitFailure, err: errors.New(string(value))}
		case kindStatus:
			if len(value) > 0 {
				return outcome{status: int(value[0]), signal: string(value[1:])}
			}
		}
		if !within {
			return outcome{status: exitFailure, err: errors.New("lost connection: more output than credit")}
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
		c.terminal.Restore()
		say(err)
		c.exit(exitFailure)
	}
}

// input sends standard input.
func (c *client) input() {
	if err := c.stdin.run(); err != nil {
		c.mu.Lock()
		c.lost = err
		c.mu.Unlock()
		c.conn.Close()
		return
	}
	c.conn.WriteDatagram(message(kindEnd), circuit.Q)
}
