package sim

import (
	"fmt"
	"io"
	"time"

	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// Random makes a world of anything that may happen from a seed, lets it live, and returns it, and how it failed or nil.
func Random(seed uint64, mode seal.Mode, trace io.Writer) (*World, error) {
	w := New(seed, trace)
	w.Mode = mode
	if mode != seal.Open {
		w.tinyKeys()
	}
	return w, w.Try(func() { w.live() })
}

// scale is how much of everything a random world has.
type scale struct {
	calls    int
	octets   int // the largest message
	messages int // the most on one side of a circuit
	reading  time.Duration
}

// live is the life of a random world: calls, in trouble or not; healing; the end of all circuits; a call to each service; silence.
func (w *World) live() {
	kind := w.rng.IntN(10)
	w.Trouble = kind >= 3
	w.Corrupt = kind == 9
	w.Scarce = w.chance(0.25) || w.Scarce
	s := w.populate()
	calm := w.clean()
	if w.chance(0.7) {
		calm = w.mild()
	}
	w.Wire.SetMood(calm)
	if w.Corrupt {
		w.Wire.Trust = true
		w.Wire.Corrupt = w.rng.Float64() * 0.05
	}
	for _, m := range w.Machines {
		w.After(w.between(0, 200*time.Millisecond), m.Start)
	}
	end := w.now + w.between(2*time.Second, 15*time.Second)
	if w.Trouble {
		w.Storm(w.rng.IntN(10), end, calm)
	}
	for range s.calls {
		w.After(w.between(0, end-w.now), func() { w.randomCall(s) })
	}
	w.Run(end - w.now)
	w.finish(s)
}

// finish lets what is under way complete, now that all is well, and asserts that nothing is left.
func (w *World) finish(s scale) {
	if w.Corrupt {
		w.Wire.Trust, w.Wire.Corrupt = false, 0
		w.Run(5 * time.Second)
		for _, r := range w.requests {
			for _, p := range append([]*program{r.caller}, r.servers...) {
				p.m.turn(p.end)
			}
		}
	}
	w.Wire.Tap = nil
	w.Until(3*time.Minute, "all circuits over", func() bool { return w.open == 0 })
	for _, m := range w.Machines {
		w.Stats.Renewed += int(m.n.Counters()["seal: keys of a link renewed"])
	}
	if !w.Corrupt {
		w.callAll(s)
	}
	if w.chance(0.2) {
		for _, m := range w.Machines {
			m.Stop()
		}
		w.Run(time.Second)
		return
	}
	// 60 s until links are idle, a goodbye, 30 s until stations are forgotten.
	w.Run(110 * time.Second)
	for _, m := range w.Machines {
		if err := m.n.CheckEmpty(); err != nil {
			w.failf("%s, when all is over: %v", m.name, err)
		}
	}
}

// end ends a program of a world that nothing can be expected of.
func (p *program) end(now time.Time) {
	switch {
	case p.gone || p.m.n == nil:
	case p.connected && !p.ended && p.w.chance(0.5):
		if !p.closing {
			p.close(now)
		}
	default:
		p.c.Clear(now, x25.CauseDTE, diagAborted, "aborted", &p.m.out)
		p.release()
	}
}

// callAll: on a wire that is well a call to any service succeeds, unless the service is busy or in a mood.
func (w *World) callAll(s scale) {
	// A link to where a machine used to be is silent for as long as it is tolerated.
	w.Run(2*time.Second + 2*w.Machines[0].Tolerance)
	w.Wire.SetMood(w.clean())
	if w.Scarce {
		return
	}
	for _, from := range w.Machines {
		for _, to := range w.Machines {
			r := from.call("solid."+to.name, plan{writes: w.writes(s, 2), finish: whenRead})
			w.Until(time.Minute, "the last call over", func() bool { return w.open == 0 })
			if r.failed {
				w.failf("all is well, and %s's call of %s failed: %02x", from.name, r.service, uint8(r.outcome))
			}
		}
	}
}

// populate makes machines and services.
func (w *World) populate() scale {
	s := scale{calls: 2 + w.rng.IntN(14), octets: 65536, messages: 6, reading: 20 * time.Millisecond}
	cfg := MachineConfig{}
	if w.Trouble {
		cfg.Tolerance = w.pick(0, 0, 0, 200*time.Millisecond, 5*time.Second, 50*time.Millisecond)
	}
	cfg.Latency = w.pick(0, 20*time.Microsecond, 200*time.Microsecond)
	if w.Scarce {
		s = w.scarce(s, &cfg)
	}
	for i := range 2 + w.rng.IntN(3) {
		own := cfg
		own.MTU = []int{1500, 1500, 1500, 9000, 4000, 600}[w.rng.IntN(6)]
		if w.chance(0.15) {
			own.Ports = 2
		}
		m := w.AddMachine(fmt.Sprintf("m%d", i), own)
		m.offer(w.randomService("any."+m.name, s))
		m.offer(w.randomService("pool", s))
		m.offer(&service{name: "solid." + m.name, max: 100, complex: w.chance(0.3), plan: func(*request) plan { return plan{writes: w.writes(s, 2), finish: whenRead} }})
		if w.chance(0.5) {
			m.offer(w.randomService("rare", s))
		}
	}
	return s
}

func (w *World) pick(from ...time.Duration) time.Duration { return from[w.rng.IntN(len(from))] }

// scarce sets limits of one or two, or small ones.
func (w *World) scarce(s scale, cfg *MachineConfig) scale {
	l := &cfg.Level
	if w.chance(0.5) {
		l.Window, l.MaxUserData = 1+w.rng.IntN(2), 128
	}
	if w.chance(0.5) {
		l.MaxCircuits = 1 + w.rng.IntN(2)
	}
	if w.chance(0.2) {
		l.MaxLCI = 1 + w.rng.IntN(2)
	}
	if w.chance(0.5) {
		l.QueueLimit = 1 + w.rng.IntN(2)
	}
	if w.chance(0.5) {
		l.ReceiveLimit = 1 + w.rng.IntN(2)
	}
	if w.chance(0.3) {
		l.MaxMessage = 1 + w.rng.IntN(300)
		s.octets = 3000
	}
	if w.chance(0.3) {
		l.Timers.Tries = 1 + w.rng.IntN(2)
	}
	if w.chance(0.3) {
		cfg.RW = 1
	}
	cfg.Budget, cfg.Limits.ComplexBudget = w.scarceBudget(), w.scarceBudget()
	w.scarceNode(&cfg.Limits)
	return s
}

// scarceNode sets each limit of the node and of its directory to one or two, or leaves it.
func (w *World) scarceNode(l *node.Limits) {
	own := []*int{&l.Calls, &l.HelloBurst, &l.GreetTries, &l.Logged, &l.Stations}
	n := &l.Names
	for _, limit := range append(own, &n.Queries, &n.Answers, &n.Stations, &n.Services, &n.Held, &n.Rivals, &n.Clashes) {
		if w.chance(0.4) {
			*limit = 1 + w.rng.IntN(2)
		}
	}
}

// scarceBudget is one that is soon used up, or from the first octet on; 0: the usual one.
func (w *World) scarceBudget() int {
	switch {
	case w.chance(0.5):
		return 0
	case w.chance(0.2):
		return 1 + w.rng.IntN(2)
	}
	return 1<<10 + w.rng.IntN(128<<10)
}

func (w *World) randomService(name string, s scale) *service {
	srv := &service{name: name, max: 1 + w.rng.IntN(4), delay: w.pick(0, time.Millisecond, 300*time.Millisecond)}
	srv.complex = w.chance(0.4)
	if w.chance(0.3) {
		srv.refuses = 0.3
	}
	if w.chance(0.1) {
		srv.mute = 0.2
	}
	srv.plan = func(r *request) plan {
		p := w.randomPlan(s)
		if r.caller != nil && r.caller.plan.finish == never && p.finish == never {
			p.finish = whenRead
		}
		return p
	}
	return srv
}

// randomCall has one machine call something.
func (w *World) randomCall(s scale) {
	from, to := w.Machines[w.rng.IntN(len(w.Machines))], w.Machines[w.rng.IntN(len(w.Machines))]
	name := []string{"any." + to.name, "any." + to.name, "pool", "rare", "none", "none." + to.name, "any.nobody"}[w.rng.IntN(7)]
	if from.n == nil || from.asleep > w.now {
		return
	}
	if w.chance(0.05) {
		from.locate(name)
		return
	}
	p := w.randomPlan(s)
	if w.chance(0.1) {
		p.patience = w.between(1, time.Second)
	}
	from.call(name, p)
}

// randomPlan is what a program may do.
func (w *World) randomPlan(s scale) plan {
	p := plan{writes: w.writes(s, w.rng.IntN(s.messages+1)), finish: finish(w.rng.IntN(3)), deaf: w.chance(0.05)}
	if w.chance(0.2) {
		p.pace = w.between(1, time.Second)
	}
	if w.chance(0.3) {
		p.read = w.between(1, s.reading)
	}
	if w.chance(0.1) {
		p.stall = w.between(1, 3*time.Second)
	}
	if w.chance(0.02) {
		p.stall = 40 * time.Second
	}
	if w.chance(0.3) {
		p.interrupts, p.every = 1+w.rng.IntN(10), w.pick(time.Microsecond, 100*time.Microsecond, 5*time.Millisecond, 100*time.Millisecond)
	}
	if w.chance(0.1) {
		for range 1 + w.rng.IntN(3) {
			p.resets = append(p.resets, w.between(0, w.pick(time.Millisecond, 30*time.Millisecond, time.Second)))
		}
	}
	if w.chance(0.1) {
		p.abort = w.between(1, 2*time.Second)
	}
	if w.chance(0.1) {
		p.diag = x25.DiagProgramDied
	}
	return p
}

// writes is a number of messages: none, small, large and those that no single write holds.
func (w *World) writes(s scale, n int) []write {
	all := make([]write, n)
	for i := range all {
		size := 0
		switch w.rng.IntN(10) {
		case 0, 1:
		case 2, 3, 4:
			size = w.rng.IntN(200)
		case 5, 6, 7:
			size = w.rng.IntN(4000)
		case 8:
			size = w.rng.IntN(s.octets)
		case 9:
			size = s.octets - 1
			if w.chance(0.3) {
				size += w.rng.IntN(s.octets)
			}
		}
		all[i] = write{n: min(size, 2*s.octets), q: w.chance(0.2), pieces: w.chance(0.3)}
	}
	return all
}
