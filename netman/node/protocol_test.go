package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/x25"
)

// document is the page whose examples are tested here.
const document = "../../doc/protocol.md"

// example is one block of the document: a frame and what it says.
type example struct {
	line   int // of the block's first line
	octets []byte
	text   string
}

// TestProtocolDocument holds doc/protocol.md and the code to each other: what the document says of each of its frames is
// what a trace would print, and the encoders write the same octets again.
func TestProtocolDocument(t *testing.T) {
	all := readExamples(t)
	for _, e := range all {
		t.Run("line "+strconv.Itoa(e.line), func(t *testing.T) {
			if got := FormatFrame(e.octets); got != e.text {
				t.Errorf("the frame reads\n  %s\nthe document says\n  %s", got, e.text)
			}
			if again := reappend(t, e.octets); !bytes.Equal(again, e.octets) {
				t.Errorf("appended again it is\n  % x\nin the document\n  % x", again, e.octets)
			}
		})
	}
	wanted := []string{
		"UI | QUERY", "UI | ANSWER", "HELLO txid 00000001 machine grumpy", "HELLO txid 00000001 machine sneezy", "SABME P", "UA F", "DISC P", "DM F", "FRMR", "TEST P", "TEST F",
		" RR R9 P ", " RR R12 F ", "RNR", "REJ", "| RESTART cause", "| RESTART CONFIRM", "| CALL lci", "| ACCEPT", "| DATA", " M ", " Q ",
		"SEALED key 1", "SEALED key 0", "HANDSHAKE", "REFUSAL",
		"| RR lci", "| INTERRUPT lci", "| INTERRUPT CONFIRM", "| RESET lci", "| RESET CONFIRM", "| CLEAR lci", "| CLEAR CONFIRM",
	}
	for _, want := range wanted {
		found := false
		for _, e := range all {
			found = found || strings.Contains(e.text+" ", want)
		}
		if !found {
			t.Errorf("the document has no example with %q", want)
		}
	}
}

// readExamples reads the blocks marked as frames: lines of hexadecimal octets, then a line that begins with '='.
func readExamples(t *testing.T) (all []example) {
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var e *example
	var digits string
	for i, line := range strings.Split(string(page), "\n") {
		switch text, isText := strings.CutPrefix(line, "= "); {
		case line == "```frame":
			e, digits = &example{line: i + 1}, ""
		case e == nil:
		case line == "```":
			if e.text == "" {
				t.Fatalf("%s:%d: a frame without a text", document, e.line)
			}
			all = append(all, *e)
			e = nil
		case isText:
			e.text = text
			if e.octets, err = hex.DecodeString(digits); err != nil {
				t.Fatalf("%s:%d: %v", document, e.line, err)
			}
		default:
			digits += strings.ReplaceAll(line, " ", "")
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no frames", document)
	}
	return all
}

// reappend takes a frame apart down to layer 3 or the control message, and puts it together again.
func reappend(t *testing.T, frame []byte) []byte {
	h, pdu, err := parseFrame(frame, binary.BigEndian.Uint16(frame[12:]))
	if err != nil {
		t.Fatal(err)
	}
	if h.flags&flagSealed != 0 {
		again := append(make([]byte, Headroom), pdu...) // what is within only its keys tell (package seal)
		putHeader(again, h.da, h.sa, h.ethertype)
		again[16] = h.flags
		return again
	}
	f, err := hdlc.Parse(pdu)
	if err != nil {
		t.Fatal(err)
	}
	switch f.Kind {
	case hdlc.I:
		f.Info = reappendPacket(t, f.Info)
	case hdlc.UI:
		m, err := names.Parse(f.Info)
		if err != nil {
			t.Fatal(err)
		}
		f.Info = m.Append(nil)
	}
	again := f.Append(make([]byte, Headroom))
	putHeader(again, h.da, h.sa, h.ethertype)
	return append(again, make([]byte, max(len(frame)-len(again), 0))...)
}

func reappendPacket(t *testing.T, packet []byte) []byte {
	p, err := x25.Parse(packet)
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind == x25.KindCall {
		data, err := names.ParseCall(p.UserData)
		if err != nil {
			t.Fatal(err)
		}
		p.UserData = data.Append(nil)
	}
	return p.Append(nil)
}
