package test

import (
	"sync"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/test/lab"
)

// twoNetworks is grumpy on two Ethernets, sneezy on the first and doc on the second, with a netman on each.
func twoNetworks(t *testing.T) (l *lab.Lab, grumpy, sneezy, doc *lab.Machine) {
	t.Helper()
	l = lab.New(t, lab.Config{})
	l.Join("eth1", 1500, "grumpy", "doc")
	grumpy, sneezy, doc = l.Machine("grumpy"), l.Machine("sneezy"), l.Machine("doc")
	var all sync.WaitGroup
	for m, interfaces := range map[*lab.Machine]string{grumpy: "eth0,eth1", sneezy: "eth0", doc: "eth1"} {
		all.Go(func() { m.Netman("-i", interfaces) })
	}
	if all.Wait(); t.Failed() {
		t.FailNow()
	}
	return l, grumpy, sneezy, doc
}

// reach asks for calls both ways between machines.
func reach(t *testing.T, a, b *lab.Machine) {
	t.Helper()
	run(t, a, "rx", b.Name, "uname -n").must(t, b.Name+"\n", "", 0)
	run(t, b, "rx", a.Name, "uname -n").must(t, a.Name+"\n", "", 0)
}

// reachAgain waits until calls go from both.
func reachAgain(t *testing.T, a, b *lab.Machine) {
	t.Helper()
	eventually(t, "calls go again", func() bool {
		return run(t, a, "rx", b.Name, "true").status() == 0 && run(t, b, "rx", a.Name, "true").status() == 0
	})
	reach(t, a, b)
}

// lossOf does something to grumpy's eth1, with circuits on both networks: those on eth1 end at once on grumpy, and within the tolerance
// on doc; those on eth0 go on.
func lossOf(t *testing.T, grumpy, sneezy, doc *lab.Machine, how func()) {
	t.Helper()
	near, far := join(t, grumpy, doc, circuit.Options{})
	back, forth := join(t, doc, grumpy, circuit.Options{})
	keptA, keptB := pair(t, grumpy, sneezy, "kept")
	s := stream(t, keptA, keptB)
	s.carries(t, 1<<20)
	began := time.Now()
	how()
	var all sync.WaitGroup
	for name, c := range map[string]*circuit.Conn{"the caller on grumpy": near, "the server on grumpy": forth} {
		all.Go(func() { told(t, name, c, began, tolerance/2) })
	}
	for name, c := range map[string]*circuit.Conn{"the caller on doc": back, "the server on doc": far} {
		all.Go(func() { told(t, name, c, began, slack*tolerance) })
	}
	all.Wait()
	s.carries(t, s.got.Load()+1<<20)
	s.finish()
	for _, c := range []*circuit.Conn{near, far, back, forth, keptA, keptB} {
		c.Close()
	}
}

// A machine on two networks reaches, and is reached by, the machines on either. What happens to one interface is no matter to the other.
func TestTwoInterfaces(t *testing.T) {
	l, grumpy, sneezy, doc := twoNetworks(t)
	reach(t, grumpy, sneezy)
	reach(t, grumpy, doc)
	links := rows(t, grumpy, "links")
	for m, want := range map[*lab.Machine]row{
		sneezy: {"interface": "eth0", "station": sneezy.MAC(), "state": "up"}, doc: {"interface": "eth1", "station": doc.AddrOn("eth1"), "state": "up"},
	} {
		got := find(links, "link", "machine", m.Name)
		for key, value := range want {
			if got[key] != value {
				t.Errorf("the link to %s: %s is %v, want %v", m.Name, key, got[key], value)
			}
		}
	}
	if p := run(t, sneezy, "rx", "doc", "true"); p.status() != 255 {
		t.Errorf("sneezy and doc are on no common network, and a call ends with %d", p.status())
	}

	t.Run("one goes down", func(t *testing.T) {
		lossOf(t, grumpy, sneezy, doc, func() { sh(t, grumpy, "ip link set eth1 down") })
		if p := run(t, grumpy, "rx", "doc", "true"); p.status() != 255 {
			t.Errorf("a call over an interface that is down ends with %d", p.status())
		}
		reach(t, grumpy, sneezy)
		sh(t, grumpy, "ip link set eth1 up")
		reachAgain(t, grumpy, doc)
	})
	t.Run("one has another address", func(t *testing.T) {
		const other = "02:44:4e:45:99:01"
		lossOf(t, grumpy, sneezy, doc, func() { sh(t, grumpy, "ip link set eth1 address "+other) })
		reachAgain(t, grumpy, doc)
		if r := find(rows(t, doc, "links"), "link", "station", other); r["state"] != "up" || r["machine"] != "grumpy" {
			t.Errorf("doc's link to the new address is %v", r)
		}
		stations := find(rows(t, grumpy, "status"), "machine", "machine", "grumpy")["stations"].([]any)
		if len(stations) != 2 || stations[1] != "eth1 "+other {
			t.Errorf("grumpy's stations are %v", stations)
		}
	})
	t.Run("one has another MTU", func(t *testing.T) {
		lossOf(t, grumpy, sneezy, doc, func() { sh(t, grumpy, "ip link set eth1 mtu 1000") })
		reachAgain(t, grumpy, doc)
		if got := n1(t, doc, grumpy); got != 997 {
			t.Errorf("N1 is %d, want 997", got)
		}
	})
	t.Run("one is removed, and comes later", func(t *testing.T) {
		lossOf(t, grumpy, sneezy, doc, func() { sh(t, grumpy, "ip link del eth1") })
		reach(t, grumpy, sneezy)
		l.Join("eth1", 1500, "grumpy")
		reachAgain(t, grumpy, doc)
	})
	t.Run("both have a common machine", func(t *testing.T) {
		// sneezy comes to the second network too: one machine, two stations.
		l.Join("eth1", 1500, "sneezy")
		sneezy.KillNetman(15)
		sneezy.Netman("-i", "eth0,eth1")
		reachAgain(t, grumpy, sneezy)
		reachAgain(t, doc, sneezy)
		sneezy.LinkDown()
		reachAgain(t, grumpy, sneezy) // by the other network
		sneezy.LinkUp()
		reach(t, grumpy, sneezy)
	})
	idle(t, l.Machines()...)
}

// An interface that carries nothing when netman starts is taken up when it does.
func TestInterfaceThatComesLater(t *testing.T) {
	for _, c := range []struct {
		name        string
		leave, back func(*testing.T, *lab.Machine)
		args        []string
	}{
		{"set down", departures[1].leave, departures[1].back, nil},
		{"no cable", departures[0].leave, departures[0].back, nil},
		{"no cable, and named", departures[0].leave, departures[0].back, []string{"-i", "eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
			grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
			c.leave(t, doc)
			grumpy.Netman()
			doc.Netman(c.args...)
			if p := run(t, grumpy, "rx", "doc", "true"); p.status() != 255 {
				t.Errorf("a call to a machine that hears nothing ends with %d", p.status())
			}
			c.back(t, doc)
			reachAgain(t, grumpy, doc)
		})
	}
}
