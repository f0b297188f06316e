package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"dnet/circuit"

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
	// 8 to 15 are for terminals: window size, modes.
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
	maxCommand   = 128<<10 - 1
	maxVariables = 64
	maxVariable  = 4096
	// maxMessage bounds a message of several pieces: a start with everything that it may have.
	maxMessage = 512 << 10
)

// start asks for a command.
//
//	version 1 | TLVs: type 1 | length 4 | value      1 command   2 variable, NAME=VALUE
//
// An unknown type with the top bit set refuses the message, another unknown type is skipped.
type start struct {
	command   string
	variables []string // NAME=VALUE
}

const (
	tlvCommand  = 1
	tlvVariable = 2
	tlvCritical = 0x80
)

// append writes the whole Q datagram, with its type.
func (s start) append(dst []byte) []byte {
	dst = append(dst, byte(kindStart), protocolVersion)
	dst = appendTLV(dst, tlvCommand, s.command)
	for _, v := range s.variables {
		dst = appendTLV(dst, tlvVariable, v)
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
		value := string(b[5 : 5+n])
		b = b[5+n:]
		switch {
		case kind == tlvCommand && s.command != "":
			return s, errors.New("the client asks for two commands")
		case kind == tlvCommand:
			s.command = value
		case kind == tlvVariable:
			if passed(value) && len(s.variables) < maxVariables {
				s.variables = append(s.variables, value)
			}
		case kind&tlvCritical != 0:
			return s, fmt.Errorf("the client asks for something that this version of rx does not know (%02x)", kind)
		}
	}
	return s, checkCommand(s.command)
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

// passed tells whether a client's variable goes into the command's environment: the language, and
// what git asks for. Both ends keep to the list.
func passed(variable string) bool {
	name, value, ok := strings.Cut(variable, "=")
	if !ok || len(variable) > maxVariable || strings.Contains(value, "\x00") {
		return false
	}
	if category, isLC := strings.CutPrefix(name, "LC_"); isLC {
		return category != "" && strings.Trim(category, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
	}
	return slices.Contains([]string{"LANG", "LANGUAGE", "GIT_PROTOCOL"}, name)
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
