package node

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// linkState is the state of a station; doc.go draws them.
type linkState uint8

const (
	idle     linkState = iota // no link
	greeting                  // hello sent
	setup                     // SABME sent or awaited
	up                        // level 3 may speak
	closing                   // DISC sent
)

func (s linkState) String() string {
	return [...]string{"idle", "greeting", "setup", "up", "closing"}[s]
}

// station is another machine on a port: what its hello said, the link to it and the circuits on that link.
type station struct {
	key    stationKey
	state  linkState
	peer   hello      // of the link that is, or is being set up
	next   *hello     // announces a new instance of the link while the old one is up: its SABME decides
	past   [4]uint64  // boot ids this station had before: late frames of a dead netman count for nothing
	hailed bool       // a hello announced a link that there is not yet: made when its SABME comes
	hellos time.Time  // when its bucket of hellos is full again; as far ahead of now as it is empty
	link   *hdlc.Link // nil before the first
	level  *x25.Level // nil unless up
	wait   []*Circuit // calls for when the link is up
	sealed stationSeal
	noN1   bool   // this path was found to eat large frames
	why    string // there is no link; empty while there is one, or none was tried
	agreed int    // N1 as both hellos have it

	greet struct {
		tries int
		txid  uint32
		at    time.Time // when this try ends
	}
	since time.Time // the link is up since
	empty time.Time // the link has had no circuit since
	quiet time.Time // when a station without link or call may be forgotten
}

// hello is what a station says of itself before a link (protocol.md 2).
type hello struct {
	machine   string
	boot      uint64
	instance  uint32
	n1        int
	rw        int
	tolerance time.Duration
}

// stationAt finds the station, or makes one if there is room for it.
func (n *Node) stationAt(now time.Time, key stationKey, out *Out) *station {
	if s := n.stations[key]; s != nil {
		return s
	}
	if len(n.order) >= n.cfg.Limits.Stations && !n.evictStation(now, out) {
		n.drop("stations full")
		return nil
	}
	s := &station{key: key, quiet: now.Add(quietStation)}
	if n.desk != nil {
		s.sealed.peer = n.desk.NewPeer(n.ports[key.port].addr, key.addr)
	}
	n.stations[key] = s
	n.order = append(n.order, s)
	n.note(s.quiet)
	return s
}

// evictStation makes room for a station by forgetting the one that was met first of those without a link or a call, so that a flood of
// hellos from invented stations does not shut out real ones. If there is none it is one whose link is half open: whoever set it up has
// said nothing since, and so may be invented too.
func (n *Node) evictStation(now time.Time, out *Out) bool {
	at := slices.IndexFunc(n.order, func(s *station) bool { return s.state == idle && len(s.wait) == 0 })
	if at < 0 {
		at = slices.IndexFunc(n.order, func(s *station) bool { return s.state == up && s.link.Fresh() && s.level.Len() == 0 })
	}
	if at < 0 {
		return false
	}
	s := n.order[at]
	if s.state == up {
		n.drop("half-open link given up for another station")
		n.endLink(now, s, "half open", out)
	}
	delete(n.stations, s.key)
	n.dropLink(s, out)
	n.order = slices.Delete(n.order, at, at+1)
	n.drop("station forgotten for another")
	return true
}

// mayHail takes one hello out of the station's bucket, which holds burst.
func (s *station) mayHail(now time.Time, burst int) bool {
	if s.hellos.Before(now) {
		s.hellos = now
	}
	if s.hellos.Sub(now) > time.Duration(burst-1)*helloInterval {
		return false
	}
	s.hellos = s.hellos.Add(helloInterval)
	return true
}

// forgetStations drops the stations without a link, a call, or a reason to be remembered.
func (n *Node) forgetStations(now time.Time, out *Out) {
	kept := n.order[:0]
	for _, s := range n.order {
		gone := s.state == idle && len(s.wait) == 0 && (!now.Before(s.quiet) || !n.ports[s.key.port].up)
		if gone {
			delete(n.stations, s.key)
			n.dropLink(s, out)
			continue
		}
		kept = append(kept, s)
	}
	clear(n.order[len(kept):])
	n.order = kept
}

// linkConfig fits a link to what both ends said, on a port that carries PDUs of up to most octets. Its buffers are of one of two
// sizes, for every Ethernet or for this one: a peer may choose N1, but not how many kinds of buffers there are.
func (n *Node) linkConfig(n1, most, k, rw int, tolerance time.Duration) hdlc.Config {
	size := n.safeN1()
	if n1 > size {
		size = most
	}
	return hdlc.Config{
		Headroom: Headroom, N1: n1, SafeN1: n.safeN1(), K: min(k, hdlc.MaxWindow), RW: rw, Tolerance: tolerance, Slab: n.slabOf(Headroom + size),
	}
}

// slabOf is the slab of buffers of a size.
func (n *Node) slabOf(size int) *hdlc.Slab {
	slab := n.slabs[size]
	if slab == nil {
		slab = hdlc.NewSlab(size)
		n.slabs[size] = slab
	}
	return slab
}

// newLink puts a fresh link, which its peer's hello announced, in the station's place for one.
func (n *Node) newLink(s *station, h hello, out *Out) {
	p := &n.ports[s.key.port]
	n1 := min(n.largestN1(p), h.n1)
	if s.noN1 {
		n1 = min(n1, n.safeN1())
	}
	n.dropLink(s, out)
	if n.desk != nil {
		s.sealed.peer.NewLink()
	}
	s.peer, s.next, s.agreed, s.hailed = h, nil, n1, false
	s.link = hdlc.NewLink(n.linkConfig(n1, n.largestN1(p), h.rw, p.rw, max(n.cfg.Tolerance, h.tolerance)))
	s.link.Expect()
}

// dropLink forgets a link and keeps what it counted.
func (n *Node) dropLink(s *station, out *Out) {
	if s.link != nil {
		countLink(n.past, s.link.Stats())
		s.link.Drop(&out.link)
		s.link = nil
	}
}

// role: the station with the lower address is the DTE (protocol.md 4).
func (n *Node) role(s *station) x25.Role {
	own := n.ports[s.key.port].addr
	if bytes.Compare(own[:], s.key.addr[:]) < 0 {
		return x25.DTE
	}
	return x25.DCE
}

// linkUp begins layer 3 on a link that has come up and places the calls that waited for it.
func (n *Node) linkUp(now time.Time, s *station, out *Out) {
	cfg := n.cfg.Level
	cfg.Role, cfg.MaxPacket, cfg.Pool, cfg.Budget = n.role(s), s.link.N1()-4, n.pool, n.budget
	orDefault(&cfg.MaxCircuits, maxCircuits)
	s.state, s.since, s.empty, s.why = up, now, now, ""
	if n.desk != nil {
		s.sealed.bind()
	}
	if n1 := s.link.N1(); n1 <= n.safeN1() && s.agreed > n.safeN1() {
		n.logf(now, s.key.addr, "path mtu", out, "link to %s: the path loses frames above 1500 octets: going on with N1 %d", n.stationName(s), n1)
	}
	s.level = x25.NewLevel(cfg)
	s.level.LinkUp(now, &n.xout)
	n.handleLevel(now, s, out)
	wait := s.wait
	s.wait = nil
	for _, c := range wait {
		c.settleOn(s)
		n.place(now, c, s, out)
	}
}

// linkDown ends layer 3 when the link has gone, and the calls that waited for it try their next server.
func (n *Node) linkDown(now time.Time, s *station, reason hdlc.Reason, why string, out *Out) {
	was := s.state
	s.state, s.quiet, s.why = idle, now.Add(quietStation), why
	if n.desk != nil {
		s.sealed.peer.Only = nil
	}
	n.note(s.quiet)
	if reason == hdlc.PathMTU {
		s.noN1 = true
		n.logf(now, s.key.addr, "path mtu", out, "link to %s: the path loses frames above 1500 octets: going on with N1 %d",
			n.stationName(s), n.safeN1())
	}
	if was == up && reason != hdlc.Disconnected && reason != hdlc.Local {
		n.logf(now, s.key.addr, why, out, "link to %s is down: %s", n.stationName(s), why)
	}
	wait := s.wait
	s.wait = nil
	if level := s.level; level != nil {
		s.level = nil
		level.LinkDown(now, &n.xout)
		countLevel(n.past, level)
		n.handleLevelEvents(now, s, reason == hdlc.Disconnected, out) // calls placed once more wait for the next link
	}
	if was == closing && len(wait) > 0 {
		s.wait = wait
		n.greetStation(now, s, out) // called again while the link was being given up
		return
	}
	for _, c := range wait {
		crossed := reason == hdlc.Disconnected && c.vouching == s && !c.again
		c.unwait(s)
		if crossed {
			c.again = true
			n.reach(now, c, s.key, out) // the peer gave the link up before it heard of the call
			continue
		}
		n.nextServer(now, c, x25.CauseOutOfOrder, 0, "no link to "+n.stationName(s)+": "+why, out)
	}
}

// endLink takes a link down at once, without a word to the peer, who cannot hear it or has already forgotten it.
func (n *Node) endLink(now time.Time, s *station, why string, out *Out) {
	if s.state == idle {
		return
	}
	if s.state == up && !s.link.Fresh() {
		n.logf(now, s.key.addr, why, out, "link to %s is down: %s", n.stationName(s), why)
	}
	n.dropLink(s, out)
	n.linkDown(now, s, hdlc.Local, why, out)
}

// stationName is how messages name a station: by machine when its hello told.
func (n *Node) stationName(s *station) string {
	if s.peer.machine != "" {
		return s.peer.machine
	}
	return FormatAddr(s.key.addr)
}

// linkTo finds a link to a machine that is up.
func (n *Node) linkTo(machine string) *station {
	for _, s := range n.order {
		if s.state == up && s.peer.machine == machine {
			return s
		}
	}
	return nil
}

// greetStation begins the way to a link: hello both ways first, always (protocol.md 2).
func (n *Node) greetStation(now time.Time, s *station, out *Out) {
	n.instance++
	if n.desk != nil {
		s.state = greeting
		n.shake(now, s, n.instance, out)
		return
	}
	n.hellos++
	s.state, s.greet.tries, s.greet.txid = greeting, 0, n.hellos
	n.sendHello(now, s, out)
}

// sendHello sends one hello, as a command that wants an answer.
func (n *Node) sendHello(now time.Time, s *station, out *Out) {
	s.greet.at = now.Add(greetWaits[s.greet.tries])
	s.greet.tries++
	n.note(s.greet.at)
	n.sendControl(s.key.port, s.key.addr, false, n.helloMessage(s, s.greet.txid), out)
}

// helloMessage is what this machine says of itself on the way to s.
func (n *Node) helloMessage(s *station, txid uint32) names.Message {
	p := &n.ports[s.key.port]
	return names.Message{
		Type: names.Hello, BootID: n.cfg.BootID, TxID: txid, Machine: n.cfg.Machine,
		VersionMin: 1, VersionMax: 1, Instance: n.instance, N1: uint16(n.largestN1(p)), RW: uint8(p.rw),
		Tolerance: n.cfg.Tolerance,
	}
}

// handleHello takes what a station says before a link. A command is answered; an answer leads to SABME.
func (n *Node) handleHello(now time.Time, key stationKey, m names.Message, response bool, out *Out) {
	s := n.stationAt(now, key, out)
	if s == nil {
		return
	}
	if !s.mayHail(now, n.cfg.Limits.HelloBurst) {
		n.drop("hellos of one station limited")
		return
	}
	if m.VersionMin > 1 || m.VersionMax < 1 || m.Mode != 0 {
		n.drop("hello of another version or mode")
		n.logf(now, key.addr, "version", out, "%s (%s) speaks versions %d to %d in mode %d; this netman speaks 1 in mode 0 (open): no link",
			m.Machine, FormatAddr(key.addr), m.VersionMin, m.VersionMax, m.Mode)
		s.why = fmt.Sprintf("it speaks versions %d to %d in mode %d, and this netman version 1 in mode 0 (open)", m.VersionMin, m.VersionMax, m.Mode)
		if s.peer.machine == "" {
			s.peer.machine = m.Machine
		}
		if !response {
			n.sendControl(key.port, key.addr, true, n.helloMessage(s, m.TxID), out)
		}
		if s.state == greeting {
			n.refuseLink(now, s, out)
		}
		return
	}
	h := hello{
		machine: m.Machine, boot: m.BootID, instance: m.Instance, n1: int(m.N1), rw: int(m.RW), tolerance: m.Tolerance,
	}
	if !n.heed(now, s, h, response, out) {
		return
	}
	if !response {
		n.sendControl(key.port, key.addr, true, n.helloMessage(s, m.TxID), out)
		return
	}
	if s.state != greeting || m.TxID != s.greet.txid {
		n.drop("hello that answers none")
		return
	}
	n.connect(now, s, h, out)
}

// connect sets up the link, now that hello was said both ways.
func (n *Node) connect(now time.Time, s *station, h hello, out *Out) {
	if s.link == nil || s.peer.boot != h.boot {
		n.newLink(s, h, out)
	}
	if n.desk != nil {
		s.sealed.peer.NewLink()
	}
	s.state, s.sealed.differs = setup, false
	s.link.Connect(now, &out.link)
	n.handleLink(now, s, out)
}

// heed weighs a hello against what is known of the station: false if it is a late one, of a netman that has since started
// anew or of a link that is past.
func (n *Node) heed(now time.Time, s *station, h hello, response bool, out *Out) bool {
	for _, boot := range s.past {
		if boot == h.boot && boot != s.peer.boot {
			n.drop("hello of an earlier boot")
			return false
		}
	}
	if s.peer.boot != 0 && s.peer.boot != h.boot {
		copy(s.past[1:], s.past[:])
		s.past[0] = s.peer.boot
		if s.state != idle && s.state != greeting {
			n.endLink(now, s, "its netman has started anew", out)
		}
		s.noN1 = false
	}
	anew := s.peer.boot != h.boot
	switch {
	case response && anew:
		n.dropLink(s, out)
		s.peer = h
	case response:
	case !anew && int32(h.instance-s.peer.instance) <= 0:
		// A repeated hello is answered again: the answer may have been lost.
	case s.state == up:
		s.next = &h
	case s.state == setup:
		s.peer = h
		s.link.Expect()
	default:
		if s.state == closing {
			n.endLink(now, s, "its netman began the link anew", out)
		}
		n.dropLink(s, out)
		s.peer, s.next, s.hailed = h, nil, true
	}
	s.quiet = now.Add(quietStation)
	return true
}

// refuseLink gives up the way to a link that can never be: Clear 21 (protocol.md 2).
func (n *Node) refuseLink(now time.Time, s *station, out *Out) {
	s.state = idle
	wait := s.wait
	s.wait = nil
	for _, c := range wait {
		if c.unwait(s); len(c.waits) > 0 {
			c.why = failure{x25.CauseIncompatible, 0, n.incompatible(s)}
			continue
		}
		n.fail(now, c, x25.CauseIncompatible, 0, n.incompatible(s), out)
	}
}

// incompatible says what keeps this machine and a station from a link.
func (n *Node) incompatible(s *station) string {
	if s.sealed.differs {
		return fmt.Sprintf("%s is in mode %v, this machine in mode %v: set the same mode under [security] on both", n.stationName(s), s.sealed.mode, n.Mode())
	}
	return n.stationName(s) + " speaks another version or mode of dnet"
}

// sendControl sends a control message to one station, or to the group on a port, in an LLC UI frame (protocol.md 2).
func (n *Node) sendControl(port int, to Addr, response bool, m names.Message, out *Out) {
	dsap := byte(hdlc.SAPControl)
	if to == Group {
		dsap |= 1
	}
	if n.Mode() == seal.Secret && (m.Type == names.Query || m.Type == names.Answer) {
		n.sendGroup(port, to, controlPDU(response, dsap, m), out)
		return
	}
	start := len(out.arena)
	out.arena = append(out.arena, make([]byte, Headroom)...)
	out.arena = hdlc.Frame{DSAP: dsap, SSAP: hdlc.SAPControl, Response: response, Kind: hdlc.UI}.Append(out.arena)
	out.arena = m.Append(out.arena)
	frame := out.arena[start:len(out.arena):len(out.arena)]
	putHeader(frame, to, n.ports[port].addr, n.cfg.Ethertype)
	out.Frames = append(out.Frames, Frame{port, frame})
}
