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

	keeper     *desc                     // the keeper's memos
	pending    map[string]*service       // of servtab, told by the keeper, and not offered yet
	servers    map[uint64]*endpoint      // that the keeper starts or has started
	serverID   uint64                    // of the last one
	spilled    int                       // octets that endpoints have read and their circuits not taken
	naming     map[uint32][]func(string) // what waits for the name of a user
	users      map[uint32]userName       // those that the keeper has said
	unsaid     [][]byte                  // memos that the keeper has not taken
	admissions map[uint64]*admission     // of which the keeper is asked
	vouching   map[uint64]*node.Circuit  // calls whose credentials the keeper is asked for
	owner      uint32                    // netman's user
	mount      *mount                    // nil: circuits are not files
	holders    map[holder]struct{}       // of circuits
	complexes  map[*complexServer]struct{}
	visitors   shares // connections to the door that have not said what they want
	asking     shares // calls of programs that are not answered
	names      shares // registered at the door
	readers    shares // of status
	starting   shares // calls that wait for their server to be started
	tracers    []*tracer

	services map[string]*service
	offers   map[string]*service // those of servtab, offered or not

	started  time.Time
	begun    bool     // the keeper has told all there is to begin with
	gone     string   // netman was told to go; this text tells why
	up       bool     // the machine's name is claimed
	clashes  []string // other stations that use it
	counters map[string]uint64
	logs     node.Limiter
}

// scratch is memory that is used again and again, for one thing at a time.
type scratch struct {
	batch        [][]byte        // frames to be sent together
	fromPrograms *rawcall.Vector // what a program wrote
	toPrograms   *rawcall.Vector // what a program gets
	pipe         []byte          // what a filter wrote
	line         []byte          // what is said at the door
	memo         []byte          // what the keeper says
	control      [1]byte         // the control byte before what a file is read
	traced       []byte          // what a tracer is told
}

func newScratch() scratch {
	return scratch{
		fromPrograms: rawcall.NewVector(recordsAtOnce, 1+circuit.MaxDatagram+1), // a longer one shows
		toPrograms:   rawcall.NewVector(recordsAtOnce, 1+circuit.MaxDatagram),
		pipe:         make([]byte, circuit.MaxDatagram),
		line:         make([]byte, circuit.MaxLine),
		memo:         make([]byte, maxMemo),
	}
}

// errStopped ends the loop without a complaint.
var errStopped = errors.New("stopped")

func newLoop() (*loop, error) {
	l := &loop{
		visitors: newShares(maxVisitors, userVisitors), asking: newShares(maxAsking, userAsking), names: newShares(maxNames, namesOfOne),
		readers: newShares(maxReaders, userReaders), starting: newShares(maxStarting, callerStarting),
		scratch: newScratch(), holders: map[holder]struct{}{}, complexes: map[*complexServer]struct{}{}, services: map[string]*service{},
		pending: map[string]*service{}, servers: map[uint64]*endpoint{}, counters: map[string]uint64{}, naming: map[uint32][]func(string){}, users: map[uint32]userName{}, admissions: map[uint64]*admission{}, vouching: map[uint64]*node.Circuit{},
	}
	l.now = time.Now()
	l.started = l.now
	l.failed = func(err error) {
		l.count("door: descriptors not watched")
		l.logf("", "epoll", "%v", err)
	}
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
		if n == len(events) {
			// More are ready than were told of, and the kernel tells of all of them in turn. Links do not wait for that: a peer
			// whose acknowledgements lie here for a second would be given up for dead.
			for _, p := range l.ports {
				p.turn()
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
		l.tell(&memo{Kind: "met", Machine: ev.Pin.Machine, Key: ev.Pin.Keys()})
	case node.Refused:
		l.tell(&memo{Kind: "refused", Machine: ev.Pin.Machine, Key: ev.Pin.Keys()})
	case node.Vouch:
		l.askVouch(ev.Circuit)
	case node.Incoming:
		l.incoming(ev.Circuit)
	case node.Packets:
		if srv, ok := ev.Complex.User.(*complexServer); ok {
			srv.toProgram()
		}
	default:
		l.mount.learn(ev)
		if h, ok := ev.Circuit.User.(holder); ok {
			h.handle(ev)
		}
	}
}
