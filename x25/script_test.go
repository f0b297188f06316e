package x25

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// script drives one level in virtual time; the test is its peer.
type script struct {
	t   *testing.T
	l   *Level
	now time.Time
	out Out
}

// newScript returns a level before LinkUp.
func newScript(t *testing.T, cfg Config) *script {
	if cfg.MaxPacket == 0 {
		cfg.MaxPacket = 1493
	}
	return &script{t: t, l: NewLevel(cfg), now: epoch}
}

// readyScript returns a level in r1 that has nothing to say.
func readyScript(t *testing.T, cfg Config) *script {
	s := newScript(t, cfg)
	s.l.LinkUp(s.now, &s.out)
	s.want("restarts when the link is up", "RESTART cause 00 (DTE originated) diag 161 (DTE operational)")
	s.recv(Packet{Kind: KindRestart})
	s.event("is ready when both have restarted", "restarted")
	return s
}

func (s *script) check() {
	s.t.Helper()
	if err := s.l.Check(); err != nil {
		s.t.Fatal(err)
	}
}

// recv has the peer send a packet.
func (s *script) recv(p Packet) {
	s.t.Helper()
	s.recvBytes(p.Append(nil))
}

func (s *script) recvBytes(b []byte) {
	s.t.Helper()
	s.l.HandlePacket(s.now, b, &s.out)
	s.check()
}

// want expects the packets, in their printed form, and no more. A packet that ends with "…" is compared up to there.
func (s *script) want(why string, packets ...string) {
	s.t.Helper()
	for _, want := range packets {
		got := s.next()
		if head, cut := strings.CutSuffix(want, "…"); got != want && (!cut || !strings.HasPrefix(got, head)) {
			s.t.Fatalf("%s: sent %q, want %q", why, got, want)
		}
	}
	s.idle(why)
}

// next is the next packet the level sends, printed; "" if none.
func (s *script) next() string {
	s.t.Helper()
	b := s.l.AppendNext(s.now, nil, &s.out)
	s.check()
	if len(b) == 0 {
		return ""
	}
	p, err := Parse(b)
	if err != nil {
		s.t.Fatalf("sent % x: %v", b, err)
	}
	if len(b) > s.l.cfg.MaxPacket {
		s.t.Fatalf("sent %d octets, limit %d", len(b), s.l.cfg.MaxPacket)
	}
	return p.String()
}

// idle expects that nothing is sent.
func (s *script) idle(why string) {
	s.t.Helper()
	if got := s.next(); got != "" || s.l.Ready() {
		s.t.Fatalf("%s: sent %q besides", why, got)
	}
}

// printEvent is the form of an event in expectations: kind, and cause, diagnostic and user data where there are any.
func printEvent(e Event) string {
	text := e.Kind.String()
	if e.Kind == Cleared || e.Kind == Reset {
		text += fmt.Sprintf(" %02x %d", uint8(e.Cause), uint8(e.Diag))
	}
	if len(e.UserData) > 0 {
		text += fmt.Sprintf(" %q", e.UserData)
	}
	return text
}

// event expects exactly these events since the last look, and returns the circuit of the last.
func (s *script) event(why string, events ...string) *Circuit {
	s.t.Helper()
	var got []string
	var c *Circuit
	for _, e := range s.out.Events {
		got = append(got, printEvent(e))
		c = e.Circuit
	}
	s.out.Reset()
	if strings.Join(got, "; ") != strings.Join(events, "; ") {
		s.t.Fatalf("%s: events %q, want %q", why, got, events)
	}
	return c
}

// after lets virtual time pass, and the timers that are due with it.
func (s *script) after(d time.Duration) {
	s.t.Helper()
	s.now = s.now.Add(d)
	if deadline := s.l.Deadline(); !deadline.IsZero() && !s.now.Before(deadline) {
		s.l.HandleTimeout(s.now, &s.out)
	}
	s.check()
}

// dnetFacilities are those of a dnet caller with packets of MaxPacket 1493 and the window w.
func dnetFacilities(w byte) []byte {
	return []byte{1, 0x80, 0x43, w, w, 0x42, 10, 10, 0, 0, 0x7f, 0x05, 0xd1}
}

// called has the peer set up a circuit on lci with window w.
func (s *script) called(lci uint16, w byte) *Circuit {
	s.t.Helper()
	s.recv(Packet{Kind: KindCall, LCI: lci, Facilities: dnetFacilities(w), UserData: []byte("hello")})
	c := s.event("hears of the call", `incoming "hello"`)
	if err := c.Accept(s.now, nil); err != nil {
		s.t.Fatal(err)
	}
	s.want("accepts", fmt.Sprintf("ACCEPT lci %d fac %x", lci, append([]byte{0x43, w, w}, dnetFacilities(w)[5:]...)))
	return c
}

// calling sets up a circuit from this side.
func (s *script) calling() *Circuit {
	s.t.Helper()
	c := s.placed()
	s.recv(Packet{Kind: KindAccept, LCI: c.LCI(), Facilities: dnetFacilities(4)[2:]})
	s.event("is told of the answer", "connected")
	return c
}

// placed sends a call.
func (s *script) placed() *Circuit {
	s.t.Helper()
	c, err := s.l.Call(s.now, []byte("who"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.want("calls", fmt.Sprintf("CALL lci %d…", c.LCI()))
	return c
}

func (s *script) send(c *Circuit, data string, q, more bool) {
	s.t.Helper()
	if err := c.Send(s.now, []byte(data), q, more); err != nil {
		s.t.Fatal(err)
	}
	s.check()
}

// read expects the message, printed with its marks, from Peek, and takes it.
func (s *script) read(why string, c *Circuit, want string) {
	s.t.Helper()
	data, q, more, ok := c.Peek()
	got := ""
	if ok {
		got = string(data)
		if q {
			got += " Q"
		}
		if more {
			got += " M"
		}
	}
	if got != want || ok != (want != "") {
		s.t.Fatalf("%s: read %q %v, want %q", why, got, ok, want)
	}
	c.Next(s.now)
	s.check()
}

// state expects the state of a circuit.
func (s *script) state(why string, c *Circuit, want string) {
	s.t.Helper()
	if got := c.State(); got != want {
		s.t.Fatalf("%s: state %s, want %s", why, got, want)
	}
}
