package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/ether"
	"dnet/test/lab"
	"dnet/x25"
)

// floodTime is how long each flood lasts.
const floodTime = 2 * time.Second

// answerBound is within what a call is answered whatever another station does: the three tries of a query, and the hello's, take 520 ms
// each at most (protocol.md 2).
const answerBound = slack * (520 + 520) * time.Millisecond

// flooder sends one kind of frame as fast as the wire takes it.
type flooder struct {
	*attacker
	victim *lab.Machine
}

// forged is one of 10,000 addresses that nobody has.
func (f *flooder) forged() ether.Addr {
	n := f.IntN(10_000)
	return ether.Addr{0x02, 0xfe, 0, 0, byte(n >> 8), byte(n)}
}

// floods are what one station can do at the rate of the wire. Each puts frames into out.
func (f *flooder) floods() map[string]func() {
	to := addr(f.victim)
	queries := []string{"open." + f.victim.Name, "netman." + f.victim.Name, "common", "nothing." + f.victim.Name}
	hello := func(from ether.Addr, boot uint64) {
		f.instance++
		f.out = append(f.out, frame(to, from, control(msgHello, boot, f.Uint32(), false, named(2, "forged"), tlv(5, 1, 1),
			tlv(6, byte(f.instance>>24), byte(f.instance>>16), byte(f.instance>>8), byte(f.instance)), tlv(7, 5, byte(f.IntN(0xd9))), tlv(8, 63), tlv(9, 0x75, 0x30),
			tlv(10, 0), tlv(11, 0, 0, 0, 0))))
	}
	sabme := func(from ether.Addr) {
		f.out = append(f.out, frame(to, from, []byte{sapX25, sapX25, ctlSABME | pollBit}))
	}
	query := func(from ether.Addr) {
		pdu := f.query(queries[f.IntN(len(queries))], "forged")
		pdu[0] |= 1
		f.out = append(f.out, frame(groupAddr, from, pdu))
	}
	own := f.port.Addr()
	return map[string]func(){
		"queries":            func() { query(own) },
		"queries, forged":    func() { query(f.forged()) },
		"hellos":             func() { hello(own, f.boot) },
		"hellos, forged":     func() { hello(f.forged(), f.Uint64()|1) },
		"SABMEs":             func() { sabme(own) },
		"SABMEs, forged":     func() { sabme(f.forged()) },
		"half links, forged": func() { from := f.forged(); hello(from, f.Uint64()|1); sabme(from) },
		"calls":              f.calls,
	}
}

// calls begins a link and calls on all its channels, and never answers.
func (f *flooder) calls() {
	to := addr(f.victim)
	f.instance++
	f.put(to, f.hello(f.instance, false))
	f.put(to, []byte{sapX25, sapX25, ctlSABME | pollBit})
	f.ns[to] = 0
	f.put(to, f.information(to, []byte{0x20, 0, byte(x25.KindRestart), 0, 161}))
	for lci := range 60 {
		p := x25.Packet{Kind: x25.KindCall, LCI: uint16(4095 - lci), UserData: append([]byte{0xc4, 'D', 'N', 1}, named(1, "open."+f.victim.Name)...),
			Facilities: []byte{1, 0x80}}
		f.put(to, f.information(to, p.Append(nil)))
	}
}

// run floods until it is told to stop.
func (f *flooder) run(flood func(), stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		for len(f.out) < 64 {
			flood()
		}
		f.sent += f.send(f.out...)
		f.out = f.out[:0]
		f.port.Recv(f.batch)
	}
}

// One station floods another with each kind of frame that is answered or remembered, under its own address and under 10,000 forged ones.
// A stream goes on, and others' calls, of whom some were not known before, are answered.
func TestFlood(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "sneezy", "doc", "happy"}})
	grumpy, sneezy, happy := l.Machine("grumpy"), l.Machine("sneezy"), l.Machine("happy")
	if netmans([]*lab.Machine{grumpy, sneezy, happy}); t.Failed() {
		t.FailNow()
	}
	echoes(t, grumpy, "open.grumpy")
	callAndEcho(t, happy, grumpy, "before all floods") // links that are up are protected; a first hello in a flood has its luck
	f := &flooder{newAttacker(t, l.Machine("doc"), 1, grumpy), grumpy}
	before := memory(t, grumpy)
	for name, flood := range f.floods() {
		from, to := pair(t, sneezy, grumpy, fmt.Sprintf("stream%d", rand.Uint32()))
		s := stream(t, from, to)
		stop, stopped := make(chan struct{}), make(chan struct{})
		f.sent = 0
		go func() {
			defer close(stopped)
			f.run(flood, stop)
		}()
		calls, longest := 0, time.Duration(0)
		for end := time.Now().Add(floodTime); time.Now().Before(end); calls++ {
			longest = max(longest, callAndEcho(t, happy, grumpy, name))
		}
		got := s.got.Load()
		s.carries(t, got+1_000_000)
		close(stop)
		<-stopped
		total := s.finish()
		t.Logf("%-20s %7.0f frames/s; %d calls, the longest %v; the stream carried %.0f MB/s", name, float64(f.sent)/floodTime.Seconds(), calls, longest,
			float64(total)/1e6/floodTime.Seconds())
		if longest > answerBound {
			t.Errorf("%s: a call took %v, bound %v", name, longest, answerBound)
		}
		from.Close()
		to.Close()
	}
	if after := memory(t, grumpy); after > before+hostileGrowth {
		t.Errorf("netman grew by %d KiB", (after-before)>>10)
	}
	if n := strings.Count(grumpy.NetmanLog(), "\n"); n > 300 {
		t.Errorf("netman logged %d lines", n)
	}
	t.Logf("it counted %v", rows(t, grumpy, "counters")[0]["counters"])
	idle(t, grumpy, sneezy, happy)
}

// callAndEcho calls a resident server and has an octet echoed, and tells how long that took.
func callAndEcho(t *testing.T, from, to *lab.Machine, during string) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	c, err := circuit.Dial(ctx, "open."+to.Name, circuit.Options{Door: doorOf(t, from)})
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(bound))
		if err = c.WriteDatagram([]byte("x"), 0); err == nil {
			_, _, err = c.Next()
		}
	}
	if err != nil {
		t.Errorf("%s: a call from %s failed after %v: %v", during, from.Name, time.Since(began), err)
	}
	return time.Since(began)
}

// doors are the machines' doors, as paths of this process.
var doors = map[*lab.Machine]string{}

// doorOf is the door of a machine, which is asked for once.
func doorOf(t *testing.T, m *lab.Machine) string {
	if doors[m] == "" {
		doors[m] = door(t, m)
	}
	return doors[m]
}
