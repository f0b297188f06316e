package sim

import (
	"strings"
	"time"

	"dnet/netman/node"
	"dnet/x25"
)

// checkPrograms asserts the limits of the circuits as their programs see them.
func (m *Machine) checkPrograms() {
	for _, p := range m.programs {
		if p.c.Held() > p.heldLimit() {
			m.w.failf("%s: %d octets received and not read, limit %d", p, p.c.Held(), p.heldLimit())
		}
		if p.connected && !p.ended && !p.closing && p.c.Room() < -(maxSend+16) {
			m.w.failf("%s: the send queue is %d octets above its limit", p, -p.c.Room())
		}
	}
}

// heldLimit is how many octets may lie unread on the circuit: what credit is given up to, and a window.
func (p *program) heldLimit() int {
	cfg := p.m.Level
	if c, ok := p.c.(*channel); ok {
		cfg = c.srv.cfg
	}
	limit, window := 256<<10, 512<<10
	if cfg.ReceiveLimit > 0 {
		limit = cfg.ReceiveLimit
	}
	if cfg.Window > 0 && cfg.MaxUserData > 0 {
		window = max(cfg.Window, 2) * cfg.MaxUserData
	}
	const marks = 4 * 128 // x25 counts 4 octets for each message
	return limit + window + marks
}

// checkLog fails on what must not be in the log.
func (m *Machine) checkLog(text string) {
	if !strings.HasPrefix(text, "link to ") || !strings.Contains(text, " is down: ") {
		return
	}
	m.w.Stats.LinksDown++
	switch {
	case m.w.Corrupt:
	case strings.Contains(text, "protocol error"):
		m.w.failf("%s: %s", m.name, text)
	case !m.w.Trouble:
		m.w.failf("%s: %s, on a wire that only loses, doubles and reorders a little", m.name, text)
	}
}

// checkCleared asserts that the circuit ended for a reason that the world gave.
func (p *program) checkCleared(ev node.Event) {
	w, other := p.w, p.other()
	resets := p.reset || other != nil && (other.reset || len(other.plan.resets) > 0)
	ok := false
	switch {
	case ev.Cause == x25.CauseDTE && ev.Diag == x25.DiagUndelivered:
		ok = p.connected && (w.Trouble || resets || p.plan.stuck() || other.plan.stuck())
	case ev.Cause == x25.CauseDTE && ev.Diag == x25.DiagProgramDied && other != nil && other.killed:
		ok = true
	case ev.Cause == x25.CauseDTE && !p.connected:
		ok = ev.Diag == diagRefused || ev.Diag == diagCancelled || ev.Diag == x25.DiagCallTimer
	case ev.Cause == x25.CauseDTE && (ev.Diag == diagAborted || ev.Diag == diagCancelled):
		ok = other.aborted
	case ev.Cause == x25.CauseDTE:
		ok = other.closing && ev.Diag == other.plan.diag && ev.Text == other.text
	case ev.Cause == x25.CauseOutOfOrder:
		ok = w.Trouble || !p.connected && (ev.Diag == x25.DiagCallTimer || strings.HasSuffix(ev.Text, "does not answer") ||
			w.Scarce && strings.HasSuffix(ev.Text, ": refused")) // a machine with too many stations forgot this one after its hello
	case ev.Cause == x25.CauseBarred || ev.Cause == x25.CauseIncompatible:
		ok = w.Strangers && !p.connected
	case ev.Cause == x25.CauseCongestion:
		ok = w.Scarce
	case ev.Cause == x25.CauseBusy || ev.Cause == x25.CauseNotObtainable:
		ok = !p.connected
	case ev.Cause == x25.CauseRemoteProcedure:
		ok = w.Trouble && ev.Diag == x25.DiagResetTimer
	}
	if !ok {
		w.failf("%s: cleared %02x (%v) %02x (%v) %q, and there is no reason for it", p, uint8(ev.Cause), ev.Cause, uint8(ev.Diag), ev.Diag, ev.Text)
	}
}

// stuck says that the program lets data lie so long that the other end's Close may give up.
func (p plan) stuck() bool { return p.stall > 10*time.Second || p.read > time.Second }

// checkReset asserts that a reset came from a program.
func (p *program) checkReset(ev node.Event) {
	p.w.Stats.Resets++
	if p.lost && p.ended && p.w.Scarce {
		return
	}
	if !p.w.Corrupt && (ev.Cause != x25.ResetDTE || ev.Diag != 0) {
		p.w.failf("%s: reset %02x %02x (%v), which no program asked for", p, uint8(ev.Cause), uint8(ev.Diag), ev.Diag)
	}
}
