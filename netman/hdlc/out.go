package hdlc

import "time"

// Room is how many packets Send takes now: 0 unless the link is up, the peer is not busy, and lost frames were sent again.
func (l *Link) Room() int {
	if l.state != normal || l.send.busy || l.send.vs != l.send.vm {
		return 0
	}
	return max(l.pace.ww-ahead(l.send.va, l.send.vs), 0)
}

// Buffer returns an empty slice with capacity for the largest packet, N1-4 octets, to append one to and give to Send. Until
// then it is the same one. The link must be up.
func (l *Link) Buffer() []byte {
	if l.send.spare == nil {
		l.send.spare = l.cfg.Slab.Get()
	}
	start := l.cfg.Headroom + iHeader
	return l.send.spare[start : start : l.cfg.Headroom+l.n1]
}

// Send sends a packet, grown from Buffer, in an I frame. more tells that another follows at once. The caller made sure of
// Room and of the packet's length, at most N1-4; it is a programming error, and a panic, if not.
func (l *Link) Send(now time.Time, packet []byte, more bool, out *Out) {
	if l.Room() == 0 || len(packet) > l.n1-iHeader {
		panic("hdlc: Send without room for it")
	}
	own := l.Buffer()
	frame := l.send.spare[:l.cfg.Headroom+iHeader+len(packet)]
	if len(packet) > 0 && &packet[0] != &own[:1][0] {
		copy(frame[l.cfg.Headroom+iHeader:], packet)
	}
	l.send.spare = nil
	l.send.window[l.send.vs&MaxWindow] = frame
	l.send.vs = next(l.send.vs)
	l.send.vm = l.send.vs
	l.send.train++

	// protocol.md 3: P=1 on the frame that fills the working window or empties the queue after more than one.
	p := l.Room() == 0 || !more && l.send.train > 1
	if !more {
		l.send.train = 0
	}
	l.stats.SentI++
	p = p && l.mayPoll(now)
	l.sendI(now, frame, p, out)
	if p {
		l.poll.carried = true
	}
}

// SetBusy tells the peer that this side has no buffers (RNR), or has some again. Not for one slow circuit (protocol.md 3).
func (l *Link) SetBusy(now time.Time, busy bool, out *Out) {
	if l.state != normal || l.recv.busy == busy {
		return
	}
	l.recv.busy = busy
	if busy {
		l.sendS(l.ready(), true, false, out)
		return
	}
	l.sendPoll(now, out)
}

// sendI puts the frame before V(S) on its way, with the N(R) of the moment. The buffer may have been sent before.
func (l *Link) sendI(now time.Time, frame []byte, p bool, out *Out) {
	h := frame[l.cfg.Headroom:]
	h[0], h[1], h[2], h[3] = SAPX25, SAPX25, ((l.send.vs-1)%modulus)<<1, l.recv.vr<<1
	if p {
		h[3] |= pfNumbered
		l.polled(now)
	} else if l.time.t1.IsZero() {
		l.time.t1 = now.Add(l.t1())
	}
	l.told()
	out.Frames = append(out.Frames, frame)
}

// resend sends again what lies between V(S) and the newest frame, as far as the working window goes. The last one asks what arrived.
func (l *Link) resend(now time.Time, out *Out) {
	for l.send.vs != l.send.vm && !l.send.busy && ahead(l.send.va, l.send.vs) < l.pace.ww {
		frame := l.send.window[l.send.vs&MaxWindow]
		l.send.vs = next(l.send.vs)
		if out.shows(frame) {
			continue
		}
		last := l.send.vs == l.send.vm || ahead(l.send.va, l.send.vs) == l.pace.ww
		l.stats.ResentI++
		l.sendI(now, frame, last && l.mayPoll(now), out)
	}
}

// sendPoll asks for the peer's state: an S command with P=1. If one was asked for before, it is asked for again.
func (l *Link) sendPoll(now time.Time, out *Out) {
	l.stats.Polls++
	l.polled(now)
	l.sendS(l.ready(), false, true, out)
}

// mayPoll tells whether an I frame may bear P: none is outstanding, and no answer to an earlier one can still come.
func (l *Link) mayPoll(now time.Time) bool { return !l.poll.await && !now.Before(l.poll.next) }

// polled notes that a P=1 goes out behind the frame before V(S).
func (l *Link) polled(now time.Time) {
	switch {
	case l.poll.await && !l.poll.repaired:
		// The answer may be one to the first P: it speaks only for the frames before that.
		l.poll.again++
	case l.poll.await:
		l.poll.again++
		l.poll.vs = l.send.vs
	default:
		l.poll.vs = l.send.vs
		l.poll.await, l.poll.again, l.poll.at = true, 0, now
		l.poll.alone = now.Sub(l.poll.last) >= l.cfg.Tolerance/8 || l.time.guess && !now.Before(l.poll.next)
		l.poll.next = now.Add(l.soonest())
		l.postpone(now)
	}
	l.poll.last = now
	l.poll.repaired, l.poll.carried = false, false
	l.time.t1 = now.Add(l.tp())
}

// ready is the S frame that tells this side's state.
func (l *Link) ready() Kind {
	if l.recv.busy || l.state == proof {
		return RNR
	}
	return RR
}

// sendS sends RR, RNR or REJ with the N(R) of the moment.
func (l *Link) sendS(kind Kind, response, pf bool, out *Out) {
	switch kind {
	case RNR:
		l.stats.SentRNR++
	case REJ:
		l.stats.SentREJ++
	}
	l.told()
	plain := kind == RR && response && !pf
	if plain && l.recv.rr != nil && l.recv.rrTurn == out.turn {
		l.recv.rr[l.cfg.Headroom+3] = l.recv.vr << 1
		return
	}
	l.emit(Frame{Kind: kind, Response: response, PF: pf, NR: l.recv.vr}, out)
	if l.recv.rr = nil; plain {
		l.recv.rr, l.recv.rrTurn = out.Frames[len(out.Frames)-1], out.turn
	}
}

// told notes that an N(R) went out: nothing is left to acknowledge.
func (l *Link) told() { l.recv.unacked, l.time.t2 = 0, time.Time{} }

// request sends SABME or DISC with P=1, and again when T1 runs out.
func (l *Link) request(now time.Time, kind Kind, out *Out) {
	l.time.tries++
	if l.poll.again = l.time.tries - 1; l.poll.again == 0 {
		l.poll.at, l.poll.alone = now, true
	}
	l.poll.last = now
	l.time.t1 = now.Add(l.t1())
	l.emit(Frame{Kind: kind, PF: true}, out)
}

// sendTest asks for the echo of a frame as large as N1.
func (l *Link) sendTest(now time.Time, out *Out) {
	l.time.tries++
	l.time.t1 = now.Add(l.t1())
	buf := l.cfg.Slab.Get()
	out.release(l.cfg.Slab, buf)
	buf = Frame{DSAP: SAPX25, SSAP: SAPX25, Kind: TEST, PF: true}.Append(buf[:l.cfg.Headroom])
	for i := len(buf) - l.cfg.Headroom; i < l.cfg.N1; i++ {
		buf = append(buf, byte(i))
	}
	out.Frames = append(out.Frames, buf)
}

// Refuse says DM, which nobody asked for: a peer that thinks it has a link learns that this side is there, and asks.
func (l *Link) Refuse(out *Out) { l.emit(Frame{Kind: DM, Response: true}, out) }

// isEcho tells whether the octets are those that sendTest sent.
func (l *Link) isEcho(info []byte) bool {
	header := l.cfg.N1 - len(info)
	if header != 3 {
		return false
	}
	for i, b := range info {
		if b != byte(i+header) {
			return false
		}
	}
	return true
}

// emit sends a frame other than I, in a buffer of the slab; an echo larger than that has one of its own.
func (l *Link) emit(f Frame, out *Out) {
	f.DSAP, f.SSAP = SAPX25, SAPX25
	if l.cfg.Headroom+iHeader+len(f.Info) > l.cfg.Slab.size {
		big := make([]byte, l.cfg.Headroom, l.cfg.Headroom+iHeader+len(f.Info))
		out.Frames = append(out.Frames, f.Append(big))
		return
	}
	buf := l.cfg.Slab.Get()
	out.release(l.cfg.Slab, buf)
	out.Frames = append(out.Frames, f.Append(buf[:l.cfg.Headroom]))
}
