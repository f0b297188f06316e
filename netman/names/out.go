package names

import (
	"errors"
	"slices"
	"time"
)

// ErrQueries is returned by Query at the limit of queries.
var ErrQueries = errors.New("too many names are being asked for at once")

// asking is the tries of one question to the group.
type asking struct {
	tries int       // made
	end   time.Time // of the wait after the last one
	late  bool      // its end was noticed late, and put off once
}

// over tells whether the wait after the last try made is over.
func (a *asking) over(now time.Time) bool { return !now.Before(a.end) }

// spent tells whether no try is left.
func (a *asking) spent() bool { return a.tries == len(waits) }

// putOff tells whether the end of the last try must be judged a little later, because we are late to notice it.
func (a *asking) putOff(now time.Time) bool {
	if !a.spent() || a.late || now.Sub(a.end) <= lateLimit {
		return false
	}
	a.late, a.end = true, now.Add(lateLimit)
	return true
}

// query is a name this machine asks for, until Done.
type query struct {
	asking
	id      uint32 // the txid of all its tries
	service string
	waiting bool // the owner was promised an event
	answers []answer
}

// Server is a station that offers the service asked for.
type Server struct {
	Station Station
	Machine string
	Domain  string
	BootID  uint64
	Busy    bool
}

// answer is a Server with what became of it.
type answer struct {
	Server
	given bool // handed out by Next
}

// Query asks the group who offers a service: a checked and folded name. Up to three tries are made, waiting 40, 120, 360 ms
// (protocol.md 2). One event follows: Answered when the first free station answered, or when only busy ones did by the
// end of a try; Failed when none did. The query takes room until Done. Errors: the name's, ErrQueries.
func (d *Directory) Query(now time.Time, service string, out *Out) (id uint32, err error) {
	if err := CheckService(service); err != nil {
		return 0, err
	}
	if len(d.queries) >= d.cfg.Limits.Queries {
		return 0, ErrQueries
	}
	q := &query{id: d.newTxID(), service: service, waiting: true}
	d.queries = append(d.queries, q)
	d.byID[q.id] = q
	d.try(now, &q.asking, q.id, service, out)
	return q.id, nil
}

// Next hands out the best answer not handed out before: free stations first, in the order their first answers came; busy ones
// once the wait of the try is over and no free one is left. With ok false and more true, the rest of the tries are made and
// an event will follow; both false: nobody else answered.
func (d *Directory) Next(now time.Time, id uint32, out *Out) (s Server, ok, more bool) {
	q := d.byID[id]
	if q == nil {
		return Server{}, false, false
	}
	if best := q.best(now); best != nil {
		best.given, q.waiting = true, false
		return best.Server, true, false
	}
	if q.spent() && q.over(now) && !q.waiting {
		return Server{}, false, false
	}
	if !q.spent() && q.over(now) {
		d.try(now, &q.asking, q.id, q.service, out)
	}
	q.waiting = true
	d.note(q.end)
	return Server{}, false, true
}

// Done forgets a query. Its answers count for nothing from now on.
func (d *Directory) Done(id uint32) {
	q := d.byID[id]
	if q == nil {
		return
	}
	delete(d.byID, id)
	i := slices.Index(d.queries, q)
	d.queries = slices.Delete(d.queries, i, i+1)
}

// best is the answer that Next hands out: nil if there is none now.
func (q *query) best(now time.Time) *answer {
	var busy *answer
	for i := range q.answers {
		a := &q.answers[i]
		if a.given {
			continue
		}
		if !a.Busy {
			return a
		}
		if busy == nil {
			busy = a
		}
	}
	if q.over(now) {
		return busy
	}
	return nil
}

// try makes one try: a message to the group, and the wait after it.
func (d *Directory) try(now time.Time, a *asking, txid uint32, service string, out *Out) {
	a.end = now.Add(waits[a.tries])
	a.tries++
	d.note(a.end)
	out.Messages = append(out.Messages, Outgoing{All: true, Body: Message{
		Type: Query, BootID: d.cfg.BootID, TxID: txid, Service: service, Machine: d.cfg.Machine, Hops: firstHops,
	}})
}

// newTxID is a transaction id that no open query has. Zero is never one.
func (d *Directory) newTxID() uint32 {
	for {
		d.txid++
		if d.txid != 0 && d.byID[d.txid] == nil && d.txid != d.claim.txid {
			return d.txid
		}
	}
}

// answer answers a query for a service of this machine, or for its own name.
func (d *Directory) answer(to Station, txid uint32, service string, out *Out) {
	state := Free
	if d.services[service] {
		state = Busy
	}
	out.Messages = append(out.Messages, Outgoing{To: to, Response: true, Body: Message{
		Type: Answer, BootID: d.cfg.BootID, TxID: txid, Service: service, Machine: d.cfg.Machine, State: state,
	}})
}

func (d *Directory) raise(out *Out, ev Event) { out.Events = append(out.Events, ev) }
