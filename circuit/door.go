package circuit

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DoorPath is where netman's door is, unless $DNET_DOOR names another.
const DoorPath = "/run/dnet/door"

// protocol is the first word a program says at the door: the version of its language.
const protocol = "dnet1"

// ErrLine is what every error of ParseLine and ParseRequest wraps.
var ErrLine = errors.New("not a line of the door")

// Line is one message of the door or of a control descriptor: `VERB word key=value "a text"`.
// Words are printable ASCII without space, = and "; anything else stands between double quotes and is
// escaped as in Go. Words and keys may be mixed; a line is written with its words first.
type Line struct {
	Verb   string
	Words  []string // in order; the last may be a text
	Keys   []Key    // in order, each once; a reader ignores those that it does not know
	Octets []byte   // what follows a NUL (an interrupt); nil when there is no NUL
}

// Key is a key=value word of a Line.
type Key struct{ Key, Value string }

// ParseLine reads one record. Octets is borrowed from b.
func ParseLine(b []byte) (Line, error) {
	var l Line
	if len(b) > MaxLine {
		return l, fmt.Errorf("%w: longer than %d octets", ErrLine, MaxLine)
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b, l.Octets = b[:i], b[i+1:]
	}
	rest := string(b)
	if !utf8.ValidString(rest) {
		return Line{}, fmt.Errorf("%w: not UTF-8", ErrLine)
	}
	for first := true; rest != ""; first = false {
		if rest[0] == ' ' && !first {
			rest = rest[1:]
			continue
		}
		var err error
		if rest, err = l.parseWord(rest, first); err != nil {
			return Line{}, err
		}
	}
	if l.Verb == "" {
		return Line{}, fmt.Errorf("%w: no verb", ErrLine)
	}
	return l, nil
}

// parseWord takes the next word off s: the verb first, then words and key=value words.
func (l *Line) parseWord(s string, first bool) (rest string, err error) {
	n := bareLen(s)
	switch bare := s[:n]; {
	case first && isKey(bare) && (n == len(s) || s[n] == ' '):
		l.Verb = bare
		return s[n:], nil
	case first:
		return "", fmt.Errorf("%w: the verb is not of [a-z0-9_-]", ErrLine)
	case n < len(s) && s[n] == '=' && isKey(bare):
		value, rest, err := parseValue(s[n+1:])
		if err != nil {
			return "", err
		}
		if _, twice := l.Lookup(bare); twice {
			return "", fmt.Errorf("%w: %s= stands twice", ErrLine, bare)
		}
		l.Keys = append(l.Keys, Key{bare, value})
		return rest, nil
	}
	word, rest, err := parseValue(s)
	if err != nil {
		return "", err
	}
	l.Words = append(l.Words, word)
	return rest, nil
}

// parseValue takes a bare or quoted word off s; a blank or the end of the line must follow it.
func parseValue(s string) (value, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", fmt.Errorf("%w: a quotation does not end", ErrLine)
		}
		if value, err = strconv.Unquote(quoted); err != nil {
			return "", "", fmt.Errorf("%w: %q", ErrLine, quoted)
		}
		rest = s[len(quoted):]
	} else {
		n := bareLen(s)
		value, rest = s[:n], s[n:]
	}
	if rest != "" && rest[0] != ' ' {
		return "", "", fmt.Errorf("%w: %q must be quoted", ErrLine, rest[:1])
	}
	return value, rest, nil
}

// bareLen is how many octets of s may stand without quotes.
func bareLen(s string) int {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '=' {
			return i
		}
	}
	return len(s)
}

func isKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// Append writes the line in its one canonical form: words, then keys, quotes only where needed.
func (l Line) Append(dst []byte) []byte {
	dst = append(dst, l.Verb...)
	for _, w := range l.Words {
		dst = appendValue(append(dst, ' '), w)
	}
	for _, k := range l.Keys {
		dst = append(append(dst, ' '), k.Key...)
		dst = appendValue(append(dst, '='), k.Value)
	}
	if l.Octets != nil {
		dst = append(append(dst, 0), l.Octets...)
	}
	return dst
}

func appendValue(dst []byte, s string) []byte {
	if s != "" && bareLen(s) == len(s) {
		return append(dst, s...)
	}
	return strconv.AppendQuote(dst, s)
}

// String is the line as it is sent, with an interrupt's octets in hexadecimal.
func (l Line) String() string {
	octets := l.Octets
	l.Octets = nil
	s := string(l.Append(nil))
	if octets != nil {
		s += fmt.Sprintf(" [%x]", octets)
	}
	return s
}

// Lookup gives the value of key and whether the line has it.
func (l Line) Lookup(key string) (string, bool) {
	for _, k := range l.Keys {
		if k.Key == key {
			return k.Value, true
		}
	}
	return "", false
}

// Get gives the value of key, "" without it.
func (l Line) Get(key string) string {
	v, _ := l.Lookup(key)
	return v
}

// Word gives word i, "" without it.
func (l Line) Word(i int) string {
	if i < len(l.Words) {
		return l.Words[i]
	}
	return ""
}

// Text is word i and those after it: a text, which need not have been quoted.
func (l Line) Text(i int) string {
	if i < len(l.Words) {
		return strings.Join(l.Words[i:], " ")
	}
	return ""
}

// Octet is word i as a number of two hexadecimal digits: a cause or a diagnostic.
func (l Line) Octet(i int) (byte, error) {
	w := l.Word(i)
	n, err := strconv.ParseUint(w, 16, 8)
	if err != nil || len(w) != 2 {
		return 0, fmt.Errorf("%w: %s: %q is not two hexadecimal digits", ErrLine, l.Verb, w)
	}
	return byte(n), nil
}

// HexOctet writes a cause or a diagnostic as a word of a line.
func HexOctet[T ~uint8](n T) string { return fmt.Sprintf("%02x", uint8(n)) }

// CutText makes a text fit for a line: valid UTF-8, at most MaxText octets.
func CutText(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText]
	}
	return strings.ToValidUTF8(s, "")
}

// ParseRequest reads the first line of a connection to the door, `dnet1 VERB …`; Verb is the VERB.
func ParseRequest(b []byte) (Line, error) {
	l, err := ParseLine(b)
	if err != nil {
		return l, err
	}
	if l.Verb != protocol || !isKey(l.Word(0)) {
		return Line{}, fmt.Errorf("%w: the first line is %s VERB", ErrLine, protocol)
	}
	l.Verb, l.Words = l.Words[0], l.Words[1:]
	return l, nil
}

// AppendRequest writes l as the first line of a connection to the door.
func (l Line) AppendRequest(dst []byte) []byte {
	return l.Append(append(dst, protocol+" "...))
}
