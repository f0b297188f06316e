package names

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// octetsOf reads hex with blanks; text within quotes stands for itself.
func octetsOf(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		octets, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", part, err)
		}
		b = append(b, octets...)
	}
	return b
}

// dirty appends to a buffer whose every octet is 0xa5, so that one not written shows.
func dirty(write func([]byte) []byte) []byte {
	buf := bytes.Repeat([]byte{0xa5}, 512)
	return write(buf[:3])[3:]
}

// goldenMessages are typed from protocol.md 2.
var goldenMessages = []struct {
	name, octets, text string
	m                  Message
}{
	{
		"query for a machine's service",
		`01 01 0102030405060708 00000007  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
		"QUERY txid 00000007 service rx.sneezy from grumpy hops 8 boot 0102030405060708",
		Message{Type: Query, BootID: 0x0102030405060708, TxID: 7, Service: "rx.sneezy", Machine: "grumpy", Hops: 8},
	},
	{
		"query from a machine in a domain",
		`01 01 ffffffffffffffff ffffffff  01 04 "dmap"  02 06 "grumpy"  03 01 00  0c 08 "lab.east"`,
		"QUERY txid ffffffff service dmap from grumpy.lab.east hops 0 boot ffffffffffffffff",
		Message{Type: Query, BootID: 1<<64 - 1, TxID: 1<<32 - 1, Service: "dmap", Machine: "grumpy", Domain: "lab.east"},
	},
	{
		"answer of a free server",
		`02 01 1112131415161718 00000007  01 09 "rx.sneezy"  02 06 "sneezy"  04 01 00`,
		"ANSWER txid 00000007 service rx.sneezy machine sneezy free boot 1112131415161718",
		Message{Type: Answer, BootID: 0x1112131415161718, TxID: 7, Service: "rx.sneezy", Machine: "sneezy", State: Free},
	},
	{
		"answer of a busy server",
		`02 01 1112131415161718 00000007  01 04 "dmap"  02 06 "sneezy"  04 01 01`,
		"ANSWER txid 00000007 service dmap machine sneezy busy boot 1112131415161718",
		Message{Type: Answer, BootID: 0x1112131415161718, TxID: 7, Service: "dmap", Machine: "sneezy", State: Busy},
	},
	{
		"hello",
		`03 01 0102030405060708 00000009  02 06 "grumpy"  05 02 01 02  06 04 00000005  07 02 05d9  08 01 3f  09 02 03e8
		0a 01 00  0b 04 80000001`,
		"HELLO txid 00000009 machine grumpy versions 1-2 instance 5 n1 1497 rw 63 tolerance 1s mode 0 capabilities 80000001 boot 0102030405060708",
		Message{
			Type: Hello, BootID: 0x0102030405060708, TxID: 9, Machine: "grumpy", VersionMin: 1, VersionMax: 2, Instance: 5,
			N1: 1497, RW: 63, Tolerance: time.Second, Mode: 0, Capabilities: 0x80000001,
		},
	},
	{
		"hello with the least values",
		`03 01 0000000000000000 00000000  02 01 "a"  05 02 00 00  06 04 00000000  07 02 0200  08 01 01  09 02 0032
		0a 01 02  0b 04 00000000`,
		"HELLO txid 00000000 machine a versions 0-0 instance 0 n1 512 rw 1 tolerance 50ms mode 2 capabilities 0 boot 0000000000000000",
		Message{Type: Hello, Machine: "a", N1: 512, RW: 1, Tolerance: 50 * time.Millisecond, Mode: 2},
	},
	{
		"handshake",
		`04 01 0000000000000000 00000009  0a 01 01  14 04 01020304`,
		"HANDSHAKE txid 00000009 mode 1 len 4 boot 0000000000000000",
		Message{Type: Handshake, TxID: 9, Mode: 1, Handshake: "\x01\x02\x03\x04"},
	},
	{
		"refusal",
		`05 01 0000000000000000 00000009  0a 01 02  0d 01 01`,
		"REFUSAL txid 00000009 mode 2 reason 1 boot 0000000000000000",
		Message{Type: Refusal, TxID: 9, Mode: 2, Reason: RefuseMode},
	},
}

func clean(s string) string { return strings.NewReplacer("\n", "", "\t", "").Replace(s) }

func TestMessageGolden(t *testing.T) {
	for _, row := range goldenMessages {
		octets := octetsOf(t, clean(row.octets))
		m, err := Parse(octets)
		if err != nil || m != row.m {
			t.Errorf("%s: Parse = %+v, %v; want %+v", row.name, m, err, row.m)
		}
		if got := dirty(row.m.Append); !bytes.Equal(got, octets) {
			t.Errorf("%s: Append =\n%x, want\n%x", row.name, got, octets)
		}
		if got := row.m.String(); got != row.text {
			t.Errorf("%s: String =\n%s, want\n%s", row.name, got, row.text)
		}
	}
}

// TestMessageLenient: what may differ from the form that Append writes.
func TestMessageLenient(t *testing.T) {
	want := goldenMessages[0].m
	for name, octets := range map[string]string{
		"TLVs in another order":                   `01 01 0102030405060708 00000007  03 01 08  02 06 "grumpy"  01 09 "rx.sneezy"`,
		"an unknown TLV is skipped":               `01 01 0102030405060708 00000007  7f 03 aabbcc  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
		"an empty unknown TLV is skipped":         `01 01 0102030405060708 00000007  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08  20 00`,
		"TLV 0 is one like others":                `01 01 0102030405060708 00000007  00 00  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
		"a hello's TLV in a query is skipped":     `01 01 0102030405060708 00000007  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08  08 01 3f`,
		"even one of a length it would not have":  `01 01 0102030405060708 00000007  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08  08 02 0000`,
		"an answer's state in a query is skipped": `01 01 0102030405060708 00000007  04 01 05  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
		"the longest TLV is skipped":              `01 01 0102030405060708 00000007  21 ff` + strings.Repeat("00", 255) + `01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
		"a handshake's TLV in a query is skipped": `01 01 0102030405060708 00000007  14 01 00  01 09 "rx.sneezy"  02 06 "grumpy"  03 01 08`,
	} {
		if m, err := Parse(octetsOf(t, octets)); err != nil || m != want {
			t.Errorf("%s: Parse = %v, %v", name, m, err)
		}
	}
}

func TestMessageRefused(t *testing.T) {
	head := "01 01 0102030405060708 00000007 "
	hello := `03 01 0102030405060708 00000009  02 06 "grumpy" `
	for _, row := range []struct{ name, octets, reason string }{
		{"nothing", ``, "too short"},
		{"half a header", `01 01 0102030405060708 000000`, "too short"},
		{"type 0", `00 01 0102030405060708 00000007`, "unknown type"},
		{"a type to come", `06 01 0102030405060708 00000007`, "unknown type"},
		{"a handshake without a mode", `04 01 0000000000000000 00000007 14 01 01`, "TLV missing"},
		{"an empty handshake", `04 01 0000000000000000 00000007 0a 01 01 14 00`, "TLV of a wrong length"},
		{"a refusal without a reason", `05 01 0000000000000000 00000007 0a 01 01`, "TLV missing"},
		{"the last type", `ff 01 0102030405060708 00000007`, "unknown type"},
		{"version 0", `01 00 0102030405060708 00000007`, "unknown version"},
		{"version 2", `01 02 0102030405060708 00000007`, "unknown version"},
		{"no TLV", head, "TLV missing"},
		{"no hops", head + `01 09 "rx.sneezy" 02 06 "grumpy"`, "TLV missing"},
		{"no machine", head + `01 09 "rx.sneezy" 03 01 08`, "TLV missing"},
		{"no service", head + `02 06 "grumpy" 03 01 08`, "TLV missing"},
		{"a TLV's type alone", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08 0c`, "TLV cut short"},
		{"a TLV beyond the end", head + `01 0a "rx.sneezy"`, "TLV cut short"},
		{"the service twice", head + `01 09 "rx.sneezy" 01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08`, "TLV twice"},
		{"an unknown TLV twice", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08 70 00 70 00`, "TLV twice"},
		{"an unknown critical TLV", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08 80 00`, "unknown critical TLV"},
		{"a known TLV's number made critical", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08 81 02 "rx"`, "unknown critical TLV"},
		{"hops of two octets", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 02 0008`, "TLV of a wrong length"},
		{"empty hops", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 00`, "TLV of a wrong length"},
		{"upper case on the wire", head + `01 09 "Rx.sneezy" 02 06 "grumpy" 03 01 08`, "bad name"},
		{"an empty service", head + `01 00 02 06 "grumpy" 03 01 08`, "bad name"},
		{"a machine of two labels", head + `01 09 "rx.sneezy" 02 03 "a.b" 03 01 08`, "bad name"},
		{"an empty domain", head + `01 09 "rx.sneezy" 02 06 "grumpy" 03 01 08 0c 00`, "bad name"},
		{"a NUL in a name", head + `01 03 "rx" 00 02 06 "grumpy" 03 01 08`, "bad name"},
		{"a state of no meaning", `02 01 0102030405060708 00000007 01 02 "rx" 02 06 "grumpy" 04 01 02`, "value out of range"},
		{"versions upside down", hello + `05 02 02 01 06 04 00000005 07 02 05d9 08 01 3f 09 02 03e8 0a 01 00 0b 04 00000000`, "value out of range"},
		{"N1 below a call request", hello + `05 02 01 01 06 04 00000005 07 02 01ff 08 01 3f 09 02 03e8 0a 01 00 0b 04 00000000`, "value out of range"},
		{"rw 0", hello + `05 02 01 01 06 04 00000005 07 02 05d9 08 01 00 09 02 03e8 0a 01 00 0b 04 00000000`, "value out of range"},
		{"rw 128", hello + `05 02 01 01 06 04 00000005 07 02 05d9 08 01 80 09 02 03e8 0a 01 00 0b 04 00000000`, "value out of range"},
		{"tolerance 49 ms", hello + `05 02 01 01 06 04 00000005 07 02 05d9 08 01 3f 09 02 0031 0a 01 00 0b 04 00000000`, "value out of range"},
		{"tolerance 30001 ms", hello + `05 02 01 01 06 04 00000005 07 02 05d9 08 01 3f 09 02 7531 0a 01 00 0b 04 00000000`, "value out of range"},
		{"hello without a mode", hello + `05 02 01 01 06 04 00000005 07 02 05d9 08 01 3f 09 02 03e8 0b 04 00000000`, "TLV missing"},
		{"an instance of three octets", hello + `06 03 000005`, "TLV of a wrong length"},
	} {
		m, err := Parse(octetsOf(t, row.octets))
		if err == nil || Reason(err) != row.reason || m != (Message{}) {
			t.Errorf("%s: Parse = %v, %v (%s); want it refused: %s", row.name, m, err, Reason(err), row.reason)
		}
	}
}

// Each message, cut anywhere, is refused.
func TestMessageCut(t *testing.T) {
	for _, row := range goldenMessages {
		octets := octetsOf(t, clean(row.octets))
		for n := range octets {
			m, err := Parse(octets[:n])
			if err == nil && (row.m.Domain == "" || m.Domain != "") {
				t.Errorf("%s: its first %d octets were taken: %v", row.name, n, m)
			}
		}
	}
}

// goldenCalls are typed from protocol.md 4.
var goldenCalls = []struct {
	octets, text string
	c            CallData
}{
	{`c4 44 4e 01  01 09 "rx.sneezy"  02 05 "alice"  03 01 01`, "call rx.sneezy by alice stream", CallData{Service: "rx.sneezy", User: "alice", Stream: true}},
	{`c4 44 4e 01  01 09 "rx.sneezy"  02 05 "alice"`, "call rx.sneezy by alice", CallData{Service: "rx.sneezy", User: "alice"}},
	{`c4 44 4e 01  01 04 "dmap"`, "call dmap", CallData{Service: "dmap"}},
	{`c4 44 4e 01  01 04 "dmap"  02 0b "A.b_c-d.E.9"`, "call dmap by A.b_c-d.E.9", CallData{Service: "dmap", User: "A.b_c-d.E.9"}},
}

func TestCallGolden(t *testing.T) {
	for _, row := range goldenCalls {
		octets := octetsOf(t, row.octets)
		c, err := ParseCall(octets)
		if err != nil || c != row.c {
			t.Errorf("%s: ParseCall = %+v, %v", row.text, c, err)
		}
		if got := dirty(row.c.Append); !bytes.Equal(got, octets) {
			t.Errorf("%s: Append = %x, want %x", row.text, got, octets)
		}
		if got := row.c.String(); got != row.text {
			t.Errorf("String = %s, want %s", got, row.text)
		}
	}
}

func TestCallRefused(t *testing.T) {
	for _, row := range []struct{ name, octets, reason string }{
		{"nothing", ``, "not a dnet call"},
		{"half the mark", `c4 44 4e`, "not a dnet call"},
		{"another protocol", `01 00 00 00 01 04 "dmap"`, "not a dnet call"},
		{"a version to come", `c4 44 4e 02 01 04 "dmap"`, "not a dnet call"},
		{"no service", `c4 44 4e 01 02 05 "alice"`, "TLV missing"},
		{"no TLV", `c4 44 4e 01`, "TLV missing"},
		{"service twice", `c4 44 4e 01 01 04 "dmap" 01 04 "dmap"`, "TLV twice"},
		{"cut short", `c4 44 4e 01 01 05 "dmap"`, "TLV cut short"},
		{"a user with a slash", `c4 44 4e 01 01 04 "dmap" 02 03 "a/b"`, "bad name"},
		{"a user with a newline", `c4 44 4e 01 01 04 "dmap" 02 02 "a" 0a`, "bad name"},
		{"stream 2", `c4 44 4e 01 01 04 "dmap" 03 01 02`, "value out of range"},
		{"stream empty", `c4 44 4e 01 01 04 "dmap" 03 00`, "TLV of a wrong length"},
		{"critical", `c4 44 4e 01 01 04 "dmap" 84 00`, "unknown critical TLV"},
	} {
		c, err := ParseCall(octetsOf(t, row.octets))
		if err == nil || Reason(err) != row.reason || c != (CallData{}) {
			t.Errorf("%s: ParseCall = %v, %v; want it refused: %s", row.name, c, err, row.reason)
		}
	}
	c, err := ParseCall(octetsOf(t, `c4 44 4e 01 03 01 00 04 01 ff 01 04 "dmap" 02 00`))
	if err != nil || c != (CallData{Service: "dmap"}) {
		t.Errorf("stream 0, a TLV to come and an empty user: %v, %v", c, err)
	}
}

// The longest call fits into the user data of a fast select call request, 128 octets (ISO 8208, 13.16).
func TestCallFits(t *testing.T) {
	service := strings.Repeat("s", 32) + "." + strings.Repeat("m", 32) + "." + strings.Repeat("d", 14)
	if err := CheckService(service); err != nil || len(service) != 80 {
		t.Fatalf("%d octets: %v", len(service), err)
	}
	c := CallData{Service: service, User: strings.Repeat("u", 32), Stream: true}
	if n := len(c.Append(nil)); n > 128 {
		t.Errorf("the longest call has %d octets", n)
	}
}

func TestReasonOfOthers(t *testing.T) {
	if got := Reason(ErrQueries); got != "other" {
		t.Errorf("the reason of a foreign error is %q", got)
	}
}
