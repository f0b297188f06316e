package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dnet/circuit"
	"dnet/session"
)

// A datagram without Q is what is typed on the way there, what the terminal shows on the way back; its octets are
// numbered from 0 as long as the session lives. One with Q is a message (protocol.md 7):
//
//	+--------+----------------------+
//	| type 1 | value                |
//	+--------+----------------------+
type kind byte

const (
	kindData     kind = 0  // not on the wire: a datagram without Q
	kindStart    kind = 1  // to the server, the first of a new session: version 1 | TLVs
	kindStatus   kind = 4  // to the client, the last: exit status 1 | name of the signal
	kindFailed   kind = 5  // to the client, the last: why there is no exit status
	kindSize     kind = 8  // to the server: the terminal has another size now
	kindSession  kind = 9  // to the client: token 16 | seconds 4: the session outlives its circuit for so long
	kindResume   kind = 10 // to the server, the first instead of a start: version 1 | token 16 | next 8
	kindResumed  kind = 11 // to the client, the answer: next 8 of what is typed | next 8 of what is shown
	kindTaken    kind = 12 // the other's octets before this number, 8, have been taken
	kindDisplay  kind = 13 // to the client: octets for the terminal without a number
	kindReserved kind = 14 // and up
)

const (
	protocolVersion = 1

	// window is how many octets of each direction may have been sent that are not taken at the other end. They are kept
	// to be sent again on another circuit.
	window = 256 << 10
	// history is how many of the octets that were taken are kept for a client that has no past.
	history = 16 << 10
	// maxPiece is how much is read, and sent, at a time.
	maxPiece = 16 << 10
	// takenStep is how often that is told. It must be well below window.
	takenStep = 32 << 10
	// maxMessage bounds a message of several pieces: a start with everything that it may have.
	maxMessage = 384 << 10
	// tokenLength is that of the secret by which a session is taken up again, in octets.
	tokenLength = 16
	// unseen is the number by which a client that has no past asks for all that is kept.
	unseen = ^uint64(0)
)

type token [tokenLength]byte

// appendStart writes the whole Q datagram that asks for a new session: version 1 | TLVs.
func appendStart(dst []byte, s session.Request) []byte {
	return s.AppendTLVs(append(dst, byte(kindStart), protocolVersion))
}

// parseStart reads the value of a start, its type taken off. Variables that no server would pass on are left out.
func parseStart(b []byte) (s session.Request, err error) {
	if len(b) == 0 || b[0] != protocolVersion {
		return s, fmt.Errorf("the client speaks another version of ncu than %d", protocolVersion)
	}
	err = s.ParseTLVs(b[1:], func(byte, []byte) (bool, error) { return false, nil })
	if err == nil && s.Terminal == nil {
		err = errors.New("the client has no terminal")
	}
	return s, err
}

// resume asks for a session that was lost.
type resume struct {
	token token
	next  uint64 // number of the first octet of output that the client has not got; unseen
}

const resumeLength = 2 + tokenLength + 8

// append writes the whole Q datagram.
func (r resume) append(dst []byte) []byte {
	dst = append(append(dst, byte(kindResume), protocolVersion), r.token[:]...)
	return binary.BigEndian.AppendUint64(dst, r.next)
}

// parseResume reads the value of a resume.
func parseResume(b []byte) (r resume, err error) {
	if len(b) == 0 || b[0] != protocolVersion {
		return r, fmt.Errorf("the client speaks another version of ncu than %d", protocolVersion)
	}
	if len(b) != resumeLength-1 {
		return r, errors.New("the client's request is cut short")
	}
	copy(r.token[:], b[1:])
	r.next = binary.BigEndian.Uint64(b[1+tokenLength:])
	return r, nil
}

// message writes a Q datagram.
func message(k kind, value ...byte) []byte { return append([]byte{byte(k)}, value...) }

// numbers writes a Q datagram of one or more numbers.
func numbers(k kind, all ...uint64) []byte {
	b := message(k)
	for _, n := range all {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// parseNumbers reads count numbers; false when the value is not that long.
func parseNumbers(value []byte, count int) (all [2]uint64, ok bool) {
	if len(value) != 8*count {
		return all, false
	}
	for i := range count {
		all[i] = binary.BigEndian.Uint64(value[8*i:])
	}
	return all, true
}

// receiver reads a circuit as messages.
type receiver struct {
	next func() ([]byte, circuit.Bits, error) // Conn.Next
}

var errTooLong = errors.New("a message is too long")

// receive returns the next of what is received: data as it comes, or a message, whole. The value is borrowed until
// the next receive; data has at least one octet.
func (r receiver) receive() (kind, []byte, error) {
	var whole []byte
	for {
		octets, bits, err := r.next()
		if err != nil {
			return 0, nil, err
		}
		switch {
		case bits&circuit.Q == 0:
			if len(octets) > 0 {
				return kindData, octets, nil
			}
			continue
		case bits&circuit.M == 0 && whole == nil:
		case len(whole)+len(octets) > maxMessage:
			return 0, nil, errTooLong
		default:
			whole = append(whole, octets...)
			if bits&circuit.M != 0 {
				continue
			}
			octets, whole = whole, nil
		}
		if len(octets) > 0 && octets[0] != byte(kindData) {
			return kind(octets[0]), octets[1:], nil
		}
	}
}
