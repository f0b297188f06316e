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

// RecvFds receives one record and the descriptors that came with it, close-on-exec. It returns io.EOF
// at the end, unix.EAGAIN when a non-blocking socket has nothing, and ErrTruncated, with n octets of
// the record and the descriptors closed again, when record or descriptors (at most 3) did not fit.
func RecvFds(fd int, p []byte) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFds))
	var oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, p, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
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
