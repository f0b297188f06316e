package x25

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// unhex reads hex with blanks.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden has one row per packet type, typed from protocol.md 4 and ISO 8208 clause 12; those marked 'captured' are the
// octets that two ends of another implementation exchanged.
var golden = []struct {
	hex    string
	packet Packet
	text   string
}{
	{ // captured
		"20 01 0b 33 22 21 11 06 42 07 07 43 02 02 01 00 00 00 68 65 6c 6c 6f",
		Packet{Kind: KindCall, LCI: 1, Called: "222", Calling: "111", Facilities: []byte{0x42, 7, 7, 0x43, 2, 2},
			UserData: []byte("\x01\x00\x00\x00hello")},
		`CALL lci 1 called "222" calling "111" fac 420707430202 data 0100000068656c6c6f`,
	},
	{ // captured
		"20 01 0f 00 06 42 07 07 43 02 02",
		Packet{Kind: KindAccept, LCI: 1, Facilities: []byte{0x42, 7, 7, 0x43, 2, 2}, UserData: []byte{}},
		"ACCEPT lci 1 fac 420707430202",
	},
	{"20 01 0f", Packet{Kind: KindAccept, LCI: 1}, "ACCEPT lci 1"},                                              // captured
	{"20 01 00 00 68 69", Packet{Kind: KindData, LCI: 1, UserData: []byte("hi")}, "DATA lci 1 ps 0 pr 0 len 2"}, // captured
	{ // captured
		"a0 01 02 01 68 69",
		Packet{Kind: KindData, LCI: 1, Q: true, M: true, PS: 1, UserData: []byte("hi")}, "DATA lci 1 ps 1 pr 0 M Q len 2",
	},
	{"20 01 01 02", Packet{Kind: KindRR, LCI: 1, PR: 1}, "RR lci 1 pr 1"}, // captured
	{"2f ff fe fe", Packet{Kind: KindData, LCI: 4095, PS: 127, PR: 127, UserData: []byte{}}, "DATA lci 4095 ps 127 pr 127 len 0"},
	{"60 0c 06 0b 78", Packet{Kind: KindData, LCI: 12, D: true, M: true, PS: 3, PR: 5, UserData: []byte("x")},
		"DATA lci 12 ps 3 pr 5 M D len 1"},
	{ // dnet's own call: fast select, window, packet size, marker, data size, C4 'DN' 1 and a service name
		"2f ff 0b 00 0d 01 80 43 7f 7f 42 0a 0a 00 00 7f 05 d1 c4 44 4e 01 01 04 64 61 74 65",
		Packet{Kind: KindCall, LCI: 4095,
			Facilities: []byte{1, 0x80, 0x43, 0x7f, 0x7f, 0x42, 10, 10, 0, 0, 0x7f, 0x05, 0xd1},
			UserData:   []byte("\xc4DN\x01\x01\x04date")},
		"CALL lci 4095 fac 0180437f7f420a0a00007f05d1 data c4444e01010464617465",
	},
	{"60 01 0b 00 00", Packet{Kind: KindCall, LCI: 1, D: true, Facilities: []byte{}, UserData: []byte{}}, "CALL lci 1 D"},
	{"20 07 0b 10 10 00", Packet{Kind: KindCall, LCI: 7, Calling: "1", Facilities: []byte{}, UserData: []byte{}},
		`CALL lci 7 called "" calling "1"`},
	{"20 07 0b 21 12 30 00", Packet{Kind: KindCall, LCI: 7, Called: "1", Calling: "23", Facilities: []byte{}, UserData: []byte{}},
		`CALL lci 7 called "1" calling "23"`},
	{"20 0c 13 0d 43", Packet{Kind: KindClear, LCI: 12, Cause: 0x0d, Diag: 67},
		"CLEAR lci 12 cause 0d (not obtainable) diag 67 (invalid called address)"},
	{"20 0c 13 00 f0 00 00 62 79 65", Packet{Kind: KindClear, LCI: 12, Diag: 0xf0, Facilities: []byte{}, UserData: []byte("bye")},
		"CLEAR lci 12 cause 00 (DTE originated) diag 240 (undelivered) data 627965"},
	{"20 0c 17", Packet{Kind: KindClearConfirm, LCI: 12}, "CLEAR CONFIRM lci 12"},
	{"20 0c 23 03", Packet{Kind: KindInterrupt, LCI: 12, UserData: []byte{3}}, "INTERRUPT lci 12 data 03"},
	{"20 0c 27", Packet{Kind: KindInterruptConfirm, LCI: 12}, "INTERRUPT CONFIRM lci 12"},
	{"20 0c 05 fe", Packet{Kind: KindRNR, LCI: 12, PR: 127}, "RNR lci 12 pr 127"},
	{"20 0c 09 00", Packet{Kind: KindREJ, LCI: 12}, "REJ lci 12 pr 0"},
	{"20 0c 1b 05 01", Packet{Kind: KindReset, LCI: 12, Cause: 5, Diag: 1},
		"RESET lci 12 cause 05 (local procedure error) diag 1 (invalid P(S))"},
	{"20 0c 1f", Packet{Kind: KindResetConfirm, LCI: 12}, "RESET CONFIRM lci 12"},
	{"20 00 fb 00 a1", Packet{Kind: KindRestart, Diag: 161}, "RESTART cause 00 (DTE originated) diag 161 (DTE operational)"},
	{"20 00 ff", Packet{Kind: KindRestartConfirm}, "RESTART CONFIRM"},
	{"20 00 f1 24 20 05 0b", Packet{Kind: KindDiagnostic, Diag: 36, UserData: []byte{0x20, 5, 0x0b}},
		"DIAGNOSTIC diag 36 (packet on unassigned logical channel) data 20050b"},
}

// prefilled is a buffer whose spare octets are not zero, so that one not written shows.
func prefilled() []byte {
	b := bytes.Repeat([]byte{0xa5}, 4096)
	return b[:1]
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		b := unhex(t, g.hex)
		p, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", g.hex, err)
			continue
		}
		if !reflect.DeepEqual(p, g.packet) {
			t.Errorf("%s parses as\n%#v, want\n%#v", g.hex, p, g.packet)
		}
		if got := g.packet.Append(prefilled())[1:]; !bytes.Equal(got, b) {
			t.Errorf("%s is appended as % x, want %s", g.text, got, g.hex)
		}
		if got := p.String(); got != g.text {
			t.Errorf("%s prints as\n%s, want\n%s", g.hex, got, g.text)
		}
	}
}

// The rows are named after what is wrong or unusual.
func TestParseErrors(t *testing.T) {
	for _, row := range []struct {
		name, hex string
		want      error
	}{
		{"nothing", "", ErrShort},
		{"one octet", "20", ErrShort},
		{"no type", "20 01", ErrShort},
		{"modulo 8 call, captured", "10 01 0b 33 22 21 11 06 42 07 07 43 02 02 01 00 00 00 68 65 6c 6c 6f", ErrModulo8},
		{"modulo 8 data, captured", "90 01 12", ErrModulo8},
		{"modulo 8, too short", "10 01", ErrModulo8},
		{"extended GFI", "30 01 0b 00 00", ErrGFI},
		{"no modulo", "00 01 0b 00 00", ErrGFI},
		{"A bit", "a0 01 0b 00 00", ErrGFI},
		{"D bit in a clear", "60 01 13 00 00", ErrGFI},
		{"D bit in an RR", "60 01 01 00", ErrGFI},
		{"data without P(R)", "20 01 00", ErrShort},
		{"RR without P(R)", "20 01 01", ErrShort},
		{"RR too long", "20 01 01 00 00", ErrLong},
		{"RR with bit 1 set", "20 01 01 03", ErrType},
		{"call without facility length", "20 01 0b 00", ErrShort},
		{"call: addresses, and no facility length (fuzz)", "61 30 0b 59 30 30 30 30 30 30 30", ErrShort},
		{"call: addresses cut", "20 01 0b 44 12", ErrShort},
		{"call: called address not decimal", "20 01 0b 02 a1 00", ErrCalled},
		{"call: calling address not decimal", "20 01 0b 20 1b 00", ErrCalling},
		{"call: facilities cut", "20 01 0b 00 03 01 80", ErrFacilityLength},
		{"call: 110 octets of facilities", "20 01 0b 00 6e" + strings.Repeat("00", 200), ErrFacilityLength},
		{"call: 129 octets of user data", "20 01 0b 00 00" + strings.Repeat("41", 129), ErrLong},
		{"clear without cause", "20 01 13", ErrShort},
		{"clear confirmation with user data", "20 01 17 00 00 41", ErrLong},
		{"reset too long", "20 01 1b 00 00 00", ErrLong},
		{"reset confirmation too long", "20 01 1f 00", ErrLong},
		{"interrupt of nothing", "20 01 23", ErrShort},
		{"interrupt of 33 octets", "20 01 23" + strings.Repeat("41", 33), ErrLong},
		{"interrupt confirmation too long", "20 01 27 00", ErrLong},
		{"restart without cause", "20 00 fb", ErrShort},
		{"restart confirmation too long", "20 00 ff 00", ErrLong},
		{"diagnostic without code", "20 00 f1", ErrShort},
		{"diagnostic too long", "20 00 f1 24 20 05 0b 00", ErrLong},
		{"registration request", "20 00 f3 00", ErrType},
		{"registration confirmation", "20 00 f7 00", ErrType},
		{"XOT permanent circuit set-up", "20 00 f5", ErrType},
		{"unknown type", "20 01 41 00", ErrType},
	} {
		_, err := Parse(unhex(t, row.hex))
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
		var f *FormatError
		if !errors.As(err, &f) || f.Diag == 0 {
			t.Errorf("%s: no diagnostic code", row.name)
		}
	}
}

// What parses, but is appended in another form.
func TestCanonical(t *testing.T) {
	for _, row := range []struct{ name, in, out string }{
		{"clear without diagnostic, captured in modulo 8", "20 01 13 00", "20 01 13 00 00"},
		{"reset without diagnostic", "20 01 1b 00", "20 01 1b 00 00"},
		{"restart without diagnostic", "20 00 fb 00", "20 00 fb 00 00"},
		{"accept with empty fields", "20 01 0f 00 00", "20 01 0f"},
		{"accept with addresses only", "20 01 0f 01 20", "20 01 0f 01 20 00"},
		{"clear with empty fields", "20 01 13 01 02 00 00", "20 01 13 01 02"},
		{"call with a pad that is not 0", "20 01 0b 01 1f 00", "20 01 0b 01 10 00"},
	} {
		p, err := Parse(unhex(t, row.in))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got := p.Append(nil); !bytes.Equal(got, unhex(t, row.out)) {
			t.Errorf("%s: % x, want %s", row.name, got, row.out)
		}
	}
}

// FuzzParse: no octets make it panic, and what parses is either appended as it was or in the canonical form, which stays.
func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.hex))
	}
	f.Add([]byte{0x20, 1, 0x13, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		_ = p.String()
		if err != nil {
			return
		}
		again := p.Append(prefilled())[1:]
		p2, err := Parse(again)
		if err != nil {
			t.Fatalf("% x is appended as % x: %v", b, again, err)
		}
		if third := p2.Append(nil); !bytes.Equal(third, again) {
			t.Fatalf("% x, then % x", again, third)
		}
		if !bytes.Equal(again, b) && !canonical(&p) {
			t.Fatalf("% x is appended as % x", b, again)
		}
	})
}

// canonical says that Parse documents another form for the packet.
func canonical(p *Packet) bool {
	switch p.Kind {
	case KindClear, KindReset, KindRestart:
		return p.Diag == 0 || p.Kind == KindClear
	case KindAccept, KindClearConfirm:
		return true
	case KindCall:
		return (len(p.Called)+len(p.Calling))%2 == 1
	}
	return false
}

func TestFacilities(t *testing.T) {
	for _, row := range []struct {
		name, hex string
		want      facilities
		diag      Diag
	}{
		{"none", "", facilities{}, 0},
		{"dnet's", "01 80 43 7f 7e 42 0a 0b 00 00 7f 05 d1",
			facilities{fastSelect: 0x80, window: [2]uint8{127, 126}, size: [2]uint8{10, 11}, data: 1489}, 0},
		{"reverse charging is nobody's concern", "01 01", facilities{}, 0},
		{"restricted response", "01 c0", facilities{fastSelect: 0xc0}, 0},
		{"unknown ones of each class", "04 01 44 00 01 80 01 02 03 c6 02 41 42 43 02 03", facilities{window: [2]uint8{2, 3}}, 0},
		{"7f before the marker is not dnet's", "7f 05 d1", facilities{}, 0},
		{"after the marker 00 0f nothing is dnet's", "00 0f 7f 05 d1 43 00 00 cb 01 00", facilities{}, 0},
		{"after the marker 00 00 window is not the standard's", "00 00 43 00 00 7f 00 01", facilities{data: 1}, 0},
		{"a credential", "00 00 7f 05 d1 c7 03 41 42 43", facilities{data: 1489, credential: "ABC"}, 0},
		{"a credential alone", "00 00 c7 01 41", facilities{credential: "A"}, 0},
		{"c7 before the marker is not dnet's", "c7 01 41", facilities{}, 0},
		{"a credential twice", "00 00 c7 01 41 c7 01 41", facilities{credential: "A"}, DiagDuplicate},
		{"a credential cut", "00 00 c7 30 41", facilities{}, DiagFacilityLength},
		{"window 0", "43 00 02", facilities{window: [2]uint8{0, 2}}, DiagFacility},
		{"window 128", "43 02 80", facilities{window: [2]uint8{2, 128}}, DiagFacility},
		{"size of 8 octets", "42 03 07", facilities{size: [2]uint8{3, 7}}, DiagFacility},
		{"data size 0", "00 00 7f 00 00", facilities{}, DiagFacility},
		{"twice", "43 02 02 43 02 02", facilities{window: [2]uint8{2, 2}}, DiagDuplicate},
		{"parameter cut", "43 02", facilities{}, DiagFacilityLength},
		{"length octet cut", "c6", facilities{}, DiagFacilityLength},
		{"longer than the field", "c6 05 41", facilities{}, DiagFacilityLength},
	} {
		got, diag := parseFacilities(unhex(t, row.hex))
		if diag != row.diag || diag == 0 && got != row.want {
			t.Errorf("%s: %+v diag %d, want %+v diag %d", row.name, got, diag, row.want, row.diag)
		}
	}
}

// The answer may move a value only towards the default, from the proposal (ISO 8208 15.2.2.1).
func TestNegotiation(t *testing.T) {
	cfg := Config{MaxPacket: 1493, Window: 20}.withDefaults()
	for _, row := range []struct{ name, in, out string }{
		{"both larger here and there", "43 7f 0a 42 0b 09", "43 14 0a 42 0a 09"},
		{"below the defaults stays", "43 01 01 42 04 04", "43 01 01 42 04 04"},
		{"not asked, not answered", "", ""},
		{"dnet's own is the smaller of both", "00 00 7f 10 00", "00 00 7f 05 d1"},
	} {
		f, diag := parseFacilities(unhex(t, row.in))
		a := cfg.answer(f)
		if got := a.append(nil); diag != 0 || !bytes.Equal(got, unhex(t, row.out)) {
			t.Errorf("%s: % x, want %s", row.name, got, row.out)
		}
	}
	small := Config{MaxPacket: 1493, Window: 1, MaxUserData: 16}.withDefaults()
	if a := small.answer(facilities{window: [2]uint8{5, 5}, size: [2]uint8{9, 9}}); a.window[0] != 2 || a.size[0] != 7 {
		t.Errorf("an answer went beyond the defaults: %+v", a)
	}
	own := cfg.propose(fromCalled)
	for _, row := range []struct {
		name, hex string
		diag      Diag
	}{
		{"silence is consent", "", 0},
		{"down to the defaults", "43 02 02 42 07 07 00 00 7f 00 01", 0},
		{"window above the proposal", "43 15 02", DiagFacility},
		{"window beyond the default", "43 01 02", DiagFacility},
		{"size above the proposal", "42 0b 0a", DiagFacility},
		{"size beyond the default", "42 06 0a", DiagFacility},
		{"data size above the proposal", "00 00 7f 05 d2", DiagFacility},
	} {
		a, diag := parseFacilities(unhex(t, row.hex))
		if diag == 0 {
			_, diag = own.settle(a)
		}
		if diag != row.diag {
			t.Errorf("%s: diag %d, want %d", row.name, diag, row.diag)
		}
	}
}

// protocol.md 4: W and size are chosen so that W × size is 128 to 512 KiB where W ≤ 127 allows.
func TestWindowChoice(t *testing.T) {
	for packet := minPacket; packet < 66000; packet += 37 {
		cfg := Config{MaxPacket: packet}.withDefaults()
		octets := cfg.Window * cfg.MaxUserData
		if octets > 512<<10 || octets < 128<<10 && cfg.Window < 127 {
			t.Fatalf("packets of %d octets: window %d × %d = %d", packet, cfg.Window, cfg.MaxUserData, octets)
		}
	}
}
