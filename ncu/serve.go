package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"dnet/circuit"
	"dnet/session"

	"golang.org/x/sys/unix"
)

// serve is `ncu -B`: one call, from netman. It becomes the holder of a new session, or hands its circuit to the holder
// of an old one. Its exit status says nothing to anybody but netman, which tells the client of a server that failed.
func serve(r request) int {
	if again, ok := peekResume(); ok {
		return handOver(again)
	}
	conn, err := circuit.Inherited()
	if err != nil {
		say("-B", err)
		return exitFailure
	}
	h := newHolder(conn.Peer)
	if err := h.begin(r, conn); err != nil {
		h.log(err.Error())
		fail(conn, err)
		return 0
	}
	return h.hold(conn)
}

// begin reads what the client wants, and starts its shell or login(1).
func (h *holder) begin(r request, conn *circuit.Conn) error {
	// Whoever runs sessions is named on purpose, in servtab.toml.
	if os.Getenv("DNET_USER") == "" {
		return fmt.Errorf("refused: servtab.toml there names no user for %s", conn.Service)
	}
	h.receiver = receiver{next: conn.Next}
	k, value, err := h.receiver.receive()
	if err != nil {
		return reason(err)
	}
	if k != kindStart {
		return fmt.Errorf("the client's first message has type %d, not %d", k, kindStart)
	}
	s, err := parseStart(value)
	if err != nil {
		return err
	}
	c, err := command(r, s, conn.Peer)
	if err != nil {
		return err
	}
	if h.process, err = session.Start(c, s.Terminal); err != nil {
		return err
	}
	h.audit.Line = h.process.Line
	h.keep(r.keep)
	return nil
}

// command is what the session runs: as root login(1), which finds out who it is, as anybody else the user's shell.
func command(r request, s session.Request, peer circuit.Peer) (session.Command, error) {
	if os.Getuid() == 0 {
		return login(r, s, peer)
	}
	if err := session.CheckUser(s.User); err != nil {
		return session.Command{}, err
	}
	shell := session.LoginShell()
	return session.Command{
		Path: shell,
		Args: []string{"-" + filepath.Base(shell)}, // by which a shell knows that it is a login shell
		Env:  session.Environment(os.Environ(), shell, s.Variables),
		Dir:  session.Home(),
	}, nil
}

// login is login(1), unless the password that it asks for would cross the network for all to see.
func login(r request, s session.Request, peer circuit.Peer) (c session.Command, err error) {
	switch mode := os.Getenv("DNET_MODE"); {
	case mode == "pinned" || mode == "secret" || r.allowOpen:
	default:
		return c, errors.New("refused: login there asks for a password, and links are not sealed: anybody could read it. " +
			"servtab.toml there can name another user than root, or give ncu --allow-open")
	}
	path, err := exec.LookPath("login")
	if err != nil {
		return c, errors.New("there is no login(1) there")
	}
	c = session.Command{Path: path, Args: []string{"login", "-h", peer.Machine}, Dir: "/"}
	if s.User != "" {
		c.Args = append(c.Args, s.User)
	}
	c.Env = session.Environment(os.Environ(), "/bin/sh", s.Variables)
	return c, nil
}

// note writes the session into utmp and wtmp. login(1) does so itself at the beginning.
func (h *holder) note(over bool) {
	u := session.Utmp{Type: session.UserProcess, Pid: h.process.Pid(), Line: h.process.Line, Time: time.Now()}
	if over {
		u.Type = session.DeadProcess
	} else if os.Getuid() == 0 {
		return
	} else {
		u.User, u.Host = os.Getenv("DNET_USER"), h.audit.Peer.Machine
	}
	u.Write()
}

// peekResume looks at the first message without taking it: that is for the holder of the session.
func peekResume() (r resume, ok bool) {
	var buf [1 + resumeLength + 1]byte
	for {
		n, _, err := unix.Recvfrom(0, buf[:], unix.MSG_PEEK)
		if err == unix.EINTR {
			continue
		}
		// It comes in one piece: it is shorter than any packet.
		if err != nil || n != 1+resumeLength || circuit.Bits(buf[0]) != circuit.Q || kind(buf[1]) != kindResume {
			return r, false
		}
		r, err = parseResume(buf[2:n])
		return r, err == nil
	}
}
