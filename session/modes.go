package session

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Size is that of a terminal: in characters and, where that is known, in pixels.
//
//	rows 2 | columns 2 | width 2 | height 2
type Size struct{ Rows, Cols, X, Y uint16 }

// sizeLength is how many octets a Size has.
const sizeLength = 8

// Append writes the 8 octets.
func (s Size) Append(dst []byte) []byte {
	for _, n := range [...]uint16{s.Rows, s.Cols, s.X, s.Y} {
		dst = binary.BigEndian.AppendUint16(dst, n)
	}
	return dst
}

// ParseSize reads the first 8 octets of b; false when there are fewer.
func ParseSize(b []byte) (s Size, ok bool) {
	if len(b) < sizeLength {
		return s, false
	}
	at := func(i int) uint16 { return binary.BigEndian.Uint16(b[i:]) }
	return Size{at(0), at(2), at(4), at(6)}, true
}

// The modes of a terminal are encoded as in RFC 4254, section 8: opcode 1 | value 4, in any order, then
// opcode 0. Opcodes from 160 on end the list.
const (
	modesEnd     = 0
	modesUnknown = 160

	// MaxModes bounds the octets of all modes: each opcode below 160 once.
	MaxModes = 5*(modesUnknown-1) + 1

	// noCharacter is a control character that is switched off; on Linux that is NUL.
	noCharacter = 255
)

// characters are the opcodes of control characters, and where Linux keeps them.
var characters = map[byte]int{
	1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2, 8: unix.VSTART,
	9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 16: unix.VSWTC, 18: unix.VDISCARD,
}

// flag is one bit of the modes.
type flag struct {
	opcode byte
	bits   uint32
}

var inputFlags = []flag{
	{30, unix.IGNPAR}, {31, unix.PARMRK}, {32, unix.INPCK}, {33, unix.ISTRIP}, {34, unix.INLCR}, {35, unix.IGNCR}, {36, unix.ICRNL},
	{37, unix.IUCLC}, {38, unix.IXON}, {39, unix.IXANY}, {40, unix.IXOFF}, {41, unix.IMAXBEL}, {42, unix.IUTF8},
}

var localFlags = []flag{
	{50, unix.ISIG}, {51, unix.ICANON}, {52, unix.XCASE}, {53, unix.ECHO}, {54, unix.ECHOE}, {55, unix.ECHOK}, {56, unix.ECHONL},
	{57, unix.NOFLSH}, {58, unix.TOSTOP}, {59, unix.IEXTEN}, {60, unix.ECHOCTL}, {61, unix.ECHOKE}, {62, unix.PENDIN},
}

var outputFlags = []flag{
	{70, unix.OPOST}, {71, unix.OLCUC}, {72, unix.ONLCR}, {73, unix.OCRNL}, {74, unix.ONOCR}, {75, unix.ONLRET},
}

// Sizes of characters and speeds are those of a line, which neither end has.

// AppendModes writes the modes of a terminal.
func AppendModes(dst []byte, t *unix.Termios) []byte {
	value := func(opcode byte, v uint32) { dst = binary.BigEndian.AppendUint32(append(dst, opcode), v) }
	for opcode := byte(1); opcode < 19; opcode++ {
		i, ok := characters[opcode]
		switch {
		case !ok:
		case t.Cc[i] == 0:
			value(opcode, noCharacter)
		default:
			value(opcode, uint32(t.Cc[i]))
		}
	}
	flags := func(all []flag, now uint32) {
		for _, f := range all {
			on := uint32(0)
			if now&f.bits != 0 {
				on = 1
			}
			value(f.opcode, on)
		}
	}
	flags(inputFlags, t.Iflag)
	flags(localFlags, t.Lflag)
	flags(outputFlags, t.Oflag)
	return append(dst, modesEnd)
}

var errModes = errors.New("the modes of the terminal are cut short")

// ApplyModes changes t as the octets say. What Linux does not have is skipped.
func ApplyModes(t *unix.Termios, b []byte) error {
	for len(b) > 0 && b[0] != modesEnd && b[0] < modesUnknown {
		if len(b) < 5 {
			return errModes
		}
		opcode, v := b[0], binary.BigEndian.Uint32(b[1:])
		b = b[5:]
		if i, ok := characters[opcode]; ok {
			t.Cc[i] = byte(v)
			if v >= noCharacter {
				t.Cc[i] = 0
			}
		}
		apply(&t.Iflag, inputFlags, opcode, v)
		apply(&t.Lflag, localFlags, opcode, v)
		apply(&t.Oflag, outputFlags, opcode, v)
	}
	return nil
}

func apply(now *uint32, all []flag, opcode byte, v uint32) {
	for _, f := range all {
		if f.opcode == opcode && v != 0 {
			*now |= f.bits
		} else if f.opcode == opcode {
			*now &^= f.bits
		}
	}
}
