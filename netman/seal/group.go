package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"io"
	"slices"
)

// Sizes of a frame sealed for all stations of a site, in octets: counter, secret id, salt and boot id, PDU, tag.
const (
	saltLen       = 8
	groupHead     = HeaderLen + counterLen + 4 + saltLen + bootLen
	GroupOverhead = groupHead - HeaderLen + tagLen
)

// group is what seals and opens frames for all stations that know the site secret: queries and their answers (protocol.md 1).
type group struct {
	salt    [saltLen]byte
	seal    cipher.AEAD
	next    uint64
	nonce   [12]byte
	senders map[[6]byte]*sender
	order   [][6]byte // the one not heard for longest first
}

// sender is a station that group frames came from. Nothing tells which of its starts is the present one: a recording of an earlier one may
// come after it. So some are kept, each with its counter.
type sender struct{ starts []start } // the one not heard for longest first

// start is one start of a sender, under one secret.
type start struct {
	of   [saltLen + bootLen]byte
	id   [4]byte
	open cipher.AEAD
	next uint64 // the least counter that is taken
}

// startGroup draws the salt of this start and makes the key of the own frames.
func (d *Desk) startGroup() {
	if d.group.senders == nil {
		d.group.senders = map[[6]byte]*sender{}
	}
	s := d.secret()
	if s == nil {
		return
	}
	io.ReadFull(d.cfg.Rand, d.group.salt[:])
	start := binary.BigEndian.AppendUint64(append([]byte(nil), d.group.salt[:]...), d.cfg.BootID)
	d.group.seal = groupKey(s, start)
}

// SetSecrets changes the site secrets: the first is used from now on, all are accepted. Keys that are in use stay.
func (d *Desk) SetSecrets(all []SiteSecret) {
	d.cfg.Secrets = append([]SiteSecret(nil), all...)
	d.group.next = 0
	d.startGroup()
}

func groupKey(s *SiteSecret, start []byte) cipher.AEAD {
	var key [32]byte
	derive(key[:], s.group[:], start, "dnet1 group frames")
	return newAEAD(key)
}

// SealGroup appends what seals a PDU for all stations of the site to a header of HeaderLen octets, complete with L and F: key number 0.
func (d *Desk) SealGroup(header, pdu []byte) []byte {
	g := &d.group
	frame := binary.BigEndian.AppendUint64(header, g.next)
	frame = append(append(frame, d.secret().ID[:]...), g.salt[:]...)
	frame = binary.BigEndian.AppendUint64(frame, d.cfg.BootID)
	frame = g.seal.Seal(frame, setNonce(&g.nonce, g.next), pdu, frame)
	g.next++
	return frame
}

// OpenGroup opens such a frame and appends the PDU to dst, which is not part of frame. A counter that is not above all before, of one start
// of one sender, is refused.
func (d *Desk) OpenGroup(from [6]byte, dst, frame []byte) (pdu []byte, err error) {
	if len(frame) < groupHead+tagLen {
		return nil, ErrShort
	}
	counter := binary.BigEndian.Uint64(frame[HeaderLen:])
	st := start{id: [4]byte(frame[HeaderLen+counterLen:]), of: [saltLen + bootLen]byte(frame[HeaderLen+counterLen+4:])}
	if known := d.group.senders[from].find(st); known != nil {
		st = *known
	} else if secret := d.secretOf(st.id); secret != nil {
		st.open = groupKey(secret, st.of[:])
	} else {
		return nil, ErrSecret
	}
	if counter < st.next {
		return nil, ErrReplayed
	}
	var nonce [12]byte
	pdu, err = st.open.Open(dst, setNonce(&nonce, counter), frame[groupHead:], frame[:groupHead])
	if err != nil {
		return nil, ErrForged
	}
	st.next = counter + 1
	d.group.heard(from, st)
	return pdu, nil
}

// find finds a start that is known.
func (s *sender) find(st start) *start {
	if s == nil {
		return nil
	}
	for i := range s.starts {
		if s.starts[i].of == st.of && s.starts[i].id == st.id {
			return &s.starts[i]
		}
	}
	return nil
}

func (d *Desk) secretOf(id [4]byte) *SiteSecret {
	for i := range d.cfg.Secrets {
		if d.cfg.Secrets[i].ID == id {
			return &d.cfg.Secrets[i]
		}
	}
	return nil
}

// heard notes the counter of an authentic frame.
func (g *group) heard(from [6]byte, st start) {
	s := g.senders[from]
	if s == nil {
		if len(g.senders) >= maxSenders {
			delete(g.senders, g.order[0])
			g.order = slices.Delete(g.order, 0, 1)
		}
		s = &sender{}
		g.senders[from] = s
	} else {
		i := slices.Index(g.order, from)
		g.order = slices.Delete(g.order, i, i+1)
	}
	g.order = append(g.order, from)
	s.starts = slices.DeleteFunc(s.starts, func(k start) bool { return k.of == st.of && k.id == st.id })
	if len(s.starts) >= maxStarts {
		s.starts = slices.Delete(s.starts, 0, 1)
	}
	s.starts = append(s.starts, st)
}
