package node

import (
	"testing"
	"time"

	"dnet/x25"
)

// alone is a machine without a network that has claimed its name and offers a service.
func alone(t *testing.T) (n *Node, now time.Time, out *Out) {
	t.Helper()
	n, now, out = New(Config{Machine: "here", BootID: 1, Seed: 1}), time.Unix(1000, 0), &Out{}
	n.Start(now, out)
	for !n.claimed {
		if now = n.Deadline(); now.IsZero() {
			t.Fatal("the name is never claimed")
		}
		n.HandleTimeout(now, out)
	}
	if err := n.Register("s"); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	return n, now, out
}

// incoming is the one call that has come.
func incoming(t *testing.T, out *Out) *Circuit {
	t.Helper()
	for _, ev := range out.Events {
		if ev.Kind == Incoming {
			out.Reset()
			return ev.Circuit
		}
	}
	t.Fatal("no call has come")
	return nil
}

// The two ends of a circuit within the machine know each other from the call on, until one of them ends it.
func TestOtherEnd(t *testing.T) {
	n, now, out := alone(t)
	var callers, servers []*Circuit
	for range 3 {
		c, err := n.Call(now, "s", "u", false, out)
		if err != nil {
			t.Fatal(err)
		}
		callers, servers = append(callers, c), append(servers, incoming(t, out))
	}
	for i, c := range callers {
		if c.Other() != servers[i] || servers[i].Other() != c {
			t.Errorf("call %d: the other end is another", i)
		}
	}
	servers[1].Accept(now, out)
	if callers[1].Other() != servers[1] || servers[1].Other() != callers[1] {
		t.Error("accepted: the other end is another")
	}
	servers[0].Clear(now, x25.CauseDTE, 7, "no", out)
	callers[1].Close(now, x25.CauseDTE, 0, "", out)
	callers[2].Clear(now, x25.CauseDTE, 0, "", out)
	for i, c := range callers {
		if c.Other() != nil || servers[i].Other() != nil {
			t.Errorf("call %d is over, and has another end", i)
		}
	}
	far := &Circuit{node: n}
	if far.Other() != nil {
		t.Error("a call that has not been placed has another end")
	}
	if err := n.Check(); err != nil {
		t.Error(err)
	}
}
