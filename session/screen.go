package session

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Screen reads along what goes to a terminal, and knows what programs have switched on there: the modes that
// would spoil the terminal for whoever is left before it when the program is cut off.
type Screen struct {
	state  byte   // 0 text, esc, '[' in a control sequence, ']' in a string
	params []byte // of a control sequence, with its introducer
	seen   bool   // an escape sequence has passed: the terminal understands them

	set    []int // private modes that are on, in the order of their setting
	hidden bool  // the cursor is
	keypad bool  // sends application codes
	kitty  int   // levels of key reporting on the terminal's stack
	other  bool  // modifyOtherKeys
}

const (
	esc = 0x1b
	bel = 0x07
	// maxParams bounds a control sequence; a longer one is none of ours.
	maxParams = 64
	// maxLevels is how deep terminals' stacks are.
	maxLevels = 16
)

// alternate are the modes of the alternate screen.
var alternate = []int{47, 1047, 1049}

// private are the modes that are followed besides: cursor keys, mouse reports of all kinds, focus reports,
// bracketed paste.
var private = []int{1, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004}

const cursorMode = 25

// Note takes output, cut anywhere.
func (s *Screen) Note(p []byte) {
	for len(p) > 0 {
		if s.state == 0 {
			i := bytes.IndexByte(p, esc)
			if i < 0 {
				return
			}
			s.state, s.seen, p = esc, true, p[i+1:]
			continue
		}
		s.octet(p[0])
		p = p[1:]
	}
}

// octet takes one octet of an escape sequence.
func (s *Screen) octet(c byte) {
	switch {
	case c == esc:
		s.state = esc
	case c == 0x18 || c == 0x1a: // CAN and SUB end any sequence
		s.state = 0
	case s.state == ']':
		if c == bel {
			s.state = 0
		}
	case s.state == esc:
		s.state = 0
		switch c {
		case '[':
			s.state, s.params = '[', s.params[:0]
		case ']', 'P', '_', '^', 'X':
			s.state = ']'
		case '=':
			s.keypad = true
		case '>':
			s.keypad = false
		case 'c': // a full reset
			*s = Screen{seen: true, params: s.params}
		}
	case c >= 0x40 && c <= 0x7e:
		s.state = 0
		s.control(c)
	case c >= 0x20 && len(s.params) < maxParams:
		s.params = append(s.params, c)
	case c >= 0x20:
		s.state = 0
	}
}

// control takes a control sequence, its parameters and its final octet.
func (s *Screen) control(final byte) {
	params := string(s.params)
	switch {
	case final == 'p' && params == "!": // a soft reset
		s.hidden, s.keypad = false, false
		s.switchMode(1, false)
	case final == 'm' && strings.HasPrefix(params, ">4"):
		s.other = strings.HasPrefix(params, ">4;") && params != ">4;0"
	case final == 'u' && strings.HasPrefix(params, ">"):
		s.kitty = min(s.kitty+1, maxLevels)
	case final == 'u' && strings.HasPrefix(params, "<"):
		n, err := strconv.Atoi(params[1:])
		if err != nil {
			n = 1
		}
		s.kitty = max(s.kitty-n, 0)
	case (final == 'h' || final == 'l') && strings.HasPrefix(params, "?"):
		for p := range strings.SplitSeq(params[1:], ";") {
			if mode, err := strconv.Atoi(p); err == nil {
				s.switchMode(mode, final == 'h')
			}
		}
	}
}

func (s *Screen) switchMode(mode int, on bool) {
	if mode == cursorMode {
		s.hidden = !on
		return
	}
	if !slices.Contains(private, mode) && !slices.Contains(alternate, mode) {
		return
	}
	s.set = slices.DeleteFunc(s.set, func(m int) bool { return m == mode })
	if on {
		s.set = append(s.set, mode)
	}
}

// PutRight is what makes the terminal fit for a shell again: empty if no escape sequence has ever passed. What
// costs nothing is switched off in any case, as the programs may have had their ways to switch it on.
func (s *Screen) PutRight() []byte {
	if !s.seen {
		return nil
	}
	var b []byte
	if s.state != 0 {
		b = append(b, 0x18) // ends the sequence that was cut off
	}
	if s.kitty > 0 {
		b = append(b, "\x1b[<"+strconv.Itoa(s.kitty)+"u"...)
	}
	if s.other {
		b = append(b, "\x1b[>4m"...)
	}
	for _, mode := range private {
		b = appendMode(b, mode, 'l')
	}
	b = append(b, "\x1b>"...)      // keypad
	b = append(b, "\x1b[m"...)     // colours
	b = append(b, "\x0f\x1b(B"...) // character set
	b = append(b, "\x1b[?25h"...)  // cursor
	// In the order in which they came, backwards. Only what is on: leaving 1049 moves the cursor.
	for _, mode := range slices.Backward(s.set) {
		if slices.Contains(alternate, mode) {
			b = append(appendMode(b, mode, 'l'), "\x1b[m"...)
		}
	}
	return append(b, "\x1b7\x1b[r\x1b8"...) // the whole screen scrolls, and the cursor stays
}

// Again switches on what PutRight has switched off, for a program that goes on.
func (s *Screen) Again() []byte {
	var b []byte
	for _, mode := range s.set {
		b = appendMode(b, mode, 'h')
	}
	if s.keypad {
		b = append(b, "\x1b="...)
	}
	if s.hidden {
		b = append(b, "\x1b[?25l"...)
	}
	for range s.kitty {
		b = append(b, "\x1b[>1u"...)
	}
	if s.other {
		b = append(b, "\x1b[>4;1m"...)
	}
	return b
}

func appendMode(b []byte, mode int, final byte) []byte {
	return append(strconv.AppendInt(append(b, "\x1b[?"...), int64(mode), 10), final)
}
