package circuit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options of Dial and Listen; the zero value is a circuit of datagrams through the machine's own door.
type Options struct {
	Stream  bool   // Dial: directions can be ended one by one (CloseWrite)
	Shared  bool   // Listen: others may listen with the same name
	Complex bool   // Listen: all circuits on one descriptor
	Relay   bool   // Listen: calls of this machine go through netman too, instead of straight from program to program
	Door    string // the door's path; "" is $DNET_DOOR, else DoorPath

	// Lost, of Listen, is told when the name is not registered any more because netman has gone, with a *Cleared; and with nil when
	// it is registered again. The Listener does what is needed; this is for the log. It must not wait for the Listener.
	Lost func(error)
}

func (o Options) door() string {
	if o.Door != "" {
		return o.Door
	}
	if p := os.Getenv("DNET_DOOR"); p != "" {
		return p
	}
	return DoorPath
}

// doorError is an answer `error e=ENAME text`: the door refuses the request itself.
type doorError struct {
	errno syscall.Errno
	text  string
}

func (e *doorError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.text
}

func (e *doorError) Unwrap() error { return e.errno }

// Dial calls a service: `rx.moon` on the machine moon, `clock` wherever one answers first. A call that
// comes to nothing gives a *Cleared: no such service, busy, not allowed, refused with the server's text,
// and so on; a name that is none gives EINVAL with a text. ctx ends the attempt, not the circuit.
func Dial(ctx context.Context, name string, o Options) (*Conn, error) {
	c, err := dial(ctx, name, o)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "dnet", Addr: Addr(name), Err: err}
	}
	return c, nil
}

func dial(ctx context.Context, name string, o Options) (*Conn, error) {
	request := Line{Verb: "call", Words: []string{name}}
	if o.Stream {
		request.Keys = []Key{{"stream", "1"}}
	}
	ctl, l, fds, err := ask(ctx, o.door(), request)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		CloseFds(fds)
		ctl.Close()
		return nil, fmt.Errorf("netman sent %d descriptors with its ok: %w", len(fds), syscall.EPROTO)
	}
	peer := Peer{Service: name, Machine: l.Get("machine"), Stream: o.Stream}
	if s := l.Get("service"); s != "" {
		peer.Service = s
	}
	return newConn(fds[0], ctl, peer, "")
}

// ask opens the door, sends the request and waits for its `ok`.
func ask(ctx context.Context, path string, request Line) (door *os.File, answer Line, fds []int, err error) {
	record := request.AppendRequest(nil)
	if len(record) > MaxLine {
		return nil, Line{}, nil, fmt.Errorf("a request of %d octets: %w", len(record), syscall.EINVAL)
	}
	fd, err := openDoor(ctx, path)
	if err != nil {
		return nil, Line{}, nil, err
	}
	if err = SendFds(fd, record); err != nil {
		unix.Close(fd)
		return nil, Line{}, nil, os.NewSyscallError("send", err)
	}
	if door, err = newFile(fd, "door"); err != nil {
		return nil, Line{}, nil, err
	}
	answer, fds, err = waitAnswer(ctx, door)
	if err == nil {
		err = answerError(answer)
	}
	if err != nil {
		CloseFds(fds)
		door.Close()
		return nil, Line{}, nil, err
	}
	return door, answer, fds, nil
}

// openDoor connects. A door whose queue is full refuses a non-blocking connect with EAGAIN.
func openDoor(ctx context.Context, path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			select {
			case <-time.After(5 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		case unix.ENOENT, unix.ECONNREFUSED:
			// Not the errno itself: ENOENT and ECONNREFUSED are answers of a netman.
			err = fmt.Errorf("%w at %s", ErrNoNetman, path)
		default:
			err = &os.PathError{Op: "connect", Path: path, Err: err}
		}
		unix.Close(fd)
		return -1, err
	}
}

// ErrNoNetman is a door behind which no netman runs.
var ErrNoNetman = errors.New("no netman is running on this machine: no door")

// waitAnswer receives one line, unless ctx ends before.
func waitAnswer(ctx context.Context, door *os.File) (Line, []int, error) {
	stop := context.AfterFunc(ctx, func() { door.SetReadDeadline(time.Unix(1, 0)) })
	l, fds, err := receiveLine(door)
	if !stop() { // the deadline is set, or will be
		CloseFds(fds)
		return Line{}, nil, ctx.Err()
	}
	return l, fds, err
}

// receiveLine waits for one line and its descriptors. An end without one is netman's.
func receiveLine(f *os.File) (l Line, fds []int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return l, nil, err
	}
	buf := make([]byte, MaxLine)
	var n int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, fds, got = RecvFds(int(fd), buf)
		return got != unix.EAGAIN
	})
	if err == nil {
		err = got
	}
	if err == io.EOF || errors.Is(err, unix.ECONNRESET) {
		err = netmanGone()
	}
	if err != nil {
		return l, nil, err
	}
	if l, err = ParseLine(buf[:n]); err != nil {
		CloseFds(fds)
		return l, nil, err
	}
	return l, fds, nil
}

// answerError is the error that an answer of the door says, nil for `ok`.
func answerError(l Line) error {
	switch l.Verb {
	case "ok":
		return nil
	case "error":
		if name, ok := l.Lookup("e"); ok {
			return &doorError{errno: errnoOf(name), text: l.Text(0)}
		}
		e, err := parseCleared(l)
		if err != nil {
			return err
		}
		e.refused = true
		return e
	}
	return fmt.Errorf("%w: netman answers %q", ErrLine, l.Verb)
}

// errnoOf is the number of an errno's name; EPROTO for one that is not known.
func errnoOf(name string) syscall.Errno {
	for e := syscall.Errno(1); e < 134; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	return syscall.EPROTO
}
