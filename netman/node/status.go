package node

import (
	"time"

	"dnet/netman/hdlc"
	"dnet/x25"
)

// LinkStatus is the state of one link, for people.
type LinkStatus struct {
	Port     int
	Addr     string
	Machine  string // as its hello said, empty before
	State    string
	Since    time.Time // up since, zero if it is not
	Circuits int
	N1       int // largest PDU that is sent
	OwnN1    int // the largest that this end takes
	PeerN1   int // and that end, as its hello said; 0 before
	RTT      time.Duration
	Resent   uint64
	Why      string // there is no link; empty while there is one, or none was tried
}

// Links lists the stations this machine knows a link to, in the order they were met.
func (n *Node) Links() []LinkStatus {
	var all []LinkStatus
	for _, s := range n.order {
		row := LinkStatus{
			Port: s.key.port, Addr: FormatAddr(s.key.addr), Machine: s.peer.machine, State: s.state.String(),
			OwnN1: n.largestN1(&n.ports[s.key.port]), PeerN1: s.peer.n1, Why: s.why,
		}
		if s.state == up {
			stats := s.link.Stats()
			row.Since, row.Circuits, row.N1 = s.since, s.level.Len(), s.link.N1()
			row.RTT, row.Resent = stats.SRTT, stats.ResentI
		}
		all = append(all, row)
	}
	return all
}

// Heard is a station that was heard, and whose it is.
type Heard struct {
	Port    int
	Addr    string
	Machine string
	At      time.Time // last
}

// Heard lists the stations of other machines that were heard asking or answering. Silence is no news: they speak when there is reason to.
func (n *Node) Heard() (all []Heard) {
	for _, e := range n.dir.Known() {
		all = append(all, Heard{e.Station.Port, FormatAddr(e.Station.Addr), e.Machine, e.Heard})
	}
	return all
}

// Counters counts what was dropped, by reason.
func (n *Node) Counters() map[string]uint64 {
	all := map[string]uint64{"log lines left out": n.logs.Left}
	for name, count := range n.drops {
		all[name] = count
	}
	for name, count := range n.past {
		all[name] += count
	}
	for name, count := range n.dir.Counters() {
		all["names: "+name] += count
	}
	countLink(all, n.stranger.Stats())
	for _, s := range n.order {
		if s.link != nil {
			countLink(all, s.link.Stats())
		}
		if s.level != nil {
			countLevel(all, s.level)
		}
	}
	for _, level := range n.local.levels {
		countLevel(all, level)
	}
	for _, k := range n.complexes {
		countLevel(all, k.level)
	}
	for name, count := range all {
		if count == 0 {
			delete(all, name)
		}
	}
	return all
}

// countLink adds what a link counted.
func countLink(all map[string]uint64, s hdlc.Stats) {
	for name, count := range map[string]uint64{
		"I sent": s.SentI, "I sent again": s.ResentI, "I received": s.ReceivedI, "REJ sent": s.SentREJ, "REJ received": s.ReceivedREJ,
		"RNR sent": s.SentRNR, "RNR received": s.ReceivedRNR, "polls": s.Polls, "T1 expired": s.T1Expired, "losses": s.Losses,
		"dropped: I had already": s.DuplicateI, "dropped: I after a gap": s.OutOfOrderI, "dropped: I while busy": s.BusyI,
		"dropped: I before N1 is proved": s.EarlyI, "stale N(R)": s.StaleNR, "dropped: REJ for a repaired gap": s.CopiedREJ,
		"dropped: late F": s.LateF, "dropped: SABME without hello": s.UnexpectedSABME, "dropped: DM to no poll": s.LooseDM,
		"dropped: UA to nothing": s.LooseUA, "FRMR sent": s.Malformed, "dropped: wrong state": s.WrongState, "dropped: wrong SAP": s.WrongSAP,
	} {
		all["link: "+name] += count
	}
}

// countLevel adds what a level counted.
func countLevel(all map[string]uint64, level *x25.Level) {
	for counter, count := range level.Stats() {
		all["packet level: "+x25.Counter(counter).String()] += count
	}
}

// Held is how many octets have come on the circuit and were not taken.
func (c *Circuit) Held() int {
	if c.x == nil {
		return 0
	}
	if sp := c.splice; sp != nil {
		return c.x.Held() + sp.ends[atDoor].x.Queued()
	}
	return c.x.Held()
}
