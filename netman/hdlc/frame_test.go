package hdlc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// goldenFrames are PDUs octet for octet (IEEE 802.2 5.4; the same that Wireshark shows).
var goldenFrames = []struct {
	hex   string
	frame Frame
	text  string
}{
	{"7e 7e 06 0a 10 0c 0b", Frame{0x7e, 0x7e, false, I, false, 3, 5, []byte{0x10, 0x0c, 0x0b}}, "I S3 R5"},
	{"7e 7e 06 0b 10 0c 0b", Frame{0x7e, 0x7e, false, I, true, 3, 5, []byte{0x10, 0x0c, 0x0b}}, "I S3 R5 P"},
	{"7e 7f fe ff 00", Frame{0x7e, 0x7e, true, I, true, 127, 127, []byte{0}}, "I S127 R127 F"},
	{"7e 7e 00 00", Frame{0x7e, 0x7e, false, I, false, 0, 0, nil}, "I S0 R0"},
	{"7e 7f 01 08", Frame{0x7e, 0x7e, true, RR, false, 0, 4, nil}, "RR R4"},
	{"7e 7f 01 09", Frame{0x7e, 0x7e, true, RR, true, 0, 4, nil}, "RR R4 F"},
	{"7e 7e 01 09", Frame{0x7e, 0x7e, false, RR, true, 0, 4, nil}, "RR R4 P"},
	{"7e 7e 05 fe", Frame{0x7e, 0x7e, false, RNR, false, 0, 127, nil}, "RNR R127"},
	{"7e 7f 09 01", Frame{0x7e, 0x7e, true, REJ, true, 0, 0, nil}, "REJ R0 F"},
	{"7e 7e 6f", Frame{0x7e, 0x7e, false, SABME, false, 0, 0, nil}, "SABME"},
	{"7e 7e 7f", Frame{0x7e, 0x7e, false, SABME, true, 0, 0, nil}, "SABME P"},
	{"7e 7e 43", Frame{0x7e, 0x7e, false, DISC, false, 0, 0, nil}, "DISC"},
	{"7e 7e 53", Frame{0x7e, 0x7e, false, DISC, true, 0, 0, nil}, "DISC P"},
	{"7e 7f 63", Frame{0x7e, 0x7e, true, UA, false, 0, 0, nil}, "UA"},
	{"7e 7f 73", Frame{0x7e, 0x7e, true, UA, true, 0, 0, nil}, "UA F"},
	{"7e 7f 0f", Frame{0x7e, 0x7e, true, DM, false, 0, 0, nil}, "DM"},
	{"7e 7f 1f", Frame{0x7e, 0x7e, true, DM, true, 0, 0, nil}, "DM F"},
	{"7e 7f 87 06 0a 04 03 08", Frame{0x7e, 0x7e, true, FRMR, false, 0, 0, []byte{6, 10, 4, 3, 8}}, "FRMR Z 060a"},
	{"7e 7f 97 06 0a 04 03 1f", Frame{0x7e, 0x7e, true, FRMR, true, 0, 0, []byte{6, 10, 4, 3, 31}}, "FRMR F WXYZV 060a"},
	{"45 44 03 01 02", Frame{0x45, 0x44, false, UI, false, 0, 0, []byte{1, 2}}, "UI"},
	{"44 45 13", Frame{0x44, 0x44, true, UI, true, 0, 0, nil}, "UI F"},
	{"7e 7e bf 81 03 7e", Frame{0x7e, 0x7e, false, XID, true, 0, 0, []byte{0x81, 3, 0x7e}}, "XID P"},
	{"7e 7f af", Frame{0x7e, 0x7e, true, XID, false, 0, 0, nil}, "XID"},
	{"7e 7e f3 aa bb", Frame{0x7e, 0x7e, false, TEST, true, 0, 0, []byte{0xaa, 0xbb}}, "TEST P"},
	{"7e 7f e3", Frame{0x7e, 0x7e, true, TEST, false, 0, 0, nil}, "TEST"},
}

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range goldenFrames {
		pdu := octets(t, g.hex)
		f, err := Parse(pdu)
		if err != nil {
			t.Errorf("%s: %v", g.hex, err)
			continue
		}
		if len(f.Info) == 0 {
			f.Info = nil
		}
		if !reflect.DeepEqual(f, g.frame) {
			t.Errorf("%s parses as %+v, want %+v", g.hex, f, g.frame)
		}
		if got := g.frame.String(); got != g.text {
			t.Errorf("%s prints as %q, want %q", g.hex, got, g.text)
		}
		buf := bytes.Repeat([]byte{0xa5}, 40)
		if got := g.frame.Append(buf[:2]); !bytes.Equal(got[2:], pdu) || got[0] != 0xa5 || got[1] != 0xa5 {
			t.Errorf("%s appends as %x", g.text, got[2:])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct {
		hex  string
		want error
		why  string
	}{
		{"", ErrShort, "nothing"},
		{"7e 7e", ErrShort, "no control field"},
		{"7e 7e 00", ErrShort, "half an I control field"},
		{"7e 7f 01", ErrShort, "half an RR control field"},
		{"7e 7e 0d 00", ErrControl, "SREJ, which LLC2 has not"},
		{"7e 7e 11 00", ErrControl, "reserved bits of an S frame"},
		{"7e 7e 2f", ErrControl, "SABM, modulo 8"},
		{"7e 7e ff", ErrControl, "no such U frame"},
		{"7e 7f 01 08 00", ErrInfo, "RR with information"},
		{"7e 7e 7f 00", ErrInfo, "SABME with information"},
		{"7e 7f 73 00", ErrInfo, "UA with information"},
	} {
		if f, err := Parse(octets(t, row.hex)); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, %v, want %v", row.why, f, err, row.want)
		}
	}
}

// FuzzParse: nothing panics, and what parses is appended again octet for octet.
func FuzzParse(f *testing.F) {
	for _, g := range goldenFrames {
		f.Add(octets(f, g.hex))
	}
	f.Fuzz(func(t *testing.T, pdu []byte) {
		frame, err := Parse(pdu)
		if err != nil {
			return
		}
		if got := frame.Append(nil); !bytes.Equal(got, pdu) {
			t.Errorf("%x parses as %v, which appends as %x", pdu, frame, got)
		}
		_ = frame.String()
	})
}

// FuzzLink gives a link arbitrary frames, time and requests. Each operation is: what to do, one octet, and what it needs. Check
// holds after every step, what is delivered was in sequence, and all buffers come back.
func FuzzLink(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x03\x03\x04\x05"))
	f.Add([]byte{0, 7, 8, 0, 0, 3, 3, 3, 2, 100, 8, 1, 1, 2, 200, 9, 9, 1, 4, 5, 6})
	f.Add([]byte{1, 8, 4, 1, 0, 8, 0, 0, 0, 8, 0, 0, 2, 3, 3, 3, 8, 3, 0, 1, 2, 50, 2, 50, 2, 50})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) <= 2000 {
			fuzzLink(t, script)
		}
	})
}

// TestLinkUnderRandomFrames is FuzzLink with random operations, the same at each run.
func TestLinkUnderRandomFrames(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		script := make([]byte, 600)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		fuzzLink(t, script)
	}
}

// fuzzLink runs the operations on one link.
func fuzzLink(t *testing.T, script []byte) {
	s := newScript(t, Config{N1: 24, SafeN1: 16, K: 5, RW: 7, Headroom: 3})
	octet := func() byte {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return b
	}
	for len(script) > 0 {
		fuzzStep(s, octet)
		s.take()
		s.skip()
	}
	s.link.Disconnect(s.now, &s.out)
	s.take()
	s.wait(defaultTolerance * 40)
	if used := s.link.cfg.Slab.Used(); used != 0 || s.link.state != adm {
		t.Errorf("at the end in %s, %d buffers out", s.link.State(), used)
	}
}

// fuzzStep does one operation.
func fuzzStep(s *script, octet func() byte) {
	l := s.link
	switch op := octet(); op % 12 {
	case 0:
		l.Expect()
	case 1:
		l.Connect(s.now, &s.out)
	case 2:
		s.wait(1 << (octet() % 32)) // up to 2 s
	case 3:
		if l.Room() > 0 {
			l.Send(s.now, append(l.Buffer(), make([]byte, octet()%13)...), octet()&1 == 0, &s.out)
		}
	case 4:
		l.SetBusy(s.now, octet()&1 == 0, &s.out)
	case 5:
		if octet() < 10 {
			l.Disconnect(s.now, &s.out)
		}
	case 6:
		s.sleep(1 << (octet() % 34))
		l.HandleTimeout(s.now, &s.out)
	case 7: // octets as they are
		pdu := make([]byte, octet()%40)
		for i := range pdu {
			pdu[i] = octet()
		}
		if f, err := Parse(pdu); err == nil {
			l.HandleFrame(s.now, f, &s.out)
		}
	default: // numbers near those in use
		how := octet()
		f := Frame{DSAP: SAPX25, SSAP: SAPX25, Kind: Kind(op/12) % kinds, Response: how&1 != 0, PF: how&2 != 0}
		f.NS = uint8(int(l.recv.vr)+int(int8(octet()))%8+modulus) % modulus
		f.NR = uint8(int(l.send.va)+int(int8(octet()))%8+modulus) % modulus
		if how&4 != 0 {
			f.NR = l.send.va
		}
		if f.Kind == I || f.Kind == TEST || f.Kind == FRMR {
			f.Info = make([]byte, octet()%24)
			for i := range f.Info {
				f.Info[i] = byte(i + 3)
			}
		}
		before := l.recv.vr
		l.HandleFrame(s.now, f, &s.out)
		for _, e := range s.out.Events {
			if e.Kind == Data && f.NS != before {
				s.t.Fatalf("V(R) %d, delivered N(S) %d", before, f.NS)
			}
		}
	}
}
