package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// Addr is the address of a station on an Ethernet.
type Addr = [6]byte

// Group is the address every dnet station listens to besides its own (protocol.md 1).
var Group = Addr{0x03, 0x44, 0x4e, 0x45, 0x54, 0x00}

// Ethertype is the default (IEEE 802 local experimental 1).
const Ethertype = 0x88b5

// Headroom is what stands in a frame before its LLC PDU: DA, SA, Ethertype, L, F.
const Headroom = 6 + 6 + 2 + 2 + 1

// frameVersion is the upper half of F.
const frameVersion = 1 << 4

// Bits of F that are not the version.
const (
	flagKey      = 0x0c
	flagSealed   = 0x02
	flagReserved = 0x01
)

// Why a frame was dropped before any machine saw it. Each has a counter of its name.
var (
	errShort     = errors.New("frame too short")
	errEthertype = errors.New("foreign ethertype")
	errLength    = errors.New("length beyond the frame")
	errVersion   = errors.New("unknown frame version")
	errReserved  = errors.New("reserved bit set")
	errSealed    = errors.New("sealed frame in open mode")
	errKey       = errors.New("key number in an unsealed frame")
	errSource    = errors.New("group source address")
)

// header is what stands before the PDU.
type header struct {
	da, sa    Addr
	ethertype uint16
	flags     byte
}

// parseFrame cuts a frame into its header and LLC PDU (protocol.md 1). The padding is left out.
func parseFrame(frame []byte, ethertype uint16) (h header, pdu []byte, err error) {
	if len(frame) < Headroom {
		return h, nil, errShort
	}
	copy(h.da[:], frame)
	copy(h.sa[:], frame[6:])
	h.ethertype = binary.BigEndian.Uint16(frame[12:])
	h.flags = frame[16]
	length := int(binary.BigEndian.Uint16(frame[14:]))
	switch {
	case h.ethertype != ethertype:
		return h, nil, errEthertype
	case h.sa[0]&1 != 0:
		return h, nil, errSource
	case length > len(frame)-Headroom:
		return h, nil, errLength
	case h.flags&0xf0 != frameVersion:
		return h, nil, errVersion
	case h.flags&flagReserved != 0:
		return h, nil, errReserved
	case h.flags&flagSealed == 0 && h.flags&flagKey != 0:
		return h, nil, errKey
	}
	return h, frame[Headroom : Headroom+length], nil
}

// putHeader writes the header into the first Headroom octets of frame, whose rest is the LLC PDU.
func putHeader(frame []byte, da, sa Addr, ethertype uint16) {
	copy(frame, da[:])
	copy(frame[6:], sa[:])
	binary.BigEndian.PutUint16(frame[12:], ethertype)
	binary.BigEndian.PutUint16(frame[14:], uint16(len(frame)-Headroom))
	frame[16] = frameVersion
}

// FormatFrame is the printed form of a frame of any Ethertype, for traces, logs and tests:
// "02:..:01 > 02:..:02 I S3 R5 P | DATA lci 12 ps 3 pr 5".
func FormatFrame(frame []byte) string { return format(frame, len(frame)) }

// FormatCut is the printed form of what CutFrame left of a frame of size octets. It differs only in what is not there any more: of an
// interrupt it has the length.
func FormatCut(cut []byte, size int) string {
	frame := make([]byte, max(len(cut), size))
	copy(frame, cut)
	return format(frame, len(cut))
}

// format prints a frame of which only so many octets are known; the others are zeros.
func format(frame []byte, known int) string {
	if len(frame) < Headroom {
		return fmt.Sprintf("%d octets: %v", len(frame), errShort)
	}
	h, pdu, err := parseFrame(frame, ethertypeOf(frame))
	route := FormatAddr(h.sa) + " > " + FormatAddr(h.da) + " "
	if err != nil {
		return route + err.Error()
	}
	if h.flags&flagSealed != 0 {
		return route + formatSealed(h, pdu)
	}
	f, err := hdlc.Parse(pdu)
	if err != nil {
		return route + err.Error()
	}
	text := route + f.String()
	switch {
	case f.Kind == hdlc.I && f.SSAP == hdlc.SAPX25:
		p, err := x25.Parse(f.Info)
		if err != nil {
			return text + " | " + err.Error()
		}
		if n := len(p.UserData); p.Kind == x25.KindInterrupt && Headroom+len(pdu) > known {
			p.UserData = nil
			return fmt.Sprintf("%s | %s len %d", text, p.String(), n)
		}
		return text + " | " + p.String()
	case f.Kind == hdlc.UI && f.SSAP == hdlc.SAPControl:
		if m, err := names.Parse(f.Info); err != nil {
			return text + " | " + err.Error()
		} else if m.Type == names.Handshake {
			return text + " | " + m.String() + " " + seal.Format(seal.Mode(m.Mode), m.Handshake)
		} else {
			return text + " | " + m.String()
		}
	}
	return text
}

// ethertypeOf is the Ethertype of a frame that has one.
func ethertypeOf(frame []byte) uint16 { return binary.BigEndian.Uint16(frame[12:]) }

// CutFrame is the part of a frame that traces show to whoever may not see what users say to each other: all but the user data of data and
// interrupt packets, the information of frames that serve for tests, and the octets of what cannot be understood. It is part of
// frame, and has no padding. What sets up and ends circuits stays whole, with the names and texts in it.
func CutFrame(frame []byte) []byte {
	const header, numbered, unnumbered = Headroom, 4, 3
	if len(frame) < header {
		return frame
	}
	h, pdu, err := parseFrame(frame, ethertypeOf(frame))
	switch {
	case err != nil:
		return frame[:header]
	case h.flags&flagSealed != 0: // what is within cannot be seen, but by those whom it is for
		return frame[:header+min(len(pdu), 8)] // the counter
	}
	end := header + len(pdu)
	f, err := hdlc.Parse(pdu)
	switch {
	case err != nil:
		end = header + min(len(pdu), unnumbered)
	case f.Kind == hdlc.I && f.SSAP == hdlc.SAPX25:
		p, err := x25.Parse(f.Info)
		switch {
		case err != nil:
			end = header + numbered + min(len(f.Info), 3)
		case p.Kind == x25.KindData || p.Kind == x25.KindInterrupt:
			end -= len(p.UserData)
		}
	case f.Kind == hdlc.UI && f.SSAP == hdlc.SAPControl, f.Kind == hdlc.FRMR, f.Kind == hdlc.XID:
	default:
		end -= len(f.Info)
	}
	return frame[:end]
}

// LLC is the LLC PDU of a frame of any Ethertype, and false for what is none.
func LLC(frame []byte) (pdu []byte, ok bool) {
	if len(frame) < Headroom {
		return nil, false
	}
	h, pdu, err := parseFrame(frame, ethertypeOf(frame))
	return pdu, err == nil && h.flags&flagSealed == 0
}

// formatSealed is what can be seen of a sealed frame: "SEALED key 1 counter 7 len 1473", the octets of the PDU within.
func formatSealed(h header, body []byte) string {
	number, overhead := h.flags>>2&3, seal.Overhead
	if number == 0 {
		overhead = seal.GroupOverhead
	}
	if len(body) < overhead {
		return seal.ErrShort.Error()
	}
	return fmt.Sprintf("SEALED key %d counter %d len %d", number, binary.BigEndian.Uint64(body), len(body)-overhead)
}

// FormatAddr is the usual form of a station's address, 02:00:00:00:00:01.
func FormatAddr(a Addr) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}
