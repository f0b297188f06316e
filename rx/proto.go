package main

import (
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

// start asks for a command, or for a subsystem: version 1 | TLVs.
type start struct {
	session.Request
	command   string
	subsystem string // instead of a command
}

const (
	tlvCommand   = 1
	tlvSubsystem = 0x85
)

// append writes the whole Q datagram, with its type.
func (s start) append(dst []byte) []byte {
	dst = append(dst, byte(kindStart), protocolVersion)
	if s.command != "" {
		dst = session.AppendTLV(dst, tlvCommand, s.command)
	}
	dst = s.AppendTLVs(dst)
	if s.subsystem != "" {
		dst = session.AppendTLV(dst, tlvSubsystem, s.subsystem)
	}
	return dst
}

// parseStart reads the value of a start, its type taken off. Variables that no server would pass on are
// left out.
func parseStart(b []byte) (s start, err error) {
	if len(b) == 0 || b[0] != protocolVersion {
		return s, fmt.Errorf("the client speaks another version of rx than %d", protocolVersion)
	}
	if err := s.ParseTLVs(b[1:], s.take); err != nil {
		return s, err
	}
	switch {
	case s.subsystem == "":
		return s, checkCommand(s.command)
	case s.command != "":
		return s, errors.New("the client asks for a command and a subsystem")
	}
	return s, nil
}

// take takes a TLV that is rx's own.
func (s *start) take(kind byte, value []byte) (known bool, err error) {
	switch kind {
	case tlvCommand:
		if s.command != "" {
			return true, errors.New("the client asks for two commands")
		}
		s.command = string(value)
	case tlvSubsystem:
		if s.subsystem != "" || len(value) < 1 || len(value) > maxSubsystem {
			return true, fmt.Errorf("the client's subsystem is not one name of at most %d octets", maxSubsystem)
		}
		s.subsystem = string(value)
	default:
		return false, nil
	}
	return true, nil
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
