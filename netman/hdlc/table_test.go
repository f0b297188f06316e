package hdlc

import (
	"strings"
	"testing"
	"time"
)

// The table of states and frames, typed from IEEE 802.2 7 (the state transition table of the connection component) with
// protocol.md 3 on top.
//
// It was checked against the table as Linux 6.1 has it (net/llc/llc_c_st.c, whose events and actions bear the standard's names), all of
// ADM, SETUP, NORMAL, AWAIT, BUSY, REJECT and D_CONN, and the page of IEEE 802.2 (1998) that has AWAIT_BUSY. By groups of rows:
//
//	SABME         SETUP, D_CONN agree; ADM and the up states differ: deviation 2 of protocol.md
//	DISC          agrees
//	UA            SETUP, D_CONN agree; up: FRMR there, nothing here: deviation 3
//	DM            SETUP agrees, but that it must have F here; AWAIT, D_CONN agree; NORMAL, BUSY, REJECT: down there, poll here: deviation 3
//	FRMR          there the link is reset, here it is down: deviation 5. As a state ERROR is not here, none of its rows is
//	I S=          NORMAL, REJECT agree, AWAIT but that without P it is acknowledged at once there, and here within T2; BUSY: the answer
//	              agrees; there the information may be taken nevertheless, here it never is
//	I S+          agrees: REJ once, with F to P; in BUSY RNR, in REJECT RR to P and otherwise nothing
//	I S-          in the standard "duplicate", which the page has as here (nothing, but N(R)) for P=0; with P unchecked, as are the other
//	              states: Linux has no such event
//	R-            deviation 1: there is no such event
//	S!, R!, long  FRMR, agrees; then ERROR there, down here: deviation 5. Y, Z, V as bits: Linux's llc_pdu_init_as_frmr_rsp
//	RR, RNR, REJ  with P agree; so do those without. With F that nobody awaits: FRMR there, nothing here: deviation 7. REJ in NORMAL
//	              and REJECT agrees for nothing outstanding; what is sent again otherwise is tested by scripts
//	TEST, XID     commands agree, but that Linux answers with F=1 always; the standard's F=P (6.6, 6.7) is unchecked
//	ADM, P=1      any other command: DM F, agrees
//	the last ones what is no frame of the standard: unchecked; PROOF is dnet's own
//
// A cell is what the link does: frames sent, "=events", and ">STATE" if that changes; "-" is
// nothing. R= is the present V(R), R+ the next one. ADM! is ADM after a hello announced a SABME; AWAIT, BUSY and REJECT
// are NORMAL with the flag of that name. In the frames, S= is in sequence, S+ after a gap, S- had before, S! outside
// the window; R= acknowledges nothing new, R- is stale, R! was never sent.
const actionTable = `
frame        | ADM  | ADM!            | SETUP         | NORMAL         | AWAIT          | BUSY           | REJECT         | D_CONN        | PROOF
SABME P      | DM F | UA F =up >NORMAL | UA F         | -              | -              | -              | -              | DM F =down disconnected >ADM | UA F
SABME        | DM   | UA =up >NORMAL   | UA           | -              | -              | -              | -              | DM =down disconnected >ADM   | UA
DISC P       | DM F | DM F            | DM F =gone     | UA F =gone     | UA F =gone     | UA F =gone     | UA F =gone     | UA F          | UA F =gone
DISC         | DM   | DM              | DM =gone       | UA =gone       | UA =gone       | UA =gone       | UA =gone       | UA            | UA =gone
UA F         | -    | -               | =up >NORMAL    | -              | -              | -              | -              | =down disconnected >ADM      | -
UA           | -    | -               | -              | -              | -              | -              | -              | -             | -
DM F         | -    | -               | =down refused >ADM | RR R= P    | =down refused >ADM | RNR R= P   | RR R= P        | =down disconnected >ADM      | -
DM           | -    | -               | -              | RR R= P        | -              | RNR R= P       | RR R= P        | =down disconnected >ADM      | -
FRMR F       | -    | -               | -              | =fault         | =fault         | =fault         | =fault         | -             | =fault
FRMR         | -    | -               | -              | =fault         | =fault         | =fault         | =fault         | -             | =fault
I S= R=      | -    | -               | -              | =data x        | =data x        | -              | =data x        | -             | -
I S= R= P    | DM F | DM F            | -              | RR R+ F =data x | RR R+ F =data x | RNR R= F     | RR R+ F =data x | -            | RNR R= F
I S= R= F    | -    | -               | -              | =data x        | =data x        | -              | =data x        | -             | -
I S+ R=      | -    | -               | -              | REJ R=         | REJ R=         | -              | -              | -             | -
I S+ R= P    | DM F | DM F            | -              | REJ R= F       | REJ R= F       | RNR R= F       | RR R= F        | -             | RNR R= F
I S- R=      | -    | -               | -              | -              | -              | -              | -              | -             | -
I S- R= P    | DM F | DM F            | -              | RR R= F        | RR R= F        | RNR R= F       | RR R= F        | -             | RNR R= F
I S= R-      | -    | -               | -              | =data x        | =data x        | -              | =data x        | -             | -
I S= R- P    | DM F | DM F            | -              | RR R+ F =data x | RR R+ F =data x | RNR R= F     | RR R+ F =data x | -            | RNR R= F
I S= R!      | -    | -               | -              | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | -             | FRMR Z =fault
I S! R= P    | DM F | DM F            | -              | FRMR F V =fault | FRMR F V =fault | FRMR F V =fault | FRMR F V =fault | -          | FRMR F V =fault
I long       | -    | -               | -              | FRMR Y =fault  | FRMR Y =fault  | FRMR Y =fault  | FRMR Y =fault  | -             | FRMR Y =fault
cmd RR R=    | -    | -               | -              | -              | -              | -              | -              | -             | -
RR R= P      | DM F | DM F            | -              | RR R= F        | RR R= F        | RNR R= F       | RR R= F        | -             | RNR R= F
RR R=        | -    | -               | -              | -              | -              | -              | -              | -             | -
RR R= F      | -    | -               | -              | -              | -              | -              | -              | -             | -
RR R-        | -    | -               | -              | -              | -              | -              | -              | -             | -
RR R- P      | DM F | DM F            | -              | RR R= F        | RR R= F        | RNR R= F       | RR R= F        | -             | RNR R= F
RR R!        | -    | -               | -              | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | -             | FRMR Z =fault
RR R! P      | DM F | DM F            | -              | FRMR F Z =fault | FRMR F Z =fault | FRMR F Z =fault | FRMR F Z =fault | -          | FRMR F Z =fault
cmd RNR R=   | -    | -               | -              | -              | -              | -              | -              | -             | -
RNR R= P     | DM F | DM F            | -              | RR R= F        | RR R= F        | RNR R= F       | RR R= F        | -             | RNR R= F
RNR R=       | -    | -               | -              | -              | -              | -              | -              | -             | -
RNR R= F     | -    | -               | -              | -              | -              | -              | -              | -             | -
RNR R!       | -    | -               | -              | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | -             | FRMR Z =fault
cmd REJ R=   | -    | -               | -              | -              | -              | -              | -              | -             | -
REJ R= P     | DM F | DM F            | -              | RR R= F        | RR R= F        | RNR R= F       | RR R= F        | -             | RNR R= F
REJ R=       | -    | -               | -              | -              | -              | -              | -              | -             | -
REJ R= F     | -    | -               | -              | -              | -              | -              | -              | -             | -
REJ R!       | -    | -               | -              | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | FRMR Z =fault  | -             | FRMR Z =fault
TEST P       | TEST F | TEST F        | TEST F         | TEST F         | TEST F         | TEST F         | TEST F         | TEST F        | TEST F
cmd TEST     | TEST | TEST            | TEST           | TEST           | TEST           | TEST           | TEST           | TEST          | TEST
TEST F       | -    | -               | -              | -              | -              | -              | -              | -             | -
XID P        | XID F | XID F          | XID F          | XID F          | XID F          | XID F          | XID F          | XID F         | XID F
cmd XID      | XID  | XID             | XID            | XID            | XID            | XID            | XID            | XID           | XID
XID F        | -    | -               | -              | -              | -              | -              | -              | -             | -
cmd UI       | -    | -               | -              | -              | -              | -              | -              | -             | -
rsp UI       | -    | -               | -              | -              | -              | -              | -              | -             | -
rsp SABME    | -    | -               | -              | -              | -              | -              | -              | -             | -
rsp DISC     | -    | -               | -              | -              | -              | -              | -              | -             | -
cmd UA       | -    | -               | -              | -              | -              | -              | -              | -             | -
UA P         | DM F | DM F            | -              | -              | -              | -              | -              | -             | -
DM P         | DM F | DM F            | -              | -              | -              | -              | -              | -             | -
FRMR P       | DM F | DM F            | -              | -              | -              | -              | -              | -             | -
`

// inState makes a link of the state: V(R) 1, V(S) 1, V(A) 1 where it is up.
func inState(t *testing.T, name string) *script {
	cfg := Config{N1: 64, K: 4, RW: 8}
	if name == "PROOF" {
		cfg.SafeN1 = 32
	}
	s := newScript(t, cfg)
	switch name {
	case "ADM":
		return s
	case "ADM!":
		s.link.Expect()
		return s
	}
	s.link.Connect(s.now, &s.out)
	s.take()
	if name == "SETUP" {
		s.skip()
		return s
	}
	s.sleep(time.Millisecond)
	s.recv("UA F")
	if name != "PROOF" {
		s.recv("I S0 R0 P:x")
		s.send("y")
		s.recv("RR R1")
	}
	switch name {
	case "D_CONN":
		s.link.Disconnect(s.now, &s.out)
	case "AWAIT":
		s.wait(250 * time.Millisecond)
	case "BUSY":
		s.link.SetBusy(s.now, true, &s.out)
	case "REJECT":
		s.recv("I S2 R1:x")
	}
	s.take()
	s.skip()
	return s
}

// tableFrame makes the frame that a row means for the link.
func tableFrame(row string, l *Link) Frame {
	if row == "I long" {
		f := frame("I S0 R0:" + strings.Repeat("x", 61))
		f.NS, f.NR = l.recv.vr, l.send.va
		return f
	}
	ns, nr := 0, 0
	plain := row
	for mark, offset := range map[string]int{"S=": 0, "S+": 2, "S-": -1, "S!": 8} {
		if strings.Contains(row, mark) {
			ns = int(l.recv.vr) + offset
			plain = strings.Replace(plain, mark, "", 1)
		}
	}
	for mark, offset := range map[string]int{" R=": 0, " R-": -1, " R!": 1} {
		if strings.Contains(row, mark) {
			nr = int(l.send.va) + offset
			plain = strings.Replace(plain, mark, "", 1)
		}
	}
	f := frame(plain)
	f.NS, f.NR = uint8(ns+modulus)%modulus, uint8(nr+modulus)%modulus
	if f.Kind == I {
		f.Info = []byte("x")
	}
	if f.Kind == FRMR {
		f.Info = make([]byte, 5)
	}
	return f
}

func TestActionTable(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(actionTable), "\n")
	cells := func(row string) []string {
		c := strings.Split(row, "|")
		for i := range c {
			c[i] = strings.Join(strings.Fields(c[i]), " ")
		}
		return c
	}
	states := cells(rows[0])[1:]
	seen := map[Kind]map[bool]bool{}
	for _, row := range rows[1:] {
		c := cells(row)
		if len(c) != len(states)+1 {
			t.Fatalf("row %q has %d cells", row, len(c))
		}
		for i, state := range states {
			s := inState(t, state)
			f := tableFrame(c[0], s.link)
			if seen[f.Kind] == nil {
				seen[f.Kind] = map[bool]bool{}
			}
			seen[f.Kind][f.Response] = true
			checkCell(t, s, state, c[0], f, c[i+1])
		}
	}
	for k := range kinds {
		if !seen[k][false] || !seen[k][true] {
			t.Errorf("%s is in the table as command %v, as response %v", k, seen[k][false], seen[k][true])
		}
	}
}

// checkCell gives the frame to the link and compares what it does with the cell.
func checkCell(t *testing.T, s *script, state, row string, f Frame, cell string) {
	t.Helper()
	vr, before := s.link.recv.vr, s.link.State()
	s.link.HandleFrame(s.now, f, &s.out)
	s.take()
	got := strings.Join(s.got, " ")
	for i, g := range s.got { // the rejected control field is tested elsewhere
		if strings.HasPrefix(g, "FRMR") {
			s.got[i] = g[:strings.LastIndexByte(g, ' ')]
		}
	}
	got = strings.Join(s.got, " ")
	if after := s.link.State(); after != before {
		got = strings.TrimSpace(got + " >" + after)
	}
	want := strings.NewReplacer(
		"R=", frameNR(vr), "R+", frameNR(next(vr)), "-", "",
		"=gone", "=down disconnected by the peer >ADM", "=fault", "=down protocol error >ADM",
	).Replace(cell)
	if got != want {
		t.Errorf("%s in %s: got %q, want %q", row, state, got, want)
	}
}

func frameNR(n uint8) string { return Frame{Kind: RR, NR: n}.String()[3:] }
