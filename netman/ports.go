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
	l      *loop
	id     int // the node's number
	name   string
	link   ether.Link // as it was when opened
	ether  ether.Port // with its wrappers; nil while the interface is down or gone
	raw    *ether.Raw
	batch  *ether.Batch
	desc   *desc
	asked  bool           // the keeper is asked to open it
	guard  int            // holds the interface for this netman, see holdInterface
	unsent uint64         // frames that the wire did not take
	lost   ether.RawStats // of sockets that are closed
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
		if p := l.portNamed(ev.Name); p != nil && p.ether != nil {
			changed := ev.Index != p.link.Index || ev.Addr != p.link.Addr || ev.MTU != p.link.MTU
			if ev.Removed || !ev.Up || changed {
				log.Printf("%s is down, gone, or another", p.name)
				p.close()
			}
		}
	}
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
	if m.Error != "" || len(fds) != 2 || p.ether != nil {
		circuit.CloseFds(fds)
		log.Print(m.Error)
		return
	}
	raw, err := ether.Adopt(fds[0], m.Link)
	if err != nil {
		unix.Close(fds[1])
		log.Print(err)
		return
	}
	p.guard, p.link, p.raw, p.ether = fds[1], m.Link, raw, raw
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
	l.watch(p.desc)
	l.node.AddPort(p.id, raw.Addr(), raw.MTU(), receiveWindow(raw.RcvBuf(), raw.MTU()))
	if l.begun {
		log.Printf("%s is up, station %v", p.name, m.Link.Addr)
	}
}

// close ends the links on the port at once.
func (p *port) close() {
	p.l.node.RemovePort(p.l.now, p.id, &p.l.out)
	p.count()
	p.l.descs[p.desc.fd] = nil // closed by its owner, which takes it out of the epoll set
	p.ether.Close()
	unix.Close(p.guard)
	p.ether, p.raw, p.desc = nil, nil, nil
}

// count keeps what the socket has counted so far.
func (p *port) count() {
	if p.raw != nil {
		s := p.raw.Stats()
		p.lost.Drops, p.lost.Truncated, p.lost.Full = p.lost.Drops+s.Drops, p.lost.Truncated+s.Truncated, p.lost.Full+s.Full
	}
}

// losses are the frames that the socket has lost or not taken since netman's start.
func (p *port) losses() ether.RawStats {
	all := p.lost
	if p.raw != nil {
		s := p.raw.Stats()
		all.Drops, all.Truncated, all.Full = all.Drops+s.Drops, all.Truncated+s.Truncated, all.Full+s.Full
	}
	return all
}

// receiveWindow is how many frames for one link a receive buffer holds when a few links share it (protocol.md 3). The kernel accounts
// 2,304 octets for a frame of MTU 1500 and 13,100 for one of 9000 (measured on veth).
func receiveWindow(buffer, mtu int) int {
	cost := (mtu+ether.HeaderLen)*3/2 + 64
	const links = 8
	return buffer / cost / links
}

// ready reads a batch of frames and gives them to the node.
func (p *port) ready(uint32) {
	n, err := p.ether.Recv(p.batch)
	if err != nil {
		p.fail(err)
		return
	}
	for _, frame := range p.batch.Frames[:n] {
		p.l.node.HandleFrame(p.l.now, p.id, frame, &p.l.out)
	}
}

// send sends frames in order. What the wire does not take is lost, as on any wire, and layer 2 sends it again.
func (p *port) send(frames [][]byte) {
	for tries := 0; len(frames) > 0 && p.ether != nil; tries++ {
		n, err := p.ether.Send(frames)
		frames = frames[n:]
		switch {
		case errors.Is(err, ether.ErrTooLong) || errors.Is(err, ether.ErrTooShort):
			p.unsent++
			frames = frames[1:]
		case err != nil:
			p.unsent += uint64(len(frames))
			p.fail(err)
			return
		case n == 0 && tries > 3:
			p.unsent += uint64(len(frames))
			return
		case n == 0:
			unix.Poll([]unix.PollFd{{Fd: int32(p.desc.fd), Events: unix.POLLOUT}}, 1)
		}
	}
}

// fail takes note that the port does not work; when the interface is down, rtnetlink tells it too.
func (p *port) fail(err error) {
	p.l.count(p.name + ": " + err.Error())
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
		log.Printf("%s is down", p.name)
		return
	}
	p.ask()
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
