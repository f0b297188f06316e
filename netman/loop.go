package main

import (
	"errors"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
	"dnet/netman/rawcall"
)

// loop is the daemon: one goroutine that waits, reads a batch from one descriptor, runs the node to completion, sends what that brought
// forth, and takes the next descriptor. All that follows belongs to it.
type loop struct {
	poller
	inbox
	scratch

	node  *node.Node
	out   node.Out
	now   time.Time
	stop  error // why the loop ends, once it does
	wire  wireOptions
	ports []*port // by the node's port number

	pins     *pinKeeper
	door     *door
	visitors int                 // connections to the door that have not said what they want
	holders  map[holder]struct{} // of circuits

	servtab   string // its path
	services  map[string]*service
	residents []*resident
	spawner   chan spawnJob

	started  time.Time
	up       bool     // the machine's name is claimed
	clashes  []string // other stations that use it
	counters map[string]uint64
}

// scratch is memory that is used again and again, for one thing at a time.
type scratch struct {
	batch        [][]byte        // frames to be sent together
	fromPrograms *rawcall.Vector // what a program wrote
	toPrograms   *rawcall.Vector // what a program gets
	pipe         []byte          // what a filter wrote
	line         []byte          // what is said at the door
}

func newScratch() scratch {
	return scratch{
		fromPrograms: rawcall.NewVector(recordsAtOnce, 1+circuit.MaxDatagram),
		toPrograms:   rawcall.NewVector(recordsAtOnce, 1+circuit.MaxDatagram),
		pipe:         make([]byte, circuit.MaxDatagram),
		line:         make([]byte, circuit.MaxLine),
	}
}

// errStopped ends the loop without a complaint.
var errStopped = errors.New("stopped")

func newLoop() (*loop, error) {
	l := &loop{
		scratch: newScratch(), holders: map[holder]struct{}{}, services: map[string]*service{},
		spawner: make(chan spawnJob, maxSpawning), counters: map[string]uint64{},
	}
	l.now = time.Now()
	l.started = l.now
	if err := l.poller.open(); err != nil {
		return nil, err
	}
	if err := l.inbox.open(); err != nil {
		return nil, err
	}
	l.watch(&desc{fd: l.wake, mask: unix.EPOLLIN, ready: l.runJobs})
	return l, nil
}

// runJobs does what was posted.
func (l *loop) runJobs(uint32) {
	for _, job := range l.take() {
		job()
		l.flush()
	}
}

// run is the loop. It ends when stop is set.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 64)
	for l.stop == nil {
		n, err := l.poll(events, l.timeout())
		if err != nil {
			return err
		}
		l.now = time.Now()
		for _, ev := range events[:n] {
			if d := l.descs[ev.Fd]; d != nil {
				d.ready(ev.Events)
				l.flush()
			}
		}
		// After the frames that have come: what a late process has not read yet must not time out.
		if deadline := l.node.Deadline(); !deadline.IsZero() && !l.now.Before(deadline) {
			l.node.HandleTimeout(l.now, &l.out)
			l.flush()
		}
		l.portTimeouts()
	}
	if l.stop == errStopped {
		return nil
	}
	return l.stop
}

// timeout is the time to the next deadline in ms, rounded up; -1: none.
func (l *loop) timeout() int {
	deadline := l.node.Deadline()
	for _, p := range l.ports {
		if t := p.deadline(); !t.IsZero() && (deadline.IsZero() || t.Before(deadline)) {
			deadline = t
		}
	}
	if deadline.IsZero() {
		return -1
	}
	left := time.Until(deadline)
	if left <= 0 {
		return 0
	}
	return int((left + time.Millisecond - 1) / time.Millisecond)
}

// flush carries out what the node wants done. Frames go first, for acknowledgements open the peer's window, then events, which may bring
// forth more of both.
func (l *loop) flush() {
	events, frames := 0, 0
	l.node.Finish(&l.out)
	for events < len(l.out.Events) || frames < len(l.out.Frames) {
		frames += l.sendFrames(l.out.Frames[frames:])
		for last := len(l.out.Events); events < last; events++ {
			l.handleEvent(l.out.Events[events])
		}
		l.node.Finish(&l.out)
	}
	l.out.Reset()
}

// sendFrames sends the frames, those for one port together.
func (l *loop) sendFrames(frames []node.Frame) int {
	for rest := frames; len(rest) > 0; {
		port, batch := rest[0].Port, l.batch[:0]
		for len(rest) > 0 && rest[0].Port == port {
			batch = append(batch, rest[0].Octets)
			rest = rest[1:]
		}
		l.batch = batch
		l.ports[port].send(batch)
	}
	return len(frames)
}

// handleEvent takes one event of the node to where it belongs.
func (l *loop) handleEvent(ev node.Event) {
	switch ev.Kind {
	case node.Log:
		log.Print(ev.Text)
	case node.Claimed:
		l.claimed()
	case node.Clash:
		l.clash(ev.Text)
	case node.Pinned:
		l.pinned(ev.Pin)
	case node.Incoming:
		l.incoming(ev.Circuit)
	default:
		if h, ok := ev.Circuit.User.(holder); ok {
			h.handle(ev)
		}
	}
}
