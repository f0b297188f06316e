package x25

import (
	"fmt"
	"strings"
	"testing"
)

// The action tables, cell by cell, as a station reads them that sees its peer as the DTE (doc.go has the states). They are
// typed from the tables of X.25 annex C as known from implementations and from the diagnostic codes 17 to 29, which name
// the states; the tables of the annex were not at hand (of the text of 1992 only their introduction was), nor the DTE to DTE
// tables of ISO 8208. The diagnostic codes are those of a reprint of ISO 8208 table 14-B.
//
// Behind a row stands what its cells were checked against, cell by cell: where it agrees, where it differs, and the rest, which
// nothing at hand says anything about, as "unchecked".
//
//	B  4.4BSD, sys/netccitt/pk_input.c as OpenBSD had it in 2002, a DTE: p2, p3, p4, p7 (its RECEIVED_CALL, SENT_CALL,
//	   DATA_TRANSFER, SENT_CLEAR), d1 and d3; what it does not expect in them it clears with 33, whatever the state
//	L  Linux 6.1, net/x25/x25_in.c, x25_link.c and x25_dev.c, a DTE: r1, r3, p2, p3, p4, p7 (its 5, 1, 3, 2), d1 and d3 (3, 4);
//	   what it does not expect it ignores without a word
//	H  Hewlett-Packard's X.25 manual, appendix C, tables C-1 to C-3: which code is sent by restart, clear or reset for what. It has
//	   17; 20 to 25; 27 and 29; 33 and 38 by all three; and, unlike here, 33 for REJ and registration
//
// A restart in r3 is a confirmation in L, and in B unless its cause says that a DTE sent it: then B restarts anew, to find who is to
// have which role (ISO 8208 4.5), which here the addresses decide.
//
// p1 in B and L is where no circuit is. p5, p6, r2 and d2 are no states of theirs that a packet can find; H names p5 and p6.
//
// A cell is the state entered ("p6"); "D" discard; "E p7 20": enter the state by sending its request with the diagnostic;
// "diag 33": discard and send a diagnostic packet.

var restartTable = []struct {
	packet string
	cells  [3]string // r1, r2, r3
}{
	{"restart", [3]string{"r2", "D", "r1"}},                            // r1, r3: B, L (see above); r2 unchecked
	{"restart confirm", [3]string{"E r3 17", "E r3 18", "r1"}},         // r1: B, L, H; r3: B, L; r2 unchecked
	{"restart on lci 1", [3]string{"E r3 41", "E r3 41", "D"}},         // unchecked, but for the meaning of 41; B and L discard it where no circuit is
	{"restart confirm on lci 1", [3]string{"E r3 41", "E r3 41", "D"}}, // likewise
	{"diagnostic", [3]string{"D", "E r3 33", "D"}},                     // r1: B and L log it; r3: B, L; r2 unchecked
	// From here on r3: B; r1: B and L discard and log; that a diagnostic packet tells of it, its codes, and r2 are unchecked. H restarts
	// with 33 where here 33 is reported.
	{"registration request", [3]string{"diag 33", "E r3 33", "D"}},
	{"registration confirm", [3]string{"diag 33", "E r3 33", "D"}},
	{"unknown", [3]string{"diag 33", "E r3 33", "D"}},
	{"call on lci 0", [3]string{"diag 36", "E r3 33", "D"}},
	{"data on lci 0", [3]string{"diag 36", "E r3 33", "D"}},
	{"call on lci 1", [3]string{"call table", "E r3 18", "D"}}, // r3: B; r2 unchecked
	{"data on lci 1", [3]string{"call table", "E r3 18", "D"}}, // likewise
}

var restartPackets = map[string]string{
	"restart": "20 00 fb 00 00", "restart confirm": "20 00 ff", "restart on lci 1": "20 01 fb 00 00",
	"restart confirm on lci 1": "20 01 ff", "diagnostic": "20 00 f1 24", "registration request": "20 00 f3",
	"registration confirm": "20 00 f7", "unknown": "20 00 41", "call on lci 0": "20 00 0b 00 00",
	"data on lci 0": "20 00 00 00", "call on lci 1": "20 01 0b 00 00", "data on lci 1": "20 01 00 00",
}

func TestRestartTable(t *testing.T) {
	for _, row := range restartTable {
		for i, cell := range row.cells {
			state := fmt.Sprintf("r%d", i+1)
			t.Run(state+"/"+row.packet, func(t *testing.T) {
				s := newScript(t, Config{Role: DCE})
				s.l.LinkUp(s.now, &s.out)
				s.next()
				if state != "r3" {
					s.recv(Packet{Kind: KindRestart})
				}
				if state == "r2" {
					s.recv(Packet{Kind: KindRestart})
				}
				s.out.Reset()
				before := s.l.Stats()
				s.recvBytes(unhex(t, restartPackets[row.packet]))
				s.checkRestartCell(cell, state, before)
			})
		}
	}
}

func (s *script) checkRestartCell(cell, state string, before Stats) {
	s.t.Helper()
	dropped := s.l.Stats()[DropState] + s.l.Stats()[DropLevel] - before[DropState] - before[DropLevel]
	var n int
	switch {
	case cell == "D":
		if s.l.State() != state || dropped != 1 {
			s.t.Fatalf("state %s, %d discarded", s.l.State(), dropped)
		}
	case cell == "call table":
		if s.l.State() != "r1" || s.l.table.get(1) == nil {
			s.t.Fatalf("state %s", s.l.State())
		}
	case strings.HasPrefix(cell, "diag "):
		fmt.Sscanf(cell, "diag %d", &n)
		if s.l.State() != state || dropped != 1 {
			s.t.Fatalf("state %s, %d discarded", s.l.State(), dropped)
		}
		s.want("reports it", fmt.Sprintf("DIAGNOSTIC diag %d …", n))
	case strings.HasPrefix(cell, "E r3 "):
		fmt.Sscanf(cell, "E r3 %d", &n)
		if s.l.State() != "r3" {
			s.t.Fatalf("state %s", s.l.State())
		}
		s.want("restarts", fmt.Sprintf("RESTART cause 01 (local procedure error) diag %d …", n))
		s.recv(Packet{Kind: KindRestartConfirm})
		s.event("is ready again", "restarted")
	case cell == "r2":
		if s.l.State() != "r2" {
			s.t.Fatalf("state %s", s.l.State())
		}
		s.want("confirms", "RESTART CONFIRM")
		s.event("is ready again", "restarted")
	case cell == "r1":
		s.event("is ready", "restarted")
		s.idle("a collision is a confirmation")
	}
}

// callTable is for the role DCE. Where the DTE differs, differs says so.
//
// All rows: p7 discards what is neither clear nor its confirmation: B, L. "E p7 20" to "E p7 25": H, which has these codes for a packet
// that is invalid in p1 to p6, sent by clear; B clears with 33 in their place. p5 beside that unchecked: no table for it was at hand, and
// that the DTE's call stands while the DCE's moves to another channel is typed from memory of X.25 4.1.6 and ISO 8208 5.2.5.
var callTable = []struct {
	packet string
	cells  [7]string // p1 to p7
}{
	// p1: B, L; p3: B ignores it, for its call stands, L clears with 72.
	{"call", [7]string{"p2", "E p7 21", "p5", "E p7 23", "E p7 24", "E p7 25", "D"}},
	{"accept", [7]string{"E p7 20", "E p7 21", "p4", "E p7 23", "E p7 24", "E p7 25", "D"}}, // p3: B, L; p7: B by name
	// p1: B; p2, p3, p4: B, L; p7: B, which says nothing more, as here, while L confirms it as well; p6 unchecked.
	{"clear", [7]string{"p6", "p6", "p6", "p6", "p6", "D", "p1"}},
	{"clear confirm", [7]string{"E p7 20", "E p7 21", "E p7 22", "E p7 23", "E p7 24", "E p7 25", "p1"}}, // p7: B, L; p1: B ignores it
	{"data", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"rr", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"rnr", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"rej", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"interrupt", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"interrupt confirm", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"reset", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	{"reset confirm", [7]string{"E p7 20", "E p7 21", "E p7 22", "data table", "E p7 24", "E p7 25", "D"}},
	// What is no packet, on a channel (before the tables). 33 and 38 by clear: H, B (33). 40, and which of them counts when there are
	// two, unchecked; so is "diag 40" in p1.
	{"unknown", [7]string{"E p7 33", "E p7 33", "E p7 33", "data table", "E p7 33", "E p7 33", "D"}},
	{"too short", [7]string{"E p7 38", "E p7 38", "E p7 38", "data table", "E p7 38", "E p7 38", "D"}},
	{"bad gfi", [7]string{"diag 40", "E p7 40", "E p7 40", "data table", "E p7 40", "E p7 40", "D"}},
	{"call too short", [7]string{"E p7 38", "E p7 38", "E p7 38", "E p7 38", "E p7 38", "E p7 38", "D"}},
}

// differs has the cells of the DTE's table that are not as the DCE's: in a collision its call stands, and is answered.
var differs = map[string]string{"p5/accept": "p4"}

var circuitPackets = map[string]string{
	"call": "0b 00 00", "accept": "0f", "clear": "13 00 00", "clear confirm": "17", "data": "00 00", "rr": "01 00", "rnr": "05 00",
	"rej": "09 00", "interrupt": "23 41", "interrupt confirm": "27", "reset": "1b 00 00", "reset confirm": "1f",
	"unknown": "41", "too short": "", "call too short": "0b",
}

func onLCI(t *testing.T, lci uint16, packet string) []byte {
	if packet == "bad gfi" {
		return []byte{0x30 | byte(lci>>8), byte(lci), 0, 0}
	}
	return append([]byte{0x20 | byte(lci>>8), byte(lci)}, unhex(t, circuitPackets[packet])...)
}

// inState brings a level to the state, with the circuit, if there is one, and its channel. caller says who called where that
// can be either.
func inState(t *testing.T, role Role, state string, caller bool) (*script, *Circuit, uint16) {
	s := readyScript(t, Config{Role: role})
	var c *Circuit
	switch state {
	case "p1":
		return s, nil, 9
	case "p2":
		s.recvBytes(onLCI(t, 9, "call"))
		c = s.event("hears of the call", "incoming")
	case "p3", "p5":
		c = s.placed()
	default:
		if caller {
			c = s.calling()
		} else {
			c = s.called(9, 4)
		}
	}
	lci := c.LCI()
	switch state {
	case "p5":
		s.recvBytes(onLCI(t, lci, "call"))
		if role == DCE {
			c = s.event("hears of the peer's call", "incoming")
			s.want("places its own on another channel", "CALL lci 2…")
		}
	case "p6":
		s.recvBytes(onLCI(t, lci, "clear"))
		s.event("is cleared", "cleared 00 0")
	case "p7":
		c.Clear(s.now, 0, 0, nil, &s.out)
		s.want("clears", fmt.Sprintf("CLEAR lci %d…", lci))
	case "d2":
		s.recvBytes(onLCI(t, lci, "reset"))
		s.event("is reset", "reset 00 0")
	case "d3":
		c.Reset(s.now, 0, 0)
		s.want("resets", fmt.Sprintf("RESET lci %d…", lci))
	}
	if len(state) == 2 && state[0] == 'd' {
		state = "p4/" + state
	} else if state == "p4" {
		state = "p4/d1"
	}
	s.state("is where the test wants it", c, state)
	return s, c, lci
}

func TestCallTable(t *testing.T) {
	for _, role := range []Role{DTE, DCE} {
		for _, row := range callTable {
			for i, cell := range row.cells {
				state := fmt.Sprintf("p%d", i+1)
				if d, ok := differs[state+"/"+row.packet]; ok && role == DTE {
					cell = d
				}
				for _, caller := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/caller=%v", role, state, row.packet, caller), func(t *testing.T) {
						s, c, lci := inState(t, role, state, caller)
						before := s.l.Stats()[DropState]
						s.recvBytes(onLCI(t, lci, row.packet))
						s.checkCallCell(cell, state, c, lci, s.l.Stats()[DropState]-before)
					})
				}
			}
		}
	}
}

// live says whether a program holds a circuit in the state.
func live(state string) bool { return state != "p1" && state != "p6" && state != "p7" }

func (s *script) checkCallCell(cell, state string, c *Circuit, lci uint16, dropped uint64) {
	s.t.Helper()
	now := s.l.table.get(lci)
	var n int
	switch {
	case cell == "D":
		if dropped != 1 || now.state.String() != state {
			s.t.Fatalf("%d discarded, state %s", dropped, now.State())
		}
		s.event("nobody hears of it")
	case cell == "p1":
		if now != nil {
			s.t.Fatalf("state %s", now.State())
		}
		s.idle("a collision is a confirmation")
	case cell == "data table":
	case strings.HasPrefix(cell, "diag "):
		fmt.Sscanf(cell, "diag %d", &n)
		s.want("reports it", fmt.Sprintf("DIAGNOSTIC diag %d …", n))
	case strings.HasPrefix(cell, "E p7 "):
		fmt.Sscanf(cell, "E p7 %d", &n)
		if live(state) {
			s.event("the program is told", fmt.Sprintf("cleared 11 %d", n))
		}
		s.state("is being cleared", now, "p7")
		s.want("clears", fmt.Sprintf("CLEAR lci %d cause 13 (local procedure error) diag %d …", lci, n))
		s.recvBytes(onLCI(s.t, lci, "clear confirm"))
		if s.l.table.get(lci) != nil {
			s.t.Fatal("the channel is not free after the confirmation")
		}
	case cell == "p6":
		if live(state) {
			s.event("the program is told", "cleared 00 0")
		}
		s.state("is being cleared", now, "p6")
		s.want("confirms", fmt.Sprintf("CLEAR CONFIRM lci %d", lci))
		if s.l.table.get(lci) != nil {
			s.t.Fatal("the channel is not free after the confirmation")
		}
	case cell == "p5" && s.l.cfg.Role == DTE:
		s.state("its call stands", c, "p5")
		s.event("nobody hears of it")
		s.idle("it ignores the peer's")
	case cell == "p5":
		s.state("its own call left", c, "p3")
		s.state("the peer's call is served", s.event("hears of it", "incoming"), "p5")
		s.want("places its own on another channel", "CALL lci 2…")
	case cell == "p4":
		s.state("is connected", c, "p4/d1")
		s.event("the program is told", "connected")
	default:
		s.state("is where the table says", now, cell)
	}
}

// All rows: d3 discards what is neither reset, its confirmation nor of the call table: B, L. d2: unchecked; H has
// no 28, nor 18 and 26. 27 for d1: H.
var dataTable = []struct {
	packet string
	cells  [3]string // d1, d2, d3
}{
	// d1: B, L; d3: L, but that it confirms as well, while B ignores it and waits for the confirmation.
	{"reset", [3]string{"d2", "D", "d1"}},
	{"reset confirm", [3]string{"E d3 27", "E d3 28", "d1"}},    // d1: H; B resets with 32; d3: B, L
	{"data", [3]string{"data", "E d3 28", "D"}},                 // d1: B, L
	{"rr", [3]string{"nothing", "E d3 28", "D"}},                // d1: B, L
	{"rnr", [3]string{"nothing", "E d3 28", "D"}},               // d1: B, L
	{"interrupt", [3]string{"confirm", "E d3 28", "D"}},         // d1: B, L
	{"interrupt confirm", [3]string{"E d3 43", "E d3 28", "D"}}, // d1: B; L takes it
	{"rej", [3]string{"E d3 37", "E d3 37", "D"}},               // d1: the meaning of 37; H resets with 33
	{"unknown", [3]string{"E d3 33", "E d3 33", "D"}},           // d1: H; B clears with 33
	{"too short", [3]string{"E d3 38", "E d3 38", "D"}},         // d1: H
	{"bad gfi", [3]string{"E d3 40", "E d3 40", "D"}},           // unchecked, but for the meaning of 40
	// The call table in p4, whatever the state of reset. Clear in d1 and d3: B, L; the others in d1: as there.
	{"call", [3]string{"E p7 23", "E p7 23", "E p7 23"}},
	{"accept", [3]string{"E p7 23", "E p7 23", "E p7 23"}},
	{"clear confirm", [3]string{"E p7 23", "E p7 23", "E p7 23"}},
	{"clear", [3]string{"p6", "p6", "p6"}},
	{"call too short", [3]string{"E p7 38", "E p7 38", "E p7 38"}},
}

func TestDataTable(t *testing.T) {
	for _, role := range []Role{DTE, DCE} {
		for _, row := range dataTable {
			for i, cell := range row.cells {
				state := fmt.Sprintf("d%d", i+1)
				for _, caller := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/caller=%v", role, state, row.packet, caller), func(t *testing.T) {
						s, c, lci := inState(t, role, state, caller)
						before := s.l.Stats()[DropState]
						s.recvBytes(onLCI(t, lci, row.packet))
						if cell[0] == 'p' || strings.HasPrefix(cell, "E p") {
							s.checkCallCell(cell, "p4", c, lci, 0)
							return
						}
						s.checkDataCell(cell, state, c, lci, s.l.Stats()[DropState]-before)
					})
				}
			}
		}
	}
}

func (s *script) checkDataCell(cell, state string, c *Circuit, lci uint16, dropped uint64) {
	s.t.Helper()
	var n int
	switch {
	case cell == "D":
		s.state("stays", c, "p4/"+state)
		s.event("nobody hears of it")
		if dropped != 1 {
			s.t.Fatalf("%d discarded", dropped)
		}
	case cell == "d2":
		s.event("the program is told", "reset 00 0")
		s.state("serves it", c, "p4/d2")
		s.want("confirms", fmt.Sprintf("RESET CONFIRM lci %d", lci))
		s.state("goes on", c, "p4/d1")
	case cell == "d1":
		s.state("goes on", c, "p4/d1")
		s.idle("a collision is a confirmation")
	case strings.HasPrefix(cell, "E d3 "):
		fmt.Sscanf(cell, "E d3 %d", &n)
		s.event("the program is told", fmt.Sprintf("reset 03 %d", n))
		s.state("resets", c, "p4/d3")
		s.want("resets", fmt.Sprintf("RESET lci %d cause 05 (local procedure error) diag %d …", lci, n))
		s.recvBytes(onLCI(s.t, lci, "reset confirm"))
		s.state("goes on", c, "p4/d1")
	case cell == "data":
		s.event("the program is told", "data")
	case cell == "nothing":
		s.event("nobody hears of it")
		s.idle("is no news")
	case cell == "confirm":
		s.event("the program is told", `interrupt "A"`)
		s.want("confirms at once", fmt.Sprintf("INTERRUPT CONFIRM lci %d", lci))
	}
}

// Every pair is in the tables.
func TestTablesAreComplete(t *testing.T) {
	kinds := []string{"call", "accept", "clear", "clear confirm", "data", "rr", "rnr", "rej", "interrupt", "interrupt confirm",
		"reset", "reset confirm"}
	call, data := map[string]bool{}, map[string]bool{}
	for _, row := range callTable {
		call[row.packet] = true
		for i, cell := range row.cells {
			if cell == "" {
				t.Errorf("%s in p%d", row.packet, i+1)
			}
		}
	}
	for _, row := range dataTable {
		data[row.packet] = true
		for i, cell := range row.cells {
			if cell == "" {
				t.Errorf("%s in d%d", row.packet, i+1)
			}
		}
	}
	for _, k := range kinds {
		if !call[k] || !data[k] {
			t.Errorf("no row for %s", k)
		}
	}
}
