package names

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Type is the type of a control message.
type Type uint8

// Types of control messages (protocol.md 2).
const (
	Query  Type = 1 // who offers a service: to the group
	Answer Type = 2 // we do: to the asker
	Hello  Type = 3 // what a station says of itself before a link

	Handshake Type = 4 // a step of proving who one is; the hello of sealed modes is within it (package seal)
	Refusal   Type = 5 // why there will be no link
)

func (t Type) String() string {
	switch t {
	case Query:
		return "QUERY"
	case Answer:
		return "ANSWER"
	case Hello:
		return "HELLO"
	case Handshake:
		return "HANDSHAKE"
	case Refusal:
		return "REFUSAL"
	}
	return fmt.Sprintf("TYPE %d", uint8(t))
}

// Version of the format of control messages.
const Version = 1

// TLVs of control messages (protocol.md 2).
const (
	TLVService      = 1
	TLVMachine      = 2
	TLVHops         = 3
	TLVState        = 4
	TLVVersions     = 5
	TLVInstance     = 6
	TLVN1           = 7
	TLVRW           = 8
	TLVTolerance    = 9
	TLVMode         = 10
	TLVCapabilities = 11
	TLVDomain       = 12
	TLVReason       = 13
	TLVWitness      = 14
	TLVHandshake    = 20
)

// States of a service in an answer.
const (
	Free uint8 = 0
	Busy uint8 = 1
)

// Reasons of a Refusal.
const (
	RefuseMode    uint8 = 1 // the modes of the two differ
	RefuseChanged uint8 = 2 // another key is pinned for the machine's name
	RefuseStrict  uint8 = 3 // the machine is not pinned, and must be
	RefuseFull    uint8 = 4 // no room for a further pin
)

// witnessLen is the length of a witness key.
const witnessLen = 32

// headerLen is what stands before the TLVs.
const headerLen = 1 + 1 + 8 + 4

// fields lists the TLVs of each type of message: all of them must be there, and they are sent in this order. The domain, and the
// witness of a hello, which may be there or not, follow.
var fields = [...][]uint8{
	Query:  {TLVService, TLVMachine, TLVHops},
	Answer: {TLVService, TLVMachine, TLVState},
	Hello:  {TLVMachine, TLVVersions, TLVInstance, TLVN1, TLVRW, TLVTolerance, TLVMode, TLVCapabilities},

	Handshake: {TLVMode, TLVHandshake},
	Refusal:   {TLVMode, TLVReason},
}

// Message is a control message. The fields that its type has no use for are zero.
type Message struct {
	Type   Type
	BootID uint64 // of the sender, random at each start
	TxID   uint32 // of the query or the hello command; its answer repeats it

	Machine string // the sender
	Domain  string // the sender's, empty if it has none

	// Query and answer.
	Service string
	Hops    uint8 // query: gateways it may still pass
	State   uint8 // answer: Free or Busy

	// Hello.
	VersionMin, VersionMax uint8 // of frame and protocol
	Instance               uint32
	N1                     uint16        // largest LLC PDU taken, from 512 octets
	RW                     uint8         // frames its receive buffer holds, 1 to 127
	Tolerance              time.Duration // 50 ms to 30 s, in whole ms
	Mode                   uint8         // 0 open, 1 pinned, 2 secret
	Capabilities           uint32
	Witness                string // within a handshake: the public key of the machine's keeper, 32 octets; empty: not said

	Handshake string // handshake: the octets of a message of package seal, 1 to 255
	Reason    uint8  // refusal
}

// Parse reads a control message. It is strict: all TLVs of the type must be there, in any order, none twice, with values
// that make sense. What else is there is skipped, unless it is unknown and critical. So what Parse takes and Append
// writes may be shorter than what came, but means the same.
func Parse(b []byte) (Message, error) {
	var m Message
	if len(b) < headerLen {
		return m, refuse("too short", "%d octets", len(b))
	}
	m.Type = Type(b[0])
	if m.Type == 0 || int(m.Type) >= len(fields) {
		return Message{}, refuse("unknown type", "%d", b[0])
	}
	if b[1] != Version {
		return Message{}, refuse("unknown version", "%d", b[1])
	}
	m.BootID = binary.BigEndian.Uint64(b[2:])
	m.TxID = binary.BigEndian.Uint32(b[10:])
	t := tlvs{rest: b[headerLen:]}
	for t.more() {
		kind, value, err := t.next()
		if err == nil {
			err = m.take(kind, value)
		}
		if err != nil {
			return Message{}, err
		}
	}
	for _, kind := range fields[m.Type] {
		if !t.seen[kind] {
			return Message{}, refuse("TLV missing", "%v without TLV %d", m.Type, kind)
		}
	}
	if m.VersionMin > m.VersionMax {
		return Message{}, refuse("value out of range", "versions %d to %d", m.VersionMin, m.VersionMax)
	}
	return m, nil
}

// take reads one TLV. Known ones that the type has no use for are skipped like unknown ones.
func (m *Message) take(kind uint8, value []byte) error {
	if kind != TLVDomain && !(kind == TLVWitness && m.Type == Hello) && !has(fields[m.Type], kind) {
		return skip(kind)
	}
	switch kind {
	case TLVWitness:
		if m.Witness = string(value); len(value) != witnessLen {
			return refuse("TLV of a wrong length", "TLV %d has %d octets", kind, len(value))
		}
		return nil
	case TLVService:
		m.Service = string(value)
		return badName(CheckService(m.Service))
	case TLVMachine:
		m.Machine = string(value)
		return badName(CheckLabel(m.Machine))
	case TLVDomain:
		m.Domain = string(value)
		return badName(checkDomain(m.Domain))
	case TLVHandshake:
		if m.Handshake = string(value); len(value) == 0 {
			return refuse("TLV of a wrong length", "TLV %d is empty", kind)
		}
		return nil
	}
	n, err := number(kind, value, octets(kind))
	if err != nil {
		return err
	}
	ok := true
	switch kind {
	case TLVHops:
		m.Hops = uint8(n)
	case TLVState:
		m.State, ok = uint8(n), n <= uint64(Busy)
	case TLVVersions:
		m.VersionMin, m.VersionMax = uint8(n>>8), uint8(n)
	case TLVInstance:
		m.Instance = uint32(n)
	case TLVN1:
		m.N1, ok = uint16(n), n >= minN1
	case TLVRW:
		m.RW, ok = uint8(n), 1 <= n && n <= maxRW
	case TLVTolerance:
		m.Tolerance = time.Duration(n) * time.Millisecond
		ok = minTolerance <= m.Tolerance && m.Tolerance <= maxTolerance
	case TLVMode:
		m.Mode = uint8(n)
	case TLVCapabilities:
		m.Capabilities = uint32(n)
	case TLVReason:
		m.Reason = uint8(n)
	}
	if !ok {
		return refuse("value out of range", "TLV %d is %d", kind, n)
	}
	return nil
}

// Append writes the message. Its names must have been checked.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, byte(m.Type), Version)
	dst = binary.BigEndian.AppendUint64(dst, m.BootID)
	dst = binary.BigEndian.AppendUint32(dst, m.TxID)
	if int(m.Type) >= len(fields) {
		return dst
	}
	for _, kind := range fields[m.Type] {
		dst = m.appendTLV(dst, kind)
	}
	if m.Domain != "" {
		dst = appendText(dst, TLVDomain, m.Domain)
	}
	if m.Witness != "" && m.Type == Hello {
		dst = appendText(dst, TLVWitness, m.Witness)
	}
	return dst
}

func (m *Message) appendTLV(dst []byte, kind uint8) []byte {
	var n uint64
	switch kind {
	case TLVService:
		return appendText(dst, kind, m.Service)
	case TLVMachine:
		return appendText(dst, kind, m.Machine)
	case TLVHops:
		n = uint64(m.Hops)
	case TLVState:
		n = uint64(m.State)
	case TLVVersions:
		n = uint64(m.VersionMin)<<8 | uint64(m.VersionMax)
	case TLVInstance:
		n = uint64(m.Instance)
	case TLVN1:
		n = uint64(m.N1)
	case TLVRW:
		n = uint64(m.RW)
	case TLVTolerance:
		n = uint64(m.Tolerance / time.Millisecond)
	case TLVMode:
		n = uint64(m.Mode)
	case TLVCapabilities:
		n = uint64(m.Capabilities)
	case TLVReason:
		n = uint64(m.Reason)
	case TLVHandshake:
		return append(append(dst, kind, byte(len(m.Handshake))), m.Handshake...)
	}
	return appendNumber(dst, kind, n, octets(kind))
}

// octets is the length of a TLV that holds a number.
func octets(kind uint8) int {
	switch kind {
	case TLVInstance, TLVCapabilities:
		return 4
	case TLVVersions, TLVN1, TLVTolerance:
		return 2
	}
	return 1
}

func has(kinds []uint8, kind uint8) bool {
	for _, k := range kinds {
		if k == kind {
			return true
		}
	}
	return false
}

func badName(err error) error {
	if err == nil {
		return nil
	}
	return refuse("bad name", "%v", err)
}

// String is the printed form: "QUERY txid 00000007 service rx.sneezy from grumpy hops 8 boot 0102030405060708".
func (m Message) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%v txid %08x", m.Type, m.TxID)
	machine := m.Machine
	if m.Domain != "" {
		machine += "." + m.Domain
	}
	switch m.Type {
	case Query:
		fmt.Fprintf(&text, " service %s from %s hops %d", m.Service, machine, m.Hops)
	case Answer:
		state := "free"
		if m.State != Free {
			state = "busy"
		}
		fmt.Fprintf(&text, " service %s machine %s %s", m.Service, machine, state)
	case Hello:
		fmt.Fprintf(&text, " machine %s versions %d-%d instance %d n1 %d rw %d tolerance %v mode %d capabilities %x",
			machine, m.VersionMin, m.VersionMax, m.Instance, m.N1, m.RW, m.Tolerance, m.Mode, m.Capabilities)
		if m.Witness != "" {
			fmt.Fprintf(&text, " witness %x", m.Witness)
		}
	case Handshake:
		fmt.Fprintf(&text, " mode %d len %d", m.Mode, len(m.Handshake))
	case Refusal:
		fmt.Fprintf(&text, " mode %d reason %d", m.Mode, m.Reason)
	}
	fmt.Fprintf(&text, " boot %016x", m.BootID)
	return text.String()
}
