package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"dnet/netman/node"
	"dnet/netman/seal"
)

// siteSecret is that of every world.
var siteSecret = []byte("all machines of this world know it")

// tinyKeys gives most sealed worlds keys that are used up every few hundred frames, or every second.
func (w *World) tinyKeys() {
	if w.chance(0.6) {
		w.Limits.Frames = 200 + w.rng.Uint64N(2000)
	}
	if w.chance(0.6) {
		w.Limits.Age = w.between(time.Second, 10*time.Second)
	}
	if w.chance(0.5) {
		w.Wire.Tap = w.replay(w.rng.Float64() * 0.1)
	}
}

// replay lets a third station send some of the frames again that it hears, sooner or later: nobody may notice.
func (w *World) replay(chance float64) func(frame []byte) {
	heard := make([][]byte, 0, 256)
	return func(frame []byte) {
		f := bytes.Clone(frame)
		if len(heard) < cap(heard) {
			heard = append(heard, f)
		} else {
			heard[w.rng.IntN(len(heard))] = f
		}
		if w.chance(chance) {
			f = heard[w.rng.IntN(len(heard))]
			w.After(w.between(0, 2*time.Second), func() { w.Wire.inject(f) })
		}
	}
}

// sealing is what the machine's node is told of keys, at each start: the key of the first one, the pins of all; nil in open mode.
func (m *Machine) sealing() *seal.Config {
	w := m.w
	mode := w.Mode
	if m.Mode != nil {
		mode = *m.Mode
	}
	if mode == seal.Open {
		return nil
	}
	if m.seal == nil {
		m.seal = &seal.Config{}
		m.newKey()
	}
	m.seal.Mode, m.seal.Strict, m.seal.Limits, m.seal.Rand = mode, m.Strict, w.Limits, w.random()
	if m.seal.Secrets = nil; mode == seal.Secret {
		text := siteSecret
		if m.Secret != nil {
			text = m.Secret
		}
		secret, err := seal.NewSiteSecret(text)
		if err != nil {
			w.failf("%v", err)
		}
		m.seal.Secrets = []seal.SiteSecret{secret}
	}
	return m.seal
}

// newKey is what a machine that was installed anew has: another key, and no pins.
func (m *Machine) newKey() {
	id, err := seal.NewIdentity(m.w.random())
	if err != nil {
		m.w.failf("%v", err)
	}
	m.seal.Identity, m.seal.Pins, m.seal.Witness = id, nil, seal.Key{1}
}

// random is a source of random octets that the seed decides.
func (w *World) random() *rand.ChaCha8 {
	var seed [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(seed[8*i:], w.rng.Uint64())
	}
	return rand.NewChaCha8(seed)
}

// pinned keeps a pin, as netman does on disk.
func (m *Machine) pinned(pin seal.Pin) {
	for _, have := range m.seal.Pins {
		if have.Machine == pin.Machine {
			m.w.failf("%s: %s is pinned twice", m.name, pin.Machine)
		}
	}
	m.seal.Pins = append(m.seal.Pins, pin)
}

// vouch does what the keeper of netman does: it gives a call its credential.
func (m *Machine) vouch(now time.Time, c *node.Circuit) {
	c.Vouched(now, c.PeerUser, credentialOf(c.PeerUser, c.PeerBoot()), "", &m.out)
}

// credentialOf is what a call of a user carries in the worlds, to the machine started with this boot id.
func credentialOf(user string, boot uint64) []byte {
	return fmt.Appendf(nil, "%-32s%016x", user, boot)
}

// drawBoot draws the boot id of a start.
func (m *Machine) drawBoot() uint64 {
	m.bootID = m.w.rng.Uint64()
	return m.bootID
}
