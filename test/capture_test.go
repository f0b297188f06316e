package test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// packet is an X.25 packet as tshark shows it.
type packet struct {
	from string // MAC address
	size int    // of the frame
	kind string // "0x0b"
	lci  string
	q, m bool
	data []byte
}

// dissect has tshark show the X.25 packets of a capture. It is told the Ethertype, and to leave sequences of packets in pieces.
func dissect(t *testing.T, file string) (all []packet) {
	t.Helper()
	lab.Need(t, "tshark")
	m := lab.New(t, lab.Config{Machines: []string{"shark"}}).Machine("shark")
	args := []string{"-d", "ethertype==0x88b5,snaeth", "-o", "x25.reassemble:FALSE", "-r", file, "-Y", "x25", "-T", "fields"}
	for _, field := range []string{"eth.src", "frame.len", "x25.type", "x25.lcn", "x25.q", "x25.m", "data.data"} {
		args = append(args, "-e", field)
	}
	p := run(t, m, "tshark", args...)
	if p.err != nil {
		t.Fatalf("%s: %v\n%s", p, p.err, &p.stderr)
	}
	for line := range strings.Lines(p.stdout.String()) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		pk := packet{from: f[0], kind: f[2], lci: f[3], q: f[4] == "1", m: f[5] == "1"}
		fmt.Sscan(f[1], &pk.size)
		data, err := hex.DecodeString(strings.ReplaceAll(f[6], ":", ""))
		if err != nil || len(f) != 7 {
			t.Fatalf("tshark says %q: %v", line, err)
		}
		pk.data = data
		all = append(all, pk)
	}
	return all
}

// A capture of the lab, dissected by tshark: what the programs said is there octet for octet, with its marks, on one logical channel
// in packets of the kinds that ISO 8208 has.
func TestCapture(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("MTU %d", mtu), func(t *testing.T) {
			lab.Need(t, "tshark")
			l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}, MTU: mtu})
			file := filepath.Join(t.TempDir(), "capture.pcap")
			recording := l.Capture(file)
			a, b := join(t, l.Machine("grumpy"), l.Machine("doc"), circuit.Options{})
			sent := speak(t, a, b)
			a.Close()
			b.Close()
			idle(t, l.Machines()...)
			if err := recording.Close(); err != nil {
				t.Fatal(err)
			}
			judge(t, dissect(t, file), l.Machine("grumpy").MAC(), l.Machine("doc").MAC(), mtu, sent)
		})
	}
}

// datagram is one with its mark.
type datagram struct {
	octets []byte
	q      bool
}

// speak sends datagrams of all sizes, and an interrupt, from a to b, and one back at the end.
func speak(t *testing.T, a, b *circuit.Conn) (sent []datagram) {
	t.Helper()
	noise := octets(t, 20000)
	for i, n := range []int{1, 5, 41, 42, 43, 60, 200, 1488, 1489, 1490, 1491, 9000, 20000} {
		d := datagram{noise[:n], i%3 == 1}
		bits := circuit.Bits(0)
		if d.q {
			bits = circuit.Q
		}
		sent = append(sent, d)
		go func() {
			if err := a.WriteDatagram(d.octets, bits); err != nil {
				t.Errorf("datagram of %d: %v", n, err)
			}
		}()
		for bits := circuit.M; bits&circuit.M != 0; {
			var err error
			if _, bits, err = b.Next(); err != nil {
				t.Fatalf("datagram of %d: %v", n, err)
			}
		}
	}
	if err := a.Interrupt([]byte("BREAK")); err != nil {
		t.Fatal(err)
	}
	<-b.Interrupts()
	if err := b.WriteDatagram([]byte("good bye"), 0); err != nil {
		t.Fatal(err)
	}
	if octets, _, err := a.Next(); err != nil || string(octets) != "good bye" {
		t.Fatalf("%q, %v", octets, err)
	}
	return sent
}

// judge compares what tshark shows with what was said.
func judge(t *testing.T, all []packet, from, to string, mtu int, sent []datagram) {
	t.Helper()
	// The restart pair has no channel, the call the highest: grumpy has the lower address, and so the DTE role.
	if len(all) < 2 || all[0].kind != "0xfb" || all[0].lci != "" {
		t.Fatalf("the capture has %d packets and does not begin with a restart: %+v", len(all), all[:min(2, len(all))])
	}
	var kinds []string
	var got []datagram
	var now datagram
	short := 0
	for _, p := range all {
		if p.kind == "0xfb" || p.kind == "0xff" {
			continue
		}
		if p.lci != "4095" {
			t.Errorf("a packet on channel %s: %+v", p.lci, p)
		}
		if p.size > 14+mtu || p.size < 60 {
			t.Errorf("a frame of %d octets", p.size)
		}
		if p.kind != "0x00" {
			kinds = append(kinds, map[string]string{from: ">", to: "<"}[p.from]+p.kind)
			switch {
			case p.kind == "0x0b" && !bytes.Contains(p.data, []byte("\x01\x08held.doc")):
				t.Errorf("the call's user data is %q", p.data)
			case p.kind == "0x23" && !bytes.Equal(p.data, []byte("BREAK")):
				t.Errorf("the interrupt has %q", p.data)
			}
			continue
		}
		if p.from == to {
			if string(p.data) != "good bye" {
				t.Errorf("data back: %q", p.data)
			}
			continue
		}
		if p.size == 60 {
			short++
		}
		if now.octets != nil && now.q != p.q {
			t.Errorf("Q changes inside a sequence: %+v", p)
		}
		now = datagram{append(now.octets, p.data...), p.q}
		if !p.m {
			got, now = append(got, now), datagram{}
		}
	}
	if !slices.EqualFunc(got, sent, func(a, b datagram) bool { return bytes.Equal(a.octets, b.octets) && a.q == b.q }) {
		t.Errorf("tshark shows %d datagrams, and not the %d that were sent:\n%s\n%s", len(got), len(sent), sizes(got), sizes(sent))
	}
	if short < 3 {
		t.Errorf("only %d frames were shorter than 60 octets and padded", short)
	}
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "<0x01" || k == ">0x01" }) // RR, as many as it takes
	want := []string{">0x0b", "<0x0f", ">0x23", "<0x27"}
	if len(kinds) != len(want)+2 || !slices.Equal(kinds[:4], want) || kinds[4][1:] != "0x13" || kinds[5][1:] != "0x17" || kinds[4][0] == kinds[5][0] {
		t.Errorf("the kinds of packets are %v; want %v, a clear request and its confirmation", kinds, want)
	}
}

func sizes(all []datagram) (text string) {
	for _, d := range all {
		text += fmt.Sprintf(" %d(%v)", len(d.octets), d.q)
	}
	return text
}

// netman's own capture and trace have what crosses the wire.
func TestPcapAndTrace(t *testing.T) {
	t.Parallel()
	lab.Need(t, "tshark")
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	file := filepath.Join(t.TempDir(), "netman.pcapng")
	netman := daemon(t, grumpy, "--pcap", file, "--trace")
	doc.Netman()
	start(t, grumpy, strings.NewReader("seen by all"), "netman", "nc", "cat.doc").ends(t).must(t, "seen by all", "", 0)
	idle(t, l.Machines()...)
	netman.Process.Signal(unix.SIGTERM)
	netman.ends(t)
	seen := map[string]int{}
	for _, p := range dissect(t, file) {
		if string(p.data) == "seen by all" && p.kind == "0x00" && p.lci == "4095" {
			seen[p.from]++
		}
	}
	if seen[grumpy.MAC()] != 1 || seen[doc.MAC()] != 1 {
		t.Errorf("in the capture the text is there %v times; want once each way", seen)
	}
	for _, want := range []string{"CALL lci 4095", "ACCEPT lci 4095", "DATA lci 4095 ps 0 pr 0 len 11", "SABME P", "CLEAR"} {
		if !strings.Contains(netman.stderr.String(), want) {
			t.Errorf("the trace has no %q", want)
		}
	}
}
