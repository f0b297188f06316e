package main

import (
	"errors"
	"log"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/node"
)

// batchFrames is how many frames are read or sent at once.
const batchFrames = 64

// port is an interface of this machine, with the same number for as long as netman runs: it may go and come back.
type port struct {
	l     *loop
	id    int // the node's number
	name  string
	link  ether.Link // as it was when opened
	ether ether.Port // with its wrappers; nil while the interface is down or gone
	raw   *ether.Raw
	batch *ether.Batch
	desc  *desc
	hails *desc          // for what needs no link
	asked bool           // the keeper is asked to open it
	guard int            // holds the interface for this netman, see holdInterface
	lost  uint64         // frames that the wire did not take
	past  ether.RawStats // of the times it was open before

	sent, received uint64    // frames
	heard          time.Time // when the last one was received
	others         uint64    // frames of any kind that the interface had received before it was opened
	why            string    // it could not be opened
}

// wireOptions are what servtab and the command line say of the wire.
type wireOptions struct {
	ifaces    []string // empty: the default choice of protocol.md 1
	ethertype uint16
	faults    *ether.Faults
	trace     *os.File
	capture   *ether.Capture
}

// followWire follows what becomes of the interfaces.
func (l *loop) followWire(wire wireOptions) error {
	l.wire = wire
	watcher, err := ether.Watch()
	if err != nil {
		return err
	}
	l.watch(&desc{fd: watcher.Fd(), mask: unix.EPOLLIN, ready: func(uint32) { l.followLinks(watcher) }})
	return nil
}

// followLinks takes up interfaces that have come, ends the links of those that have gone, and opens anew those whose address or
// MTU is another (protocol.md 1).
func (l *loop) followLinks(watcher *ether.Watcher) {
	events, err := watcher.Read()
	if err != nil {
		log.Printf("interfaces: %v", err)
		l.forget(l.descs[watcher.Fd()])
		return
	}
	for _, ev := range events {
		l.giveUp(ev.Link, ev.Removed)
	}
	l.takeUp()
}

// giveUp closes the port of an interface that is not any more what it was.
func (l *loop) giveUp(link ether.Link, removed bool) {
	p := l.portNamed(link.Name)
	if p == nil || p.ether == nil {
		return
	}
	changed := link.Index != p.link.Index || link.Addr != p.link.Addr || link.MTU != p.link.MTU
	if removed || !link.Up || changed {
		l.logf(p.name, "down", "%s is down, gone, or another", p.name)
		p.close()
	}
}

// takeUp has those interfaces opened that are up and are not yet.
func (l *loop) takeUp() {
	links, err := ether.Interfaces(nil)
	if len(l.wire.ifaces) > 0 {
		links, err = namedLinks(l.wire.ifaces)
	}
	if err != nil {
		log.Printf("interfaces: %v", err)
	}
	for _, link := range links {
		if p := l.portFor(link.Name); p.ether == nil && link.Up {
			p.ask()
		}
	}
}

func (l *loop) portNamed(name string) *port {
	for _, p := range l.ports {
		if p.name == name {
			return p
		}
	}
	return nil
}

// portFor is the port of an interface; a new one is not open.
func (l *loop) portFor(name string) *port {
	if p := l.portNamed(name); p != nil {
		return p
	}
	p := &port{l: l, id: len(l.ports), name: name}
	l.ports = append(l.ports, p)
	return p
}

// ask has the keeper open the interface.
func (p *port) ask() {
	if !p.asked {
		p.asked = true
		p.l.tell(&memo{Kind: "open", Name: p.name})
	}
}

// opened takes what the keeper answers: the packet socket, and what holds the interface for this netman.
func (l *loop) opened(m *memo, fds []int) {
	p := l.portFor(m.Link.Name)
	p.asked = false
	if m.Error != "" || len(fds) != 3 || p.ether != nil {
		circuit.CloseFds(fds)
		p.why = m.Error
		l.logf(p.name, "open", "%s", m.Error)
		return
	}
	raw, err := ether.Adopt(fds[0], fds[1], m.Link)
	if err != nil {
		unix.Close(fds[1])
		log.Print(err)
		return
	}
	p.guard, p.link, p.raw, p.why = fds[2], m.Link, raw, ""
	p.ether = tap{raw, p}
	if l.wire.capture != nil {
		p.ether = l.wire.capture.Port(p.ether, p.name)
	}
	if l.wire.trace != nil {
		p.ether = ether.Trace(p.ether, l.wire.trace, node.FormatFrame)
	}
	if l.wire.faults != nil {
		p.ether = ether.WithFaults(p.ether, *l.wire.faults)
	}
	p.batch = ether.NewBatch(batchFrames, ether.HeaderLen+raw.MTU())
	p.desc = &desc{fd: raw.Fd(), mask: unix.EPOLLIN, ready: p.ready}
	p.others = received(p.name)
	l.watch(p.desc)
	p.hails = &desc{fd: raw.HailFd(), mask: unix.EPOLLIN, ready: p.hailed}
	l.watch(p.hails)
	l.node.AddPort(p.id, raw.Addr(), raw.MTU(), receiveWindow(raw.RcvBuf(), raw.MTU()))
	if l.begun {
		l.logf(p.name, "up", "%s is up, station %v", p.name, m.Link.Addr)
	}
}

// close ends the links on the port at once.
func (p *port) close() {
	p.l.node.RemovePort(p.l.now, p.id, &p.l.out)
	p.l.descs[p.desc.fd], p.l.descs[p.hails.fd] = nil, nil // closed by their owner, which takes them out of the epoll set
	p.past = p.stats()
	p.ether.Close()
	unix.Close(p.guard)
	p.ether, p.raw, p.desc, p.hails = nil, nil, nil, nil
}

// received is how many frames an interface has received, of any kind.
func received(name string) uint64 {
	n, _ := ether.Received(name)
	return n
}

// receiveWindow is how many frames for one link a receive buffer holds when a few links share it (protocol.md 3). The kernel accounts
// 2,304 octets for a frame of MTU 1500 and 13,100 for one of 9000 (measured on veth).
func receiveWindow(buffer, mtu int) int {
	cost := (mtu+ether.HeaderLen)*3/2 + 64
	const links = 8
	return buffer / cost / links
}

// turn reads a batch of frames whether or not the port is known to have one.
func (p *port) turn() {
	if p.ether != nil {
		p.ready(0)
		p.l.flush()
	}
}

// ready reads a batch of frames and gives them to the node.
func (p *port) ready(uint32) {
	n, err := p.ether.Recv(p.batch)
	if err != nil {
		p.fail(err)
		return
	}
	if n > 0 {
		p.received += uint64(n)
		p.heard = p.l.now
	}
	for _, frame := range p.batch.Frames[:n] {
		p.l.node.HandleFrame(p.l.now, p.id, frame, &p.l.out)
	}
}

// hailed reads a batch of what needs no link. It is a turn of its own, so that a flood of it takes no more than its share.
func (p *port) hailed(uint32) {
	p.raw.Hailed()
	p.ready(0)
}

// send sends frames in order. What the wire does not take is lost, as on any wire, and layer 2 sends it again.
func (p *port) send(frames [][]byte) {
	for tries := 0; len(frames) > 0 && p.ether != nil; tries++ {
		n, err := p.ether.Send(frames)
		frames = frames[n:]
		p.sent += uint64(n)
		switch {
		case errors.Is(err, ether.ErrTooLong) || errors.Is(err, ether.ErrTooShort):
			p.lost++
			frames = frames[1:]
		case err != nil:
			p.lost += uint64(len(frames))
			p.fail(err)
			return
		case n == 0 && tries > 3:
			p.lost += uint64(len(frames))
			return
		case n == 0:
			unix.Poll([]unix.PollFd{{Fd: int32(p.desc.fd), Events: unix.POLLOUT}}, 1)
		}
	}
}

// fail takes note that the port does not work; when the interface is down, rtnetlink tells it too.
func (p *port) fail(err error) {
	p.l.count("errors of " + p.name)
	p.l.logf(p.name, "error", "%v", err)
	if errors.Is(err, ether.ErrDown) {
		p.l.node.RemovePort(p.l.now, p.id, &p.l.out)
		failed := p.ether
		p.l.post(func() {
			// The link may be up again before rtnetlink was read.
			if p.ether == failed {
				p.l.reopen(p)
			}
		})
	}
}

// reopen closes a port that failed and opens it again if its interface is up.
func (l *loop) reopen(p *port) {
	p.close()
	links, err := namedLinks([]string{p.name})
	if err != nil || len(links) == 0 || !links[0].Up {
		l.logf(p.name, "down", "%s is down", p.name)
		return
	}
	p.ask()
}

// stats are what was counted of the interface since the start of netman.
func (p *port) stats() ether.RawStats {
	s := p.past
	if p.raw != nil {
		now := p.raw.Stats()
		s.Drops += now.Drops
		s.HailDrops += now.HailDrops
		s.Truncated += now.Truncated
		s.Full += now.Full
	}
	return s
}

// deadline is when a wrapper of the port wants to be called.
func (p *port) deadline() time.Time {
	if t, ok := p.ether.(ether.Timed); ok {
		return t.Deadline()
	}
	return time.Time{}
}

// portTimeouts lets wrappers release the frames they held back.
func (l *loop) portTimeouts() {
	for _, p := range l.ports {
		t, ok := p.ether.(ether.Timed)
		if !ok {
			continue
		}
		if d := t.Deadline(); !d.IsZero() && !l.now.Before(d) {
			if err := t.HandleTimeout(l.now); err != nil {
				p.fail(err)
			}
			p.ready(0)
			l.flush()
		}
	}
}

// addresses lists the ports as "eth0 02:00:00:00:00:01".
func (l *loop) addresses() string {
	var all []string
	for _, p := range l.ports {
		all = append(all, p.name+" "+p.link.Addr.String())
	}
	return strings.Join(all, ", ")
}
