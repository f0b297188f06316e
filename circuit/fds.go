package circuit

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ErrTruncated is a record that was longer than the buffer, or came with too many descriptors.
var ErrTruncated = errors.New("record truncated")

// SendFds sends one record with descriptors on the Unix socket fd (SCM_RIGHTS), without raising
// SIGPIPE. It does not block on a non-blocking socket: unix.EAGAIN.
func SendFds(fd int, record []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, record, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// ReadRecord reads one record of a seqpacket socket: 0 at the end (or for a record without octets), unix.EAGAIN when a non-blocking
// socket has nothing. What is queued is read also after ECONNRESET. Descriptors are not taken.
func ReadRecord(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		switch {
		case err == unix.EINTR || err == unix.ECONNRESET:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return readAgain(fd, p), nil
		}
		return n, nil
	}
}

// readAgain is the look behind an end that a read has told (protocol.md 5). Linux looks for a record first, and if there is none then
// whether the other end has closed: who writes and closes in between is told as an end without the record. The second read finds
// it, for nothing is written after the close. 0: it is the end.
func readAgain(fd int, p []byte) int {
	for {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
		if err != unix.EINTR && err != unix.ECONNRESET {
			return max(n, 0)
		}
	}
}

// RecvFds receives one record and the descriptors that came with it, close-on-exec. It returns io.EOF
// at the end, unix.EAGAIN when a non-blocking socket has nothing, and ErrTruncated, with n octets of
// the record and the descriptors closed again, when record or descriptors (at most 3) did not fit.
func RecvFds(fd int, p []byte) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFds))
	n, oobn, flags, err := recvmsg(fd, p, oob, 0)
	if err == nil && n == 0 && oobn == 0 { // an end is looked behind, as by readAgain
		for err = unix.ECONNRESET; err == unix.ECONNRESET; {
			n, oobn, flags, err = recvmsg(fd, p, oob, unix.MSG_DONTWAIT)
		}
		if err != nil {
			n, oobn, flags, err = 0, 0, 0, nil // a record without octets
		}
	}
	if err != nil {
		return 0, nil, err
	}
	fds, err = parseRights(oob[:oobn])
	switch {
	case err == nil && (flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(fds) > maxFds):
		err = ErrTruncated
	case err == nil && n == 0 && len(fds) == 0:
		err = io.EOF
	}
	if err != nil {
		CloseFds(fds)
		return n, nil, err
	}
	return n, fds, nil
}

func recvmsg(fd int, p, oob []byte, how int) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, p, oob, unix.MSG_CMSG_CLOEXEC|how)
		if err != unix.EINTR {
			return n, oobn, flags, err
		}
	}
}

func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	var fds []int
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds, nil
}

// CloseFds closes descriptors that turned out not to be wanted.
func CloseFds(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
