package sim

import (
	"time"

	"dnet/netman/node"
)

// clean is a wire without faults, fast or slow.
func (w *World) clean() Mood {
	return Mood{Delay: w.between(5*time.Microsecond, 500*time.Microsecond), Octet: []time.Duration{0, 8, 80}[w.rng.IntN(3)]}
}

// mild is the worst that must not be noticed: no link goes down, no circuit is cleared.
func (w *World) mild() Mood {
	m := w.clean()
	m.Loss, m.Dup, m.Late, m.LateBy = w.rng.Float64()*0.05, w.rng.Float64()*0.02, w.rng.Float64()*0.02, w.between(0, 2*m.Delay)
	m.Corrupt = w.rng.Float64() * 0.002
	return m
}

// rough is anything.
func (w *World) rough() Mood {
	m := w.clean()
	m.Delay = w.between(0, 20*time.Millisecond)
	m.Loss, m.Dup, m.Late, m.LateBy = w.rng.Float64()*0.4, w.rng.Float64()*0.3, w.rng.Float64()*0.3, w.between(0, 2*m.Delay)
	m.Corrupt = w.rng.Float64() * 0.05
	if w.Corrupt {
		m.LateBy = w.between(0, 100*time.Millisecond)
	}
	return m
}

// Storm lets episodes of trouble happen until a moment, and all be well from then on.
func (w *World) Storm(episodes int, end time.Duration, calm Mood) {
	for range episodes {
		begin := w.between(0, end-w.now)
		w.After(begin, func() { w.episode(end-w.now, calm) })
	}
	w.After(end-w.now, func() { w.heal(calm) })
}

// episode is one kind of trouble, for at most left.
func (w *World) episode(left time.Duration, calm Mood) {
	m := w.Machines[w.rng.IntN(len(w.Machines))]
	other := w.Machines[w.rng.IntN(len(w.Machines))]
	port := w.rng.IntN(len(m.nics))
	span := min(w.between(time.Millisecond, 3*time.Second), left)
	then := func(do func()) { w.After(span, do) }
	switch w.rng.IntN(13) {
	case 0, 1:
		w.tracef("rough weather for %v", span)
		w.Wire.SetMood(w.rough())
		then(func() { w.Wire.SetMood(calm) })
	case 2, 3:
		w.tracef("%s and %s are parted for %v", m.name, other.name, span)
		w.Wire.Cut(m, other, true)
		w.Wire.Cut(other, m, true)
		then(func() { w.Wire.Cut(m, other, false); w.Wire.Cut(other, m, false) })
	case 4:
		w.tracef("%s does not reach %s for %v", m.name, other.name, span)
		w.Wire.Cut(m, other, true)
		then(func() { w.Wire.Cut(m, other, false) })
	case 5, 6:
		m.Crash()
		then(m.Start)
	case 7:
		m.Stop()
		then(m.Start)
	case 8:
		m.InterfaceDown(port)
		addr := node.Addr{}
		if w.chance(0.2) {
			addr = w.newAddr()
			addr[5], addr[4] = byte(m.nics[port].index), m.nics[port].addr[4]+1
		}
		then(func() { m.InterfaceUp(port, addr) })
	case 9, 10:
		w.tracef("%s sleeps for %v", m.name, span)
		m.Sleep(span)
	case 11:
		w.tracef("the wire eats frames above 1500 octets for %v", span)
		w.Wire.MTU = 1500
		if w.chance(0.5) {
			then(func() { w.Wire.MTU = 0 })
		}
	case 12:
		m.killServer(then)
	}
}

// killServer ends the process of a complex service, if there is one, and starts it again later.
func (m *Machine) killServer(then func(do func())) {
	if len(m.servers) == 0 || m.n == nil {
		return
	}
	srv, boot := m.servers[m.w.rng.IntN(len(m.servers))], m.boot
	m.turn(srv.kill)
	then(func() {
		if m.boot == boot && srv.s.server == nil {
			m.turn(func(time.Time) { m.serve(srv.s) })
		}
	})
}

// heal makes all well: the wire in its calm mood, nobody parted, every machine up.
func (w *World) heal(calm Mood) {
	w.tracef("all is well")
	w.Wire.SetMood(calm)
	for i := range w.Wire.cut {
		clear(w.Wire.cut[i])
	}
	for _, m := range w.Machines {
		for _, c := range m.nics {
			if !c.up {
				m.InterfaceUp(c.port, node.Addr{})
			}
		}
		m.Start()
	}
}
