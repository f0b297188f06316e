package main

import (
	"errors"
	"log"

	"golang.org/x/sys/unix"

	"dnet/netman/fusedev"
)

// Limits of files (protocol.md 5).
const (
	maxFiles       = 16384    // open; a further open fails with ENFILE
	maxNodes       = 65536    // names that were looked up; the oldest one that is not open is forgotten
	maxParkedReads = 64       // reads of one file that wait; a further one fails with ENOBUFS
	maxParked      = 64 << 20 // octets of all writes that wait; a further one fails with ENOBUFS
	requestsAtOnce = 32       // taken from the kernel before others get their turn
)

// mount is /netphys: circuits as files. The kernel's requests are taken from the FUSE device by the loop, and each is answered at once,
// or parked until an event of a circuit answers it.
type mount struct {
	l    *loop
	dev  *fusedev.Device
	desc *desc
	req  fusedev.Request

	tree
	files   map[uint64]*file // by handle
	handles uint64           // the last one given
	parked  map[uint64]*parked
	octets  int                    // of the writes among them
	servers map[string]*fileServer // by name
}

// parked is a request that cannot be answered yet.
type parked struct {
	unique uint64
	f      *file
	op     fusedev.Op
	size   int    // Read: the room for the answer
	data   []byte // Write
	done   int    // Write, plain: how many octets of it are on their way
}

// newMount serves a mount that the keeper has made.
func (l *loop) newMount(dev *fusedev.Device) *mount {
	m := &mount{
		l: l, dev: dev, tree: newTree(l.now), files: map[uint64]*file{}, parked: map[uint64]*parked{}, servers: map[string]*fileServer{},
	}
	m.desc = &desc{fd: dev.FD, mask: unix.EPOLLIN, ready: m.ready}
	l.watch(m.desc)
	return m
}

// close ends all that waits. What is open there fails with ENOTCONN from then on; the keeper unmounts.
func (m *mount) close() {
	if m == nil {
		return
	}
	for unique := range m.parked {
		m.dev.Fail(unique, unix.EHOSTDOWN)
	}
	m.l.forget(m.desc)
}

// ready takes the kernel's requests.
func (m *mount) ready(uint32) {
	for n, octets := 0, 0; n < requestsAtOnce && octets < turnOctets; n++ {
		err := m.dev.Next(&m.req)
		switch {
		case err == unix.EAGAIN:
			return
		case errors.Is(err, fusedev.ErrBad):
			m.l.count("netphys: requests not understood")
			continue
		case err != nil:
			m.gone(err)
			return
		}
		octets += len(m.req.Data)
		m.handle(&m.req)
	}
}

// gone is when somebody else has ended the mount.
func (m *mount) gone(err error) {
	log.Printf("netphys %s: %v: somebody has unmounted it; there are no circuits as files until netman starts again", m.dev.Dir, err)
	for _, f := range m.files {
		f.release()
	}
	clear(m.parked)
	m.octets = 0
	m.l.forget(m.desc)
	m.dev.FD = -1 // there is nothing left to be unmounted
}

// handle carries out one request.
func (m *mount) handle(r *fusedev.Request) {
	switch r.Op {
	case fusedev.Open:
		m.open(r)
	case fusedev.Read, fusedev.Write, fusedev.Poll, fusedev.Ioctl:
		m.handleOpen(r)
	case fusedev.Release:
		if f := m.files[r.Handle]; f != nil {
			f.release()
		}
		m.dev.Fail(r.Unique, 0)
	case fusedev.Interrupt:
		m.interrupt(r.Target)
	case fusedev.Flush, fusedev.Fsync:
		m.dev.Fail(r.Unique, 0)
	case fusedev.Forget, fusedev.BatchForget:
		m.forget(r.Forgotten)
	case fusedev.Destroy:
		m.dev.Fail(r.Unique, 0)
	default:
		m.handleTree(r)
	}
}

// handleOpen carries out a request for an open file.
func (m *mount) handleOpen(r *fusedev.Request) {
	f := m.files[r.Handle]
	switch {
	case f == nil && r.Op == fusedev.Ioctl:
		m.dev.Fail(r.Unique, unix.ENOTTY) // of a directory
	case f == nil:
		m.dev.Fail(r.Unique, unix.EBADF)
	case r.Op == fusedev.Read:
		f.read(r)
	case r.Op == fusedev.Write:
		f.write(r)
	case r.Op == fusedev.Poll:
		f.pollFor(r)
	default:
		f.ioctl(r)
	}
}

// park keeps a request until it can be answered.
func (m *mount) park(p *parked) *parked {
	m.parked[p.unique] = p
	m.octets += len(p.data)
	return p
}

// unpark is when a request is about to be answered.
func (m *mount) unpark(p *parked) {
	delete(m.parked, p.unique)
	m.octets -= len(p.data)
}

// interrupt ends a request that waits, for its caller has a signal to look after. One that has been answered meanwhile stays so. There
// is no reply to Interrupt itself.
func (m *mount) interrupt(unique uint64) {
	p := m.parked[unique]
	if p == nil {
		return
	}
	m.unpark(p)
	f := p.f
	switch p.op {
	case fusedev.Open:
		f.opening = nil
		m.dev.Fail(unique, unix.EINTR)
		f.release() // the call is given up, or the server does not wait any more
	case fusedev.Read:
		f.reads = without(f.reads, p)
		m.dev.Fail(unique, unix.EINTR)
	case fusedev.Write:
		f.writes = without(f.writes, p)
		f.answerWrite(p, unix.EINTR)
	}
}

// without is a list without one of its members.
func without(list []*parked, p *parked) []*parked {
	kept := list[:0]
	for _, q := range list {
		if q != p {
			kept = append(kept, q)
		}
	}
	clear(list[len(kept):])
	return kept
}
