package main

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"dnet/ether"
	"dnet/netman/node"
)

// An entry of a trace, octet for octet as protocol.md 5 has it.
func TestTraceEntry(t *testing.T) {
	want := "3e" + "00000000000f4240" + "0000003c" + "00000003" + "04" + "65746830" + "010203"
	e := traceEntry{kind: traceSent, time: time.Unix(0, 1_000_000), size: 60, name: "eth0", frame: []byte{1, 2, 3}}
	b := e.append(nil)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("the entry is %s, want %s", got, want)
	}
	got, rest, err := parseTraceEntry(append(b, "next"...))
	if err != nil || got.kind != e.kind || !got.time.Equal(e.time) || got.size != 60 || got.name != "eth0" || !bytes.Equal(got.frame, e.frame) || string(rest) != "next" {
		t.Errorf("it is read as %+v, and %q is left, %v", got, rest, err)
	}
	for n := range b {
		if _, _, err := parseTraceEntry(b[:n]); err == nil {
			t.Errorf("%d of its %d octets are read as an entry", n, len(b))
		}
	}
}

// Filters: words, several in a row, alternatives; and machines by the stations that they say are theirs.
func TestTraceFilter(t *testing.T) {
	const call = "02:00:00:00:00:01 > 02:00:00:00:00:02 I S1 R1 | CALL lci 12 fac 0180"
	for _, c := range []struct {
		filters string // with ; between
		shown   bool
	}{
		{"", true}, {"call", true}, {"CALL", true}, {"CAL", false}, {"lci  12", true}, {"lci 1", false}, {"12", true}, {"clear,call", true},
		{"clear", false}, {"call;eth0", true}, {"call;eth1", false}, {"02:00:00:00:00:02", true}, {"02:00:00:00:00:03", false}, {"doc", true}, {"happy", false},
	} {
		f := traceFilter{stations: map[string][]string{}}
		for _, filter := range strings.Split(c.filters, ";") {
			if filter != "" {
				f.lists = append(f.lists, words(filter))
			}
		}
		f.match("eth0", "02:00:00:00:00:02 > 02:00:00:00:00:01 UI | HELLO txid 00000001 machine doc versions 1-1")
		if got := f.match("eth0", call); got != c.shown {
			t.Errorf("the filter %q shows a call: %v, want %v", c.filters, got, c.shown)
		}
	}
}

// What a capture tells of frames that are missing, and that frames are LLC on an Ethertype that dissectors know.
func TestTraceCaptureBlocks(t *testing.T) {
	var file bytes.Buffer
	c := &traceCapture{capture: ether.NewCapture(&file), ports: map[string]uint32{}}
	frame, _ := hex.DecodeString("02000000000202000000000188b500041" + "07e7e0113")
	e := traceEntry{kind: traceReceived, time: time.Unix(1, 0), size: 60, name: "eth0", frame: node.CutFrame(frame)}
	if err := c.show(e, node.FormatCut(e.frame, 60), 5); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"the frame":           "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\x70\x7e\x7e\x01\x13",
		"the comment":         "5 frames are missing before this one.",
		"epb_dropcount":       "\x04\x00\x08\x00\x05\x00\x00\x00\x00\x00\x00\x00",
		"the interface":       "eth0",
		"both lengths of it":  "\x12\x00\x00\x00\x12\x00\x00\x00",
		"epb_flags, received": "\x02\x00\x04\x00\x05\x00\x00\x00",
	} {
		if !bytes.Contains(file.Bytes(), []byte(want)) {
			t.Errorf("the file has no %s, %q:\n%q", what, want, file.Bytes())
		}
	}
}
