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
		z := &fuzz{pair: connected(t, mode, Limits{}), in: in}
		for len(z.in) > 0 {
			z.step()
			z.check()
		}
		z.low.peer.Cancel()
		z.high.peer.Cancel()
		z.low.take()
		z.high.take()
		z.now = z.now.Add(time.Second)
		z.say(z.low, z.high, "all is well")
		z.say(z.high, z.low, "it is")
	})
}

// fuzz is a pair to which whatever the octets say happens.
type fuzz struct {
	*pair
	in   []byte
	last []byte // a true handshake message
}

func (z *fuzz) octet() (b byte) {
	if len(z.in) > 0 {
		b, z.in = z.in[0], z.in[1:]
	}
	return b
}

func (z *fuzz) octets() (b []byte) {
	n := min(int(z.octet()), len(z.in))
	b, z.in = z.in[:n:n], z.in[n:]
	return b
}

func (z *fuzz) step() {
	from, to, op := z.low, z.high, z.octet()
	if op&0x80 != 0 {
		from, to = to, from
	}
	switch op & 7 {
	case 0:
		z.handle(to, z.octets())
	case 1:
		z.open(to, append(from.header(op>>3&3, 0), z.octets()...))
	case 2:
		frame := z.seal(from, "true")
		for _, b := range z.octets() {
			frame[int(b)%len(frame)] ^= op | 1
		}
		z.open(to, frame)
	case 3:
		var known *Key
		if key := to.desk.Key(); op&8 != 0 {
			known = &key
		}
		z.begin(from, known)
	case 4:
		for _, v := range from.take() {
			z.last = v
			z.handle(to, v)
		}
	case 5:
		if len(z.last) > 0 {
			bad := append([]byte(nil), z.last...)
			bad[int(z.octet())%len(bad)] ^= op | 1
			z.handle(to, bad)
		}
	case 6:
		z.now = z.now.Add(time.Duration(z.octet()) * 10 * time.Millisecond)
		from.peer.HandleTimeout(z.now, &from.out)
	case 7:
		to.desk.OpenGroup(from.addr, nil, append(from.header(0, 0), z.octets()...))
		to.desk.Admit(z.now, z.octets(), from.addr, to.addr)
	}
}

func (z *fuzz) check() {
	for _, e := range []*end{z.low, z.high} {
		for _, ev := range append(e.heard, e.out.Events...) {
			if ev.Kind == Established && ev.Key != z.low.desk.Key() && ev.Key != z.high.desk.Key() {
				z.t.Fatalf("%s took %v for a peer's key", e.name, ev.Key)
			}
		}
		if len(e.peer.theirs) > maxHalfOpen || len(e.peer.pending) > maxHalfOpen || len(e.desk.group.senders) > maxSenders {
			z.t.Fatal("a limit was passed")
		}
	}
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
