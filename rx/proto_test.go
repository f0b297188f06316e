package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dnet/circuit"
	"dnet/session"
)

// messages is typed from protocol.md 6: the octets of each Q datagram and what they mean.
var messages = []struct {
	meaning string
	octets  string
	kind    kind
	value   string
}{
	{"start: version 1, command `ls`", "01 01 01 00000002 6c73", kindStart, "\x01\x01\x00\x00\x00\x02ls"},
	{"end of input", "02", kindEnd, ""},
	{"error output `no`", "03 6e6f", kindStderr, "no"},
	{"exit status 3", "04 03", kindStatus, "\x03"},
	{"killed by SIGTERM", "04 8f 5445524d", kindStatus, "\x8fTERM"},
	{"failed: `why`", "05 776879", kindFailed, "why"},
	{"credit for 131072 octets of input", "06 00 00020000", kindCredit, "\x00\x00\x02\x00\x00"},
	{"credit for 131072 octets of output", "06 01 00020000", kindCredit, "\x01\x00\x02\x00\x00"},
	{"credit for 196608 octets of error output", "06 02 00030000", kindCredit, "\x02\x00\x03\x00\x00"},
	{"nobody reads the output", "07 01", kindClosed, "\x01"},
	{"nobody reads the error output", "07 02", kindClosed, "\x02"},
	{"the terminal has 24 rows and 80 columns now", "08 0018 0050 0000 0000", kindSize, "\x00\x18\x00\x50\x00\x00\x00\x00"},
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessages(t *testing.T) {
	for _, m := range messages {
		b := octets(t, m.octets)
		if got := message(m.kind, []byte(m.value)...); !bytes.Equal(got, b) {
			t.Errorf("%s: written as %x, want %x", m.meaning, got, b)
		}
		r := receiver{next: script(piece{b, circuit.Q})}
		if k, v, err := r.receive(); k != m.kind || string(v) != m.value || err != nil {
			t.Errorf("%s: read as type %d %q, %v", m.meaning, k, v, err)
		}
	}
}

// TestProtocolText: the examples of the document are these messages.
func TestProtocolText(t *testing.T) {
	text, err := os.ReadFile("../doc/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if !regexp.MustCompile(`(?m)^` + m.octets + `\b`).Match(text) {
			t.Errorf("the text does not have the example %q (%s)", m.octets, m.meaning)
		}
	}
}

type piece struct {
	octets []byte
	bits   circuit.Bits
}

// script is a circuit that delivers these pieces.
func script(pieces ...piece) func() ([]byte, circuit.Bits, error) {
	return func() ([]byte, circuit.Bits, error) {
		if len(pieces) == 0 {
			return nil, 0, io.EOF
		}
		p := pieces[0]
		pieces = pieces[1:]
		return p.octets, p.bits, nil
	}
}

// TestPieces: datagrams may be cut anywhere.
func TestPieces(t *testing.T) {
	const Q, M = circuit.Q, circuit.M
	r := receiver{next: script(
		piece{nil, 0},
		piece{[]byte("in"), M}, piece{[]byte("put"), 0},
		piece{nil, Q | M}, piece{[]byte{4}, Q | M}, piece{nil, Q | M}, piece{[]byte{9}, Q | M}, piece{[]byte("KILL"), Q},
		piece{[]byte{3}, Q | M}, piece{[]byte("e"), Q | M}, piece{nil, Q | M}, piece{[]byte("rr"), Q},
		piece{nil, Q},
		piece{[]byte{0, 1}, Q}, piece{[]byte{0, 1}, Q | M}, piece{[]byte{2}, Q},
		piece{[]byte{99, 1}, Q},
		piece{[]byte{2}, Q | M}, piece{nil, Q},
	)}
	for _, want := range []string{"0 in", "0 put", "4 \tKILL", "3 e", "3 rr", "99 \x01", "2 "} {
		k, v, err := r.receive()
		if got := fmt.Sprintf("%d %s", k, v); got != want || err != nil {
			t.Errorf("received %q, %v, want %q", got, err, want)
		}
	}
	if _, _, err := r.receive(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	long := make([]piece, 9)
	for i := range long {
		long[i] = piece{bytes.Repeat([]byte{1}, 65535), Q | M}
	}
	r = receiver{next: script(long...)}
	if _, _, err := r.receive(); err != errTooLong {
		t.Errorf("a message without end: %v", err)
	}
}

func TestStart(t *testing.T) {
	s := start{command: "ls", Request: session.Request{Variables: []string{"LANG=C", "LC_ALL=de_DE.UTF-8", "GIT_PROTOCOL=version=2"}}}
	b := s.append([]byte{0xa5})
	want := octets(t, "a5 01 01 01 00000002 6c73 02 00000006 4c414e473d43 02 00000012 4c435f414c4c3d64655f44452e5554462d38 02 00000016"+
		hex.EncodeToString([]byte("GIT_PROTOCOL=version=2")))
	if !bytes.Equal(b, want) {
		t.Errorf("written as\n%x, want\n%x", b, want)
	}
	if got, err := parseStart(b[2:]); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("read as %#v, %v", got, err)
	}
	s = start{command: "vi", Request: session.Request{User: "alice", Terminal: &session.Terminal{
		Size: session.Size{Rows: 24, Cols: 80}, Modes: octets(t, "35 00000001 00"),
	}}}
	b = s.append(nil)
	want = octets(t, "01 01 01 00000002 7669 83 00000005 616c696365 84 0000000e 0018 0050 0000 0000 35 00000001 00")
	if got, err := parseStart(b[1:]); !bytes.Equal(b, want) || err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("with a terminal: written as\n%x, want\n%x; read as %#v, %v", b, want, got, err)
	}
	s = start{subsystem: "sftp"}
	b = s.append([]byte{0xa5})
	want = octets(t, "a5 01 01 85 00000004 73667470")
	if got, err := parseStart(b[2:]); !bytes.Equal(b, want) || err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("a subsystem: written as\n%x, want\n%x; read as %#v, %v", b, want, got, err)
	}
	skipped := append(slices.Clone(b[2:]), octets(t, "7f 00000001 00")...)
	if got, err := parseStart(skipped); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("with a type that is skipped: %#v, %v", got, err)
	}
}

func TestStartRefused(t *testing.T) {
	for why, value := range map[string]string{
		"nothing":               "",
		"another version":       "02 01 00000002 6c73",
		"no command":            "01",
		"an empty command":      "01 01 00000000",
		"two commands":          "01 01 00000001 61 01 00000001 62",
		"a NUL":                 "01 01 00000002 6100",
		"a type without length": "01 01 000000",
		"a length beyond":       "01 01 00000002 61",
		"a length far beyond":   "01 01 ffffffff 61",
		"a critical type":       "01 01 00000001 61 ff 00000000",
		"two users":             "01 01 00000001 61 83 00000001 62 83 00000001 62",
		"no user":               "01 01 00000001 61 83 00000000",
		"a long user":           "01 01 00000001 61 83 00000021" + strings.Repeat("61", 33),
		"half a size":           "01 01 00000001 61 84 00000007 00180050000000",
		"two terminals":         "01 01 00000001 61 84 00000008 0018005000000000 84 00000008 0018005000000000",
		"endless modes":         "01 01 00000001 61 84 00000325" + strings.Repeat("61", 0x325),
		"a command and sftp":    "01 01 00000001 61 85 00000004 73667470",
		"two subsystems":        "01 85 00000001 61 85 00000001 61",
		"a long subsystem":      "01 85 00000021" + strings.Repeat("61", 33),
		"octets after the last": "01 01 00000001 61 00",
		"only a skipped type":   "01 7f 00000001 00",
		"too long":              "01 01 00020000" + strings.Repeat("61", 0x20000),
	} {
		if s, err := parseStart(octets(t, value)); err == nil {
			t.Errorf("%s: taken as %.40q", why, s.command)
		}
	}
}

func FuzzReceive(f *testing.F) {
	for _, m := range messages {
		f.Add(append([]byte{0x80, byte(len(octets(f, m.octets)))}, octets(f, m.octets)...))
	}
	f.Add([]byte{0x90, 2, 1, 1, 0x80, 7, 1, 0, 0, 0, 2, 'l', 's', 0, 1, 'x'})
	// The input is a list of pieces: bits 1 | length 1 | octets.
	f.Fuzz(func(t *testing.T, in []byte) {
		r := receiver{next: func() ([]byte, circuit.Bits, error) {
			if len(in) < 2 || len(in) < 2+int(in[1]) {
				return nil, 0, io.EOF
			}
			bits, p := circuit.Bits(in[0])&(circuit.Q|circuit.M), in[2:2+int(in[1])]
			in = in[2+len(p):]
			return p, bits, nil
		}}
		for {
			k, v, err := r.receive()
			if err != nil {
				return
			}
			if k == kindData && len(v) == 0 {
				t.Fatal("data without octets")
			}
			if k == kindStart {
				checkStart(t, v)
			}
			if number, n, ok := parseCredit(v); ok && !bytes.Equal(appendCredit(nil, number, int(n))[1:], v) {
				t.Fatalf("credit %x is written again as another", v)
			}
		}
	})
}

// FuzzStart: what is taken keeps its meaning when written again; only what is skipped is lost.
func FuzzStart(f *testing.F) {
	f.Add(start{command: "ls -l", Request: session.Request{Variables: []string{"LANG=C"}}}.append(nil)[1:])
	f.Add([]byte("\x01\x01\x00\x00\x00\x02ls\x7f\x00\x00\x00\x00"))
	f.Add(start{subsystem: "sftp", Request: session.Request{User: "alice"}}.append(nil)[1:])
	f.Add(start{command: "top", Request: session.Request{Terminal: &session.Terminal{Modes: []byte{53, 0, 0, 0, 1, 0}}}}.append(nil)[1:])
	f.Fuzz(checkStart)
}

func checkStart(t *testing.T, value []byte) {
	s, err := parseStart(value)
	if err != nil {
		return
	}
	if s.subsystem == "" && checkCommand(s.command) != nil || len(s.Variables) > session.MaxVariables {
		t.Fatalf("taken: %d octets of command, %d variables", len(s.command), len(s.Variables))
	}
	again, err := parseStart(s.append(nil)[1:])
	if err != nil || !reflect.DeepEqual(s, again) {
		t.Fatalf("%#v is read again as %#v, %v", s, again, err)
	}
}

func TestCredit(t *testing.T) {
	for _, m := range messages {
		if m.kind != kindCredit {
			continue
		}
		number, n, ok := parseCredit([]byte(m.value))
		if !ok || !bytes.Equal(appendCredit(nil, number, int(n)), octets(t, m.octets)) {
			t.Errorf("%s: read as %d octets for %d, %v", m.meaning, n, number, ok)
		}
	}
	for _, value := range []string{"", "\x01", "\x00\x02\x00\x00", "\x01\x00\x02\x00\x00\x00"} {
		if _, _, ok := parseCredit([]byte(value)); ok {
			t.Errorf("%x is taken as credit", value)
		}
	}
}

func TestReason(t *testing.T) {
	if err := reason(errors.New("x")); err.Error() != "x" {
		t.Error(err)
	}
}
