package node

import (
	"time"

	"dnet/netman/names"
	"dnet/netman/seal"
)

// tellMode is when a station shows that it is in another mode: the log says so, and the station is told ours, so that its log does.
func (n *Node) tellMode(now time.Time, key stationKey, txid uint32, how string, out *Out) {
	n.drop("station in another mode")
	if !n.mayNotice(now) {
		return
	}
	n.logf(now, key.addr, "mode", out, "no link with the station %s: %s, and this machine is in mode %v: set the same mode under [security] on both",
		FormatAddr(key.addr), how, n.Mode())
	n.sendControl(key.port, key.addr, true, names.Message{
		Type: names.Refusal, TxID: txid, Mode: uint8(n.Mode()), Reason: names.RefuseMode,
	}, out)
}

// mayNotice rations what is said and logged about modes, for invented stations cost nothing.
func (n *Node) mayNotice(now time.Time) bool {
	if !now.Before(n.told) {
		n.told, n.noticed = now.Add(time.Second), 0
	}
	n.noticed++
	return n.noticed <= maxNotices
}

// heardMode is when a station tells its mode in the clear, which anybody can: a link that comes about all the same shows that it is not so.
func (n *Node) heardMode(now time.Time, key stationKey, m names.Message, out *Out) {
	mode := seal.Mode(m.Mode)
	if m.Reason != names.RefuseMode || mode == n.Mode() {
		n.drop("refusal in the clear")
		return
	}
	s := n.stations[key]
	who := FormatAddr(key.addr)
	if s != nil {
		who = n.stationName(s)
		s.sealed.mode, s.sealed.differs = mode, true
	}
	if !n.mayNotice(now) {
		n.drop("refusal in the clear")
		return
	}
	n.logf(now, key.addr, "mode", out, "no link with %s: it is in mode %v, and this machine is in mode %v: set the same mode under [security] on both",
		who, mode, n.Mode())
}
