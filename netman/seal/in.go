package seal

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// Handle takes a handshake message of the peer. payload is what this side says of itself if the message asks for an answer. An error is why it
// counts for nothing; then nothing has changed.
func (p *Peer) Handle(now time.Time, value, payload []byte, out *Out) error {
	m, err := p.desk.parse(value, &p.remote, &p.local)
	if err != nil {
		return err
	}
	switch m.step {
	case xx1, ik1:
		return p.handleFirst(now, m, payload, out)
	case xx2, ik2:
		return p.handleSecond(now, m, out)
	default:
		return p.handleThird(now, m, out)
	}
}

// handleFirst answers a first message. It may be a recording, so no key in use and no other handshake is touched by it; the same one is
// answered by the same answer.
func (p *Peer) handleFirst(now time.Time, m message, payload []byte, out *Out) error {
	e := m.noise[:keyLen]
	for _, h := range p.theirs {
		if bytes.Equal(h.first, m.noise) {
			out.Values = append(out.Values, h.value)
			return nil
		}
	}
	for i := range p.sessions() {
		s := p.session(i)
		if s == nil || s.initiator || !bytes.Equal(s.first, e) {
			continue
		}
		if s.reply == nil {
			return ErrRepeated
		}
		out.Values = append(out.Values, s.reply)
		return nil
	}
	if !p.pace(now) {
		return ErrPace
	}
	h := &handshake{
		pattern: m.step, number: m.number, secret: m.secret, began: now, payload: p.desk.withBoot(payload), first: bytes.Clone(m.noise),
	}
	if _, err := io.ReadFull(p.desk.cfg.Rand, h.seed[:]); err != nil {
		return err
	}
	s, err := p.answer(h, now)
	switch {
	case err != nil:
		return err
	case s == nil:
		p.halfOpen(now, h)
	case p.allows(s.key) != nil:
		return p.allows(s.key)
	default:
		s.reply = h.value
		p.pend(now, s)
	}
	out.Values = append(out.Values, h.value)
	return nil
}

// halfOpen keeps an answered XX handshake for its third message.
func (p *Peer) halfOpen(now time.Time, h *handshake) {
	for len(p.theirs) > 0 && (len(p.theirs) >= maxHalfOpen || now.Sub(p.theirs[0].began) >= halfOpenAge) {
		p.theirs[0] = nil
		p.theirs = p.theirs[1:]
	}
	p.theirs = append(p.theirs, h)
}

// pend keeps the key of an answered IK handshake for the first frame under it.
func (p *Peer) pend(now time.Time, s *session) {
	s.began = now
	for len(p.pending) > 0 && (len(p.pending) >= maxHalfOpen || now.Sub(p.pending[0].began) >= pendingAge) {
		p.pending[0] = nil
		p.pending = p.pending[1:]
	}
	p.pending = append(p.pending, s)
}

// handleSecond takes the answer to the own first message: the peer lives, and has the keys in IK, or will have them with the third message.
func (p *Peer) handleSecond(now time.Time, m message, out *Out) error {
	h := p.own
	if h == nil || h.pattern+1 != m.step || h.number != m.number || !same(h.secret, m.secret) {
		return ErrUnexpected
	}
	if !p.pace(now) {
		return ErrPace
	}
	if h.state == nil {
		if err := p.begin(h); err != nil {
			return err
		}
	}
	said, one, two, err := h.state.ReadMessage(nil, m.noise)
	if err != nil {
		h.state = nil // a forged message spoils it
		return ErrHandshake
	}
	var third []byte
	if h.pattern == xx1 {
		third, one, two, err = h.state.WriteMessage(head(xx3, h.number, h.secret), h.payload)
		if err != nil {
			return ErrHandshake
		}
		third = finish(third, h.secret, &p.local, &p.remote)
	}
	s, err := h.newSession(now, said, one, two)
	if err == nil {
		err = p.allows(s.key)
	}
	if err != nil {
		h.state = nil
		return err
	}
	p.own = nil
	p.note(s)
	// Of two that crossed, the one that the lower address began is used by both.
	c := p.cur
	if c == nil || c.initiator || p.lower() || c.boot != s.boot || c.at.Before(h.began) {
		s.third = third
		p.install(s)
	}
	out.Events = append(out.Events, Event{Kind: Established, Initiator: true, Key: s.key, Payload: s.payload, session: s})
	return nil
}

// handleThird ends an XX handshake of the peer, who lives.
func (p *Peer) handleThird(now time.Time, m message, out *Out) error {
	for i, h := range p.theirs {
		if h.number != m.number || !same(h.secret, m.secret) || now.Sub(h.began) >= halfOpenAge {
			continue
		}
		if !p.pace(now) {
			return ErrPace
		}
		if h.state == nil {
			if _, err := p.answer(h, now); err != nil {
				return err
			}
		}
		said, one, two, err := h.state.ReadMessage(nil, m.noise)
		if err != nil {
			h.state = nil // a forged message spoils it, and perhaps it is meant for another one
			continue
		}
		s, err := h.newSession(now, said, one, two)
		if err == nil {
			err = p.allows(s.key)
		}
		p.theirs = append(p.theirs[:i], p.theirs[i+1:]...)
		if err != nil {
			return err
		}
		p.establish(now, s, out)
		return nil
	}
	return ErrUnexpected
}

// establish takes into use a key of a handshake that the peer began, now that it is known to live.
func (p *Peer) establish(now time.Time, s *session, out *Out) {
	s.at, s.past = now, false
	p.note(s)
	// Of two that crossed, the one that the lower address began is used by both.
	if c := p.cur; c != nil && c.initiator && p.lower() && c.boot == s.boot && s.began.Sub(c.at) <= crossingAge && c.at.Sub(s.began) <= crossingAge {
		p.prev = s
	} else {
		p.install(s)
	}
	out.Events = append(out.Events, Event{Kind: Established, Key: s.key, Payload: s.payload, session: s})
}

// note notes that a key was established.
func (p *Peer) note(s *session) {
	p.count++
	s.order, p.newest = p.count, s
}

// install makes a key the one that this side sends under.
func (p *Peer) install(s *session) {
	if p.cur != nil {
		p.prev = p.cur
	}
	p.cur = s
}

// Open opens a sealed frame without its padding, whose header was looked at: directed to this station, from the peer. The PDU is appended to
// dst, which is not part of frame. newest: the peer sent it after all others under this key that were opened. An event may precede it.
func (p *Peer) Open(now time.Time, dst, frame []byte, out *Out) (pdu []byte, newest bool, err error) {
	if len(frame) < HeaderLen+Overhead {
		return nil, false, ErrShort
	}
	number := frame[flags] >> keyShift & keyMask
	err = ErrUnknown
	for i := range p.sessions() {
		s := p.session(i)
		if s == nil || s.number != number || !p.accepts(now, s) {
			continue
		}
		if p.overtaken(s) && p.behind(s, frame) > windowLen {
			err = ErrOld
			continue
		}
		if pdu, newest, err = s.openTo(dst, frame); err != nil {
			continue
		}
		newest = newest && !p.overtaken(s)
		if s.heard.IsZero() {
			s.reply, s.third = nil, nil
		}
		s.heard, p.last = now, s
		switch {
		case i >= 2:
			p.pending = slices.Delete(p.pending, i-2, i-1)
			p.establish(now, s, out)
		case i == 1 && p.prefers(now, s):
			p.prev, p.cur = p.cur, s
		}
		return pdu, newest, nil
	}
	return nil, false, err
}

// overtaken tells whether frames under a newer key were opened than those under this one.
func (p *Peer) overtaken(s *session) bool {
	return s == p.prev && p.cur != nil && p.cur.window.top > 0 && s.order < p.cur.order
}

// behind is how many frames the peer sent, as far as is known, after this one under the key before: the window goes on from key to key.
func (p *Peer) behind(s *session, frame []byte) uint64 {
	counter := binary.BigEndian.Uint64(frame[HeaderLen:])
	return p.cur.window.top + s.window.top - min(counter, s.window.top)
}

// prefers tells whether the peer sends under a newer key than the one that establish kept: it had no part in a crossing, or has lost it.
func (p *Peer) prefers(now time.Time, s *session) bool {
	last := s.at
	if p.cur.heard.After(last) {
		last = p.cur.heard
	}
	return s.order > p.cur.order && now.Sub(last) > crossingWait
}

// accepts tells whether a frame under the key is still taken. The old key is, until the new one was heard and it was not for Grace.
func (p *Peer) accepts(now time.Time, s *session) bool {
	l := p.desk.cfg.Limits
	switch {
	case s.spent(now, l):
		return false
	case s == p.prev && p.cur != nil && !p.cur.heard.IsZero():
		last := p.cur.at
		if s.heard.After(last) {
			last = s.heard
		}
		return now.Sub(last) < l.Grace
	case s != p.cur && s != p.prev:
		return now.Sub(s.began) < pendingAge
	}
	return true
}

// Number is the key number in use, for F; ok is false when there is no key to send under, or it was used too often. Whether it is too
// old Live tells.
func (p *Peer) Number() (number uint8, ok bool) {
	if p.cur == nil || p.cur.next >= hard*p.desk.cfg.Limits.Frames {
		return 0, false
	}
	return p.cur.number, true
}

// Third is the third message of the handshake that made the key in use, as long as the peer may not have it: each frame is preceded by it.
func (p *Peer) Third() []byte { return p.cur.third }

// Seal appends counter, sealed PDU and tag to a header of HeaderLen octets, complete with L and F. There must be a key (Number). It allocates
// nothing if header has room for Overhead more octets than the PDU has. pdu is not part of header's memory.
func (p *Peer) Seal(header, pdu []byte) []byte { return p.cur.sealTo(header, pdu) }
