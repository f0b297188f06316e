package node

import (
	"flag"
	"math/rand"
	"testing"
	"time"

	"dnet/netman/seal"
	"dnet/x25"
)

var seeds = flag.Int64("seeds", 100, "random abuses that TestAbuse lives through")

// abuse drives one machine with whatever the octets say: frames that make sense where they are and frames that do not, programs
// that do anything at any time, time that passes. Check must hold after each step, no event may come for a circuit
// that is over, and when all fall silent nothing may be left.
type abuse struct {
	t     testing.TB
	in    []byte
	n     *Node
	out   Out
	now   time.Time
	peers []*peer
	// What programs hold. A circuit stays when it is over, until it is let go of.
	circuits []*Circuit
	known    map[*Circuit]*life
	mtu      int
	mode     seal.Mode
}

// life is what has been heard of a circuit.
type life struct {
	incoming, open, closed, over, let bool
}

const abuseCircuits = 40

func (a *abuse) octet() byte {
	if len(a.in) == 0 {
		return 0
	}
	b := a.in[0]
	a.in = a.in[1:]
	return b
}

func (a *abuse) octets(n int) []byte {
	n = min(n, len(a.in))
	b := a.in[:n]
	a.in = a.in[n:]
	return append([]byte(nil), b...)
}

// check is after each step: what came out is looked at, the peers hear it, and all must be well.
func (a *abuse) check() {
	a.t.Helper()
	if len(a.out.Frames) > 3000 || len(a.out.Events) > 3000 {
		a.t.Fatalf("one step brings forth %d frames, %d events", len(a.out.Frames), len(a.out.Events))
	}
	a.n.Finish(&a.out)
	for i := range a.out.Events {
		a.event(&a.out.Events[i])
	}
	for _, f := range a.out.Frames {
		h, pdu, err := parseFrame(f.Octets, a.n.cfg.Ethertype)
		if a.mode != seal.Open && err == nil {
			a.hearSealed(f, h, pdu)
			continue
		}
		if err != nil || h.sa != a.n.ports[f.Port].addr || len(pdu) > 65535-3 {
			a.t.Fatalf("sent on port %d: %s", f.Port, FormatFrame(f.Octets))
		}
		for _, p := range a.peers {
			if p.port == f.Port && (h.da == Group || h.da == p.addr) {
				p.hear(pdu)
			}
		}
	}
	a.out.Reset()
	if err := a.n.Check(); err != nil {
		a.t.Fatal(err)
	}
	if len(a.n.drops) > 64 || len(a.n.past) > 128 || len(a.n.logs.said) > a.n.cfg.Limits.Logged || len(a.n.slabs) > 8 {
		a.t.Fatalf("%d reasons to drop, %d past counters, %d lines logged, %d slabs", len(a.n.drops), len(a.n.past), len(a.n.logs.said), len(a.n.slabs))
	}
}

func (a *abuse) event(ev *Event) {
	switch ev.Kind {
	case Claimed, Clash, Log, Pinned, Refused:
		return
	case Incoming:
		if a.known[ev.Circuit] != nil {
			a.t.Fatal("incoming twice")
		}
		a.known[ev.Circuit] = &life{incoming: true}
		a.circuits = append(a.circuits, ev.Circuit)
		return
	}
	l := a.known[ev.Circuit]
	switch {
	case l == nil:
		// Call returns after its events: the step puts it down.
		l = &life{}
		a.known[ev.Circuit] = l
		a.circuits = append(a.circuits, ev.Circuit)
	case l.let:
		a.t.Fatalf("event %d for a circuit that nobody holds", ev.Kind)
	case l.over && ev.Kind != Reset:
		a.t.Fatalf("event %d for a circuit that is over", ev.Kind)
	}
	switch ev.Kind {
	case Connected:
		if l.open || l.incoming {
			a.t.Fatal("connected twice")
		}
		l.open = true
	case Cleared, Drained, Located:
		l.over = true
	case Data, Interrupt, InterruptConfirmed:
		if !l.open {
			a.t.Fatalf("event %d before the circuit is open", ev.Kind)
		}
	}
}

// frame gives the machine a frame, and spoils it afterwards: whoever kept a borrowed slice is found out.
func (a *abuse) frame(port int, frame []byte) {
	a.n.HandleFrame(a.now, port, frame, &a.out)
	a.check()
	for i := range frame {
		frame[i] = 0xa5
	}
}

func (a *abuse) step() {
	p := a.peers[int(a.octet())%len(a.peers)]
	switch op := a.octet(); op % 16 {
	case 0, 1, 2, 3:
		p.sendPacket()
	case 4:
		p.sendS()
	case 5:
		p.sendU()
	case 6:
		p.sendHello()
	case 7:
		p.sendNames()
	case 8:
		p.sendRaw()
	case 9, 10:
		p.reply(int(op >> 4))
	case 11:
		a.pass(op)
	case 12:
		a.call()
	case 13, 14:
		a.program()
	case 15:
		a.owner(op)
	}
	a.check()
}

// pass lets time go by: a little, until the next timer, or so long that all timers are late.
func (a *abuse) pass(op byte) {
	switch d := a.n.Deadline(); {
	case op&16 != 0 && !d.IsZero() && d.After(a.now):
		a.now = d
	case op > 240:
		a.now = a.now.Add(time.Duration(a.octet()) * 250 * time.Millisecond)
	default:
		b := time.Duration(a.octet())
		a.now = a.now.Add(b * b * 20 * time.Microsecond)
	}
	a.timeout()
}

// timeout runs the timers that are due. Two turns are enough: what one link does may bring something forth on another.
func (a *abuse) timeout() {
	for range 3 {
		d := a.n.Deadline()
		if d.IsZero() || a.now.Before(d) {
			return
		}
		a.n.HandleTimeout(a.now, &a.out)
		a.check()
	}
	a.t.Fatal("the deadline stays after its timeout")
}

var abuseServices = []string{"s", "t.here", "s.low", "s.high", "t", "s.far", "none.here", "netman.low"}

func (a *abuse) call() {
	if len(a.circuits) >= abuseCircuits {
		return
	}
	b := a.octet()
	service := abuseServices[int(b)%len(abuseServices)]
	var c *Circuit
	if b > 230 {
		c, _ = a.n.Locate(a.now, service, &a.out)
	} else {
		c, _ = a.n.Call(a.now, service, "u", b&64 != 0, &a.out)
	}
	if a.known[c] == nil {
		a.known[c] = &life{}
		a.circuits = append(a.circuits, c)
	}
	a.check()
}

// program does something with a circuit that programs may do in its state.
func (a *abuse) program() {
	if len(a.circuits) == 0 {
		return
	}
	c, op := a.circuits[int(a.octet())%len(a.circuits)], a.octet()
	l := a.known[c]
	switch {
	case l.incoming && !l.open && !l.closed && !l.over && op%8 < 6:
		l.open = true // data may come with the event
		if err := c.Accept(a.now, &a.out); err != nil {
			a.t.Fatalf("an incoming call cannot be accepted: %v", err)
		}
	case op%8 < 6 && !l.open:
	case op%8 < 2:
		data := a.octets(int(op >> 2))
		for range 1 + a.octet()%64 {
			if c.Send(a.now, data, op&4 != 0, op&128 != 0, &a.out) != nil {
				break
			}
			a.check()
		}
	case op%8 < 4:
		for range op >> 3 {
			if _, _, _, ok := c.Peek(); !ok {
				break
			}
			c.Next(a.now, &a.out)
			a.check()
		}
	case op%8 == 4:
		c.Interrupt(a.now, a.octets(int(op>>2)), &a.out)
	case op%8 == 5:
		c.Reset(a.now, x25.Diag(op), &a.out)
	case op%8 == 6:
		c.Close(a.now, x25.CauseDTE, x25.Diag(op), string(a.octets(int(op>>4))), &a.out)
		if l.closed = true; c.x == nil {
			l.over = true // it had not got as far as a level
		}
	case op%8 == 7:
		a.release(c)
	}
	a.check()
}

// release is when a program lets go of a circuit.
func (a *abuse) release(c *Circuit) {
	for i, each := range a.circuits {
		if each == c {
			a.circuits = append(a.circuits[:i], a.circuits[i+1:]...)
			break
		}
	}
	a.known[c].over = true
	c.Clear(a.now, x25.CauseDTE, 0, "aborted", &a.out)
	// An event that stood in Out before the Clear may still come to be seen: none does, since check empties it each time.
	a.known[c].let = true
}

// owner is what netman itself may do.
func (a *abuse) owner(op byte) {
	switch b := a.octet(); op >> 4 {
	case 0:
		a.live(time.Duration(b) * 300 * time.Millisecond)
	case 1, 2, 3, 4:
		a.n.SetBusy(abuseServices[b&1], b&2 != 0)
	case 5, 6, 7:
		a.n.Unregister(abuseServices[b&1])
	case 8, 9, 10, 11:
		a.n.Register(abuseServices[b&1])
	case 12, 13:
		a.n.RemovePort(a.now, int(b&1), &a.out)
	case 14:
		a.n.RemovePort(a.now, int(b&1), &a.out)
		a.check()
		a.n.AddPort(int(b&1), a.addr(int(b&1)), a.mtu, 16)
	case 15:
		a.n.AddPort(int(b&1), a.addr(int(b&1)), a.mtu, int(b>>1))
	}
}

func (a *abuse) addr(port int) Addr { return Addr{2, 0, 0, 0, byte(port), 8} }

// silence is when nobody speaks any more. Every timer runs; then the programs let go of what they hold; then nothing may be left.
func (a *abuse) silence() {
	run := func(d time.Duration) {
		end := a.now.Add(d)
		for range 5000 {
			d := a.n.Deadline()
			if d.IsZero() || d.After(end) {
				a.now = end
				return
			}
			if d.After(a.now) {
				a.now = d
			}
			a.timeout()
		}
		a.t.Fatal("there are timers without end")
	}
	run(3 * time.Minute)
	for _, c := range a.circuits {
		if l := a.known[c]; !l.over && !c.Local() {
			a.t.Fatalf("a circuit outlives its peer: %+v, %+v", *l, c)
		}
	}
	for len(a.circuits) > 0 {
		a.release(a.circuits[0])
		a.check()
	}
	run(2 * time.Minute)
	if err := a.n.CheckEmpty(); err != nil {
		a.t.Fatal(err)
	}
}

func runAbuse(t testing.TB, mode seal.Mode, in []byte) {
	a := &abuse{t: t, in: in, now: time.Unix(1000, 0), known: map[*Circuit]*life{}, mtu: 1500, mode: mode}
	cfg := Config{Machine: "here", BootID: 1, Seed: 1, Seal: sealConfig(t, mode, 1)}
	if shape := a.octet(); shape&1 != 0 {
		b := int(a.octet())
		cfg.Level = x25.Config{
			MaxUserData: b>>2 + 1, Window: b>>5 + 1, MaxCircuits: b>>6 + 1, QueueLimit: b>>1 + 1, ReceiveLimit: b>>3 + 1, MaxMessage: b>>4 + 1,
		}
		cfg.Budget = 600 + b*16
		cfg.Tolerance = []time.Duration{0, 50 * time.Millisecond, 5 * time.Second, 30 * time.Second}[shape>>6]
	} else if shape&2 != 0 {
		a.mtu = 9000
	}
	a.n = New(cfg)
	for port := range 2 {
		a.n.AddPort(port, a.addr(port), a.mtu, 127)
	}
	a.n.Register("s")
	a.n.Register("t.here")
	for i, name := range []string{"low", "high", "far", "here"} {
		port := i / 2
		a.peers = append(a.peers, newPeer(a, port, Addr{2, 0, 0, 0, byte(port), byte(7 + i%2*2)}, name, uint64(10+i)))
		a.peers[i].startSealing()
	}
	a.n.Start(a.now, &a.out)
	a.check()
	if a.octet()&7 != 0 {
		a.now = a.now.Add(time.Second)
		for range 4 {
			a.now = a.now.Add(time.Second)
			a.timeout()
		}
	}
	for len(a.in) > 0 {
		a.step()
	}
	a.silence()
}

// FuzzNode looks for octets that break a machine.
func FuzzNode(f *testing.F) {
	rng := rand.New(rand.NewSource(1))
	for range 30 {
		b := make([]byte, 600)
		rng.Read(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<14 {
			return
		}
		mode := seal.Open
		if len(in) > 0 {
			mode = seal.Mode(in[len(in)-1] % 3)
		}
		runAbuse(t, mode, in)
	})
}

// TestAbuse is the same from seeds, longer, so that every run of the tests has it.
func TestAbuse(t *testing.T) {
	for seed := range *seeds {
		rng := rand.New(rand.NewSource(seed))
		in := make([]byte, 200+rng.Intn(6000))
		rng.Read(in)
		for _, mode := range []seal.Mode{seal.Open, seal.Pinned, seal.Secret} {
			t.Run("", func(t *testing.T) { runAbuse(t, mode, in) })
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
