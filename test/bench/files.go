package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// fileSession is a circuit to the server of circuits that is an open file.
type fileSession struct {
	fd    int
	asked string
	out   []byte // a message with its control byte before it
	in    []byte
	sent  int64
}

// dialFile calls by opening; the address is the directory of circuits as files.
func dialFile(address string) (session, error) {
	fd, err := unix.Open(address+"/"+service, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", address, service, err)
	}
	return &fileSession{fd: fd, out: make([]byte, 0, 1+largeSize), in: make([]byte, 1+largeSize)}, nil
}

func (s *fileSession) write(control byte, message []byte) error {
	s.out = append(append(s.out[:0], control), message...)
	_, err := retried(func() (int, error) { return unix.Write(s.fd, s.out) })
	return err
}

func (s *fileSession) read(p []byte) (int, error) {
	return retried(func() (int, error) { return unix.Read(s.fd, p) })
}

// retried does what a signal has ended, such as those of Go's scheduler, once more: nothing was lost by it.
func retried(do func() (int, error)) (n int, err error) {
	for {
		if n, err = do(); err != unix.EINTR {
			return n, err
		}
	}
}

func (s *fileSession) ask(what string) error {
	if s.asked == what {
		return nil
	}
	s.asked = what
	return s.write(0x80, []byte(what))
}

func (s *fileSession) trip(message []byte) error {
	if err := s.ask(askEcho); err != nil {
		return err
	}
	if err := s.write(0, message); err != nil {
		return err
	}
	n, err := s.read(s.in[:4096])
	if err == nil && n != 1+len(message) {
		err = fmt.Errorf("%d octets came back, not %d", n-1, len(message))
	}
	return err
}

func (s *fileSession) send(message []byte) error {
	s.sent += int64(len(message))
	return s.write(0, message)
}

func (s *fileSession) finish() (int64, error) {
	if err := s.ask(askSink); err != nil {
		return 0, err
	}
	n, err := s.read(s.in)
	if err == nil && n == 0 {
		err = fmt.Errorf("the circuit ended before all was read")
	}
	return s.sent, err
}

// Close ends the circuit.
func (s *fileSession) Close() error { return unix.Close(s.fd) }

// withFiles adds the column of files to others, where circuits can be files.
func withFiles(columns ...string) []string {
	if lab.FUSE() != nil {
		return columns
	}
	return append(columns, asFile)
}
