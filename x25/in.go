package x25

import "time"

// HandlePacket takes one packet that layer 2 delivered. UserData of the events it raises is borrowed from it.
func (l *Level) HandlePacket(now time.Time, packet []byte, out *Out) {
	if l.state == down {
		l.stats[DropDown]++
		return
	}
	l.stats[PacketsIn]++
	var p Packet
	err := p.parse(packet)
	restart := p.Kind == KindRestart || p.Kind == KindRestartConfirm
	switch {
	case err != nil && len(packet) < 2:
		l.dropFormat(packet, err.Diag)
	case restart && err == nil:
		l.handleRestart(&p, out)
	case restart && p.LCI == 0:
		l.dropFormat(packet, err.Diag)
	case p.LCI == 0:
		l.handleLevel(packet, &p, err, out)
	case l.state == r2:
		l.errorRestart(DiagState+2, out)
	case l.state == r3:
		l.stats[DropState]++
	case int(p.LCI) > l.cfg.MaxLCI:
		l.stats[DropUnassigned]++
		l.diagnose(packet, DiagUnassigned)
	default:
		l.handleCircuit(now, packet, &p, err, out)
	}
}

// dropFormat is for what cannot be laid to any circuit.
func (l *Level) dropFormat(packet []byte, diag Diag) {
	l.stats[DropFormat]++
	if l.state == r1 {
		l.diagnose(packet, diag)
	}
}

// diagnose has a diagnostic packet sent (ISO 8208 11.1), unless one is waiting.
func (l *Level) diagnose(packet []byte, diag Diag) {
	d := &l.diagnostic
	if d.due {
		l.stats[DropDiagnostic]++
		return
	}
	d.due, d.diag = true, diag
	d.n = copy(d.head[:], packet)
}

// handleLevel takes what is on LCI 0 and no restart (protocol.md 4).
func (l *Level) handleLevel(packet []byte, p *Packet, err *FormatError, out *Out) {
	switch l.state {
	case r1:
		l.stats[DropLevel]++
		if err != nil {
			l.diagnose(packet, err.Diag)
		} else if p.Kind != KindDiagnostic {
			l.diagnose(packet, DiagUnassigned)
		}
	case r2:
		l.errorRestart(DiagUnidentifiable, out)
	case r3:
		l.stats[DropState]++
	}
}

// handleRestart is the restart procedure (ISO 8208 4).
func (l *Level) handleRestart(p *Packet, out *Out) {
	r := &l.restart
	switch {
	case p.LCI != 0 && l.state == r3:
		l.stats[DropState]++
	case p.LCI != 0:
		l.errorRestart(DiagRestartLCI, out)
	case p.Kind == KindRestart:
		switch {
		case l.state == r1:
			l.stats[Restarts]++
			l.clearAll(clearCause(p.Cause), p.Diag, out)
			l.state = r2
		case l.state == r2:
			l.stats[DropState]++
		case r.sent == 0:
			// The peer was first: its request is confirmed, and ours is not needed.
			r.unsent = false
			l.state = r2
		default:
			r.surplus = r.sent - 1
			l.enterR1(out)
		}
	case l.state == r1 && r.surplus > 0:
		// The peer took a repeated request of ours for a new restart: what it had called before that is gone there.
		r.surplus--
		l.stats[DropSurplus]++
		l.clearIncoming(out)
	case l.state == r3 && r.sent > 0:
		r.surplus = r.sent - 1
		l.enterR1(out)
	case l.state == r3:
		l.stats[DropState]++
	default:
		l.errorRestart(DiagState+Diag(l.state), out)
	}
}

// clearIncoming ends the circuits that the peer called.
func (l *Level) clearIncoming(out *Out) {
	l.table.each(func(c *Circuit) {
		if !c.caller {
			l.finish(c, Cleared, CauseOutOfOrder, DiagNone, nil, out)
			l.free(c)
		}
	})
}

// clearCause is what a circuit is cleared with when the peer restarts for a cause (protocol.md 4).
func clearCause(restart Cause) Cause {
	switch restart {
	case RestartLocalProcedure:
		return CauseLocalProcedure
	case RestartCongestion:
		return CauseCongestion
	}
	return CauseOutOfOrder
}

// handleCircuit takes a packet for a channel, in r1.
func (l *Level) handleCircuit(now time.Time, packet []byte, p *Packet, err *FormatError, out *Out) {
	c := l.table.get(p.LCI)
	if c != nil && c.state == p3 && c.sent == 0 {
		// The peer is still using the channel, or is first to call on it: our call, which it has not seen, goes elsewhere.
		l.relocate(c, out)
		c = nil
	}
	switch {
	case err != nil:
		l.formatError(packet, p, c, err, out)
	case c == nil:
		l.inReady(now, p, out)
	case c.state == p4:
		l.inTransfer(now, c, p, out)
	default:
		l.inSetup(now, c, p, out)
	}
}

// formatError answers a packet that is none (ISO 8208 table 15 and notes): on a channel in data transfer with a reset,
// unless it is a packet of set-up or clearing.
func (l *Level) formatError(packet []byte, p *Packet, c *Circuit, err *FormatError, out *Out) {
	setup := p.Kind == KindCall || p.Kind == KindAccept || p.Kind == KindClear || p.Kind == KindClearConfirm
	switch {
	case c == nil && err.Diag == DiagGFI:
		l.dropFormat(packet, err.Diag)
	case c == nil, c.state != p4 && c.state != p7, c.state == p4 && setup:
		l.stats[DropFormat]++
		l.errorClear(p.LCI, c, err.Diag, out)
	case c.state == p4 && c.data != d3:
		l.stats[DropFormat]++
		l.errorReset(c, err.Diag, out)
	default:
		l.stats[DropState]++
	}
}

// inReady is state p1 of the call table.
func (l *Level) inReady(now time.Time, p *Packet, out *Out) {
	switch p.Kind {
	case KindCall:
		l.incoming(p, p2, out)
	case KindClear:
		c := l.newEnding(p.LCI)
		l.enterP6(c)
	default:
		l.errorClear(p.LCI, nil, DiagState+4, out)
	}
}

// inSetup is the call table in p2, p3, p5, p6 and p7.
func (l *Level) inSetup(now time.Time, c *Circuit, p *Packet, out *Out) {
	switch {
	case c.state == p7:
		if p.Kind == KindClear || p.Kind == KindClearConfirm {
			l.clearAnswered(now, c, p.Kind, out)
		} else {
			l.stats[DropState]++
		}
	case p.Kind == KindClear && c.state == p6:
		l.stats[DropState]++
	case p.Kind == KindClear:
		l.finish(c, Cleared, p.Cause, p.Diag, p.UserData, out)
		l.enterP6(c)
	case p.Kind == KindCall && c.state == p3:
		l.collision(c, p, out)
	case p.Kind == KindAccept && (c.state == p3 || c.state == p5 && l.cfg.Role == DTE):
		l.connected(c, p, out)
	default:
		l.errorClear(p.LCI, c, DiagState+3+Diag(c.state), out)
	}
}

// inTransfer is state p4 of the call table, and the data table.
func (l *Level) inTransfer(now time.Time, c *Circuit, p *Packet, out *Out) {
	switch p.Kind {
	case KindClear:
		l.finish(c, Cleared, p.Cause, p.Diag, p.UserData, out)
		l.enterP6(c)
		return
	case KindCall, KindAccept, KindClearConfirm:
		l.errorClear(p.LCI, c, DiagState+7, out)
		return
	case KindReset, KindResetConfirm:
		l.handleReset(c, p, out)
		return
	}
	switch {
	case c.data == d3:
		l.stats[DropState]++
	case p.Kind == KindREJ:
		l.errorReset(c, DiagREJ, out)
	case c.data == d2:
		l.errorReset(c, DiagState+12, out)
	default:
		l.inFlow(now, c, p, out)
	}
}

// inFlow is state d1 of the data table.
func (l *Level) inFlow(now time.Time, c *Circuit, p *Packet, out *Out) {
	switch p.Kind {
	case KindData:
		l.handleData(now, c, p, out)
	case KindRR, KindRNR:
		if !l.acknowledge(now, c, p.PR) {
			l.errorReset(c, DiagPR, out)
			return
		}
		c.tx.rnr = p.Kind == KindRNR
		l.schedule(c)
	case KindInterrupt:
		// ISO 8208 6.8.2: one is outstanding until it is confirmed, which this side does at once.
		if c.interrupt.j2 {
			l.errorReset(c, DiagInterrupt, out)
			return
		}
		c.interrupt.j2 = true
		l.schedule(c)
		if c.closing.on {
			l.stats[InterruptDropped]++
			return
		}
		out.Events = append(out.Events, Event{Kind: Interrupt, Circuit: c, UserData: p.UserData})
	case KindInterruptConfirm:
		if !c.interrupt.i2 {
			l.errorReset(c, DiagInterruptConf, out)
			return
		}
		c.interrupt.i2 = false
		if !c.closing.on {
			out.Events = append(out.Events, Event{Kind: InterruptConfirmed, Circuit: c})
		}
	default:
		l.errorReset(c, DiagUnidentifiable, out)
	}
}

// handleReset is the reset procedure (ISO 8208 8).
func (l *Level) handleReset(c *Circuit, p *Packet, out *Out) {
	request := p.Kind == KindReset
	switch {
	case c.data == d3 && c.sent > 0:
		c.data, c.surplus = d1, c.sent-1
		c.sent, c.unsent, c.timer = 0, false, time.Time{}
		l.schedule(c)
		l.drained(c)
	case c.data == d3 && request:
		// The peer was first: its request is confirmed, and ours is not needed.
		c.data, c.unsent = d2, false
		l.schedule(c)
	case c.data == d3, c.data == d2 && request:
		l.stats[DropState]++
	case request:
		l.stats[Resets]++
		l.flush(c)
		if c.closing.on {
			l.undelivered(c, out)
			return
		}
		c.data, c.surplus = d2, 0
		out.Events = append(out.Events, Event{Kind: Reset, Circuit: c, Cause: p.Cause, Diag: p.Diag})
		l.schedule(c)
	case c.data == d1 && c.surplus > 0:
		c.surplus--
		l.stats[DropSurplus]++
	default:
		l.errorReset(c, DiagState+10+Diag(c.data), out)
	}
}

// handleData checks a data packet and takes it (ISO 8208 6, 7.1).
func (l *Level) handleData(now time.Time, c *Circuit, p *Packet, out *Out) {
	rx := &c.rx
	diag := DiagNone
	switch {
	case len(p.UserData) > rx.size:
		diag = DiagTooLong
	case p.D:
		diag = DiagD
	case p.PS != rx.vr || (p.PS-rx.said)&127 >= rx.w:
		diag = DiagPS
	case rx.open && p.Q != rx.mark:
		diag = DiagQ
	case p.M && !c.partial && len(p.UserData) != rx.size:
		diag = DiagPartial
	case !l.acknowledge(now, c, p.PR):
		diag = DiagPR
	}
	if diag != DiagNone {
		l.errorReset(c, diag, out)
		return
	}
	l.stats[DataIn] += uint64(len(p.UserData))
	if c.state != p4 {
		// Its P(R) was all that a Close waited for.
		l.stats[DropClosed] += uint64(len(p.UserData))
		return
	}
	l.receive(now, c, p, out)
}

// acknowledge moves the lower window edge to P(R). False: P(R) is not valid.
func (l *Level) acknowledge(now time.Time, c *Circuit, pr uint8) bool {
	moved := (pr - c.tx.lwe) & 127
	if moved > (c.tx.vs-c.tx.lwe)&127 {
		return false
	}
	if moved > 0 {
		c.tx.lwe = pr
		if c.closing.on {
			c.closing.stall = now.Add(l.cfg.Timers.Drain)
			l.drained(c)
		}
		l.data.put(c, c.wantsData())
	}
	return true
}

// receive puts user data into the receive queue.
func (l *Level) receive(now time.Time, c *Circuit, p *Packet, out *Out) {
	rx := &c.rx
	was := c.readable() // before V(R) moves: a window that is full makes a piece readable
	rx.vr = (rx.vr + 1) & 127
	rx.open, rx.mark = p.M, p.Q
	if c.closing.on {
		l.stats[DropClosed] += uint64(len(p.UserData))
		l.credit(now, c)
		return
	}
	rx.q.tight = l.cfg.Budget.short()
	rx.q.push(l.cfg.Pool, p.UserData, p.Q, !p.M)
	l.account(c)
	l.credit(now, c)
	if !was && c.readable() {
		out.Events = append(out.Events, Event{Kind: Data, Circuit: c})
	}
	if b := l.cfg.Budget; b.used > b.Limit {
		l.relieve(now, out)
	}
}

// credit moves P(R) on to V(R) if there is room for what it invites, and decides when to say so (protocol.md 4: RR at a
// quarter of the window or after T2). What was given is not taken back.
func (l *Level) credit(now time.Time, c *Circuit) {
	if c.state != p4 || c.data != d1 {
		return
	}
	rx := &c.rx
	if rx.pr != rx.vr && (rx.q.empty() || rx.q.size() < l.cfg.ReceiveLimit && !l.cfg.Budget.short()) {
		rx.pr = rx.vr
	}
	unsaid := (rx.pr - rx.said) & 127
	switch {
	case unsaid == 0, rx.due:
	case unsaid >= max(rx.w/4, 1):
		rx.due = true
		l.acks.put(c, false)
		l.control.put(c, true)
	case !c.links[inAcks].in:
		rx.ack = now.Add(l.cfg.Timers.Ack)
		l.acks.put(c, true)
	}
}

// account notes in the budget what buffer the receive queue has.
func (l *Level) account(c *Circuit) {
	if n := len(c.rx.q.buf); n != c.rx.counted {
		l.cfg.Budget.used += n - c.rx.counted
		c.rx.counted = n
		l.cfg.Budget.holders.put(c, n > 0)
	}
}

// relieve clears the largest holders until the budget is kept. They may be on other levels that share it, which then have
// something to send: their Deadline has come.
func (l *Level) relieve(now time.Time, out *Out) {
	for b := l.cfg.Budget; b.used > b.Limit; {
		c := b.largest()
		l.stats[BudgetCleared]++
		if c.ended {
			out.Events = append(out.Events, Event{Kind: Reset, Circuit: c, Cause: ResetCongestion, Diag: DiagResources})
		} else {
			c.level.finish(c, Cleared, CauseCongestion, DiagResources, nil, out)
			c.level.startClear(c, CauseCongestion, DiagResources, nil)
			c.level.note(now)
		}
		c.level.dropReceived(c)
	}
}

// incoming is a call request on a free channel, or on one that its own call has left.
func (l *Level) incoming(p *Packet, s callState, out *Out) {
	l.stats[IncomingCalls]++
	f, diag := parseFacilities(p.Facilities)
	cause := CauseInvalidFacility
	switch {
	case diag != 0:
	case f.fastSelect == fastSelectRestricted:
		// The peer would take no accept.
		diag = DiagFacility
	case f.fastSelect == 0 && len(p.UserData) > maxUserDataSlow:
		l.errorClear(p.LCI, nil, DiagTooLong, out)
		return
	case l.live >= l.cfg.MaxCircuits:
		l.stats[DropNoChannel]++
		cause, diag = CauseCongestion, DiagNoChannel
	}
	if diag != 0 {
		l.startClear(l.newEnding(p.LCI), cause, diag, nil)
		return
	}
	c := l.newCircuit(p.LCI, s)
	c.setup.fast = f.fastSelect != 0
	c.setup.answer = l.cfg.answer(f)
	c.setup.credential = f.credential
	c.agree(&l.cfg, c.setup.answer, fromCalled, fromCalling)
	out.Events = append(out.Events, Event{Kind: Incoming, Circuit: c, UserData: p.UserData})
}

// collision is a call request where ours is outstanding (ISO 8208 5.2.5): the DTE's stands, the DCE's goes elsewhere.
func (l *Level) collision(c *Circuit, p *Packet, out *Out) {
	l.stats[Collisions]++
	if l.cfg.Role == DTE {
		c.state = p5
		return
	}
	l.relocate(c, out)
	l.incoming(p, p5, out)
}

// relocate moves our call to another channel.
func (l *Level) relocate(c *Circuit, out *Out) {
	lci, ok := l.freeLCI()
	if !ok {
		l.finish(c, Cleared, CauseCongestion, DiagCollision, nil, out)
		l.free(c)
		return
	}
	l.table.clear(c.lci)
	c.lci, c.sent, c.unsent = lci, 0, true
	l.table.set(lci, c)
	l.schedule(c)
}

// connected is the answer to our call.
func (l *Level) connected(c *Circuit, p *Packet, out *Out) {
	a, diag := parseFacilities(p.Facilities)
	if diag == 0 {
		a, diag = c.setup.answer.settle(a)
	}
	if diag != 0 {
		l.errorClear(c.lci, c, diag, out)
		return
	}
	c.agree(&l.cfg, a, fromCalling, fromCalled)
	l.enterP4(c)
	out.Events = append(out.Events, Event{Kind: Connected, Circuit: c, UserData: p.UserData})
}

// clearAnswered is a confirmation of our clear, or the peer's own clear in its place (ISO 8208 5.5.3).
func (l *Level) clearAnswered(now time.Time, c *Circuit, k Kind, out *Out) {
	switch {
	case c.sent > 0:
		c.sent--
		c.unsent = false
		l.finish(c, Drained, 0, 0, nil, out)
		// Each request that was repeated brings an answer of its own. It must not meet the next call on this channel.
		if c.answered = c.sent > 0; !c.answered {
			l.free(c)
			return
		}
		if c.timer.IsZero() {
			c.timer = now.Add(l.cfg.Timers.T23)
			l.note(c.timer)
		}
		l.schedule(c)
	case k == KindClear && !c.answered:
		// The peer was first: its request is confirmed, and ours is not needed.
		l.finish(c, Drained, 0, 0, nil, out)
		l.enterP6(c)
	default:
		l.stats[DropState]++
	}
}
