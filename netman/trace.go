package main

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/node"
)

// Limits of traces (protocol.md 5).
const (
	maxTracers  = 8         // at once; one more is EBUSY
	traceBuffer = 4 << 20   // octets that wait for a tracer; what comes beyond is left out, and it is told how many frames that were
	traceRecord = 128 << 10 // octets of one record
)

// tap is a port whose frames are shown to those who trace. While nobody does, that costs one look per batch.
type tap struct {
	ether.Port
	p *port
}

// Send implements ether.Port.
func (t tap) Send(frames [][]byte) (int, error) {
	n, err := t.Port.Send(frames)
	if len(t.p.l.tracers) > 0 {
		t.p.l.traceFrames(traceSent, t.p.name, frames[:n])
	}
	return n, err
}

// Recv implements ether.Port.
func (t tap) Recv(b *ether.Batch) (int, error) {
	n, err := t.Port.Recv(b)
	if len(t.p.l.tracers) > 0 {
		t.p.l.traceFrames(traceReceived, t.p.name, b.Frames[:n])
	}
	return n, err
}

// tracer is a program at the door to which frames are shown.
type tracer struct {
	l    *loop
	desc *desc
	data bool   // with what users say to each other
	lost uint64 // frames left out since the last record, because it reads too slowly
}

// trace shows the visitor every frame from now on (protocol.md 5).
func (v *visitor) trace(line circuit.Line) {
	switch {
	case !v.admin:
		v.fail("EACCES", "a trace is for root and for members of the group "+traceGroup)
		return
	case len(v.l.tracers) >= maxTracers:
		v.fail("EBUSY", strconv.Itoa(maxTracers)+" traces run already")
		return
	}
	if unix.SetsockoptInt(v.desc.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, traceBuffer/2) != nil { // the kernel doubles it
		unix.SetsockoptInt(v.desc.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, traceBuffer/2)
	}
	t := &tracer{l: v.l, desc: v.desc, data: line.Get("data") == "1"}
	v.desc.ready = t.ready
	if _, err := unix.Write(v.desc.fd, circuit.Line{Verb: "ok"}.Append(nil)); err != nil {
		v.l.forget(v.desc)
		return
	}
	v.l.tracers = append(v.l.tracers, t)
}

// ready is called when a tracer has gone, or takes more again.
func (t *tracer) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 && t.tellLost() {
		t.l.wait(t.desc, unix.EPOLLIN)
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return
	}
	n, err := unix.Read(t.desc.fd, t.l.line)
	if n > 0 {
		t.l.count("door: lines that nobody asked for")
	}
	if err == unix.EAGAIN || err == unix.EINTR || n > 0 {
		return
	}
	t.l.tracers = slices.DeleteFunc(t.l.tracers, func(other *tracer) bool { return other == t })
	t.l.forget(t.desc)
}

// Kinds of entries of a trace.
const (
	traceSent     = '>'
	traceReceived = '<'
	traceLost     = '!'
)

// traceEntry is one frame of a trace, or with the kind traceLost how many frames are missing here.
type traceEntry struct {
	kind  byte
	time  time.Time
	size  uint32 // octets of the frame, or the frames that are missing
	name  string // of the interface
	frame []byte // or its beginning
}

// traceHeader is the length of an entry without name and frame: kind 1, time 8, size 4, length of the frame 4, length of the name 1.
const traceHeader = 1 + 8 + 4 + 4 + 1

// append appends the entry to a record.
func (e traceEntry) append(b []byte) []byte {
	b = append(b, e.kind)
	b = binary.BigEndian.AppendUint64(b, uint64(e.time.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, e.size)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.frame)))
	b = append(b, byte(len(e.name)))
	return append(append(b, e.name...), e.frame...)
}

var errTraceEntry = errors.New("not an entry of a trace")

// parseTraceEntry takes the first entry off a record. Its frame is part of b.
func parseTraceEntry(b []byte) (e traceEntry, rest []byte, err error) {
	if len(b) < traceHeader {
		return e, nil, errTraceEntry
	}
	name, frame := int(b[17]), uint64(binary.BigEndian.Uint32(b[13:]))
	if uint64(len(b)) < traceHeader+uint64(name)+frame {
		return e, nil, errTraceEntry
	}
	end := traceHeader + name + int(frame)
	return traceEntry{
		kind: b[0], time: time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))), size: binary.BigEndian.Uint32(b[9:]),
		name: string(b[traceHeader : traceHeader+name]), frame: b[traceHeader+name : end],
	}, b[end:], nil
}

// traceFrames shows frames to all who trace.
func (l *loop) traceFrames(kind byte, name string, frames [][]byte) {
	if len(frames) == 0 {
		return
	}
	now := time.Now()
	for _, t := range l.tracers {
		t.show(now, kind, name, frames)
	}
}

// show writes frames to one tracer, as many to a record as there is room for.
func (t *tracer) show(now time.Time, kind byte, name string, frames [][]byte) {
	record, held := t.l.traced[:0], uint64(0)
	for _, frame := range frames {
		e := traceEntry{kind: kind, time: now, size: uint32(len(frame)), name: name, frame: frame}
		if !t.data {
			e.frame = node.CutFrame(frame)
		}
		if held > 0 && len(record)+traceHeader+len(name)+len(e.frame) > traceRecord {
			t.write(record, held)
			record, held = record[:0], 0
		}
		record = e.append(record)
		held++
	}
	t.write(record, held)
	t.l.traced = record[:0]
}

// write writes a record of so many frames. What the tracer has no room for is left out and counted: nobody waits for it.
func (t *tracer) write(record []byte, frames uint64) {
	if t.lost == 0 || t.tellLost() {
		if _, err := unix.Write(t.desc.fd, record); err == nil {
			return
		}
	}
	t.lost += frames
	t.l.counters["trace: frames left out"] += frames
	t.l.wait(t.desc, unix.EPOLLIN|unix.EPOLLOUT)
}

// tellLost tells how many frames were left out: false if there is no room even for that.
func (t *tracer) tellLost() bool {
	if t.lost > 0 {
		e := traceEntry{kind: traceLost, time: time.Now(), size: uint32(min(t.lost, 1<<32-1))}
		if _, err := unix.Write(t.desc.fd, e.append(nil)); err != nil {
			return false
		}
		t.lost = 0
	}
	return true
}
