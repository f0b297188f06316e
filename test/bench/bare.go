package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// A bare socket pair is what a circuit between two programs of one machine would be without package circuit: the same kind of socket
// with the same buffers, and records with the same octets, read and written by package net.

// pairBuffer is SO_SNDBUF, as netman sets it.
const pairBuffer = 1 << 20

// servePair is `:pair`, with the socket as descriptor 3: it answers as serveCircuit does.
func servePair([]string) error {
	c, err := net.FileConn(os.NewFile(3, "pair"))
	if err != nil {
		return err
	}
	echo, buf := false, make([]byte, 1+largeSize)
	for {
		n, err := c.Read(buf)
		if err != nil || n == 0 {
			return nil
		}
		q := buf[0] != 0
		if q {
			echo = string(buf[1:n]) == askEcho
		}
		if q != echo {
			if _, err := c.Write(buf[:n]); err != nil {
				return err
			}
		}
	}
}

// pairSession is a session over a socket pair with a child of this process.
type pairSession struct {
	net.Conn
	server *exec.Cmd
	asked  string
	buf    []byte // a record: control byte, octets
	sent   int64
}

func dialPair(string) (session, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var ends [2]*os.File
	for i, fd := range fds {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, pairBuffer)
		ends[i] = os.NewFile(uintptr(fd), "pair")
		defer ends[i].Close()
	}
	s := &pairSession{server: exec.Command(self, ":pair"), buf: make([]byte, 1+largeSize)}
	s.server.Stderr, s.server.ExtraFiles = os.Stderr, ends[1:]
	if s.Conn, err = net.FileConn(ends[0]); err != nil {
		return nil, err
	}
	return s, s.server.Start()
}

func (s *pairSession) record(control byte, message []byte) error {
	s.buf[0] = control
	_, err := s.Write(s.buf[:1+copy(s.buf[1:], message)])
	return err
}

func (s *pairSession) ask(what string) error {
	if s.asked == what {
		return nil
	}
	s.asked = what
	return s.record(0x80, []byte(what))
}

func (s *pairSession) trip(message []byte) error {
	if err := s.ask(askEcho); err != nil {
		return err
	}
	if err := s.record(0, message); err != nil {
		return err
	}
	n, err := s.Read(s.buf)
	if err == nil && n != 1+len(message) {
		err = fmt.Errorf("%d octets came back, not %d", n-1, len(message))
	}
	return err
}

// send leaves the octets where they are: a program of its own would have put them there.
func (s *pairSession) send(message []byte) error {
	s.sent += int64(len(message))
	s.buf[0] = 0
	_, err := s.Write(s.buf[:1+len(message)])
	return err
}

func (s *pairSession) finish() (int64, error) {
	if err := s.ask(askSink); err != nil {
		return 0, err
	}
	n, err := s.Read(s.buf)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return s.sent, err
}

// Close ends the server too.
func (s *pairSession) Close() error { return errors.Join(s.Conn.Close(), s.server.Wait()) }
