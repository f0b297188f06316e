package seal

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A machine has two key pairs, of one seed: that of its links, which the process that reads the network has, and the witness, which that
// process never has. What the witness says of a call, the credential, can be made by nobody but the two machines' keepers (protocol.md 4).

// Labels of the keys that are derived (RFC 5869: info).
const (
	labelLink       = "dnet1 link"
	labelWitness    = "dnet1 witness"
	labelSite       = "dnet1 site witness"
	labelCredential = "dnet1 credential"
)

// Witness is the key pair of a machine's keeper.
type Witness struct {
	private *ecdh.PrivateKey
	Key     Key
}

// FromSeed derives a machine's two key pairs of the 32 octets that are kept for it.
func FromSeed(seed [32]byte) (link Identity, witness Witness, err error) {
	var part [32]byte
	derive(part[:], seed[:], nil, labelLink)
	if link, err = IdentityOf(part); err != nil {
		return link, witness, err
	}
	derive(part[:], seed[:], nil, labelWitness)
	if witness.private, err = ecdh.X25519().NewPrivateKey(part[:]); err == nil {
		copy(witness.Key[:], witness.private.PublicKey().Bytes())
	}
	return link, witness, err
}

// FormatKeys is the printed form of a machine's two keys, LINK.WITNESS, which ParseKeys reads.
func FormatKeys(link, witness Key) string { return link.String() + "." + witness.String() }

// ParseKeys reads what FormatKeys prints.
func ParseKeys(text string) (link, witness Key, err error) {
	first, second, two := strings.Cut(text, ".")
	if two {
		if link, err = ParseKey(first); err == nil {
			witness, err = ParseKey(second)
		}
	}
	if !two || err != nil {
		return Key{}, Key{}, errors.New("a machine's key has twice 43 characters of A-Z, a-z, 0-9, '-' and '_', with a dot between; netman identity shows it there")
	}
	return link, witness, nil
}

// CredentialLen is the length of a credential: epoch 8, counter 8, MAC 32.
const CredentialLen = 8 + 8 + sha256.Size

// Claim is what a credential says: this user of this machine calls this service of that one.
type Claim struct {
	Caller, Callee string // machines
	Boot           uint64 // of the called machine: what was said to it before it was started anew is void
	Service, User  string
	Stream         bool
	Epoch, Counter uint64 // no two of a caller's credentials have both the same
}

// Errors of credentials.
var (
	ErrNoCredential  = errors.New("it carries no credential")
	ErrCredential    = errors.New("its credential is not of that machine's keeper, or for another call")
	ErrOldCredential = errors.New("its credential was used before, or is too old")
)

// shared is the key of the two keepers, for credentials of one direction. site is what the keepers of a site know in secret mode; nil: none.
func (w *Witness) shared(peer Key, site *SiteSecret, caller, callee string) (key [32]byte, err error) {
	if w.private == nil {
		return key, ErrCredential
	}
	public, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return key, err
	}
	secret, err := w.private.ECDH(public) // refuses a key of low order
	if err != nil {
		return key, err
	}
	if site != nil {
		secret = append(secret, site.witness[:]...)
	}
	derive(key[:], secret, nil, fmt.Sprintf("%s\x00%s\x00%s", labelCredential, caller, callee))
	return key, nil
}

// Vouch makes the credential of a claim for the keeper whose witness is peer.
func (w *Witness) Vouch(peer Key, site *SiteSecret, c *Claim) ([]byte, error) {
	key, err := w.shared(peer, site, c.Caller, c.Callee)
	if err != nil {
		return nil, err
	}
	return c.sum(c.nonce(make([]byte, 0, CredentialLen)), key), nil
}

// Check holds a credential to the claim that came with it, and fills in its epoch and counter. Whether it was used before Once tells.
func (w *Witness) Check(peer Key, site *SiteSecret, c *Claim, credential []byte) error {
	switch {
	case len(credential) == 0:
		return ErrNoCredential
	case len(credential) != CredentialLen:
		return ErrCredential
	}
	key, err := w.shared(peer, site, c.Caller, c.Callee)
	if err != nil {
		return ErrCredential
	}
	c.Epoch, c.Counter = binary.BigEndian.Uint64(credential), binary.BigEndian.Uint64(credential[8:])
	if !hmac.Equal(c.sum(nil, key), credential[16:]) {
		return ErrCredential
	}
	return nil
}

// nonce appends what makes a credential the only one of its kind.
func (c *Claim) nonce(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, c.Epoch), c.Counter)
}

// sum appends the MAC of a claim.
func (c *Claim) sum(dst []byte, key [32]byte) []byte {
	said := append([]byte("dnet1 call"), 0)
	said = c.nonce(binary.BigEndian.AppendUint64(said, c.Boot))
	for _, name := range []string{c.Caller, c.Callee, c.Service, c.User} {
		said = append(append(said, byte(len(name))), name...)
	}
	stream := byte(0)
	if c.Stream {
		stream = 1
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write(append(said, stream))
	return mac.Sum(dst)
}

// Once remembers which credentials of one machine were used: those of its latest epoch, as many as onceWindow behind the newest. An
// older one counts as used.
type Once struct {
	epoch, top uint64
	seen       [onceWindow / 64]uint64 // counter modulo onceWindow
}

// onceWindow is how many calls of one machine may overtake one another on their way.
const onceWindow = 4096

// Take uses a credential up. The error is that it cannot be used.
func (o *Once) Take(epoch, counter uint64) error {
	switch {
	case epoch < o.epoch, epoch == o.epoch && o.top >= onceWindow && counter <= o.top-onceWindow:
		return ErrOldCredential
	case epoch > o.epoch:
		*o = Once{epoch: epoch, top: counter}
	case counter > o.top:
		if counter-o.top >= onceWindow {
			clear(o.seen[:])
		} else {
			for n := o.top + 1; n <= counter; n++ {
				o.seen[n%onceWindow/64] &^= 1 << (n % 64)
			}
		}
		o.top = counter
	}
	word, bit := &o.seen[counter%onceWindow/64], uint64(1)<<(counter%64)
	if *word&bit != 0 {
		return ErrOldCredential
	}
	*word |= bit
	return nil
}
