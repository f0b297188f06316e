package session

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"dnet/circuit"
)

func TestAudit(t *testing.T) {
	t.Setenv("DNET_USER", "alice")
	a := Audit{Tool: "rx", Peer: circuit.Peer{User: "bob", Machine: "grumpy"}, What: "make\ntest", Line: "pts/3"}
	want := "rx: session of bob@grumpy as alice: \"make\\ntest\" on pts/3: 1.500 s: exit status 2\n"
	if got := a.line(1500*time.Millisecond, Ended(2, "")); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	a = Audit{Tool: "rx", Peer: circuit.Peer{User: "b\nrx: session of root"}, What: strings.Repeat("x", 1000)}
	if got := a.line(0, Ended(137, "KILL")); strings.Count(got, "\n") != 1 || len(got) > 400 || !strings.HasSuffix(got, "0.000 s: killed by SIGKILL\n") {
		t.Errorf("%q", got)
	}
}

// TestUtmp: the record of utmp(5), octet by octet, on a little-endian machine.
func TestUtmp(t *testing.T) {
	u := Utmp{Type: UserProcess, Pid: 0x1234, Line: "pts/17", User: "alice", Host: "grumpy", Time: time.Unix(0x65000000, 7000000), id: "/17"}
	b := u.append(nil)
	if len(b) != 384 {
		t.Fatalf("%d octets", len(b))
	}
	for _, want := range []struct {
		at   int
		text string
	}{
		{0, "07000000 34120000"}, {8, hex.EncodeToString([]byte("pts/17")) + "0000"}, {40, hex.EncodeToString([]byte("/17")) + "00"},
		{44, hex.EncodeToString([]byte("alice")) + "00"}, {76, hex.EncodeToString([]byte("grumpy")) + "00"},
		{332, "00000000"}, {336, "34120000"}, {340, "00000065"}, {344, "581b0000"}, {348, "00000000"},
	} {
		octets, _ := hex.DecodeString(strings.ReplaceAll(want.text, " ", ""))
		if got := b[want.at : want.at+len(octets)]; string(got) != string(octets) {
			t.Errorf("at %d there is %x, want %x", want.at, got, octets)
		}
	}
	long := Utmp{Line: strings.Repeat("x", 99), User: strings.Repeat("u", 99), Host: strings.Repeat("h", 999)}
	if len(long.append(nil)) != 384 {
		t.Error("long names make a long record")
	}
}
