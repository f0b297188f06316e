package x25

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func (s *script) data(lci uint16, ps, pr uint8, more bool, data string) {
	s.t.Helper()
	s.recv(Packet{Kind: KindData, LCI: lci, PS: ps, PR: pr, M: more, UserData: []byte(data)})
}

func TestWindow(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 2)
	for range 4 {
		s.send(c, "x", false, false)
	}
	s.want("the window is 2", "DATA lci 9 ps 0 pr 0 len 1", "DATA lci 9 ps 1 pr 0 len 1")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 1})
	s.want("one is acknowledged, one goes", "DATA lci 9 ps 2 pr 0 len 1")
	s.recv(Packet{Kind: KindRNR, LCI: 9, PR: 3})
	s.idle("RNR stops it")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 3})
	s.want("RR starts it", "DATA lci 9 ps 3 pr 0 len 1")
	s.out.Reset()
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 5})
	s.event("P(R) beyond V(S)", "reset 03 2")
}

func TestInvalidData(t *testing.T) {
	for _, row := range []struct {
		why    string
		packet Packet
		diag   string
	}{
		{"P(S) out of order", Packet{PS: 1}, "reset 03 1"},
		{"P(R) of what was never sent", Packet{PR: 1}, "reset 03 2"},
		{"D", Packet{D: true}, "reset 03 166"},
		{"too long", Packet{UserData: make([]byte, 1490)}, "reset 03 39"},
	} {
		s := readyScript(t, Config{})
		s.called(9, 2)
		row.packet.Kind, row.packet.LCI = KindData, 9
		s.recv(row.packet)
		s.event(row.why, row.diag)
	}
	s := readyScript(t, Config{})
	s.called(9, 2)
	s.data(9, 0, 0, true, "a")
	s.recv(Packet{Kind: KindData, LCI: 9, PS: 1, Q: true})
	s.event("Q inside a sequence", "reset 03 83")
	if s.l.Stats()[DropReset] != 1 {
		t.Error("the octet of the cut sequence is not counted")
	}

	s = readyScript(t, Config{ReceiveLimit: 1})
	s.called(9, 2)
	s.data(9, 0, 0, false, "a")
	s.data(9, 1, 0, false, "b")
	s.data(9, 2, 0, false, "c")
	s.event("P(S) beyond the credit given", "data", "reset 03 1")
}

func TestAcknowledgement(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 8)
	s.data(9, 0, 0, false, "a")
	s.event("there is something", "data")
	s.idle("an RR is held back")
	s.after(5*time.Millisecond - 1)
	s.idle("for T2")
	s.after(1)
	s.want("and then sent", "RR lci 9 pr 1")
	s.data(9, 1, 0, false, "b")
	s.event("what is there is known")
	s.data(9, 2, 0, false, "c")
	s.want("a quarter of the window is reason enough", "RR lci 9 pr 3")
	s.data(9, 3, 0, false, "d")
	s.send(c, "y", false, false)
	s.want("data takes P(R) along", "DATA lci 9 ps 0 pr 4 len 1")
	s.after(time.Second)
	s.idle("so that no RR is due")
	for _, want := range []string{"a", "b", "c", "d", ""} {
		s.read("in order", c, want)
	}
}

func TestSequences(t *testing.T) {
	s := readyScript(t, Config{MaxUserData: 16})
	s.recv(Packet{Kind: KindCall, LCI: 9, Facilities: dnetFacilities(8)})
	c := s.event("", "incoming")
	_ = c.Accept(s.now, nil)
	s.want("offers 16 octets", "ACCEPT lci 9 fac 430808420707"+"00007f0010")
	s.send(c, "piece", false, true)
	s.want("a piece goes at once", "DATA lci 9 ps 0 pr 0 M len 5")
	if err := c.Send(s.now, nil, true, false); err != ErrQ {
		t.Errorf("Q inside a sequence: %v", err)
	}
	s.send(c, "", false, false)
	s.want("and its end, though empty", "DATA lci 9 ps 1 pr 0 len 0")
	s.send(c, strings.Repeat("x", 20), true, false)
	s.want("a long one is cut", "DATA lci 9 ps 2 pr 0 M Q len 16", "DATA lci 9 ps 3 pr 0 Q len 4")
	s.send(c, "", false, false)
	s.want("an empty one is legal", "DATA lci 9 ps 4 pr 0 len 0")
	for range 3 {
		s.send(c, "pc", false, true)
		s.next()
	}
	s.send(c, "pc", false, true)
	s.send(c, "pc", false, true)
	s.send(c, "pc", false, false)
	s.send(c, "next", false, false)
	s.idle("the window is shut")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 8})
	s.want("pieces coalesce meanwhile, sequences do not", "DATA lci 9 ps 8 pr 0 len 6", "DATA lci 9 ps 9 pr 0 len 4")
}

func TestReassembly(t *testing.T) {
	s := readyScript(t, Config{MaxMessage: 10})
	c := s.called(9, 16)
	s.data(9, 0, 0, true, "abc")
	s.event("a piece is not a message")
	s.read("nor shown", c, "")
	s.data(9, 1, 0, true, "")
	s.data(9, 2, 0, false, "def")
	s.event("now it is", "data")
	s.read("it is whole", c, "abcdef")
	s.data(9, 3, 0, false, "")
	s.event("an empty one is one", "data")
	if data, _, _, ok := c.Peek(); !ok || len(data) != 0 {
		t.Error("the empty message does not show")
	}
	c.Next(s.now)
	c.Next(s.now)
	s.recv(Packet{Kind: KindData, LCI: 9, PS: 4, M: true, Q: true, UserData: []byte("0123456789ABCDEF")})
	s.event("a longer one goes up in pieces", "data")
	s.read("the first", c, "0123456789 Q M")
	s.read("the rest is not complete", c, "")
	s.recv(Packet{Kind: KindData, LCI: 9, PS: 5, Q: true})
	s.event("now it is", "data")
	s.read("the rest", c, "ABCDEF Q")
	s.recv(Packet{Kind: KindData, LCI: 9, PS: 6, M: true, UserData: []byte("0123456789")})
	s.out.Reset()
	if _, _, more, ok := c.Peek(); !ok || !more {
		t.Error("a full piece does not show")
	}
	s.data(9, 7, 0, false, "")
	c.Next(s.now)
	if data, _, more, ok := c.Peek(); !ok || more || len(data) != 0 {
		t.Error("the end that came after the look at its piece is lost")
	}
	c.Next(s.now)
	c.Next(s.now)
	s.read("Next without Peek takes nothing", c, "")
}

func TestPieceOfAFullWindow(t *testing.T) {
	s := readyScript(t, Config{ReceiveLimit: 8})
	c := s.called(9, 2)
	s.data(9, 0, 0, true, "01")
	s.want("credit while there is room", "RR lci 9 pr 1")
	s.data(9, 1, 0, true, "23")
	s.event("the buffer is full before the datagram is", "data")
	s.idle("there is no credit")
	s.data(9, 2, 0, true, "45")
	s.read("what is there goes up", c, "012345 M")
	s.want("and there is room again", "RR lci 9 pr 3")
	s.data(9, 3, 0, false, "6")
	s.event("the rest", "data")
	s.read("comes as the end", c, "6")
}

func TestSlowReader(t *testing.T) {
	s := readyScript(t, Config{ReceiveLimit: 100})
	c := s.called(9, 4)
	s.data(9, 0, 0, false, strings.Repeat("x", 90))
	s.want("below the limit credit is given", "RR lci 9 pr 1")
	for ps := uint8(1); ps < 5; ps++ {
		s.data(9, ps, 0, false, "y")
		s.next()
	}
	s.idle("at the limit it is not: 90 and 2 octets, and 4 for each")
	s.event("one event is enough", "data")
	if c.Held() != 90+4*5+4 {
		t.Errorf("%d octets held", c.Held())
	}
	s.read("the reader wakes up", c, strings.Repeat("x", 90))
	s.want("credit for all that is in the buffer", "RR lci 9 pr 5")
}

func TestRoom(t *testing.T) {
	s := readyScript(t, Config{QueueLimit: 100})
	c := s.called(9, 2)
	s.send(c, strings.Repeat("x", 3000), false, false)
	if c.Room() > 0 {
		t.Errorf("room %d", c.Room())
	}
	if err := c.Send(s.now, nil, false, false); err != ErrFull {
		t.Errorf("Send without room: %v", err)
	}
	s.want("fills the window", "DATA lci 9 ps 0 pr 0 M len 1489", "DATA lci 9 ps 1 pr 0 M len 1489")
	s.event("22 octets are below the limit", "room")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 2})
	s.want("the rest", "DATA lci 9 ps 2 pr 0 len 22")
	s.event("the queue ran empty", "room")
	s.send(c, "x", false, false)
	s.want("one more", "DATA lci 9 ps 3 pr 0 len 1")
	s.event("and again", "room")
}

func TestInterrupts(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 2)
	for n, want := range map[int]error{0: ErrInterruptLength, 33: ErrInterruptLength} {
		if err := c.Interrupt(s.now, make([]byte, n)); err != want {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	for range 4 {
		s.send(c, "x", false, false)
	}
	s.next()
	s.next()
	s.out.Reset()
	if err := c.Interrupt(s.now, bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	if err := c.Interrupt(s.now, []byte("2")); err != ErrInterruptOutstanding {
		t.Errorf("a second before the first is sent: %v", err)
	}
	s.want("the window does not hold it up", "INTERRUPT lci 9 data "+strings.Repeat("07", 32))
	if err := c.Interrupt(s.now, []byte("2")); err != ErrInterruptOutstanding {
		t.Errorf("a second before the first is confirmed: %v", err)
	}
	s.recv(Packet{Kind: KindInterruptConfirm, LCI: 9})
	s.event("the program is told", "interrupt confirmed")
	if err := c.Interrupt(s.now, []byte("2")); err != nil {
		t.Errorf("after that: %v", err)
	}
	s.recv(Packet{Kind: KindInterrupt, LCI: 9, UserData: []byte("a")})
	s.recv(Packet{Kind: KindInterrupt, LCI: 9, UserData: []byte("b")})
	s.event("a second of the peer's before ours is confirmed", `interrupt "a"`, "reset 03 44")
	s.want("resets; interrupts are gone with it", "RESET lci 9…")
	s.event("and so is the queue", "room")
}

func TestReset(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 2)
	s.data(9, 0, 0, false, "whole")
	s.data(9, 1, 0, true, "half")
	for range 3 {
		s.send(c, "x", true, true)
	}
	s.next()
	s.out.Reset()
	s.recv(Packet{Kind: KindReset, LCI: 9, Cause: 0, Diag: 250})
	s.event("the program is told", "reset 00 250")
	s.want("confirms", "RESET CONFIRM lci 9")
	s.event("the queue is gone", "room")
	s.read("what was whole stays", c, "whole")
	s.read("what was not is gone", c, "")
	s.send(c, "y", false, false)
	s.want("all numbers are 0, and a sequence begins", "DATA lci 9 ps 0 pr 0 len 1")
	s.data(9, 0, 1, false, "after")
	s.read("both ways", c, "after")
}

func TestResetAgainAndAgain(t *testing.T) {
	s := readyScript(t, Config{ReceiveLimit: 100})
	c := s.called(9, 4)
	text := strings.Repeat("x", 60)
	for range 10 {
		for ps := range uint8(4) {
			s.data(9, ps, 0, false, text)
			s.next()
		}
		if c.Held() > 100+4*(60+4) {
			t.Fatalf("a reader that sleeps holds %d octets, more than its limit and a window", c.Held())
		}
		s.recv(Packet{Kind: KindReset, LCI: 9})
		s.want("each reset opens the window", "RESET CONFIRM lci 9")
	}
	s.read("what the limit allows stays", c, text)
	s.read("and no more", c, "")
	if got := s.l.Stats()[DropReset]; got != (3+9*4)*60 {
		t.Errorf("%d octets are counted as dropped, want %d", got, (3+9*4)*60)
	}
	s.data(9, 0, 0, false, "after")
	s.read("the circuit goes on", c, "after")
	s.data(9, 1, 0, false, strings.Repeat("y", 200))
	s.data(9, 2, 0, true, "half")
	s.recv(Packet{Kind: KindReset, LCI: 9})
	s.read("one that is above the limit by itself does not", c, "")
}

func TestCloseDrains(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 2)
	s.data(9, 0, 0, false, "unread")
	s.out.Reset()
	for range 3 {
		s.send(c, "x", false, false)
	}
	if err := c.Interrupt(s.now, []byte("!")); err != nil {
		t.Fatal(err)
	}
	c.Close(s.now, CauseDTE, 5, []byte("bye"))
	c.Close(s.now, CauseBusy, 0, nil)
	if err := c.Send(s.now, nil, false, false); err != ErrClosed {
		t.Errorf("Send after Close: %v", err)
	}
	s.want("goes on sending", "INTERRUPT lci 9 data 21", "RR lci 9 pr 1", "DATA lci 9 ps 0 pr 1 len 1", "DATA lci 9 ps 1 pr 1 len 1")
	s.read("what was received is dropped", c, "")
	s.data(9, 1, 1, false, "late")
	s.want("what comes is acknowledged", "RR lci 9 pr 2", "DATA lci 9 ps 2 pr 2 len 1")
	s.event("and discarded")
	if s.l.Stats()[DropClosed] != 4 {
		t.Error("not counted")
	}
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 2})
	s.idle("not yet all is there")
	s.after(29 * time.Second)
	s.idle("P(R) moved not 30 s ago")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 3})
	s.want("now it is", "CLEAR lci 9 cause 00 (DTE originated) diag 5 (diagnostic 5) data 627965")
	s.event("not confirmed yet")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.event("done", "drained")
	if s.l.table.n != 0 || s.l.Len() != 0 {
		t.Error("the circuit is still there")
	}
}

func TestCloseInVain(t *testing.T) {
	s := readyScript(t, Config{})
	c := s.called(9, 2)
	s.send(c, "x", false, false)
	c.Close(s.now, CauseDTE, 0, nil)
	s.want("sends", "DATA lci 9 ps 0 pr 0 len 1")
	s.after(30*time.Second - 1)
	s.event("waits")
	s.after(1)
	s.event("gives up", "cleared 00 240")
	s.want("and says so", "CLEAR lci 9 cause 00 (DTE originated) diag 240 (undelivered)")

	c = s.called(10, 2)
	s.send(c, "x", false, false)
	c.Close(s.now, CauseDTE, 0, nil)
	s.recv(Packet{Kind: KindReset, LCI: 10})
	s.event("a reset lost it", "cleared 00 240")
	s.want("and that is said", "CLEAR lci 10 cause 00 (DTE originated) diag 240 (undelivered)")

	c = s.called(11, 2)
	s.send(c, "x", false, false)
	c.Close(s.now, CauseDTE, 0, nil)
	s.recv(Packet{Kind: KindClear, LCI: 11, Diag: DiagProgramDied})
	s.event("the peer was first", "cleared 00 241")
	s.want("confirms", "CLEAR CONFIRM lci 11")
}

func TestCloseBeforeTheAcceptIsSent(t *testing.T) {
	s := readyScript(t, Config{})
	s.recv(Packet{Kind: KindCall, LCI: 9, Facilities: dnetFacilities(2)})
	c := s.event("hears of it", "incoming")
	if err := c.Accept(s.now, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if err := c.Accept(s.now, nil); err != ErrNotWaiting {
		t.Errorf("Accept twice: %v", err)
	}
	s.send(c, "all I have to say", false, false)
	c.Close(s.now, CauseDTE, 0, []byte("bye"))
	s.want("in this order", "ACCEPT lci 9 fac 43020200007f05d1"[:18]+"…", "DATA lci 9 ps 0 pr 0 len 17")
	s.recv(Packet{Kind: KindRR, LCI: 9, PR: 1})
	s.want("and then", "CLEAR lci 9 cause 00 (DTE originated) diag 0 data 627965")
}

func TestBudget(t *testing.T) {
	budget := &Budget{Limit: 8192, promised: -1 << 30} // the windows are no part of this
	s := readyScript(t, Config{Budget: budget})
	other := readyScript(t, Config{Budget: budget})
	big := other.called(5, 8)
	for ps := range uint8(2) {
		other.data(5, ps, 0, false, strings.Repeat("x", 1400))
	}
	other.want("there is room", "RR lci 5 pr 2")
	small := s.called(9, 2)
	fast := s.called(10, 2)
	s.data(9, 0, 0, false, strings.Repeat("y", 1400))
	s.want("there is room", "RR lci 9 pr 1")
	s.data(10, 0, 0, false, strings.Repeat("z", 1000))
	s.idle("above three quarters there is no credit for who has data queued")
	s.out.Reset()
	s.read("but for who reads", fast, strings.Repeat("z", 1000))
	s.want("there is", "RR lci 10 pr 1")
	for ps := uint8(2); ps < 4; ps++ {
		other.data(5, ps, 0, false, strings.Repeat("x", 1400))
	}
	other.event("above the whole the largest goes", "data", "cleared 05 163")
	other.want("and its peer is told", "CLEAR lci 5 cause 05 (network congestion) diag 163 (DTE resource constraint)")
	other.read("its memory is free", big, "")

	// The largest is on another level than the one that receives.
	big = other.called(6, 8)
	other.data(6, 0, 0, false, strings.Repeat("x", 1400))
	other.data(6, 1, 0, false, strings.Repeat("x", 1400))
	other.out.Reset()
	s.data(10, 1, 0, false, strings.Repeat("y", 1400))
	if budget.Used() != 8192 {
		t.Fatalf("%d octets used", budget.Used())
	}
	other.next()
	s.data(10, 2, 0, false, strings.Repeat("y", 1400))
	if c := s.event("the event comes where the octets came", "data", "cleared 05 163"); c == nil || c.Level() == s.l {
		t.Error("the wrong level lost a circuit")
	}
	if other.l.Deadline().IsZero() || other.l.Deadline().After(s.now) {
		t.Error("the other level does not know that it has something to do")
	}
	other.check()
	other.want("it has", "CLEAR lci 6 …")

	// The largest has ended already.
	s.recv(Packet{Kind: KindClear, LCI: 9})
	s.recv(Packet{Kind: KindClear, LCI: 10})
	s.want("confirms", "CLEAR CONFIRM lci 9", "CLEAR CONFIRM lci 10")
	s.out.Reset()
	last := s.called(11, 2)
	budget.Limit = 4096
	s.data(11, 0, 0, false, "last")
	s.event("the largest goes, and its program is told", "data", "reset 07 163")
	s.read("dropped", fast, "")
	s.read("not dropped", last, "last")
	s.read("the largest on the other level is gone since long", big, "")
	small.Clear(s.now, 0, 0, nil, &s.out)
	if budget.Used() != 0 {
		t.Errorf("%d octets used at the end", budget.Used())
	}
}

func TestFifo(t *testing.T) {
	pool := NewPool()
	var f fifo
	f.push(pool, nil, false, false)
	if !f.empty() || f.buf != nil {
		t.Error("an open piece of nothing leaves a trace")
	}
	for round := range 50 {
		for i := range round {
			f.push(pool, bytes.Repeat([]byte{byte(i)}, i*7), i%2 == 0, true)
		}
		f.push(pool, []byte("tail"), true, false)
		if err := f.check(); err != nil {
			t.Fatal(err)
		}
		for i := range round {
			for n := i * 7; n >= 0; n -= 10 {
				data, q, end, ok := f.peek()
				if !ok || !end || q != (i%2 == 0) || len(data) != n || n > 0 && data[n-1] != byte(i) {
					t.Fatalf("chunk %d: %d octets q %v end %v, want %d", i, len(data), q, end, n)
				}
				if n <= 10 {
					f.take(pool, n, true)
					break
				}
				f.take(pool, 10, false)
			}
		}
		if n := f.cut(pool); n != 4 || !f.empty() || f.buf != nil || pool.Lent() != 0 {
			t.Fatalf("cut %d octets, %d lent", n, pool.Lent())
		}
	}
	// A cut behind closed chunks, whose rest then goes and comes.
	f.push(pool, []byte("a"), false, true)
	f.push(pool, []byte("b"), false, true)
	f.push(pool, []byte("c"), false, false)
	f.cut(pool)
	f.take(pool, 1, true)
	f.push(pool, []byte("d"), false, false)
	f.take(pool, 1, true)
	if data, _, end, _ := f.peek(); string(data) != "d" || end || f.check() != nil {
		t.Errorf("%q end %v %v", data, end, f.check())
	}
}
