package hdlc

import "time"

// HandleFrame takes a frame from the peer. Whatever it holds, nothing worse happens than the end of this link.
func (l *Link) HandleFrame(now time.Time, f Frame, out *Out) {
	if f.DSAP != SAPX25 || f.SSAP != SAPX25 || f.Kind == UI {
		l.stats.WrongSAP++
		return
	}
	if f.Kind == TEST || f.Kind == XID {
		l.handleType1(now, f, out)
		return
	}
	switch l.state {
	case adm:
		l.inADM(now, f, out)
	case setup:
		l.inSetup(now, f, out)
	case dConn:
		l.inDConn(now, f, out)
	default:
		l.inTransfer(now, f, out)
	}
}

// HandleLate takes a frame that another, sent after it, overtook, as the counters of sealed frames tell: its N(R) is stale, whatever it looks
// like, and no fault of the peer's.
func (l *Link) HandleLate(now time.Time, f Frame, out *Out) {
	l.late = true
	l.HandleFrame(now, f, out)
	l.late = false
}

// handleType1 answers TEST and XID, which every LLC station does in any state (IEEE 802.2 6.6, 6.7), and takes the echo of
// the TEST that proves N1.
func (l *Link) handleType1(now time.Time, f Frame, out *Out) {
	switch {
	case f.Kind == TEST && !f.Response:
		l.emit(Frame{Kind: TEST, Response: true, PF: f.PF, Info: f.Info}, out)
	case f.Kind == XID && !f.Response:
		// IEEE 802.2 5.4.1.1.2: format 0x81, LLC types 1 and 2, receive window.
		info := [3]byte{0x81, 0x03, byte(l.cfg.RW) << 1}
		l.emit(Frame{Kind: XID, Response: true, PF: f.PF, Info: info[:]}, out)
	case f.Kind == TEST && l.state == proof && f.PF && l.isEcho(f.Info):
		l.time.heard = now
		l.finishProof(now, l.cfg.N1, out)
	default:
		l.stats.WrongState++
	}
}

// inADM: a SABME that a hello announced begins the link; other commands that ask get DM.
func (l *Link) inADM(now time.Time, f Frame, out *Out) {
	switch {
	case f.Response:
		l.stats.WrongState++
	case f.Kind == SABME && l.expect:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
		l.begin(now, out)
	case f.Kind == SABME:
		l.stats.UnexpectedSABME++
		l.emit(Frame{Kind: DM, Response: true, PF: f.PF}, out)
	case f.Kind == DISC || f.PF:
		l.emit(Frame{Kind: DM, Response: true, PF: f.PF}, out)
	default:
		l.stats.WrongState++
	}
}

// inSetup: UA or DM answers our SABME. The peer's own SABME, which crossed it, is answered too: each side is up at its UA.
func (l *Link) inSetup(now time.Time, f Frame, out *Out) {
	switch {
	case f.Kind == SABME && !f.Response:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
	case f.Kind == DISC && !f.Response:
		l.emit(Frame{Kind: DM, Response: true, PF: f.PF}, out)
		l.down(Disconnected, out)
	case f.Kind == UA && f.Response && f.PF:
		l.measure(now)
		l.begin(now, out)
	case f.Kind == DM && f.Response && f.PF:
		l.down(Refused, out)
	default:
		l.stats.WrongState++
	}
}

// inDConn: UA or DM answers our DISC. A SABME that a hello announced is for the link that comes after this one.
func (l *Link) inDConn(now time.Time, f Frame, out *Out) {
	switch {
	case f.Kind == DISC && !f.Response:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
	case f.Kind == SABME && !f.Response:
		l.down(Local, out)
		l.inADM(now, f, out)
	case f.Kind == UA && f.Response && f.PF, f.Kind == DM && f.Response:
		l.down(Local, out)
	default:
		l.stats.WrongState++
	}
}

// inTransfer is NORMAL and PROOF.
func (l *Link) inTransfer(now time.Time, f Frame, out *Out) {
	switch {
	case f.Kind == I:
		l.handleI(now, f, out)
	case f.Kind == RR || f.Kind == RNR || f.Kind == REJ:
		l.handleS(now, f, out)
	case f.Kind == SABME && !f.Response:
		l.handleSABME(now, f, out)
	case f.Kind == DISC && !f.Response:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
		l.down(Disconnected, out)
	case f.Kind == DM && f.Response:
		l.handleDM(now, f, out)
	case f.Kind == FRMR && f.Response:
		l.down(Rejected, out)
	case f.Kind == UA && f.Response:
		l.stats.LooseUA++
	default:
		l.stats.WrongState++
	}
}

// handleSABME: protocol.md 2, it counts in an up state only if a hello announced it. The one that began this link may come
// again, doubled, or because its UA was lost: that is answered as long as the peer shows no sign of having had UA.
func (l *Link) handleSABME(now time.Time, f Frame, out *Out) {
	switch {
	case l.expect:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
		l.down(Reset, out)
		l.begin(now, out)
	case l.fresh:
		l.emit(Frame{Kind: UA, Response: true, PF: f.PF}, out)
	default:
		l.stats.UnexpectedSABME++
	}
}

// handleDM: a DM that answers our poll says that the peer has no link; any other may be a late one, so ask.
func (l *Link) handleDM(now time.Time, f Frame, out *Out) {
	switch {
	case f.PF && l.poll.await:
		l.down(Refused, out)
	case l.state == normal && !l.poll.await:
		l.stats.LooseDM++
		l.sendPoll(now, out)
	default:
		l.stats.LooseDM++
	}
}

// judgement of a received N(R).
type judgement uint8

const (
	valid   judgement = iota // V(A) to V(S)
	stale                    // up to 64 behind V(A)
	invalid                  // never sent
)

func (l *Link) judgeNR(nr uint8) judgement {
	switch d := ahead(l.send.va, nr); {
	case l.late:
		return stale
	case d <= ahead(l.send.va, l.send.vm):
		return valid
	case d >= staleAt:
		return stale
	}
	return invalid
}

// handleS takes RR, RNR and REJ.
func (l *Link) handleS(now time.Time, f Frame, out *Out) {
	verdict := l.judgeNR(f.NR)
	if verdict == invalid {
		l.reject(f, rejectZ, out)
		return
	}
	l.time.heard, l.fresh = now, false
	if f.PF && !f.Response {
		l.sendS(l.ready(), true, true, out)
	}
	if verdict == stale {
		l.handleStale(f, out)
		return
	}
	l.poll.stale = 0
	l.acknowledge(now, f, out)
	l.send.busy = f.Kind == RNR
	switch f.Kind {
	case RNR:
		// What the peer did not take it has thrown away, and that is no loss of the path's.
		l.stats.ReceivedRNR++
		l.send.vs, l.send.again = l.send.va, 0
	case REJ:
		l.stats.ReceivedREJ++
		l.handleREJ(now)
	}
	if f.PF && f.Response {
		l.handleF(now, out)
	}
	l.settle(now, out)
}

// handleStale counts an N(R) behind V(A). It is no fault of the peer's, unless poll after poll is answered so: then V(A) is wrong,
// for a still older number was taken for a new one, and only a new link helps.
func (l *Link) handleStale(f Frame, out *Out) {
	l.stats.StaleNR++
	if !f.PF || !f.Response || !l.poll.await || l.late {
		return
	}
	if l.poll.stale++; l.poll.stale >= maxSends {
		l.reject(f, rejectZ, out)
	}
}

// handleI takes an I frame: first what it acknowledges, then what it carries.
func (l *Link) handleI(now time.Time, f Frame, out *Out) {
	verdict := l.judgeNR(f.NR)
	d := ahead(l.recv.vr, f.NS)
	switch {
	case len(f.Info) > l.cfg.N1-iHeader:
		l.reject(f, rejectY, out)
		return
	case verdict == invalid:
		l.reject(f, rejectZ, out)
		return
	case d >= l.cfg.RW && d < staleAt:
		l.reject(f, rejectV, out)
		return
	}
	l.time.heard, l.fresh = now, false
	if verdict == valid {
		l.acknowledge(now, f, out)
	} else {
		l.stats.StaleNR++
	}
	kind := l.receive(f, out)
	switch {
	case f.PF && !f.Response || kind == REJ:
		l.sendS(kind, true, f.PF && !f.Response, out)
	case l.recv.unacked >= l.ackEvery():
		l.sendS(kind, true, false, out)
	case l.recv.unacked > 0 && l.time.t2.IsZero():
		l.time.t2 = now.Add(t2Delay)
	}
	if verdict == valid {
		if f.PF && f.Response {
			l.handleF(now, out)
		}
		l.settle(now, out)
	}
}

// receive takes the information of an I frame if it is in sequence. It returns the S frame that fits as an answer, which is
// REJ if one is due: once for a gap.
func (l *Link) receive(f Frame, out *Out) Kind {
	d := ahead(l.recv.vr, f.NS)
	switch {
	case d >= staleAt:
		// Had already: the peer may have lost our acknowledgement, so it gets another.
		l.stats.DuplicateI++
		l.recv.unacked++
	case l.state == proof:
		l.stats.EarlyI++
	case l.recv.busy:
		l.stats.BusyI++
	case d == 0:
		l.recv.vr = next(l.recv.vr)
		l.recv.unacked++
		l.recv.reject = false
		l.stats.ReceivedI++
		out.Events = append(out.Events, Event{Kind: Data, Info: f.Info})
	default:
		l.stats.OutOfOrderI++
		// Numbers that fall back inside the gap: the sender has gone back, and V(R) is missing anew.
		anew := l.recv.reject && d <= ahead(l.recv.vr, l.recv.last)
		l.recv.last = f.NS
		if !l.recv.reject || anew {
			l.recv.reject = true
			return REJ
		}
	}
	return l.ready()
}

// ackEvery is after how many I frames an acknowledgement goes out at the latest.
func (l *Link) ackEvery() int { return max(min(ackFrames, l.cfg.RW/4), 1) }

// acknowledge moves V(A) to the frame's N(R), which is valid, gives back the buffers and widens the working window.
func (l *Link) acknowledge(now time.Time, f Frame, out *Out) {
	nr := f.NR
	n := ahead(l.send.va, nr)
	if n == 0 {
		return
	}
	if ahead(l.send.va, l.send.vs) < n {
		l.send.vs = nr
	}
	answered := l.poll.await && ahead(l.send.va, l.poll.vs) <= n
	healed := l.pace.healing && ahead(l.send.va, l.pace.heal) <= n
	for ; l.send.va != nr; l.send.va = next(l.send.va) {
		l.takeSent(l.send.va, out)
	}
	l.send.again, l.send.backAt = 0, time.Time{}
	if answered {
		l.poll.vs = nr
		if l.poll.carried && !(f.PF && f.Response) {
			// The answer to the P of the frame that this acknowledges was lost or overtaken.
			l.poll.await = false
			l.measure(now)
		}
	}
	if healed {
		l.pace.healing, l.pace.gained = false, 0
	} else if l.pace.gained += n; !l.pace.healing && l.pace.gained >= l.pace.ww {
		l.pace.ww, l.pace.gained = min(l.pace.ww+1, l.cfg.K), 0
	}
	if !l.poll.await {
		l.time.t1 = now.Add(l.t1())
	}
}

// handleREJ goes back to V(A), which the REJ asks for, unless the REJ is a copy, or was sent before the peer can have
// seen that we already did.
func (l *Link) handleREJ(now time.Time) {
	if l.send.va == l.send.vs {
		return
	}
	if !l.send.backAt.IsZero() && now.Sub(l.send.backAt) < l.soonest() {
		l.stats.CopiedREJ++
		return
	}
	l.goBack(now)
}

// handleF is checkpointing: the answer to our P tells which of the frames sent before it arrived.
func (l *Link) handleF(now time.Time, out *Out) {
	// An answer that tells of loss sooner than a round trip takes answers an earlier P, or is a copy. Heeding it would make
	// every further answer one P late. If it was a true one, T1 asks again.
	lost := l.poll.vs != l.send.va
	if !l.poll.await || lost && !l.poll.alone && now.Sub(l.poll.at) < l.soonest() {
		l.stats.LateF++
		return
	}
	l.poll.await = false
	l.measure(now)
	l.time.t1 = now.Add(l.t1())
	if l.send.va == l.send.vm || l.send.busy {
		return
	}
	if lost { // also when the answer is a REJ, for which V(S) went back just now
		// In halves: where a REJ that came before had V(A) sent again after this P, that one has not been asked about.
		if l.send.again += 2; l.poll.repaired && l.send.backAt.Before(now) {
			l.send.again--
		}
	}
	if l.send.again >= 2*maxSends {
		// protocol.md 3: a path that eats large frames. The peer begins again with us.
		l.emit(Frame{Kind: DISC, PF: true}, out)
		l.down(PathMTU, out)
		return
	}
	if l.poll.repaired {
		// The frames sent again since then have not been asked about.
		l.resend(now, out)
		if l.mayPoll(now) {
			l.sendPoll(now, out)
		}
		return
	}
	if !lost {
		return
	}
	l.goBack(now)
}

// goBack makes V(A) the next frame to send, and halves the working window, once for a round trip.
func (l *Link) goBack(now time.Time) {
	l.send.vs = l.send.va
	l.send.backAt = now
	l.poll.repaired = l.poll.await
	if l.pace.healing {
		return
	}
	l.stats.Losses++
	l.pace.ww = min(max(l.pace.ww/2, leastWindow), l.cfg.K)
	l.pace.healing, l.pace.heal, l.pace.gained = true, l.send.vm, 0
}

// settle sends what the frame just handled made room for, and lets T1 run only while there is something to wait for.
func (l *Link) settle(now time.Time, out *Out) {
	if l.state != normal {
		return
	}
	l.resend(now, out)
	switch {
	case l.send.va == l.send.vm && !l.poll.await && !l.send.busy:
		l.time.t1 = time.Time{}
	case l.time.t1.IsZero():
		l.time.t1 = now.Add(l.t1())
	}
}

// Bits of the last octet of an FRMR's information (IEEE 802.2 5.4.2.3.5). W and X are for frames that Parse refuses.
const (
	rejectW = 0x01
	rejectX = 0x02
	rejectY = 0x04 // information too long
	rejectZ = 0x08 // invalid N(R)
	rejectV = 0x10 // N(S) outside the window
)

// reject answers a frame that no correct peer sends, by FRMR, and ends the link.
func (l *Link) reject(f Frame, why byte, out *Out) {
	l.stats.Malformed++
	var head [iHeader]byte
	control := Frame{Kind: f.Kind, PF: f.PF, NS: f.NS, NR: f.NR}.Append(head[:0])[2:]
	cr := byte(0)
	if f.Response {
		cr = 1
	}
	info := [5]byte{control[0], control[1], l.send.vs << 1, l.recv.vr<<1 | cr, why}
	l.emit(Frame{Kind: FRMR, Response: true, PF: f.PF && !f.Response, Info: info[:]}, out)
	l.down(Rejected, out)
}
