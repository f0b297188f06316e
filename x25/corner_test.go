package x25

import (
	"strings"
	"testing"
	"time"
)

// Each of these is a rule that no other test would miss if it went.

func TestCreditWhenTheBudgetIsShort(t *testing.T) {
	budget := &Budget{Limit: 8192, promised: -1 << 30} // the windows are no part of this
	hog := readyScript(t, Config{Budget: budget})
	hog.called(5, 8)
	for ps := range uint8(3) {
		hog.data(5, ps, 0, false, strings.Repeat("x", 1400))
	}
	if budget.Used() != 8192 || !budget.short() {
		t.Fatalf("%d octets used", budget.Used())
	}
	budget.Limit = 10000
	s := readyScript(t, Config{Budget: budget})
	c := s.called(9, 2)
	s.data(9, 0, 0, false, "a")
	s.idle("no credit while it has data queued")
	s.read("who reads all", c, "a")
	s.want("gets credit, though others hold the memory", "RR lci 9 pr 1")
	s.out.Reset()
	s.data(9, 1, 0, true, "bc")
	s.event("a sequence begins")
	s.read("and is not shown", c, "")
	s.data(9, 2, 0, true, "de")
	s.event("the window is full before the datagram is", "data")
	s.idle("nor is there credit")
	s.read("what is there goes up", c, "bcde M")
	s.want("then there is", "RR lci 9 pr 3")
}

// TestPromises: the windows of many circuits are so small that all of them may be used up at once, and no circuit is cleared for memory.
func TestPromises(t *testing.T) {
	const size, circuits, window = 1000, 500, 100
	budget := &Budget{Limit: 4 << 20}
	l := NewLevel(Config{Role: DTE, MaxPacket: size + 4, Window: window, Budget: budget})
	var out Out
	now := time.Now()
	l.LinkUp(now, &out)
	l.AppendNext(now, nil, &out)
	l.HandlePacket(now, Packet{Kind: KindRestartConfirm}.Append(nil), &out)
	var windows []uint8
	for lci := uint16(1); lci <= circuits; lci++ {
		out.Reset()
		l.HandlePacket(now, Packet{Kind: KindCall, LCI: lci, Facilities: []byte{
			facFastSelect, fastSelect, facWindow, 5, window, facPacketSize, 9, 9, 0, 0, facDataSize, size >> 8, size & 255,
		}}.Append(nil), &out)
		c := out.Events[0].Circuit
		c.Accept(now, nil)
		l.AppendNext(now, nil, &out)
		if windows = append(windows, c.rx.w); c.tx.w != 5 {
			t.Fatalf("the caller's own window became %d", c.tx.w)
		}
	}
	if windows[0] != 16 || windows[circuits-1] != 2 { // half of 4 MiB, a 64th of it, twice 1000 octets a packet
		t.Errorf("the first window is %d, the last %d", windows[0], windows[circuits-1])
	}
	for i, w := range windows {
		for ps := range w {
			l.HandlePacket(now, Packet{Kind: KindData, LCI: uint16(i + 1), PS: ps, UserData: make([]byte, size)}.Append(nil), &out)
		}
		if i > 0 && w > windows[i-1] {
			t.Errorf("window %d is %d, after %d", i, w, windows[i-1])
		}
	}
	if err := l.Check(); err != nil || l.Stats()[BudgetCleared] > 0 {
		t.Errorf("%d circuits were cleared for memory, %d octets of %d used; %v", l.Stats()[BudgetCleared], budget.Used(), budget.Limit, err)
	}
	if l.LinkDown(now, &out); budget.promised != 0 {
		t.Errorf("%d octets are still promised", budget.promised)
	}
}

// Nobody reads, and each peer sends all that its window and every RR allow: credit ends before memory does.
func TestCreditEndsBeforeMemory(t *testing.T) {
	const size, circuits = 1000, 100
	budget := &Budget{Limit: 2 << 20}
	l := NewLevel(Config{Role: DTE, MaxPacket: size + 4, Window: 100, Budget: budget})
	var out Out
	now := time.Now()
	l.LinkUp(now, &out)
	l.AppendNext(now, nil, &out)
	l.HandlePacket(now, Packet{Kind: KindRestartConfirm}.Append(nil), &out)
	var all []*Circuit
	for lci := uint16(1); lci <= circuits; lci++ {
		out.Reset()
		l.HandlePacket(now, Packet{Kind: KindCall, LCI: lci, Facilities: []byte{
			facFastSelect, fastSelect, facWindow, 5, 100, facPacketSize, 9, 9, 0, 0, facDataSize, size >> 8, size & 255,
		}}.Append(nil), &out)
		all = append(all, out.Events[0].Circuit)
		all[lci-1].Accept(now, nil)
		l.AppendNext(now, nil, &out)
	}
	sent, said := make([]uint8, circuits), make([]uint8, circuits)
	for going := true; going; {
		going = false
		for i, c := range all {
			if (sent[i]-said[i])&127 < c.rx.w {
				l.HandlePacket(now, Packet{Kind: KindData, LCI: c.lci, PS: sent[i], M: true, UserData: make([]byte, size)}.Append(nil), &out)
				sent[i] = (sent[i] + 1) & 127
				going = true
			}
		}
		now = now.Add(5 * time.Millisecond)
		l.HandleTimeout(now, &out)
		for l.Ready() {
			if p, _ := Parse(l.AppendNext(now, nil, &out)); p.Kind == KindRR {
				said[p.LCI-1] = p.PR
				going = true
			}
		}
	}
	if err := l.Check(); err != nil || l.Stats()[BudgetCleared] > 0 || budget.Used() < budget.Limit/2 {
		t.Errorf("%d circuits were cleared for memory, %d octets of %d used; %v", l.Stats()[BudgetCleared], budget.Used(), budget.Limit, err)
	}
}

func TestSurplusAfterCollision(t *testing.T) {
	s := newScript(t, Config{Role: DCE})
	s.l.LinkUp(s.now, &s.out)
	s.want("restarts", "RESTART …")
	s.after(2 * time.Second)
	s.want("again", "RESTART …")
	s.recv(Packet{Kind: KindRestart})
	s.event("the peer's own is the answer to the first", "restarted")
	s.called(9, 4)
	s.recv(Packet{Kind: KindRestartConfirm})
	s.event("the second was a new restart to the peer, so what it had called before is gone there", "cleared 09 0")
	s.idle("and nothing is sent")
}

func TestDeadlineOfT20BehindAnother(t *testing.T) {
	s := newScript(t, Config{})
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.after(9 * time.Second)
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.l.LinkUp(s.now, &s.out)
	s.want("restarts", "RESTART …")
	s.after(time.Second)
	s.event("T21 of the first call", "cleared 09 49")
	if want := epoch.Add(11 * time.Second); !s.l.Deadline().Equal(want) {
		t.Errorf("deadline %v, want T20 at %v", s.l.Deadline(), want)
	}
}

func TestDrainTimerStopsWithTheClear(t *testing.T) {
	s := readyScript(t, Config{Timers: Timers{Drain: time.Second}})
	c := s.called(9, 2)
	s.send(c, "x", false, false)
	c.Close(s.now, CauseDTE, 0, nil)
	s.want("sends", "DATA lci 9 ps 0 pr 0 len 1")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 1})
	s.want("all is there", "CLEAR lci 9…")
	s.out.Reset()
	s.after(1500 * time.Millisecond)
	s.event("what arrived is not called undelivered")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.event("done", "drained")
}

func TestSmallPacketsToAForeignPeer(t *testing.T) {
	s := readyScript(t, Config{MaxUserData: 64})
	s.recv(Packet{Kind: KindCall, LCI: 9, Facilities: []byte{0x42, 9, 9}})
	c := s.event("hears of it", "incoming")
	if err := c.Accept(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.want("128 is the least that may be answered", "ACCEPT lci 9 fac 420707")
	s.send(c, strings.Repeat("x", 64), false, false)
	s.want("but this side sends no more than it can", "DATA lci 9 ps 0 pr 0 len 64")
	if c.tx.size != 64 || c.rx.size != 128 {
		t.Errorf("sends %d, takes %d", c.tx.size, c.rx.size)
	}
}

func TestFifoAfterACut(t *testing.T) {
	pool := NewPool()
	var f fifo
	f.push(pool, []byte("a"), false, true)
	f.push(pool, []byte("b"), false, true)
	f.push(pool, []byte("c"), false, false)
	if f.cut(pool) != 1 || f.check() != nil {
		t.Fatal(f.check())
	}
	f.take(pool, 1, true)
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	f.drop(pool)
	if pool.Lent() != 0 {
		t.Error("a buffer is still lent")
	}
}
