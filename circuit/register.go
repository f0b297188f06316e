package circuit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a Listener waits before it tries again to register its name: twice as long each time.
const (
	registerFirst = 100 * time.Millisecond
	registerMost  = time.Second
)

// registration is a name that netman has: the connection that it is bound to, and that brings the calls; or, for a complex server, the
// descriptor that does.
type registration struct {
	door *os.File
	mux  *mux
}

// register says the name at the door.
func register(ctx context.Context, name string, o Options) (*registration, error) {
	request := Line{Verb: "listen", Words: []string{name}}
	for _, option := range []struct {
		on  bool
		key Key
	}{{o.Complex, Key{"complex", "1"}}, {o.Shared, Key{"shared", "1"}}, {o.Relay, Key{"direct", "0"}}} {
		if option.on {
			request.Keys = append(request.Keys, option.key)
		}
	}
	door, answer, fds, err := ask(ctx, o.door(), request)
	if err != nil {
		return nil, err
	}
	reg := &registration{door: door}
	switch {
	case !o.Complex:
		CloseFds(fds)
	case len(fds) != 1:
		CloseFds(fds)
		err = fmt.Errorf("netman sent %d descriptors with its ok: %w", len(fds), syscall.EPROTO)
	default:
		reg.mux, err = newMux(fds[0], answer.Get("service"))
	}
	if err != nil {
		door.Close()
		return nil, err
	}
	return reg, nil
}

// receive waits for the next call.
func (reg *registration) receive(l *Listener) (*Call, error) {
	if reg.mux != nil {
		return reg.mux.accept(l)
	}
	return receiveCall(reg.door)
}

// close gives the name up. Circuits stay. netman sees it at once, whoever has a further descriptor of the connection (waitHangUp), so that the
// name can be registered again when close returns.
func (reg *registration) close() {
	if raw, err := reg.door.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	reg.door.Close()
	if reg.mux != nil {
		reg.mux.close()
	}
}

// keep registers the name again whenever netman has gone, until the Listener is closed, or netman does not take the name.
func (l *Listener) keep(ctx context.Context, reg *registration) {
	for waitHangUp(ctx, reg.door); l.lose(reg); waitHangUp(ctx, reg.door) {
		l.tell(netmanGone())
		var err error
		if reg, err = l.again(ctx); err != nil {
			l.end(err)
			return
		}
		if !l.found(reg) {
			return
		}
		l.tell(nil)
	}
}

// again registers the name until that succeeds. What is wrong with the request itself ends it; that there is no netman does not.
func (l *Listener) again(ctx context.Context) (*registration, error) {
	for wait := registerFirst; ; wait = min(2*wait, registerMost) {
		reg, err := register(ctx, string(l.name), l.o)
		var refused *doorError
		if err == nil || errors.As(err, &refused) {
			return reg, err
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
func (l *Listener) state() (reg *registration, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reg, l.changed, l.err
}

// change tells those who wait that the state is another; l.mu is held.
func (l *Listener) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// gone says whether an error of a connection means only that it has ended, so that there is another one, or will be, or a reason why
// not. It waits until keep has seen the end too.
func (l *Listener) gone(reg *registration, err error) bool {
	var cleared *Cleared
	for {
		now, changed, ended := l.state()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		case now != reg || ended != nil:
			return true
		case !errors.As(err, &cleared):
			return false
		}
		<-changed
	}
}

// lose forgets a connection that has ended: false if the Listener has too.
func (l *Listener) lose(reg *registration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false
	}
	l.reg = nil
	reg.close()
	l.change()
	return true
}

// found takes a new connection: false, and it is closed, if the Listener has ended meanwhile.
func (l *Listener) found(reg *registration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		reg.close()
		return false
	}
	l.reg = reg
	reg.door.SetReadDeadline(l.at)
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
	if l.reg != nil {
		l.reg.close()
		l.reg = nil
	}
	l.change()
	return true
}
