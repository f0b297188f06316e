package hdlc

import (
	"errors"
	"fmt"
)

// Kind is the kind of a frame.
type Kind uint8

// The frames of LLC types 1 and 2 (IEEE 802.2 5.4).
const (
	I Kind = iota
	RR
	RNR
	REJ
	SABME
	DISC
	UA
	DM
	FRMR
	UI
	XID
	TEST
	kinds
)

var kindNames = [kinds]string{"I", "RR", "RNR", "REJ", "SABME", "DISC", "UA", "DM", "FRMR", "UI", "XID", "TEST"}

// controls holds the first control octet of each kind, P/F and numbers zero.
var controls = [kinds]byte{0x00, 0x01, 0x05, 0x09, 0x6f, 0x43, 0x63, 0x0f, 0x87, 0x03, 0xaf, 0xe3}

// String is the standard's name of the frame.
func (k Kind) String() string {
	if k >= kinds {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// numbered says whether frames of the kind carry N(R), which takes a second control octet.
func (k Kind) numbered() bool { return k <= REJ }

// Service access points of dnet.
const (
	SAPX25     = 0x7e // X.25 packets in I frames
	SAPControl = 0x44 // control messages in UI frames; the group address is one above
)

const (
	groupBit    = 0x01 // of DSAP
	responseBit = 0x01 // of SSAP
	pfUnnumber  = 0x10 // P/F in the only control octet of a U frame
	pfNumbered  = 0x01 // P/F in the second control octet of an I or S frame
)

// iHeader is what stands before the information of an I frame: DSAP, SSAP and two control octets.
const iHeader = 4

// Frame is one LLC PDU. NS and NR are modulo 128 and only in I and in I, RR, RNR, REJ. Info is borrowed.
type Frame struct {
	DSAP     uint8 // with the group bit
	SSAP     uint8 // without the command/response bit
	Response bool
	Kind     Kind
	PF       bool // P of a command, F of a response
	NS, NR   uint8
	Info     []byte
}

// Errors of Parse.
var (
	ErrShort   = errors.New("LLC PDU too short")
	ErrControl = errors.New("unknown LLC control field")
	ErrInfo    = errors.New("information in an LLC frame that has none")
)

// Parse takes a PDU apart. pdu ends where its length field says, without Ethernet padding. The Frame's Info is part of pdu.
// Whatever it accepts, Append writes again octet for octet.
func Parse(pdu []byte) (Frame, error) {
	if len(pdu) < 3 {
		return Frame{}, ErrShort
	}
	f := Frame{DSAP: pdu[0], SSAP: pdu[1] &^ responseBit, Response: pdu[1]&responseBit != 0}
	control := pdu[2]
	if control&3 != 3 { // I and S
		if len(pdu) < iHeader {
			return Frame{}, ErrShort
		}
		f.PF, f.NR, f.Info = pdu[3]&pfNumbered != 0, pdu[3]>>1, pdu[iHeader:]
		if control&1 == 0 {
			f.NS = control >> 1
			return f, nil
		}
		switch control {
		case 0x01:
			f.Kind = RR
		case 0x05:
			f.Kind = RNR
		case 0x09:
			f.Kind = REJ
		default:
			return Frame{}, ErrControl
		}
		return f, f.checkInfo()
	}
	f.PF, f.Info = control&pfUnnumber != 0, pdu[3:]
	for k := SABME; k < kinds; k++ {
		if control&^pfUnnumber == controls[k] {
			f.Kind = k
			return f, f.checkInfo()
		}
	}
	return Frame{}, ErrControl
}

// checkInfo refuses information where IEEE 802.2 has none.
func (f Frame) checkInfo() error {
	switch f.Kind {
	case RR, RNR, REJ, SABME, DISC, UA, DM:
		if len(f.Info) != 0 {
			return ErrInfo
		}
	}
	return nil
}

// Append appends the PDU to dst.
func (f Frame) Append(dst []byte) []byte {
	ssap := f.SSAP &^ responseBit
	if f.Response {
		ssap |= responseBit
	}
	control := controls[f.Kind]
	if f.Kind.numbered() {
		second := f.NR << 1
		if f.PF {
			second |= pfNumbered
		}
		if f.Kind == I {
			control = f.NS << 1
		}
		dst = append(dst, f.DSAP, ssap, control, second)
		return append(dst, f.Info...)
	}
	if f.PF {
		control |= pfUnnumber
	}
	dst = append(dst, f.DSAP, ssap, control)
	return append(dst, f.Info...)
}

// String is the frame's printed form in traces, logs and tests: "I S3 R5 P", "RR R4 F", "SABME P", "FRMR F YZ 0a08".
func (f Frame) String() string {
	b := make([]byte, 0, 32)
	b = append(b, f.Kind.String()...)
	if f.Kind == I {
		b = fmt.Appendf(b, " S%d", f.NS)
	}
	if f.Kind.numbered() {
		b = fmt.Appendf(b, " R%d", f.NR)
	}
	if f.PF && f.Response {
		b = append(b, " F"...)
	} else if f.PF {
		b = append(b, " P"...)
	}
	if f.Kind == FRMR {
		b = append(b, f.rejection()...)
	}
	return string(b)
}

// Numbered tells whether a PDU has an N(R).
func Numbered(pdu []byte) bool { return len(pdu) >= iHeader && pdu[2]&3 != 3 }

// IsAck tells whether a PDU is an RR that only acknowledges: a response without F. In Out its N(R) may still grow until Reset.
func IsAck(pdu []byte) bool {
	return len(pdu) == iHeader && pdu[1]&responseBit != 0 && pdu[2] == controls[RR] && pdu[3]&pfNumbered == 0
}

// rejection is the printed form of an FRMR's information: its reasons and the rejected control field.
func (f Frame) rejection() string {
	if len(f.Info) < 5 {
		return ""
	}
	reasons := make([]byte, 0, 5)
	for i, letter := range []byte("WXYZV") {
		if f.Info[4]>>i&1 != 0 {
			reasons = append(reasons, letter)
		}
	}
	return fmt.Sprintf(" %s %x", reasons, f.Info[:2])
}
