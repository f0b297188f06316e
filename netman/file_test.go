package main

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/netman/fusedev"
	"dnet/netman/node"
)

// kernel is the other side of a mount: it asks what the octets of a fuzzer say, as programs could have it ask, and keeps account of what
// is answered. Calls are from one file to another of the same machine.
type kernel struct {
	t      *testing.T
	in     []byte
	l      *loop
	m      *mount
	fd     int
	unique uint64
	asked  map[uint64]fusedev.Op // and not answered
	nodes  []uint64
	open   []uint64 // handles
	dirs   []uint64
	buf    []byte
}

func newKernel(t *testing.T, in []byte) *kernel {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	t.Cleanup(func() {
		for _, fd := range []int{pair[0], pair[1], l.epfd, l.wake} {
			unix.Close(fd)
		}
	})
	l.node = node.New(node.Config{Machine: "here", BootID: 1, Seed: 1})
	l.node.Start(l.now, &l.out)
	k := &kernel{t: t, in: in, l: l, fd: pair[1], asked: map[uint64]fusedev.Op{}, buf: make([]byte, fusedev.MaxRequest)}
	l.mount = l.newMount(fusedev.New(pair[0], ""))
	k.m = l.mount
	l.users[0] = userName{"root", l.now.Add(365 * 24 * time.Hour)} // there is no keeper to be asked
	k.pass(time.Second)                                            // the name is claimed
	for _, dir := range []uint64{rootNode, listenNode, plainNode, plainListenNode} {
		k.ask(fusedev.Lookup, dir, []byte("x.here\x00"))
	}
	return k
}

func (k *kernel) octet() int {
	if len(k.in) == 0 {
		return 0
	}
	b := k.in[0]
	k.in = k.in[1:]
	return int(b)
}

// pick is one of some numbers, or one that is not among them.
func (k *kernel) pick(of []uint64) uint64 {
	i := k.octet()
	if len(of) == 0 || i == 255 {
		return 99999
	}
	return of[i%len(of)]
}

// ask sends a request and takes what is answered, to it and to others.
func (k *kernel) ask(op fusedev.Op, node uint64, parts ...any) {
	k.unique += 2
	b := make([]byte, 40)
	for _, part := range parts {
		switch v := part.(type) {
		case uint32:
			b = binary.NativeEndian.AppendUint32(b, v)
		case uint64:
			b = binary.NativeEndian.AppendUint64(b, v)
		case []byte:
			b = append(b, v...)
		}
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint32(b[4:], uint32(op))
	binary.NativeEndian.PutUint64(b[8:], k.unique)
	binary.NativeEndian.PutUint64(b[16:], node)
	if op != fusedev.Interrupt && op != fusedev.Forget {
		k.asked[k.unique] = op
	}
	if _, err := unix.Write(k.fd, b); err != nil {
		k.t.Fatal(err)
	}
	k.m.ready(0)
	k.l.flush()
	k.hear()
}

// hear takes the answers: each to a request that was asked and not answered.
func (k *kernel) hear() {
	for {
		n, err := unix.Read(k.fd, k.buf)
		if err != nil {
			return
		}
		length, status := binary.NativeEndian.Uint32(k.buf), int32(binary.NativeEndian.Uint32(k.buf[4:]))
		unique := binary.NativeEndian.Uint64(k.buf[8:])
		op, asked := k.asked[unique]
		switch {
		case int(length) != n:
			k.t.Fatalf("an answer of %d octets says %d", n, length)
		case unique == 0 && status == 1: // a knock
			continue
		case !asked:
			k.t.Fatalf("an answer to %d, which was not asked, or answered", unique)
		case status > 0 || status < -200:
			k.t.Fatalf("%v is answered by %d", op, status)
		}
		delete(k.asked, unique)
		if status != 0 {
			continue
		}
		switch said := k.buf[16:n]; op {
		case fusedev.Lookup:
			k.nodes = append(k.nodes, binary.NativeEndian.Uint64(said))
		case fusedev.Open:
			k.open = append(k.open, binary.NativeEndian.Uint64(said))
		case fusedev.OpenDir:
			k.dirs = append(k.dirs, binary.NativeEndian.Uint64(said))
		}
	}
}

// pass lets time go by for the node.
func (k *kernel) pass(d time.Duration) {
	for end := k.l.now.Add(d); ; {
		due := k.l.node.Deadline()
		if due.IsZero() || due.After(end) {
			k.l.now = end
			return
		}
		if due.After(k.l.now) {
			k.l.now = due
		}
		k.l.node.HandleTimeout(k.l.now, &k.l.out)
		k.l.flush()
		k.hear()
	}
}

// sizes are those at which something changes.
var sizes = []int{0, 1, 2, 3, 100, 4096, 65535, 65536, 65537, 131072}

// step is one thing that a program could do.
func (k *kernel) step() {
	const u32, u64 = uint32(0), uint64(0)
	flags := uint32(0)
	if k.octet()%4 == 0 {
		flags = unix.O_NONBLOCK
	}
	size := sizes[k.octet()%len(sizes)]
	switch k.octet() % 12 {
	case 0, 1:
		if len(k.asked) < 100 && len(k.open) < 100 {
			k.ask(fusedev.Open, k.pick(k.nodes), flags|uint32(k.octet()%3), u32)
		}
	case 2, 3:
		k.ask(fusedev.Read, 0, k.pick(k.open), u64, uint32(size), u32, u64, flags, u32)
	case 4, 5:
		data := make([]byte, size)
		if size > 0 {
			data[0] = []byte{0, 0x10, 0x80, 0x90, 0, 0, 1}[k.octet()%7]
		}
		k.ask(fusedev.Write, 0, k.pick(k.open), uint64(k.octet()), uint32(size), u32, u64, flags, u32, data)
	case 6:
		k.ask(fusedev.Poll, 0, k.pick(k.open), uint64(k.octet()), uint32(k.octet()%2), uint32(unix.POLLIN|unix.POLLOUT))
	case 7:
		command := uint32('N'<<8 | 1 + k.octet()%7)
		in, out := ioctlSizes[command][0], ioctlSizes[command][1]
		data := make([]byte, in)
		for i := range min(in, 4) {
			data[i] = byte(k.octet())
		}
		k.ask(fusedev.Ioctl, 0, k.pick(k.open), u32, command, u64, uint32(in), uint32(out), data)
	case 8:
		if len(k.open) > 0 {
			i := k.octet() % len(k.open)
			k.ask(fusedev.Release, 0, k.open[i], u32, u32, u64)
			k.open = append(k.open[:i], k.open[i+1:]...)
		}
	case 9:
		k.interrupt(uint64(k.octet()))
	case 10:
		k.ask(fusedev.GetXattr, k.pick(k.nodes), uint32(size), u32, []byte(xattrUser+"\x00"))
		k.ask(fusedev.GetAttr, k.pick(k.nodes), u32, u32, u64)
		k.ask(fusedev.OpenDir, rootNode, u32, u32)
		k.ask(fusedev.ReadDir, rootNode, k.pick(k.dirs), uint64(k.octet()), uint32(size), u32, u64, u32, u32)
	case 11:
		k.pass(time.Duration(k.octet()) * time.Millisecond)
	}
}

// interrupt ends what was asked so many requests ago.
func (k *kernel) interrupt(ago uint64) { k.ask(fusedev.Interrupt, 0, k.unique-2*ago) }

// end has all programs end: nothing may be left.
func (k *kernel) end() {
	for unique := range k.asked {
		k.ask(fusedev.Interrupt, 0, unique)
	}
	for _, handle := range k.open {
		k.ask(fusedev.Release, 0, handle, uint32(0), uint32(0), uint64(0))
	}
	k.pass(2 * time.Minute)
	for h := range k.l.holders {
		if call, waits := h.(*waitingCall); waits {
			k.t.Fatalf("a call to %s waits, and its caller has gone", call.c.Service)
		}
		k.t.Fatalf("a circuit is left: %+v", h.row())
	}
	if len(k.asked)+len(k.m.files)+len(k.m.parked)+k.m.octets > 0 {
		k.t.Fatalf("%d requests are not answered; %d files, %d requests, %d octets are left", len(k.asked), len(k.m.files), len(k.m.parked),
			k.m.octets)
	}
	for name, s := range k.m.servers {
		if len(s.opens)+len(s.calls)+s.circuits+s.service.running > 0 {
			k.t.Fatalf("of the server of %s there are %d opens, %d calls, %d circuits left", name, len(s.opens), len(s.calls), s.circuits)
		}
		s.linger.Stop()
	}
	if err := k.l.node.Check(); err != nil {
		k.t.Fatal(err)
	}
}

// Whatever programs do with files, each request is answered once, and when all have ended nothing is left.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("listen and call"))
	f.Add([]byte{1, 0, 0, 1, 2, 1, 0, 0, 0, 2, 1, 4, 4, 0, 0, 0, 1, 4, 2, 1, 0, 0, 8, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		hang := time.AfterFunc(20*time.Second, func() { panic("it does not end") })
		defer hang.Stop()
		k := newKernel(t, in[:min(len(in), 2000)])
		for len(k.in) > 0 {
			k.step()
		}
		k.end()
	})
}
