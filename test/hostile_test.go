package test

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/test/lab"
	"dnet/x25"
)

// station speaks the wire by hand, from a machine without netman: octets as protocol.md has them, not as netman writes them.
type station struct {
	t        *testing.T
	name     string // of its machine
	port     *ether.Raw
	batch    *ether.Batch
	boot     uint64
	txid     uint32
	instance uint32
}

var groupAddr = ether.Addr{0x03, 0x44, 0x4e, 0x45, 0x54, 0x00}

// What a station sends: control octets, messages, TLVs (protocol.md 2 and 3).
const (
	ethertype                          = 0x88b5
	sapX25, sapControl                 = 0x7e, 0x44
	ctlUI, ctlSABME, ctlUA             = 0x03, 0x6f, 0x63
	ctlDISC, ctlDM, ctlFRMR            = 0x43, 0x0f, 0x87
	ctlXID, ctlTEST                    = 0xaf, 0xe3
	pollBit                            = 0x10
	msgQuery, msgAnswer, msgHello byte = 1, 2, 3
)

// newStation opens eth0 of a machine.
func newStation(t *testing.T, m *lab.Machine) *station {
	t.Helper()
	s := &station{t: t, name: m.Name, boot: 0x5eed0000 + uint64(os.Getpid()), instance: 1}
	err := m.Do(func() (err error) {
		s.port, err = ether.Open("eth0", ethertype, ether.RawConfig{Group: groupAddr})
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	t.Cleanup(func() { s.port.Close() })
	s.batch = ether.NewBatch(64, ether.HeaderLen+s.port.MTU())
	return s
}

// addr is the station of a machine.
func addr(m *lab.Machine) ether.Addr {
	a, _ := ether.ParseAddr(m.MAC())
	return a
}

// frame puts the Ethernet header, L and F before a PDU.
func frame(to, from ether.Addr, pdu []byte) []byte {
	f := append(append([]byte{}, to[:]...), from[:]...)
	f = binary.BigEndian.AppendUint16(f, ethertype)
	f = binary.BigEndian.AppendUint16(f, uint16(len(pdu)))
	return append(append(f, 0x10), pdu...)
}

// tlv is one TLV.
func tlv(kind byte, value ...byte) []byte { return append([]byte{kind, byte(len(value))}, value...) }

// named is a TLV that holds a name.
func named(kind byte, name string) []byte { return tlv(kind, []byte(name)...) }

// control is a control message in its UI frame.
func control(kind byte, boot uint64, txid uint32, response bool, tlvs ...[]byte) []byte {
	pdu := []byte{sapControl, sapControl, ctlUI, kind, 1}
	if response {
		pdu[1] |= 1
	}
	pdu = binary.BigEndian.AppendUint64(pdu, boot)
	pdu = binary.BigEndian.AppendUint32(pdu, txid)
	for _, t := range tlvs {
		pdu = append(pdu, t...)
	}
	return pdu
}

// hello is what the station says of itself.
func (s *station) hello(txid uint32, response bool) []byte {
	return control(msgHello, s.boot, txid, response, named(2, s.name), tlv(5, 1, 1), tlv(6, binary.BigEndian.AppendUint32(nil, s.instance)...),
		tlv(7, binary.BigEndian.AppendUint16(nil, uint16(s.port.MTU()-3))...), tlv(8, 63), tlv(9, 0x03, 0xe8), tlv(10, 0), tlv(11, 0, 0, 0, 0))
}

// send sends frames; what the wire does not take is lost.
func (s *station) send(frames ...[]byte) (sent int) {
	sent, err := s.port.Send(frames)
	if err != nil {
		s.t.Errorf("%s: %v", s.name, err)
	}
	return sent
}

// ask greets a machine and gives the TLVs of its answer, by type.
func (s *station) ask(m *lab.Machine) map[byte][]byte {
	s.t.Helper()
	s.txid++
	s.instance++
	s.send(frame(addr(m), s.port.Addr(), s.hello(s.txid, false)))
	for end := time.Now().Add(bound); time.Now().Before(end); {
		unix.Poll([]unix.PollFd{{Fd: int32(s.port.Fd()), Events: unix.POLLIN}}, 100)
		n, err := s.port.Recv(s.batch)
		if err != nil {
			s.t.Fatalf("%s: %v", s.name, err)
		}
		for _, f := range s.batch.Frames[:n] {
			if kind, response, txid, tlvs := readControl(f); kind == msgHello && response && txid == s.txid {
				return tlvs
			}
		}
	}
	s.t.Fatalf("%s does not answer a hello", m.Name)
	return nil
}

// readControl reads a control message; kind 0: it is none.
func readControl(f []byte) (kind byte, response bool, txid uint32, tlvs map[byte][]byte) {
	const before = ether.HeaderLen + 3
	if len(f) < before+17 || f[before+2] != ctlUI || f[before]&^1 != sapControl {
		return
	}
	end := before + int(binary.BigEndian.Uint16(f[ether.HeaderLen:]))
	b := f[before+3 : min(end, len(f))]
	tlvs = map[byte][]byte{}
	for rest := b[14:]; len(rest) >= 2 && len(rest) >= 2+int(rest[1]); rest = rest[2+int(rest[1]):] {
		tlvs[rest[0]] = rest[2 : 2+int(rest[1])]
	}
	return b[0], f[before+1]&1 != 0, binary.BigEndian.Uint32(b[10:]), tlvs
}

// attacker sends whatever a station can send, at the rate of the wire, the same from the same seed.
type attacker struct {
	*station
	*rand.Rand
	victims []*lab.Machine
	ns      map[ether.Addr]byte // of the next I frame to each victim
	out     [][]byte
	sent    int
}

func newAttacker(t *testing.T, m *lab.Machine, seed uint64, victims ...*lab.Machine) *attacker {
	return &attacker{station: newStation(t, m), Rand: rand.New(rand.NewPCG(seed, 0)), victims: victims, ns: map[ether.Addr]byte{}}
}

func (a *attacker) victim() (*lab.Machine, ether.Addr) {
	m := a.victims[a.IntN(len(a.victims))]
	return m, addr(m)
}

// octets are up to n random ones.
func (a *attacker) octets(n int) []byte {
	b := make([]byte, a.IntN(n+1))
	for i := range b {
		b[i] = byte(a.Uint32())
	}
	return b
}

// small is a number that is mostly near the ends of a range of octets.
func (a *attacker) small() byte {
	return []byte{0, 0, 1, 2, 63, 64, 127, 128, 255, byte(a.Uint32())}[a.IntN(10)]
}

func (a *attacker) put(to ether.Addr, pdu []byte) {
	a.out = append(a.out, frame(to, a.port.Addr(), pdu))
}

// The kinds of hostility.
func (a *attacker) all() []func() {
	return []func(){a.garbage, a.badPDU, a.cut, a.layer2, a.layer2, a.helloFlood, a.queryFlood, a.answers, a.echoes, a.walk, a.walk, a.walk, a.walk}
}

// garbage has nothing but addresses and Ethertype.
func (a *attacker) garbage() {
	_, to := a.victim()
	if a.IntN(4) == 0 {
		to = groupAddr
	}
	from := a.port.Addr()
	f := append(append([]byte{}, to[:]...), from[:]...)
	f = binary.BigEndian.AppendUint16(f, ethertype)
	a.out = append(a.out, append(f, a.octets(a.port.MTU())...))
}

// badPDU has a good header before what is no PDU, or one of another version, or too long for its frame.
func (a *attacker) badPDU() {
	_, to := a.victim()
	f := frame(to, a.port.Addr(), a.octets(200))
	switch a.IntN(4) {
	case 0:
		f[16] = byte(a.Uint32()) // F
	case 1:
		f[14], f[15] = byte(a.Uint32()), byte(a.Uint32()) // L
	}
	a.out = append(a.out, f)
}

// cut sends good frames that end too soon, with L as it was and as it should be.
func (a *attacker) cut() {
	m, to := a.victim()
	pdus := [][]byte{a.hello(a.Uint32(), a.IntN(2) == 0), a.information(to, a.packet(m)), a.query("rx."+m.Name, a.name), {sapX25, sapX25, ctlSABME | pollBit}}
	pdu := pdus[a.IntN(len(pdus))]
	pdu = pdu[:a.IntN(len(pdu)+1)]
	f := frame(to, a.port.Addr(), pdu)
	if a.IntN(2) == 0 {
		f[15] += byte(a.IntN(100))
	}
	a.out = append(a.out, f)
}

// layer2 sends a frame of any LLC type with any numbers, in whatever state the link is.
func (a *attacker) layer2() {
	_, to := a.victim()
	sap := func() byte {
		return []byte{sapX25, sapX25, sapX25, sapX25, sapControl, 0, 0xff, byte(a.Uint32())}[a.IntN(8)]
	}
	pdu := []byte{sap(), sap() | byte(a.IntN(2))}
	if a.IntN(2) == 0 {
		u := []byte{ctlUI, ctlSABME, ctlUA, ctlDISC, ctlDM, ctlFRMR, ctlXID, ctlTEST}[a.IntN(8)]
		pdu = append(pdu, u|byte(a.IntN(2)*pollBit))
	} else {
		pdu = append(pdu, []byte{a.small() << 1, 1, 5, 9, byte(a.Uint32())}[a.IntN(5)], a.small()<<1|byte(a.IntN(2)))
	}
	if a.IntN(2) == 0 {
		pdu = append(pdu, a.octets([]int{5, 40, 1497 - 4, 1497}[a.IntN(4)])...)
	}
	a.put(to, pdu[:min(len(pdu), a.port.MTU()-3)])
}

// stranger is the address of a station that is not there.
func (a *attacker) stranger() ether.Addr {
	n := a.Uint32()
	return ether.Addr{0x02, 0xff, byte(n >> 16 & 15), byte(n >> 8), byte(n), byte(a.IntN(4))}
}

// helloFlood greets from stations that are not there, and from its own with wild values.
func (a *attacker) helloFlood() {
	m, to := a.victim()
	for range 16 {
		from, boot := a.stranger(), a.Uint64()
		if a.IntN(4) == 0 {
			// As if it had started anew; or one that was, which counts for nothing.
			from = a.port.Addr()
			if boot = a.boot; a.IntN(16) == 0 {
				a.boot = a.Uint64() | 1
			}
		}
		word := func() []byte { return []byte{a.small(), a.small()} }
		long := func() []byte { return append(word(), word()...) }
		name := []string{a.name, m.Name, "x", strings.Repeat("y", 32), "No Name!"}[a.IntN(5)]
		pdu := control(msgHello, boot, a.Uint32N(8), a.IntN(2) == 0, named(2, name), tlv(5, byte(a.IntN(3)), byte(a.IntN(3))), tlv(6, long()...),
			tlv(7, word()...), tlv(8, a.small()), tlv(9, word()...), tlv(10, byte(a.IntN(2))), tlv(11, long()...))
		if a.IntN(4) == 0 {
			pdu[5+a.IntN(len(pdu)-5)] = byte(a.Uint32())
		}
		a.out = append(a.out, frame(to, from, pdu))
	}
}

func (a *attacker) query(service, machine string) []byte {
	return control(msgQuery, a.Uint64(), a.Uint32(), false, named(1, service), named(2, machine), tlv(3, 8))
}

// queryFlood asks for services that there are and that there are not, under its own name and those of others.
func (a *attacker) queryFlood() {
	m, _ := a.victim()
	for range 16 {
		from := a.port.Addr()
		if a.IntN(2) == 0 {
			from = a.stranger()
		}
		service := []string{"rx." + m.Name, "netman." + m.Name, "quiet." + m.Name, "common", fmt.Sprintf("s%d", a.Uint32()), "", "a b"}[a.IntN(7)]
		pdu := a.query(service, []string{a.name, m.Name, "nobody"}[a.IntN(3)])
		pdu[0] |= 1
		a.out = append(a.out, frame(groupAddr, from, pdu))
	}
}

// answers answers queries that nobody made.
func (a *attacker) answers() {
	m, to := a.victim()
	service := []string{"thing." + a.name, "common", "rx." + m.Name}[a.IntN(3)]
	a.put(to, control(msgAnswer, a.Uint64(), a.Uint32N(64), true, named(1, service), named(2, a.name), tlv(4, byte(a.IntN(3)))))
}

// echoes asks for the echo of large frames.
func (a *attacker) echoes() {
	_, to := a.victim()
	a.put(to, append([]byte{sapX25, sapX25, []byte{ctlTEST, ctlXID}[a.IntN(2)] | pollBit}, a.octets(1400)...))
}

// information is an I frame in sequence.
func (a *attacker) information(to ether.Addr, packet []byte) []byte {
	ns := a.ns[to] & 127
	a.ns[to]++
	return append([]byte{sapX25, sapX25, ns << 1, byte(a.IntN(2))}, packet...)
}

// packet is one of layer 3, of any type, on one of a few channels, mostly well formed.
func (a *attacker) packet(m *lab.Machine) []byte {
	kinds := []x25.Kind{x25.KindData, x25.KindData, x25.KindData, x25.KindRR, x25.KindRNR, x25.KindREJ, x25.KindCall, x25.KindCall, x25.KindAccept,
		x25.KindClear, x25.KindClearConfirm, x25.KindReset, x25.KindResetConfirm, x25.KindInterrupt, x25.KindInterruptConfirm, x25.KindDiagnostic,
		x25.KindRestart, x25.KindRestartConfirm}
	p := x25.Packet{
		Kind: kinds[a.IntN(len(kinds))], LCI: uint16(1 + a.IntN(6)), PS: uint8(a.IntN(3)), PR: uint8(a.IntN(2)), M: a.IntN(2) == 0, Q: a.IntN(4) == 0,
		Cause: x25.Cause(a.small()), Diag: x25.Diag(a.small()),
	}
	switch a.IntN(8) {
	case 0:
		p.LCI, p.PS, p.PR = uint16(a.IntN(4096)), a.small()&127, a.small()&127
	case 1:
		p.D = true
	}
	switch p.Kind {
	case x25.KindCall:
		service := []string{"deaf.", "open.", "nosuch.", "deaf.", "open."}[a.IntN(5)] + m.Name
		p.UserData = append([]byte{0xc4, 'D', 'N', 1}, named(1, service)...)
		p.UserData = append(p.UserData, [][]byte{nil, named(2, "root"), tlv(3, 1), a.octets(100)}[a.IntN(4)]...)
		p.Facilities = [][]byte{
			{1, 0x80, 0x43, 127, 127, 0x42, 10, 10, 0, 0, 0x7f, 5, 0xd1}, {1, 0x80}, {0x43, 2, 2, 0x42, 7, 7, 1, 0x80},
			{1, 0x80, 0x42, a.small(), a.small(), 0x43, a.small(), a.small()}, a.octets(109),
		}[a.IntN(5)]
	case x25.KindAccept:
		p.Facilities = [][]byte{nil, {0x43, 127, 127, 0x42, 10, 10, 0, 0, 0x7f, 5, 0xd1}, {0x43, 1, 1, 0x42, 4, 4}, a.octets(109)}[a.IntN(4)]
	case x25.KindClear, x25.KindReset:
		p.UserData = a.octets(128)
	case x25.KindInterrupt:
		p.UserData = a.octets(33)
	case x25.KindData, x25.KindDiagnostic:
		p.UserData = a.octets([]int{3, 100, 1489}[a.IntN(3)])
	}
	b := p.Append(nil)
	switch a.IntN(10) {
	case 0:
		b = b[:a.IntN(len(b)+1)]
	case 1:
		b[a.IntN(len(b))] = byte(a.Uint32())
	case 2:
		b = append(b, a.octets(20)...)
	}
	return b[:min(len(b), 1493)]
}

// walk begins a link and sends packets in sequence on it, so that they come in every state that packets lead to.
func (a *attacker) walk() {
	m, to := a.victim()
	if a.IntN(4) != 0 {
		a.instance++
		a.put(to, a.hello(a.instance, false))
		a.put(to, []byte{sapX25, sapX25, ctlSABME | pollBit})
		a.ns[to] = 0
		if a.IntN(8) != 0 {
			a.put(to, a.information(to, []byte{0x20, 0, byte(x25.KindRestart), 0, 161}))
		}
	}
	for range 8 + a.IntN(32) {
		a.put(to, a.information(to, a.packet(m)))
	}
}

// respond takes part in what the victims begin: in part as it should be, in part not.
func (a *attacker) respond() {
	n, err := a.port.Recv(a.batch)
	if err != nil {
		a.t.Errorf("%s: %v", a.name, err)
	}
	for _, f := range a.batch.Frames[:n] {
		if len(f) < ether.HeaderLen+6 {
			continue
		}
		from := ether.Addr(f[6:12])
		kind, response, txid, tlvs := readControl(f)
		switch pdu := f[ether.HeaderLen+3:]; {
		case kind == msgQuery && string(tlvs[1]) == "thing."+a.name:
			a.put(from, control(msgAnswer, a.boot, txid, true, tlv(1, tlvs[1]...), named(2, a.name), tlv(4, 0)))
		case kind == msgHello && !response:
			a.put(from, a.hello(txid, true))
		case kind == 0 && pdu[2]&^pollBit == ctlSABME && pdu[1]&1 == 0:
			u := []byte{ctlUA, ctlUA, ctlUA, ctlDM, ctlFRMR, ctlSABME, ctlDISC}[a.IntN(7)]
			cr := byte(1)
			if u == ctlSABME || u == ctlDISC {
				cr = 0
			}
			a.put(from, []byte{sapX25, sapX25 | cr, u | pollBit})
			a.ns[from] = 0
			a.put(from, a.information(from, []byte{0x20, 0, byte(x25.KindRestart), 0, 161}))
			a.put(from, []byte{sapX25, sapX25 | 1, 1, byte(a.IntN(3)) << 1})
		case kind == 0 && pdu[2]&1 == 0 && a.IntN(4) == 0 && len(pdu) > 7 && pdu[6] == byte(x25.KindCall): // a call of theirs: p3, p5
			for range 1 + a.IntN(3) {
				packet := a.packet(a.victims[0])
				if len(packet) > 2 {
					packet[0], packet[1] = packet[0]&0xf0|pdu[4]&0x0f, pdu[5]
				}
				a.put(from, a.information(from, packet))
			}
		}
	}
}

// run attacks until it is told to stop.
func (a *attacker) run(stop <-chan struct{}) {
	kinds := a.all()
	for {
		select {
		case <-stop:
			return
		default:
		}
		for len(a.out) < 64 {
			kinds[a.IntN(len(kinds))]()
		}
		a.sent += a.send(a.out...)
		a.out = a.out[:0]
		a.respond()
	}
}

// What netman may take more than it had, whatever comes: the octets that programs have not read (64 MiB), links to as many stations as it
// keeps, and what the garbage collector leaves lying.
const hostileGrowth = 160 << 20

// What it may take more at the end than in the middle, when all its tables have long been full: about 20 octets for each frame it had
// since. So that this is what it holds and not what the collector has not come to yet, its heap is told to stay near hostileHeap.
const (
	hostileSlack = 2 << 20
	hostileHeap  = "12MiB"
)

// A third station sends all it can think of, at the rate of the wire: a stream and a command between two others come through, and
// nothing is left of it.
func TestHostileStation(t *testing.T) {
	length, seed := 5*time.Second, uint64(1)
	if os.Getenv("DNET_SOAK") != "" {
		length, seed = time.Minute, uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	t.Setenv("GOMEMLIMIT", hostileHeap)
	l := lab.New(t, lab.Config{})
	grumpy, sneezy := l.Machine("grumpy"), l.Machine("sneezy")
	victims := []*lab.Machine{grumpy, sneezy}
	netmans(victims)
	if t.Failed() {
		t.FailNow()
	}
	for _, m := range victims {
		echoes(t, m, "open."+m.Name)
		lis := listen(t, m, "deaf."+m.Name, circuit.Options{}) // nobody takes its calls
		t.Cleanup(func() { lis.Close() })
	}
	from, to := pair(t, grumpy, sneezy, "stream")
	for _, c := range []*circuit.Conn{from, to} {
		c.SetDeadline(time.Now().Add(length + 2*bound))
	}
	s := stream(t, from, to)
	rx := start(t, sneezy, noise(8_000_000), "rx", "grumpy", "md5sum")
	before := map[string]int{grumpy.Name: memory(t, grumpy), sneezy.Name: memory(t, sneezy)}

	stop, stopped := make(chan struct{}), make(chan struct{})
	a := newAttacker(t, l.Machine("doc"), seed, victims...)
	go func() {
		defer close(stopped)
		a.run(stop)
	}()
	half, whole := time.After(length/2), time.After(length)
	noMore := callAway(t, grumpy)
	<-half
	middle := map[string]int{grumpy.Name: memory(t, grumpy), sneezy.Name: memory(t, sneezy)}
	during := s.got.Load()
	run(t, grumpy, "rx", "sneezy", "uname -n").must(t, "sneezy\n", "", 0)
	run(t, sneezy, "rx", "grumpy", "uname -n").must(t, "grumpy\n", "", 0)
	<-whole
	close(stop)
	<-stopped
	noMore()
	total := s.finish()
	t.Logf("%d frames (%.0f a second); the stream carried %d octets, %d of them in the first half", a.sent,
		float64(a.sent)/length.Seconds(), total, during)
	rx.ends(t)
	run(t, grumpy, "rx", "sneezy", "md5sum").must(t, "d41d8cd98f00b204e9800998ecf8427e  -\n", "", 0)
	if rx.status() != 0 || rx.stdout.String() != sum(t, 8_000_000)+"  -\n" {
		t.Errorf("rx: status %d, %q, %q", rx.status(), &rx.stdout, &rx.stderr)
	}
	for _, m := range victims {
		checkMemory(t, m, before[m.Name], middle[m.Name])
		if n := len(m.NetmanLog()); n > 1<<20 {
			t.Errorf("%s: netman logged %d octets", m.Name, n)
		}
		t.Logf("%s: it counted %v", m.Name, rows(t, m, "counters")[0]["counters"])
	}
	from.Close()
	to.Close()
	began := time.Now()
	idle(t, victims...)
	t.Logf("nothing is left after %v", time.Since(began))
	run(t, sneezy, "rx", "grumpy", "uname -n").must(t, "grumpy\n", "", 0)
}

// checkMemory compares what netman has now with what it had before and in the middle.
func checkMemory(t *testing.T, m *lab.Machine, before, middle int) {
	t.Helper()
	after := memory(t, m)
	t.Logf("%s: netman had %d KiB, then %d, then %d; it logged %d octets", m.Name, before>>10, middle>>10, after>>10, len(m.NetmanLog()))
	if after > before+hostileGrowth {
		t.Errorf("%s: netman grew by %d KiB", m.Name, (after-before)>>10)
	}
	if after > middle+hostileSlack {
		t.Errorf("%s: netman grew by %d KiB in the second half", m.Name, (after-middle)>>10)
	}
}

// sum is the MD5 sum of noise, as md5sum writes it.
func sum(t *testing.T, n int64) string { return fmt.Sprintf("%x", md5.Sum(octets(t, n))) }

// callAway calls the attacker's service again and again, with a few calls at a time, so that netman has links and calls of its own
// towards it, until it is told to stop.
func callAway(t *testing.T, m *lab.Machine) (stop func()) {
	path := door(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				if c, err := circuit.Dial(ctx, "thing.doc", circuit.Options{Door: path}); err == nil {
					c.WriteDatagram([]byte("hello"), 0)
					c.Abort(0, "")
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}
