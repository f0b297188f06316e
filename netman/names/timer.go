package names

import "time"

// Deadline is when HandleTimeout is next wanted; zero: not at all. It may come early, never late.
func (d *Directory) Deadline() time.Time { return d.next }

// HandleTimeout runs every timer that is due.
func (d *Directory) HandleTimeout(now time.Time, out *Out) {
	if d.next.IsZero() || now.Before(d.next) {
		return
	}
	d.next = time.Time{}
	if d.claim.state == claiming {
		if d.claim.over(now) {
			d.endClaimTry(now, out)
		} else {
			d.note(d.claim.end)
		}
	}
	d.sendHeld(now, out)
	for _, q := range d.queries {
		switch {
		case !q.waiting:
		case q.over(now):
			d.endTry(now, q, out)
		default:
			d.note(q.end)
		}
	}
}

// sendHeld sends the answers whose time has come, if they still hold.
func (d *Directory) sendHeld(now time.Time, out *Out) {
	n := 0
	for ; n < len(d.held) && !now.Before(d.held[n].due); n++ {
		h := d.held[n]
		if !d.Has(h.service) || d.claim.state != claimed {
			d.count("held answer withdrawn")
			continue
		}
		d.answer(h.to, h.txid, h.service, out)
	}
	rest := copy(d.held, d.held[n:])
	clear(d.held[rest:])
	d.held = d.held[:rest]
	if rest > 0 {
		d.note(d.held[0].due)
	}
}

// endTry ends the wait after a try to which no free station answered.
func (d *Directory) endTry(now time.Time, q *query, out *Out) {
	switch {
	case q.best(now) != nil:
		q.waiting = false
		d.raise(out, Event{Kind: Answered, ID: q.id})
	case !q.spent():
		d.try(now, &q.asking, q.id, q.service, out)
	case q.putOff(now):
		d.note(q.end)
	default:
		q.waiting = false
		d.raise(out, Event{Kind: Failed, ID: q.id})
	}
}
