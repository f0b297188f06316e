package circuittest

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// joined is a circuit between two programs, side 0 the caller, side 1 the called.
//
// The door keeps a duplicate of both ends of the data, so that data ends for one program only after
// `cleared` was written to its control: a program that goes is told from one that ends a direction.
type joined struct {
	d       *Door
	stream  bool
	control [2]*link
	data    [2]*os.File      // joined: duplicates of the programs' ends; relayed: the door's own ends
	drained [2]chan struct{} // relayed: what side i wrote has been passed on
	ended   [2]atomic.Bool   // relayed: side i was told that the other has ended its direction
	once    sync.Once
}

// newCircuit makes a circuit and the programs' ends of it: data of both, control of the called.
func (d *Door) newCircuit(caller *link, stream bool) (c *joined, ends [3]*os.File, err error) {
	c = &joined{d: d, stream: stream}
	control, err := pair()
	if err != nil {
		return nil, ends, err
	}
	c.control = [2]*link{caller, {d, polled(control[0])}}
	data, err := pair()
	if err != nil {
		return nil, ends, err
	}
	ends = [3]*os.File{data[0], data[1], control[1]}
	if d.relay {
		other, err := pair()
		if err != nil {
			return nil, ends, err
		}
		ends[1] = other[0]
		c.data = [2]*os.File{polled(data[1]), polled(other[1])}
		c.drained = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	} else {
		for i := range c.data {
			fd, err := unix.FcntlInt(data[i].Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return nil, ends, err
			}
			c.data[i] = os.NewFile(uintptr(fd), "data")
		}
	}
	d.track(c, c.close)
	return c, ends, nil
}

func pair() (files [2]*os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return files, err
	}
	return [2]*os.File{os.NewFile(uintptr(fds[0]), "circuit"), os.NewFile(uintptr(fds[1]), "circuit")}, nil
}

// polled makes a file non-blocking, for the poller.
func polled(f *os.File) *os.File {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), f.Name())
}

// refusal is a resident server's `refuse`.
type refusal struct{ diag, text string }

func (r *refusal) Error() string { return "refused: " + r.text }

// offer gives the call to a resident server and waits for its answer.
func (c *joined) offer(server *link, name string, ends [3]*os.File) error {
	keys := []circuit.Key{{Key: "service", Value: name}, {Key: "machine", Value: Machine}, {Key: "user", Value: User}}
	if c.stream {
		keys = append(keys, circuit.Key{Key: "stream", Value: "1"})
	}
	if err := server.send(circuit.Line{Verb: "call", Keys: keys}, int(ends[1].Fd()), int(ends[2].Fd())); err != nil {
		return err
	}
	ends[2].Close() // so that the server's own is the last
	record, err := c.control[1].receive()
	if err != nil {
		return errors.New("the server did not answer")
	}
	l, err := circuit.ParseLine(record)
	switch {
	case err != nil:
		return err
	case l.Verb == "refuse":
		return &refusal{l.Word(0), l.Text(1)}
	case l.Verb != "accept":
		return errors.New("the server answered " + l.Verb)
	}
	return nil
}

func (c *joined) run() {
	var watches sync.WaitGroup
	for side := range c.control {
		watches.Go(func() { c.watch(side) })
		if c.drained[side] != nil {
			c.d.running.Go(func() { c.relay(side) })
		}
	}
	watches.Wait()
	c.d.forget(c)
}

// watch passes on what the program on this side says on control, until it ends.
func (c *joined) watch(side int) {
	for {
		record, err := c.control[side].receive()
		if err != nil {
			c.finish(side, "f1", "")
			return
		}
		l, err := circuit.ParseLine(record)
		if err != nil {
			continue
		}
		switch l.Verb {
		case "interrupt":
			c.control[1-side].send(l)
		case "clear", "abort":
			c.finish(side, l.Word(0), l.Text(1))
			return
		}
	}
}

// finish tells the other side why, and ends data after that.
func (c *joined) finish(side int, diag, text string) {
	c.once.Do(func() {
		if c.d.killed.Load() {
			c.close()
			return
		}
		if ch := c.drained[side]; ch != nil {
			<-ch
		}
		c.control[1-side].fail("cleared", "00", diag, text)
		c.close()
	})
}

func (c *joined) close() {
	for i := range c.data {
		c.control[i].close()
		c.data[i].Close()
	}
}

// relay passes on what the program on this side writes. When the other has gone it is taken all the same, as netman takes it: the program
// is told by control, which it may read only when it has written.
func (c *joined) relay(side int) {
	defer close(c.drained[side])
	p := make([]byte, 1+circuit.MaxDatagram)
	for gone := false; ; {
		n, err := readRecord(c.data[side], p)
		if err != nil {
			break
		}
		if !gone {
			_, err = c.data[1-side].Write(p[:n])
			gone = err != nil
		}
	}
	// A socket that is shut down both ways is one whose program has gone, unless the door did one of both.
	if !c.stream || hangup(c.data[side]) && !c.ended[side].Load() {
		return
	}
	c.ended[1-side].Store(true)
	if raw, err := c.data[1-side].SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// hangup tells a program that has gone from one that has ended its direction.
func hangup(f *os.File) (hup bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return true
	}
	raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		unix.Poll(p, 0)
		hup = p[0].Revents&unix.POLLHUP != 0
	})
	return hup
}
