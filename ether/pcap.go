package ether

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"time"
)

// A capture file is pcapng (draft-ietf-opsawg-pcapng), little-endian, one section: a section header, a description for each port,
// and an enhanced packet for each frame. Every block is
//
//	+--------+----------+------------------------+----------+
//	| type 4 | length 4 | body, padded to 4      | length 4 |     length: of the whole block
//	+--------+----------+------------------------+----------+
//
// and an option in a body is code 2, length 2, value padded to 4.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6

	byteOrderMagic   = 0x1A2B3C4D
	linkTypeEthernet = 1

	optEnd          = 0
	optComment      = 1
	optDropped      = 4 // epb_dropcount
	optName         = 2 // if_name
	optMAC          = 6 // if_MACaddr
	optTimeRes      = 9 // if_tsresol
	optFlags        = 2 // epb_flags
	timeNanoseconds = 9 // 10^-9 s

	flagInbound   = 1
	flagOutbound  = 2
	flagUnicast   = 1 << 2
	flagMulticast = 2 << 2
	flagBroadcast = 3 << 2
)

// Capture writes the frames of one or more ports to one capture file, which tshark and its kin can read while it grows.
type Capture struct {
	w     io.Writer
	ports uint32
	now   func() time.Time
	buf   []byte
	err   error // what ended the capture
}

// pcapPort is a Port whose frames are captured.
type pcapPort struct {
	wrapper
	capture *Capture
	id      uint32
}

// NewCapture begins a capture file. The first error of w ends the capture, not the traffic; Close of the ports returns it.
func NewCapture(w io.Writer) *Capture {
	c := &Capture{w: w, now: time.Now}
	start := c.begin(blockSection)
	c.put32(byteOrderMagic)
	c.put16(1) // version 1.0
	c.put16(0)
	c.put64(math.MaxUint64) // length of the section: not known
	c.end(start)
	c.flush()
	return c
}

// Pcap returns p with every frame it sends and receives written to w as a capture file of its own.
func Pcap(p Port, w io.Writer) Port { return NewCapture(w).Port(p, "") }

// Port returns p with every frame it sends and receives written to the capture, as interface name ("": none).
func (c *Capture) Port(p Port, name string) Port {
	return &pcapPort{wrapper: wrapper{p}, capture: c, id: c.Interface(name, p.Addr())}
}

// Interface describes an interface, by its name ("": none) and its address (zero: not known), and returns its number.
func (c *Capture) Interface(name string, addr Addr) uint32 {
	start := c.begin(blockInterface)
	c.put16(linkTypeEthernet)
	c.put16(0) // reserved
	c.put32(0) // frames are whole
	if name != "" {
		c.option(optName, []byte(name))
	}
	if addr != (Addr{}) {
		c.option(optMAC, addr[:])
	}
	c.option(optTimeRes, []byte{timeNanoseconds})
	c.option(optEnd, nil)
	c.end(start)
	c.flush()
	c.ports++
	return c.ports - 1
}

// Packet is one frame for Capture.Write.
type Packet struct {
	Interface uint32
	Time      time.Time
	Sent      bool
	Frame     []byte // whole, or its beginning
	Size      int    // octets of the whole one; 0: Frame is whole
	Comment   string
	Dropped   uint64 // frames missing before this one
}

// Write writes one frame, and returns what ended the capture if that has happened.
func (c *Capture) Write(p Packet) error {
	if c.err != nil {
		return c.err
	}
	c.packet(p)
	c.flush()
	return c.err
}

// Send implements Port.
func (p *pcapPort) Send(frames [][]byte) (int, error) {
	n, err := p.Port.Send(frames)
	p.capture.packets(p.id, true, frames[:n])
	return n, err
}

// Recv implements Port.
func (p *pcapPort) Recv(b *Batch) (int, error) {
	n, err := p.Port.Recv(b)
	p.capture.packets(p.id, false, b.Frames[:n])
	return n, err
}

// Close implements Port.
func (p *pcapPort) Close() error { return errors.Join(p.Port.Close(), p.capture.err) }

// packets writes the frames, all with one call of the writer.
func (c *Capture) packets(id uint32, sent bool, frames [][]byte) {
	if len(frames) == 0 || c.err != nil {
		return
	}
	now := c.now()
	for _, frame := range frames {
		c.packet(Packet{Interface: id, Time: now, Sent: sent, Frame: frame})
	}
	c.flush()
}

// packet appends the block of a frame.
func (c *Capture) packet(p Packet) {
	direction := uint32(flagInbound)
	if p.Sent {
		direction = flagOutbound
	}
	now := uint64(p.Time.UnixNano())
	start := c.begin(blockPacket)
	c.put32(p.Interface)
	c.put32(uint32(now >> 32))
	c.put32(uint32(now))
	c.put32(uint32(len(p.Frame)))              // captured
	c.put32(uint32(max(p.Size, len(p.Frame)))) // on the wire
	c.pad(append(c.buf, p.Frame...))
	if p.Comment != "" {
		c.option(optComment, []byte(p.Comment))
	}
	c.put16(optFlags)
	c.put16(4)
	c.put32(direction | castOf(p.Frame))
	if p.Dropped > 0 {
		c.put16(optDropped)
		c.put16(8)
		c.put64(p.Dropped)
	}
	c.option(optEnd, nil)
	c.end(start)
}

// castOf is the kind of destination, as epb_flags tells it.
func castOf(frame []byte) uint32 {
	if len(frame) < HeaderLen {
		return 0
	}
	switch to := Addr(frame); {
	case to == Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return flagBroadcast
	case to.IsGroup():
		return flagMulticast
	}
	return flagUnicast
}

// begin starts a block and returns where; end fills in its length.
func (c *Capture) begin(kind uint32) int {
	start := len(c.buf)
	c.put32(kind)
	c.put32(0)
	return start
}

func (c *Capture) end(start int) {
	length := uint32(len(c.buf) + 4 - start)
	c.put32(length)
	binary.LittleEndian.PutUint32(c.buf[start+4:], length)
}

// flush writes out what is complete.
func (c *Capture) flush() {
	if c.err == nil {
		_, c.err = c.w.Write(c.buf)
	}
	c.buf = c.buf[:0]
}

func (c *Capture) option(code uint16, value []byte) {
	c.put16(code)
	c.put16(uint16(len(value)))
	c.pad(append(c.buf, value...))
}

// pad takes buf, which is c.buf with something appended, and pads it to a multiple of 4.
func (c *Capture) pad(buf []byte) {
	for len(buf)%4 != 0 {
		buf = append(buf, 0)
	}
	c.buf = buf
}

func (c *Capture) put16(v uint16) { c.buf = binary.LittleEndian.AppendUint16(c.buf, v) }
func (c *Capture) put32(v uint32) { c.buf = binary.LittleEndian.AppendUint32(c.buf, v) }
func (c *Capture) put64(v uint64) { c.buf = binary.LittleEndian.AppendUint64(c.buf, v) }
