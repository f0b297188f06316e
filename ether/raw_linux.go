package ether

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// RawConfig says how a Raw is opened. The zero value is good for a station that hears no group.
type RawConfig struct {
	Group  Addr // group address to join; zero: none
	RcvBuf int  // receive buffer to ask for, in octets; 0: 16 MiB
	Apart  bool // control messages and SABME come by a socket of their own: see Raw.HailFd
}

// RawStats are what a Raw counts.
type RawStats struct {
	Drops     uint64 // frames the kernel dropped because the receive buffer was full
	HailDrops uint64 // of those that come apart
	Truncated uint64 // frames longer than the room in the batch, dropped
	Full      uint64 // sends that the wire had no room for
}

// Raw is a Port on an interface of this machine. The kernel passes on only frames of its Ethertype, without a VLAN tag, to this
// station or its group, from a station, and none that this machine sent (protocol.md 1).
//
// Address and MTU are those the interface had at Open. When a Watcher tells of a change, open another Raw.
type Raw struct {
	fd        int
	hails     int  // the socket for what strangers may send; -1: all come by fd
	hailed    bool // the next Recv reads that one
	name      string
	addr      Addr
	mtu       int
	rcvBuf    int
	down      error  // what Recv and Send return when the interface is down
	receiving *Batch // the batch that rx points into
	rx, tx    vector
	stats     RawStats
}

// mmsghdr is the struct of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// vector is the argument of recvmmsg(2) or sendmmsg(2): batchMax frames of two parts each, the frame and its padding. It is
// allocated once, so that nothing is while frames move.
type vector struct {
	msgs []mmsghdr
	iovs []unix.Iovec
}

// padding is what is sent after a short frame.
var padding [MinFrame]byte

// Open returns a Port on the interface for frames of one Ethertype. Errors: ErrNoInterface, ErrNotEthernet, ErrDown,
// ErrNotPermitted (CAP_NET_RAW is needed), or what the kernel says.
func Open(ifname string, ethertype uint16, cfg RawConfig) (*Raw, error) {
	link, err := linkNamed(ifname)
	if err != nil {
		return nil, err
	}
	down := errDown(ifname)
	if !link.adminUp {
		return nil, down
	}
	r := &Raw{fd: -1, hails: -1, name: ifname, addr: link.Addr, mtu: link.MTU, down: down, rx: newVector(), tx: newVector()}
	if cfg.RcvBuf <= 0 {
		cfg.RcvBuf = defaultRcvBuf
	}
	if !cfg.Apart {
		r.fd, r.rcvBuf, err = openSocket(link, ethertype, cfg.Group, all, cfg.RcvBuf)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	if r.fd, r.rcvBuf, err = openSocket(link, ethertype, cfg.Group, ofLinks, cfg.RcvBuf); err != nil {
		return nil, err
	}
	if r.hails, _, err = openSocket(link, ethertype, cfg.Group, hails, hailRcvBuf); err != nil {
		unix.Close(r.fd)
		return nil, err
	}
	return r, nil
}

// openSocket opens the packet socket for a part of the frames, and tells the size of its receive buffer.
func openSocket(link Link, ethertype uint16, group Addr, p part, rcvBuf int) (fd, size int, err error) {
	program, err := bpf.Assemble(filter(ethertype, link.Addr, group, p))
	if err != nil {
		return -1, 0, fmt.Errorf("%s: socket filter: %w", link.Name, err)
	}
	nif := &net.Interface{Index: link.Index, Name: link.Name, MTU: link.MTU, HardwareAddr: link.Addr[:]}
	conn, err := packet.Listen(nif, packet.Raw, int(ethertype), &packet.Config{Filter: program})
	if err != nil {
		return -1, 0, openError(link.Name, err)
	}
	defer conn.Close()
	if group != (Addr{}) {
		if err := conn.JoinGroup(group[:]); err != nil {
			return -1, 0, fmt.Errorf("%s: joining %v: %w", link.Name, group, err)
		}
	}
	if fd, err = ownDescriptor(conn); err != nil {
		return -1, 0, fmt.Errorf("%s: %w", link.Name, err)
	}
	if size, err = setRcvBuf(fd, rcvBuf); err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("%s: receive buffer: %w", link.Name, err)
	}
	return fd, size, nil
}

// Adopt returns a Port on the packet sockets of a Raw that another process has opened, Fd and HailFd (-1: none), which are this one's
// now: they are closed on an error too. The link is as it was then.
func Adopt(fd, hails int, link Link) (*Raw, error) {
	r := &Raw{fd: fd, hails: hails, name: link.Name, addr: link.Addr, mtu: link.MTU, down: errDown(link.Name), rx: newVector(), tx: newVector()}
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s: receive buffer: %w", link.Name, err)
	}
	r.rcvBuf = size
	return r, nil
}

func errDown(ifname string) error {
	return fmt.Errorf("%s: %w: ip link set %s up", ifname, ErrDown, ifname)
}

// openError says what a refused packet socket means.
func openError(ifname string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w to open a packet socket: be root, or give the program CAP_NET_RAW", ifname, ErrNotPermitted)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: %w", ifname, ErrNoInterface)
	}
	return fmt.Errorf("%s: packet socket: %w", ifname, err)
}

// ownDescriptor returns a second descriptor of the socket, in which it lives on when conn is closed. That of conn ends with conn,
// and is in the epoll set of the Go runtime, which would hear of every frame beside the owner of the Port.
func ownDescriptor(conn *packet.Conn) (int, error) {
	sc, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	err = sc.Control(func(of uintptr) { fd, dupErr = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(err, dupErr)
}

// setRcvBuf asks for the receive buffer, beyond the limit for ordinary sockets where that is allowed (CAP_NET_ADMIN), and reads
// back what it became.
func setRcvBuf(fd, size int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			return 0, err
		}
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
}

func newVector() vector {
	v := vector{msgs: make([]mmsghdr, batchMax), iovs: make([]unix.Iovec, 2*batchMax)}
	for i := range v.msgs {
		v.iovs[2*i+1].Base = &padding[0]
		v.msgs[i].hdr.Iov = &v.iovs[2*i]
		v.msgs[i].hdr.SetIovlen(1)
	}
	return v
}

// point sets the memory of the frame at i.
func (v *vector) point(i int, memory []byte) {
	v.iovs[2*i].Base = unsafe.SliceData(memory)
	v.iovs[2*i].SetLen(len(memory))
}

// call is recvmmsg(2) or sendmmsg(2) of the first n frames, which with MSG_DONTWAIT never block: the raw system call, which does
// not tell the scheduler, is right for them.
func (v *vector) call(trap uintptr, fd, n int) (int, unix.Errno) {
	for {
		done, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v.msgs))), uintptr(n),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(done), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// Addr implements Port.
func (r *Raw) Addr() Addr { return r.addr }

// MTU implements Port.
func (r *Raw) MTU() int { return r.mtu }

// Fd implements Port.
func (r *Raw) Fd() int { return r.fd }

// HailFd is the descriptor of the socket by which control messages and SABME come, if they come apart; else -1. When it is readable call
// Hailed, and then Recv on the outermost Port. So a flood of what needs no link fills that socket and not the other, and whoever
// takes the two in turn loses nothing of the links that are up.
func (r *Raw) HailFd() int { return r.hails }

// Hailed has the next Recv read what strangers may send.
func (r *Raw) Hailed() { r.hailed = r.hails >= 0 }

// Name is the name the interface had at Open.
func (r *Raw) Name() string { return r.name }

// RcvBuf is the size of the receive buffer as the kernel counts it, in octets: twice what was asked for, or less where the limit
// for ordinary sockets holds (sysctl net.core.rmem_max). A frame takes more of it than its length, as its bookkeeping counts too:
// measured on veth, 2,304 octets for a full one at MTU 1500, 13,100 at 9000, and 832 for the shortest.
func (r *Raw) RcvBuf() int { return r.rcvBuf }

// Drops is the number of frames the kernel dropped since Open because the receive buffer was full.
func (r *Raw) Drops() uint64 {
	r.stats.Drops += drops(r.fd)
	r.stats.HailDrops += drops(r.hails)
	return r.stats.Drops
}

// drops is what a socket has dropped since it was asked last: reading the kernel's counters clears them (packet(7), PACKET_STATISTICS).
func drops(fd int) uint64 {
	if fd < 0 {
		return 0
	}
	s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

// Stats returns the counters since Open.
func (r *Raw) Stats() RawStats {
	r.Drops()
	return r.stats
}

// Recv implements Port. It allocates nothing. At most 64 frames come at once.
func (r *Raw) Recv(b *Batch) (int, error) {
	if r.fd < 0 {
		return 0, ErrClosed
	}
	room := min(len(b.slots), batchMax)
	if r.receiving != b {
		for i, slot := range b.slots[:room] {
			r.rx.point(i, slot)
		}
		r.receiving = b
	}
	fd := r.fd
	if r.hailed {
		fd, r.hailed = r.hails, false
	}
	came, errno := r.rx.call(unix.SYS_RECVMMSG, fd, room)
	if errno != 0 {
		if errno == unix.EAGAIN {
			return 0, nil
		}
		return 0, r.wireError("receiving", errno)
	}
	n := 0
	for i := range came {
		m := &r.rx.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.stats.Truncated++
			continue
		}
		b.Frames[n] = b.slots[i][:m.n]
		n++
	}
	return n, nil
}

// Send implements Port. Frames shorter than MinFrame are padded with zeros; the memory after them is not touched. It allocates
// nothing.
func (r *Raw) Send(frames [][]byte) (int, error) {
	if r.fd < 0 {
		return 0, ErrClosed
	}
	sent := 0
	for sent < len(frames) {
		n, wrong := r.load(frames[sent:])
		if n == 0 {
			return sent, wrong
		}
		// A count below n tells that the next frame failed but not why; the next call tells.
		done, errno := r.tx.call(unix.SYS_SENDMMSG, r.fd, n)
		switch errno {
		case 0:
			sent += done
		case unix.EAGAIN, unix.ENOBUFS: // the socket's send buffer, the queue of the interface
			r.stats.Full++
			return sent, nil
		default:
			return sent, r.wireError("sending", errno)
		}
	}
	return sent, nil
}

// load points tx at the first frames, as many as one call takes. It stops at a frame of a wrong length, and returns why when that
// is the first.
func (r *Raw) load(frames [][]byte) (int, error) {
	n := min(len(frames), batchMax)
	for i, frame := range frames[:n] {
		if err := checkLen(frame, r.mtu); err != nil {
			return i, fmt.Errorf("%s: %w: %d octets", r.name, err, len(frame))
		}
		r.tx.point(i, frame)
		parts := 1
		if pad := MinFrame - len(frame); pad > 0 {
			r.tx.iovs[2*i+1].SetLen(pad)
			parts = 2
		}
		r.tx.msgs[i].hdr.SetIovlen(parts)
	}
	return n, nil
}

// wireError makes an error of the port of what the kernel says.
func (r *Raw) wireError(what string, errno unix.Errno) error {
	switch errno {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV: // down; removed
		return r.down
	case unix.EMSGSIZE: // the MTU became smaller after Open
		return fmt.Errorf("%s: %w", r.name, ErrTooLong)
	}
	return fmt.Errorf("%s: %s: %w", r.name, what, errno)
}

// Close implements Port.
func (r *Raw) Close() error {
	if r.fd < 0 {
		return nil
	}
	if r.hails >= 0 {
		unix.Close(r.hails)
	}
	fd := r.fd
	r.fd, r.hails = -1, -1
	return unix.Close(fd)
}
