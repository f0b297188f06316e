package circuit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lines is typed from protocol.md 5: each record and what it says, in its canonical form.
var lines = []struct {
	record string
	line   Line
}{
	{"ok", Line{Verb: "ok"}},
	{"ok machine=sneezy service=rx.sneezy", Line{Verb: "ok", Keys: []Key{{"machine", "sneezy"}, {"service", "rx.sneezy"}}}},
	{"error 0d 00", Line{Verb: "error", Words: []string{"0d", "00"}}},
	{`error 00 f0 "not today, sorry"`, Line{Verb: "error", Words: []string{"00", "f0", "not today, sorry"}}},
	{`error "a \"b\" is no name" e=EINVAL`, Line{Verb: "error", Words: []string{`a "b" is no name`}, Keys: []Key{{"e", "EINVAL"}}}},
	{"call service=clock machine=doc user=alice", Line{Verb: "call", Keys: []Key{{"service", "clock"}, {"machine", "doc"}, {"user", "alice"}}}},
	{"cleared 09 00 \"netman is gone\"", Line{Verb: "cleared", Words: []string{"09", "00", "netman is gone"}}},
	{"reset 05 01", Line{Verb: "reset", Words: []string{"05", "01"}}},
	{"clear 00", Line{Verb: "clear", Words: []string{"00"}}},
	{`refuse 81 "k\u00fcche=no\n"`, Line{}}, // parsed below: the canonical form keeps ü
	{"accept", Line{Verb: "accept"}},
	{"interrupt\x00INT", Line{Verb: "interrupt", Octets: []byte("INT")}},
	{"interrupt\x00\x00\x01 \x00", Line{Verb: "interrupt", Octets: []byte("\x00\x01 \x00")}},
	{`x ""`, Line{Verb: "x", Words: []string{""}}},
	{`x "a=b" k="c=d"`, Line{Verb: "x", Words: []string{"a=b"}, Keys: []Key{{"k", "c=d"}}}},
}

func TestLine(t *testing.T) {
	for _, r := range lines {
		l, err := ParseLine([]byte(r.record))
		if err != nil {
			t.Errorf("%q: %v", r.record, err)
			continue
		}
		if r.line.Verb == "" {
			continue
		}
		if !reflect.DeepEqual(l, r.line) {
			t.Errorf("%q: parsed %#v, want %#v", r.record, l, r.line)
		}
		dst := bytes.Repeat([]byte{0xa5}, 4)
		if got := r.line.Append(dst[:2]); string(got[2:]) != r.record || got[0] != 0xa5 || got[1] != 0xa5 {
			t.Errorf("%#v: appended %q, want %q", r.line, got[2:], r.record)
		}
	}
}

func TestLineAccepts(t *testing.T) {
	l, err := ParseLine([]byte("error 0d  00 a=b no such service  here"))
	if err != nil || l.Text(2) != "no such service here" || l.Get("a") != "b" {
		t.Errorf("a text without quotes, blanks doubled, a key in the middle: %#v, %v", l, err)
	}
	l, err = ParseLine([]byte(`refuse 81 "k\u00fcche=no\n"`))
	if err != nil || l.Text(1) != "küche=no\n" {
		t.Errorf("escapes: %#v, %v", l, err)
	}
	if s := (Line{Verb: "interrupt", Octets: []byte{1, 0xff}}).String(); s != "interrupt [01ff]" {
		t.Errorf("String of an interrupt: %q", s)
	}
	if d, err := l.Octet(0); d != 0x81 || err != nil {
		t.Errorf("Octet: %x, %v", d, err)
	}
}

func TestLineRefuses(t *testing.T) {
	for why, record := range map[string]string{
		"nothing":                   "",
		"a blank first":             " ok",
		"only octets":               "\x00abc",
		"an upper case verb":        "OK",
		"a quoted verb":             `"ok"`,
		"a verb with a value":       "ok=1",
		"a key twice":               "ok a=1 a=2",
		"an empty key":              "ok =1",
		"a key in upper case":       "ok A=1",
		"a quotation without end":   `ok "a`,
		"a quotation and more":      `ok "a"b`,
		"a quote inside a word":     `ok a"b"`,
		"a control character":       "ok a\x01",
		"a tabulator":               "ok\ta",
		"a newline":                 "ok\n",
		"not UTF-8":                 "ok \"\xff\"",
		"UTF-8 outside quotes":      "ok ü",
		"a wrong escape":            `ok "\q"`,
		"an equals sign in a value": "ok a=b=c",
		"too long":                  "ok " + strings.Repeat("a", MaxLine),
	} {
		if l, err := ParseLine([]byte(record)); !errors.Is(err, ErrLine) {
			t.Errorf("%s (%q) was taken: %#v, %v", why, record, l, err)
		}
	}
	for _, w := range []string{"", "0", "000", "0x", "-1", "+1"} {
		if n, err := (Line{Verb: "cleared", Words: []string{w}}).Octet(0); err == nil {
			t.Errorf("%q was taken as two hexadecimal digits: %x", w, n)
		}
	}
}

func TestRequest(t *testing.T) {
	l := Line{Verb: "call", Words: []string{"rx.moon"}, Keys: []Key{{"stream", "1"}}}
	record := l.AppendRequest(nil)
	if string(record) != "dnet1 call rx.moon stream=1" {
		t.Errorf("request %q", record)
	}
	if got, err := ParseRequest(record); err != nil || !reflect.DeepEqual(got, l) {
		t.Errorf("parsed %#v, %v", got, err)
	}
	for _, bad := range []string{"call rx.moon", "dnet2 call rx.moon", "dnet1", "dnet1 Call x", `dnet1 "" x`} {
		if got, err := ParseRequest([]byte(bad)); !errors.Is(err, ErrLine) {
			t.Errorf("%q was taken: %#v", bad, got)
		}
	}
}

func TestCutText(t *testing.T) {
	if s := CutText(strings.Repeat("ü", 200)); len(s) > MaxText || !strings.HasSuffix(s, "ü") {
		t.Errorf("cut to %d octets, ending %q", len(s), s[len(s)-2:])
	}
	if s := CutText("a\xffb"); s != "ab" {
		t.Errorf("%q", s)
	}
}

// FuzzParseLine: nothing panics, and what is taken is the same line again when written and read.
func FuzzParseLine(f *testing.F) {
	for _, r := range lines {
		f.Add([]byte(r.record))
	}
	f.Add([]byte("dnet1 call NAME stream=1"))
	f.Fuzz(func(t *testing.T, record []byte) {
		l, err := ParseLine(record)
		if err != nil {
			return
		}
		again, err := ParseLine(l.Append(nil))
		if err != nil && len(l.Append(nil)) <= MaxLine {
			t.Fatalf("%q was taken, its canonical form %q is not: %v", record, l.Append(nil), err)
		}
		if err == nil && !reflect.DeepEqual(l, again) {
			t.Fatalf("%#v is written as %q and read as %#v", l, l.Append(nil), again)
		}
		ParseRequest(record)
		_ = l.String()
	})
}

func socketpair(t testing.TB) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseFds(fds[:]) })
	return fds[0], fds[1]
}

func TestFds(t *testing.T) {
	t.Cleanup(checkFds(t))
	a, b := socketpair(t)
	p := make([]byte, 64)
	if _, _, err := RecvFds(b, p); err != unix.EAGAIN {
		t.Errorf("nothing there yet: %v", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := SendFds(a, []byte("call"), pipe[0], pipe[1]); err != nil {
		t.Fatal(err)
	}
	CloseFds(pipe[:])
	n, fds, err := RecvFds(b, p)
	if err != nil || string(p[:n]) != "call" || len(fds) != 2 {
		t.Fatalf("received %q with %d descriptors, %v", p[:n], len(fds), err)
	}
	for _, fd := range fds {
		if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Error("a received descriptor would leak into children")
		}
	}
	unix.Write(fds[1], []byte("through"))
	if n, _ := unix.Read(fds[0], p); string(p[:n]) != "through" {
		t.Error("the descriptors are not the pipe's")
	}
	CloseFds(fds)

	if err := SendFds(a, []byte("four"), a, a, a, a); err != nil {
		t.Fatal(err)
	}
	if _, fds, err := RecvFds(b, p); err != ErrTruncated || fds != nil {
		t.Errorf("more descriptors than any line has: %v, %v", fds, err)
	}
	if err := SendFds(a, bytes.Repeat([]byte("x"), 65), a); err != nil {
		t.Fatal(err)
	}
	if _, fds, err := RecvFds(b, p); err != ErrTruncated || fds != nil {
		t.Errorf("a longer record than the buffer: %v, %v", fds, err)
	}
	unix.Shutdown(a, unix.SHUT_WR)
	if _, _, err := RecvFds(b, p); err == nil || err.Error() != "EOF" {
		t.Errorf("the end: %v", err)
	}
	if err := SendFds(a, []byte("late")); err != unix.EPIPE {
		t.Errorf("after the end: %v", err)
	}
}

func TestHexOctet(t *testing.T) {
	if s := HexOctet(Diag(0x0a)); s != hex.EncodeToString([]byte{10}) {
		t.Error(s)
	}
}
