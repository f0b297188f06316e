package names

import "fmt"

// callMark begins the user data of every dnet call: X.25's protocol identifier, "DN", version 1 (protocol.md 4).
const callMark = "\xc4DN\x01"

// TLVs of the user data of a call (protocol.md 4).
const (
	CallService = 1
	CallUser    = 2
	CallStream  = 3
	CallMachine = 4 // at the door alone: on the wire the link tells
)

// CallData is the user data of a call: what is called, by whom. It has at most 123 octets; X.25 allows 128.
type CallData struct {
	Service string
	User    string // on the calling machine; empty if the call names none
	Stream  bool   // each direction may be ended by itself
	Machine string // that calls; empty on the wire
}

// ParseCall reads the user data of a call, as strictly as Parse reads messages. A call must name its service.
func ParseCall(b []byte) (CallData, error) {
	var c CallData
	if len(b) < len(callMark) || string(b[:len(callMark)]) != callMark {
		return c, refuse("not a dnet call", "user data starts with % x", b[:min(len(b), len(callMark))])
	}
	t := tlvs{rest: b[len(callMark):]}
	for t.more() {
		kind, value, err := t.next()
		if err == nil {
			err = c.take(kind, value)
		}
		if err != nil {
			return CallData{}, err
		}
	}
	if !t.seen[CallService] {
		return CallData{}, refuse("TLV missing", "call without a service")
	}
	return c, nil
}

func (c *CallData) take(kind uint8, value []byte) error {
	switch kind {
	case CallService:
		c.Service = string(value)
		return badName(CheckService(c.Service))
	case CallUser:
		c.User = string(value)
		return badName(CheckUser(c.User))
	case CallStream:
		n, err := number(kind, value, 1)
		if err != nil {
			return err
		}
		if n > 1 {
			return refuse("value out of range", "TLV %d is %d", kind, n)
		}
		c.Stream = n == 1
		return nil
	}
	return skip(kind)
}

// Append writes the user data of a call; what is empty or false is left out. Its names must have been checked.
func (c CallData) Append(dst []byte) []byte {
	dst = append(dst, callMark...)
	if c.Service != "" {
		dst = appendText(dst, CallService, c.Service)
	}
	if c.User != "" {
		dst = appendText(dst, CallUser, c.User)
	}
	if c.Stream {
		dst = appendNumber(dst, CallStream, 1, 1)
	}
	if c.Machine != "" {
		dst = appendText(dst, CallMachine, c.Machine)
	}
	return dst
}

// String is the printed form: "call rx.sneezy by alice stream".
func (c CallData) String() string {
	text := fmt.Sprintf("call %s", c.Service)
	if c.User != "" {
		text += " by " + c.User
	}
	if c.Stream {
		text += " stream"
	}
	return text
}
