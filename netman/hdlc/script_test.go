package hdlc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script plays the peer of one link in virtual time. Frames are written in their printed form: P makes a command and F a
// response; without either I, SABME and DISC are commands, the others responses, unless "cmd" or "rsp" stands before.
type script struct {
	t    testing.TB
	link *Link
	now  time.Time
	out  Out
	got  []string // frames, and events as "=event"
	raw  [][]byte // PDUs of got's frames, copied
}

func newScript(t testing.TB, cfg Config) *script {
	if cfg.N1 == 0 {
		cfg.N1 = 128
	}
	if cfg.K == 0 {
		cfg.K = 8
	}
	if cfg.RW == 0 {
		cfg.RW = 16
	}
	return &script{t: t, link: NewLink(cfg), now: epoch}
}

// frame reads a frame's printed form; for I frames what stands after ":" is the information.
func frame(text string) Frame {
	f := Frame{DSAP: SAPX25, SSAP: SAPX25}
	text, info, has := strings.Cut(text, ":")
	if has {
		f.Info = []byte(info)
	}
	kind := ""
	response := 0
	for _, word := range strings.Fields(text) {
		n, err := strconv.Atoi(word[1:])
		switch {
		case word == "cmd":
			response = -1
		case word == "rsp":
			response = 1
		case word == "P":
			f.PF, response = true, -1
		case word == "F":
			f.PF, response = true, 1
		case kind == "":
			kind = word
			f.Kind = Kind(slices.Index(kindNames[:], word))
		case word[0] == 'S' && err == nil:
			f.NS = uint8(n+modulus) % modulus
		case word[0] == 'R' && err == nil:
			f.NR = uint8(n+modulus) % modulus
		default:
			panic("frame: " + text)
		}
	}
	commands := f.Kind == I || f.Kind == SABME || f.Kind == DISC
	f.Response = response > 0 || response == 0 && !commands
	return f
}

// take notes what the machine did, and checks it.
func (s *script) take() {
	s.t.Helper()
	if err := s.link.Check(); err != nil {
		s.t.Fatalf("at %v: %v", s.now.Sub(epoch), err)
	}
	for _, pdu := range s.out.Frames {
		f, err := Parse(pdu[s.link.cfg.Headroom:])
		if err != nil {
			s.t.Fatalf("sent what does not parse: %x: %v", pdu, err)
		}
		s.got = append(s.got, f.String())
		s.raw = append(s.raw, slices.Clone(pdu[s.link.cfg.Headroom:]))
	}
	for _, e := range s.out.Events {
		text := "=" + e.Kind.String()
		if e.Kind == Down {
			text += " " + e.Reason.String()
		}
		if e.Kind == Data {
			text += " " + string(e.Info)
		}
		s.got = append(s.got, text)
	}
	s.out.Reset()
}

// recv gives frames to the link.
func (s *script) recv(frames ...string) {
	s.t.Helper()
	for _, text := range frames {
		s.link.HandleFrame(s.now, frame(text), &s.out)
		s.take()
	}
}

// send sends packets as one train.
func (s *script) send(packets ...string) {
	s.t.Helper()
	for i, p := range packets {
		s.link.Send(s.now, append(s.link.Buffer(), p...), i+1 < len(packets), &s.out)
		s.take()
	}
}

// sendN sends n packets as one train.
func (s *script) sendN(n int) {
	s.t.Helper()
	s.send(slices.Repeat([]string{"p"}, n)...)
}

// wait lets time pass; timers run when they are due.
func (s *script) wait(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for {
		due := s.link.Deadline()
		if due.IsZero() || due.After(end) {
			break
		}
		s.now = due
		s.link.HandleTimeout(s.now, &s.out)
		s.take()
		if next := s.link.Deadline(); !next.IsZero() && !next.After(due) {
			s.t.Fatalf("at %v: the timer that ran is due again", s.now.Sub(epoch))
		}
	}
	s.now = end
}

// sleep lets time pass without this process running.
func (s *script) sleep(d time.Duration) { s.now = s.now.Add(d) }

// want asserts all that the link did since the last want.
func (s *script) want(sentence string, want ...string) {
	s.t.Helper()
	if !slices.Equal(s.got, want) {
		s.t.Fatalf("at %v: %s: got %s, want %s", s.now.Sub(epoch), sentence, list(s.got), list(want))
	}
	s.got, s.raw = nil, nil
}

// skip forgets what the link did.
func (s *script) skip() { s.got, s.raw = nil, nil }

func list(l []string) string { return "[" + strings.Join(l, "; ") + "]" }

// up sets the link up as the initiator, with a measured round trip of rtt.
func (s *script) up(rtt time.Duration) {
	s.t.Helper()
	s.link.Connect(s.now, &s.out)
	s.take()
	s.want("connecting sends SABME with P", "SABME P")
	s.wait(rtt)
	s.recv("UA F")
	s.want("UA brings the link up", "=up")
}

const ms = time.Millisecond

func TestSetUp(t *testing.T) {
	s := newScript(t, Config{})
	s.link.Connect(s.now, &s.out)
	s.take()
	s.want("connecting sends SABME", "SABME P")
	s.wait(t1First - 1)
	s.want("nothing more before T1")
	s.wait(1)
	s.want("T1 repeats SABME", "SABME P")
	s.recv("UA")
	s.want("UA without F answers no P")
	s.recv("UA F")
	s.want("UA brings the link up", "=up")
	s.recv("UA F")
	s.want("a second UA is ignored")
	if s.link.Stats().LooseUA != 1 {
		t.Error("the second UA is not counted")
	}
}

func TestSetUpInVain(t *testing.T) {
	s := newScript(t, Config{})
	s.link.Connect(s.now, &s.out)
	s.take()
	s.wait(n2*t1First - 1)
	s.want("SABME is sent N2 times", slices.Repeat([]string{"SABME P"}, n2)...)
	s.wait(1)
	s.want("then the peer counts as silent", "=down silent")
	s.wait(time.Hour)
	s.want("and all is quiet")
}

func TestSetUpRefused(t *testing.T) {
	s := newScript(t, Config{})
	s.link.Connect(s.now, &s.out)
	s.take()
	s.skip()
	s.recv("DM")
	s.want("a DM that answers no P is ignored")
	s.recv("DM F")
	s.want("DM refuses the link", "=down refused")
}

func TestSABMENeedsHello(t *testing.T) {
	s := newScript(t, Config{})
	s.recv("SABME P")
	s.want("SABME without hello is refused", "DM F")
	s.link.Expect()
	s.recv("SABME P")
	s.want("SABME after hello brings the link up", "UA F", "=up")
	s.recv("SABME P")
	s.want("the same SABME again, its UA lost, is answered without a reset", "UA F")
	s.send("a")
	s.recv("SABME P")
	s.want("also when something was sent meanwhile", "I S0 R0", "UA F")
	s.recv("RR R1")
	s.recv("SABME P")
	s.want("once the peer has shown that it is up, a late SABME is nothing")
	if got := s.link.Stats().UnexpectedSABME; got != 2 {
		t.Errorf("%d unexpected SABME counted, want 2", got)
	}
	s.link.Expect()
	s.send("b")
	s.skip()
	s.recv("SABME P")
	s.want("after a new hello SABME ends the old link and begins the new", "UA F", "=down begun anew by the peer", "=up")
	s.send("c")
	s.want("with numbers from zero", "I S0 R0")
	s.recv("I S0 R1 P:x", "DISC P")
	s.want("until the peer ends it", "RR R1 F", "=data x", "UA F", "=down disconnected by the peer")
	s.recv("SABME P")
	s.want("the hello was used up", "DM F")
}

func TestSABMECollision(t *testing.T) {
	s := newScript(t, Config{})
	s.link.Connect(s.now, &s.out)
	s.take()
	s.skip()
	s.recv("SABME P")
	s.want("the peer's SABME is answered, and ours still waits", "UA F")
	s.recv("UA F")
	s.want("our UA brings the link up", "=up")
	s.recv("SABME P")
	s.want("the peer, whose UA was lost, is answered again", "UA F")
}

func TestDisconnect(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.sendN(3)
	s.skip()
	s.link.Disconnect(s.now, &s.out)
	s.take()
	s.want("DISC ends the link", "DISC P")
	s.recv("RR R3", "I S0 R3 P:x")
	s.want("frames on the way count for nothing any more")
	s.wait(t1Least)
	s.want("T1 repeats DISC", "DISC P")
	s.recv("UA F")
	s.want("UA completes it", "=down disconnected")

	s = newScript(t, Config{})
	s.up(ms)
	s.link.Disconnect(s.now, &s.out)
	s.take()
	s.skip()
	s.recv("DISC P")
	s.want("both disconnect at once: each is answered", "UA F")
	s.recv("DM F")
	s.want("DM does as well as UA", "=down disconnected")

	s = newScript(t, Config{})
	s.up(ms)
	s.link.Disconnect(s.now, &s.out)
	s.take()
	s.wait(n2 * t1Least)
	s.want("a dead peer is left after N2 tries", append(slices.Repeat([]string{"DISC P"}, n2), "=down disconnected")...)
}

func TestAcknowledgement(t *testing.T) {
	s := newScript(t, Config{RW: 16})
	s.up(ms)
	s.recv("I S0 R0:a")
	s.want("a packet is handed on at once", "=data a")
	s.wait(t2Delay - 1)
	s.want("the acknowledgement waits for a frame to ride on")
	s.wait(1)
	s.want("until T2", "RR R1")
	s.recv("I S1 R0:b")
	s.send("x")
	s.want("N(R) rides on the answer", "=data b", "I S0 R2")
	s.wait(t2Delay)
	s.want("and then RR is not sent")
	s.recv("I S2 R1:c", "I S3 R1:d", "I S4 R1:e")
	s.skip()
	s.recv("I S5 R1:f")
	s.want("rw/4 frames are acknowledged at once", "RR R6", "=data f")
	s.recv("I S6 R1 P:g")
	s.want("P is answered at once", "RR R7 F", "=data g")
	s.recv("I S3 R1:d")
	s.want("a frame that came before is not handed on again")
	s.wait(t2Delay)
	s.want("but acknowledged again", "RR R7")
}

func TestREJOncePerGap(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.recv("I S1 R0:b")
	s.want("the first frame after a gap is rejected", "REJ R0")
	s.recv("I S2 R0:c", "I S3 R0:d")
	s.want("the next ones are not, the gap is the same")
	s.recv("I S4 R0 P:e")
	s.want("a P in the gap is answered by RR", "RR R0 F")
	s.recv("I S0 R0:a", "I S1 R0:b", "I S2 R0:c")
	s.want("the repetition is taken in order", "=data a", "=data b", "=data c")
	s.recv("I S4 R0:e")
	s.want("a new gap is rejected anew", "REJ R3")
	s.recv("I S5 R0:f", "I S4 R0:e")
	s.want("when the sender has gone back and the frame is missing again, it is rejected again", "REJ R3")
	s.recv("I S64 R0:z")
	s.want("a number outside the window is a fault of the peer's", "FRMR V 8000", "=down protocol error")
}

func TestWindowAndP(t *testing.T) {
	s := newScript(t, Config{K: 4})
	s.up(ms)
	s.send("a")
	s.want("a single packet goes without P", "I S0 R0")
	s.recv("RR R1")
	s.send("b", "c")
	s.want("the last of a train asks what arrived", "I S1 R0", "I S2 R0 P")
	s.wait(ms)
	s.recv("RR R3 F")
	s.send("d", "e", "f", "g")
	s.want("the frame that fills the window asks", "I S3 R0", "I S4 R0", "I S5 R0", "I S6 R0 P")
	if s.link.Room() != 0 {
		t.Error("there is room in a full window")
	}
	s.recv("RR R5")
	if s.link.Room() != 2 {
		t.Errorf("room for %d packets after two were acknowledged", s.link.Room())
	}
	s.send("h", "i")
	s.want("one P is outstanding, so there is no other", "I S7 R0", "I S8 R0")
	s.wait(ms)
	s.recv("RR R9")
	s.send("j", "k")
	s.want("a frame with P that was acknowledged without F: the F is lost", "I S9 R0", "I S10 R0 P")
	s.recv("RR R9 F")
	s.want("the late F says nothing of this P")
	if s.link.Stats().LateF != 1 {
		t.Error("the late F is not counted")
	}
	s.wait(ms)
	s.recv("RR R11 F")
	s.wait(100 * ms)
	s.want("all is acknowledged and T1 stopped")
}

func TestREJ(t *testing.T) {
	s := newScript(t, Config{K: 8})
	s.up(ms)
	s.sendN(6)
	s.skip()
	s.recv("REJ R2")
	s.want("REJ goes back to N(R), at half the working window", "I S2 R0", "I S3 R0", "I S4 R0", "I S5 R0")
	s.recv("REJ R2")
	s.want("its copy does nothing")
	s.recv("RR R2 F")
	s.want("the answer to the first P, a round trip too early to be one, does nothing")
	s.wait(ms)
	s.recv("RR R2 F")
	s.want("an answer from before the repetition only makes us ask again", "RR R0 P")
	s.wait(ms)
	s.recv("RR R4 F")
	s.want("the answer shows what is still missing, which is sent again", "I S4 R0", "I S5 R0 P")
	s.recv("REJ R100")
	s.want("a stale N(R) counts for nothing")
	s.wait(ms)
	s.recv("RR R6 F")
	s.wait(100 * ms)
	s.want("then all is well")
	st := s.link.Stats()
	if st.CopiedREJ != 1 || st.StaleNR != 1 || st.LateF != 1 || st.ResentI != 6 {
		t.Errorf("counted %+v", st)
	}
	if st.Losses != 1 || st.Window != 4 {
		t.Errorf("%d halvings to %d; two losses in one round trip halve once", st.Losses, st.Window)
	}
}

func TestT1Checkpoint(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("a")
	s.skip()
	s.wait(t1Least)
	s.want("T1 asks what arrived", "RR R0 P")
	s.wait(ms)
	s.recv("RR R0 F")
	s.want("nothing did: it is sent again, and asks", "I S0 R0 P")
	s.wait(tpLeast)
	s.want("F is waited for less long than an acknowledgement", "RR R0 P")
	s.wait(2 * tpLeast)
	s.want("then twice as long", "RR R0 P")
	s.recv("RR R1 F")
	s.wait(200 * ms)
	s.want("it had arrived, the F was lost")
}

func TestT1Adapts(t *testing.T) {
	s := newScript(t, Config{})
	s.up(60 * ms)
	if st := s.link.Stats(); st.SRTT != 60*ms || st.T1 != 60*ms+4*30*ms+t2Delay {
		t.Errorf("after one round trip of 60 ms: srtt %v, T1 %v", st.SRTT, st.T1)
	}
	for range 300 {
		s.send("a", "b")
		s.wait(2 * ms)
		s.recv(fmt.Sprintf("RR R%d F", s.link.send.vs))
	}
	if st := s.link.Stats(); st.SRTT > 3*ms || st.T1 != t1Least {
		t.Errorf("after many of 2 ms: srtt %v, T1 %v", st.SRTT, st.T1)
	}
}

func TestWorkingWindow(t *testing.T) {
	s := newScript(t, Config{K: 32})
	s.up(ms)
	for _, want := range []int{16, 8, 4, 2, 2} {
		s.sendN(s.link.Room())
		s.recv(fmt.Sprintf("REJ R%d", s.link.send.va))
		if got := s.link.Stats().Window; got != want {
			t.Fatalf("working window %d after a loss, want %d", got, want)
		}
		// What is held shrinks to what the window lets out only as it is acknowledged.
		s.wait(ms)
		for s.link.send.va != s.link.send.vm {
			s.recv(fmt.Sprintf("RR R%d F", s.link.send.vs))
		}
	}
	s.skip()
	for want := 3; want <= 5; want++ {
		s.sendN(s.link.Room())
		s.wait(ms)
		s.recv(fmt.Sprintf("RR R%d F", s.link.send.vs))
		if got := s.link.Stats().Window; got != want {
			t.Fatalf("working window %d after a window without loss, want %d", got, want)
		}
	}
}

func TestSilence(t *testing.T) {
	s := newScript(t, Config{Tolerance: time.Second})
	s.up(ms)
	s.wait(250*ms - 1)
	s.want("an idle link is quiet for a quarter of the tolerance")
	s.wait(1)
	s.want("then it polls", "RR R0 P")
	s.wait(ms)
	s.recv("RR R0 F")
	s.wait(250 * ms)
	s.want("and again", "RR R0 P")
	s.skip()
	s.wait(750*ms - 1)
	if s.got == nil || slices.ContainsFunc(s.got, func(g string) bool { return g != "RR R0 P" }) {
		t.Fatalf("only polls before the tolerance is over: %s", list(s.got))
	}
	s.skip()
	s.wait(1)
	s.want("a peer not heard for the tolerance is given up", "DM", "=down silent")
	s.recv("RR R0 P")
	s.want("and told so when it asks", "DM F")
}

func TestOwnLateness(t *testing.T) {
	s := newScript(t, Config{Tolerance: time.Second})
	s.up(ms)
	s.sleep(10 * time.Second)
	s.link.HandleTimeout(s.now, &s.out)
	s.take()
	s.want("a process that slept polls before it judges", "RR R0 P")
	s.wait(ms)
	s.recv("RR R0 F")
	s.wait(200 * ms)
	s.want("the peer was there")

	s.sendN(2)
	s.skip()
	s.sleep(900 * ms)
	s.link.HandleTimeout(s.now, &s.out)
	s.take()
	s.want("also while frames are outstanding", "RR R0 P")
	s.wait(240 * ms)
	for _, g := range s.got {
		if g != "RR R0 P" {
			t.Fatalf("the judgement waits for a quarter of the tolerance: %s", list(s.got))
		}
	}
	s.skip()
	s.wait(11 * ms)
	s.want("but not for ever", "DM", "=down silent")
}

func TestDMWhileUp(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.recv("DM")
	s.want("a DM that answers nothing makes us ask", "RR R0 P")
	s.recv("DM")
	s.want("another one nothing")
	s.recv("RR R0 F")
	s.recv("DM F")
	s.want("nor does F count if no P is outstanding", "RR R0 P")
	s.recv("DM F")
	s.want("the answer to our poll counts", "=down refused")
}

func TestFRMR(t *testing.T) {
	s := newScript(t, Config{N1: 14})
	s.up(ms)
	s.recv("I S0 R0:0123456789")
	s.want("N1 octets are taken", "=data 0123456789")
	s.recv("I S1 R0 P:0123456789a")
	s.want("one more is a fault of the peer's", "FRMR F Y 0201", "=down protocol error")

	s = newScript(t, Config{})
	s.up(ms)
	s.sendN(2)
	s.skip()
	s.recv("RR R3")
	raw := s.raw
	s.want("acknowledging what was not sent is one too", "FRMR Z 0106", "=down protocol error")
	if want := []byte{0x7e, 0x7f, 0x87, 0x01, 0x06, 0x04, 0x01, 0x08}; !slices.Equal(raw[0], want) {
		t.Errorf("FRMR is %x, want %x", raw[0], want)
	}
	s = newScript(t, Config{})
	s.up(ms)
	s.recv("FRMR:12345")
	s.want("FRMR ends the link", "=down protocol error")
}

func TestRNR(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("a", "b", "c")
	s.skip()
	s.wait(ms)
	s.recv("RNR R1 F")
	s.want("a busy peer is sent nothing")
	if s.link.Room() != 0 {
		t.Error("there is room toward a busy peer")
	}
	s.wait(t1Least)
	s.want("it is asked after T1 whether it still is", "RR R0 P")
	s.recv("RNR R1 F")
	s.want("it is")
	s.wait(t1Least)
	s.want("so it is asked again", "RR R0 P")
	s.wait(ms)
	s.recv("RR R1 F")
	s.want("when it is not, what it threw away is sent again", "I S1 R0", "I S2 R0 P")
	if got := s.link.Stats().Losses; got != 0 {
		t.Errorf("%d losses counted, but the path lost nothing", got)
	}
}

func TestOwnBusy(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.recv("I S0 R0:a")
	s.skip()
	s.link.SetBusy(s.now, true, &s.out)
	s.take()
	s.want("lack of buffers is told, and acknowledges", "RNR R1")
	s.recv("I S1 R0:b", "I S2 R0 P:c")
	s.want("packets are not taken meanwhile", "RNR R1 F")
	s.link.SetBusy(s.now, false, &s.out)
	s.take()
	s.want("its end is told, with P so that it is surely heard", "RR R1 P")
}

func TestPathMTUProof(t *testing.T) {
	cfg := Config{N1: 200, SafeN1: 100}
	s := newScript(t, cfg)
	s.link.Connect(s.now, &s.out)
	s.take()
	s.skip()
	s.wait(ms)
	s.recv("UA F")
	test := s.raw[0]
	s.want("before the link is up, a frame of N1 octets is tried", "TEST P")
	if len(test) != 200 {
		t.Errorf("the TEST has %d octets, want 200", len(test))
	}
	s.recv("RR R0 P")
	s.want("a peer that is up already is told to wait", "RNR R0 F")
	s.recv("I S0 R0 P:x")
	s.want("and what it sends is not taken", "RNR R0 F")
	s.recv("TEST F:" + string(test[3:100]))
	s.want("a short echo proves nothing")
	s.recv("TEST F:" + string(test[3:]))
	s.want("the echo proves N1; the peer is told that we are ready", "RR R0 P", "=up")
	if s.link.N1() != 200 || cap(s.link.Buffer()) != 196 {
		t.Errorf("N1 %d, buffer %d", s.link.N1(), cap(s.link.Buffer()))
	}

	s = newScript(t, cfg)
	s.link.Expect()
	s.recv("SABME P")
	s.want("the other side proves its own direction", "UA F", "TEST P")
	s.wait(2 * t1First)
	s.want("T1 tries again, three times in all", "TEST P", "TEST P")
	s.wait(t1First)
	s.want("without echo the link is up with the safe N1", "RR R0 P", "=up")
	if s.link.N1() != 100 || cap(s.link.Buffer()) != 96 {
		t.Errorf("N1 %d, buffer %d", s.link.N1(), cap(s.link.Buffer()))
	}
	s.recv("I S0 R0:" + strings.Repeat("x", 196))
	s.want("and takes what the peer proved", "=data "+strings.Repeat("x", 196))
}

func TestPathThatEatsFrames(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("big")
	sent := 1
	s.skip()
	for range 40 {
		s.wait(2 * ms)
		s.recv("RR R0 F")
		for _, g := range s.got {
			if strings.HasPrefix(g, "I S0") {
				sent++
			}
		}
		if s.link.State() == "ADM" {
			break
		}
		s.skip()
		if !s.link.poll.await {
			s.wait(t1Least)
		}
	}
	s.want("a frame sent 8 times while polls are answered ends the link", "DISC P", "=down frames of this size do not pass")
	if sent != maxSends {
		t.Errorf("the frame was sent %d times, want %d", sent, maxSends)
	}
}

func TestEatenBeforeSmall(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("large", "small")
	s.want("the last of two asks", "I S0 R0", "I S1 R0 P")
	for range maxSends - 1 {
		s.wait(ms)
		s.recv("REJ R0 F")
		s.want("the answer shows the gap, and both are sent again", "I S0 R0", "I S1 R0 P")
	}
	s.wait(ms)
	s.recv("REJ R0 F")
	s.want("8 answers by REJ, one for each sending, end the link", "DISC P", "=down frames of this size do not pass")
}

func TestEatenBeforeSmallOnADoublingPath(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("large", "small")
	s.skip()
	for range 3 * maxSends {
		s.wait(ms / 200)
		s.recv("REJ R0")
	}
	s.want("copies of a REJ tell of one loss in a round trip", "I S0 R0", "I S1 R0")
	s.wait(ms)
	s.recv("REJ R0 F", "REJ R0 F", "REJ R0 F")
	s.want("as do those of an answer", "I S0 R0", "I S1 R0 P")
	for range 3 * maxSends {
		s.recv("REJ R0 F")
	}
	s.want("which come too early for the next P")
	s.wait(ms)
	s.recv("RR R2 F")
	if st := s.link.Stats(); s.link.State() != "NORMAL" || st.ResentI != 4 {
		t.Errorf("%s, sent again %d; want the link up, and two frames sent again twice", s.link.State(), st.ResentI)
	}
}

func TestStaleNumbers(t *testing.T) {
	s := newScript(t, Config{K: MaxWindow, RW: MaxWindow})
	s.up(ms)
	for i := range 200 { // both directions go around once
		s.recv(fmt.Sprintf("I S%d R%d P:x", i%128, i%128))
		s.send("y")
		s.recv(fmt.Sprintf("RR R%d", (i+1)%128))
	}
	s.skip()
	before := *s.link
	for behind := 1; behind <= 64; behind++ {
		n := int(s.link.recv.vr) - behind
		s.recv(fmt.Sprintf("I S%d R%d:old", n, n))
		s.recv(fmt.Sprintf("RR R%d", n), fmt.Sprintf("REJ R%d", n), fmt.Sprintf("RNR R%d", n), fmt.Sprintf("RR R%d F", n))
	}
	for _, g := range s.got {
		if g != fmt.Sprintf("RR R%d", before.recv.vr) {
			t.Fatalf("numbers behind are ignored but for an acknowledgement: %s", list(s.got))
		}
	}
	if s.link.recv.vr != before.recv.vr || s.link.send.va != before.send.va || s.link.pace != before.pace || s.link.send.busy {
		t.Error("they changed the link's state")
	}
}

func TestAnswersForeverStale(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	s.send("a")
	s.recv("RR R1")
	s.send("b")
	for range maxSends - 1 {
		s.wait(300 * ms)
		s.recv("RR R0 F")
	}
	if s.link.State() != "NORMAL" {
		t.Fatal("down too early")
	}
	s.skip()
	s.recv("RR R0 F")
	s.want("a peer that answers poll after poll with a number from before V(A) has another idea of the link", "FRMR Z 0101", "=down protocol error")
}

func TestType1(t *testing.T) {
	s := newScript(t, Config{RW: 21})
	long := strings.Repeat("long", 1000)
	s.recv("TEST P:" + long)
	if len(s.raw) != 1 || string(s.raw[0][3:]) != long {
		t.Error("the echo of a TEST is not the same information")
	}
	s.want("TEST is answered in any state, whatever its size", "TEST F")
	s.recv("XID P:abc")
	if want := []byte{0x7e, 0x7f, 0xbf, 0x81, 0x03, 42}; !slices.Equal(s.raw[0], want) {
		t.Errorf("XID is %x, want %x", s.raw[0], want)
	}
	s.want("and XID", "XID F")
	s.link.HandleFrame(s.now, Frame{DSAP: SAPControl, SSAP: SAPControl, Kind: TEST}, &s.out)
	s.link.HandleFrame(s.now, Frame{DSAP: SAPX25, SSAP: SAPX25, Kind: UI}, &s.out)
	s.take()
	s.want("other SAPs, and UI, are not this machine's business")
	if s.link.Stats().WrongSAP != 2 {
		t.Error("they are not counted")
	}
}

func TestBuffersStayUntilReset(t *testing.T) {
	slab := NewSlab(20)
	l := NewLink(Config{N1: 20, K: 4, RW: 4, Slab: slab})
	var out Out
	l.Expect()
	l.HandleFrame(epoch, frame("SABME P"), &out)
	out.Reset()
	l.Send(epoch, append(l.Buffer(), "first"...), false, &out)
	shown := out.Frames[0]
	l.HandleFrame(epoch, frame("RR R1"), &out)
	l.Send(epoch, append(l.Buffer(), "other"...), false, &out)
	if string(shown[4:]) != "first" {
		t.Errorf("a frame that Out still shows was overwritten: %q", shown[4:])
	}
	out.Reset()
	l.HandleFrame(epoch, frame("RR R2"), &out)
	out.Reset()
	if slab.Used() != 0 {
		t.Errorf("%d buffers are out when all is acknowledged", slab.Used())
	}
	if &l.Buffer()[:1][0] != &l.Buffer()[:1][0] {
		t.Error("Buffer is another one before Send")
	}
}

func TestResendOfWhatIsStillUnsent(t *testing.T) {
	s := newScript(t, Config{})
	s.up(ms)
	l, out := s.link, &s.out
	for i := range 3 {
		l.Send(s.now, append(l.Buffer(), 'p'), i < 2, out)
	}
	l.HandleFrame(s.now, frame("REJ R0"), out)
	s.take()
	s.want("a frame that has not left yet is not sent twice", "I S0 R0", "I S1 R0", "I S2 R0 P")
}
