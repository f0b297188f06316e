package session

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Request is what the requests for a command and for a login have in common. It is written as TLVs:
//
//	type 1 | length 4 | value
//
// An unknown type with the top bit set refuses the request, another unknown type is skipped (protocol.md 6).
type Request struct {
	Variables []string  // NAME=VALUE
	User      string    // whose session it is to be; empty: whoever's the server's sessions are
	Terminal  *Terminal // nil: pipes
}

const (
	tlvVariable = 2
	tlvUser     = 0x83
	tlvTerminal = 0x84 // size 8 | modes
	tlvCritical = 0x80
)

// AppendTLVs writes the request.
func (r *Request) AppendTLVs(dst []byte) []byte {
	for _, v := range r.Variables {
		dst = AppendTLV(dst, tlvVariable, v)
	}
	if r.User != "" {
		dst = AppendTLV(dst, tlvUser, r.User)
	}
	if t := r.Terminal; t != nil {
		dst = AppendTLV(dst, tlvTerminal, string(append(t.Size.Append(nil), t.Modes...)))
	}
	return dst
}

// AppendTLV writes one TLV.
func AppendTLV(dst []byte, kind byte, value string) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, kind), uint32(len(value)))
	return append(dst, value...)
}

// ParseTLVs reads TLVs up to the end. Those that are not of a Request go to own, which tells whether it knows the type.
// Variables that no server would pass on are left out.
func (r *Request) ParseTLVs(b []byte, own func(kind byte, value []byte) (known bool, err error)) error {
	for len(b) > 0 {
		if len(b) < 5 || uint64(binary.BigEndian.Uint32(b[1:])) > uint64(len(b)-5) {
			return errors.New("the client's request is cut short")
		}
		kind, n := b[0], binary.BigEndian.Uint32(b[1:])
		value := b[5 : 5+n]
		b = b[5+n:]
		known, err := own(kind, value)
		if err == nil && !known {
			err = r.take(kind, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take takes one TLV.
func (r *Request) take(kind byte, value []byte) error {
	switch {
	case kind == tlvVariable:
		if v := string(value); Passed(v) && len(r.Variables) < MaxVariables {
			r.Variables = append(r.Variables, v)
		}
	case kind == tlvUser:
		if r.User != "" || !IsUser(string(value)) {
			return fmt.Errorf("the client's user is not one name of at most %d octets", maxUser)
		}
		r.User = string(value)
	case kind == tlvTerminal:
		size, ok := ParseSize(value)
		if !ok || r.Terminal != nil || len(value) > sizeLength+MaxModes {
			return errors.New("the client's terminal is not described as one")
		}
		r.Terminal = &Terminal{Size: size, Modes: append([]byte(nil), value[sizeLength:]...)}
	case kind&tlvCritical != 0:
		return fmt.Errorf("the client asks for something that this version does not know (%02x)", kind)
	}
	return nil
}

// maxUser bounds the name of a user (useradd(8)).
const maxUser = 32

// IsUser tells whether a text can be the name of a user: it becomes an argument of login(1).
func IsUser(name string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.' && c != '@' && c != '$') {
			return false
		}
	}
	return name != "" && len(name) <= maxUser
}

// ParseUser takes the value of -l, or what stands before an @, as the user that was asked for, *user; two different ones
// would leave open which is meant. A password is refused, and wiped from the arguments of this process.
func ParseUser(user *string, value string) error {
	for i, c := range value {
		if c == ':' {
			err := fmt.Errorf("%.*s: passwords need sealed links, which this version does not have", maxUser, value[:i])
			WipeArgs(value)
			return err
		}
	}
	if !IsUser(value) {
		return fmt.Errorf("%.40q is not the name of a user", value)
	}
	if *user != "" && *user != value {
		return fmt.Errorf("two users, %s and %s", *user, value)
	}
	*user = value
	return nil
}
