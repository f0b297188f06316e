package node

import (
	"time"

	"dnet/x25"
)

// The two ends of a splice.
const (
	network = 0
	atDoor  = 1
)

// splice joins the two circuits of which a call to a complex server is made: one on the network, or within the machine, and one on the
// descriptor of the program. What one end receives the other one sends: datagrams with M and Q while the other has room, so that each
// end's window is the other one's back-pressure; interrupts; resets; the end with its reason, after all that came before it.
type splice struct {
	k         *Complex
	c         *Circuit // what the node knows of the call
	at        int      // its place in k.splices; -1 when it is finished
	ends      [2]spliceEnd
	connected bool      // the program has accepted
	why       failure   // of the end that was over first
	until     time.Time // the program's end is over, and what it wrote gets this long to go on its way; moved on as it does
}

// spliceEnd is one of the two circuits.
type spliceEnd struct {
	x       *x25.Circuit
	over    bool // it was cleared, or is: nothing can be sent on it, but what it holds can be read
	closing bool // this side closes it
	reset   bool // it is to be reset, as the other end was, as soon as it can be
	cause   x25.Cause
	diag    x25.Diag // of that reset
	waiting []byte   // an interrupt that waits until the one before it is confirmed
}

// handle takes an event of one end.
func (sp *splice) handle(now time.Time, which int, ev x25.Event) {
	end, other := &sp.ends[which], &sp.ends[1-which]
	sp.k.node.others = true
	switch ev.Kind {
	case x25.Connected:
		sp.connected = true
		if sp.c.x.Accept(now, nil) != nil {
			sp.lose(now, atDoor, failure{cause: x25.CauseLocalProcedure}) // it was cleared meanwhile, which is told
		}
	case x25.Reset:
		sp.reset(now, end, other, ev)
	case x25.Interrupt:
		other.interrupt(now, sp.k.node, ev.UserData)
	case x25.InterruptConfirmed:
		if octets := end.waiting; octets != nil {
			end.waiting = nil
			end.interrupt(now, sp.k.node, octets)
		}
	case x25.Cleared:
		sp.cleared(now, which, ev)
	case x25.Drained:
		end.over = true
	}
	sp.relay(now)
}

// interrupt sends one, or keeps it while the last one is not confirmed; one more replaces it (protocol.md 4).
func (e *spliceEnd) interrupt(now time.Time, n *Node, octets []byte) {
	switch err := e.x.Interrupt(now, octets); err {
	case nil:
	case x25.ErrInterruptOutstanding:
		if e.waiting != nil {
			n.drop("interrupt replaced by a later one")
		}
		e.waiting = append([]byte(nil), octets...)
	default:
		n.drop("interrupt for a circuit that ends")
	}
}

// reset has one end follow the other into a reset: what is under way between the two is lost, as a reset says.
func (sp *splice) reset(now time.Time, end, other *spliceEnd, ev x25.Event) {
	if end.over {
		// What it still held was dropped for want of memory: its end must not look like an ordinary one.
		sp.why = failure{x25.CauseCongestion, x25.DiagResources, ""}
		return
	}
	for i := range sp.ends {
		sp.ends[i].discard(now)
		sp.ends[i].waiting = nil
	}
	if !other.over && !other.closing {
		if !other.reset {
			sp.k.node.resets = append(sp.k.node.resets, sp)
		}
		other.reset, other.cause, other.diag = true, ev.Cause, ev.Diag
	}
}

// discard takes what an end holds and drops it.
func (e *spliceEnd) discard(now time.Time) {
	for {
		if _, _, _, ok := e.x.Peek(); !ok {
			return
		}
		e.x.Next(now)
	}
}

// retryResets resets the ends that could not be reset before: true if a splice can go on.
func (n *Node) retryResets(now time.Time) (done bool) {
	kept := n.resets[:0]
	for _, sp := range n.resets {
		for i := range sp.ends {
			e := &sp.ends[i]
			switch {
			case !e.reset:
			case e.over || e.closing:
				e.reset = false
			case e.x.State() == "p4/d1":
				e.discard(now)
				e.waiting = nil
				e.x.Reset(now, e.cause, e.diag)
				e.reset = false
			}
		}
		if sp.ends[network].reset || sp.ends[atDoor].reset {
			kept = append(kept, sp)
			continue
		}
		sp.relay(now)
		done = true
	}
	clear(n.resets[len(kept):])
	n.resets = kept
	return done
}

// relay moves what has come at each end to the other, and passes the end of one on once that is done.
func (sp *splice) relay(now time.Time) {
	if !sp.connected || sp.ends[network].reset || sp.ends[atDoor].reset {
		sp.finish()
		return
	}
	for i := range sp.ends {
		from, to := &sp.ends[i], &sp.ends[1-i]
		if to.over || to.closing {
			from.discard(now)
			continue
		}
		for to.x.Room() > 0 {
			data, q, more, ok := from.x.Peek()
			if !ok {
				break
			}
			if to.x.Send(now, data, q, more) != nil {
				sp.lose(now, i, failure{cause: x25.CauseLocalProcedure}) // it cannot be: Q changes in no sequence that x25 lets through
			}
			from.x.Next(now)
			if !sp.until.IsZero() && !sp.k.closed {
				sp.until = now.Add(spliceStall)
			}
		}
		if from.over && from.x.Held() == 0 {
			to.closing = true
			if !sp.k.closed {
				sp.until = time.Time{} // from here on x25 has its own
			}
			to.x.Close(now, sp.why.cause, sp.why.diag, clearText(sp.why.text))
		}
	}
	sp.finish()
}

// cleared is when one end is over. Before the call was accepted that is its answer; after it the other end is closed, once it has sent
// what came before.
func (sp *splice) cleared(now time.Time, which int, ev x25.Event) {
	end, other := &sp.ends[which], &sp.ends[1-which]
	end.over = true
	if which == network {
		sp.c.over = true
	}
	if other.over || other.closing {
		return
	}
	sp.why = failure{ev.Cause, ev.Diag, string(ev.UserData)}
	if which == atDoor {
		sp.why = sp.reason(ev)
		if sp.connected {
			sp.until = now.Add(spliceStall)
			if sp.k.closed {
				sp.until = now.Add(spliceDied)
			}
			sp.k.note(sp.until)
		}
	}
	if !sp.connected || sp.why.cause == x25.CauseCongestion {
		sp.lose(now, 1-which, sp.why) // for memory, nothing is waited for
	}
}

// reason is what the caller is told when the program's end is over (protocol.md 5).
func (sp *splice) reason(ev x25.Event) failure {
	service := sp.c.Service
	switch ev.Cause {
	case x25.CauseOutOfOrder:
		switch {
		case sp.connected:
			return failure{x25.CauseDTE, x25.DiagProgramDied, "the server of " + service + " died"}
		case ev.Diag == x25.DiagCallTimer, ev.Diag == x25.DiagRestartTimer:
			return failure{x25.CauseBusy, 0, "the server of " + service + " does not answer"}
		}
		return failure{x25.CauseNotObtainable, 0, "the server of " + service + " has gone"}
	case x25.CauseCongestion, x25.CauseRemoteProcedure:
		return failure{ev.Cause, ev.Diag, string(ev.UserData)}
	case x25.CauseBusy, x25.CauseNotObtainable:
		if !sp.connected {
			return failure{ev.Cause, ev.Diag, string(ev.UserData)}
		}
	}
	return failure{x25.CauseDTE, ev.Diag, string(ev.UserData)}
}

// lose clears an end at once.
func (sp *splice) lose(now time.Time, which int, why failure) {
	end := &sp.ends[which]
	end.x.Clear(now, why.cause, why.diag, clearText(why.text), &sp.k.node.xout)
	end.over = true
	if which == network {
		sp.c.over = true
	}
}

// expire gives up what the program wrote and the caller does not take.
func (sp *splice) expire(now time.Time) {
	switch {
	case sp.until.IsZero():
		return
	case now.Before(sp.until):
		sp.k.note(sp.until)
		return
	case !sp.k.closed:
		sp.why = failure{x25.CauseDTE, x25.DiagUndelivered, ""}
	}
	sp.k.node.others = true
	sp.until = time.Time{}
	sp.lose(now, network, sp.why)
	sp.relay(now)
}

// finish forgets a splice of which both ends are over.
func (sp *splice) finish() {
	k := sp.k
	if sp.at < 0 || !sp.ends[network].over || !sp.ends[atDoor].over {
		return
	}
	for i := range sp.ends {
		sp.ends[i].x.Clear(time.Time{}, 0, 0, nil, nil) // which is over: it gives back what it holds
	}
	last := len(k.splices) - 1
	k.splices[sp.at] = k.splices[last]
	k.splices[sp.at].at = sp.at
	k.splices[last] = nil
	k.splices = k.splices[:last]
	sp.at = -1
}
