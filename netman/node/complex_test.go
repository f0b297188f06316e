package node

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dnet/x25"
)

// rig is one machine, grumpy, whose complex server is the test, and whose callers are programs of the machine itself.
type rig struct {
	t      *testing.T
	n      *Node
	out    Out
	now    time.Time
	k      *Complex
	events map[*Circuit][]Event
	window uint8 // of the circuit that was served last: packets from the program
}

func newRig(t *testing.T, cfg Config) *rig {
	cfg.Machine, cfg.BootID = "grumpy", 1
	r := &rig{t: t, n: New(cfg), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), events: map[*Circuit][]Event{}}
	if err := r.n.Register("echo"); err != nil {
		t.Fatal(err)
	}
	r.n.Start(r.now, &r.out)
	r.pass(time.Second)
	r.k = r.n.NewComplex(r.now, "echo", &r.out)
	r.flush()
	return r
}

// flush takes the events, offers calls, and checks that all is well.
func (r *rig) flush() {
	r.t.Helper()
	for i := 0; i < len(r.out.Events); i++ {
		switch ev := r.out.Events[i]; {
		case ev.Kind == Incoming && !r.k.Offer(r.now, ev.Circuit, &r.out):
			ev.Circuit.Clear(r.now, x25.CauseBusy, 0, "busy", &r.out)
		case ev.Circuit != nil && ev.Kind != Incoming:
			ev.Octets = bytes.Clone(ev.Octets)
			r.events[ev.Circuit] = append(r.events[ev.Circuit], ev)
		}
	}
	r.out.Reset()
	if r.k != nil && r.k.Len() > 200 && r.k.Len()%100 != 0 {
		return // it walks everything
	}
	if err := r.n.Check(); err != nil {
		r.t.Fatal(err)
	}
}

// pass lets a time pass.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	still := 0 // timeouts at one moment
	for at := r.n.Deadline(); !at.IsZero() && !at.After(end); at = r.n.Deadline() {
		if still++; at.After(r.now) {
			r.now, still = at, 0
		} else if still > 1000 {
			r.t.Fatal("a timer that is due is due again and again")
		}
		r.n.HandleTimeout(r.now, &r.out)
		r.flush()
	}
	r.now = end
}

// call places a call of the user alice.
func (r *rig) call() *Circuit {
	r.t.Helper()
	c, err := r.n.Call(r.now, "echo", "alice", false, &r.out)
	if err != nil {
		r.t.Fatal(err)
	}
	r.flush()
	return c
}

// read is the next packet for the program, nil if there is none.
func (r *rig) read() *x25.Packet {
	r.t.Helper()
	octets := r.k.AppendNext(r.now, nil, &r.out)
	r.flush()
	if len(octets) == 0 {
		return nil
	}
	p, err := x25.Parse(octets)
	if err != nil {
		r.t.Fatalf("% x: %v", octets, err)
	}
	return &p
}

// want asks what the next packet for the program is.
func (r *rig) want(kind x25.Kind, lci uint16) *x25.Packet {
	r.t.Helper()
	p := r.read()
	if p == nil || p.Kind != kind || p.LCI != lci {
		r.t.Fatalf("netman writes %v; want %v on %d", p, kind, lci)
	}
	return p
}

// write is what the program writes.
func (r *rig) write(p x25.Packet) {
	r.t.Helper()
	r.k.HandlePacket(r.now, p.Append(nil), &r.out)
	r.flush()
}

// restart begins the layer.
func (r *rig) restart() {
	r.t.Helper()
	r.want(x25.KindRestart, 0)
	r.write(x25.Packet{Kind: x25.KindRestartConfirm})
}

// serve is a circuit that the program has accepted; window is what it may send.
func (r *rig) serve(lci uint16) *Circuit {
	r.t.Helper()
	c := r.call()
	p := r.want(x25.KindCall, lci)
	r.window = p.Facilities[3] // after fast select: 43, from the called, from the calling
	r.write(x25.Packet{Kind: x25.KindAccept, LCI: lci, Facilities: p.Facilities})
	r.said(c, Connected)
	return c
}

// said asks what the caller was told last.
func (r *rig) said(c *Circuit, kind EventKind) Event {
	r.t.Helper()
	all := r.events[c]
	if len(all) == 0 || all[len(all)-1].Kind != kind {
		r.t.Fatalf("the caller was told %+v; want event %d at the end", all, kind)
	}
	return all[len(all)-1]
}

// cleared asks how the caller's circuit ended.
func (r *rig) cleared(c *Circuit, cause x25.Cause, diag x25.Diag, text string) {
	r.t.Helper()
	ev := r.said(c, Cleared)
	if ev.Cause != cause || ev.Diag != diag || text != "*" && ev.Text != text {
		r.t.Errorf("the caller is told %02x %d %q; want %02x %d %q", uint8(ev.Cause), ev.Diag, ev.Text, uint8(cause), diag, text)
	}
}

// empty asks that nothing is left.
func (r *rig) empty() {
	r.t.Helper()
	for p := r.read(); p != nil; p = r.read() {
		if p.Kind == x25.KindClear {
			r.write(x25.Packet{Kind: x25.KindClearConfirm, LCI: p.LCI})
		}
	}
	r.pass(time.Minute)
	if err := r.n.CheckEmpty(); err != nil {
		r.t.Error(err)
	}
}

// TestComplexDocument has the conversation of protocol.md 5 with netman: what it says netman writes, and what the program.
func TestComplexDocument(t *testing.T) {
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```packets\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the document has no packets")
	}
	r := newRig(t, Config{})
	caller := r.call()
	var octets []byte
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		text, isText := strings.CutPrefix(line, "= ")
		if isText {
			if p, err := x25.Parse(octets); err != nil || p.String() != text {
				t.Errorf("% x\nreads %v, %v\nthe document says %s", octets, p, err, text)
			}
			continue
		}
		if octets, err = hex.DecodeString(strings.ReplaceAll(line[2:], " ", "")); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if line[0] == '>' {
			r.k.HandlePacket(r.now, octets, &r.out)
			r.flush()
			if all := r.events[caller]; len(all) > 0 && all[len(all)-1].Kind == Connected {
				caller.Send(r.now, []byte("hello"), false, false, &r.out)
				r.flush()
			}
			continue
		}
		got := r.k.AppendNext(r.now, nil, &r.out)
		if r.flush(); len(got) == 0 {
			r.pass(5 * time.Millisecond) // an RR may wait so long
			got = r.k.AppendNext(r.now, nil, &r.out)
		}
		if !bytes.Equal(got, octets) {
			t.Fatalf("netman writes\n% x\nthe document says\n% x", got, octets)
		}
	}
	if data, q, more, ok := caller.Peek(); !ok || string(data) != "HELLO" || !q || more {
		t.Errorf("the caller reads %q, Q %v, M %v", data, q, more)
	}
	caller.Next(r.now, &r.out)
	r.flush()
	r.cleared(caller, x25.CauseDTE, 66, "bye")
	r.empty()
}

func TestComplexAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		clear x25.Packet
		cause x25.Cause
		diag  x25.Diag
		text  string
	}{
		"a refusal is passed on":          {x25.Packet{Diag: 7, UserData: []byte("no")}, x25.CauseDTE, 7, "no"},
		"so is busy":                      {x25.Packet{Cause: x25.CauseBusy, UserData: []byte("full")}, x25.CauseBusy, 0, "full"},
		"and not here":                    {x25.Packet{Cause: x25.CauseNotObtainable}, x25.CauseNotObtainable, 0, ""},
		"barred is not a program's cause": {x25.Packet{Cause: x25.CauseBarred, Diag: 3}, x25.CauseDTE, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.restart()
			c := r.call()
			r.want(x25.KindCall, 1)
			row.clear.Kind, row.clear.LCI = x25.KindClear, 1
			r.write(row.clear)
			if row.cause == x25.CauseBusy || row.cause == x25.CauseNotObtainable {
				r.pass(time.Second) // whether another machine answers for the name
			}
			r.cleared(c, row.cause, row.diag, row.text)
			r.want(x25.KindClearConfirm, 1)
			r.empty()
		})
	}
}

// TestComplexSilence: a program that does not answer a call, or not even the restart, costs its callers 8 s.
func TestComplexSilence(t *testing.T) {
	for _, restarts := range []bool{true, false} {
		r := newRig(t, Config{})
		if restarts {
			r.restart()
		}
		c := r.call()
		r.pass(5 * time.Second)
		if len(r.events[c]) > 0 {
			t.Fatalf("the caller is told %+v before 8 s", r.events[c])
		}
		r.pass(4 * time.Second)
		r.cleared(c, x25.CauseBusy, 0, "the server of echo does not answer")
		r.k.Close(r.now, &r.out)
		r.flush()
		r.empty()
	}
}

// TestComplexFull: channels are taken from 1 up; when none is left a call is refused, and when one is free again taken.
func TestComplexFull(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	var all []*Circuit
	for lci := range uint16(maxCircuits) {
		all = append(all, r.serve(lci+1))
		if r.n.local.levels[0].Len() == maxCircuits {
			break
		}
	}
	if r.k.Len() != maxCircuits {
		t.Fatalf("%d circuits, want %d", r.k.Len(), maxCircuits)
	}
	all[99].Close(r.now, x25.CauseDTE, 0, "", &r.out)
	r.flush()
	r.want(x25.KindClear, 100)
	r.write(x25.Packet{Kind: x25.KindClearConfirm, LCI: 100})
	r.serve(100)
	r.k.Close(r.now, &r.out)
	r.flush()
	r.cleared(all[0], x25.CauseDTE, x25.DiagProgramDied, "*")
	r.empty()
}

// TestComplexDies: what the program wrote is read first; who was not answered is told that nobody is there.
func TestComplexDies(t *testing.T) {
	for name, die := range map[string]func(r *rig){
		"the descriptor ends":    func(r *rig) { r.k.Close(r.now, &r.out); r.flush() },
		"the program restarts":   func(r *rig) { r.write(x25.Packet{Kind: x25.KindRestart}) },
		"a packet of no channel": func(r *rig) { r.write(x25.Packet{Kind: x25.KindRestartConfirm}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.restart()
			served := r.serve(1)
			waiting := r.call()
			r.want(x25.KindCall, 2)
			r.write(x25.Packet{Kind: x25.KindData, LCI: 1, M: true, UserData: []byte("half")})
			die(r)
			r.pass(100 * time.Millisecond)
			if data, _, more, ok := served.Peek(); !ok || string(data) != "half" || !more {
				t.Errorf("the caller reads %q, M %v: want what was written, not looking whole", data, more)
			}
			served.Next(r.now, &r.out)
			r.flush()
			r.pass(time.Second)
			if name == "a packet of no channel" {
				r.said(served, Cleared)
				r.said(waiting, Cleared)
			} else {
				r.cleared(served, x25.CauseDTE, x25.DiagProgramDied, "the server of echo died")
				r.cleared(waiting, x25.CauseNotObtainable, 0, "the server of echo has gone")
			}
			r.empty()
		})
	}
}

// TestComplexErrors: what breaks the protocol of one circuit costs that circuit alone.
func TestComplexErrors(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	wrong, other := r.serve(1), r.serve(2)
	r.write(x25.Packet{Kind: x25.KindData, LCI: 1, PS: 5, UserData: []byte("x")})
	if ev := r.said(wrong, Reset); ev.Cause != x25.ResetRemoteProcedure || ev.Diag != x25.DiagPS {
		t.Errorf("the caller is told of a reset %02x %d", uint8(ev.Cause), ev.Diag)
	}
	r.want(x25.KindReset, 1)
	r.write(x25.Packet{Kind: x25.KindResetConfirm, LCI: 1})
	r.write(x25.Packet{Kind: x25.KindAccept, LCI: 1})
	r.cleared(wrong, x25.CauseRemoteProcedure, x25.DiagState+7, "*")
	r.write(x25.Packet{Kind: x25.KindCall, LCI: 9, UserData: []byte("\xc4DN\x01\x01\x04echo")})
	for _, want := range []uint16{1, 9} {
		if p := r.want(x25.KindClear, want); want == 9 && p.Cause != x25.CauseBarred {
			t.Errorf("a call of the program is cleared with %v", p.Cause)
		}
		r.write(x25.Packet{Kind: x25.KindClearConfirm, LCI: want})
	}
	r.write(x25.Packet{Kind: x25.KindData, LCI: 2, UserData: []byte("fine")})
	if data, _, _, _ := other.Peek(); string(data) != "fine" {
		t.Errorf("the other circuit reads %q", data)
	}
	r.k.Close(r.now, &r.out)
	r.flush()
	other.Next(r.now, &r.out)
	r.flush()
	r.empty()
}

// TestComplexFlood: a program that fills the windows of all its circuits, and no caller reads, loses none of them, and costs nobody else
// memory.
func TestComplexFlood(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	const circuits = 150
	var all []*Circuit
	var windows [circuits + 1]uint8
	for lci := range uint16(circuits) {
		all = append(all, r.serve(lci+1))
		windows[lci+1] = r.window
	}
	flood := make([]byte, 16380)
	var ps, acked [circuits + 1]uint8
	for writes := true; writes; { // to the edge of every window, and no caller reads
		writes = false
		for lci := uint16(1); lci <= circuits; lci++ {
			for (ps[lci]-acked[lci])&127 < windows[lci] && !all[lci-1].over {
				r.k.HandlePacket(r.now, x25.Packet{Kind: x25.KindData, LCI: lci, PS: ps[lci], UserData: flood}.Append(nil), &r.out)
				ps[lci], writes = (ps[lci]+1)&127, true
			}
			r.flush()
		}
		r.pass(10 * time.Millisecond)
		for p := r.read(); p != nil; p = r.read() {
			if p.Kind == x25.KindRR {
				acked[p.LCI] = p.PR
			}
		}
	}
	for i, c := range all {
		if c.over {
			t.Errorf("circuit %d is over: %+v", i, r.events[c])
		}
	}
	used := r.k.level.Stats()[x25.BudgetCleared] + r.n.local.levels[0].Stats()[x25.BudgetCleared] + r.n.local.levels[1].Stats()[x25.BudgetCleared]
	if used > 0 || windows[1] != 16 || windows[circuits] >= 16 {
		t.Errorf("%d circuits were cleared for memory; the first window is %d, the last %d", used, windows[1], windows[circuits])
	}
	r.pass(time.Second)
}

// TestComplexSlowProgram: a program that does not read stops its callers, each for itself; when it reads all is there.
func TestComplexSlowProgram(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	c := r.serve(1)
	sent := 0
	for c.Room() > 0 {
		c.Send(r.now, bytes.Repeat([]byte{byte(sent)}, 5000), false, false, &r.out)
		r.flush()
		sent++
	}
	if sent*5000 > 2<<20 {
		t.Errorf("a program that does not read was sent %d octets", sent*5000)
	}
	c.Close(r.now, x25.CauseDTE, 0x17, "done", &r.out)
	r.flush()
	r.pass(20 * time.Second)
	for got, pr := 0, uint8(0); ; {
		p := r.read()
		if p == nil {
			r.pass(10 * time.Millisecond)
			continue
		}
		if p.Kind == x25.KindClear {
			if got != sent || p.Diag != 0x17 || string(p.UserData) != "done" {
				t.Errorf("after %d datagrams of %d: %v", got, sent, p)
			}
			r.write(x25.Packet{Kind: x25.KindClearConfirm, LCI: 1})
			break
		}
		if p.Kind != x25.KindData || p.PS != pr || len(p.UserData) != 5000 || p.UserData[0] != byte(got) {
			t.Fatalf("datagram %s: %v", strconv.Itoa(got), p)
		}
		got, pr = got+1, (pr+1)&127
		r.write(x25.Packet{Kind: x25.KindRR, LCI: 1, PR: pr})
	}
	r.said(c, Drained)
	r.empty()
}

// TestComplexReset: what came before a reset is not passed on after it, whoever asked for it, and however often.
func TestComplexReset(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	c := r.serve(1)
	fill := func() {
		for range 100 {
			c.Send(r.now, make([]byte, 1000), false, false, &r.out)
			r.flush()
		}
	}
	fill()
	c.Reset(r.now, 0, &r.out)
	r.flush()
	r.want(x25.KindReset, 1)
	c.Send(r.now, []byte("lost"), false, false, &r.out)
	r.flush()
	c.Reset(r.now, 0, &r.out) // once more, and the program has not confirmed the first
	r.flush()
	c.Send(r.now, []byte("new"), false, false, &r.out)
	r.flush()
	r.write(x25.Packet{Kind: x25.KindResetConfirm, LCI: 1})
	r.want(x25.KindReset, 1)
	r.write(x25.Packet{Kind: x25.KindResetConfirm, LCI: 1})
	if p := r.want(x25.KindData, 1); string(p.UserData) != "new" || p.PS != 0 {
		t.Errorf("after the reset comes %v", p)
	}
	r.write(x25.Packet{Kind: x25.KindRR, LCI: 1, PR: 1})
	fill()
	r.write(x25.Packet{Kind: x25.KindData, LCI: 1, M: true, PR: 1, UserData: []byte("cut")})
	r.write(x25.Packet{Kind: x25.KindReset, LCI: 1})
	if ev := r.said(c, Reset); ev.Cause != x25.ResetDTE || ev.Diag != 0 {
		t.Errorf("the caller is told of a reset %02x %d", uint8(ev.Cause), ev.Diag)
	}
	c.Send(r.now, []byte("newer"), false, false, &r.out)
	r.flush()
	r.want(x25.KindResetConfirm, 1)
	if p := r.want(x25.KindData, 1); string(p.UserData) != "newer" || p.PS != 0 {
		t.Errorf("after the reset comes %v", p)
	}
	r.write(x25.Packet{Kind: x25.KindData, LCI: 1, PR: 1, UserData: []byte("whole")})
	if data, _, more, ok := c.Peek(); !ok || string(data) != "whole" || more {
		t.Errorf("after the reset the caller reads %q, M %v", data, more)
	}
}

// TestComplexCallerGone: what the program writes to a caller that has closed is acknowledged and dropped, though the program has not read
// what came before.
func TestComplexCallerGone(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	c := r.serve(1)
	for range 40 {
		c.Send(r.now, make([]byte, 5000), false, false, &r.out)
		r.flush()
	}
	r.pass(100 * time.Millisecond)
	c.Close(r.now, x25.CauseDTE, 0, "", &r.out)
	r.flush()
	r.pass(100 * time.Millisecond)
	r.said(c, Drained)
	for ps := range uint8(16) {
		r.write(x25.Packet{Kind: x25.KindData, LCI: 1, PS: ps, UserData: make([]byte, 16380)})
	}
	got := uint8(0)
	for range 100 {
		p := r.read()
		switch {
		case p == nil:
			r.pass(10 * time.Millisecond)
		case p.Kind == x25.KindRR && p.PR == 16, p.Kind == x25.KindData && p.PR == 16:
			return
		case p.Kind == x25.KindData:
			got = (got + 1) & 127
			r.write(x25.Packet{Kind: x25.KindRR, LCI: 1, PR: got})
		}
	}
	t.Error("what the program writes for nobody is not acknowledged")
}

// TestComplexSlowCaller: what the program wrote before it cleared may take as long as it likes, if it moves; else it is undelivered.
func TestComplexSlowCaller(t *testing.T) {
	for _, wait := range []time.Duration{12 * time.Second, 40 * time.Second} {
		r := newRig(t, Config{Level: x25.Config{Window: 2, ReceiveLimit: 1000, QueueLimit: 20000}})
		r.restart()
		c := r.serve(1)
		const datagrams = 6
		for ps := range uint8(datagrams) {
			r.write(x25.Packet{Kind: x25.KindData, LCI: 1, PS: ps, UserData: bytes.Repeat([]byte{ps}, 16000)})
			r.pass(10 * time.Millisecond)
			r.read() // RR
		}
		r.write(x25.Packet{Kind: x25.KindClear, LCI: 1, Diag: 9, UserData: []byte("enough")})
		got := 0
		for range datagrams {
			r.pass(wait)
			if data, _, _, ok := c.Peek(); ok && len(data) == 16000 && data[0] == byte(got) {
				got++
			}
			c.Next(r.now, &r.out)
			r.flush()
		}
		r.pass(time.Second)
		if wait < spliceStall {
			if r.cleared(c, x25.CauseDTE, 9, "enough"); got != datagrams {
				t.Errorf("a caller that reads every %v gets %d datagrams of %d", wait, got, datagrams)
			}
		} else if r.cleared(c, x25.CauseDTE, x25.DiagUndelivered, "*"); got == datagrams {
			t.Errorf("a caller that reads every %v gets all", wait)
		}
		r.empty()
	}
}

// TestComplexInterrupts: netman confirms an interrupt itself; one more waits for the program to confirm the first, and a later one
// replaces that.
func TestComplexInterrupts(t *testing.T) {
	r := newRig(t, Config{})
	r.restart()
	c := r.serve(1)
	for i := range byte(3) {
		if err := c.Interrupt(r.now, []byte{i}, &r.out); err != nil {
			t.Fatal(err)
		}
		r.flush()
		r.said(c, InterruptConfirmed)
	}
	for _, want := range []byte{0, 2} {
		if p := r.want(x25.KindInterrupt, 1); p.UserData[0] != want {
			t.Errorf("interrupt %d, want %d", p.UserData[0], want)
		}
		if p := r.read(); p != nil {
			t.Errorf("before it is confirmed comes %v", p)
		}
		r.write(x25.Packet{Kind: x25.KindInterruptConfirm, LCI: 1})
	}
	r.write(x25.Packet{Kind: x25.KindInterrupt, LCI: 1, UserData: []byte("up")})
	if ev := r.said(c, Interrupt); string(ev.Octets) != "up" {
		t.Errorf("the caller gets %q", ev.Octets)
	}
	r.want(x25.KindInterruptConfirm, 1)
	if n := r.n.drops["interrupt replaced by a later one"]; n != 1 {
		t.Errorf("%d were counted as replaced", n)
	}
}

// FuzzComplex is a program that writes any packets at all, and callers that write, read and close.
func FuzzComplex(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := newRig(t, Config{Level: x25.Config{Window: 2, MaxUserData: 64, QueueLimit: 100, ReceiveLimit: 100}})
		r.restart()
		var calls []*Circuit
		for len(script) >= 4 {
			op, a, b, c := script[0], script[1], script[2], script[3]
			script = script[4:]
			lci := uint16(a & 3)
			switch op % 12 {
			case 0:
				if len(calls) < 8 {
					calls = append(calls, r.call())
				}
			case 1:
				r.write(x25.Packet{Kind: x25.KindAccept, LCI: lci})
			case 2, 3:
				r.write(x25.Packet{Kind: x25.KindData, LCI: lci, PS: b & 15, PR: b >> 4, M: c&1 != 0, Q: c&2 != 0, UserData: make([]byte, c&127)})
			case 4:
				r.write(x25.Packet{Kind: abuseKinds[int(b)%len(abuseKinds)], LCI: lci, PR: c & 7, Cause: x25.Cause(c), UserData: []byte{c}})
			case 5:
				r.k.HandlePacket(r.now, append([]byte{a, b, c}, script[:min(len(script), int(a&7))]...), &r.out)
				r.flush()
			case 6:
				r.read()
			case 7:
				r.pass(time.Duration(b) * time.Duration(c) * time.Millisecond)
			default:
				if len(calls) > 0 {
					fuzzCaller(r, calls[int(a)%len(calls)], op, b, c)
				}
			}
		}
		for _, c := range calls {
			c.Clear(r.now, x25.CauseDTE, 0, "", &r.out)
			r.flush()
		}
		r.k.Close(r.now, &r.out)
		r.flush()
		r.empty()
	})
}

// fuzzCaller does something with the caller's end.
func fuzzCaller(r *rig, c *Circuit, op, b, d byte) {
	if c.x == nil || c.over {
		return
	}
	switch op % 12 {
	case 8:
		c.Send(r.now, make([]byte, b), d&1 != 0, d&2 != 0, &r.out)
	case 9:
		c.Peek()
		c.Next(r.now, &r.out)
	case 10:
		c.Interrupt(r.now, []byte{b}, &r.out)
		if d < 40 {
			c.Reset(r.now, 0, &r.out)
		}
	case 11:
		if d < 100 {
			c.Close(r.now, x25.CauseDTE, 0, "", &r.out)
		}
	}
	r.flush()
}
