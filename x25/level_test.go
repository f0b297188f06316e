package x25

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCallOctets(t *testing.T) {
	s := readyScript(t, Config{Role: DTE, Window: 127})
	if _, err := s.l.Call(s.now, []byte("\xc4DN\x01\x01\x04date")); err != nil {
		t.Fatal(err)
	}
	b := s.l.AppendNext(s.now, prefilled(), &s.out)
	want := "2f ff 0b 00 0d 01 80 43 7f 7f 42 0a 0a 00 00 7f 05 d1 c4 44 4e 01 01 04 64 61 74 65"
	if got := fmt.Sprintf("% x", b[1:]); got != want {
		t.Errorf("a call is\n%s, want\n%s", got, want)
	}
}

func TestChannels(t *testing.T) {
	for _, row := range []struct {
		role Role
		want []uint16
	}{{DTE, []uint16{4095, 4094, 4092}}, {DCE, []uint16{1, 2, 4}}} {
		s := readyScript(t, Config{Role: row.role})
		for i, want := range row.want {
			if i == 2 {
				// The peer has taken the next.
				s.recvBytes(onLCI(t, (row.want[1]+row.want[2])/2, "call"))
			}
			if c := s.placed(); c.LCI() != want {
				t.Errorf("%s: LCI %d, want %d", row.role, c.LCI(), want)
			}
		}
	}
}

func TestChannelLimits(t *testing.T) {
	s := readyScript(t, Config{Role: DCE, MaxLCI: 2})
	s.placed()
	c := s.placed()
	if _, err := s.l.Call(s.now, nil); err != ErrNoChannel {
		t.Errorf("a third call on two channels: %v", err)
	}
	s.recvBytes(onLCI(t, c.LCI(), "clear"))
	s.event("the second is refused", "cleared 00 0")
	if _, err := s.l.Call(s.now, nil); err != ErrNoChannel {
		t.Errorf("the channel counts as free before the clear is confirmed: %v", err)
	}
	s.want("confirms", "CLEAR CONFIRM lci 2")
	s.placed()
	s.recvBytes(onLCI(t, 3, "call"))
	s.want("has no channel 3", "DIAGNOSTIC diag 36 (packet on unassigned logical channel) data 20030b")
	if s.l.Stats()[DropUnassigned] != 1 {
		t.Error("not counted")
	}

	s = readyScript(t, Config{Role: DCE, MaxCircuits: 1})
	s.called(9, 4)
	if _, err := s.l.Call(s.now, nil); err != ErrNoChannel {
		t.Errorf("a second circuit of one: %v", err)
	}
	s.recvBytes(onLCI(t, 10, "call"))
	s.event("the program does not hear of a call beyond the limit")
	s.want("refuses it", "CLEAR lci 10 cause 05 (network congestion) diag 71 (no logical channel available)")
	if _, err := s.l.Call(s.now, make([]byte, 129)); err != ErrUserDataTooLong {
		t.Errorf("129 octets: %v", err)
	}
}

func TestCallWaitsForRestart(t *testing.T) {
	s := newScript(t, Config{Role: DCE})
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.idle("there is no link")
	s.recv(Packet{Kind: KindRestart})
	s.idle("hears nothing without a link")
	s.l.LinkUp(s.now, &s.out)
	s.want("restarts, and the call waits", "RESTART …")
	s.after(2 * time.Second)
	s.want("asks again after T20", "RESTART …")
	s.recv(Packet{Kind: KindRestartConfirm})
	s.event("is ready", "restarted")
	s.want("now the call goes", "CALL lci 1…")
	s.recv(Packet{Kind: KindRestartConfirm})
	s.event("the confirmation of the repeated request is no error")
	s.idle("and has no consequence")
	s.recv(Packet{Kind: KindRestartConfirm})
	s.event("a third one is", "cleared 11 17")
	s.want("and is answered", "RESTART cause 01…")
}

func TestRestartIsServed(t *testing.T) {
	s := newScript(t, Config{Role: DCE})
	s.l.LinkUp(s.now, &s.out)
	s.recv(Packet{Kind: KindRestart, Diag: DiagOperational})
	s.want("the peer was first: its restart is confirmed", "RESTART CONFIRM")
	s.event("is ready", "restarted")
	for cause, want := range map[Cause]string{
		RestartDTE: "cleared 09 161", RestartLocalProcedure: "cleared 13 161", RestartCongestion: "cleared 05 161",
		RestartNetworkOperable: "cleared 09 161",
	} {
		s.called(9, 4)
		waiting, _ := s.l.Call(s.now, nil)
		s.recv(Packet{Kind: KindRestart, Cause: cause, Diag: 161})
		s.event("what the peer knew of is gone", want)
		s.want("a call it has not seen goes on", "RESTART CONFIRM", "CALL lci 1…")
		waiting.Clear(s.now, 0, 0, nil, &s.out)
		s.want("clears", "CLEAR lci 1…")
		s.recv(Packet{Kind: KindClearConfirm, LCI: 1})
		s.out.Reset()
	}
}

func TestRestartInVain(t *testing.T) {
	s := newScript(t, Config{})
	s.l.LinkUp(s.now, &s.out)
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.want("restarts", "RESTART …")
		s.after(2 * time.Second)
		s.event("the call waits")
	}
	s.want("restarts", "RESTART …")
	s.after(2 * time.Second)
	s.event("three tries are enough for a call", "cleared 09 52")
	s.want("the link goes on trying", "RESTART …")
	s.recv(Packet{Kind: KindRestart})
	s.event("a late answer counts", "restarted")
}

func TestLinkDown(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	a := s.called(9, 4)
	s.recv(Packet{Kind: KindData, LCI: 9, UserData: []byte("last words")})
	s.event("data is there", "data")
	s.want("acknowledges", "RR lci 9 pr 1")
	s.send(a, "lost", false, false)
	s.want("sends", "DATA lci 9…")
	s.event("all is out", "room")
	s.placed()
	gone := s.called(10, 4)
	gone.Clear(s.now, 0, 0, nil, &s.out)
	waiting, _ := s.l.Call(s.now, nil)
	s.l.LinkDown(s.now, &s.out)
	s.event("each is told once, by rising LCI", "cleared 09 0", "cleared 09 0", "cleared 09 0")
	s.check()
	if s.l.Len() != 0 || s.l.table.n != 0 || !s.l.Deadline().IsZero() || s.l.Ready() {
		t.Error("the level is not at rest")
	}
	s.read("what was received can still be read", a, "last words")
	s.read("and nothing else", a, "")
	if err := a.Send(s.now, nil, false, false); err != ErrClosed {
		t.Errorf("Send on an ended circuit: %v", err)
	}
	waiting.Close(s.now, 0, 0, nil)
	waiting.Clear(s.now, 0, 0, nil, &s.out)
	s.event("an ended circuit has no more to tell")
	s.l.LinkUp(s.now, &s.out)
	s.want("a new link begins with a restart", "RESTART …")
}

func TestFastSelectRefusal(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	s.recv(Packet{Kind: KindCall, LCI: 9, Facilities: dnetFacilities(4), UserData: []byte("who")})
	c := s.event("hears of it", `incoming "who"`)
	if err := c.Send(s.now, nil, false, false); err != ErrClosed {
		t.Errorf("Send before Accept: %v", err)
	}
	c.Clear(s.now, CauseDTE, 7, []byte("host overloaded"), &s.out)
	s.want("refuses and says why", "CLEAR lci 9 cause 00 (DTE originated) diag 7 (diagnostic 7) data 686f7374206f7665726c6f61646564")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.event("who clears hears nothing of it")

	s.recv(Packet{Kind: KindCall, LCI: 9, UserData: make([]byte, 16)})
	c = s.event("a call without fast select", `incoming `+fmt.Sprintf("%q", make([]byte, 16)))
	if err := c.Accept(s.now, []byte("x")); err != ErrUserDataTooLong {
		t.Errorf("user data in the accept of such a call: %v", err)
	}
	c.Clear(s.now, CauseBusy, 0, []byte("why"), &s.out)
	s.want("cannot say why", "CLEAR lci 9 cause 01 (number busy) diag 0")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.recv(Packet{Kind: KindCall, LCI: 9, UserData: make([]byte, 17)})
	s.want("17 octets are too many for it", "CLEAR lci 9 cause 13 (local procedure error) diag 39 (packet too long)")

	s.recv(Packet{Kind: KindCall, LCI: 10, Facilities: []byte{1, 0xc0}})
	s.want("a call that wants no accept", "CLEAR lci 10 cause 03 (invalid facility request) diag 66…")
	s.recv(Packet{Kind: KindCall, LCI: 11, Facilities: []byte{0x43, 2, 0}})
	s.want("a window of 0", "CLEAR lci 11 cause 03 (invalid facility request) diag 66…")

	s = readyScript(t, Config{Role: DCE})
	s.placed()
	s.recv(Packet{Kind: KindClear, LCI: 1, Cause: CauseBarred, Diag: 3, UserData: []byte("not you")})
	s.event("the caller hears why", `cleared 0b 3 "not you"`)
	s.want("confirms", "CLEAR CONFIRM lci 1")
	s.placed()
	s.recv(Packet{Kind: KindAccept, LCI: 1, Facilities: []byte{0x43, 127, 127, 0, 0, 0x7f, 0x05, 0xd2}})
	s.event("an answer above the proposal", "cleared 11 66")
}

func TestNothingInTheAccept(t *testing.T) {
	s := readyScript(t, Config{Role: DCE, Window: 3})
	c := s.placed()
	s.recv(Packet{Kind: KindAccept, LCI: 1, UserData: nil})
	s.event("connected", "connected")
	if c.tx.w != 3 || c.tx.size != 1024 || c.partial {
		t.Errorf("window %d size %d partial %v", c.tx.w, c.tx.size, c.partial)
	}
	s.send(c, "a piece", false, true)
	s.idle("such a peer takes no partly filled packet with M")
	s.send(c, strings.Repeat("x", 1024), false, true)
	s.want("a full one it takes", "DATA lci 1 ps 0 pr 0 M len 1024")
	s.send(c, "", false, false)
	s.want("and the rest when the sequence ends", "DATA lci 1 ps 1 pr 0 len 7")
	s.out.Reset()
	s.recv(Packet{Kind: KindData, LCI: 1, PR: 2, M: true, UserData: []byte("piece")})
	s.event("nor may it send one", "reset 03 165")
}

func TestT21(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	s.placed()
	s.after(10*time.Second - 1)
	s.event("waits")
	s.after(1)
	s.event("gives up after T21", "cleared 09 49")
	s.want("and tells the peer", "CLEAR lci 1 cause 00 (DTE originated) diag 49 (time expired for incoming call)")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 1})
	if s.l.table.n != 0 || !s.l.Deadline().IsZero() {
		t.Error("the level is not at rest")
	}
}

func TestT23(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	c := s.called(9, 4)
	c.Close(s.now, CauseDTE, 0, nil)
	for range 3 {
		s.want("clears", "CLEAR lci 9 cause 00 (DTE originated) diag 0")
		s.after(2 * time.Second)
	}
	s.event("gives up after three tries", "drained")
	s.idle("the channel is free")
	if s.l.table.n != 0 {
		t.Error("the channel is not free")
	}

	c = s.called(9, 4)
	c.Close(s.now, CauseDTE, 0, nil)
	s.want("clears", "CLEAR lci 9…")
	s.after(2 * time.Second)
	s.want("clears again", "CLEAR lci 9…")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.event("the first answer is one", "drained")
	s.state("the channel waits for the second", c, "p7")
	s.recv(Packet{Kind: KindClearConfirm, LCI: 9})
	s.state("there it is", c, "p1")
	s.idle("and it does no harm")

	c = s.called(9, 4)
	c.Close(s.now, CauseDTE, 0, nil)
	s.want("clears", "CLEAR lci 9…")
	s.after(2 * time.Second)
	s.want("clears again", "CLEAR lci 9…")
	s.recv(Packet{Kind: KindClear, LCI: 9})
	s.after(2 * time.Second)
	s.event("a collision is an answer too", "drained")
	s.state("it does not wait for ever for the second", c, "p1")
	s.idle("silence")
}

func TestT22(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	c := s.called(9, 4)
	c.Reset(s.now, ResetDTE, 250)
	for range 3 {
		s.want("resets", "RESET lci 9 cause 00 (DTE originated) diag 250 (reset, user resynchronization)")
		s.after(2 * time.Second)
	}
	s.event("gives the circuit up after three tries", "cleared 11 51")
	s.want("clears", "CLEAR lci 9 cause 13 (local procedure error) diag 51 (time expired for reset indication)")

	s = readyScript(t, Config{Role: DCE})
	c = s.called(9, 4)
	c.Reset(s.now, ResetDTE, 0)
	s.want("resets", "RESET lci 9…")
	s.after(2 * time.Second)
	s.want("resets again", "RESET lci 9…")
	s.recv(Packet{Kind: KindResetConfirm, LCI: 9})
	s.recv(Packet{Kind: KindResetConfirm, LCI: 9})
	s.event("the second confirmation is no error")
	s.recv(Packet{Kind: KindResetConfirm, LCI: 9})
	s.event("a third is", "reset 03 27")
}

func TestRequestsNotSentYet(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	c := s.called(9, 4)
	c.Reset(s.now, 0, 0)
	s.recv(Packet{Kind: KindReset, LCI: 9, Cause: 0, Diag: 9})
	s.want("the peer's reset was first: it is confirmed, and takes the place of ours", "RESET CONFIRM lci 9")
	c.Reset(s.now, 0, 0)
	s.recv(Packet{Kind: KindResetConfirm, LCI: 9})
	s.state("no confirmation is for a request that is not out", c, "p4/d3")
	c.Close(s.now, 0, 0, nil)
	s.want("resets, and the close waits", "RESET lci 9…")
	s.recv(Packet{Kind: KindResetConfirm, LCI: 9})
	s.event("nothing yet")
	s.state("closes", c, "p7")
	s.recv(Packet{Kind: KindClear, LCI: 9})
	s.event("the peer's clear was first", "drained")
	s.want("it is confirmed", "CLEAR CONFIRM lci 9")

	a, _ := s.l.Call(s.now, nil)
	a.Close(s.now, 0, 0, nil)
	s.idle("a call closed before it was sent is never sent")
	s.event("but its end is told", "drained")
	b, _ := s.l.Call(s.now, nil)
	b.Clear(s.now, 0, 0, nil, &s.out)
	s.idle("nor one that was cleared")
	s.event("whose end is not")
	if s.l.table.n != 0 {
		t.Error("channels in use")
	}
}

func TestCollisionAsDCE(t *testing.T) {
	s := readyScript(t, Config{Role: DCE, MaxLCI: 1})
	s.placed()
	s.recvBytes(onLCI(t, 1, "call"))
	c := s.event("ours found no other channel", "cleared 05 72", "incoming")
	if err := c.Accept(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.want("the peer's is served", "ACCEPT lci 1")
	s.state("is up", c, "p4/d1")

	s = readyScript(t, Config{Role: DCE})
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.recvBytes(onLCI(t, 1, "call"))
	c = s.event("the peer's came before ours was sent", "incoming")
	s.state("that is no collision", c, "p2")
	s.want("ours goes elsewhere", "CALL lci 2…")
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	s.recvBytes(onLCI(t, 3, "clear"))
	s.event("what the peer says on a channel before our call is not about our call")
	s.want("ours goes elsewhere", "CLEAR CONFIRM lci 3", "CALL lci 4…")
}

func TestOrderOfSending(t *testing.T) {
	s := readyScript(t, Config{Role: DCE})
	a, b, c := s.called(9, 4), s.called(10, 4), s.called(11, 4)
	for _, x := range []*Circuit{a, b} {
		for range 3 {
			s.send(x, "data", false, false)
		}
	}
	s.recv(Packet{Kind: KindData, LCI: 11, UserData: []byte("x")})
	if _, err := s.l.Call(s.now, nil); err != nil {
		t.Fatal(err)
	}
	c.Clear(s.now, 0, 0, nil, &s.out)
	s.recv(Packet{Kind: KindInterrupt, LCI: 10, UserData: []byte("!")})
	if err := a.Interrupt(s.now, []byte("?")); err != nil {
		t.Fatal(err)
	}
	s.want("urgent, control, then data in rotation",
		"INTERRUPT CONFIRM lci 10", "INTERRUPT lci 9 data 3f", "CLEAR lci 11…", "CALL lci 1…",
		"DATA lci 9 ps 0 pr 0 len 4", "DATA lci 10 ps 0 pr 0 len 4", "DATA lci 9 ps 1 pr 0 len 4", "DATA lci 10 ps 1 pr 0 len 4",
		"DATA lci 9 ps 2 pr 0 len 4", "DATA lci 10 ps 2 pr 0 len 4")
}

func TestDownDiscards(t *testing.T) {
	s := newScript(t, Config{})
	s.recv(Packet{Kind: KindRestart})
	if s.l.Stats()[DropDown] != 1 || s.l.State() != "down" {
		t.Error("a packet without a link")
	}
	for c := Counter(0); c < counters; c++ {
		if c.String() == "" {
			t.Errorf("counter %d has no name", c)
		}
	}
}
