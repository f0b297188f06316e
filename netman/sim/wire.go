package sim

import (
	"hash/crc32"
	"time"

	"dnet/netman/node"
)

// Mood is how a wire treats the frames on it. Chances are from 0 to 1, per frame and receiver.
//
// LateBy is at most twice Delay in worlds that are to work: a frame that others overtake for longer may be 64 or more numbers
// behind, which layer 2 cannot know to be stale (protocol.md 3), and one 128 behind looks like the next one.
type Mood struct {
	Delay   time.Duration // of every frame
	Octet   time.Duration // that an octet takes; 0: none
	Loss    float64
	Dup     float64
	Late    float64       // chance to come later than the frames behind it,
	LateBy  time.Duration // by up to this
	Corrupt float64       // chance that one bit is turned over
}

// Wire is one Ethernet: whoever is on it hears what is sent to the group, and what is sent to it.
type Wire struct {
	Mood
	MTU   int  // larger frames are eaten, octets after the Ethernet header; 0: none are
	Trust bool // corrupt frames arrive: without it the frame check sequence tells, and they are lost

	Tap func(frame []byte) // hears every frame that is sent; it is borrowed

	w      *World
	nics   []*nic
	latest time.Duration // when the last of what is on the wire arrives
	cut    [][]bool      // from, to: nothing passes

	Carried, Lost, Doubled, Delayed, Corrupted, Eaten uint64
}

// nic is an interface of a machine, on the wire.
type nic struct {
	m     *Machine
	port  int // the node's number
	index int // on the wire
	addr  node.Addr
	up    bool
	free  time.Duration // the wire from here is free at
	last  time.Duration // what was sent from here has arrived at, but for what comes late
}

// attach puts an interface on the wire.
func (wire *Wire) attach(m *Machine, port int, addr node.Addr) *nic {
	c := &nic{m: m, port: port, index: len(wire.nics), addr: addr, up: true}
	wire.nics = append(wire.nics, c)
	for i := range wire.cut {
		wire.cut[i] = append(wire.cut[i], false)
	}
	wire.cut = append(wire.cut, make([]bool, len(wire.nics)))
	return c
}

// SetMood changes how the wire treats frames. What is on it already still arrives before what is sent from now on.
func (wire *Wire) SetMood(m Mood) {
	wire.Mood = m
	for _, c := range wire.nics {
		c.last = max(c.last, wire.latest)
	}
}

// Cut parts two machines, in one direction or, for both, in two calls; Cut with false joins them again.
func (wire *Wire) Cut(from, to *Machine, cut bool) {
	for _, a := range from.nics {
		for _, b := range to.nics {
			wire.cut[a.index][b.index] = cut
		}
	}
}

// transmit puts a frame on the wire, for everybody it is addressed to.
func (wire *Wire) transmit(from *nic, frame []byte) {
	w := wire.w
	w.hash = w.hash*31 + uint64(crc32.Update(uint32(w.now), crcTable, frame))
	if w.trace != nil {
		w.tracef("%s/%d  %s", from.m.name, from.port, node.FormatFrame(frame))
	}
	if !from.up {
		return
	}
	if wire.Tap != nil {
		wire.Tap(frame)
	}
	from.free = max(from.free, w.now) + time.Duration(len(frame))*wire.Octet
	to := node.Addr(frame[:6])
	for _, c := range wire.nics {
		if c != from && c.up && (to == node.Group || to == c.addr) {
			wire.carry(from, c, frame)
		}
	}
}

// inject puts a frame of nobody's before whoever it is addressed to, at once.
func (wire *Wire) inject(frame []byte) {
	w := wire.w
	if w.trace != nil {
		w.tracef("injected  %s", node.FormatFrame(frame))
	}
	to := node.Addr(frame[:6])
	for _, c := range wire.nics {
		if c.up && (to == node.Group || to == c.addr) {
			w.queue.push(item{at: w.now, nic: c, frame: append(w.buffer(), frame...)})
		}
	}
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// carry takes a frame to one receiver, or does not.
func (wire *Wire) carry(from, to *nic, frame []byte) {
	w := wire.w
	wire.Carried++
	switch {
	case wire.cut[from.index][to.index]:
		wire.Lost++
		return
	case wire.MTU > 0 && len(frame) > wire.MTU+14:
		wire.Eaten++
		w.tracef("%s/%d  .. eaten", to.m.name, to.port)
		return
	case w.chance(wire.Loss):
		wire.Lost++
		w.tracef("%s/%d  .. lost", to.m.name, to.port)
		return
	}
	copies := 1
	if w.chance(wire.Dup) {
		wire.Doubled++
		copies = 2
	}
	for range copies {
		wire.carryOne(from, to, frame)
	}
}

func (wire *Wire) carryOne(from, to *nic, frame []byte) {
	w := wire.w
	at := max(from.free+wire.Delay, from.last)
	from.last = at
	if w.chance(wire.Late) {
		wire.Delayed++
		at += w.between(0, wire.LateBy)
	}
	wire.latest = max(wire.latest, at)
	b := append(w.buffer(), frame...)
	if w.chance(wire.Corrupt) {
		wire.Corrupted++
		if !wire.Trust {
			w.spare = append(w.spare, b)
			return
		}
		// The addresses are left alone: a frame for another station is not ours to judge.
		bit := 12*8 + w.rng.IntN((len(b)-12)*8)
		b[bit/8] ^= 1 << (bit % 8)
		w.tracef("%s/%d  .. corrupt", to.m.name, to.port)
	}
	w.queue.push(item{at: at, nic: to, frame: b})
}
