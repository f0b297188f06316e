package ether

import "fmt"

// Bus is an Ethernet in memory, for tests and simulations: no loss but at a full port, no delay, the same order every time.
type Bus struct {
	mtu   int
	ports []*BusPort
}

// BusPort is a station's place on a Bus.
type BusPort struct {
	bus     *Bus
	addr    Addr
	queue   [][]byte // a ring of frames, grown up to busQueueMax; the memory of a slot is used again
	first   int      // the oldest frame in queue
	waiting int      // how many there are
	drops   uint64
	closed  bool
}

// NewBus returns an Ethernet whose frames have at most mtu octets after the header.
func NewBus(mtu int) *Bus { return &Bus{mtu: mtu} }

// Port adds a station. Two stations may have one address, as by mistake on a wire.
func (b *Bus) Port(addr Addr) *BusPort {
	p := &BusPort{bus: b, addr: addr}
	b.ports = append(b.ports, p)
	return p
}

// Addr implements Port.
func (p *BusPort) Addr() Addr { return p.addr }

// MTU implements Port.
func (p *BusPort) MTU() int { return p.bus.mtu }

// Fd implements Port: there is no descriptor.
func (p *BusPort) Fd() int { return -1 }

// Drops is the number of frames dropped because too many were waiting at this port, or longer than the room in the batch.
func (p *BusPort) Drops() uint64 { return p.drops }

// Send implements Port: a frame to a group goes to all other ports, one to a station to those of its address. The bus takes every
// frame at once.
func (p *BusPort) Send(frames [][]byte) (int, error) {
	if p.closed {
		return 0, ErrClosed
	}
	for i, frame := range frames {
		if err := checkLen(frame, p.bus.mtu); err != nil {
			return i, fmt.Errorf("bus: %w: %d octets", err, len(frame))
		}
		to := Addr(frame)
		for _, other := range p.bus.ports {
			if other != p && (to.IsGroup() || to == other.addr) {
				other.put(frame)
			}
		}
	}
	return len(frames), nil
}

// put queues a copy of the frame, padded as on a wire.
func (p *BusPort) put(frame []byte) {
	if p.waiting == len(p.queue) && !p.grow() {
		p.drops++
		return
	}
	slot := &p.queue[(p.first+p.waiting)%len(p.queue)]
	*slot = append((*slot)[:0], frame...)
	if pad := MinFrame - len(frame); pad > 0 {
		*slot = append(*slot, padding[:pad]...)
	}
	p.waiting++
}

// grow doubles the full ring, within its limit.
func (p *BusPort) grow() bool {
	if len(p.queue) == busQueueMax {
		return false
	}
	larger := make([][]byte, min(max(16, 2*len(p.queue)), busQueueMax))
	n := copy(larger, p.queue[p.first:])
	copy(larger[n:], p.queue[:p.first])
	p.queue, p.first = larger, 0
	return true
}

// Recv implements Port.
func (p *BusPort) Recv(b *Batch) (int, error) {
	if p.closed {
		return 0, ErrClosed
	}
	n := 0
	for p.waiting > 0 && n < len(b.slots) {
		frame := p.queue[p.first]
		p.first = (p.first + 1) % len(p.queue)
		p.waiting--
		if len(frame) > len(b.slots[n]) {
			p.drops++
			continue
		}
		b.Frames[n] = b.slots[n][:copy(b.slots[n], frame)]
		n++
	}
	return n, nil
}

// Close implements Port: it takes the station off the bus.
func (p *BusPort) Close() error {
	for i, other := range p.bus.ports {
		if other == p {
			p.bus.ports = append(p.bus.ports[:i], p.bus.ports[i+1:]...)
			break
		}
	}
	p.closed, p.queue, p.waiting = true, nil, 0
	return nil
}
