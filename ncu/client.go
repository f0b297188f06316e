package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"dnet/circuit"
	"dnet/session"

	"golang.org/x/sys/unix"
)

// retryDelay is how long a client waits before it calls again for a lost session.
const retryDelay = time.Second

// client is one session on another machine, and the terminal here.
type client struct {
	machine string
	local   *session.Local
	escape  session.Escape
	typed   *outbox
	shown   *inbox
	written chan struct{} // closed when all that was shown is written

	mu    sync.Mutex
	conn  *circuit.Conn // nil while there is none
	left  bool          // leave has been called
	token token
	kept  time.Duration // how long the session outlives its circuit; 0: not at all
	file  *tokenFile
}

// errLost is a circuit that ended without the session.
type errLost struct{ why error }

func (e *errLost) Error() string { return "lost connection: " + e.why.Error() }

// call is ncu: it logs in and stays until the session is over.
func call(r request) int {
	local := session.OpenLocal(os.Stdin, os.Stdout)
	if local == nil {
		say(r.machine, "standard input is no terminal; to run a command: rx "+r.machine+" COMMAND")
		return exitFailure
	}
	c := &client{
		machine: r.machine,
		local:   local,
		escape:  session.Escape{Char: r.escape},
		typed:   newOutbox(),
		shown:   newInbox(),
		written: make(chan struct{}),
	}
	receive, err := c.begin(r)
	if err != nil {
		say(r.machine, reason(err))
		return exitFailure
	}
	c.watch()
	for {
		status, err := c.follow(receive)
		var lost *errLost
		if errors.As(err, &lost) && c.mayReturn() {
			receive, err = c.comeBack(lost)
			if err == nil {
				continue
			}
		}
		return c.finish(status, err)
	}
}

// begin starts a session, or takes one up.
func (c *client) begin(r request) (receiver, error) {
	if r.again {
		return c.takeUp()
	}
	conn, err := circuit.Dial(context.Background(), "ncu."+c.machine, circuit.Options{})
	if err != nil {
		return receiver{}, err
	}
	s := session.Request{Variables: session.Variables(true), User: r.user, Terminal: c.local.Terminal()}
	if err := conn.WriteDatagram(appendStart(nil, s), circuit.Q); err != nil {
		return receiver{}, err
	}
	turn, _, _ := c.typed.attach(0)
	c.attach(conn, turn)
	c.local.Raw()
	return receiver{next: conn.Next}, nil
}

// takeUp takes up the latest session that there still is.
func (c *client) takeUp() (receiver, error) {
	files, tokens, err := findTokens(c.machine)
	if err != nil {
		return receiver{}, err
	}
	for i, t := range tokens {
		c.token, c.file = t, files[i]
		var receive receiver
		if receive, err = c.resume(unseen); err == nil {
			c.local.Raw()
			return receive, nil
		}
		var refused errRefused
		if !errors.As(err, &refused) {
			return receiver{}, err
		}
		c.file.forget()
		c.file = nil
	}
	return receiver{}, err
}

// errRefused is what a server says to a call that it does not take up.
type errRefused string

func (e errRefused) Error() string { return string(e) }

// resume calls for the session, from octet next of what is shown.
func (c *client) resume(next uint64) (receiver, error) {
	conn, err := circuit.Dial(context.Background(), "ncu."+c.machine, circuit.Options{})
	if err != nil {
		return receiver{}, err
	}
	r := receiver{next: conn.Next}
	err = conn.WriteDatagram(resume{token: c.token, next: next}.append(nil), circuit.Q)
	for err == nil {
		var k kind
		var value []byte
		k, value, err = r.receive()
		n, ok := parseNumbers(value, 2)
		switch {
		case err != nil:
		case k == kindFailed:
			err = errRefused(value)
		case k == kindResumed && ok && next == unseen:
			c.typed.renumber(n[0])
			c.shown.renumber(n[1])
			fallthrough
		case k == kindResumed && ok:
			turn, _, here := c.typed.attach(n[0])
			if !here || next != unseen && n[1] != next {
				err = errNumber
				break
			}
			c.attach(conn, turn)
			c.tell(c.local.Size().Append(message(kindSize)))
			c.tellTaken()
			return r, nil
		}
	}
	conn.Close()
	return receiver{}, err
}

// attach makes conn the circuit of the session.
func (c *client) attach(conn *circuit.Conn, turn int) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	go func() {
		p := make([]byte, maxPiece)
		for {
			n := c.typed.next(turn, p)
			if n == 0 || conn.WriteDatagram(p[:n], 0) != nil {
				return
			}
		}
	}()
}

// detach forgets the circuit.
func (c *client) detach() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	c.typed.detach()
	if conn != nil {
		conn.Close()
	}
}

// tell sends a message, if there is a circuit; how that fares shows in follow.
func (c *client) tell(message []byte) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		conn.WriteDatagram(message, circuit.Q)
	}
}

func (c *client) tellTaken() { c.tell(numbers(kindTaken, c.shown.written())) }

// watch sets going what goes on as long as the session: keys, the screen, signals.
func (c *client) watch() {
	signal.Ignore(unix.SIGPIPE)
	c.local.Watch(func(size session.Size) { c.tell(size.Append(message(kindSize))) })
	go c.keys()
	go func() {
		defer close(c.written)
		c.shown.drain(c.show, c.tellTaken)
	}()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	go func() { c.interrupted((<-caught).(unix.Signal)) }()
}

// show writes to the terminal.
func (c *client) show(p []byte) error {
	c.local.Note(p)
	_, err := os.Stdout.Write(p)
	if err != nil {
		c.local.Restore()
		say("standard output", err)
		c.leave(exitFailure)
	}
	return err
}

// follow takes what the server sends until the session or the circuit is over.
func (c *client) follow(r receiver) (status int, err error) {
	for {
		k, value, err := r.receive()
		if err == io.EOF {
			err = errors.New("it ended without an exit status")
		}
		if err != nil {
			c.detach()
			return exitFailure, &errLost{reason(err)}
		}
		switch k {
		case kindData:
			if !c.shown.add(value) {
				return exitFailure, errNumber
			}
		case kindDisplay:
			c.show(value)
		case kindTaken:
			if n, ok := parseNumbers(value, 1); ok && c.typed.taken(n[0]) != nil {
				return exitFailure, errNumber
			}
		case kindSession:
			c.keep(value)
		case kindFailed:
			return exitFailure, errors.New(string(value))
		case kindStatus:
			if len(value) > 0 {
				return int(value[0]), nil
			}
		}
	}
}

// keep notes by what the session can be taken up again.
func (c *client) keep(value []byte) {
	if len(value) != tokenLength+4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(c.token[:], value)
	c.kept = time.Duration(binary.BigEndian.Uint32(value[tokenLength:])) * time.Second
	if c.file == nil {
		c.file, _ = saveToken(c.machine, c.token) // without the file this ncu can still do it, though no other
	}
}

// mayReturn tells whether a lost session can be taken up again. It does not return when ncu is about to end.
func (c *client) mayReturn() bool {
	c.mu.Lock()
	left := c.left
	kept := c.kept
	c.mu.Unlock()
	if left {
		select {}
	}
	return kept > 0
}

// comeBack puts the terminal right, says why, and calls again until the session is there or its time is over.
func (c *client) comeBack(lost *errLost) (receiver, error) {
	c.mu.Lock()
	kept := c.kept
	c.mu.Unlock()
	c.local.PutRight()
	os.Stderr.WriteString("\n")
	say(c.machine, fmt.Sprintf("%v; the session is kept for %v and taken up again when the machine is back; ^C gives up", lost, kept))
	for end := time.Now().Add(kept); time.Now().Before(end); time.Sleep(retryDelay) {
		r, err := c.resume(c.shown.number())
		if err == nil {
			say(c.machine, "the session goes on")
			c.local.Again()
			return r, nil
		}
		var refused errRefused
		if errors.As(err, &refused) || errors.Is(err, errNumber) {
			return receiver{}, err
		}
	}
	return receiver{}, lost
}

// finish ends ncu with the session.
func (c *client) finish(status int, err error) int {
	c.detach()
	c.shown.end()
	<-c.written
	c.file.forget()
	if err != nil {
		c.local.PutRight()
		os.Stderr.WriteString("\n")
		say(c.machine, err)
	}
	c.local.Restore()
	return status
}

// keys sends what is typed, as long as there is a circuit.
func (c *client) keys() {
	p := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(p)
		if err != nil {
			c.leave(exitFailure) // nobody is at the terminal any more
		}
		typed := p[:n]
		for len(typed) > 0 {
			send, action, rest := c.escape.Next(typed)
			typed = rest
			if c.attached() {
				c.typed.add(send)
			}
			c.act(action)
		}
	}
}

func (c *client) attached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

// act does what an escape asks for.
func (c *client) act(action session.Action) {
	switch action {
	case session.Disconnect:
		c.local.PutRight()
		os.Stderr.WriteString("\n")
		say(c.machine, "connection closed")
		c.file.forget()
		c.leave(exitFailure)
	case session.Suspend:
		c.local.Stop()
		c.tell(c.local.Size().Append(message(kindSize)))
	case session.Help:
		os.Stderr.WriteString(session.EscapeHelp(c.escape.Char))
	}
}

// interrupted ends ncu by a signal: with a circuit the session too, without one it is left where it is.
func (c *client) interrupted(s unix.Signal) {
	if c.attached() {
		c.local.PutRight()
		c.file.forget()
	} else {
		say(c.machine, "given up; as long as the session is kept, ncu -r "+c.machine+" takes it up again")
	}
	c.leave(128 + int(s))
}

// leave ends ncu from wherever it is. To close the circuit in order is to end the session.
func (c *client) leave(status int) {
	c.local.Restore()
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.detach()
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
