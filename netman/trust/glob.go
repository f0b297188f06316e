package trust

import (
	"fmt"
	"strings"
)

// match tells whether a pattern stands for the whole of a text: '*' for any octets, also none, '?' for one, every other octet for
// itself. It takes at most len(pattern) x len(text) steps.
func match(pattern, text string) bool {
	p, t := 0, 0
	star, after := -1, 0 // the last '*', and the text that it had not taken yet
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, after = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			after++
			p, t = star+1, after
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// literal tells whether a pattern stands for nothing but itself.
func literal(pattern string) bool { return !strings.ContainsAny(pattern, "*?") }

// Limits of what is written in a rule. A name on the wire is not longer (protocol.md 2).
const (
	maxUser    = 32
	maxLabel   = 32
	maxService = 80
)

// checkPattern tells whether a pattern could stand for a name of this sort.
func checkPattern(what, pattern string, most int, may func(byte) bool) error {
	switch {
	case pattern == "":
		return fmt.Errorf("%s pattern is empty", what)
	case len(pattern) > most:
		return fmt.Errorf("%s pattern %.90q has %d octets; %d are allowed", what, pattern, len(pattern), most)
	}
	for i := range len(pattern) {
		if c := pattern[i]; c != '*' && c != '?' && !may(c) {
			return fmt.Errorf("%s pattern %q has the character %q, which no %s has", what, pattern, c, what)
		}
	}
	return nil
}

func checkMachine(pattern string) error { return checkPattern("machine", pattern, maxLabel, inLabel) }

func checkUser(pattern string) error { return checkPattern("user", pattern, maxUser, inUser) }

func checkService(pattern string) error {
	return checkPattern("service", pattern, maxService, func(c byte) bool { return inLabel(c) || c == '.' })
}

func inLabel(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' }

func inUser(c byte) bool { return inLabel(c) || 'A' <= c && c <= 'Z' || c == '.' || c == '_' }
