package names

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// critical marks a TLV type that must be understood (protocol.md 2).
const critical = 0x80

// parseError is why octets were refused: reason, from a small fixed set, for counters; detail for people.
type parseError struct{ reason, detail string }

func (e *parseError) Error() string {
	if e.detail == "" {
		return e.reason
	}
	return e.reason + ": " + e.detail
}

func refuse(reason, format string, args ...any) error {
	return &parseError{reason, fmt.Sprintf(format, args...)}
}

// Reason is the kind of an error of Parse or ParseCall: one of a few fixed texts, fit for the name of a counter.
func Reason(err error) string {
	var e *parseError
	if errors.As(err, &e) {
		return e.reason
	}
	return "other"
}

// tlvs walks a list of TLVs and refuses one cut short or there twice.
type tlvs struct {
	rest []byte
	seen [256]bool
}

func (t *tlvs) more() bool { return len(t.rest) > 0 }

func (t *tlvs) next() (kind uint8, value []byte, err error) {
	if len(t.rest) < 2 {
		return 0, nil, refuse("TLV cut short", "one octet left")
	}
	kind = t.rest[0]
	end := 2 + int(t.rest[1])
	if end > len(t.rest) {
		return 0, nil, refuse("TLV cut short", "TLV %d has %d octets of %d", kind, len(t.rest)-2, end-2)
	}
	if t.seen[kind] {
		return 0, nil, refuse("TLV twice", "TLV %d", kind)
	}
	t.seen[kind] = true
	value, t.rest = t.rest[2:end], t.rest[end:]
	return kind, value, nil
}

// skip passes over an unknown TLV, unless it is critical.
func skip(kind uint8) error {
	if kind&critical != 0 {
		return refuse("unknown critical TLV", "TLV %d", kind)
	}
	return nil
}

// number is the value of a TLV that holds a number of so many octets.
func number(kind uint8, value []byte, octets int) (uint64, error) {
	if len(value) != octets {
		return 0, refuse("TLV of a wrong length", "TLV %d has %d octets instead of %d", kind, len(value), octets)
	}
	var b [8]byte
	copy(b[8-octets:], value)
	return binary.BigEndian.Uint64(b[:]), nil
}

// appendNumber appends a TLV that holds a number of so many octets.
func appendNumber(dst []byte, kind uint8, n uint64, octets int) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return append(append(dst, kind, byte(octets)), b[8-octets:]...)
}

// appendText appends a TLV that holds a name.
func appendText(dst []byte, kind uint8, text string) []byte {
	return append(append(dst, kind, byte(len(text))), text...)
}
