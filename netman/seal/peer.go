package seal

import (
	"io"
	"time"
)

// Config is what a machine is told before it starts.
type Config struct {
	Mode     Mode
	Identity Identity
	Witness  Key          // of the machine's keeper
	Secrets  []SiteSecret // in secret mode: the first is used, all are accepted
	Pins     []Pin
	Strict   bool      // only machines that are pinned already are accepted
	Rand     io.Reader // of keys; never fails
	BootID   uint64    // of this start
	Limits   Limits
}

// Desk is what all peers of a machine share: its keys, the pins, and what rations the handshakes of strangers.
type Desk struct {
	cfg    Config
	pins   *Pins
	guests bucket // handshakes of stations that share no key with this one
	steps  bucket // of all
	group  group
}

// NewDesk returns the desk of a machine in a sealed mode.
func NewDesk(cfg Config) *Desk {
	cfg.Limits = cfg.Limits.withDefaults()
	d := &Desk{cfg: cfg, pins: newPins(cfg.Pins, cfg.Strict, cfg.Limits.Pins)}
	d.startGroup()
	return d
}

// Mode is the machine's.
func (d *Desk) Mode() Mode { return d.cfg.Mode }

// Pins is the table of the machines known.
func (d *Desk) Pins() *Pins { return d.pins }

// Key is the machine's own.
func (d *Desk) Key() Key { return d.cfg.Identity.Key }

// Witness is that of the machine's keeper.
func (d *Desk) Witness() Key { return d.cfg.Witness }

// secret is the one that this machine uses; nil in pinned mode.
func (d *Desk) secret() *SiteSecret {
	if d.cfg.Mode != Secret || len(d.cfg.Secrets) == 0 {
		return nil
	}
	return &d.cfg.Secrets[0]
}

// Admit takes one handshake of a station that shares no key with this one out of what all those have together. In secret mode a value that no
// station of the site made costs nothing.
func (d *Desk) Admit(now time.Time, value []byte, from, to [6]byte) error {
	if _, err := d.parse(value, &from, &to); err != nil {
		return err
	}
	if !d.AdmitGuest(now) {
		return ErrPace
	}
	return nil
}

// AdmitGuest likewise, of one that this side is to begin.
func (d *Desk) AdmitGuest(now time.Time) bool { return d.guests.take(now, guestPerSec, guestBurst) }

// pace takes one step that costs a Diffie-Hellman out of what this station has, and of what all have.
func (p *Peer) pace(now time.Time) bool {
	return p.steps.take(now, stepsPerSec, stepsBurst) && p.desk.steps.take(now, allPerSec, allBurst)
}

// bucket rations something: so many per second, after a burst.
type bucket struct{ full time.Time } // when it is full again; as far ahead of now as it is empty

func (b *bucket) take(now time.Time, perSec, burst int) bool {
	one := time.Second / time.Duration(perSec)
	if b.full.Before(now) {
		b.full = now
	}
	if b.full.Sub(now) > time.Duration(burst-1)*one {
		return false
	}
	b.full = b.full.Add(one)
	return true
}

// EventKind says what an Event reports.
type EventKind uint8

// Events of a Peer.
const (
	Established EventKind = iota + 1 // the peer with Key lives and said Payload. Initiator: this side began it
	Failed                           // the handshake that this side began had no answer
)

// Event is something the owner must know.
type Event struct {
	Kind      EventKind
	Initiator bool
	Key       Key
	Payload   []byte

	session *session
}

// Out collects, in order, what a peer wants done.
type Out struct {
	Values [][]byte // handshake messages for the station; Response tells which are answers
	Events []Event
}

// Reset empties the Out for its next use.
func (o *Out) Reset() { o.Values, o.Events = o.Values[:0], o.Events[:0] }

// Peer is what a station shares with one other: the handshakes under way, and the keys that came of them. It has one owner.
type Peer struct {
	// Only, if set, is the one key that the peer may prove: as long as there is a link, nobody else takes its station's place.
	Only *Key

	desk          *Desk
	local, remote [6]byte
	own           *handshake   // begun by this side
	theirs        []*handshake // XX, answered: they wait for the third message
	pending       []*session   // IK, answered: the first frame under one tells that its beginner lives, and is no recording
	cur, prev     *session     // what this side sends under; and the one before, still accepted
	last          *session     // of the frame that was opened last
	newest        *session     // established last
	count         int          // established so far
	steps         bucket
	unknown       time.Time // no handshake because of an unknown key before
	rekey         time.Time // no new key before
}

// NewPeer is for a station that nothing is shared with. local and remote are the two addresses.
func (d *Desk) NewPeer(local, remote [6]byte) *Peer {
	return &Peer{desk: d, local: local, remote: remote}
}

// Move gives this side another address: what was agreed under the old one is void.
func (p *Peer) Move(local [6]byte) {
	if p.local != local {
		p.local = local
		p.theirs, p.pending, p.cur, p.prev, p.last, p.newest = nil, nil, nil, nil, nil, nil
	}
}

// lower tells whether this side has the lower address.
func (p *Peer) lower() bool { return string(p.local[:]) < string(p.remote[:]) }

// Begin begins a handshake, in place of one of this side that is under way: IK if the peer's key is known. payload is what this side says of
// itself. Established or Failed follows.
func (p *Peer) Begin(now time.Time, known *Key, payload []byte, out *Out) error {
	return p.start(now, known, p.desk.withBoot(payload), 0, out)
}

// start makes the first try of a pattern.
func (p *Peer) start(now time.Time, known *Key, payload []byte, made int, out *Out) error {
	h := &handshake{pattern: xx1, initiator: true, number: p.freeNumber(), secret: p.desk.secret(), known: known, payload: payload, began: now, made: made}
	if known != nil {
		h.pattern = ik1
	}
	p.own = nil
	if _, err := io.ReadFull(p.desk.cfg.Rand, h.seed[:]); err != nil {
		return err
	}
	if err := p.begin(h); err != nil {
		return err
	}
	p.own = h
	p.try(now, out)
	return nil
}

// try sends the first message of the own handshake.
func (p *Peer) try(now time.Time, out *Out) {
	h := p.own
	h.at = now.Add(waits[h.made])
	h.made++
	out.Values = append(out.Values, h.value)
}

// freeNumber is a key number that no key here has, if there is one: two keys with one number are both tried.
func (p *Peer) freeNumber() uint8 {
	for n := uint8(1); n <= keyMask; n++ {
		used := false
		for i := range p.sessions() {
			s := p.session(i)
			used = used || s != nil && s.number == n
		}
		if !used {
			return n
		}
	}
	if p.cur == nil {
		return 1
	}
	return p.cur.number%keyMask + 1
}

// sessions is how many keys may be accepted, and session one of them; nil where there is none.
func (p *Peer) sessions() int { return 2 + len(p.pending) }

func (p *Peer) session(i int) *session {
	switch i {
	case 0:
		return p.cur
	case 1:
		return p.prev
	}
	return p.pending[i-2]
}

// Busy tells whether a handshake of this side is under way.
func (p *Peer) Busy() bool { return p.own != nil }

// Cancel gives it up.
func (p *Peer) Cancel() { p.own = nil }

// Live tells whether there is a key to send under.
func (p *Peer) Live(now time.Time) bool { return p.cur != nil && !p.cur.spent(now, p.desk.cfg.Limits) }

// LiveUntil is when the key in use is past its age; zero: there is none.
func (p *Peer) LiveUntil() time.Time {
	if p.cur == nil {
		return time.Time{}
	}
	return p.cur.at.Add(hard * p.desk.cfg.Limits.Age)
}

// Key is the peer's, proved by the handshake that made the key in use.
func (p *Peer) Key() (k Key, ok bool) {
	if p.cur == nil {
		return k, false
	}
	return p.cur.key, true
}

// Reject drops the key that an Established event told of: its owner is not who it should be.
func (p *Peer) Reject(ev Event) { p.drop(ev.session) }

// Rejected drops the key of the frame that was opened last: the peer, who said so in it, has dropped it.
func (p *Peer) Rejected() { p.drop(p.last) }

// NewLink tells that a link begins with the hello of the key that was established last: frames under the others are of earlier links.
func (p *Peer) NewLink() {
	for i := range p.sessions() {
		if s := p.session(i); s != nil && s != p.newest {
			s.past = true
		}
	}
}

// Past tells whether the frame that was opened last is one of an earlier link: somebody has held it back, or sends it again.
func (p *Peer) Past() bool { return p.last != nil && p.last.past }

func (p *Peer) drop(s *session) {
	if p.prev == s {
		p.prev = nil
	}
	if p.cur == s {
		p.cur, p.prev = p.prev, nil
	}
}

// Uses tells whether this side sends under the key of an Established event.
func (p *Peer) Uses(ev Event) bool { return p.cur != nil && p.cur == ev.session }

// allows tells why a key that was proved is not to be taken.
func (p *Peer) allows(key Key) error {
	switch {
	case key == p.desk.Key():
		return ErrSelf
	case p.Only != nil && key != *p.Only:
		return ErrOther
	}
	return nil
}

// Deadline is when HandleTimeout is due; zero: not before something else happens.
func (p *Peer) Deadline() time.Time {
	if p.own == nil {
		return time.Time{}
	}
	return p.own.at
}

// HandleTimeout repeats a first message. The last try of IK is one of XX: the peer may have another key by now.
func (p *Peer) HandleTimeout(now time.Time, out *Out) {
	h := p.own
	switch {
	case h == nil || now.Before(h.at):
	case h.made == tries || h.made == tries-1 && h.pattern == ik1 && p.start(now, nil, h.payload, h.made, out) != nil:
		p.own = nil
		p.rekey = now.Add(min(rekeyAgain, p.desk.cfg.Limits.Age/8))
		out.Events = append(out.Events, Event{Kind: Failed})
	case p.own == h:
		p.try(now, out)
	}
}

// Unknown is for a frame under an unknown key: true when a handshake is to be begun, which tells the peer who we are. At most one a second.
func (p *Peer) Unknown(now time.Time) bool {
	if p.own != nil || now.Before(p.unknown) || len(p.theirs) > 0 && now.Sub(p.theirs[len(p.theirs)-1].began) < waits[0] {
		return false
	}
	p.unknown = now.Add(unknownPace)
	return true
}

// Rekey tells whether it is time to begin a new key, by a handshake with the key of the peer: the station with the lower address does it, so
// that two do not cross. RekeyAt is when it will be by age alone.
func (p *Peer) Rekey(now time.Time) bool {
	l := p.desk.cfg.Limits
	if p.cur == nil || p.own != nil || !p.lower() || now.Before(p.rekey) {
		return false
	}
	return p.cur.next >= l.Frames || p.cur.window.top >= l.Frames || now.Sub(p.cur.at) >= l.Age
}

// RekeyAt is when Rekey will be true by age alone; zero: never.
func (p *Peer) RekeyAt() time.Time {
	if p.cur == nil || p.own != nil || !p.lower() {
		return time.Time{}
	}
	at := p.cur.at.Add(p.desk.cfg.Limits.Age)
	if at.Before(p.rekey) {
		return p.rekey
	}
	return at
}
