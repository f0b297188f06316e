package names

import (
	"slices"
	"time"
)

// held is an answer that waits for its time.
type held struct {
	due     time.Time
	to      Station
	boot    uint64
	txid    uint32
	service string
}

// Handle takes a control message that came from a station, to the group or directed. Of a hello only the names are heeded;
// the link it begins is the owner's business, and so is another station with our own address.
func (d *Directory) Handle(now time.Time, from Station, m Message, group bool, out *Out) {
	if m.BootID == d.cfg.BootID {
		d.count("own echo")
		return
	}
	if own, ok := d.addrs[from.Port]; ok && own == from.Addr {
		d.count("own address")
		return
	}
	s := d.learn(now, from, m)
	if m.Machine == d.cfg.Machine && d.handleNamesake(from, m, out) {
		d.count("message of another machine with our name")
		return
	}
	switch m.Type {
	case Query:
		d.handleQuery(now, s, m, out)
	case Answer:
		d.handleAnswer(from, m, group, out)
	}
}

// handleQuery answers for what this machine has, and only for that. A repeated query is answered again: the answer may
// have been lost.
func (d *Directory) handleQuery(now time.Time, s *station, m Message, out *Out) {
	if !d.answersFor(m) {
		d.count("query for what is not ours")
		return
	}
	if _, machine, _ := SplitService(m.Service); machine != "" {
		d.answerStation(now, s, m, out)
		return
	}
	for _, h := range d.held {
		if h.boot == m.BootID && h.txid == m.TxID && h.to == s.Station {
			d.count("query repeated before its answer")
			return
		}
	}
	due := now.Add(d.jitter())
	full := len(d.held) >= d.cfg.Limits.Held
	if full {
		d.count("held answers full")
	}
	if full || !due.After(now) {
		d.answerStation(now, s, m, out)
		return
	}
	if !s.mayAnswer(now) {
		d.count("answers to one station limited")
		return
	}
	i, _ := slices.BinarySearchFunc(d.held, due, func(h held, t time.Time) int {
		if h.due.After(t) {
			return 1
		}
		return -1 // equal times stay in the order they came
	})
	d.held = slices.Insert(d.held, i, held{due, s.Station, m.BootID, m.TxID, m.Service})
	d.note(due)
}

// answersFor tells whether the query is for a name of this machine. It has none before its own is claimed.
func (d *Directory) answersFor(m Message) bool {
	return d.claim.state == claimed && (m.Service == d.own() || d.Has(m.Service))
}

// answerStation answers at once, if the station has not been answered too often.
func (d *Directory) answerStation(now time.Time, s *station, m Message, out *Out) {
	if !s.mayAnswer(now) {
		d.count("answers to one station limited")
		return
	}
	d.answer(s.Station, m.TxID, m.Service, out)
}

// mayAnswer takes one answer out of the station's bucket.
func (s *station) mayAnswer(now time.Time) bool {
	if s.answers.Before(now) {
		s.answers = now
	}
	if s.answers.Sub(now) > (answerBurst-1)*answerInterval {
		return false
	}
	s.answers = s.answers.Add(answerInterval)
	return true
}

// jitter is how long an answer to an installation-wide name is held back, so that many do not meet at the asker.
func (d *Directory) jitter() time.Duration {
	most := min(maxJitter, time.Duration(len(d.stations))*jitterPerStation)
	return time.Duration(d.draw() % uint64(most+1))
}

// handleAnswer takes an answer to a query of this machine.
func (d *Directory) handleAnswer(from Station, m Message, group bool, out *Out) {
	if group {
		d.count("answer to the group")
		return
	}
	q := d.byID[m.TxID]
	if q == nil || q.service != m.Service {
		d.count("answer to no query")
		return
	}
	if _, machine, _ := SplitService(q.service); machine != "" && machine != m.Machine {
		d.count("answer of another machine")
		return
	}
	a := Server{Station: from, Machine: m.Machine, Domain: m.Domain, BootID: m.BootID, Busy: m.State != Free}
	i := slices.IndexFunc(q.answers, func(b answer) bool { return b.Station == from })
	switch {
	case i >= 0 && q.answers[i].given:
		d.count("answer repeated")
		return
	case i >= 0:
		q.answers[i].Server = a // what it says last counts
	case len(q.answers) >= d.cfg.Limits.Answers:
		d.count("answers full")
		return
	default:
		q.answers = append(q.answers, answer{Server: a})
	}
	if q.waiting && !a.Busy {
		q.waiting = false
		d.raise(out, Event{Kind: Answered, ID: q.id})
	}
}

// learn notes who is at a station.
func (d *Directory) learn(now time.Time, from Station, m Message) *station {
	s := d.stations[from]
	if s == nil {
		if len(d.stations) >= d.cfg.Limits.Stations {
			d.count("stations full")
			delete(d.stations, d.oldest.Station)
			d.unlink(d.oldest)
		}
		s = &station{}
		d.stations[from] = s
	} else {
		d.unlink(s)
	}
	s.Entry = Entry{Station: from, Machine: m.Machine, Domain: m.Domain, BootID: m.BootID, Heard: now}
	s.older, s.newer = d.newest, nil
	if d.newest != nil {
		d.newest.newer = s
	} else {
		d.oldest = s
	}
	d.newest = s
	return s
}

// unlink takes a station out of the order in which they were heard.
func (d *Directory) unlink(s *station) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		d.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		d.newest = s.older
	}
}
