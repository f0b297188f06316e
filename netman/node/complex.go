package node

import (
	"time"

	"dnet/netman/names"
	"dnet/x25"
)

// Complex is a resident server that has all its circuits on one descriptor (protocol.md 5): X.25 packets pass there, this machine is
// the DCE and places the calls, the program is the DTE. The owner moves the packets: what the program wrote goes to HandlePacket, and
// while the descriptor takes something AppendNext gives what is for the program. Each circuit has two ends here, one on the network and
// one at the door, which a splice joins.
type Complex struct {
	Service string
	User    any // the owner's

	node    *Node
	level   *x25.Level
	splices []*splice
	told    bool      // the event Packets was raised, and AppendNext has not run dry since
	closed  bool      // the descriptor has gone
	until   time.Time // no splice gives up before it; zero: none will
}

// NewComplex makes a server of a service. Its first packet is a restart request: the event Packets follows.
func (n *Node) NewComplex(now time.Time, service string, out *Out) *Complex {
	cfg := n.cfg.Level
	cfg.Role, cfg.MaxPacket, cfg.Pool, cfg.Budget = x25.DCE, ComplexPacket, n.pool, &x25.Budget{Limit: n.cfg.Limits.ComplexBudget}
	cfg.Timers.T21, cfg.Timers.Drain = complexOffer, complexDrain
	orDefault(&cfg.MaxCircuits, maxCircuits)
	orDefault(&cfg.QueueLimit, complexQueue)
	orDefault(&cfg.ReceiveLimit, complexReceive)
	k := &Complex{Service: service, node: n, level: x25.NewLevel(cfg)}
	n.complexes = append(n.complexes, k)
	k.level.LinkUp(now, &n.xout)
	k.settle(now, out)
	return k
}

// Offer gives it an Incoming call: false if it has no channel for it, or the call is over already, and it is still the owner's. Nothing
// more is raised for a circuit that it took.
func (k *Complex) Offer(now time.Time, c *Circuit, out *Out) bool {
	if k.closed || c.over {
		return false
	}
	data := names.CallData{User: c.PeerUser, Machine: c.Machine, Stream: c.Stream}.Append(nil)
	x, err := k.level.Call(now, data)
	if err != nil {
		return false
	}
	sp := &splice{k: k, c: c, at: len(k.splices)}
	sp.ends[network].x, sp.ends[atDoor].x = c.x, x
	x.User, c.splice = sp, sp
	k.splices = append(k.splices, sp)
	k.settle(now, out)
	return true
}

// HandlePacket takes a packet that the program wrote: any octets at all.
func (k *Complex) HandlePacket(now time.Time, packet []byte, out *Out) {
	k.level.HandlePacket(now, packet, &k.node.xout)
	k.settle(now, out)
}

// AppendNext appends the next packet for the program to dst, at most ComplexPacket octets, or leaves dst as it is when there is none; the
// event Packets tells when there is one again.
func (k *Complex) AppendNext(now time.Time, dst []byte, out *Out) []byte {
	for len(dst) == 0 && k.level.Ready() {
		dst = k.level.AppendNext(now, dst, &k.node.xout)
		k.handleEvents(now, out)
	}
	k.told = len(dst) > 0
	k.node.note(k.level.Deadline())
	k.node.settleOthers(now, out)
	return dst
}

// Close is when the descriptor has gone, and with it the program: what it wrote still goes out, for a second at most, and its callers
// are told that it died.
func (k *Complex) Close(now time.Time, out *Out) {
	if k.closed {
		return
	}
	k.closed = true
	k.level.LinkDown(now, &k.node.xout)
	k.settle(now, out)
}

// Len is how many calls and circuits it has.
func (k *Complex) Len() int { return len(k.splices) }

// Each calls fn for each of its circuits that was accepted.
func (k *Complex) Each(fn func(c *Circuit)) {
	for _, sp := range k.splices {
		if sp.connected {
			fn(sp.c)
		}
	}
}

// settle carries out what an input to the level has set going.
func (k *Complex) settle(now time.Time, out *Out) {
	k.handleEvents(now, out)
	k.node.settle(now, out)
}

// handleEvents takes what the level reports. A program places no calls on its descriptor: they are barred.
func (k *Complex) handleEvents(now time.Time, out *Out) {
	n := k.node
	for n.xnext < len(n.xout.Events) {
		ev := n.xout.Events[n.xnext]
		n.xnext++
		if ev.Kind == x25.Incoming {
			n.drop("call by a complex server")
			ev.Circuit.Clear(now, x25.CauseBarred, 0, clearText("calls are placed at the door"), &n.xout)
			continue
		}
		n.handleLevelEvent(now, nil, false, ev, out)
	}
	n.xout.Reset()
	n.xnext = 0
}

// handleTimeout runs the timers of the level, and lets splices that stand still give up.
func (k *Complex) handleTimeout(now time.Time, out *Out) {
	k.level.HandleTimeout(now, &k.node.xout)
	k.handleEvents(now, out)
	if k.until.IsZero() || now.Before(k.until) {
		return
	}
	k.until = time.Time{}
	for i := len(k.splices) - 1; i >= 0; i-- {
		k.splices[i].expire(now)
	}
}

// note remembers that a splice gives up at t.
func (k *Complex) note(t time.Time) {
	if k.until.IsZero() || t.Before(k.until) {
		k.until = t
	}
}

// settleComplexes tells of packets for programs, notes the timers, and forgets servers of which nothing is left.
func (n *Node) settleComplexes(out *Out) {
	kept := n.complexes[:0]
	for _, k := range n.complexes {
		if k.closed && len(k.splices) == 0 {
			for counter, count := range k.level.Stats() {
				n.past["packet level: "+x25.Counter(counter).String()] += count
			}
			continue
		}
		kept = append(kept, k)
		if !k.told && k.level.Ready() {
			k.told = true
			out.Events = append(out.Events, Event{Kind: Packets, Complex: k})
		}
		n.note(k.level.Deadline())
		n.note(k.until)
	}
	clear(n.complexes[len(kept):])
	n.complexes = kept
}
