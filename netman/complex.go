package main

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/node"
)

// maxComplex is how many complex servers a netman has: each may fill a budget of its own.
const maxComplex = 32

// recordsPerTurn bounds the packets that are read from a complex server before others get their turn, and so does turnOctets.
const recordsPerTurn = 16 * recordsAtOnce

// complexServer is a resident server that has all its circuits on one descriptor (protocol.md 5). The node has the circuits; this is
// the descriptor. It is always read, for the windows bound what can come, and written while it takes anything.
type complexServer struct {
	l       *loop
	k       *node.Complex
	door    *desc // the connection that registered the name: its end withdraws it
	packets *desc // the descriptor: its end is the program's
	service *service
	shared  bool
	unsent  [][]byte // packets that the descriptor did not take
}

// listenComplex registers a name for the visitor, and gives it the descriptor for its calls.
func (v *visitor) listenComplex(name string, shared bool) {
	l := v.l
	if len(l.complexes) >= maxComplex {
		v.fail("ENOBUFS", fmt.Sprintf("%d complex servers are registered already", maxComplex))
		return
	}
	pair, err := dataPair()
	if err != nil {
		v.fail("EMFILE", err.Error())
		return
	}
	defer unix.Close(pair[1])
	srv := &complexServer{l: l, door: v.desc, packets: &desc{fd: pair[0]}, shared: shared}
	s, errno, why := l.register(name, v.uid, srv)
	if s == nil {
		unix.Close(pair[0])
		v.fail(errno, why)
		return
	}
	srv.service = s
	line := circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "service", Value: name}}}
	if err := circuit.SendFds(v.desc.fd, line.Append(nil), pair[1]); err != nil {
		unix.Close(pair[0])
		srv.withdraw()
		return
	}
	v.desc.ready = srv.doorReady
	l.complexes[srv] = struct{}{}
	srv.packets.ready = srv.ready
	srv.packets.mask = unix.EPOLLIN
	l.watch(srv.packets)
	srv.k = l.node.NewComplex(l.now, name, &l.out)
	srv.k.User = srv
}

// doorReady is called when the program speaks on the connection that registered the name, which it must not, or has closed it.
func (srv *complexServer) doorReady(uint32) {
	n, err := unix.Read(srv.door.fd, srv.l.line)
	if err == unix.EAGAIN || err == unix.EINTR || n > 0 {
		return
	}
	srv.withdraw()
}

// withdraw gives the name up. The circuits stay.
func (srv *complexServer) withdraw() {
	if srv.door.fd >= 0 {
		srv.l.withdraw(srv.service, srv)
		srv.l.forget(srv.door)
	}
}

func (srv *complexServer) shares() bool { return srv.shared }

func (srv *complexServer) offer(c *node.Circuit) bool { return srv.k.Offer(srv.l.now, c, &srv.l.out) }

// ready is called by the loop for the descriptor.
func (srv *complexServer) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		srv.toProgram()
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		srv.fromProgram()
	}
}

// fromProgram takes the packets that the program wrote.
func (srv *complexServer) fromProgram() {
	l := srv.l
	for octets, n := 0, 0; octets < turnOctets && n < recordsPerTurn; n += recordsAtOnce {
		records := l.fromPrograms
		switch errno := records.Recv(srv.packets.fd, recordsAtOnce); {
		case errno == unix.EINTR || errno == unix.ECONNRESET: // after ECONNRESET what is queued can still be read
			continue
		case errno == unix.EAGAIN:
			return
		case errno != 0 || len(records.Records) == 0:
			srv.gone()
			return
		}
		for _, packet := range records.Records {
			octets += len(packet)
			srv.k.HandlePacket(l.now, packet, &l.out)
		}
	}
}

// toProgram writes packets while the descriptor takes them, at most turnOctets before others get their turn.
func (srv *complexServer) toProgram() {
	l, records := srv.l, srv.l.toPrograms
	for octets := 0; srv.packets.fd >= 0; {
		if octets >= turnOctets {
			l.wait(srv.packets, unix.EPOLLIN|unix.EPOLLOUT)
			return
		}
		records.Records = append(records.Records[:0], srv.unsent...)
		srv.unsent = nil
		for len(records.Records) < records.Cap() {
			packet := srv.k.AppendNext(l.now, records.Slot(len(records.Records))[:0], &l.out)
			if len(packet) == 0 {
				break
			}
			records.Records = append(records.Records, packet)
			octets += len(packet)
		}
		if len(records.Records) == 0 {
			l.wait(srv.packets, unix.EPOLLIN)
			return
		}
		n, errno := records.Send(srv.packets.fd)
		if errno != 0 && errno != unix.EAGAIN {
			return // the end, which reading tells
		}
		if n < len(records.Records) {
			for _, packet := range records.Records[n:] {
				srv.unsent = append(srv.unsent, bytes.Clone(packet))
			}
			l.wait(srv.packets, unix.EPOLLIN|unix.EPOLLOUT)
			return
		}
	}
}

// gone is when the program has closed the descriptor, or has died.
func (srv *complexServer) gone() {
	srv.withdraw()
	srv.l.forget(srv.packets)
	srv.unsent = nil
	delete(srv.l.complexes, srv)
	srv.k.Close(srv.l.now, &srv.l.out)
}

// circuits is how many it serves.
func (srv *complexServer) circuits() (n int) {
	srv.k.Each(func(*node.Circuit) { n++ })
	return n
}
