package node

import (
	"time"

	"dnet/netman/seal"
	"dnet/x25"
)

// In sealed modes a call carries a credential (protocol.md 4), which this machine's owner gets from where the witness is. It is for one machine,
// so the call waits for it when the link is there and the machine is proved, as it waited for the link.

// vouched says whether a call may be placed on the link to a station: it has its credential, or needs none. Otherwise Vouch asks for it.
func (n *Node) vouched(c *Circuit, s *station, out *Out) bool {
	if n.desk == nil || n.desk.Witness() == (seal.Key{}) || c.vouch == s {
		return true
	}
	n.unstagger(c)
	c.vouching = s
	s.wait = append(s.wait, c)
	c.waits = append(c.waits, s)
	out.Events = append(out.Events, Event{Kind: Vouch, Circuit: c})
	return false
}

// PeerBoot is the boot id of the machine at the other end, or that the call is on its way to, as it says: 0 if that is this one.
func (c *Circuit) PeerBoot() uint64 {
	switch {
	case c.vouching != nil:
		return c.vouching.peer.boot
	case c.st != nil:
		return c.st.peer.boot
	}
	return 0
}

// Vouching says whether the call waits for Vouched.
func (c *Circuit) Vouching() bool { return c.vouching != nil && !c.over }

// Vouched places a call that waits for its credential, in the name of the user that the credential is for. Without a credential the call has
// failed, for the reason given.
func (c *Circuit) Vouched(now time.Time, user string, credential []byte, why string, out *Out) {
	s, n := c.vouching, c.node
	if c.over || s == nil {
		return
	}
	c.vouching = nil
	if s.state != up {
		return // the call waits for the link again, and asks then
	}
	s.wait = without(s.wait, c)
	c.unwait(s)
	if len(credential) == 0 {
		n.fail(now, c, x25.CauseBarred, 0, why, out)
		return
	}
	c.PeerUser, c.credential, c.vouch = user, credential, s
	n.place(now, c, s, out)
	c.vouch = nil
	n.settle(now, out)
}

// Credential is what the call of the other end carried; empty: nothing.
func (c *Circuit) Credential() []byte { return []byte(c.x.Credential()) }
