package circuit

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How long a Listener waits before it tries again to register its name: twice as long each time.
const (
	registerFirst = 100 * time.Millisecond
	registerMost  = time.Second
)

// register says the name at the door. The connection brings the calls.
func register(ctx context.Context, name string, o Options) (*os.File, error) {
	request := Line{Verb: "listen", Words: []string{name}}
	if o.Shared {
		request.Keys = append(request.Keys, Key{"shared", "1"})
	}
	if o.Relay {
		request.Keys = append(request.Keys, Key{"direct", "0"})
	}
	door, _, fds, err := ask(ctx, o.door(), request)
	CloseFds(fds)
	return door, err
}

// keep registers the name again whenever netman has gone, until the Listener is closed, or netman does not take the name.
func (l *Listener) keep(ctx context.Context, door *os.File) {
	for waitHangUp(ctx, door); l.lose(door); waitHangUp(ctx, door) {
		l.tell(netmanGone())
		var err error
		if door, err = l.again(ctx); err != nil {
			l.end(err)
			return
		}
		if !l.found(door) {
			return
		}
		l.tell(nil)
	}
}

// again registers the name until that succeeds. What is wrong with the request itself ends it; that there is no netman does not.
func (l *Listener) again(ctx context.Context) (*os.File, error) {
	for wait := registerFirst; ; wait = min(2*wait, registerMost) {
		door, err := register(ctx, string(l.name), l.o)
		var refused *doorError
		if err == nil || errors.As(err, &refused) {
			return door, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, net.ErrClosed
		}
	}
}

// tell calls Options.Lost.
func (l *Listener) tell(err error) {
	if l.o.Lost != nil {
		l.o.Lost(err)
	}
}

// waitHangUp waits until netman has closed the connection, or ctx is over. Calls that come are left to Accept, whose deadlines are not
// this one's: so it looks through a descriptor of its own.
func waitHangUp(ctx context.Context, door *os.File) {
	watch, err := second(door)
	for ; err != nil; watch, err = second(door) {
		select { // there are no descriptors left now
		case <-time.After(registerFirst):
		case <-ctx.Done():
			return
		}
	}
	defer watch.Close()
	defer context.AfterFunc(ctx, func() { watch.SetReadDeadline(time.Unix(1, 0)) })()
	if raw, err := watch.SyscallConn(); err == nil {
		raw.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, _ := unix.Poll(p, 0)
			return n == 1
		})
	}
}

// second is another descriptor of a connection.
func second(door *os.File) (*os.File, error) {
	raw, err := door.SyscallConn()
	if err != nil {
		return nil, err
	}
	own := -1
	if e := raw.Control(func(fd uintptr) { own, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), door.Name()), nil
}

// state is what Accept has to know. changed is closed when any of it is no longer so.
func (l *Listener) state() (door *os.File, changed <-chan struct{}, deadline time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.door, l.changed, l.deadline, l.err
}

// change tells those who wait that the state is another; l.mu is held.
func (l *Listener) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// waitChange waits until the state is another, or the deadline has passed.
func waitChange(changed <-chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-changed
		return nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// gone says whether an error of a connection means only that it has ended, so that there is another one, or will be, or a reason why
// not. It waits until keep has seen the end too.
func (l *Listener) gone(door *os.File, err error) bool {
	var cleared *Cleared
	for {
		now, changed, _, ended := l.state()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case now != door || ended != nil:
			return true
		case !errors.As(err, &cleared):
			return false
		}
		<-changed
	}
}

// lose forgets a connection that has ended: false if the Listener has too.
func (l *Listener) lose(door *os.File) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	l.door = nil
	door.Close()
	l.change()
	return true
}

// found takes a new connection: false, and it is closed, if the Listener has ended meanwhile.
func (l *Listener) found(door *os.File) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		door.Close()
		return false
	}
	l.door = door
	door.SetReadDeadline(l.deadline)
	l.change()
	return true
}

// end ends the Listener for this reason: false if it has ended already.
func (l *Listener) end(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	l.err = err
	if l.door != nil {
		l.door.Close()
		l.door = nil
	}
	l.change()
	return true
}
