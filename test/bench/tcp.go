package main

import (
	"errors"
	"io"
	"net"
)

// serveTCP is `:tcp ADDRESS`: reads all and confirms with one octet, or sends all back. The first octet says which.
func serveTCP(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	ready()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			echo, buf := []byte{0}, make([]byte, 64<<10)
			if _, err := io.ReadFull(c, echo); err != nil {
				return
			}
			for {
				n, err := c.Read(buf)
				if err == io.EOF && echo[0] == 0 {
					c.Write([]byte{0})
				}
				if err != nil {
					return
				}
				if echo[0] != 0 {
					c.Write(buf[:n])
				}
			}
		}()
	}
}

// tcpSession is a session over TCP; Go sets TCP_NODELAY.
type tcpSession struct {
	*net.TCPConn
	begun bool
	sent  int64
}

func dialTCP(address string) (session, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &tcpSession{TCPConn: c.(*net.TCPConn)}, nil
}

// connectTCP sets a connection up and ends it. It has no part of the server's in it, as a call has, unless an answer is asked for.
func connectTCP(address string, answer bool) error {
	s, err := dialTCP(address)
	if err != nil {
		return err
	}
	if answer {
		err = s.trip([]byte{0})
	}
	return errors.Join(err, s.(io.Closer).Close())
}

func (s *tcpSession) begin(echo byte) error {
	if s.begun {
		return nil
	}
	s.begun = true
	_, err := s.Write([]byte{echo})
	return err
}

func (s *tcpSession) trip(message []byte) error {
	if err := s.begin(1); err != nil {
		return err
	}
	if _, err := s.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(s, message)
	return err
}

func (s *tcpSession) send(message []byte) error {
	if err := s.begin(0); err != nil {
		return err
	}
	s.sent += int64(len(message))
	_, err := s.Write(message)
	return err
}

func (s *tcpSession) finish() (int64, error) {
	if err := s.CloseWrite(); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(s, make([]byte, 1))
	return s.sent, err
}
