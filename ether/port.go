package ether

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Sizes of a frame, in octets.
const (
	HeaderLen = 14 // DA, SA, Ethertype
	MinFrame  = 60 // the shortest frame on a wire, without FCS; shorter ones are padded with zeros when sent
)

// Errors of ports. Those returned wrap one of these and name the interface and what to do.
var (
	ErrNoInterface  = errors.New("no such interface")
	ErrNotEthernet  = errors.New("not an Ethernet")
	ErrNotPermitted = errors.New("not permitted")
	ErrDown         = errors.New("interface is down")
	ErrClosed       = errors.New("port is closed")
	ErrTooLong      = errors.New("frame longer than the MTU allows")
	ErrTooShort     = errors.New("frame shorter than its header")
)

// Addr is the address of a station, or of a group of them.
type Addr [6]byte

// String returns the address in hexadecimal, such as 02:00:00:00:00:01.
func (a Addr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}

// IsGroup reports whether a is the address of a group: multicast or broadcast.
func (a Addr) IsGroup() bool { return a[0]&1 != 0 }

// ParseAddr reads an address of six octets in hexadecimal, with colons or hyphens between them.
func ParseAddr(s string) (Addr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return Addr{}, fmt.Errorf("%q is not an Ethernet address, which is like 02:00:00:00:00:01", s)
	}
	return Addr(mac), nil
}

// Port is a station's place on one Ethernet.
type Port interface {
	// Addr is the station's own address.
	Addr() Addr

	// MTU is the largest number of octets after the Ethernet header.
	MTU() int

	// Send gives frames to the wire, in order, and returns how many it took; the frames are the caller's again on return.
	// A short count without an error means that the queue is full: try the rest later. With ErrTooLong or ErrTooShort the
	// frame at that count is the wrong one: the rest may be sent without it. With ErrDown nothing can be sent.
	Send(frames [][]byte) (int, error)

	// Recv fills b with frames that have come, at most len(b.Frames) of them, and returns how many; it never blocks.
	// 0 without an error: there is none now. b.Frames[:n] are valid until the next Recv on this port. ErrDown is told once
	// when the interface goes down, and a port of an interface that comes up again goes on.
	Recv(b *Batch) (int, error)

	// Fd is the descriptor to poll for reading before Recv, and for writing after a short Send; -1 if there is none. It is
	// closed by Close, and by nobody else.
	Fd() int

	Close() error
}

// Timed is a Port that holds frames back, and so has something to do at a time of its own. Its owner calls HandleTimeout when the
// Deadline has come (zero: there is none), and after it Recv, where frames held back on their way in come out though Fd has not
// become readable.
type Timed interface {
	Deadline() time.Time
	HandleTimeout(now time.Time) error
}

// Batch is the room for the frames of one Recv. It is allocated once.
type Batch struct {
	// Frames are what Recv received: after it returned n, the first n. The length is always that given to NewBatch.
	Frames [][]byte

	slots [][]byte // the memory a Port may receive into, all of one size
}

// NewBatch returns a Batch of n frames of at most frameSize octets: HeaderLen + MTU of the port it is for.
func NewBatch(n, frameSize int) *Batch {
	b := &Batch{Frames: make([][]byte, n), slots: make([][]byte, n)}
	memory := make([]byte, n*frameSize)
	for i := range b.slots {
		b.slots[i] = memory[i*frameSize : (i+1)*frameSize : (i+1)*frameSize]
	}
	return b
}

// checkLen says whether a frame may be sent on a port of that MTU.
func checkLen(frame []byte, mtu int) error {
	switch {
	case len(frame) < HeaderLen:
		return ErrTooShort
	case len(frame) > HeaderLen+mtu:
		return ErrTooLong
	}
	return nil
}

// wrapper is what all wrappers share: what they do not change is the wrapped port's, and so are its timeouts.
type wrapper struct{ Port }

// Deadline implements Timed.
func (w wrapper) Deadline() time.Time {
	if t, ok := w.Port.(Timed); ok {
		return t.Deadline()
	}
	return time.Time{}
}

// HandleTimeout implements Timed.
func (w wrapper) HandleTimeout(now time.Time) error {
	if t, ok := w.Port.(Timed); ok {
		return t.HandleTimeout(now)
	}
	return nil
}
