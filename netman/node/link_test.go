package node

import (
	"testing"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/x25"
)

// scene is a machine, here, and stations that answer as they should, but for what a test has them do.
func scene(t *testing.T, mtu int) *abuse {
	a := &abuse{t: t, now: time.Unix(1000, 0), known: map[*Circuit]*life{}, mtu: mtu}
	a.n = New(Config{Machine: "here", BootID: 1, Seed: 1})
	a.n.AddPort(0, a.addr(0), mtu, 127)
	a.peers = []*peer{newPeer(a, 0, Addr{2, 0, 0, 0, 0, 7}, "low", 10), newPeer(a, 0, Addr{2, 0, 0, 0, 0, 9}, "high", 11)}
	a.n.Start(a.now, &a.out)
	a.check()
	a.live(time.Second)
	return a
}

// live lets time go by, in which the stations answer.
func (a *abuse) live(d time.Duration) {
	a.t.Helper()
	for end := a.now.Add(d); ; {
		for _, p := range a.peers {
			p.reply(1000)
		}
		due := a.n.Deadline()
		if due.IsZero() || due.After(end) {
			a.now = end
			return
		}
		if due.After(a.now) {
			a.now = due
		}
		a.timeout()
	}
}

// link has the peer begin a link as hello says.
func (p *peer) link(m names.Message) {
	p.instance, p.boot = m.Instance, m.BootID
	p.sendControl(m, false, false)
	p.begin()
	p.send(hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.SABME, PF: true})
}

// state is that of the link to the first station.
func (a *abuse) state() string { return a.n.Links()[0].State }

func (a *abuse) expect(state, why string) {
	a.t.Helper()
	if got := a.state(); got != state {
		a.t.Fatalf("the link is %s, not %s: %s", got, state, why)
	}
}

// callOf places a call.
func (a *abuse) callOf(service string) *Circuit {
	c, err := a.n.Call(a.now, service, "u", false, &a.out)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.known[c] == nil {
		a.known[c] = &life{}
	}
	a.check()
	return c
}

func TestNewBootEndsTheLink(t *testing.T) {
	a := scene(t, 1500)
	p := a.peers[0]
	p.link(p.hello(1))
	a.live(time.Second)
	a.expect("up", "hello and SABME came")
	old := p.hello(1)
	p.boot += 16
	p.sendControl(p.hello(1), false, false)
	a.check()
	a.expect("idle", "a hello of another boot came: the netman of the link is dead")
	p.link(p.hello(2))
	a.live(time.Second)
	p.sendControl(old, false, false)
	a.check()
	a.expect("up", "a late hello of the dead netman counts for nothing")
}

func TestRepeatedHelloChangesNothing(t *testing.T) {
	a := scene(t, 1500)
	p := a.peers[0]
	p.link(p.hello(1))
	before := a.n.Counters()["packet level: packets out"]
	p.link(p.hello(1))
	if n := a.n.Counters()["packet level: packets out"] - before; n != 0 {
		t.Fatalf("%d more restart requests: hello and SABME came doubled, and are of one link", n)
	}
	a.live(time.Second)
	p.instance++
	sent := p.hello(2)
	p.sendControl(sent, false, false)
	a.check()
	a.expect("up", "a hello announces a new link, and its SABME decides")
	p.link(sent)
	if n := a.n.Counters()["link: dropped: SABME without hello"]; n != 0 {
		t.Fatal("the SABME of a link that a hello announced was dropped")
	}
	a.live(time.Second)
	a.expect("up", "the peer began the link anew")
}

func TestN1(t *testing.T) {
	a := scene(t, 9000)
	p := a.peers[0]
	small := p.hello(1)
	small.N1 = safeN1
	p.link(small)
	if l := a.n.Links()[0]; l.State != "up" || l.N1 != safeN1 {
		t.Fatalf("%s with N1 %d: the peer takes %d, which needs no proof", l.State, l.N1, safeN1)
	}
	p = a.peers[1]
	p.link(p.hello(1))
	if l := a.n.Links()[1]; l.State == "up" {
		t.Fatalf("%s with N1 %d: it is not proved yet", l.State, l.N1)
	}
	p.owed = nil // the path eats the echo
	for range 4 {
		a.now = a.now.Add(110 * time.Millisecond)
		a.timeout()
		p.owed = nil
	}
	if l := a.n.Links()[1]; l.State != "up" || l.N1 != safeN1 {
		t.Fatalf("%s with N1 %d: three TESTs were in vain, so it is %d", l.State, l.N1, safeN1)
	}
}

func TestToleranceIsTheLarger(t *testing.T) {
	a := scene(t, 1500)
	p := a.peers[0]
	m := p.hello(1)
	m.Tolerance = 5 * time.Second
	p.link(m)
	for range 40 {
		a.now = a.now.Add(100 * time.Millisecond)
		a.timeout()
	}
	a.expect("up", "the peer may be silent for 5 s, and 4 have passed")
	for range 40 {
		a.now = a.now.Add(100 * time.Millisecond)
		a.timeout()
	}
	a.expect("idle", "8 s have passed")
}

func TestNextServerWhenBusy(t *testing.T) {
	a := scene(t, 1500)
	c := a.callOf("t")
	a.peers[0].refuses, a.peers[1].refuses = x25.CauseBusy, 0
	a.live(2 * time.Second)
	if l := a.known[c]; !l.open || c.Machine != "high" {
		t.Fatalf("%+v on %s: low is busy, so high takes the call", *l, c.Machine)
	}
	c = a.callOf("s")
	calls := a.n.Counters()["packet level: calls"]
	a.peers[0].refuses, a.peers[1].refuses = x25.CauseCongestion, x25.CauseCongestion
	a.live(2 * time.Second)
	if more := a.n.Counters()["packet level: calls"] - calls; a.known[c].open || !a.known[c].over || more > 1 {
		t.Fatalf("%+v, %d calls: a server that refuses for another reason may have begun to serve", *a.known[c], more)
	}
}

// A service of the own machine that is busy, or came while the wire was asked, is the last one to be tried.
func TestOwnServiceThatIsBusy(t *testing.T) {
	for _, busy := range []bool{true, false} {
		a := scene(t, 1500)
		a.peers = nil // nobody answers
		if busy {
			a.n.Register("own")
			a.n.SetBusy("own", true)
		}
		c := a.callOf("own")
		if !busy {
			a.n.Register("own")
		}
		a.live(300 * time.Millisecond)
		if len(a.circuits) != 0 {
			t.Fatal("the own service was called while another machine may answer")
		}
		a.live(300 * time.Millisecond)
		if len(a.circuits) != 1 || !a.known[a.circuits[0]].incoming || c.Machine != "here" {
			t.Fatalf("busy %v: the call is %+v, and %d have come: no machine has answered, so the own service is called", busy, *a.known[c], len(a.circuits))
		}
		a.circuits[0].Clear(a.now, x25.CauseBusy, 0, "", &a.out)
		a.check()
		a.live(time.Second)
		if l := a.known[c]; !l.over || l.open || len(a.n.looking) != 0 {
			t.Fatalf("busy %v: the call is %+v after its server did not take it", busy, *l)
		}
		where, err := a.n.Locate(a.now, "own", &a.out)
		if a.check(); err != nil || !a.known[where].over || where.Machine != "here" {
			t.Fatalf("busy %v: own is located on %q, %v", busy, where.Machine, err)
		}
	}
}

func TestDeafStation(t *testing.T) {
	a := scene(t, 1500)
	c := a.callOf("s.low")
	a.peers[1].owed = nil
	for range 50 {
		a.peers[0].deaf = true // answers queries, but no hello
		a.live(100 * time.Millisecond)
	}
	if !a.known[c].over {
		t.Fatal("the station answers no hello: after 520 ms the call is over")
	}
}

// A call that was closed while it waited for its answer stays closed, and is forgotten. Found by FuzzNode.
func TestCloseBeforeTheAnswer(t *testing.T) {
	for _, row := range []struct {
		name    string
		refuses x25.Cause
	}{
		{"the server would have taken it", 0},
		{"the server is busy", x25.CauseBusy},
		{"there is no such service", x25.CauseNotObtainable},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := scene(t, 1500)
			a.peers[0].refuses, a.peers[1].refuses = row.refuses, row.refuses
			c := a.callOf("t")
			for i := 0; c.x == nil && i < 100; i++ {
				a.peers[i%2].reply(0)
			}
			c.Close(a.now, x25.CauseDTE, 0, "", &a.out)
			a.check()
			a.live(2 * time.Second)
			if l := a.known[c]; !l.over || l.open || len(a.n.looking) > 0 {
				t.Fatalf("%+v, %d calls look for a server: this one was closed", *l, len(a.n.looking))
			}
		})
	}
}

// A hello that meets our DISC ends that link; what comes of the new one is another matter. Found by FuzzNode.
func TestHelloWhileClosing(t *testing.T) {
	for _, row := range []struct {
		name string
		boot uint64 // later than before
	}{
		{"of a new link", 0},
		{"of a new boot", 16},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := scene(t, 1500)
			p := a.peers[1] // ours is the lower address: this machine disconnects
			p.link(p.hello(1))
			for i := 0; a.state() != "closing" && i < 2000; i++ {
				p.reply(1000)
				a.now = a.n.Deadline()
				a.timeout()
			}
			a.expect("closing", "60 s have passed without a circuit")
			p.instance++
			p.boot += row.boot
			p.sendControl(p.hello(2), false, false)
			p.owed = nil
			for range 600 {
				a.now = a.now.Add(100 * time.Millisecond)
				a.timeout()
				p.owed = nil
			}
			if err := a.n.CheckEmpty(); err != nil {
				t.Fatalf("a minute after the peer has fallen silent: %v", err)
			}
		})
	}
}
