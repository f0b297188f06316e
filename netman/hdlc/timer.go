package hdlc

import "time"

// Deadline is when HandleTimeout is due; zero: not before something else happens.
func (l *Link) Deadline() time.Time {
	due := l.time.t1
	if l.state == normal {
		due = earlier(due, l.time.t2)
		due = earlier(due, l.silence())
	}
	return due
}

// earlier is the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// silence is when the peer's silence is next looked at: to poll, or when that was done, to judge (protocol.md 3).
func (l *Link) silence() time.Time {
	if !l.poll.await {
		return l.time.heard.Add(l.cfg.Tolerance / 4)
	}
	judge := l.time.heard.Add(l.cfg.Tolerance)
	if judge.Before(l.time.judge) {
		return l.time.judge
	}
	return judge
}

// postpone gives the peer time to answer a poll before its silence is judged.
func (l *Link) postpone(now time.Time) { l.time.judge = now.Add(l.cfg.Tolerance / 4) }

// t1 is the time allowed for an acknowledgement, which the peer may hold back by T2, or for the answer to SABME, DISC or TEST.
func (l *Link) t1() time.Duration {
	if l.time.srtt == 0 {
		return min(t1First, max(t1Least, l.cfg.Tolerance/4))
	}
	return min(max(t1Least, l.time.srtt+4*l.time.rttvar+t2Delay), t1Most)
}

// tp is the time allowed for F (the P-bit timer of IEEE 802.2 7.8). F comes at once, so it may be shorter than T1, and a lost
// one costs little. It doubles each time, up to a quarter of the tolerance, so that several polls fit in that.
func (l *Link) tp() time.Duration {
	d := l.t1()
	if l.time.srtt > 0 {
		d = max(tpLeast, l.time.srtt+4*l.time.rttvar)
	}
	return min(d<<min(l.poll.again, 16), max(tpLeast, l.cfg.Tolerance/4))
}

// soonest is the least time in which a true answer to P is expected; nothing is known of it from a guess.
func (l *Link) soonest() time.Duration {
	if l.time.guess {
		return 0
	}
	return max(l.time.srtt-2*l.time.rttvar, l.time.srtt/4) * 3 / 4
}

// measure takes the round trip from the first P to F into the mean and variation (RFC 6298). Nothing tells which P an F
// answers, so what follows keeps an old F from being taken for the answer to a new P, over and over:
//   - If P was repeated and the F does not fit the last one, the round trip was at most that from the first one. It stands as
//     a guess, and no new P goes out until all answers to this one must have come.
//   - Otherwise a new P goes out no sooner than a round trip may take (polled), and an F that comes sooner is not
//     believed when it tells of loss (handleF).
//   - Only a sure answer makes the mean smaller: one that acknowledges the very frame that bore P, or to a P long after all others.
func (l *Link) measure(now time.Time) {
	first, last := now.Sub(l.poll.at), now.Sub(l.poll.last)
	first = min(max(first, time.Microsecond), l.cfg.Tolerance) // above that it was we who slept
	sure := l.poll.alone || l.poll.carried && l.poll.vs == l.send.va
	known := l.time.srtt > 0
	fits := known && last <= l.time.srtt+4*l.time.rttvar+time.Millisecond
	switch {
	case l.poll.again > 0 && fits && !l.time.guess && last >= l.soonest():
	case l.poll.again > 0:
		if l.time.guess && fits {
			first = min(first, l.time.srtt)
		}
		l.time.guess, l.time.srtt, l.time.rttvar = true, first, first/2
		l.poll.next = l.poll.last.Add(min(first, l.cfg.Tolerance/4))
	case !sure && (!known || first < l.time.srtt):
	case !known || l.time.guess:
		l.time.guess, l.time.srtt, l.time.rttvar = false, first, first/2
	default:
		l.time.rttvar += (max(l.time.srtt-first, first-l.time.srtt) - l.time.rttvar) / 4
		l.time.srtt += (first - l.time.srtt) / 8
	}
}

// HandleTimeout does what is due at now.
func (l *Link) HandleTimeout(now time.Time, out *Out) {
	due := l.Deadline()
	if due.IsZero() || now.Before(due) {
		return
	}
	if l.state == normal {
		l.supervise(now, now.Sub(due) > l.cfg.Tolerance/4, out)
	}
	if expired(l.time.t2, now) {
		l.sendS(l.ready(), true, false, out)
	}
	if expired(l.time.t1, now) {
		l.handleT1(now, out)
	}
}

// expired tells whether a timer runs and is due.
func expired(timer, now time.Time) bool { return !timer.IsZero() && !now.Before(timer) }

// supervise polls a silent peer and, when that does not help, gives it up. late: our own process slept, and what the
// peer sent may lie unread, so it is polled again before it is judged.
func (l *Link) supervise(now time.Time, late bool, out *Out) {
	switch {
	case late:
		l.sendPoll(now, out)
		l.postpone(now)
	case now.Before(l.silence()):
	case !l.poll.await:
		l.sendPoll(now, out)
	default:
		// If the peer hears us, this makes it poll, and the answer to that is another DM.
		l.emit(Frame{Kind: DM, Response: true}, out)
		l.down(Silent, out)
	}
}

// handleT1 asks again.
func (l *Link) handleT1(now time.Time, out *Out) {
	l.stats.T1Expired++
	switch l.state {
	case setup, dConn:
		switch {
		case l.time.tries < n2 && l.state == setup:
			l.request(now, SABME, out)
		case l.time.tries < n2:
			l.request(now, DISC, out)
		case l.state == setup:
			l.down(Silent, out)
		default:
			l.down(Local, out)
		}
	case proof:
		if l.time.tries < testTries {
			l.sendTest(now, out)
			return
		}
		l.time.t1 = time.Time{}
		l.finishProof(now, l.cfg.SafeN1, out)
	case normal:
		l.sendPoll(now, out)
	}
}

// finishProof settles N1 of this side's sending and opens the link; the peer, which was told RNR when it asked, is told RR.
func (l *Link) finishProof(now time.Time, n1 int, out *Out) {
	l.n1 = n1
	l.up(out)
	l.sendPoll(now, out)
}
