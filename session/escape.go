package session

// Action is what somebody asks of the program at their end by an escape.
type Action int

const (
	None       Action = iota
	Disconnect        // ~.
	Suspend           // ~^Z
	Help              // ~?
)

// Escape finds escapes in what is typed: the character, after the beginning of a line, and a second one.
//
//	line start --~--> escape --. ? ^Z--> action
//	                         --~-------> ~ is sent
//	                         --others--> ~ and that are sent
type Escape struct {
	Char byte // 0: none

	inLine  bool // the last octet was no end of line
	pending bool // the character was typed, and is held back
}

// NoEscape is the name of no character, ParseEscape's and ssh's.
const NoEscape = "none"

// ParseEscape reads the value of -e: a character, ^ and a letter, or none.
func ParseEscape(s string) (char byte, ok bool) {
	switch {
	case s == NoEscape:
		return 0, true
	case len(s) == 1 && s[0] > ' ' && s[0] < 0x7f:
		return s[0], true
	case len(s) == 2 && s[0] == '^' && s[1] >= '@' && s[1] <= '_':
		return s[1] & 0x1f, true
	}
	return 0, false
}

// Next takes typed octets up to the first action: what is to be sent of them, and what is left.
func (e *Escape) Next(typed []byte) (send []byte, action Action, rest []byte) {
	if e.Char == 0 {
		return typed, None, nil
	}
	for i, c := range typed {
		if !e.pending {
			if c == e.Char && !e.inLine {
				e.pending = true
				continue
			}
			send = append(send, c)
			e.inLine = c != '\r' && c != '\n'
			continue
		}
		e.pending = false
		switch c {
		case '.':
			action = Disconnect
		case 'Z' & 0x1f:
			action = Suspend
		case '?':
			action = Help
		case e.Char:
			e.inLine = true
			send = append(send, c)
			continue
		default:
			e.inLine = c != '\r' && c != '\n'
			send = append(send, e.Char, c)
			continue
		}
		return send, action, typed[i+1:]
	}
	return send, None, nil
}

// EscapeHelp says what can be asked for, for a terminal with raw modes.
func EscapeHelp(char byte) string {
	name := string(rune(char))
	if char < ' ' {
		name = "^" + string(rune(char|0x40))
	}
	return "\r\nescapes, at the beginning of a line:\r\n" +
		" " + name + ".   ends the connection\r\n" +
		" " + name + "^Z  stops this program, which goes on by fg\r\n" +
		" " + name + "?   this text\r\n" +
		" " + name + name + "   sends " + name + "\r\n"
}
