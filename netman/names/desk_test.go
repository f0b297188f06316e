package names

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// desk is one directory under test: machine "a", boot id 1, with the address 02-..-08 on port 0. The test is the wire and the clock.
type desk struct {
	t     *testing.T
	d     *Directory
	start time.Time
	now   time.Time
	out   Out
	txid  uint32   // of the last query sent
	id    uint32   // of the last ask
	seen  []string // what the directory wanted since the last want
}

func newDesk(t *testing.T, limits Limits) *desk {
	start := time.Unix(1_000_000, 0)
	k := &desk{t: t, d: New(Config{Machine: "a", BootID: 1, Seed: 42, Limits: limits}), start: start, now: start}
	k.d.SetAddr(0, addr(8))
	return k
}

// claimedDesk is one whose name is claimed, at time 0.
func claimedDesk(t *testing.T, limits Limits, services ...string) *desk {
	k := newDesk(t, limits)
	for _, s := range services {
		if err := k.d.Register(s); err != nil {
			t.Fatal(err)
		}
	}
	k.d.Claim(k.now, &k.out)
	k.at(520)
	k.seen = nil
	k.start = k.now
	return k
}

func addr(n byte) [6]byte { return [6]byte{2, 0, 0, 0, 0, n} }

// on is the station with address n of port 0.
func on(n byte) Station { return Station{Addr: addr(n)} }

// take notes what the directory wants, and checks it.
func (k *desk) take() {
	k.t.Helper()
	for _, m := range k.out.Messages {
		to := fmt.Sprintf("to %d/%d", m.To.Port, m.To.Addr[5])
		if m.All {
			to = "to all"
		}
		if m.Response != (m.Body.Type == Answer) || m.Body.BootID != 1 || m.Body.Machine != "a" {
			k.t.Fatalf("ill message %+v", m)
		}
		switch m.Body.Type {
		case Query:
			if !m.All || m.Body.Hops != 8 {
				k.t.Fatalf("ill query %+v", m)
			}
			k.txid = m.Body.TxID
			k.seen = append(k.seen, to+": query "+m.Body.Service)
		case Answer:
			k.seen = append(k.seen, fmt.Sprintf("%s: answer %d %s %s", to, m.Body.TxID, m.Body.Service, [...]string{"free", "busy"}[m.Body.State]))
		}
	}
	for _, ev := range k.out.Events {
		text := ev.Kind.String()
		switch ev.Kind {
		case Clash:
			text += fmt.Sprintf(" %d/%d %s", ev.Station.Port, ev.Station.Addr[5], ev.Machine)
		case Answered, Failed:
			if ev.ID != k.id {
				k.t.Fatalf("event for query %d, not %d", ev.ID, k.id)
			}
		}
		k.seen = append(k.seen, text)
	}
	k.out.Reset()
	if err := k.d.Check(); err != nil {
		k.t.Fatalf("at %v: %v", k.now.Sub(k.start), err)
	}
}

// at lets time pass until so many ms after the start, running each timer when it is due.
func (k *desk) at(ms float64) {
	k.t.Helper()
	end := k.start.Add(time.Duration(ms * float64(time.Millisecond)))
	for {
		next := k.d.Deadline()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(k.now) {
			k.now = next
		}
		k.d.HandleTimeout(k.now, &k.out)
		k.take()
	}
	k.now = end
}

// hear hands in a directed or group message as Parse would give it.
func (k *desk) hear(from Station, m Message, group bool) {
	k.t.Helper()
	m, err := Parse(m.Append(nil))
	if err != nil {
		k.t.Fatal(err)
	}
	k.d.Handle(k.now, from, m, group, &k.out)
	k.take()
}

// query is a query of machine m (boot id 100 and more: its address) from a station.
func (k *desk) query(from Station, machine, service string, txid uint32) {
	k.t.Helper()
	k.hear(from, Message{Type: Query, BootID: boot(from), TxID: txid, Machine: machine, Service: service, Hops: 8}, true)
}

// answer is an answer to the last query sent.
func (k *desk) answer(from Station, machine, service string, state uint8) {
	k.t.Helper()
	k.hear(from, Message{Type: Answer, BootID: boot(from), TxID: k.txid, Machine: machine, Service: service, State: state}, false)
}

func boot(s Station) uint64 { return 100 + uint64(s.Addr[5]) }

func (k *desk) ask(service string) {
	k.t.Helper()
	id, err := k.d.Query(k.now, service, &k.out)
	if err != nil {
		k.t.Fatal(err)
	}
	k.id = id
	k.take()
}

// next takes an answer and tells it as "b 0/3", "more" or "none".
func (k *desk) next(want, why string) {
	k.t.Helper()
	s, ok, more := k.d.Next(k.now, k.id, &k.out)
	got := "none"
	switch {
	case ok:
		got = fmt.Sprintf("%s %d/%d", s.Machine, s.Station.Port, s.Station.Addr[5])
		if s.Busy {
			got += " busy"
		}
		if s.BootID != boot(s.Station) {
			k.t.Errorf("boot id %d", s.BootID)
		}
	case more:
		got = "more"
	}
	k.take()
	if got != want {
		k.t.Errorf("at %v: Next gave %q, want %q: %s", k.now.Sub(k.start), got, want, why)
	}
}

// want compares what the directory wanted since the last time.
func (k *desk) want(why string, lines ...string) {
	k.t.Helper()
	if !slices.Equal(k.seen, lines) {
		k.t.Errorf("at %v: %s; want\n\t%s\ngot\n\t%s", k.now.Sub(k.start), why, strings.Join(lines, "\n\t"), strings.Join(k.seen, "\n\t"))
	}
	k.seen = nil
}

func (k *desk) counted(reason string, n uint64) {
	k.t.Helper()
	if got := k.d.Counters()[reason]; got != n {
		k.t.Errorf("%q is counted %d times, want %d", reason, got, n)
	}
}
