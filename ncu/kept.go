package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// A session that is kept listens on an abstract Unix socket. A later `ncu -B` of the same user looks for the one that
// knows its client's token, and hands it the circuit:
//
//	to the holder: token 16 | caller's machine, NUL, caller's user     with data and control
//	back:          1 octet: 0 no, 1 taken; later 0 when the circuit has been closed in order, then the end
//
// Both look at who the other is: anybody may make a socket of that name.

// maxKept bounds the sessions of one user that are kept at a time; a further one ends with its circuit.
const maxKept = 32

// handTime bounds each step of handing over.
const handTime = 5 * time.Second

func keptName(slot int) string { return fmt.Sprintf("@dnet/ncu/%d/%d", os.Getuid(), slot) }

// keep makes the session one that outlives its circuits by so long.
func (h *holder) keep(d time.Duration) {
	if d <= 0 {
		return
	}
	for slot := range maxKept {
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: keptName(slot)})
		if err != nil {
			continue
		}
		rand.Read(h.token[:])
		h.kept = d
		go h.listen(l)
		return
	}
}

// sessionMessage tells the client by what to take the session up again, and how long it may.
func (h *holder) sessionMessage() []byte {
	b := append(message(kindSession), h.token[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(h.kept/time.Second))
}

// listen takes circuits from later servers.
func (h *holder) listen(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go h.receiveCircuit(c)
	}
}

// receiveCircuit takes a circuit if its client is the session's.
func (h *holder) receiveCircuit(c *net.UnixConn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(handTime))
	if !ours(c) {
		return
	}
	record := make([]byte, tokenLength+256)
	n, fds, err := receiveFds(c, record)
	if err != nil {
		return
	}
	want := append(append([]byte(nil), h.token[:]...), caller(h.audit.Peer)...)
	if subtle.ConstantTimeCompare(record[:n], want) != 1 || len(fds) != 2 {
		circuit.CloseFds(fds)
		c.Write([]byte{0})
		return
	}
	c.Write([]byte{1})
	conn, err := circuit.Adopt(fds[0], fds[1], h.audit.Peer)
	if err != nil {
		return
	}
	c.SetDeadline(time.Time{})
	r := receiver{next: conn.Next}
	k, value, err := r.receive()
	if err != nil || k != kindResume {
		return
	}
	again, err := parseResume(value)
	if err != nil {
		fail(conn, err)
		return
	}
	if h.serve(conn, r, again.next, true) {
		c.Write([]byte{0})
		close(h.told)
		return
	}
	<-conn.Done()
}

// caller is who may take a session up again: the user of the machine who began it.
func caller(p circuit.Peer) string { return p.Machine + "\x00" + p.User }

// ours tells whether the other end of a socket is this user's.
func ours(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	same := false
	raw.Control(func(fd uintptr) {
		who, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		same = err == nil && int(who.Uid) == os.Getuid()
	})
	return same
}

func receiveFds(c *net.UnixConn, p []byte) (n int, fds []int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, fds, got = circuit.RecvFds(int(fd), p)
		return got != unix.EAGAIN
	})
	return n, fds, errors.Join(err, got)
}

// handOver gives this server's circuit to the holder of the session, and stays until that is done with it: netman takes
// the end of its server for the end of the circuit.
func handOver(r resume) int {
	peer := circuit.InheritedPeer()
	for slot := range maxKept {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: keptName(slot)})
		if err != nil {
			continue
		}
		if taken, status := offer(c, r.token, peer); taken {
			return status
		}
	}
	return refuseResume()
}

// offer offers the circuit to one holder.
func offer(c *net.UnixConn, t token, peer circuit.Peer) (taken bool, status int) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(handTime))
	if !ours(c) {
		return false, 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false, 0
	}
	const data, control = 0, 3 // a transient server's (protocol.md 5)
	err = raw.Control(func(fd uintptr) { err = circuit.SendFds(int(fd), append(t[:], caller(peer)...), data, control) })
	answer := make([]byte, 1)
	if n, err := c.Read(answer); err != nil || n != 1 || answer[0] != 1 {
		return false, 0
	}
	unix.Close(1)
	unix.Close(data)
	unix.Close(control)
	c.SetDeadline(time.Time{})
	if n, err := c.Read(answer); err != nil || n != 1 || answer[0] != 0 {
		return true, exitFailure
	}
	return true, 0
}

// refuseResume tells the client that nobody holds its session.
func refuseResume() int {
	conn, err := circuit.Inherited()
	if err != nil {
		return exitFailure
	}
	fail(conn, errors.New("there is no such session any more"))
	return 0
}
