package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
)

// The bare relay is what netman would be without a protocol, written the plain way: it forwards between a Unix socket and
// AF_PACKET, with a goroutine for each direction, the Go runtime's poller and one frame in a system call. Nothing is
// named, acknowledged, sent again or timed. It speaks as much of the door as the clients and servers need, for one circuit at a time.
//
//	+----+----+-----------+------+------+---------+--------+----------------------+
//	| DA | SA | Ethertype | kind | last | circuit | number | a piece of a message |
//	| 6  | 6  | 2         | 1    | 1    | 2       | 4      |                      |
//	+----+----+-----------+------+------+---------+--------+----------------------+
//
// number: of a data frame, the count of those before it; of a credit, the octets given to the program since the circuit began.
const relayHeader = ether.HeaderLen + 8

const (
	relayOpen = iota + 1
	relayClose
	relayData
	relayCredit
)

// relayWindow is how many octets may be on their way to the other program.
const relayWindow = 256 << 10

// relayEnd is one of the two relays.
type relayEnd struct {
	wire     *os.File // AF_PACKET, in the poller
	template []byte   // header of its frames
	mtu      int
	window   int
	listener *net.UnixConn // where a server waits

	mu      sync.Mutex
	circuit uint16
	program *net.UnixConn // the program's end of the circuit, nil without one
	sent    uint32        // octets from the program
	credit  uint32        // octets that the other program has got
	more    *sync.Cond    // credit has come, or the circuit has ended
}

// relay is `:relay eth0 MAC DOOR`: MAC is that of the other relay.
func relay(args []string) error {
	r := &relayEnd{}
	r.more = sync.NewCond(&r.mu)
	if err := r.openWire(args[0], args[1]); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(args[2]), 0o755); err != nil {
		return err
	}
	door, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: args[2]})
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- r.fromWire() }()
	go func() { failed <- r.serveDoor(door) }()
	ready()
	return <-failed
}

// openWire opens the packet socket, which blocks nobody but the goroutine that uses it.
func (r *relayEnd) openWire(ifname, peer string) error {
	to, err := ether.ParseAddr(peer)
	if err != nil {
		return err
	}
	nif, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	const buffer = 16 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return err
	}
	networkOrder := uint16(relayType>>8 | relayType&0xff<<8)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder, Ifindex: nif.Index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	r.wire, r.mtu = os.NewFile(uintptr(fd), ifname), nif.MTU
	r.window = min(relayWindow, got/4) // small frames take up to three times their length of the buffer
	r.template = binary.BigEndian.AppendUint16(append(append(r.template, to[:]...), nif.HardwareAddr...), relayType)
	r.template = append(r.template, make([]byte, relayHeader-ether.HeaderLen)...)
	return nil
}

// transmit sends one frame; piece may be nil. frame is room for it.
func (r *relayEnd) transmit(frame []byte, kind byte, last bool, id uint16, number uint32, piece []byte) error {
	frame = append(append(frame[:0], r.template...), piece...)
	h := frame[ether.HeaderLen:]
	h[0] = kind
	if last {
		h[1] = 1
	}
	binary.BigEndian.PutUint16(h[2:], id)
	binary.BigEndian.PutUint32(h[4:], number)
	for {
		_, err := r.wire.Write(frame)
		if !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
}

// serveDoor takes callers, and the server.
func (r *relayEnd) serveDoor(door *net.UnixListener) error {
	for {
		c, err := door.AcceptUnix()
		if err != nil {
			return err
		}
		buf := make([]byte, circuit.MaxLine)
		n, err := c.Read(buf)
		if err != nil {
			c.Close()
			continue
		}
		line, err := circuit.ParseRequest(buf[:n])
		switch {
		case err == nil && line.Verb == "listen":
			r.listener = c
			_, err = c.Write([]byte("ok"))
		case err == nil && line.Verb == "call":
			err = r.call(c)
		}
		if err != nil {
			return err
		}
	}
}

// call begins a circuit.
func (r *relayEnd) call(c *net.UnixConn) error {
	data, theirs, err := pair()
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	r.mu.Lock()
	id := r.circuit + 1
	r.mu.Unlock()
	r.begin(id, data, c)
	if err := r.transmit(nil, relayOpen, true, id, 0, nil); err != nil {
		return err
	}
	return sendFds(c, circuit.Line{Verb: "ok"}, theirs)
}

// pair makes a socket pair: the relay's end, and the other.
func pair() (*net.UnixConn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	f := os.NewFile(uintptr(fds[0]), "pair")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, -1, err
	}
	u := c.(*net.UnixConn)
	u.SetWriteBuffer(1 << 20)
	return u, fds[1], unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
}

func sendFds(c *net.UnixConn, line circuit.Line, fds ...int) error {
	_, _, err := c.WriteMsgUnix(line.Append(nil), unix.UnixRights(fds...), nil)
	return err
}

// begin makes data the circuit, in place of the last one. control is closed with it.
func (r *relayEnd) begin(id uint16, data, control *net.UnixConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked()
	r.circuit, r.program, r.sent, r.credit = id, data, 0, 0
	go func() {
		if err := r.fromProgram(id, data); err != nil {
			fmt.Fprintln(os.Stderr, "bench: relay:", err)
		}
		control.Close()
	}()
}

// endLocked ends the circuit, if there is one; r.mu is held.
func (r *relayEnd) endLocked() {
	if r.program != nil {
		r.program.Close()
		r.program = nil
		r.more.Broadcast()
	}
}

// fromProgram forwards what the program writes, until it closes.
func (r *relayEnd) fromProgram(id uint16, program *net.UnixConn) error {
	message, frame := make([]byte, 1+circuit.MaxDatagram), make([]byte, ether.HeaderLen+r.mtu)
	number := uint32(0)
	for {
		n, err := program.Read(message)
		if err != nil || !r.await(id, n) {
			break
		}
		for rest := message[:n]; len(rest) > 0; number++ {
			piece := rest[:min(len(rest), r.mtu+ether.HeaderLen-relayHeader)]
			rest = rest[len(piece):]
			if err := r.transmit(frame, relayData, len(rest) == 0, id, number, piece); err != nil {
				return err
			}
		}
	}
	r.mu.Lock()
	if r.circuit == id {
		r.endLocked()
	}
	r.mu.Unlock()
	return r.transmit(frame, relayClose, true, id, 0, nil)
}

// await waits for credit for n octets: false if the circuit has ended.
func (r *relayEnd) await(id uint16, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.circuit == id && r.program != nil && r.sent != r.credit && int(r.sent-r.credit)+n > r.window {
		r.more.Wait()
	}
	r.sent += uint32(n)
	return r.circuit == id && r.program != nil
}

// fromWire forwards what comes from the other relay.
func (r *relayEnd) fromWire() error {
	frame, answer := make([]byte, ether.HeaderLen+r.mtu), make([]byte, 0, relayHeader)
	message := make([]byte, 0, 1+circuit.MaxDatagram)
	var number, given, told uint32
	for {
		n, err := r.wire.Read(frame)
		if err != nil {
			return err
		}
		if n < relayHeader {
			continue
		}
		h, piece := frame[ether.HeaderLen:], frame[relayHeader:n]
		kind, last, id, count := h[0], h[1] != 0, binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint32(h[4:])
		program := r.control(kind, id, count)
		switch {
		case kind == relayOpen:
			if err := r.offer(id); err != nil {
				return err
			}
		case kind == relayData && program != nil:
			if count == 0 { // the first of a circuit
				number, given, told, message = 0, 0, 0, message[:0]
			}
			if count != number {
				return fmt.Errorf("%d frames were lost", count-number)
			}
			number = count + 1
			if message = append(message, piece...); !last {
				continue
			}
			program.Write(message) // an error: the program has gone
			given += uint32(len(message))
			message = message[:0]
			if int(given-told) >= r.window/4 {
				told = given
				if err := r.transmit(answer, relayCredit, true, id, given, nil); err != nil {
					return err
				}
			}
		}
	}
}

// control does what a frame says of the circuit, and gives the program that is at it.
func (r *relayEnd) control(kind byte, id uint16, count uint32) *net.UnixConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != r.circuit {
		return nil
	}
	switch kind {
	case relayCredit:
		r.credit = count
		r.more.Broadcast()
	case relayClose:
		r.endLocked()
	}
	return r.program
}

// offer gives a circuit that the other relay has begun to the server.
func (r *relayEnd) offer(id uint16) error {
	if r.listener == nil {
		return errors.New("no server listens")
	}
	data, theirs, err := pair()
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	control, theirControl, err := pair()
	if err != nil {
		return err
	}
	defer unix.Close(theirControl)
	r.begin(id, data, control)
	line := circuit.Line{Verb: "call", Keys: []circuit.Key{{Key: "service", Value: service}, {Key: "machine", Value: "grumpy"}}}
	return sendFds(r.listener, line, theirs, theirControl)
}
