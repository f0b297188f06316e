package node

import (
	"slices"
	"time"

	"dnet/x25"
)

// Circuit is one end of a call on this machine, from the moment it is asked for until it is over.
type Circuit struct {
	User any // the owner's

	Service  string // as called
	Machine  string // of the other end; of a call being placed: of the server tried last
	PeerUser string // who called, as the caller's netman said
	Stream   bool   // the byte-stream convention holds: DEND ends one direction

	caller     bool // this side called
	locate     bool // only the name is asked for
	over       bool // Cleared or Drained was raised
	answered   bool // the call was accepted, or is one from outside
	query      uint32
	credential []byte       // of a call to another machine, in sealed modes
	why        failure      // of the last server tried
	via        stationKey   // of what a Locate found; zero: this machine
	waits      []*station   // whose links the call waits for: the first to come up gets it
	spare      []stationKey // stations that were waited for beside the one that got it
	another    time.Time    // when a further server is tried beside them, in sealed modes; zero: not
	vouching   *station     // the call waits for its credential to the machine there, and is among those that wait for its link
	vouch      *station     // the credential has come
	again      bool         // the link was given up while the call waited for its credential, once
	crossed    bool         // the call was placed on a link so long without circuits that the peer may be disconnecting it
	st         *station     // nil on a circuit within this machine
	x          *x25.Circuit
	level      *x25.Level
	node       *Node
	splice     *splice // of a call that a complex server took: what happens on it is the splice's business
}

// failure is why a server did not take a call.
type failure struct {
	cause x25.Cause
	diag  x25.Diag
	text  string
}

// LCI is the logical channel, 0 while there is none.
func (c *Circuit) LCI() uint16 {
	if c.x == nil {
		return 0
	}
	return c.x.LCI()
}

// Via is the station that answered a Locate, and the port: false if that is this machine.
func (c *Circuit) Via() (port int, addr string, ok bool) {
	return c.via.port, FormatAddr(c.via.addr), c.via != stationKey{}
}

// Local says whether both ends are on this machine.
func (c *Circuit) Local() bool { return c.st == nil && c.x != nil }

// Other is the other end of a circuit within this machine; nil when that is over, and for a circuit to another machine.
func (c *Circuit) Other() *Circuit {
	if !c.Local() {
		return nil
	}
	for i, level := range c.node.local.levels {
		if level != c.x.Level() {
			continue
		}
		if x := c.node.local.levels[1-i].Circuit(c.x.LCI()); x != nil {
			other, _ := x.User.(*Circuit)
			return other
		}
	}
	return nil
}

// Accept answers an Incoming call.
func (c *Circuit) Accept(now time.Time, out *Out) error {
	err := c.x.Accept(now, nil)
	c.settle(now, out)
	return err
}

// Send queues one datagram, or with more a piece of one, marked by q. It is taken whole while Room is above 0; data is copied.
func (c *Circuit) Send(now time.Time, data []byte, q, more bool, out *Out) error {
	err := c.x.Send(now, data, q, more)
	c.settle(now, out)
	return err
}

// Room is how many octets the send queue lacks of its limit.
func (c *Circuit) Room() int { return c.x.Room() }

// Peek shows the next datagram, or piece, that has come, borrowed until the node's next call.
func (c *Circuit) Peek() (data []byte, q, more, ok bool) {
	if c.x == nil {
		return nil, false, false, false
	}
	return c.x.Peek()
}

// Next says that what Peek showed has been taken, which may give the peer credit.
func (c *Circuit) Next(now time.Time, out *Out) {
	c.x.Next(now)
	c.settle(now, out)
}

// Interrupt sends 1 to 32 octets out of band.
func (c *Circuit) Interrupt(now time.Time, octets []byte, out *Out) error {
	err := c.x.Interrupt(now, octets)
	c.settle(now, out)
	return err
}

// Reset begins both directions anew: what is on its way is lost, and the other end gets the event Reset. False: the circuit cannot
// be reset now.
func (c *Circuit) Reset(now time.Time, diag x25.Diag, out *Out) bool {
	if c.over || c.x == nil || c.x.State() != "p4/d1" {
		return false
	}
	c.x.Reset(now, x25.ResetDTE, diag)
	c.settle(now, out)
	return true
}

// Close ends the circuit once all that was sent has arrived; Drained follows. What comes meanwhile is discarded. text, at
// most 128 octets, goes to the other end as the reason.
func (c *Circuit) Close(now time.Time, cause x25.Cause, diag x25.Diag, text string, out *Out) {
	if c.over {
		c.drop(now)
		return
	}
	if c.x == nil {
		c.abandon()
		return
	}
	// A call that has not been answered goes to no other server.
	c.node.finishLook(c)
	c.crossed = false
	c.x.Close(now, cause, diag, clearText(text))
	c.settle(now, out)
}

// Clear ends the circuit at once, refuses an Incoming call, or gives up one that is being placed. No event follows.
func (c *Circuit) Clear(now time.Time, cause x25.Cause, diag x25.Diag, text string, out *Out) {
	if c.over {
		c.drop(now)
		return
	}
	if c.x == nil {
		c.abandon()
		return
	}
	c.node.finishLook(c)
	c.over = true
	c.x.Clear(now, cause, diag, clearText(text), &c.node.xout)
	c.settle(now, out)
}

// drop gives back what a circuit that is over still holds.
func (c *Circuit) drop(now time.Time) {
	if c.x != nil {
		c.x.Clear(now, 0, 0, nil, &c.node.xout)
	}
}

// abandon forgets a call that has not got as far as a level.
func (c *Circuit) abandon() {
	c.node.finishLook(c)
	c.over = true
	c.leave()
}

// leave ends the wait for links.
func (c *Circuit) leave() {
	for _, s := range c.waits {
		s.wait = without(s.wait, c)
	}
	c.waits, c.vouching = nil, nil
}

// without is a list of circuits without one of them.
func without(all []*Circuit, c *Circuit) []*Circuit {
	return slices.DeleteFunc(all, func(w *Circuit) bool { return w == c })
}

// settleOn ends the wait for links but the one to s, which has come up. The others may be tried again, if that server does not take the call.
func (c *Circuit) settleOn(s *station) {
	for _, w := range c.waits {
		if w != s {
			c.spare = append(c.spare, w.key)
		}
	}
	c.leave()
}

// unwait ends the wait for one link.
func (c *Circuit) unwait(s *station) {
	c.waits = slices.DeleteFunc(c.waits, func(w *station) bool { return w == s })
	if c.vouching == s {
		c.vouching = nil
	}
}

// clearText fits a reason into the clear user data.
func clearText(text string) []byte {
	return []byte(text[:min(len(text), 128)])
}

// settle brings a circuit's level forward after its owner has done something with it.
func (c *Circuit) settle(now time.Time, out *Out) {
	n := c.node
	if c.st == nil {
		n.handleLevel(now, nil, out)
		n.local.pump(now, out)
	} else {
		n.handleLevel(now, c.st, out)
		n.pump(now, c.st, out)
	}
	n.settleOthers(now, out)
}
