package sim

import (
	"strings"
	"testing"
	"time"

	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// try runs a directed scenario in each mode, in a world of its own.
func try(t *testing.T, run func(w *World)) {
	t.Helper()
	for _, mode := range modes {
		tryMode(t, mode, run)
	}
}

func tryMode(t *testing.T, mode seal.Mode, run func(w *World)) {
	t.Helper()
	trace, flush := tracer()
	defer flush()
	w := New(max(*seedFlag, 1), trace)
	w.Trouble, w.Mode = true, mode
	if err := w.Try(func() { run(w) }); err != nil {
		t.Error(mode, ": ", strings.Split(err.Error(), "\nrun it again")[0])
	}
}

// boot makes machines with a server each, starts them, and waits until they have their names.
func boot(w *World, cfg MachineConfig, names ...string) []*Machine {
	var all []*Machine
	for _, name := range names {
		m := w.AddMachine(name, cfg)
		m.offer(&service{name: "sink." + name, max: 100, plan: func(*request) plan { return plan{finish: never} }})
		all = append(all, m)
		m.Start()
	}
	w.Until(time.Second, "all names claimed", func() bool {
		for _, m := range all {
			if !m.claimed {
				return false
			}
		}
		return true
	})
	return all
}

// idle is the plan of a program that says nothing and waits for the other end to close.
func idle() plan { return plan{finish: never} }

// connect has a call answered and returns both ends.
func connect(w *World, m *Machine, service string, p plan) (client, server *program) {
	r := m.call(service, p)
	w.Until(5*time.Second, "connected", func() bool { return r.caller.connected })
	return r.caller, r.accepted
}

// TestStream: 20 MB each way at once pass a wire that loses 5 %, doubles 2 % and reorders 2 %, and no link goes down.
func TestStream(t *testing.T) {
	for _, octet := range []time.Duration{0, 8} {
		try(t, func(w *World) {
			w.Trouble = false
			m := boot(w, MachineConfig{}, "grumpy", "sneezy")
			stream := plan{finish: whenRead}
			for range 320 {
				stream.writes = append(stream.writes, write{n: 65535})
			}
			m[1].offer(&service{name: "stream.sneezy", max: 1, plan: func(*request) plan { return stream }})
			w.Wire.SetMood(Mood{
				Delay: 100 * time.Microsecond, Octet: octet, Loss: 0.05, Dup: 0.02, Late: 0.02, LateBy: 200 * time.Microsecond,
			})
			m[0].call("stream.sneezy", stream)
			d := w.Until(2*time.Minute, "20 MB each way", func() bool { return w.open == 0 })
			t.Logf("%d ns an octet: 2 x %d octets in %v of virtual time, %.1f MB/s each way, %d steps", octet, w.Stats.Octets/2,
				d.Round(time.Millisecond), float64(w.Stats.Octets/2)/1e6/d.Seconds(), w.Steps())
		})
	}
}

// TestCrash: when the machine of a server crashes, the caller is told so, with cause 09, within the tolerance and little more; so is
// the other end when a wire is cut.
func TestCrash(t *testing.T) {
	for _, tolerance := range []time.Duration{50 * time.Millisecond, time.Second, 5 * time.Second} {
		for _, cut := range []bool{false, true} {
			try(t, func(w *World) {
				m := boot(w, MachineConfig{Tolerance: tolerance}, "grumpy", "sneezy")
				client, server := connect(w, m[0], "sink.sneezy", idle())
				w.Run(w.between(2*time.Second, 4*time.Second))
				if cut {
					w.Wire.Cut(m[0], m[1], true)
					w.Wire.Cut(m[1], m[0], true)
				} else {
					m[1].Crash()
				}
				d := w.Until(tolerance+tolerance/4+20*time.Millisecond, "the caller told", func() bool { return client.gone })
				if client.cause != x25.CauseOutOfOrder {
					w.failf("the caller is told %v", client.cause)
				}
				if d < tolerance/2 {
					w.failf("a link with a tolerance of %v was down after %v", tolerance, d)
				}
				if cut {
					w.Until(tolerance, "the server told", func() bool { return server.gone && server.cause == x25.CauseOutOfOrder })
				}
				t.Logf("tolerance %v, wire cut %v: told after %v", tolerance, cut, d)
			})
		}
	}
}

// TestRestart: when a machine crashes and is back before anybody noticed, the circuits of its former life are cleared, and
// calls to it succeed.
func TestRestart(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{Tolerance: 30 * time.Second}, "grumpy", "sneezy")
		client, _ := connect(w, m[0], "sink.sneezy", idle())
		w.Run(time.Second)
		m[1].Crash()
		w.Run(100 * time.Millisecond)
		m[1].Start()
		w.Until(time.Second, "back", func() bool { return m[1].claimed })
		second, _ := connect(w, m[1], "sink.grumpy", plan{})
		w.Until(time.Second, "the old circuit cleared", func() bool { return client.gone && client.cause == x25.CauseOutOfOrder })
		third, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "the new ones over", func() bool { return second.gone && third.gone })
	})
}

// TestSilentRestart: a machine that crashed and is back, but has nothing to say, tells those who still poll its former life that it is gone.
func TestSilentRestart(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{Tolerance: 30 * time.Second}, "grumpy", "sneezy")
		client, _ := connect(w, m[0], "sink.sneezy", idle())
		w.Run(time.Second)
		m[1].Crash()
		w.Run(100 * time.Millisecond)
		m[1].Start()
		d := w.Until(9*time.Second, "the caller told, after a poll", func() bool { return client.gone })
		if client.cause != x25.CauseOutOfOrder {
			w.failf("the caller is told %v after %v", client.cause, d)
		}
	})
}

// TestInterfaceDown: an interface that goes down ends its links at once.
func TestInterfaceDown(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		client, server := connect(w, m[0], "sink.sneezy", idle())
		w.Run(time.Second)
		m[0].InterfaceDown(0)
		if !client.gone || client.cause != x25.CauseOutOfOrder {
			w.failf("the caller is not told at once")
		}
		w.Until(1300*time.Millisecond, "the other end told", func() bool { return server.gone })
		m[0].InterfaceUp(0, [6]byte{})
		second, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "a call over", func() bool { return second.gone })
	})
}

// TestFirstAnswer: of several servers of a name the first to answer gets the call, and no other hears of it.
func TestFirstAnswer(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy", "doc", "bashful")
		calls := map[string]int{}
		for i, each := range m[1:] {
			each.Latency = time.Duration(i) * 5 * time.Millisecond
			each.offer(&service{name: "date", max: 100, plan: func(r *request) plan { calls[each.name]++; return plan{} }})
		}
		for range 20 {
			client, server := connect(w, m[0], "date", idle())
			if len(client.r.servers) != 1 || server.m.name != client.machine() {
				w.failf("%d servers were called", len(client.r.servers))
			}
			w.Until(time.Second, "over", func() bool { return client.gone })
			w.Run(100 * time.Millisecond)
		}
		if calls["sneezy"] < 10 {
			w.failf("the nearest server got %d of 20 calls: %v", calls["sneezy"], calls)
		}
		t.Logf("calls: %v", calls)
	})
}

// TestBusy: a busy server is passed over while another is free; when all are busy the caller is told so.
func TestBusy(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy", "doc")
		for _, each := range m[1:] {
			each.offer(&service{name: "date", max: 1, plan: func(*request) plan { return idle() }})
		}
		first, one := connect(w, m[0], "date", plan{finish: never})
		second, two := connect(w, m[0], "date", plan{finish: never})
		if one.m == two.m {
			w.failf("both calls went to %s", one.m.name)
		}
		r := m[0].call("date", plan{})
		w.Until(time.Second, "the third call told that all are busy", func() bool { return r.failed })
		if r.outcome != x25.CauseBusy {
			w.failf("the third call is told %v", r.outcome)
		}
		for _, p := range []*program{first, second} {
			m[0].turn(p.close)
		}
		w.Until(time.Second, "over", func() bool { return w.open == 0 })
	})
}

// TestNotServedTwice: a server has accepted, which the caller does not know yet, when its netman is stopped. Whoever else offers the
// service must not be called then, nor the same machine when it is back.
func TestNotServedTwice(t *testing.T) {
	for _, back := range []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Minute} {
		try(t, func(w *World) {
			m := boot(w, MachineConfig{}, "grumpy", "sneezy", "doc")
			for _, each := range m[1:] {
				each.offer(&service{name: "date", max: 9, plan: func(*request) plan { return idle() }})
			}
			m[2].Latency = 5 * time.Millisecond
			link, _ := connect(w, m[0], "sink.sneezy", plan{})
			w.Until(time.Second, "the link up and free", func() bool { return link.gone })
			w.Run(100 * time.Millisecond)
			r := m[0].call("date", idle())
			w.Until(time.Second, "the call at a server", func() bool { return len(r.servers) > 0 })
			server := r.servers[0].m
			w.Wire.Cut(server, m[0], true)
			w.Until(time.Second, "accepted", func() bool { return r.accepted != nil })
			w.Run(100 * time.Microsecond)
			w.Wire.Cut(server, m[0], false)
			server.Stop()
			w.After(back, server.Start)
			w.Until(3*time.Second, "the caller told", func() bool { return r.caller.gone })
			w.Run(3 * time.Second)
			if r.outcome != x25.CauseOutOfOrder || len(r.servers) != 1 {
				w.failf("%d servers were called, and the caller is told %v", len(r.servers), r.outcome)
			}
		})
	}
}

// TestSleep: a netman that is not driven for a second takes no link down for it. When the whole computer pauses, neither
// end does; when one sleeps for less than the tolerance, neither.
func TestSleep(t *testing.T) {
	rows := []struct {
		tolerance, sleep time.Duration
		both             bool
	}{
		{time.Second, time.Second, true},
		{time.Second, 10 * time.Second, true},
		{50 * time.Millisecond, time.Second, true},
		{time.Second, 700 * time.Millisecond, false},
		{2 * time.Second, time.Second, false},
		{30 * time.Second, 20 * time.Second, false},
	}
	for _, row := range rows {
		try(t, func(w *World) {
			w.Trouble = false
			m := boot(w, MachineConfig{Tolerance: row.tolerance}, "grumpy", "sneezy")
			client, _ := connect(w, m[0], "sink.sneezy", idle())
			if row.both {
				w.Wire.Delay = row.tolerance / 8 // so that a poll is often under way
			}
			for range 20 {
				w.Run(w.between(0, 2*row.tolerance))
				m[0].Sleep(row.sleep)
				if row.both {
					m[1].Sleep(row.sleep + w.between(0, row.tolerance/8))
				}
				w.Run(row.sleep)
			}
			w.Run(2 * row.tolerance)
			if client.gone {
				w.failf("the circuit was cleared: %v", client.cause)
			}
		})
	}
}

// TestOneSleeps: the one that slept for longer than the tolerance is thought gone by the other, but does not judge the other itself.
func TestOneSleeps(t *testing.T) {
	try(t, func(w *World) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		client, server := connect(w, m[0], "sink.sneezy", idle())
		w.Run(time.Second)
		m[0].Sleep(5 * time.Second)
		w.Run(5 * time.Second)
		if !server.gone || client.gone {
			w.failf("server told %v, sleeper told %v", server.gone, client.gone)
		}
		w.Until(time.Second, "the sleeper told that the link is gone", func() bool { return client.gone })
		second, _ := connect(w, m[0], "sink.sneezy", plan{})
		w.Until(time.Second, "a call over", func() bool { return second.gone })
	})
}

// TestOneName: of two machines that claim one name at once, the one with the lower address gets it; a newcomer is refused by the holder.
func TestOneName(t *testing.T) {
	try(t, func(w *World) {
		a, b := w.AddMachine("doc", MachineConfig{}), w.AddMachine("doc", MachineConfig{})
		if string(b.nics[0].addr[:]) < string(a.nics[0].addr[:]) {
			a, b = b, a
		}
		w.After(100*time.Millisecond, a.Start)
		w.After(w.between(0, 200*time.Millisecond), b.Start)
		w.Until(time.Second, "one told that the other has the name", func() bool { return w.Stats.Clashes > 0 })
		if b.n != nil {
			w.failf("the higher address got the name")
		}
		w.Until(time.Second, "claimed", func() bool { return a.claimed })
		w.Until(3*time.Second, "the newcomer refused", func() bool { return w.Stats.Clashes > 2 })
		if b.claimed || !a.claimed {
			w.failf("two hold the name")
		}
	})
}

// TestOneNameOfMany: of many that claim one name at once somebody gets it. When they weigh fewer rivals than there are, two may; then
// both are told once they meet.
func TestOneNameOfMany(t *testing.T) {
	for rivals := range 3 { // 0: as many as there may be
		try(t, func(w *World) {
			limits := node.Limits{Names: names.Limits{Rivals: rivals, Clashes: rivals}}
			for range 5 {
				w.AddMachine("doc", MachineConfig{Limits: limits}).Start()
			}
			w.Run(10 * time.Second)
			holders := 0
			for _, m := range w.Machines {
				if m.claimed {
					holders++
				}
			}
			asker := boot(w, MachineConfig{}, "grumpy")
			asker[0].call("sink.doc", plan{})
			w.Until(3*time.Second, "the call over", func() bool { return w.open == 0 })
			switch {
			case holders == 0 || rivals == 0 && holders > 1:
				w.failf("%d machines hold the name", holders)
			case holders > 1 && w.Stats.Clashes < holders:
				w.failf("%d machines hold the name, and %d clashes were told", holders, w.Stats.Clashes)
			}
			t.Logf("at most %d rivals weighed: %d machines hold the name, %d clashes", rivals, holders, w.Stats.Clashes)
		})
	}
}

// TestOneNameSplit: two that came to one name while parted are told so once they meet, and nobody is cut off.
func TestOneNameSplit(t *testing.T) {
	try(t, func(w *World) {
		a, b := w.AddMachine("doc", MachineConfig{}), w.AddMachine("doc", MachineConfig{})
		w.Wire.Cut(a, b, true)
		w.Wire.Cut(b, a, true)
		m := boot(w, MachineConfig{}, "grumpy")
		a.offer(&service{name: "date.doc", max: 9, plan: func(*request) plan { return plan{} }})
		a.Start()
		b.Start()
		w.Until(time.Second, "both claimed", func() bool { return a.claimed && b.claimed })
		w.Wire.Cut(a, b, false)
		w.Wire.Cut(b, a, false)
		client, _ := connect(w, m[0], "date.doc", idle())
		w.Until(time.Second, "a call over", func() bool { return client.gone })
		b.call("date.grumpy", plan{})
		w.Until(time.Second, "the clash told", func() bool { return w.Stats.Clashes > 0 })
		if a.n == nil || b.n == nil {
			w.failf("one was cut off")
		}
	})
}

// TestLargeFrames: on a path that eats frames above 1500 octets two machines with larger ones find out, and data passes.
func TestLargeFrames(t *testing.T) {
	for _, later := range []bool{false, true} {
		try(t, func(w *World) {
			m := boot(w, MachineConfig{MTU: 9000}, "grumpy", "sneezy")
			if !later {
				w.Wire.MTU = 1500
			}
			client, _ := connect(w, m[0], "sink.sneezy", idle())
			if later {
				w.Wire.MTU = 1500
				for range 10 {
					client.plan.writes = append(client.plan.writes, write{n: 8000}, write{n: 10}) // small ones still pass
				}
				m[0].turn(client.write)
				w.Until(5*time.Second, "the path found to eat large frames", func() bool { return client.gone })
			}
			second, _ := connect(w, m[0], "sink.sneezy", plan{writes: []write{{n: 60000}, {n: 3000}}})
			w.Until(time.Second, "data through", func() bool { return second.gone })
		})
	}
}

// TestLargeFramesBothWays: so they do when each has a large frame and a small one behind it for the other, and answers the other's P by REJ.
func TestLargeFramesBothWays(t *testing.T) {
	for _, delay := range []time.Duration{10 * time.Microsecond, 200 * time.Microsecond, 2 * time.Millisecond} {
		for _, octet := range []time.Duration{0, 80} {
			try(t, func(w *World) {
				w.Wire.SetMood(Mood{Delay: delay, Octet: octet})
				m := boot(w, MachineConfig{MTU: 4000}, "grumpy", "sneezy")
				mixed := []write{{n: 200}, {n: 3500}} // and an RR packet behind them
				m[1].offer(&service{name: "mixed.sneezy", max: 1, plan: func(*request) plan { return idle() }})
				client, server := connect(w, m[0], "mixed.sneezy", idle())
				w.Run(time.Second)
				w.Wire.MTU = 1500
				client.plan.writes, server.plan.writes = mixed, mixed
				m[0].turn(client.write)
				m[1].turn(server.write)
				w.Until(5*time.Second, "the path found to eat large frames", func() bool { return client.gone && server.gone })
				second, _ := connect(w, m[0], "sink.sneezy", plan{writes: []write{{n: 60000}, {n: 3000}}})
				w.Until(time.Second, "data through", func() bool { return second.gone })
			})
		}
	}
}

// TestIdleLink: a link without circuits is disconnected after a minute, and set up again for the next call.
func TestIdleLink(t *testing.T) {
	try(t, func(w *World) {
		w.Trouble = false
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		for range 3 {
			client, _ := connect(w, m[0], "sink.sneezy", plan{})
			w.Until(time.Second, "over", func() bool { return client.gone })
			w.Run(59 * time.Second)
			if len(m[0].n.Links()) != 1 || m[0].n.Links()[0].State != "up" {
				w.failf("links: %+v", m[0].n.Links())
			}
			w.Run(2 * time.Second)
			if len(m[0].n.Links()) != 1 || m[0].n.Links()[0].State != "idle" {
				w.failf("links: %+v", m[0].n.Links())
			}
			w.Run(w.between(0, 40*time.Second))
		}
	})
}

// TestIdleCrossing: a call that meets the DISC of an idle link on its way is placed once more, on the next link.
func TestIdleCrossing(t *testing.T) {
	idleFrom := func(w *World) (caller, server *Machine) {
		m := boot(w, MachineConfig{}, "grumpy", "sneezy")
		caller, server = m[0], m[1]
		if string(caller.nics[0].addr[:]) < string(server.nics[0].addr[:]) {
			caller, server = server, caller // the lower address disconnects
		}
		client, _ := connect(w, caller, "sink."+server.name, plan{})
		w.Until(time.Second, "over", func() bool { return client.gone })
		return caller, server
	}
	var at time.Duration
	try(t, func(w *World) {
		_, server := idleFrom(w)
		w.Until(62*time.Second, "the link disconnected", func() bool { return server.n.Links()[0].State != "up" })
		at = w.now
	})
	for offset := -300 * time.Microsecond; offset <= 300*time.Microsecond; offset += 10 * time.Microsecond {
		try(t, func(w *World) {
			w.Trouble = false
			caller, server := idleFrom(w)
			w.Run(at + offset - w.now)
			client, _ := connect(w, caller, "sink."+server.name, plan{writes: []write{{n: 1000}}})
			w.Until(time.Second, "over", func() bool { return client.gone })
			if len(client.r.servers) != 1 {
				w.failf("the call came %d times", len(client.r.servers))
			}
		})
	}
}

// TestBudget: when memory is short for a program of the machine itself, the largest holder is cleared, and its other end told at once.
func TestBudget(t *testing.T) {
	try(t, func(w *World) {
		w.Trouble, w.Scarce = false, true
		m := boot(w, MachineConfig{Budget: 50000}, "grumpy", "sneezy")
		m[0].offer(&service{name: "hold.grumpy", max: 9, plan: func(*request) plan { return plan{finish: never, stall: time.Minute} }})
		far, _ := connect(w, m[1], "hold.grumpy", plan{finish: never, writes: []write{{n: 30000}}})
		w.Run(time.Second)
		near, _ := connect(w, m[0], "hold.grumpy", plan{finish: never, writes: []write{{n: 20000}}})
		w.Until(5*time.Millisecond, "the far one told", func() bool { return far.gone })
		if far.cause != x25.CauseCongestion || near.gone {
			w.failf("the far one is told %v; the near one is gone: %v", far.cause, near.gone)
		}
	})
}
