package x25

import (
	"fmt"
	"time"
)

// Check asserts what must hold between any two calls. It is for tests and the simulator: it walks everything.
func (l *Level) Check() error {
	n, live := 0, 0
	var err error
	l.table.each(func(c *Circuit) {
		n++
		if !c.ended {
			live++
		}
		if e := c.check(l); e != nil && err == nil {
			err = fmt.Errorf("x25: lci %d %s: %w", c.lci, c.State(), e)
		}
	})
	r := &l.restart
	switch {
	case err != nil:
		return err
	case n != l.table.n || live != l.live:
		return fmt.Errorf("x25: %d circuits, %d live; counted %d and %d", n, live, l.table.n, l.live)
	case live > l.cfg.MaxCircuits:
		return fmt.Errorf("x25: %d circuits, limit %d", live, l.cfg.MaxCircuits)
	case r.unsent && l.state != r3:
		return fmt.Errorf("x25: restart request to be sent in %s", l.state)
	case l.state == r3 && r.unsent == !r.t20.IsZero():
		return fmt.Errorf("x25: in r3 T20 runs or the request waits, not both")
	case l.state != r3 && !r.t20.IsZero():
		return fmt.Errorf("x25: T20 runs in %s", l.state)
	case l.late(r.t20):
		return fmt.Errorf("x25: T20 before the level's deadline")
	}
	return l.checkLists()
}

// late says that a timer would be missed.
func (l *Level) late(t time.Time) bool { return !t.IsZero() && (l.next.IsZero() || t.Before(l.next)) }

func (l *Level) checkLists() error {
	var ack time.Time
	for c := l.acks.head; c != nil; c = c.links[inAcks].next {
		if c.rx.ack.Before(ack) {
			return fmt.Errorf("x25: held back RRs out of order")
		}
		ack = c.rx.ack
	}
	for _, q := range []*list{&l.urgent, &l.control, &l.data, &l.acks} {
		var prev *Circuit
		for c := q.head; c != nil; prev, c = c, c.links[q.which].next {
			if k := c.links[q.which]; !k.in || k.prev != prev || l.table.get(c.lci) != c {
				return fmt.Errorf("x25: list %d is broken at lci %d", q.which, c.lci)
			}
		}
		if q.tail != prev {
			return fmt.Errorf("x25: tail of list %d", q.which)
		}
	}
	return l.cfg.Budget.check()
}

func (b *Budget) check() error {
	sum := 0
	for c := b.holders.head; c != nil; c = c.links[inHolders].next {
		sum += c.rx.counted
	}
	if sum != b.used || b.used < 0 || b.Limit > 0 && b.used > b.Limit {
		return fmt.Errorf("x25: budget %d of %d used, holders have %d", b.used, b.Limit, sum)
	}
	return nil
}

// check asserts the invariants of one circuit on a channel.
func (c *Circuit) check(l *Level) error {
	tx, rx := &c.tx, &c.rx
	inFlight, ahead, said := (tx.vs-tx.lwe)&127, (rx.vr-rx.said)&127, (rx.pr-rx.said)&127
	in := func(which int) bool { return c.links[which].in }
	for _, q := range []*fifo{&tx.q, &rx.q} {
		if err := q.check(); err != nil {
			return err
		}
	}
	switch {
	case l.table.get(c.lci) != c || c.level != l:
		return fmt.Errorf("not on its channel")
	case c.state == p1:
		return fmt.Errorf("on a channel")
	case (c.state == p4) != (c.data != 0):
		return fmt.Errorf("data state %d", c.data)
	case c.ended && c.state != p6 && c.state != p7:
		return fmt.Errorf("ended, but not being cleared")
	case !c.ended && c.state == p6 || !c.ended && c.state == p7 && !c.closing.on:
		return fmt.Errorf("being cleared, and its program does not know")
	case c.state == p4 && inFlight > tx.w:
		return fmt.Errorf("%d packets in flight, window %d", inFlight, tx.w)
	case c.state == p4 && (ahead > rx.w || said > ahead):
		return fmt.Errorf("V(R) %d P(R) %d last sent %d, window %d", rx.vr, rx.pr, rx.said, rx.w)
	case in(inUrgent) != c.wantsUrgent() || in(inControl) != c.wantsControl() || in(inData) != c.wantsData():
		return fmt.Errorf("not in the lists it belongs to")
	case c.state == p4 && c.data == d1 && said > 0 && !rx.due && !in(inAcks):
		return fmt.Errorf("P(R) moved on and nothing will say so")
	case in(inAcks) && (rx.due || said == 0 || c.state != p4):
		return fmt.Errorf("RR held back for nothing")
	case rx.counted != len(rx.q.buf) || in(inHolders) != (rx.counted > 0):
		return fmt.Errorf("budget has %d octets of %d", rx.counted, len(rx.q.buf))
	case tx.q.empty() != (tx.q.buf == nil):
		return fmt.Errorf("buffer of an empty queue")
	case (c.ended || c.closing.on) && c.state == p4 && !rx.q.empty():
		return fmt.Errorf("holds data for nobody")
	}
	return c.checkTimers(l)
}

// checkTimers: a request that is out has its timer, and nothing else has one.
func (c *Circuit) checkTimers(l *Level) error {
	request := c.state == p7 || c.state == p4 && c.data == d3
	calling := c.caller && (c.state == p3 || c.state == p5)
	switch {
	case request && c.unsent == !c.timer.IsZero():
		return fmt.Errorf("its timer runs or its request waits, not both")
	case calling && c.timer.IsZero():
		return fmt.Errorf("T21 does not run")
	case !request && !calling && !c.timer.IsZero():
		return fmt.Errorf("a timer runs")
	case c.closing.on && c.state == p4 && c.closing.stall.IsZero():
		return fmt.Errorf("close without a timer")
	case l.late(c.timer) || l.late(c.closing.stall):
		return fmt.Errorf("a timer before the level's deadline")
	case int(c.tx.q.size()) > 0 && c.ended:
		return fmt.Errorf("queue of an ended circuit")
	}
	return nil
}
