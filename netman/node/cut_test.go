package node

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// What a trace shows to those who may not see what users say (protocol.md 5): the octets are those of protocol.md's examples.
func TestCutFrame(t *testing.T) {
	const head = "020000000002020000000001" + "88b5"
	for _, c := range []struct {
		what  string
		frame string // after the Ethertype
		keeps int    // octets of the frame
		text  string // how the rest is printed; empty: as before
	}{
		{"a data packet keeps its header", "000f10" + "7e7e0404" + "2fff0001" + "68656c6c6f2c20", 17 + 8, ""},
		{"padding goes", "000410" + "7e7e0113" + "00000000000000000000", 17 + 4, ""},
		{"an interrupt keeps its header, and its length is told", "000810" + "7e7e0a06" + "2fff23" + "02", 17 + 7,
			"02:00:00:00:00:01 > 02:00:00:00:00:02 I S5 R3 | INTERRUPT lci 4095 len 1"},
		{"a call stays whole", "002c10" + "7e7e0202" + "2fff0b000d0180437f7f420a0a00007f05d1" +
			"c4444e01010972782e736e65657a790205616c696365", 17 + 44, ""},
		{"a clear stays whole", "000c10" + "7e7e0a0e" + "2fff130d00" + "000000", 17 + 12, ""},
		{"a control message stays whole", "002710" + "454403" + "01011122334455667788000000070109" + "72782e736e65657a79" + "020667" + "72756d7079" + "030108", 17 + 39, ""},
		{"the echo of a TEST goes", "000710" + "7e7ef3" + "41424344", 17 + 3, ""},
		{"UI on another SAP goes", "000710" + "424203" + "41424344", 17 + 3, ""},
		{"a packet that is none keeps three octets", "000a10" + "7e7e0404" + "2fff55414243", 17 + 7, ""},
		{"a PDU that is none keeps three octets", "000710" + "7e7e1b" + "41424344", 17 + 3, ""},
		{"a frame of another version keeps its header", "000720" + "7e7e0404414243", 17, ""},
		{"a frame with a wrong length keeps its header", "00ff10" + "7e7e0404414243", 17, ""},
	} {
		frame, err := hex.DecodeString(head + c.frame)
		if err != nil {
			t.Fatal(c.what, err)
		}
		cut := CutFrame(frame)
		if len(cut) != c.keeps || !bytes.HasPrefix(frame, cut) {
			t.Errorf("%s: %d octets are left, want %d: %x", c.what, len(cut), c.keeps, cut)
		}
		if c.text == "" {
			c.text = FormatFrame(frame)
		}
		if text := FormatCut(cut, len(frame)); text != c.text {
			t.Errorf("%s: it is printed as\n%s\nwant\n%s", c.what, text, c.text)
		}
	}
	for n := range 17 {
		if cut := CutFrame(make([]byte, n)); len(cut) != n {
			t.Errorf("of %d octets %d are left", n, len(cut))
		}
	}
}
