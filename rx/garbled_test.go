package main

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dnet/circuit"
	"dnet/circuit/circuittest"
)

// garbled is a client that says what no rx says: octets of Q datagrams, typed from protocol.md 6.
type garbled struct {
	t    *testing.T
	conn *circuit.Conn
	r    receiver
}

func newGarbled(t *testing.T, d *circuittest.Door) *garbled {
	t.Helper()
	conn, err := circuit.Dial(context.Background(), "rx.moon", circuit.Options{Door: d.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(bound))
	return &garbled{t, conn, receiver{next: conn.Next}}
}

func (g *garbled) says(q string) { g.conn.WriteDatagram(octets(g.t, q), circuit.Q) }

// ends returns the last message, or how the circuit ended without one; and the output before it.
func (g *garbled) ends() (last, output string) {
	for {
		k, value, err := g.r.receive()
		switch {
		case err != nil:
			return err.Error(), output
		case k == kindData:
			output += string(value)
		case k == kindFailed:
			return "failed: " + string(value), output
		case k == kindStatus:
			return "status " + string('0'+value[0]), output
		}
	}
}

// TestGarbledClient: what is not known or does not fit is skipped, what breaks the protocol ends the call with a reason.
func TestGarbledClient(t *testing.T) {
	eachWay(t, func(t *testing.T, d *circuittest.Door) {
		const terminal = "84 00000008 0018 0050 0000 0000"
		g := newGarbled(t, d)
		g.says("01 01 01 00000014 726561642078 3b 207374747920 73697a65203b 6563" + terminal) // cut short: the length is one too many
		if last, _ := g.ends(); !strings.HasPrefix(last, "failed: ") {
			t.Errorf("a garbled start: %q", last)
		}
		g = newGarbled(t, d)
		g.says("01 01 01 00000011 72656164 2078 3b 2073747479 2073697a65 " + terminal) // read x; stty size
		for _, junk := range []string{
			"08", "08 0018", "08 00180050000000", "06 00", "06 01 00000000 00", "06 09 00000001", "07", "07 03", "07 0101", "09", "0f 00", "ff ffff", "00",
			"01 01 01 00000002 6c73", "03 6e6f", "04 00", "05 776879", "06 01 ffffffff",
		} {
			g.says(junk)
		}
		g.says("08 000a 0014 0000 0000 ffff") // what follows a size is skipped
		g.conn.Interrupt([]byte("KILL"))      // not a signal that is passed on
		g.conn.Interrupt(bytes.Repeat([]byte{0xff}, 32))
		g.conn.WriteDatagram([]byte("go\n"), 0)
		if last, output := g.ends(); last != "status 0" || !strings.HasSuffix(output, "10 20\r\n") {
			t.Errorf("between junk: %q, output %q", last, output)
		}
		for what, send := range map[string]func(g *garbled){
			"more input than credit": func(g *garbled) {
				for range 40 {
					g.conn.WriteDatagram(make([]byte, 60000), 0)
				}
			},
			"message is too long": func(g *garbled) {
				for range 10 {
					g.conn.WriteDatagram(bytes.Repeat([]byte{8}, 60000), circuit.Q|circuit.M)
				}
			},
		} {
			g = newGarbled(t, d)
			g.says("01 01 01 0000000a 736c6565702031303030" + terminal) // sleep 1000
			send(g)
			if last, _ := g.ends(); !strings.Contains(last, what) && !strings.Contains(last, "died") {
				t.Errorf("%s: %q", what, last)
			}
		}
		if err := rx(t, d, "moon", "true").Run(); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

// TestWipeArgs: a secret among the arguments is not for those who list processes.
func TestWipeArgs(t *testing.T) {
	out, err := exec.Command("wiped", "-l", "me:secret", "-lme:secret", "me:secret@moon", "other").Output()
	if got := string(out); err != nil || strings.Contains(got, "secret") || !strings.Contains(got, "other") || !strings.Contains(got, "-l\x00") {
		t.Errorf("the arguments are %q, %v", got, err)
	}
}
