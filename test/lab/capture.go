package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Capture is a recording of every frame that crosses the bridge.
type Capture struct {
	socket *os.File
	file   *os.File
	done   chan error
	closed bool
}

// The pcap format with nanoseconds: header {magic, version 2.4, zone, accuracy, largest frame, link type 1 = Ethernet},
// then for each frame {seconds, nanoseconds, octets kept, octets on the wire, octets}.
const (
	pcapMagic = 0xa1b23c4d
	pcapSnap  = 1 << 18
)

// Capture begins to record what crosses the bridge in a new file, in pcap format. It ends with Capture.Close or with the lab.
func (l *Lab) Capture(file string) *Capture {
	l.t.Helper()
	c, err := startCapture(l.bridge, file)
	if err != nil {
		l.t.Fatalf("lab: capture: %v", err)
	}
	l.captures = append(l.captures, c)
	return c
}

func startCapture(ifname, file string) (*Capture, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	c := &Capture{socket: os.NewFile(uintptr(fd), "capture"), done: make(chan error, 1)}
	// A bridge that is promiscuous is given the frames between its ports too.
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}))
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20) // as much as the kernel grants
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index})
	}
	if err == nil {
		c.file, err = os.Create(file)
	}
	if err != nil {
		c.socket.Close()
		return nil, err
	}
	go func() { c.done <- c.record() }()
	return c, nil
}

// record writes frames until the read deadline that Close sets, and no frame is left.
func (c *Capture) record() error {
	header := make([]byte, 0, 24)
	header = binary.LittleEndian.AppendUint32(header, pcapMagic)
	header = binary.LittleEndian.AppendUint16(header, 2)
	header = binary.LittleEndian.AppendUint16(header, 4)
	header = append(header, make([]byte, 8)...)
	header = binary.LittleEndian.AppendUint32(header, pcapSnap)
	header = binary.LittleEndian.AppendUint32(header, 1)
	if _, err := c.file.Write(header); err != nil {
		return err
	}
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	frame, control := make([]byte, pcapSnap), make([]byte, 256)
	for {
		var n, oob int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, oob, _, _, failed = unix.Recvmsg(int(fd), frame, control, 0)
			return failed != unix.EAGAIN
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err == nil && failed != unix.EINTR && failed != unix.ENETDOWN {
			err = failed
			if err == nil {
				err = c.write(frame[:n], arrival(control[:oob]))
			}
		}
		if err != nil {
			return err
		}
	}
}

// write appends a frame to the file.
func (c *Capture) write(frame []byte, at time.Time) error {
	record := make([]byte, 0, 16+len(frame))
	record = binary.LittleEndian.AppendUint32(record, uint32(at.Unix()))
	record = binary.LittleEndian.AppendUint32(record, uint32(at.Nanosecond()))
	record = binary.LittleEndian.AppendUint32(record, uint32(len(frame)))
	record = binary.LittleEndian.AppendUint32(record, uint32(len(frame)))
	_, err := c.file.Write(append(record, frame...))
	return err
}

// arrival is the time that the kernel put beside a frame.
func arrival(control []byte) time.Time {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			sec := binary.NativeEndian.Uint64(m.Data)
			nsec := binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Now()
}

// Close ends the recording; every frame that had crossed the bridge is in the file.
func (c *Capture) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	var err error
	if drained := c.drained(); drained != nil {
		err = drained
	}
	c.socket.SetReadDeadline(time.Unix(1, 0))
	return errors.Join(err, <-c.done, c.socket.Close(), c.file.Close())
}

// drained waits until the recorder has taken all that the socket holds.
func (c *Capture) drained() error {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	for end := time.Now().Add(settleLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var n int
		var failed error
		raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		if failed != nil || n == 0 {
			return failed
		}
	}
	return syscall.ETIMEDOUT
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
