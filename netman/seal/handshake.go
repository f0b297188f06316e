package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/flynn/noise"
)

// step is which message of which pattern a handshake message is.
type step uint8

// Steps. XX is for a peer whose key is not known, IK for one whose key is.
const (
	xx1 step = iota + 1 // e
	xx2                 // e, ee, s, es       + payload
	xx3                 // s, se              + payload
	ik1                 // e, es, s, ss       + payload
	ik2                 // e, ee, se          + payload
)

func (s step) String() string {
	if s < xx1 || s > ik2 {
		return fmt.Sprintf("step %d", uint8(s))
	}
	return [...]string{"", "XX1", "XX2", "XX3", "IK1", "IK2"}[s]
}

// First tells whether a handshake message is a first one, which anybody can have made.
func First(value string) bool {
	return len(value) > 0 && (step(value[0]) == xx1 || step(value[0]) == ik1)
}

// Response tells whether a handshake message is an answer: it goes out with the C/R bit of one.
func Response(value []byte) bool {
	return len(value) > 0 && (step(value[0]) == xx2 || step(value[0]) == ik2)
}

// Format is the printed form of a handshake message: "XX1 key 1", "IK2 key 2 secret 0a0b0c0d".
func Format(mode Mode, value string) string {
	if len(value) < 2 {
		return "cut short"
	}
	text := fmt.Sprintf("%v key %d", step(value[0]), value[1])
	if mode == Secret && len(value) >= secretHead {
		text += fmt.Sprintf(" secret %x", value[2:6])
	}
	return text
}

// Errors of handshake messages. Each has a counter of its name.
var (
	ErrMessage    = errors.New("handshake message malformed")
	ErrSecret     = errors.New("handshake under another site secret")
	ErrUnexpected = errors.New("handshake message to nothing")
	ErrHandshake  = errors.New("handshake message forged or for another key")
	ErrRepeated   = errors.New("handshake message repeated")
	ErrPace       = errors.New("handshake message too soon after others")
	ErrSelf       = errors.New("handshake with our own key")
	ErrOther      = errors.New("handshake with another key than that of the link that is up")
)

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256)

const (
	plainHead  = 2              // step, key number
	secretHead = 2 + 4 + macLen // and the secret's id, and a MAC
	macLen     = 16
	keyLen     = 32
	bootLen    = 8
)

// message is a handshake message taken apart.
type message struct {
	step   step
	number uint8
	secret *SiteSecret // nil in pinned mode
	noise  []byte      // borrowed
}

// parse takes a handshake message apart. from and to are the stations' addresses. In secret mode it is authentic then: made by a station that
// knows the secret, though maybe long ago.
func (d *Desk) parse(value []byte, from, to *[6]byte) (m message, err error) {
	head := plainHead
	if d.cfg.Mode == Secret {
		head = secretHead
	}
	if len(value) < head+keyLen || len(value) > maxMessage {
		return m, ErrMessage
	}
	m = message{step: step(value[0]), number: value[1], noise: value[head:]}
	if m.step < xx1 || m.step > ik2 || m.number < 1 || m.number > keyMask {
		return m, ErrMessage
	}
	if d.cfg.Mode != Secret {
		return m, nil
	}
	for i := range d.cfg.Secrets {
		if s := &d.cfg.Secrets[i]; s.ID == [4]byte(value[2:6]) {
			var mac [sha256.Size]byte
			if hmac.Equal(s.sum(mac[:0], value, from, to)[:macLen], value[6:secretHead]) {
				m.secret = s
				return m, nil
			}
		}
	}
	return m, ErrSecret
}

// sum is the MAC of a handshake message with room for it at its place.
func (s *SiteSecret) sum(dst, value []byte, from, to *[6]byte) []byte {
	h := hmac.New(sha256.New, s.mac[:])
	h.Write(from[:])
	h.Write(to[:])
	h.Write(value[:6])
	h.Write(value[secretHead:])
	return h.Sum(dst)
}

// head begins a handshake message; finish completes it.
func head(st step, number uint8, secret *SiteSecret) []byte {
	b := make([]byte, 0, maxMessage)
	b = append(b, byte(st), number)
	if secret != nil {
		b = append(b, secret.ID[:]...)
		b = append(b, make([]byte, macLen)...)
	}
	return b
}

func finish(value []byte, secret *SiteSecret, from, to *[6]byte) []byte {
	if secret != nil {
		var mac [sha256.Size]byte
		copy(value[6:secretHead], secret.sum(mac[:0], value, from, to))
	}
	return value
}

// handshake is one under way. Its state can be made again from its seed and the first message, for a forged message spoils it.
type handshake struct {
	pattern   step // xx1 or ik1
	initiator bool
	number    uint8
	secret    *SiteSecret
	known     *Key // of the peer, in IK
	seed      [keyLen]byte
	state     *noise.HandshakeState // nil: to be made again
	began     time.Time
	payload   []byte // what this side says of itself, after its boot id
	first     []byte // the first message of Noise
	value     []byte // what this side sent, to be repeated: the first message, or the answer to it

	made int       // tries of one begun by this side
	at   time.Time // when this try ends
}

// ephemeral is the ephemeral key of the beginner, which tells handshakes apart.
func (h *handshake) ephemeral() []byte { return h.first[:keyLen] }

// withBoot is the payload of Noise: the boot id, then what this side says of itself.
func (d *Desk) withBoot(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, d.cfg.BootID), payload...)
}

// newState is the state of a handshake at its beginning. The prologue binds it to the two stations, the mode, and the key number.
func (p *Peer) newState(h *handshake) *noise.HandshakeState {
	d := p.desk
	from, to := &p.local, &p.remote
	if !h.initiator {
		from, to = to, from
	}
	prologue := append([]byte("dnet1"), byte(d.cfg.Mode), h.number)
	prologue = append(append(prologue, from[:]...), to[:]...)
	id := d.cfg.Identity
	cfg := noise.Config{
		CipherSuite: suite, Random: bytes.NewReader(h.seed[:]), Pattern: noise.HandshakeXX, Initiator: h.initiator, Prologue: prologue,
		StaticKeypair: noise.DHKey{Private: id.private[:], Public: id.Key[:]},
	}
	if h.pattern == ik1 {
		cfg.Pattern = noise.HandshakeIK
	}
	if h.known != nil {
		cfg.PeerStatic = append([]byte(nil), h.known[:]...)
	}
	if h.secret != nil {
		cfg.PresharedKey = h.secret.psk[:]
	}
	state, err := noise.NewHandshakeState(cfg)
	if err != nil {
		panic("seal: " + err.Error()) // only of a wrong length of the secret's key
	}
	return state
}

// begin makes the state and the first message of a handshake of this side.
func (p *Peer) begin(h *handshake) error {
	h.state = p.newState(h)
	var said []byte
	if h.pattern == ik1 {
		said = h.payload
	}
	value := head(h.pattern, h.number, h.secret)
	start := len(value)
	value, _, _, err := h.state.WriteMessage(value, said)
	if err != nil {
		return err
	}
	h.value, h.first = finish(value, h.secret, &p.local, &p.remote), value[start:]
	return nil
}

// answer makes the state of a handshake that the peer began, and the answer to its first message. IK ends in a session.
func (p *Peer) answer(h *handshake, now time.Time) (s *session, err error) {
	h.state = p.newState(h)
	said, _, _, err := h.state.ReadMessage(nil, h.first)
	if err != nil {
		return nil, ErrHandshake
	}
	value, one, two, err := h.state.WriteMessage(head(h.pattern+1, h.number, h.secret), h.payload)
	if err != nil {
		return nil, ErrHandshake
	}
	h.value = finish(value, h.secret, &p.local, &p.remote)
	if h.pattern == xx1 {
		return nil, nil
	}
	return h.newSession(now, said, one, two)
}

// newSession is what a handshake ends in.
func (h *handshake) newSession(now time.Time, said []byte, one, two *noise.CipherState) (*session, error) {
	if len(said) < bootLen || len(h.state.PeerStatic()) != keyLen {
		return nil, ErrMessage
	}
	s := &session{
		number: h.number, initiator: h.initiator, began: h.began, at: now, first: h.ephemeral(),
		boot: binary.BigEndian.Uint64(said), payload: said[bootLen:],
	}
	copy(s.key[:], h.state.PeerStatic())
	if !h.initiator {
		one, two = two, one
	}
	s.seal, s.open = newAEAD(one.UnsafeKey()), newAEAD(two.UnsafeKey())
	return s, nil
}
