package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/session"
)

var someToken = token{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// messages is typed from protocol.md 7: the octets of each Q datagram, and what writes them.
var messages = []struct {
	meaning string
	octets  string
	written []byte
}{
	{"start: 24 by 80", "01 01 84 00000008 0018 0050 0000 0000", appendStart(nil, session.Request{Terminal: &session.Terminal{Size: session.Size{Rows: 24, Cols: 80}}})},
	{"start as alice", "01 01 83 00000005 616c696365 84 00000008 0018 0050 0000 0000",
		appendStart(nil, session.Request{User: "alice", Terminal: &session.Terminal{Size: session.Size{Rows: 24, Cols: 80}}})},
	{"exit status 0", "04 00", message(kindStatus, 0)},
	{"killed by SIGHUP", "04 81 485550", append(message(kindStatus, 129), "HUP"...)},
	{"failed: why", "05 776879", append(message(kindFailed), "why"...)},
	{"30 rows and 100 columns", "08 001e 0064 0000 0000", session.Size{Rows: 30, Cols: 100}.Append(message(kindSize))},
	{"session", "09 000102030405060708090a0b0c0d0e0f 00000258", (&holder{token: someToken, kept: 600 * time.Second}).sessionMessage()},
	{"resume from 4096", "0a 01 000102030405060708090a0b0c0d0e0f 0000000000001000", resume{someToken, 4096}.append(nil)},
	{"resume with nothing", "0a 01 000102030405060708090a0b0c0d0e0f ffffffffffffffff", resume{someToken, unseen}.append(nil)},
	{"resumed", "0b 0000000000000007 0000000000001000", numbers(kindResumed, 7, 4096)},
	{"taken", "0c 0000000000008000", numbers(kindTaken, 32768)},
	{"display", "0d 1b5b3f3130343968", append(message(kindDisplay), "\x1b[?1049h"...)},
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
	text, err := os.ReadFile("../doc/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		b := octets(t, m.octets)
		if !bytes.Equal(m.written, b) {
			t.Errorf("%s: written as %x, want %x", m.meaning, m.written, b)
		}
		if !regexp.MustCompile(`(?m)^` + m.octets + `(\s|$)`).Match(text) {
			t.Errorf("the text does not have the example %q (%s)", m.octets, m.meaning)
		}
		r := receiver{next: script(piece{b[:1], circuit.Q | circuit.M}, piece{nil, circuit.Q | circuit.M}, piece{b[1:], circuit.Q})}
		if k, v, err := r.receive(); k != kind(b[0]) || !bytes.Equal(v, b[1:]) || err != nil {
			t.Errorf("%s: read as type %d %x, %v", m.meaning, k, v, err)
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

func TestEndlessMessage(t *testing.T) {
	long := make([]piece, 7)
	for i := range long {
		long[i] = piece{bytes.Repeat([]byte{1}, 65535), circuit.Q | circuit.M}
	}
	if _, _, err := (receiver{next: script(long...)}).receive(); err != errTooLong {
		t.Errorf("a message without end: %v", err)
	}
}

func TestStart(t *testing.T) {
	s := session.Request{Variables: []string{"LANG=C", "TERM=xterm"}, User: "alice", Terminal: &session.Terminal{
		Size: session.Size{Rows: 1, Cols: 2, X: 3, Y: 4}, Modes: octets(t, "35 00000001 00"),
	}}
	if got, err := parseStart(appendStart(nil, s)[1:]); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("read as %+v, %v", got, err)
	}
	const terminal = " 84 00000008 0018005000000000"
	for why, value := range map[string]string{
		"nothing":               "",
		"another version":       "02" + terminal,
		"no terminal":           "01",
		"two terminals":         "01" + terminal + terminal,
		"half a size":           "01 84 00000007 00180050000000",
		"endless modes":         "01 84 00000325" + strings.Repeat("61", 0x325),
		"a length beyond":       "01 84 00000009 0018005000000000",
		"a length far beyond":   "01 84 ffffffff 0018005000000000",
		"a type without length": "01" + terminal + "02 000000",
		"a critical type":       "01" + terminal + "85 00000000",
		"no user":               "01" + terminal + "83 00000000",
		"two users":             "01" + terminal + "83 00000001 61 83 00000001 61",
		"an option as a user":   "01" + terminal + "83 00000002 2d66",
		"a variable as a user":  "01" + terminal + "83 00000003 613d62",
		"a user with a blank":   "01" + terminal + "83 00000003 612062",
		"a user with a NUL":     "01" + terminal + "83 00000003 610062",
		"a long user":           "01" + terminal + "83 00000021" + strings.Repeat("61", 33),
	} {
		if s, err := parseStart(octets(t, value)); err == nil {
			t.Errorf("%s: taken as %+v", why, s)
		}
	}
	if s, err := parseStart(octets(t, "01"+terminal+"02 00000005 50415448 3d 7f 00000001 00")); err != nil || len(s.Variables) > 0 {
		t.Errorf("PATH, and a type that is skipped: %+v, %v", s, err)
	}
}

func FuzzStart(f *testing.F) {
	f.Add(appendStart(nil, session.Request{Variables: []string{"LANG=C"}, User: "alice", Terminal: &session.Terminal{Modes: []byte{53, 0, 0, 0, 1, 0}}})[1:])
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := parseStart(value)
		if err != nil {
			return
		}
		if s.User != "" && !session.IsUser(s.User) || len(s.Variables) > session.MaxVariables || len(s.Terminal.Modes) > session.MaxModes {
			t.Fatalf("taken: %+v", s)
		}
		again, err := parseStart(appendStart(nil, s)[1:])
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v is read again as %+v, %v", s, again, err)
		}
	})
}

func FuzzResume(f *testing.F) {
	f.Add(resume{someToken, 7}.append(nil)[1:])
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := parseResume(value); err == nil && !bytes.Equal(r.append(nil)[1:], value) {
			t.Fatalf("%x is written again as %x", value, r.append(nil)[1:])
		}
	})
}

// TestArgs: typed from ncu(1).
func TestArgs(t *testing.T) {
	for line, want := range map[string]request{
		"moon":                      {machine: "moon"},
		"-- moon":                   {machine: "moon"},
		"MOON":                      {machine: "moon"},
		"alice@moon":                {machine: "moon", user: "alice"},
		"-l alice moon":             {machine: "moon", user: "alice"},
		"-lalice alice@moon":        {machine: "moon", user: "alice"},
		"-r moon":                   {machine: "moon", again: true},
		"-e none moon":              {machine: "moon", escape: 1},
		"-e^] moon":                 {machine: "moon", escape: 0x1d},
		"-B":                        {serve: true},
		"--keep 90s -B":             {serve: true, keep: 90 * time.Second},
		"--allow-open --keep 1h -B": {serve: true, keep: time.Hour, allowOpen: true},
	} {
		switch want.escape {
		case 0:
			want.escape = '~'
		case 1:
			want.escape = 0
		}
		if want.keep == 0 {
			want.keep = 10 * time.Minute
		}
		if got, err := parseArgs(strings.Fields(line)); err != nil || got != want {
			t.Errorf("ncu %s: %+v, %v", line, got, err)
		}
	}
	if got, err := parseArgs([]string{"--keep", "0", "-B"}); err != nil || got.keep != 0 {
		t.Errorf("--keep 0: %v, %v", got.keep, err)
	}
	for line, want := range map[string]string{
		"":                    "no machine",
		"-x moon":             "-x: no such option",
		"-t moon":             "-t: no such option",
		"moon ls -l":          "ls: ncu runs no command; rx moon ls -l does",
		"@moon":               "not the name of a user",
		"alice@":              "no machine after the @",
		"-l":                  "-l: it needs a value",
		"-l -f moon":          "not the name of a user",
		"-l a -l b moon":      "two users, a and b",
		"-l alice:secret mon": "alice: passwords need sealed links, which this version does not have",
		"alice:secret@moon":   "alice: passwords need sealed links",
		"-r alice@moon":       "-r takes up a session",
		"-e xx moon":          "-e xx",
		"-B moon":             "-B takes no arguments",
		"--keep 1.5s -B":      "--keep 1.5s",
		"--keep -1s -B":       "--keep -1s",
		"--keep 999h -B":      "--keep 999h",
	} {
		if got, err := parseArgs(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ncu %s: %v, want %q (%+v)", line, err, want, got)
		}
	}
}
