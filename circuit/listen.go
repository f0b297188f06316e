package circuit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"dnet/x25"

	"golang.org/x/sys/unix"
)

// Listener is a registered service: a resident server. When netman goes, and when it comes back, the Listener registers the name
// again by itself (see Options.Lost), and Accept goes on waiting.
type Listener struct {
	name     Addr
	o        Options
	quit     context.CancelFunc // ends keep
	deadline deadline           // of Accept

	mu      sync.Mutex
	reg     *registration // brings the calls; nil while the name is not registered
	at      time.Time     // the deadline
	err     error         // ends Accept: closed, or the name cannot be registered again
	changed chan struct{}
}

// Listen registers a service with this machine's netman: `clock` for the whole installation, or
// `clock.moon` on the machine moon. A name that is taken, or is none, gives an error with netman's text; that no netman runs is
// ErrNoNetman. ctx ends the attempt, not the Listener.
//
// With Complex all circuits of the Listener share one descriptor, up to 4095 of them: a server of
// thousands of clients needs no more. Its calls and circuits are used as any others.
func Listen(ctx context.Context, name string, o Options) (*Listener, error) {
	reg, err := register(ctx, name, o)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "dnet", Addr: Addr(name), Err: err}
	}
	return newListener(name, o, reg), nil
}

func newListener(name string, o Options, reg *registration) *Listener {
	l := &Listener{name: Addr(name), o: o, reg: reg, changed: make(chan struct{})}
	l.deadline.init()
	keep, quit := context.WithCancel(context.Background())
	l.quit = quit
	go l.keep(keep, reg)
	return l
}

// Call is a call that waits to be accepted or refused; netman gives it up after 8 s.
type Call struct {
	Peer
	data    int
	ctl     int
	channel *channel // of a complex server, instead of data and ctl
	used    bool
}

// Accept waits for the next call. Accepting and refusing is the Call's own: a server may take its time
// over one while others come. It ends when the Listener is closed, at the deadline, or when netman has come back and does not
// take the name any more, because another program has it (EADDRINUSE) or it is none of that machine (EINVAL).
func (l *Listener) Accept() (*Call, error) {
	for {
		reg, changed, err := l.state()
		switch {
		case err != nil:
		case reg == nil:
			select {
			case <-changed:
				continue
			case <-l.deadline.passed():
				err = os.ErrDeadlineExceeded
			}
		default:
			var call *Call
			if call, err = reg.receive(l); err == nil {
				return call, nil
			}
			if l.gone(reg, err) {
				continue
			}
		}
		return nil, &net.OpError{Op: "accept", Net: "dnet", Addr: l.name, Err: err}
	}
}

// receiveCall waits for the next call on a connection. What is not known is skipped.
func receiveCall(door *os.File) (*Call, error) {
	for {
		line, fds, err := receiveLine(door)
		if err != nil && !errors.Is(err, ErrLine) && !errors.Is(err, ErrTruncated) {
			return nil, err
		}
		if err != nil || line.Verb != "call" || len(fds) != 2 {
			CloseFds(fds)
			continue
		}
		peer := Peer{
			Service: line.Get("service"),
			Machine: line.Get("machine"),
			User:    line.Get("user"),
			Stream:  line.Get("stream") == "1",
		}
		return &Call{Peer: peer, data: fds[0], ctl: fds[1]}, nil
	}
}

// Addr is the service's name.
func (l *Listener) Addr() net.Addr { return l.name }

// SetDeadline bounds Accept, now and later; zero is none.
func (l *Listener) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.at = t
	l.deadline.set(t)
	if l.reg == nil {
		return nil
	}
	return l.reg.door.SetReadDeadline(t)
}

// Close gives the name up and ends Accept; accepted circuits stay.
func (l *Listener) Close() error {
	if !l.end(net.ErrClosed) {
		return net.ErrClosed
	}
	l.quit()
	return nil
}

// NetListener is l as a net.Listener, for servers that take one: http.Serve, grpc.Server. Its Accept takes
// every call, and what it returns is a *Conn; Close and Addr are l's.
func (l *Listener) NetListener() net.Listener { return netListener{l} }

type netListener struct{ *Listener }

// Accept accepts the next call. One that cannot be accepted is given up: for a server of package net an
// error is the end of the listener.
func (l netListener) Accept() (net.Conn, error) {
	for {
		call, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, err := call.Accept(); err == nil {
			return c, nil
		}
	}
}

// errAnswered is a second Accept or Refuse of one call.
var errAnswered = errors.New("the call is answered already")

// Accept takes the call. The caller may have gone meanwhile, which the circuit then tells.
func (k *Call) Accept() (*Conn, error) {
	if k.used {
		return nil, errAnswered
	}
	k.used = true
	if k.channel != nil {
		return k.channel.answer(), nil
	}
	if err := SendFds(k.ctl, []byte("accept")); err != nil && !errors.Is(err, unix.EPIPE) {
		CloseFds([]int{k.data, k.ctl})
		return nil, &net.OpError{Op: "accept", Net: "dnet", Addr: Addr(k.Service), Err: err}
	}
	ctl, err := newFile(k.ctl, "circuit control")
	if err != nil {
		unix.Close(k.data)
		return nil, err
	}
	return newConn(k.data, ctl, k.Peer, Addr(k.Service))
}

// Refuse clears the call: the caller's Dial returns a *Cleared with cause 00, diag and text.
func (k *Call) Refuse(diag Diag, text string) error {
	if k.used {
		return errAnswered
	}
	k.used = true
	if ch := k.channel; ch != nil {
		ch.m.do(func(time.Time) { ch.refuse(x25.CauseDTE, diag, text) })
		return nil
	}
	err := SendFds(k.ctl, clearLine("refuse", diag, text).Append(nil))
	CloseFds([]int{k.data, k.ctl})
	return err
}

// Inherited is the circuit of a transient server: data on descriptors 0 and 1, control on 3, and what
// is known of it in the environment (DNET_SERVICE, DNET_PEER_MACHINE, DNET_PEER_USER, DNET_STREAM).
// Descriptors 0 and 1 become /dev/null, so that nothing but the Conn reaches the circuit. Call it once.
func Inherited() (*Conn, error) {
	const controlFd = 3
	for _, fd := range []int{0, controlFd} {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_SEQPACKET {
			return nil, fmt.Errorf("descriptor %d is no circuit: netman starts this server: %w", fd, syscall.ENOTSOCK)
		}
	}
	data, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, controlFd+1)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.CloseOnExec(controlFd)
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Dup3(null, 0, 0), unix.Dup3(null, 1, 0))
		unix.Close(null)
	}
	if err != nil {
		unix.Close(data)
		return nil, fmt.Errorf("%s: %w", os.DevNull, err)
	}
	return Adopt(data, controlFd, InheritedPeer())
}

// InheritedPeer is what a transient server is told of its circuit by its environment.
func InheritedPeer() Peer {
	return Peer{
		Service: os.Getenv("DNET_SERVICE"),
		Machine: os.Getenv("DNET_PEER_MACHINE"),
		User:    os.Getenv("DNET_PEER_USER"),
		Stream:  os.Getenv("DNET_STREAM") == "1",
	}
}

// Adopt makes a Conn of the two descriptors of a circuit that somebody has handed over, at the called end. It takes
// them over, also when it fails. The one who was called must stay: netman takes its end for the circuit's.
func Adopt(data, control int, peer Peer) (*Conn, error) {
	ctl, err := newFile(control, "circuit control")
	if err != nil {
		unix.Close(data)
		return nil, err
	}
	return newConn(data, ctl, peer, Addr(peer.Service))
}
