package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"dnet/ether"
)

// Ethertypes of this program, for the lab's own Ethernet only.
const (
	wireType  = 0x88b7
	relayType = 0x88b6
	guardType = 0x88b8 // of the sealed netmans
)

// batchFrames is how many frames a call carries.
const batchFrames = 64

// Frames without any protocol: an octet that says what it is, then anything. Nothing confirms, nothing is sent again.
const (
	framePing = 'p' // come back
	frameData = 'd' // be counted
	frameEnd  = 'e' // say how many octets of data have come since the last end; they follow in the answer, 8 octets
)

// wire is a station, and room for frames.
type wire struct {
	port   *ether.Raw
	batch  *ether.Batch
	frames [][]byte // to the other station, all the same
	sent   int      // of frames: collected, not yet sent
}

func openWire() (*wire, error) {
	port, err := ether.Open("eth0", wireType, ether.RawConfig{})
	if err != nil {
		return nil, err
	}
	return &wire{port: port, batch: ether.NewBatch(batchFrames, ether.HeaderLen+port.MTU())}, nil
}

// recv waits for frames.
func (w *wire) recv(ms int) ([][]byte, error) {
	for {
		n, err := w.port.Recv(w.batch)
		if n > 0 || err != nil {
			return w.batch.Frames[:n], err
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(w.port.Fd()), Events: unix.POLLIN}}, ms)
		if err == nil && ready == 0 {
			return nil, errors.New("no frame comes")
		}
		if err != nil && err != unix.EINTR {
			return nil, err
		}
	}
}

// transmit sends all frames.
func (w *wire) transmit(frames [][]byte) error {
	for len(frames) > 0 {
		n, err := w.port.Send(frames)
		if err != nil {
			return err
		}
		if frames = frames[n:]; len(frames) > 0 {
			unix.Poll([]unix.PollFd{{Fd: int32(w.port.Fd()), Events: unix.POLLOUT}}, 1000)
		}
	}
	return nil
}

// frameTo appends a frame of a kind.
func (w *wire) frameTo(to ether.Addr, kind byte, octets []byte) []byte {
	from := w.port.Addr()
	f := append(append([]byte(nil), to[:]...), from[:]...)
	return append(append(binary.BigEndian.AppendUint16(f, wireType), kind), octets...)
}

// serveWire is `:wire eth0`.
func serveWire([]string) error {
	w, err := openWire()
	if err != nil {
		return err
	}
	ready()
	octets := uint64(0)
	for {
		frames, err := w.recv(-1)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if len(f) <= ether.HeaderLen {
				continue
			}
			from := ether.Addr(f[6:12])
			switch f[ether.HeaderLen] {
			case framePing:
				err = w.transmit([][]byte{w.frameTo(from, framePing, f[ether.HeaderLen+1:])})
			case frameData:
				octets += uint64(len(f) - ether.HeaderLen)
			case frameEnd:
				err = w.transmit([][]byte{w.frameTo(from, frameEnd, binary.BigEndian.AppendUint64(nil, octets))})
				octets = 0
			}
			if err != nil {
				return err
			}
		}
	}
}

// wireSession is a session of bare frames. What the other station has no room for is lost, and not counted.
type wireSession struct {
	*wire
	to ether.Addr
}

func dialWire(address string) (session, error) {
	to, err := ether.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	w, err := openWire()
	if err != nil {
		return nil, err
	}
	return &wireSession{wire: w, to: to}, nil
}

func (s *wireSession) trip(message []byte) error {
	if s.frames == nil {
		s.frames = [][]byte{s.frameTo(s.to, framePing, message)}
	}
	if err := s.transmit(s.frames); err != nil {
		return err
	}
	_, err := s.recv(1000)
	return err
}

// send sends a message in as many frames as it needs, always a full batch of them at a time.
func (s *wireSession) send(message []byte) error {
	size := min(len(message), s.port.MTU()-1)
	if s.frames == nil {
		for range batchFrames {
			s.frames = append(s.frames, s.frameTo(s.to, frameData, message[:size]))
		}
	}
	for s.sent += (len(message) + size - 1) / size; s.sent >= batchFrames; s.sent -= batchFrames {
		if err := s.transmit(s.frames); err != nil {
			return err
		}
	}
	return nil
}

func (s *wireSession) finish() (int64, error) {
	end := [][]byte{s.frameTo(s.to, frameEnd, nil)}
	for range 10 { // the end may be lost too
		if err := s.transmit(end); err != nil {
			return 0, err
		}
		frames, err := s.recv(500)
		if err != nil {
			continue
		}
		if f := frames[0]; len(f) >= ether.HeaderLen+9 && f[ether.HeaderLen] == frameEnd {
			return int64(binary.BigEndian.Uint64(f[ether.HeaderLen+1:])), nil
		}
	}
	return 0, fmt.Errorf("the server at %v does not answer", s.to)
}
