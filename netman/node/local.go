package node

import (
	"time"

	"dnet/x25"
)

// loopback joins two levels within the machine, without a link: what one sends the other gets. So a circuit
// between two programs of one machine is a circuit like any other, with M, Q, interrupts and causes.
type loopback struct {
	node   *Node
	levels [2]*x25.Level // the DTE, which places the calls, and the DCE
	packet []byte
}

// localPacket is the largest packet within the machine.
const localPacket = 16 << 10

func newLoopback(n *Node) *loopback {
	l := &loopback{node: n, packet: make([]byte, 0, localPacket)}
	for i, role := range []x25.Role{x25.DTE, x25.DCE} {
		cfg := n.cfg.Level
		cfg.Role, cfg.MaxPacket, cfg.Pool, cfg.Budget = role, localPacket, n.pool, n.budget
		orDefault(&cfg.MaxCircuits, maxCircuits)
		l.levels[i] = x25.NewLevel(cfg)
	}
	return l
}

// level is the end of a role.
func (l *loopback) level(role x25.Role) *x25.Level {
	if role == x25.DTE {
		return l.levels[0]
	}
	return l.levels[1]
}

// start brings both levels up.
func (l *loopback) start(now time.Time, out *Out) {
	for _, level := range l.levels {
		level.LinkUp(now, &l.node.xout)
	}
	l.pump(now, out)
}

// pump carries packets between the two ends until neither has one. Flow control ends it.
func (l *loopback) pump(now time.Time, out *Out) {
	for l.levels[0].Ready() || l.levels[1].Ready() {
		for i, level := range l.levels {
			if !level.Ready() {
				continue
			}
			packet := level.AppendNext(now, l.packet[:0], &l.node.xout)
			l.node.handleLevel(now, nil, out)
			if len(packet) > 0 {
				l.levels[1-i].HandlePacket(now, packet, &l.node.xout)
				l.node.handleLevel(now, nil, out)
			}
		}
	}
	for _, level := range l.levels {
		l.node.note(level.Deadline())
	}
}

// handleTimeout runs the timers of both ends.
func (l *loopback) handleTimeout(now time.Time, out *Out) {
	for _, level := range l.levels {
		level.HandleTimeout(now, &l.node.xout)
		l.node.handleLevel(now, nil, out)
	}
	l.pump(now, out)
}
