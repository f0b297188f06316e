package node

import (
	"time"
)

// takeFrames gives the frames of a link their header and puts them in line.
func (n *Node) takeFrames(key stationKey, out *Out) {
	if n.desk != nil {
		n.takeSealed(key, out)
		return
	}
	for _, frame := range out.link.Frames[out.taken:] {
		putHeader(frame, key.addr, n.ports[key.port].addr, n.cfg.Ethertype)
		out.Frames = append(out.Frames, Frame{key.port, frame})
	}
	out.taken = len(out.link.Frames)
}

// pump lets layer 2 pull packets from layer 3 while its window is open (protocol.md 3).
func (n *Node) pump(now time.Time, s *station, out *Out) {
	for s.state == up && s.link.Room() > 0 && s.level.Ready() {
		packet := s.level.AppendNext(now, s.link.Buffer(), &n.xout)
		if len(packet) > 0 {
			s.link.Send(now, packet, s.level.Ready(), &out.link)
			n.takeFrames(s.key, out)
		}
		n.handleLevel(now, s, out)
	}
	if n.desk != nil {
		n.rekey(now, s, out)
	}
	n.noteStation(s)
}

// settleOthers pumps the links that got something to send by what happened on another.
func (n *Node) settleOthers(now time.Time, out *Out) {
	if n.others || len(n.resets) > 0 {
		n.settle(now, out)
	}
}

// settle brings forward all that an input may have set going: calls placed on the loopback or on other links.
func (n *Node) settle(now time.Time, out *Out) {
	for again := true; again; again = n.retryResets(now) {
		n.others = false
		n.local.pump(now, out)
		for _, s := range n.order {
			if s.state == up {
				n.pump(now, s, out)
			}
		}
	}
	n.settleComplexes(out)
}
