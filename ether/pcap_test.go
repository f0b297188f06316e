package ether

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unhex reads hexadecimal with spaces and comments from # to the end of the line.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// captureTime is a time with a nanosecond to lose: 0x16345785D8A00001 ns after the start of 1970.
var captureTime = time.Unix(1600000000, 1)

// TestPcapGolden is typed from draft-ietf-opsawg-pcapng, sections 4.1, 4.2 and 4.3.
func TestPcapGolden(t *testing.T) {
	want := unhex(t, `
		0a0d0d0a 1c000000                   # section header, 28 octets
		4d3c2b1a 0100 0000 ffffffffffffffff # byte order, version 1.0, length not known
		1c000000
		01000000 34000000                   # interface description, 52 octets
		0100 0000 00000000                  # Ethernet, reserved, no snap length
		0200 0400 65746830                  # if_name eth0
		0600 0600 02000000000a 0000         # if_MACaddr
		0900 0100 09 000000                 # if_tsresol 10^-9
		0000 0000                           # end of options
		34000000
		06000000 40000000                   # enhanced packet, 64 octets
		00000000 85573416 0100a0d8          # interface 0, time high, time low
		11000000 11000000                   # captured, original length
		02000000000b 02000000000a 88b5 4f7574 000000
		0200 0400 06000000 0000 0000        # epb_flags: outbound, unicast; end of options
		40000000
		06000000 68000000                   # enhanced packet, 104 octets
		00000000 85573416 0100a0d8
		3c000000 3c000000                   # padded to 60 by the bus
		03444e455400 02000000000b 88b5 496e`+strings.Repeat("00", 44)+`
		0200 0400 09000000 0000 0000        # epb_flags: inbound, multicast; end of options
		68000000`)
	bus := NewBus(1500)
	var file bytes.Buffer
	capture := NewCapture(&file)
	capture.now = func() time.Time { return captureTime }
	p, b := capture.Port(bus.Port(stationA), "eth0"), bus.Port(stationB)
	mustSend(t, p, frameOf(stationB, stationA, testType, "Out"))
	mustSend(t, b, frameOf(testGroup, stationB, testType, "In"))
	wantFrames(t, p, "a captured port is the port", "In")
	if !bytes.Equal(file.Bytes(), want) {
		t.Errorf("got\n%swant\n%s", hex.Dump(file.Bytes()), hex.Dump(want))
	}
}

func TestPcapOutlivesItsWriter(t *testing.T) {
	bus := NewBus(1500)
	p, b := Pcap(bus.Port(stationA), &brokenWriter{left: 3}), bus.Port(stationB)
	for range 3 {
		mustSend(t, p, frameOf(stationB, stationA, testType, "x"))
	}
	wantFrames(t, b, "the traffic goes on", "x", "x", "x")
	if err := p.Close(); !errors.Is(err, errDiskFull) {
		t.Errorf("Close = %v, want what ended the capture", err)
	}
}

// TestPcapTshark: tshark reads a capture of two ports while it grows.
func TestPcapTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		lacks(t, "tshark")
	}
	path := filepath.Join(t.TempDir(), "test.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bus := NewBus(1500)
	capture := NewCapture(file)
	capture.now = func() time.Time { return captureTime }
	a := capture.Port(bus.Port(stationA), "eth0")
	mustSend(t, a, frameOf(stationB, stationA, testType, "\x00\x03\x10\x7e\x7e\x7f"))
	b := capture.Port(bus.Port(stationB), "eth1") // a port may come later
	mustSend(t, b, frameOf(stationA, stationB, testType, "\x00\x03\x10\x7e\x7f\x73"), frameOf(testGroup, stationB, testType, ""))
	if got := drain(t, a); len(got) != 2 {
		t.Fatalf("%d frames, want 2", len(got))
	}
	cmd := exec.Command("tshark", "-r", path, "-T", "fields", "-E", "separator=|", "-e", "frame.interface_name",
		"-e", "frame.packet_flags_direction", "-e", "frame.time_epoch", "-e", "eth.src", "-e", "eth.type", "-e", "frame.len")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, complaints.String())
	}
	want := strings.Join([]string{
		"eth0|0x00000002|EPOCH|02:00:00:00:00:0a|0x88b5|20",
		"eth1|0x00000002|EPOCH|02:00:00:00:00:0b|0x88b5|20",
		"eth1|0x00000002|EPOCH|02:00:00:00:00:0b|0x88b5|14",
		"eth0|0x00000001|EPOCH|02:00:00:00:00:0b|0x88b5|60",
		"eth0|0x00000001|EPOCH|02:00:00:00:00:0b|0x88b5|60",
	}, "\n") + "\n"
	want = strings.ReplaceAll(want, "EPOCH", "1600000000.000000001")
	if string(out) != want {
		t.Errorf("tshark says\n%swant\n%s%s", out, want, complaints.String())
	}
}
