package seal

import (
	"testing"
	"time"
)

// FuzzPeer gives a pair of stations any octets as messages and frames, among true ones. Nothing panics, nobody is taken in, and after it they
// still understand each other.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, false)
	f.Add([]byte("\x08\x22\x01\x01 an ephemeral key of 32 octets here"), true)
	f.Fuzz(func(t *testing.T, in []byte, site bool) {
		if len(in) > 4096 {
			return
		}
		mode := Pinned
		if site {
			mode = Secret
		}
		p := connected(t, mode, Limits{})
		octet := func() (b byte) {
			if len(in) > 0 {
				b, in = in[0], in[1:]
			}
			return b
		}
		octets := func() (b []byte) {
			n := min(int(octet()), len(in))
			b, in = in[:n:n], in[n:]
			return b
		}
		var last []byte
		for len(in) > 0 {
			from, to := p.low, p.high
			op := octet()
			if op&0x80 != 0 {
				from, to = to, from
			}
			switch op & 7 {
			case 0:
				p.handle(to, octets())
			case 1:
				p.open(to, append(from.header(op>>3&3, 0), octets()...))
			case 2:
				frame := p.seal(from, "true")
				for _, b := range octets() {
					frame[int(b)%len(frame)] ^= op | 1
				}
				p.open(to, frame)
			case 3:
				key := to.desk.Key()
				if op&8 != 0 {
					p.begin(from, &key)
				} else {
					p.begin(from, nil)
				}
			case 4:
				for _, v := range from.take() {
					last = v
					p.handle(to, v)
				}
			case 5:
				if len(last) > 0 {
					bad := append([]byte(nil), last...)
					bad[int(octet())%len(bad)] ^= op | 1
					p.handle(to, bad)
				}
			case 6:
				p.now = p.now.Add(time.Duration(octet()) * 10 * time.Millisecond)
				from.peer.HandleTimeout(p.now, &from.out)
			case 7:
				to.desk.OpenGroup(from.addr, nil, append(from.header(0, 0), octets()...))
				to.desk.Admit(p.now, octets(), from.addr, to.addr)
			}
			for _, e := range []*end{p.low, p.high} {
				for _, ev := range append(e.heard, e.out.Events...) {
					if ev.Kind == Established && ev.Key != p.low.desk.Key() && ev.Key != p.high.desk.Key() {
						t.Fatalf("%s took %v for a peer's key", e.name, ev.Key)
					}
				}
				if len(e.peer.theirs) > maxHalfOpen || len(e.desk.group.senders) > maxSenders {
					t.Fatal("a limit was passed")
				}
			}
		}
		p.low.peer.Cancel()
		p.high.peer.Cancel()
		for _, e := range []*end{p.low, p.high} {
			e.take()
		}
		p.now = p.now.Add(time.Second)
		p.say(p.low, p.high, "all is well")
		p.say(p.high, p.low, "it is")
	})
}

// FuzzParseKey: what is read is printed as it was.
func FuzzParseKey(f *testing.F) {
	f.Add("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKey(text); err == nil && k.String() != text {
			t.Fatalf("%q is printed as %q", text, k.String())
		}
	})
}
