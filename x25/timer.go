package x25

import "time"

// Deadline is when HandleTimeout is next due; zero: never. A level that shares its Budget may have it come when another
// handles a packet.
func (l *Level) Deadline() time.Time {
	if c := l.acks.head; c != nil && (l.next.IsZero() || c.rx.ack.Before(l.next)) {
		return c.rx.ack
	}
	return l.next
}

// HandleTimeout does what has become due. Called early it does nothing.
func (l *Level) HandleTimeout(now time.Time, out *Out) {
	for c := l.acks.head; c != nil && !now.Before(c.rx.ack); c = l.acks.head {
		l.acks.put(c, false)
		c.rx.due = true
		l.schedule(c)
	}
	if l.next.IsZero() || now.Before(l.next) {
		return
	}
	l.next = time.Time{}
	if due(now, l.restart.t20) {
		l.expireT20(out)
	}
	l.note(l.restart.t20)
	l.table.each(func(c *Circuit) {
		if due(now, c.closing.stall) {
			l.stats[TimerExpired]++
			l.undelivered(c, out)
		}
		if due(now, c.timer) {
			l.stats[TimerExpired]++
			c.timer = time.Time{}
			l.expire(c, out)
		}
		l.note(c.closing.stall)
		l.note(c.timer)
	})
}

func due(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }

// expireT20 repeats the restart request. When that has been in vain for long, calls that wait are given up; the
// request goes on being repeated, since a peer that never answers has no other way back.
func (l *Level) expireT20(out *Out) {
	l.stats[TimerExpired]++
	l.restart.t20 = time.Time{}
	l.restart.unsent = true
	if l.restart.sent < l.cfg.Timers.Tries {
		return
	}
	l.table.each(func(c *Circuit) {
		l.finish(c, Cleared, CauseOutOfOrder, DiagRestartTimer, nil, out)
		l.free(c)
	})
}

// expire is T21, T22 or T23, by the circuit's state (ISO 8208 table 16).
func (l *Level) expire(c *Circuit, out *Out) {
	again := int(c.sent) < l.cfg.Timers.Tries
	switch {
	case c.state == p3, c.state == p5: // T21
		l.finish(c, Cleared, CauseOutOfOrder, DiagCallTimer, nil, out)
		l.startClear(c, CauseDTE, DiagCallTimer, nil)
	case c.state == p7 && (c.answered || !again): // T23
		l.finish(c, Drained, 0, 0, nil, out)
		l.free(c)
	case again: // T22, T23
		c.unsent = true
		l.schedule(c)
	default: // T22
		l.finish(c, Cleared, CauseRemoteProcedure, DiagResetTimer, nil, out)
		l.startClear(c, CauseLocalProcedure, DiagResetTimer, nil)
	}
}
