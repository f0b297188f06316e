package names

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Station is a place on one of the machine's Ethernets: the port, as the owner numbers them, and the address there.
type Station struct {
	Port int
	Addr [6]byte
}

// compare orders stations by port and address.
func (s Station) compare(t Station) int {
	if s.Port != t.Port {
		return s.Port - t.Port
	}
	return slices.Compare(s.Addr[:], t.Addr[:])
}

// Config is what a Directory is told before it starts.
type Config struct {
	Machine string // this machine's name, one label
	BootID  uint64 // random at each start
	Seed    uint64 // of the directory's own pseudo-random numbers (jitter)
	Limits  Limits
}

// EventKind says what an Event reports.
type EventKind uint8

// Events of a Directory.
const (
	Claimed  EventKind = iota + 1 // the machine's name is its own
	Clash                         // Station has the name too. Before Claimed: it is lost; later: once per station, for the log
	Answered                      // query ID has an answer: take it by Next
	Failed                        // query ID has no answer, and all its tries are made
)

func (k EventKind) String() string {
	switch k {
	case Claimed:
		return "Claimed"
	case Clash:
		return "Clash"
	case Answered:
		return "Answered"
	case Failed:
		return "Failed"
	}
	return fmt.Sprintf("EventKind %d", uint8(k))
}

// Event is something the owner must know.
type Event struct {
	Kind    EventKind
	ID      uint32  // Answered, Failed: the query
	Station Station // Clash
	Machine string  // Clash
}

// Outgoing is a message to be sent: to one station, directed, or to the group on every port.
type Outgoing struct {
	To       Station
	All      bool
	Response bool // an answer: the LLC response bit
	Body     Message
}

// Out collects, in order, what the directory wants done.
type Out struct {
	Messages []Outgoing
	Events   []Event
}

// Reset empties the Out for its next use.
func (o *Out) Reset() { o.Messages, o.Events = o.Messages[:0], o.Events[:0] }

// Entry is a station that was heard, and whose it is.
type Entry struct {
	Station Station
	Machine string
	Domain  string
	BootID  uint64
	Heard   time.Time
}

// station is an Entry with what rations the answers to it.
type station struct {
	Entry
	older, newer *station  // by when they were heard
	answers      time.Time // when its bucket is full again; as far ahead of now as it is empty
}

// Directory is the names of one machine: its own and those it asks for. It has one owner, who calls its methods one at a time.
type Directory struct {
	cfg      Config
	addrs    map[int][6]byte // own addresses, by port
	services map[string]bool // registered; true: busy
	claim    claim
	queries  []*query // in the order they were asked
	byID     map[uint32]*query
	held     []held // answers that wait for their time, earliest first
	stations map[Station]*station
	oldest   *station // not heard for longest
	newest   *station
	clashes  map[Station]bool
	txid     uint32 // the last one used
	random   uint64
	next     time.Time // no timer is due before it; zero: none is set
	counters map[string]uint64
}

// New returns the directory of a machine that has not claimed its name.
func New(cfg Config) *Directory {
	cfg.Limits = cfg.Limits.withDefaults()
	d := &Directory{
		cfg:      cfg,
		addrs:    map[int][6]byte{},
		services: map[string]bool{},
		byID:     map[uint32]*query{},
		stations: map[Station]*station{},
		clashes:  map[Station]bool{},
		random:   cfg.Seed ^ cfg.BootID,
		counters: map[string]uint64{},
	}
	// A late answer to a query of an earlier start should not fit one of this start.
	d.txid = uint32(d.draw())
	return d
}

// SetAddr tells the directory its own address on a port. Of two machines that claim one name, the addresses decide.
func (d *Directory) SetAddr(port int, addr [6]byte) { d.addrs[port] = addr }

// ErrService is wrapped by the errors of Register for names that cannot be this machine's.
var ErrService = errors.New("not a service name of this machine")

// Register makes a service of this machine known, free: queries for it are answered once the machine's name is claimed.
// To register a service again changes nothing.
func (d *Directory) Register(service string) error {
	if err := CheckService(service); err != nil {
		return err
	}
	_, machine, _ := SplitService(service)
	if machine != "" && machine != d.cfg.Machine {
		return fmt.Errorf("%s: %w: the machine is %s", service, ErrService, d.cfg.Machine)
	}
	if service == d.own() {
		return fmt.Errorf("%s: %w: netman holds it", service, ErrService)
	}
	if _, ok := d.services[service]; ok {
		return nil
	}
	if len(d.services) >= d.cfg.Limits.Services {
		return fmt.Errorf("%s: this machine has %d services already", service, len(d.services))
	}
	d.services[service] = false
	return nil
}

// Unregister withdraws a service.
func (d *Directory) Unregister(service string) { delete(d.services, service) }

// SetBusy says whether a registered service can take no further call.
func (d *Directory) SetBusy(service string, busy bool) {
	if _, ok := d.services[service]; ok {
		d.services[service] = busy
	}
}

// Has tells whether a service is registered.
func (d *Directory) Has(service string) bool {
	_, ok := d.services[service]
	return ok
}

// Holds tells whether a name is this machine's: a registered service, or netman's own name, once that is claimed.
func (d *Directory) Holds(service string) bool {
	return d.Has(service) || service == d.own() && d.claim.state == claimed
}

// Busy tells whether a registered service is busy.
func (d *Directory) Busy(service string) bool { return d.services[service] }

// Services lists the registered services, sorted.
func (d *Directory) Services() []string {
	all := make([]string, 0, len(d.services))
	for service := range d.services {
		all = append(all, service)
	}
	sort.Strings(all)
	return all
}

// Asking is how many queries are open.
func (d *Directory) Asking() int { return len(d.queries) }

// Known lists the stations of other machines that were heard, by machine and station. Silence is no news: a machine
// speaks only when it asks or is asked, so Heard may lie far back.
func (d *Directory) Known() []Entry {
	all := make([]Entry, 0, len(d.stations))
	for _, s := range d.stations {
		if s.Machine != d.cfg.Machine {
			all = append(all, s.Entry)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		if c := strings.Compare(a.Machine, b.Machine); c != 0 {
			return c
		}
		return a.Station.compare(b.Station)
	})
	return all
}

// Counters counts what was discarded, by reason.
func (d *Directory) Counters() map[string]uint64 {
	all := make(map[string]uint64, len(d.counters))
	for reason, count := range d.counters {
		all[reason] = count
	}
	return all
}

func (d *Directory) count(reason string) { d.counters[reason]++ }

// own is the name that every netman holds (protocol.md 2).
func (d *Directory) own() string { return "netman." + d.cfg.Machine }

// draw returns the next pseudo-random number (splitmix64).
func (d *Directory) draw() uint64 {
	d.random += 0x9e3779b97f4a7c15
	z := d.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// note remembers that a timer is due at t.
func (d *Directory) note(t time.Time) {
	if d.next.IsZero() || t.Before(d.next) {
		d.next = t
	}
}

// Check tells whether the directory is as it must always be: within its limits, its tables agreeing, no timer forgotten.
func (d *Directory) Check() error {
	l := d.cfg.Limits
	for _, table := range []struct {
		name       string
		len, limit int
	}{
		{"queries", len(d.queries), l.Queries}, {"stations", len(d.stations), l.Stations}, {"services", len(d.services), l.Services},
		{"held", len(d.held), l.Held}, {"rivals", len(d.claim.rivals), l.Rivals}, {"clashes", len(d.clashes), l.Clashes},
	} {
		if table.len > table.limit {
			return fmt.Errorf("%s: %d of at most %d", table.name, table.len, table.limit)
		}
	}
	if len(d.queries) != len(d.byID) {
		return fmt.Errorf("%d queries in order, %d by id", len(d.queries), len(d.byID))
	}
	for _, q := range d.queries {
		if d.byID[q.id] != q {
			return fmt.Errorf("query %d is not found by its id", q.id)
		}
		if err := d.checkQuery(q); err != nil {
			return fmt.Errorf("query %d: %w", q.id, err)
		}
	}
	for key, s := range d.stations {
		if key != s.Station || s.BootID == d.cfg.BootID {
			return fmt.Errorf("station %v is known as %+v", key, s.Entry)
		}
	}
	n := 0
	for s := d.oldest; s != nil; s = s.newer {
		if n++; d.stations[s.Station] != s || s.newer == nil && d.newest != s || s.newer != nil && (s.newer.older != s || s.newer.Heard.Before(s.Heard)) {
			return fmt.Errorf("station %v is not where it belongs by the time it was heard", s.Station)
		}
	}
	if n != len(d.stations) {
		return fmt.Errorf("%d stations, %d by the time they were heard", len(d.stations), n)
	}
	return d.checkTimers()
}

func (d *Directory) checkQuery(q *query) error {
	switch {
	case q.id == 0 || d.claim.state == claiming && q.id == d.claim.txid:
		return errors.New("id is not its own")
	case q.tries < 1 || q.tries > len(waits):
		return fmt.Errorf("%d tries", q.tries)
	case len(q.answers) > d.cfg.Limits.Answers:
		return fmt.Errorf("%d answers of at most %d", len(q.answers), d.cfg.Limits.Answers)
	}
	for i, a := range q.answers {
		if q.waiting && !a.given && !a.Busy {
			return fmt.Errorf("waits, though the station %v answered as free", a.Station)
		}
		for _, b := range q.answers[:i] {
			if a.Station == b.Station {
				return fmt.Errorf("station %v is there twice", a.Station)
			}
		}
	}
	return nil
}

func (d *Directory) checkTimers() error {
	due := func(what string, t time.Time) error {
		if t.IsZero() || d.next.IsZero() || t.Before(d.next) {
			return fmt.Errorf("%s is due at %v, the deadline is %v", what, t, d.next)
		}
		return nil
	}
	if d.claim.state == claiming {
		if err := due("claim", d.claim.end); err != nil {
			return err
		}
	}
	for _, q := range d.queries {
		if q.waiting {
			if err := due("query", q.end); err != nil {
				return err
			}
		}
	}
	for i, h := range d.held {
		if err := due("answer", h.due); err != nil {
			return err
		}
		if i > 0 && h.due.Before(d.held[i-1].due) {
			return errors.New("answers are held out of order")
		}
	}
	return nil
}
