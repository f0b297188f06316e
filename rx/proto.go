package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"dnet/circuit"
	"dnet/session"

	"golang.org/x/sys/unix"
)

// A datagram without Q is standard input on the way there, standard output on the way back. One with Q
// is a message (protocol.md 6):
//
//	+--------+----------------------+
//	| type 1 | value                |
//	+--------+----------------------+
type kind byte

const (
	kindData   kind = 0 // not on the wire: a datagram without Q
	kindStart  kind = 1 // to the server, the first: version 1 | TLVs
	kindEnd    kind = 2 // to the server: end of input
	kindStderr kind = 3 // to the client: standard error output
	kindStatus kind = 4 // to the client, the last: exit status 1 | name of the signal
	kindFailed kind = 5 // to the client, the last: why there is no exit status
	kindCredit kind = 6 // of what the other sends: input or output (0, 1 or 2) 1 | 4, so many octets more may be sent
	kindClosed kind = 7 // to the server: 1, nobody reads this output (1 or 2) any more
	kindSize   kind = 8 // to the server: the terminal has another size now
	// 9 to 15 are reserved.
)

const (
	protocolVersion = 1

	// window is how many octets of input, of output and of error output each may have been sent that are not
	// yet written at the other end. It keeps the circuit empty: nothing that is not read holds up the rest
	// of what is said, or hides that the other end has gone.
	window = 1 << 20
	// maxPiece is how much is read, and written, at a time.
	maxPiece = 60 << 10
	// maxCommand is what Linux takes as one argument (MAX_ARG_STRLEN), without its NUL.
	maxCommand = 128<<10 - 1
	// maxSubsystem bounds the name of a subsystem.
	maxSubsystem = 32
	// maxMessage bounds a message of several pieces: a start with everything that it may have.
	maxMessage = 512 << 10
)

// start asks for a command, or for a subsystem.
//
//	version 1 | TLVs: type 1 | length 4 | value
//
// An unknown type with the top bit set refuses the message, another unknown type is skipped.
type start struct {
	command   string
	variables []string          // NAME=VALUE
	user      string            // whose session it is to be; empty: whoever's the server's sessions are
	terminal  *session.Terminal // nil: pipes
	subsystem string            // instead of a command
}

const (
	tlvCommand   = 1
	tlvVariable  = 2
	tlvUser      = 0x83
	tlvTerminal  = 0x84 // size 8 | modes as in RFC 4254, section 8
	tlvSubsystem = 0x85
	tlvCritical  = 0x80
)

// append writes the whole Q datagram, with its type.
func (s start) append(dst []byte) []byte {
	dst = append(dst, byte(kindStart), protocolVersion)
	if s.command != "" {
		dst = appendTLV(dst, tlvCommand, s.command)
	}
	for _, v := range s.variables {
		dst = appendTLV(dst, tlvVariable, v)
	}
	if s.user != "" {
		dst = appendTLV(dst, tlvUser, s.user)
	}
	if t := s.terminal; t != nil {
		dst = appendTLV(dst, tlvTerminal, string(append(t.Size.Append(nil), t.Modes...)))
	}
	if s.subsystem != "" {
		dst = appendTLV(dst, tlvSubsystem, s.subsystem)
	}
	return dst
}

func appendTLV(dst []byte, kind byte, value string) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, kind), uint32(len(value)))
	return append(dst, value...)
}

// parseStart reads the value of a start, its type taken off. Variables that no server would pass on are
// left out.
func parseStart(b []byte) (s start, err error) {
	if len(b) == 0 || b[0] != protocolVersion {
		return s, fmt.Errorf("the client speaks another version of rx than %d", protocolVersion)
	}
	for b = b[1:]; len(b) > 0; {
		if len(b) < 5 || uint64(binary.BigEndian.Uint32(b[1:])) > uint64(len(b)-5) {
			return s, errors.New("the client's request is cut short")
		}
		kind, n := b[0], binary.BigEndian.Uint32(b[1:])
		if err := s.take(kind, b[5:5+n]); err != nil {
			return s, err
		}
		b = b[5+n:]
	}
	if s.subsystem != "" && s.command == "" {
		return s, nil
	}
	if s.subsystem != "" {
		return s, errors.New("the client asks for a command and a subsystem")
	}
	return s, checkCommand(s.command)
}

// take takes one TLV.
func (s *start) take(kind byte, value []byte) error {
	switch {
	case kind == tlvCommand && s.command != "":
		return errors.New("the client asks for two commands")
	case kind == tlvCommand:
		s.command = string(value)
	case kind == tlvVariable:
		if v := string(value); session.Passed(v) && len(s.variables) < session.MaxVariables {
			s.variables = append(s.variables, v)
		}
	case kind == tlvUser:
		if s.user != "" || len(value) < 1 || len(value) > session.MaxUser {
			return fmt.Errorf("the client's user is not one name of at most %d octets", session.MaxUser)
		}
		s.user = string(value)
	case kind == tlvTerminal:
		size, ok := session.ParseSize(value)
		if !ok || s.terminal != nil || len(value) > session.SizeLength+session.MaxModes {
			return errors.New("the client's terminal is not described as one")
		}
		s.terminal = &session.Terminal{Size: size, Modes: append([]byte(nil), value[session.SizeLength:]...)}
	case kind == tlvSubsystem:
		if s.subsystem != "" || len(value) < 1 || len(value) > maxSubsystem {
			return fmt.Errorf("the client's subsystem is not one name of at most %d octets", maxSubsystem)
		}
		s.subsystem = string(value)
	case kind&tlvCritical != 0:
		return fmt.Errorf("the client asks for something that this version of rx does not know (%02x)", kind)
	}
	return nil
}

func checkCommand(command string) error {
	switch {
	case command == "":
		return errors.New("no command")
	case len(command) > maxCommand:
		return fmt.Errorf("a command of %d octets, more than %d", len(command), maxCommand)
	case strings.Contains(command, "\x00"):
		return errors.New("a command with a NUL")
	}
	return nil
}

// message writes a Q datagram.
func message(k kind, value ...byte) []byte { return append([]byte{byte(k)}, value...) }

// receiver reads a circuit as messages.
type receiver struct {
	next   func() ([]byte, circuit.Bits, error) // Conn.Next
	kind   kind
	value  []byte // the pieces so far
	inside bool   // more pieces follow
}

var errTooLong = errors.New("a message is too long")

// receive returns the next of what is received: data or a message, whole. Only standard error output
// comes as it arrives. The value is borrowed until the next receive; data has at least one octet.
func (r *receiver) receive() (kind, []byte, error) {
	for {
		octets, bits, err := r.next()
		if err != nil {
			return 0, nil, err
		}
		if bits&circuit.Q == 0 {
			r.inside = false
			if len(octets) > 0 {
				return kindData, octets, nil
			}
			continue
		}
		if !r.inside {
			if len(octets) == 0 { // the type is still to come
				continue
			}
			r.kind, r.value, octets = kind(octets[0]), nil, octets[1:]
		}
		r.inside = bits&circuit.M != 0
		switch {
		case r.kind == kindStderr:
			if len(octets) > 0 {
				return kindStderr, octets, nil
			}
		case !r.inside && r.value == nil:
			if r.kind != kindData {
				return r.kind, octets, nil
			}
		case len(r.value)+len(octets) > maxMessage:
			return 0, nil, errTooLong
		default:
			r.value = append(r.value, octets...)
			if !r.inside && r.kind != kindData {
				return r.kind, r.value, nil
			}
		}
	}
}

// signals are those that rx passes on, by the names that interrupts carry.
var signals = map[string]syscall.Signal{
	"HUP": unix.SIGHUP, "INT": unix.SIGINT, "QUIT": unix.SIGQUIT, "TERM": unix.SIGTERM,
}
