package node

import (
	"slices"
	"time"
)

// In sealed modes an answer is a hint of somebody who may be nobody. So the handshakes with the first answers run side by side, begun one after
// the other, and the first station to have a link gets the call (protocol.md, Sealed links).

// stagger has a further server tried in a while, beside those that the call waits for.
func (n *Node) stagger(now time.Time, c *Circuit) {
	if n.desk == nil || c.vouching != nil || len(c.waits) >= maxBeside || c.query == 0 || !c.another.IsZero() {
		return
	}
	c.another = now.Add(besideWait)
	n.staggered = append(n.staggered, c)
	n.note(c.another)
}

// unstagger gives that up.
func (n *Node) unstagger(c *Circuit) {
	if !c.another.IsZero() {
		n.staggered = slices.DeleteFunc(n.staggered, func(s *Circuit) bool { return s == c })
		c.another = time.Time{}
	}
}

// staggerTimeout tries the further servers that are due.
func (n *Node) staggerTimeout(now time.Time, out *Out) {
	for i := 0; i < len(n.staggered); {
		c := n.staggered[i]
		if now.Before(c.another) {
			n.note(c.another)
			i++
			continue
		}
		n.unstagger(c)
		if len(c.waits) > 0 {
			// With no answer left, the event Answered comes with the next one.
			if answer, ok, _ := n.dir.Next(now, c.query, &n.nout); ok {
				n.reachAnswer(now, c, answer, out)
			}
			n.handleNames(now, out)
		}
	}
}
