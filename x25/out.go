package x25

import "time"

// AppendNext appends the next packet to dst, or leaves dst as it is when there is none: restart and diagnostic, then
// interrupts and confirmations, then RR, call, accept, clear and reset, then one data packet per ready circuit in rotation.
// The packet is never larger than MaxPacket.
func (l *Level) AppendNext(now time.Time, dst []byte, out *Out) []byte {
	if l.state == down {
		return dst
	}
	if l.restart.unsent || l.state == r2 || l.diagnostic.due {
		return l.sendLevel(now, dst, out)
	}
	if l.state != r1 {
		return dst
	}
	if c := l.urgent.head; c != nil {
		return l.sendUrgent(dst, c, out)
	}
	for c := l.control.head; c != nil; c = l.control.head {
		if c.state == p3 && c.closing.on {
			// Closed before it was ever sent.
			l.finish(c, Drained, 0, 0, nil, out)
			l.free(c)
			continue
		}
		return l.sendControl(now, dst, c, out)
	}
	if c := l.data.head; c != nil {
		return l.sendData(dst, c, out)
	}
	return dst
}

func (l *Level) sendLevel(now time.Time, dst []byte, out *Out) []byte {
	l.stats[PacketsOut]++
	switch r := &l.restart; {
	case r.unsent:
		r.unsent = false
		r.sent++
		r.t20 = now.Add(l.cfg.Timers.T20)
		l.note(r.t20)
		return Packet{Kind: KindRestart, Cause: r.cause, Diag: r.diag}.Append(dst)
	case l.state == r2:
		l.enterR1(out)
		return Packet{Kind: KindRestartConfirm}.Append(dst)
	}
	d := &l.diagnostic
	d.due = false
	return Packet{Kind: KindDiagnostic, Diag: d.diag, UserData: d.head[:d.n]}.Append(dst)
}

func (l *Level) sendUrgent(dst []byte, c *Circuit, out *Out) []byte {
	l.stats[PacketsOut]++
	l.urgent.put(c, false)
	p := Packet{LCI: c.lci}
	switch {
	case c.state == p6:
		p.Kind = KindClearConfirm
		l.free(c)
		return p.Append(dst)
	case c.data == d2:
		p.Kind = KindResetConfirm
		c.data = d1
		l.roomAfterReset(c, out)
	case c.interrupt.j2:
		p.Kind = KindInterruptConfirm
		c.interrupt.j2 = false
	default:
		p.Kind = KindInterrupt
		p.UserData = c.interrupt.octets[:c.interrupt.n]
		c.interrupt.i2, c.interrupt.n = true, 0
	}
	dst = p.Append(dst)
	l.schedule(c)
	l.drained(c)
	return dst
}

func (l *Level) sendControl(now time.Time, dst []byte, c *Circuit, out *Out) []byte {
	l.stats[PacketsOut]++
	l.control.put(c, false)
	var fac [maxFacilities]byte
	p := Packet{LCI: c.lci, Cause: c.setup.cause, Diag: c.setup.diag}
	switch c.state {
	case p2, p5:
		p.Kind, p.Facilities, p.UserData = KindAccept, c.setup.answer.append(fac[:0]), c.setup.userData
		dst = p.Append(dst)
		l.enterP4(c)
		l.drained(c)
		return dst
	case p3:
		c.setup.answer = l.cfg.propose(fromCalled)
		c.setup.answer.credential = c.setup.credential
		p.Kind, p.Facilities, p.UserData = KindCall, c.setup.answer.append(fac[:0]), c.setup.userData
		c.sent, c.unsent = 1, false
	case p7:
		p.Kind, p.UserData = KindClear, c.setup.userData
		l.requestSent(now, c, l.cfg.Timers.T23)
	case p4:
		if c.data == d3 {
			p.Kind = KindReset
			l.requestSent(now, c, l.cfg.Timers.T22)
			l.roomAfterReset(c, out)
			break
		}
		p.Kind, p.PR = KindRR, c.rx.pr
		l.said(c)
	}
	dst = p.Append(dst)
	l.schedule(c)
	return dst
}

// requestSent starts the timer of a clear or reset request.
func (l *Level) requestSent(now time.Time, c *Circuit, t time.Duration) {
	c.unsent = false
	c.sent++
	c.timer = now.Add(t)
	l.note(c.timer)
}

// sendData cuts a packet from the head of the send queue (ISO 8208 6.4, 7.1).
func (l *Level) sendData(dst []byte, c *Circuit, out *Out) []byte {
	l.stats[PacketsOut]++
	l.data.put(c, false)
	data, q, end, _ := c.tx.q.peek()
	if len(data) > c.tx.size {
		data, end = data[:c.tx.size], false
	}
	gfi, m := byte(gfiModulo128)|byte(c.lci>>8), c.rx.pr<<1
	if q {
		gfi |= gfiQ
	}
	if !end {
		m |= 1
	}
	dst = append(dst, gfi, byte(c.lci), c.tx.vs<<1, m)
	dst = append(dst, data...)
	c.tx.q.take(l.cfg.Pool, len(data), end)
	c.tx.vs = (c.tx.vs + 1) & 127
	l.stats[DataOut] += uint64(len(data))
	l.said(c)
	l.schedule(c)
	l.room(c, out)
	return dst
}

// said is when a packet has taken P(R) along.
func (l *Level) said(c *Circuit) {
	c.rx.said = c.rx.pr
	c.rx.due = false
	l.acks.put(c, false)
}

// room tells the program that it can send again, or that all it sent has gone out.
func (l *Level) room(c *Circuit, out *Out) {
	if c.ended || c.closing.on || !c.tx.q.empty() && (!c.tx.full || c.Room() <= 0) {
		return
	}
	c.tx.full = false
	out.Events = append(out.Events, Event{Kind: Room, Circuit: c})
}

// roomAfterReset is room, if the reset dropped anything.
func (l *Level) roomAfterReset(c *Circuit, out *Out) {
	if c.tx.full {
		l.room(c, out)
	}
}

// enterP4 begins data transfer with all numbers 0 (ISO 8208 7.1.1).
func (l *Level) enterP4(c *Circuit) {
	c.state, c.data = p4, d1
	c.accepted, c.unsent, c.sent = false, false, 0
	c.setup.userData = nil
	c.timer = time.Time{}
	l.schedule(c)
}

// enterP6 serves the peer's clear: the confirmation is to be sent.
func (l *Level) enterP6(c *Circuit) {
	c.state, c.data = p6, 0
	l.quiet(c)
	l.schedule(c)
}

// enterD3 begins the reset procedure (ISO 8208 8.1).
func (l *Level) enterD3(c *Circuit, cause Cause, diag Diag) {
	c.data, c.unsent, c.sent, c.surplus = d3, true, 0, 0
	c.setup.cause, c.setup.diag = cause, diag
	c.timer = time.Time{}
	l.schedule(c)
}

// startClear begins the clearing procedure (ISO 8208 5.5.1). A call that the peer has not seen only leaves its channel,
// at once or, if Drained is to follow, when its turn to be sent comes.
func (l *Level) startClear(c *Circuit, cause Cause, diag Diag, userData []byte) {
	switch {
	case c.state == p7:
		return
	case c.state == p3 && c.sent == 0:
		if c.ended {
			l.free(c)
		}
		return
	}
	c.state, c.data = p7, 0
	l.quiet(c)
	c.unsent = true
	c.setup.cause, c.setup.diag, c.setup.userData = cause, diag, nil
	if (c.setup.fast || c.caller) && len(userData) > 0 {
		c.setup.userData = clipUserData(userData)
	}
	l.schedule(c)
}

// quiet stops what a circuit does in set-up or data transfer.
func (l *Level) quiet(c *Circuit) {
	c.accepted, c.unsent, c.answered, c.sent, c.surplus = false, false, false, 0, 0
	c.timer, c.closing.stall = time.Time{}, time.Time{}
	c.tx.q.drop(l.cfg.Pool)
	c.rx.due = false
	l.cfg.Budget.promised -= c.rx.promised
	c.rx.promised = 0
	l.acks.put(c, false)
	c.interrupt = interrupts{}
}

// drained sends the clear of a Close once P(R) covers all that was queued.
func (l *Level) drained(c *Circuit) {
	if c.closing.on && c.state == p4 && c.data == d1 && c.tx.q.empty() && c.tx.vs == c.tx.lwe && c.interrupt.n == 0 {
		l.startClear(c, c.closing.cause, c.closing.diag, c.closing.userData)
	}
}

// undelivered ends a Close that cannot deliver what was queued.
func (l *Level) undelivered(c *Circuit, out *Out) {
	l.finish(c, Cleared, CauseDTE, DiagUndelivered, nil, out)
	l.startClear(c, CauseDTE, DiagUndelivered, nil)
}

// finish ends the circuit for its program, which hears of it once. Drained only follows a Close.
func (l *Level) finish(c *Circuit, kind EventKind, cause Cause, diag Diag, userData []byte, out *Out) {
	if c.ended {
		return
	}
	l.end(c)
	out.Events = append(out.Events, Event{Kind: kind, Circuit: c, Cause: cause, Diag: diag, UserData: userData})
}

// end is when no program holds the circuit any more. What was received can still be read.
func (l *Level) end(c *Circuit) {
	c.ended = true
	l.live--
	c.tx.q.drop(l.cfg.Pool)
	c.tx.full = false
}

// free takes the circuit off its channel.
func (l *Level) free(c *Circuit) {
	c.state, c.data = p1, 0
	l.quiet(c)
	l.schedule(c)
	l.table.clear(c.lci)
	c.setup.userData, c.closing.userData = nil, nil
	l.rest()
}

// flush is what a reset does to both directions (ISO 8208 8.1, 9). The peer has the credit of a whole window then, however much lies
// unread: of what it sent before, no more stays than what credit is given beside.
func (l *Level) flush(c *Circuit) {
	c.tx.full = c.tx.full || !c.tx.q.empty()
	c.tx.q.drop(l.cfg.Pool)
	c.tx.vs, c.tx.lwe, c.tx.open, c.tx.rnr = 0, 0, false, false
	rx := &c.rx
	l.stats[DropReset] += uint64(rx.q.cut(l.cfg.Pool) + rx.q.trim(l.cfg.Pool, l.cfg.ReceiveLimit))
	if rx.q.empty() {
		rx.peeked = false
	}
	l.account(c)
	rx.vr, rx.pr, rx.said, rx.due, rx.open = 0, 0, 0, false, false
	l.acks.put(c, false)
	c.interrupt = interrupts{}
}

// dropReceived gives the receive queue back.
func (l *Level) dropReceived(c *Circuit) {
	c.rx.q.drop(l.cfg.Pool)
	c.rx.peeked = false
	l.account(c)
}

// errorRestart is E(r3, diag) of the tables: the peer is told that it was its error, the programs that it was the peer's.
func (l *Level) errorRestart(diag Diag, out *Out) {
	l.stats[ProcedureError]++
	l.clearAll(CauseRemoteProcedure, diag, out)
	l.restart.surplus = 0
	l.enterR3(RestartLocalProcedure, diag)
}

// errorClear is E(p7, diag) of the tables. c is nil in p1.
func (l *Level) errorClear(lci uint16, c *Circuit, diag Diag, out *Out) {
	l.stats[ProcedureError]++
	if c == nil {
		c = l.newEnding(lci)
	}
	l.finish(c, Cleared, CauseRemoteProcedure, diag, nil, out)
	l.startClear(c, CauseLocalProcedure, diag, nil)
}

// errorReset is E(d3, diag) of the tables.
func (l *Level) errorReset(c *Circuit, diag Diag, out *Out) {
	l.stats[ProcedureError]++
	l.stats[Resets]++
	l.flush(c)
	if c.closing.on {
		l.undelivered(c, out)
		return
	}
	l.enterD3(c, ResetLocalProcedure, diag)
	out.Events = append(out.Events, Event{Kind: Reset, Circuit: c, Cause: ResetRemoteProcedure, Diag: diag})
}
