package names

import (
	"slices"
	"time"
)

type claimState uint8

const (
	unclaimed claimState = iota
	claiming
	claimed
	lost
)

// claim is the machine's own name, netman.MACHINE (protocol.md 2).
type claim struct {
	asking
	state  claimState
	txid   uint32
	rivals []rival
}

// rival is another machine that claims our name while we do. The two may hear each other on several Ethernets: the lowest
// address there, theirs or ours, decides, and so both come to the same end. Since a rival that is higher on one Ethernet may
// be lower on the other, it is weighed, and answered if it is to lose, when our try ends.
type rival struct {
	boot   uint64
	own    [6]byte // our lowest address on the ports it was heard on
	theirs [6]byte // the lowest address it was heard with
	at     Station // the same, and the port
	asked  bool    // it claimed, and was not answered since
	txid   uint32  // of its claim
}

// lower tells whether the rival is to have the name.
func (r *rival) lower() bool { return less(r.theirs, r.own) }

func less(a, b [6]byte) bool { return slices.Compare(a[:], b[:]) < 0 }

// Claim asks for the machine's own name. After 520 ms without an answer it is ours: event Claimed. If another station holds
// it, or claims it too and has the lower address: event Clash, and this machine answers for nothing.
// The ports must be there, and SetAddr called for each.
func (d *Directory) Claim(now time.Time, out *Out) {
	d.claim = claim{state: claiming, txid: d.newTxID()}
	d.try(now, &d.claim.asking, d.claim.txid, d.own(), out)
}

// endClaimTry weighs the rivals heard, then makes the next try or takes the name.
func (d *Directory) endClaimTry(now time.Time, out *Out) {
	for _, r := range d.claim.rivals {
		if r.lower() {
			d.lose(r.at, out)
			return
		}
	}
	for i := range d.claim.rivals {
		if r := &d.claim.rivals[i]; r.asked {
			r.asked = false
			d.answer(r.at, r.txid, d.own(), out)
		}
	}
	switch {
	case !d.claim.spent():
		d.try(now, &d.claim.asking, d.claim.txid, d.own(), out)
	case d.claim.putOff(now):
		d.note(d.claim.end)
	default:
		d.claim = claim{state: claimed}
		d.raise(out, Event{Kind: Claimed})
	}
}

// lose ends the claim: the station has the name.
func (d *Directory) lose(to Station, out *Out) {
	d.claim = claim{state: lost}
	d.raise(out, Event{Kind: Clash, Station: to, Machine: d.cfg.Machine})
}

// handleNamesake takes a message of another machine with our name, and tells whether that is all it is good for.
func (d *Directory) handleNamesake(from Station, m Message, out *Out) (done bool) {
	claims := m.Type == Query && m.Service == d.own()
	switch d.claim.state {
	case claiming:
		if r := d.rivalOf(from, m.BootID, claims); r != nil {
			r.hear(d, from, m, claims)
		} else if !claims {
			d.lose(from, out) // it holds the name
		}
	case claimed:
		if claims {
			return false // a newcomer: the answer keeps it from starting
		}
		d.clash(from, out)
	}
	return true
}

// rivalOf finds the rival with that boot id. One who is not known yet is put down if it claims.
func (d *Directory) rivalOf(from Station, boot uint64, claims bool) *rival {
	for i := range d.claim.rivals {
		if d.claim.rivals[i].boot == boot {
			return &d.claim.rivals[i]
		}
	}
	if !claims {
		return nil
	}
	own, ok := d.addrs[from.Port]
	if !ok {
		d.count("port without an address")
		return nil
	}
	if len(d.claim.rivals) >= d.cfg.Limits.Rivals {
		d.count("rivals full")
		return nil
	}
	d.claim.rivals = append(d.claim.rivals, rival{boot: boot, own: own, theirs: from.Addr, at: from})
	return &d.claim.rivals[len(d.claim.rivals)-1]
}

// hear notes what the rival sent from a station.
func (r *rival) hear(d *Directory, from Station, m Message, claims bool) {
	if own, ok := d.addrs[from.Port]; ok && less(own, r.own) {
		r.own = own
	}
	if less(from.Addr, r.theirs) {
		r.theirs, r.at = from.Addr, from
	}
	if claims {
		r.asked, r.txid = true, m.TxID
	}
}

// clash reports a station that runs with our name: once, and nobody is cut off (protocol.md 2).
func (d *Directory) clash(with Station, out *Out) {
	if d.clashes[with] {
		return
	}
	if len(d.clashes) >= d.cfg.Limits.Clashes {
		d.count("clashes full")
		return
	}
	d.clashes[with] = true
	d.raise(out, Event{Kind: Clash, Station: with, Machine: d.cfg.Machine})
}
