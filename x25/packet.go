package x25

import (
	"fmt"
	"strings"
)

// Kind is the type of a packet. The values of all but Data are the packet type identifiers (ISO 8208 table 3).
type Kind uint8

// Packet types.
const (
	KindData             Kind = 0x00
	KindRR               Kind = 0x01
	KindRNR              Kind = 0x05
	KindREJ              Kind = 0x09
	KindCall             Kind = 0x0b
	KindAccept           Kind = 0x0f
	KindClear            Kind = 0x13
	KindClearConfirm     Kind = 0x17
	KindReset            Kind = 0x1b
	KindResetConfirm     Kind = 0x1f
	KindInterrupt        Kind = 0x23
	KindInterruptConfirm Kind = 0x27
	KindDiagnostic       Kind = 0xf1
	KindRestart          Kind = 0xfb
	KindRestartConfirm   Kind = 0xff
)

// Bits of the general format identifier, octet 1.
const (
	gfiQ         = 0x80 // the A bit in call set-up and clearing
	gfiD         = 0x40
	gfiModulo    = 0x30
	gfiModulo8   = 0x10
	gfiModulo128 = 0x20
)

// Sizes in octets.
const (
	headerLen       = 3
	dataHeaderLen   = 4
	maxAddress      = 15  // digits
	maxFacilities   = 109 // ISO 8208 12.2.1.1.4
	maxUserData     = 128 // with fast select
	maxUserDataSlow = 16  // without
	maxInterrupt    = 32
	maxLCI          = 4095
)

// Packet is one packet in all its fields. The slices of a parsed one are borrowed from the octets it was parsed from.
type Packet struct {
	Kind       Kind
	LCI        uint16 // 0..4095
	Q, D, M    bool
	PS, PR     uint8 // 0..127
	Cause      Cause
	Diag       Diag
	Called     string // up to 15 decimal digits
	Calling    string
	Facilities []byte // up to 109 octets, uninterpreted
	UserData   []byte // of data, interrupt, call, accept, clear; of diagnostic the octets after the code
}

// FormatError says why octets are not a packet, with the diagnostic code that tells the peer.
type FormatError struct {
	Diag Diag
	text string
}

func (e *FormatError) Error() string { return "x25: " + e.text }

// What Parse reports. The Packet it returns beside an error has the LCI if there are two octets and the Kind if there are
// three; the rest is unspecified.
var (
	ErrShort          = &FormatError{DiagTooShort, "packet too short"}
	ErrLong           = &FormatError{DiagTooLong, "packet too long"}
	ErrGFI            = &FormatError{DiagGFI, "invalid general format identifier"}
	ErrModulo8        = &FormatError{DiagGFI, "packet of modulo 8"}
	ErrType           = &FormatError{DiagUnidentifiable, "unidentifiable packet"}
	ErrCalled         = &FormatError{DiagCalledAddress, "invalid called address"}
	ErrCalling        = &FormatError{DiagCallingAddress, "invalid calling address"}
	ErrFacilityLength = &FormatError{DiagFacilityLength, "invalid facility length"}
)

// Parse reads one packet, which is all of b. Errors are *FormatError. What parses and is appended again gives the same
// octets, except that it gets: the diagnostic code (00) a clear, reset or restart left out; no address and facility fields
// where all were empty and no user data follows; 0 as the pad of an odd number of digits.
func Parse(b []byte) (p Packet, err error) {
	if e := p.parse(b); e != nil {
		return p, e
	}
	return p, nil
}

func (p *Packet) parse(b []byte) *FormatError {
	if len(b) < 2 {
		return ErrShort
	}
	p.LCI = uint16(b[0]&0x0f)<<8 | uint16(b[1])
	if len(b) >= headerLen {
		p.Kind = Kind(b[2])
		if p.Kind&1 == 0 {
			p.Kind = KindData
		}
	}
	switch {
	case b[0]&gfiModulo == gfiModulo8:
		return ErrModulo8
	case b[0]&gfiModulo != gfiModulo128:
		return ErrGFI
	case len(b) < headerLen:
		return ErrShort
	}
	q, d := b[0]&gfiQ != 0, b[0]&gfiD != 0
	if p.Kind == KindData {
		if len(b) < dataHeaderLen {
			return ErrShort
		}
		p.Q, p.D, p.M = q, d, b[3]&1 != 0
		p.PS, p.PR = b[2]>>1, b[3]>>1
		p.UserData = b[dataHeaderLen:]
		return nil
	}
	if q || d && p.Kind != KindCall && p.Kind != KindAccept {
		return ErrGFI
	}
	p.D = d
	return p.parseControl(b[headerLen:])
}

// parseControl reads what follows octet 3 of a packet that is not data.
func (p *Packet) parseControl(b []byte) *FormatError {
	switch p.Kind {
	case KindRR, KindRNR, KindREJ:
		return p.parseFlow(b)
	case KindCall:
		if len(b) < 2 {
			return ErrShort
		}
		return p.parseSetup(b)
	case KindAccept, KindClearConfirm:
		return p.parseSetup(b)
	case KindClear:
		rest, err := p.parseReason(b, len(b))
		if err != nil {
			return err
		}
		return p.parseSetup(rest)
	case KindReset, KindRestart:
		_, err := p.parseReason(b, 2)
		return err
	case KindResetConfirm, KindInterruptConfirm, KindRestartConfirm:
		return limit(b, 0, 0)
	case KindInterrupt:
		p.UserData = b
		return limit(b, 1, maxInterrupt)
	case KindDiagnostic:
		if len(b) > 0 {
			p.Diag, p.UserData = Diag(b[0]), b[1:]
		}
		return limit(b, 1, 4)
	}
	return ErrType
}

func limit(b []byte, low, high int) *FormatError {
	switch {
	case len(b) < low:
		return ErrShort
	case len(b) > high:
		return ErrLong
	}
	return nil
}

func (p *Packet) parseFlow(b []byte) *FormatError {
	if err := limit(b, 1, 1); err != nil {
		return err
	}
	if b[0]&1 != 0 {
		return ErrType
	}
	p.PR = b[0] >> 1
	return nil
}

// parseReason reads cause and diagnostic code. A DTE may leave the latter out.
func (p *Packet) parseReason(b []byte, high int) (rest []byte, err *FormatError) {
	if err := limit(b, 1, high); err != nil {
		return nil, err
	}
	p.Cause, b = Cause(b[0]), b[1:]
	if len(b) > 0 {
		p.Diag, b = Diag(b[0]), b[1:]
	}
	return b, nil
}

// parseSetup reads addresses, facilities and user data. The packet may end before each of them.
func (p *Packet) parseSetup(b []byte) *FormatError {
	if len(b) == 0 {
		return nil
	}
	calling, called := int(b[0]>>4), int(b[0]&0x0f)
	b = b[1:]
	octets := (calling + called + 1) / 2
	if len(b) < octets {
		return ErrShort
	}
	var ok bool
	if p.Called, ok = digits(b, 0, called); !ok {
		return ErrCalled
	}
	if p.Calling, ok = digits(b, called, calling); !ok {
		return ErrCalling
	}
	if b = b[octets:]; len(b) == 0 {
		if p.Kind == KindCall {
			return ErrShort
		}
		return nil
	}
	n := int(b[0])
	b = b[1:]
	if n > maxFacilities || n > len(b) {
		return ErrFacilityLength
	}
	p.Facilities, p.UserData = b[:n], b[n:]
	if p.Kind == KindClearConfirm {
		return limit(p.UserData, 0, 0)
	}
	return limit(p.UserData, 0, maxUserData)
}

// digits reads n decimal digits in BCD, from the semi-octet first on.
func digits(b []byte, first, n int) (string, bool) {
	if n == 0 {
		return "", true
	}
	var text [maxAddress]byte
	for i := range n {
		d := b[(first+i)/2]
		if (first+i)%2 == 0 {
			d >>= 4
		}
		if d &= 0x0f; d > 9 {
			return "", false
		}
		text[i] = '0' + d
	}
	return string(text[:n]), true
}

// Append adds the packet to dst. Fields beyond what the type carries are left out; the caller keeps to the sizes stated
// at the fields.
func (p Packet) Append(dst []byte) []byte {
	gfi := byte(gfiModulo128) | byte(p.LCI>>8)&0x0f
	if p.Q && p.Kind == KindData {
		gfi |= gfiQ
	}
	if p.D && (p.Kind == KindData || p.Kind == KindCall || p.Kind == KindAccept) {
		gfi |= gfiD
	}
	dst = append(dst, gfi, byte(p.LCI))
	if p.Kind == KindData {
		m := p.PR << 1
		if p.M {
			m |= 1
		}
		dst = append(dst, p.PS<<1, m)
		return append(dst, p.UserData...)
	}
	dst = append(dst, byte(p.Kind))
	switch p.Kind {
	case KindRR, KindRNR, KindREJ:
		dst = append(dst, p.PR<<1)
	case KindCall:
		dst = p.appendSetup(dst)
	case KindAccept, KindClearConfirm:
		if p.hasSetup() {
			dst = p.appendSetup(dst)
		}
	case KindClear:
		dst = append(dst, byte(p.Cause), byte(p.Diag))
		if p.hasSetup() {
			dst = p.appendSetup(dst)
		}
	case KindReset, KindRestart:
		dst = append(dst, byte(p.Cause), byte(p.Diag))
	case KindInterrupt:
		dst = append(dst, p.UserData...)
	case KindDiagnostic:
		dst = append(dst, byte(p.Diag))
		dst = append(dst, p.UserData...)
	}
	return dst
}

func (p *Packet) hasSetup() bool {
	return p.Called != "" || p.Calling != "" || len(p.Facilities) > 0 || len(p.UserData) > 0
}

// appendSetup adds addresses, called digits first, facilities and user data.
func (p *Packet) appendSetup(dst []byte) []byte {
	dst = append(dst, byte(len(p.Calling)<<4|len(p.Called)))
	high := true
	for _, address := range [...]string{p.Called, p.Calling} {
		for i := range len(address) {
			d := address[i] - '0'
			if high {
				dst = append(dst, d<<4)
			} else {
				dst[len(dst)-1] |= d
			}
			high = !high
		}
	}
	dst = append(dst, byte(len(p.Facilities)))
	dst = append(dst, p.Facilities...)
	return append(dst, p.UserData...)
}

func (k Kind) String() string {
	switch k {
	case KindData:
		return "DATA"
	case KindRR:
		return "RR"
	case KindRNR:
		return "RNR"
	case KindREJ:
		return "REJ"
	case KindCall:
		return "CALL"
	case KindAccept:
		return "ACCEPT"
	case KindClear:
		return "CLEAR"
	case KindClearConfirm:
		return "CLEAR CONFIRM"
	case KindReset:
		return "RESET"
	case KindResetConfirm:
		return "RESET CONFIRM"
	case KindInterrupt:
		return "INTERRUPT"
	case KindInterruptConfirm:
		return "INTERRUPT CONFIRM"
	case KindDiagnostic:
		return "DIAGNOSTIC"
	case KindRestart:
		return "RESTART"
	case KindRestartConfirm:
		return "RESTART CONFIRM"
	}
	return fmt.Sprintf("TYPE %02x", uint8(k))
}

// String is the printed form of a packet for traces, logs and tests: "DATA lci 12 ps 3 pr 5 M len 100",
// "CLEAR lci 12 cause 0d (not obtainable) diag 67 (invalid called address)".
func (p Packet) String() string {
	var s strings.Builder
	s.WriteString(p.Kind.String())
	if p.Kind != KindRestart && p.Kind != KindRestartConfirm && p.Kind != KindDiagnostic || p.LCI != 0 {
		fmt.Fprintf(&s, " lci %d", p.LCI)
	}
	switch p.Kind {
	case KindData:
		fmt.Fprintf(&s, " ps %d pr %d", p.PS, p.PR)
	case KindRR, KindRNR, KindREJ:
		fmt.Fprintf(&s, " pr %d", p.PR)
	case KindClear, KindReset, KindRestart:
		fmt.Fprintf(&s, " cause %02x (%s) diag %d", uint8(p.Cause), p.Cause.text(p.Kind), uint8(p.Diag))
		if p.Diag != 0 {
			fmt.Fprintf(&s, " (%s)", p.Diag)
		}
	case KindDiagnostic:
		fmt.Fprintf(&s, " diag %d (%s)", uint8(p.Diag), p.Diag)
	}
	if p.M {
		s.WriteString(" M")
	}
	if p.D {
		s.WriteString(" D")
	}
	if p.Q {
		s.WriteString(" Q")
	}
	if p.Called != "" || p.Calling != "" {
		fmt.Fprintf(&s, " called %q calling %q", p.Called, p.Calling)
	}
	if len(p.Facilities) > 0 {
		fmt.Fprintf(&s, " fac %x", p.Facilities)
	}
	if p.Kind == KindData {
		fmt.Fprintf(&s, " len %d", len(p.UserData))
	} else if len(p.UserData) > 0 {
		fmt.Fprintf(&s, " data %x", p.UserData)
	}
	return s.String()
}
