package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"time"
)

// Sizes of a sealed frame in octets.
const (
	HeaderLen  = 17 // DA, SA, Ethertype, L, F
	counterLen = 8
	tagLen     = 16
	Overhead   = counterLen + tagLen // what sealing adds to a PDU
)

// flags is where F stands, and keyShift where in F the key number does.
const (
	flags    = 16
	keyShift = 2
	keyMask  = 3
)

// Why a sealed frame was dropped. Each has a counter of its name.
var (
	ErrShort    = errors.New("sealed frame too short")
	ErrUnknown  = errors.New("sealed frame under an unknown key")
	ErrForged   = errors.New("sealed frame forged or corrupt")
	ErrReplayed = errors.New("sealed frame replayed")
	ErrOld      = errors.New("sealed frame older than the replay window")
	ErrSpent    = errors.New("sealed frame under a key past its limits")
)

// session is a pair of keys that a handshake ended in, one for each direction.
type session struct {
	number    uint8     // 1 to 3: the key number in F
	initiator bool      // begun by this side
	began     time.Time // when this side sent or answered the first message
	at        time.Time // when it was established: the peer is known to live
	heard     time.Time // last frame opened; zero: none yet
	key       Key       // of the peer
	boot      uint64    // of the peer
	payload   []byte    // what the peer said of itself
	past      bool      // of an earlier link
	order     int       // in which it was established, from 1

	first []byte // the ephemeral key it was begun with, which tells a repeated first message
	reply []byte // what answered that, until something was heard
	third []byte // the third message, until something was heard: each frame is preceded by it

	seal, open cipher.AEAD
	next       uint64 // counter of the next frame
	window     window
	nonce      [12]byte
}

// newAEAD is AES-256-GCM.
func newAEAD(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("seal: " + err.Error())
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return gcm
}

// setNonce makes the nonce of a counter, as Noise has it for AES-GCM: 4 octets of zero, then the counter.
func setNonce(nonce *[12]byte, counter uint64) []byte {
	binary.BigEndian.PutUint64(nonce[4:], counter)
	return nonce[:]
}

// sealTo appends counter, sealed PDU and tag to a header of HeaderLen octets, whose F and L are complete.
func (s *session) sealTo(header, pdu []byte) []byte {
	frame := binary.BigEndian.AppendUint64(header, s.next)
	frame = s.seal.Seal(frame, setNonce(&s.nonce, s.next), pdu, frame)
	s.next++
	return frame
}

// openTo opens a frame, without its padding, and appends the PDU to dst. newest: it was sent after all that were opened before.
// Nothing of the session changes when it fails.
func (s *session) openTo(dst, frame []byte) (pdu []byte, newest bool, err error) {
	const body = HeaderLen + counterLen
	counter := binary.BigEndian.Uint64(frame[HeaderLen:])
	if err := s.window.check(counter); err != nil {
		return nil, false, err
	}
	pdu, err = s.open.Open(dst, setNonce(&s.nonce, counter), frame[body:], frame[:body])
	if err != nil {
		return nil, false, ErrForged
	}
	return pdu, s.window.take(counter), nil
}

// spent tells whether the key must not be used any more.
func (s *session) spent(now time.Time, l Limits) bool {
	return s.next >= hard*l.Frames || s.window.top >= hard*l.Frames || now.Sub(s.at) >= hard*l.Age
}

// windowLen is how far behind the newest frame another may be.
const windowLen = 64

// window is the replay window: which of the last 64 counters were taken.
type window struct {
	top  uint64 // one past the greatest counter taken
	bits uint64 // bit i: top-1-i was taken
}

// check tells why a counter cannot be taken.
func (w *window) check(counter uint64) error {
	switch {
	case counter >= w.top:
		return nil
	case w.top-counter > windowLen:
		return ErrOld
	case w.bits>>(w.top-1-counter)&1 != 0:
		return ErrReplayed
	}
	return nil
}

// take marks a counter, which check has let pass, and tells whether it is the greatest.
func (w *window) take(counter uint64) (newest bool) {
	if counter < w.top {
		w.bits |= 1 << (w.top - 1 - counter)
		return false
	}
	// A shift by 64 or more leaves nothing, as it should.
	w.bits = w.bits<<(counter+1-w.top) | 1
	w.top = counter + 1
	return true
}
