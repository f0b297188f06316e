package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// The examples of protocol.md, Sealed links.
const (
	sealedExample = `02 00 00 00 00 02 02 00 00 00 00 01 88 b5 00 1c 16
		00 00 00 00 00 00 00 07
		9e 13 12 0c d2 4f fb 58 8e 6c a9 73 4b 44 77 2e 54 b3 46 05`
	groupExample = `03 44 4e 45 54 00 02 00 00 00 00 01 88 b5 00 53 12
		00 00 00 00 00 00 00 03
		98 c9 03 ab 01 02 03 04 05 06 07 08 11 22 33 44 55 66 77 88
		06 26 09 49 3e 5d 9d e7 d4 54 07 0b 5f 91 d8 b1 5e c2 7f 50 9a 16 8f 93 eb 89 14 e2 e8 6c b2 6d
		bf 69 b6 72 04 07 23 08 18 66 97 13 82 23 52 39 47 24 d0 07 80 97 b9`
)

func unhex(t *testing.T, text string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVectors: the examples, opened with the standard library's primitives as the document has it, and by this package.
func TestVectors(t *testing.T) {
	open := func(key, frame []byte, body int) []byte {
		block, _ := aes.NewCipher(key)
		gcm, _ := cipher.NewGCM(block)
		pdu, err := gcm.Open(nil, append(make([]byte, 4), frame[17:25]...), frame[body:], frame[:body])
		if err != nil {
			t.Fatalf("% x: %v", frame, err)
		}
		return pdu
	}
	key := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	frame := unhex(t, sealedExample)
	rr := []byte{0x7e, 0x7e, 0x01, 0x13}
	if pdu := open(key, frame, 25); !bytes.Equal(pdu, rr) {
		t.Errorf("the sealed example is % x", pdu)
	}
	s := &session{number: 1, seal: newAEAD([32]byte(key)), open: newAEAD([32]byte(key)), next: 7}
	if got := s.sealTo(bytes.Clone(frame[:17]), rr); !bytes.Equal(got, frame) {
		t.Errorf("sealed again it is\n% x, not\n% x", got, frame)
	}
	if pdu, newest, err := s.openTo(nil, frame); err != nil || !newest || !bytes.Equal(pdu, rr) {
		t.Errorf("% x, %v, %v", pdu, newest, err)
	}

	frame = unhex(t, groupExample)
	site := []byte("the secret of this site is long enough")
	group, _ := hkdf.Key(sha256.New, site, nil, "dnet1 group", 32)
	id, _ := hkdf.Key(sha256.New, site, nil, "dnet1 id", 4)
	own, _ := hkdf.Key(sha256.New, group, frame[29:45], "dnet1 group frames", 32)
	pdu := open(own, frame, 45)
	if !bytes.Equal(id, frame[25:29]) || !bytes.Contains(pdu, []byte("rx.sneezy")) || pdu[0] != 0x45 {
		t.Errorf("the group example, of the secret %x, is % x", id, pdu)
	}
	if got, err := groupDesk(t, 2, string(site)).OpenGroup(low, nil, frame); err != nil || !bytes.Equal(got, pdu) {
		t.Errorf("% x, %v", got, err)
	}
}

// TestHandshakeLengths: what the document says of the messages: 32 octets of ephemeral key, 48 of static key, 16 of tag, and the payload.
func TestHandshakeLengths(t *testing.T) {
	for _, mode := range modes {
		extra := 0
		if mode == Secret {
			extra = 20
		}
		p := newPair(t, mode, Limits{})
		payload := 8 + len("hello of low")
		p.begin(p.low, nil)
		one := p.low.take()[0]
		p.handle(p.high, one)
		two := p.high.take()[0]
		p.handle(p.low, two)
		three := p.low.peer.Third()
		key := p.high.desk.Key()
		p.begin(p.low, &key)
		four := p.low.take()[0]
		p.handle(p.high, four)
		five := p.high.take()[0]
		tag := 0
		if mode == Secret {
			tag = 16 // with a psk even the empty payload is sealed
		}
		for i, want := range map[int][2]int{
			1: {len(one), 34 + tag}, 2: {len(two), 2 + 32 + 48 + payload + 1 + 16}, 3: {len(three), 2 + 48 + payload + 16},
			4: {len(four), 2 + 32 + 48 + payload + 16}, 5: {len(five), 2 + 32 + payload + 1 + 16},
		} {
			if want[0] != want[1]+extra {
				t.Errorf("%v: step %d has %d octets, not %d", mode, i, want[0], want[1]+extra)
			}
		}
	}
}
