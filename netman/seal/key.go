package seal

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Mode says how stations prove who they are (protocol.md 2).
type Mode uint8

// Modes. A station of one mode opens no link to one of another.
const (
	Open   Mode = 0 // they do not
	Pinned Mode = 1 // by the key that their name was first met with
	Secret Mode = 2 // likewise, and by knowing the site secret
)

// String is the mode as servtab has it.
func (m Mode) String() string {
	switch m {
	case Open:
		return "open"
	case Pinned:
		return "pinned"
	case Secret:
		return "secret"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Key is the public half of a machine's static key (X25519).
type Key [32]byte

// String is the printed form, which ParseKey reads: 43 characters of base64 as in URLs.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// ParseKey reads a Key's String.
func ParseKey(text string) (k Key, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != len(k) || base64.RawURLEncoding.EncodeToString(b) != text {
		return Key{}, errors.New("a machine's key has 43 characters of A-Z, a-z, 0-9, '-' and '_'")
	}
	copy(k[:], b)
	return k, nil
}

// Identity is a machine's static key pair.
type Identity struct {
	private [32]byte
	Key     Key
}

// NewIdentity draws one.
func NewIdentity(random io.Reader) (Identity, error) {
	var private [32]byte
	if _, err := io.ReadFull(random, private[:]); err != nil {
		return Identity{}, fmt.Errorf("no random numbers for a key: %w", err)
	}
	return IdentityOf(private)
}

// IdentityOf is the identity with a private key.
func IdentityOf(private [32]byte) (Identity, error) {
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return Identity{}, err
	}
	id := Identity{private: private}
	copy(id.Key[:], key.PublicKey().Bytes())
	return id, nil
}

// Private is the private key, to be kept where nobody else reads it.
func (id Identity) Private() [32]byte { return id.private }

// LeastSecret is the least length of a site secret in octets. It is a key and not a password: whoever records one frame can try
// guesses against it for ever.
const LeastSecret = 32

// SiteSecret is what all stations of a site in secret mode know.
type SiteSecret struct {
	ID    [4]byte // tells two secrets apart, in the clear
	psk   [32]byte
	group [32]byte // what keys of group frames are derived from
	mac   [32]byte // authenticates handshakes before they cost anything

	witness [32]byte // what only the keepers of the site know
}

// NewSiteSecret derives one from at least LeastSecret octets that nobody can guess.
func NewSiteSecret(text []byte) (SiteSecret, error) {
	var s SiteSecret
	if len(text) < LeastSecret {
		return s, fmt.Errorf("a site secret has at least %d octets that nobody can guess; this one has %d", LeastSecret, len(text))
	}
	for _, part := range []struct {
		info string
		to   []byte
	}{{"dnet1 psk", s.psk[:]}, {"dnet1 group", s.group[:]}, {"dnet1 mac", s.mac[:]}, {"dnet1 id", s.ID[:]}, {labelSite, s.witness[:]}} {
		derive(part.to, text, nil, part.info)
	}
	return s, nil
}

// forWire is the length of what ForWire gives.
const forWire = 4 + 3*32

// ForWire is the secret without what only keepers know, as octets for SiteSecretOf.
func (s *SiteSecret) ForWire() []byte {
	return slices.Concat(s.ID[:], s.psk[:], s.group[:], s.mac[:])
}

// SiteSecretOf is the secret that ForWire gave. It opens links, and makes no credentials.
func SiteSecretOf(b []byte) (s SiteSecret, err error) {
	if len(b) != forWire {
		return s, fmt.Errorf("a site secret of %d octets", len(b))
	}
	for _, to := range [][]byte{s.ID[:], s.psk[:], s.group[:], s.mac[:]} {
		b = b[copy(to, b):]
	}
	return s, nil
}

// same tells whether two are the same secret, or both none.
func same(a, b *SiteSecret) bool { return (a == nil) == (b == nil) && (a == nil || a.ID == b.ID) }

// derive fills to with HKDF-SHA256 of a key (RFC 5869). It is never asked for more than that has.
func derive(to, key, salt []byte, info string) {
	b, err := hkdf.Key(sha256.New, key, salt, info, len(to))
	if err != nil {
		panic("seal: " + err.Error())
	}
	copy(to, b)
}
