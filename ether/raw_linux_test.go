package ether

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

func TestRawCarriesFrames(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	if a.Addr() != stationA || a.MTU() != 1500 || a.Name() != "left" {
		t.Fatalf("port is %v, MTU %d, name %s", a.Addr(), a.MTU(), a.Name())
	}
	room := NewBatch(64, HeaderLen+1500)
	if n, err := b.Recv(room); n != 0 || err != nil {
		t.Fatalf("Recv with nothing there = %d, %v", n, err)
	}

	short := frameOf(stationB, stationA, testType, "to you")
	memory := bytes.Repeat([]byte{0xa5}, 100)
	copy(memory, short)
	mustSend(t, a, memory[:len(short)])
	if got := recvOne(t, b, room); !bytes.Equal(got, padded(short)) {
		t.Errorf("a short frame arrives padded with zeros: got % x", got)
	}
	if !bytes.Equal(memory[len(short):], bytes.Repeat([]byte{0xa5}, 100-len(short))) {
		t.Error("Send wrote behind the frame")
	}

	group := frameOf(testGroup, stationB, testType, "to all")
	mustSend(t, b, group)
	if got := recvOne(t, a, room); !bytes.Equal(got, padded(group)) {
		t.Errorf("frame to the group: got % x", got)
	}

	full := append(frameOf(stationB, stationA, testType, ""), bytes.Repeat([]byte{0x5a}, 1500)...)
	mustSend(t, a, full)
	if got := recvOne(t, b, room); !bytes.Equal(got, full) {
		t.Errorf("a frame of the whole MTU: got %d octets", len(got))
	}
}

func TestRawBatches(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	var frames [][]byte
	for i := range 150 { // of different lengths, padded and not, more than two system calls take
		frames = append(frames, frameOf(stationB, stationA, testType, fmt.Sprintf("%0*d", 3+i, i)))
	}
	mustSend(t, a, frames...)
	for _, size := range []int{1, 7, 64, 100} {
		got := recvN(t, b, NewBatch(size, HeaderLen+1500), 150)
		for i := range frames {
			if !bytes.Equal(got[i], padded(frames[i])) {
				t.Fatalf("batches of %d: frame %d is % x", size, i, got[i])
			}
		}
		mustSend(t, a, frames...)
	}
}

// TestRawFilter sends everything that must not come through, then one frame that must: the kernel keeps the order, so what has
// not come before it does not come. The kernel's count of frames on the socket proves that it was the kernel that dropped them.
func TestRawFilter(t *testing.T) {
	vethPair(t, 1500)
	run(t, "ip link set right promisc on") // the interface lets all in: the filter must not
	b := mustOpen(t, "right", RawConfig{})
	a := tap(t, "left")
	stranger := Addr{0x02, 0, 0, 0, 0, 0x77}
	tagged := append(frameOf(stationB, stationA, 0x8100, "\x00\x05"), frameOf(Addr{}, Addr{}, testType, "vlan 5")[12:]...)
	unwanted := map[string][]byte{
		"another Ethertype":               frameOf(stationB, stationA, 0x88b6, "ethertype"),
		"a VLAN tag":                      tagged,
		"another station":                 frameOf(stranger, stationA, testType, "not for you"),
		"another group":                   frameOf(Addr{0x03, 0x44, 0x4e, 0x45, 0x54, 0x01}, stationA, testType, "group"),
		"everybody":                       frameOf(Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, stationA, testType, "broadcast"),
		"the end of our address only":     frameOf(Addr{0x03, 0, 0, 0, 0, 0x0b}, stationA, testType, "high"),
		"the start of our address only":   frameOf(Addr{0x02, 0, 0, 0, 1, 0x0b}, stationA, testType, "low"),
		"a group as its source":           frameOf(stationB, testGroup, testType, "source"),
		"no more than a header, foreign":  frameOf(stationB, stationA, 0x0800, ""),
		"the group's start, our ending":   frameOf(Addr{0x03, 0x44, 0x4e, 0x45, 0x00, 0x0b}, stationA, testType, "mixed"),
		"a group of the same ending":      frameOf(Addr{0x03, 0x44, 0x4e, 0x46, 0x54, 0x00}, stationA, testType, "group"),
		"our start, the group's ending":   frameOf(Addr{0x02, 0, 0, 0, 0x54, 0}, stationA, testType, "mixed"),
		"another Ethertype, to the group": frameOf(testGroup, stationA, 0x88b6, "group"),
	}
	for name, frame := range unwanted {
		if err := unix.Sendto(a, frame, 0, nil); err != nil {
			t.Fatalf("sending a frame with %s: %v", name, err)
		}
	}
	// Our own outgoing frames, to the group and to our own address.
	mustSend(t, b, frameOf(testGroup, stationB, testType, "own"), frameOf(stationB, stationB, testType, "own"))
	wanted := [][]byte{
		frameOf(stationB, stationA, testType, "to us"),
		frameOf(testGroup, stationA, testType, "to the group"),
		frameOf(stationB, stationB, testType, "from a station that has our address"),
	}
	for _, frame := range wanted {
		if err := unix.Sendto(a, frame, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := recvN(t, b, NewBatch(64, HeaderLen+1500), len(wanted))
	for i := range wanted {
		if i >= len(got) || !bytes.HasPrefix(got[i], wanted[i]) {
			t.Fatalf("got %q, want %q", got, wanted)
		}
	}
	stats, err := unix.GetsockoptTpacketStats(b.Fd(), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	if int(stats.Packets) != len(wanted) {
		t.Errorf("the kernel let %d frames to the socket, want %d", stats.Packets, len(wanted))
	}
}

// TestFilterAlone puts the filter on a socket bound to no Ethertype. That hears outgoing frames, and VLAN tags while they are
// marked, neither of which comes to the socket of a Raw; so the filter is seen to drop them too.
func TestFilterAlone(t *testing.T) {
	vethPair(t, 1500)
	fd, stranger := tap(t, "left"), tap(t, "right")
	program, err := bpf.Assemble(filter(testType, stationA, testGroup, all))
	if err != nil {
		t.Fatal(err)
	}
	filters := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		filters[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fprog := &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	a := mustOpen(t, "left", RawConfig{})
	out, in := frameOf(testGroup, stationA, testType, "out"), frameOf(testGroup, stationB, testType, "in")
	tagged := append(frameOf(stationA, stationB, 0x8100, "\x00\x05"), in[12:]...)
	heard := func() string {
		for buf := make([]byte, 2000); ; {
			pollIn(t, fd)
			n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err != nil {
				t.Fatal(err)
			}
			if n < HeaderLen || string(buf[12:14]) != "\x86\xdd" { // the host's own IPv6 has a word to say about a new interface
				return string(bytes.TrimRight(buf[:n], "\x00"))
			}
		}
	}
	send := func() {
		mustSend(t, a, out)
		for _, frame := range [][]byte{tagged, in} {
			if err := unix.Sendto(stranger, frame, 0, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	untagged := append(bytes.Clone(tagged[:12]), tagged[16:]...) // as the kernel shows it
	for _, want := range [][]byte{out, untagged, in} {
		if got := heard(); got != string(want) {
			t.Fatalf("without the filter the socket hears %q, want %q", got, want)
		}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, fprog); err != nil {
		t.Fatal(err)
	}
	send()
	if got := heard(); got != string(in) {
		t.Fatalf("with the filter the socket hears %q, want %q", got, in)
	}
}

// TestRawGroup: without promiscuous mode the interface hears the group only because the port joined it.
func TestRawGroup(t *testing.T) {
	vethPair(t, 1500)
	joined := func() bool {
		out, err := exec.Command("ip", "maddress", "show", "dev", "right").Output()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(out, []byte(testGroup.String()))
	}
	if joined() {
		t.Fatal("in the group before Open")
	}
	b := mustOpen(t, "right", RawConfig{})
	if !joined() {
		t.Error("not in the group after Open: the membership must outlive the library's descriptor")
	}
	b.Close()
	if joined() {
		t.Error("still in the group after Close")
	}
}

func TestRawWrongLength(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	good := frameOf(stationB, stationA, testType, "good")
	long := append(bytes.Clone(good), make([]byte, 1500)...)
	n, err := a.Send([][]byte{good, good, long, good})
	if n != 2 {
		t.Errorf("sent %d frames before the long one, want 2", n)
	}
	wantError(t, err, ErrTooLong, "left:", "1518")
	n, err = a.Send([][]byte{good[:13]})
	if n != 0 {
		t.Errorf("sent %d frames, want none", n)
	}
	wantError(t, err, ErrTooShort, "13")
	if got := recvN(t, b, NewBatch(64, 1514), 2); len(got) != 2 {
		t.Errorf("%d frames arrived, want 2", len(got))
	}

	run(t, "ip link set left mtu 1000")
	n, err = a.Send([][]byte{good, long[:1514]})
	if n != 1 {
		t.Errorf("sent %d frames before the long one, want 1", n)
	}
	wantError(t, err, ErrTooLong, "left:")
}

func TestRawTruncated(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	long := append(frameOf(stationB, stationA, testType, ""), make([]byte, 87)...)
	good := frameOf(stationB, stationA, testType, "fits")
	mustSend(t, a, long, good, long)
	got := recvOne(t, b, NewBatch(8, 100))
	if !bytes.Equal(got, padded(good)) {
		t.Errorf("got % x", got)
	}
	if s := b.Stats(); s.Truncated != 2 {
		t.Errorf("truncated %d, want 2", s.Truncated)
	}
}

func TestRawDrops(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{RcvBuf: 100_000})
	if b.RcvBuf() < 100_000 || b.RcvBuf() > 200_000 {
		t.Errorf("receive buffer %d, asked for 100000", b.RcvBuf())
	}
	if a.RcvBuf() < 32<<20 && os.Getuid() == 0 {
		t.Logf("receive buffer %d: the limit for ordinary sockets holds here", a.RcvBuf())
	}
	frame := append(frameOf(stationB, stationA, testType, ""), make([]byte, 1500)...)
	const rounds, each = 3, 400
	came := uint64(0)
	room := NewBatch(64, 1514)
	for range rounds {
		for range each {
			mustSend(t, a, frame)
		}
		pollIn(t, b.Fd())
		for {
			n, err := b.Recv(room)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			came += uint64(n)
		}
		b.Drops() // the kernel's counter is cleared by reading; ours goes on
	}
	if b.Drops() == 0 || came+b.Drops() != rounds*each {
		t.Errorf("%d came and %d dropped, of %d", came, b.Drops(), rounds*each)
	}
	if b.Drops() != b.Stats().Drops {
		t.Errorf("two counts of drops: %d, %d", b.Drops(), b.Stats().Drops)
	}
}

func TestRawFull(t *testing.T) {
	vethPair(t, 1500)
	if _, err := exec.LookPath("tc"); err != nil {
		lacks(t, "tc (iproute2)")
	}
	if out, err := exec.Command("tc", "qdisc", "add", "dev", "left", "root", "tbf", "rate", "8mbit", "burst", "4kb",
		"limit", "1mb").CombinedOutput(); err != nil {
		lab.Absent(t, "sch_tbf", "this kernel has no slow queue: "+string(out))
	}
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	var frames [][]byte
	for i := range 200 {
		frames = append(frames, append(frameOf(stationB, stationA, testType, fmt.Sprintf("%04d", i)), make([]byte, 1400)...))
	}
	n, err := a.Send(frames)
	if err != nil || n == 0 || n == len(frames) {
		t.Fatalf("Send = %d, %v, want a short count: the queue is slow", n, err)
	}
	if a.Stats().Full == 0 {
		t.Error("not counted")
	}
	fds := []unix.PollFd{{Fd: int32(a.Fd()), Events: unix.POLLOUT}}
	if k, err := unix.Poll(fds, 5000); k != 1 {
		t.Fatalf("the port does not become writable: %v", err)
	}
	m, err := a.Send(frames[n:])
	if err != nil || m == 0 {
		t.Fatalf("Send of the rest = %d, %v", m, err)
	}
	got := recvN(t, b, NewBatch(64, 1514), n+m)
	for i, f := range got {
		if !bytes.Equal(f, frames[i]) {
			t.Fatalf("frame %d is %q", i, f[:30])
		}
	}
}

func TestRawDown(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	room := NewBatch(64, 1514)
	frame := frameOf(stationA, stationB, testType, "hello")
	run(t, "ip link set left down")
	pollIn(t, a.Fd())
	_, err := a.Recv(room)
	wantError(t, err, ErrDown, "left:", "ip link set left up")
	if n, err := a.Recv(room); n != 0 || err != nil {
		t.Errorf("told once, then nothing: %d, %v", n, err)
	}
	_, err = a.Send([][]byte{frameOf(stationB, stationA, testType, "hello")})
	wantError(t, err, ErrDown, "left:")

	run(t, "ip link set left up")
	waitUp(t, "left")
	waitUp(t, "right")
	mustSend(t, b, frame)
	if got := recvOne(t, a, room); !bytes.Equal(got, padded(frame)) {
		t.Errorf("the port goes on when the interface is up again: % x", got)
	}

	run(t, "ip link del left")
	_, err = a.Recv(room)
	wantError(t, err, ErrDown)
	_, err = a.Send([][]byte{frame})
	wantError(t, err, ErrDown)
}

func TestRawClosed(t *testing.T) {
	vethPair(t, 1500)
	a := mustOpen(t, "left", RawConfig{})
	if err := a.Close(); err != nil || a.Fd() != -1 {
		t.Fatalf("Close = %v, descriptor %d", err, a.Fd())
	}
	if err := a.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	_, err := a.Recv(NewBatch(1, 1514))
	wantError(t, err, ErrClosed)
	_, err = a.Send([][]byte{frameOf(stationB, stationA, testType, "")})
	wantError(t, err, ErrClosed)
	a.Drops()
}

func TestOpenErrors(t *testing.T) {
	vethPair(t, 1500)
	_, err := Open("eth77", testType, RawConfig{})
	wantError(t, err, ErrNoInterface, "eth77")
	_, err = Open("lo", testType, RawConfig{})
	wantError(t, err, ErrNotEthernet, "lo")
	run(t, "ip link set right down")
	_, err = Open("right", testType, RawConfig{})
	wantError(t, err, ErrDown, "right:", "ip link set right up")
}

// TestOpenNotPermitted drops the right of this thread only, which ends with the test.
func TestOpenNotPermitted(t *testing.T) {
	vethPair(t, 1500)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_RAW
	// The package's Capset would do; the raw call shows that it is this thread's.
	if _, _, errno := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		t.Fatal(errno)
	}
	_, err := Open("left", testType, RawConfig{})
	wantError(t, err, ErrNotPermitted, "left:", "CAP_NET_RAW")
}

func TestRawAllocatesNothing(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	frames := testFrames(64, 1514)
	room := NewBatch(64, 1514)
	allocs := testing.AllocsPerRun(100, func() {
		if n, err := a.Send(frames); n != 64 || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
		for left := 64; left > 0; {
			n, err := b.Recv(room)
			if err != nil {
				t.Fatal(err)
			}
			if left -= n; n == 0 {
				pollIn(t, b.Fd())
			}
		}
	})
	if allocs >= 1 { // the wait of a disturbed run may allocate
		t.Errorf("%v allocations to send and receive a batch, want none", allocs)
	}
}

// TestRawAboveVLAN: a VLAN is a link of its own; what has its tag comes there, and not to the link below.
func TestRawAboveVLAN(t *testing.T) {
	vethPair(t, 1500)
	for _, end := range []string{"left", "right"} {
		add := exec.Command("ip", "link", "add", "link", end, "name", end+".5", "type", "vlan", "id", "5")
		if out, err := add.CombinedOutput(); err != nil {
			lab.Absent(t, "8021q", "this kernel has no VLAN links: "+string(out))
		}
		run(t, fmt.Sprintf("ip link set %s.5 up", end))
		waitUp(t, end+".5")
	}
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{})
	a5, b5 := mustOpen(t, "left.5", RawConfig{}), mustOpen(t, "right.5", RawConfig{})
	room := NewBatch(64, 1514)
	for _, to := range []Addr{stationB, testGroup} {
		inside, outside := frameOf(to, stationA, testType, "inside"), frameOf(to, stationA, testType, "outside")
		mustSend(t, a5, inside)
		mustSend(t, a, outside)
		if got := recvOne(t, b, room); !bytes.Equal(got, padded(outside)) {
			t.Errorf("below: %q", got)
		}
		if got := recvOne(t, b5, room); !bytes.Equal(got, padded(inside)) {
			t.Errorf("in the VLAN: %q", got)
		}
	}
}

// TestRawOnBridge: a bridge is a station on the Ethernet its ports are joined to.
func TestRawOnBridge(t *testing.T) {
	vethPair(t, 1500)
	bridgeAddr := Addr{0x02, 0, 0, 0, 0, 0xbb}
	run(t, fmt.Sprintf("ip link add dev br0 address %v type bridge forward_delay 0 mcast_snooping 0", bridgeAddr))
	run(t, "ip link set right master br0")
	run(t, "ip link set br0 up")
	waitUp(t, "br0")
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "br0", RawConfig{})
	room := NewBatch(64, 1514)
	for _, to := range []Addr{bridgeAddr, testGroup} {
		frame := frameOf(to, stationA, testType, "to the bridge")
		mustSend(t, a, frame)
		if got := recvOne(t, b, room); !bytes.Equal(got, padded(frame)) {
			t.Errorf("got %q", got)
		}
	}
	frame := frameOf(testGroup, bridgeAddr, testType, "from the bridge")
	mustSend(t, b, frame)
	if got := recvOne(t, a, room); !bytes.Equal(got, padded(frame)) {
		t.Errorf("got %q", got)
	}
}

// TestApart: control messages and SABME come by a socket of their own, and a flood of them takes no room from the other frames.
func TestApart(t *testing.T) {
	vethPair(t, 1500)
	a, b := mustOpen(t, "left", RawConfig{}), mustOpen(t, "right", RawConfig{Group: testGroup, Apart: true})
	llc := func(to Addr, pdu string) []byte {
		return append(frameOf(to, stationA, testType, ""), append([]byte{0, byte(len(pdu)), 0x10}, pdu...)...)
	}
	apart := [][]byte{
		llc(testGroup, "\x45\x44\x03 a query"), llc(stationB, "\x44\x45\x03 an answer"), llc(stationB, "\x7e\x7e\x7f"), llc(stationB, "\x7e\x7e\x6f"),
	}
	links := [][]byte{
		llc(stationB, "\x7e\x7e\x00\x00 an I frame"), llc(stationB, "\x7e\x7f\x01\x00"), llc(stationB, "\x7e\x7f\x73"), llc(stationB, "\x7e\x7e\x53"),
		llc(stationB, "\x7e\x7e\xde\x00 an I frame whose N(S) looks like SABME but for a bit"), llc(stationB, "\x42\x42\x03"),
	}
	for i := range max(len(apart), len(links)) { // mixed
		for _, some := range [][][]byte{apart, links} {
			if i < len(some) {
				mustSend(t, a, some[i])
			}
		}
	}
	want := func(want [][]byte, got [][]byte) {
		t.Helper()
		for i := range want {
			if i >= len(got) || !bytes.HasPrefix(got[i], want[i]) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	want(links, recvN(t, b, NewBatch(64, HeaderLen+1500), len(links)))
	pollIn(t, b.HailFd())
	batch := NewBatch(64, HeaderLen+1500)
	b.Hailed()
	n, err := b.Recv(batch)
	if err != nil || n != len(apart) {
		t.Fatalf("%d frames came apart, want %d: %v", n, len(apart), err)
	}
	want(apart, batch.Frames[:n])

	for range 2000 {
		for range 64 {
			mustSend(t, a, apart[0])
		}
	}
	mustSend(t, a, links[0])
	want(links[:1], recvN(t, b, NewBatch(64, HeaderLen+1500), 1))
	if s := b.Stats(); s.HailDrops == 0 || s.Drops != 0 {
		t.Errorf("after a flood %d control messages and %d other frames were dropped; want some and none", s.HailDrops, s.Drops)
	}
}
