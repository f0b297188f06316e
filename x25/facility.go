package x25

import "math/bits"

// Facility codes (ISO 8208 table 19). The top two bits are the class: one, two, three parameter octets, or a length octet.
const (
	facMarker     = 0x00 // 00: what follows is of no network and no standard, but dnet's own
	facFastSelect = 0x01
	facPacketSize = 0x42
	facWindow     = 0x43
	facDataSize   = 0x7f // after marker 00 00: largest user data of a data packet, partly filled ones may bear M
	facCredential = 0xc7 // after marker 00 00, in a call request: what proves who calls, which is not this package's to read
)

const (
	fastSelect           = 0x80 // unrestricted response
	fastSelectRestricted = 0xc0
)

// The standard's defaults, and the values towards which an answer may move a proposal (ISO 8208 15.2.2.1).
const (
	defaultWindow   = 2
	defaultSizeLog2 = 7 // 128 octets
	minSizeLog2     = 4
	maxSizeLog2     = 15
)

// The two directions, in the order that the facilities have them.
const (
	fromCalled  = 0
	fromCalling = 1
)

// facilities are those of call set-up that this package understands.
type facilities struct {
	fastSelect uint8    // 0, fastSelect, fastSelectRestricted
	window     [2]uint8 // fromCalled, fromCalling; 0 absent
	size       [2]uint8 // log2, likewise
	data       uint16   // 0 absent
	credential string   // empty: absent
}

// parseFacilities reads a facility field. What it does not know it skips by class. Diag is 0 if all is well.
func parseFacilities(b []byte) (f facilities, diag Diag) {
	own := false // after marker 00 00
	foreign := false
	var seen [256]bool
	for len(b) > 0 {
		code, n := b[0], int(b[0]>>6)+1
		b = b[1:]
		if code>>6 == 3 {
			if len(b) == 0 {
				return f, DiagFacilityLength
			}
			n, b = int(b[0]), b[1:]
		}
		if len(b) < n {
			return f, DiagFacilityLength
		}
		value := b[:n]
		b = b[n:]
		if code == facMarker {
			own, foreign = value[0] == 0, value[0] != 0
			seen = [256]bool{}
			continue
		}
		if seen[code] {
			return f, DiagDuplicate
		}
		seen[code] = true
		switch {
		case foreign:
		case own:
			diag = f.setOwn(code, value)
		default:
			diag = f.set(code, value)
		}
		if diag != 0 {
			return f, diag
		}
	}
	return f, 0
}

func (f *facilities) set(code byte, value []byte) Diag {
	switch code {
	case facFastSelect:
		if f.fastSelect = value[0] & 0xc0; f.fastSelect < fastSelect {
			f.fastSelect = 0
		}
	case facWindow:
		f.window = [2]uint8{value[0], value[1]}
		if !within(f.window, 1, 127) {
			return DiagFacility
		}
	case facPacketSize:
		f.size = [2]uint8{value[0], value[1]}
		if !within(f.size, minSizeLog2, maxSizeLog2) {
			return DiagFacility
		}
	}
	return 0
}

func (f *facilities) setOwn(code byte, value []byte) Diag {
	switch code {
	case facDataSize:
		if f.data = uint16(value[0])<<8 | uint16(value[1]); f.data == 0 {
			return DiagFacility
		}
	case facCredential:
		f.credential = string(value)
	}
	return 0
}

func within(v [2]uint8, low, high uint8) bool {
	return low <= v[0] && v[0] <= high && low <= v[1] && v[1] <= high
}

func (f *facilities) append(dst []byte) []byte {
	if f.fastSelect != 0 {
		dst = append(dst, facFastSelect, f.fastSelect)
	}
	if f.window[0] != 0 {
		dst = append(dst, facWindow, f.window[0], f.window[1])
	}
	if f.size[0] != 0 {
		dst = append(dst, facPacketSize, f.size[0], f.size[1])
	}
	if f.data != 0 || f.credential != "" {
		dst = append(dst, facMarker, 0)
	}
	if f.data != 0 {
		dst = append(dst, facDataSize, byte(f.data>>8), byte(f.data))
	}
	if f.credential != "" {
		dst = append(append(dst, facCredential, byte(len(f.credential))), f.credential...)
	}
	return dst
}

// propose is what this level asks for in a call request (protocol.md 4); in is the direction of what it receives.
func (cfg *Config) propose(in int) facilities {
	w, s := uint8(cfg.Window), sizeLog2(cfg.MaxUserData)
	f := facilities{
		fastSelect: fastSelect, window: [2]uint8{w, w}, size: [2]uint8{s, s}, data: uint16(cfg.MaxUserData),
	}
	f.window[in] = uint8(cfg.Budget.window(cfg.MaxUserData, cfg.Window))
	return f
}

// sizeLog2 is the packet size facility for a user data size: the largest power of two that is not above it.
func sizeLog2(n int) uint8 {
	return uint8(min(max(bits.Len(uint(n))-1, minSizeLog2), maxSizeLog2))
}

// answer is what a call request with the facilities f is accepted with: for each that was proposed the smaller of both
// ends' values, but never beyond the default as seen from the proposal. A value not proposed is the default.
func (cfg *Config) answer(f facilities) facilities {
	own := cfg.propose(fromCalling)
	a := facilities{data: min(f.data, own.data)}
	for i := range f.window {
		if f.window[i] != 0 {
			a.window[i] = max(min(f.window[i], own.window[i]), min(f.window[i], defaultWindow))
		}
		if f.size[i] != 0 {
			a.size[i] = max(min(f.size[i], own.size[i]), min(f.size[i], defaultSizeLog2))
		}
	}
	return a
}

// settle merges the answer a to the proposal f into what holds, or tells what is wrong with it. A value that the answer
// leaves out is as proposed; dnet's own, left out, does not hold.
func (f facilities) settle(a facilities) (facilities, Diag) {
	for i := range f.window {
		if a.window[i] == 0 {
			a.window[i] = f.window[i]
		}
		if a.size[i] == 0 {
			a.size[i] = f.size[i]
		}
		if !towards(a.window[i], f.window[i], defaultWindow) || !towards(a.size[i], f.size[i], defaultSizeLog2) {
			return a, DiagFacility
		}
	}
	if a.data > f.data {
		return a, DiagFacility
	}
	return a, 0
}

// towards says whether v lies between a proposal and the default.
func towards(v, proposal, standard uint8) bool {
	return min(proposal, standard) <= v && v <= max(proposal, standard)
}

// agree sets the circuit's sizes and windows from what was settled; out and in are the directions of sending and receiving.
func (c *Circuit) agree(cfg *Config, f facilities, out, in int) {
	for i := range f.window {
		if f.window[i] == 0 {
			f.window[i] = defaultWindow
		}
		if f.size[i] == 0 {
			f.size[i] = defaultSizeLog2
		}
	}
	c.tx.w, c.rx.w = f.window[out], f.window[in]
	if c.partial = f.data != 0; c.partial {
		c.tx.size, c.rx.size = int(f.data), int(f.data)
	} else {
		c.tx.size, c.rx.size = min(cfg.MaxUserData, 1<<f.size[out]), 1<<f.size[in]
	}
	c.rx.promised = promise(int(c.rx.w), c.rx.size)
	cfg.Budget.promised += c.rx.promised
}
