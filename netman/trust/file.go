package trust

import (
	"fmt"
	"strings"
)

// File is a user's ~/.dnet/trust: who may be that user, a line for each.
//
//	# machine   user
//	moon        alice       alice on moon
//	lab-*                   whoever has the owner's name on a machine lab-...
//
// The machine may be a pattern, the user may not: a file is written by people who see the machines and not all of their users. Without a
// user it is the owner's own name.
type File struct {
	Owner  string
	Path   string
	Unread string // why it could not be read, or was not; "": it was
	Lines  []Line
}

// Line is one line that is not empty and no comment.
type Line struct {
	Number  int
	Machine string // a pattern, in lower case
	User    string // as the machine calls it
	Bad     string // what is wrong: then it matches nothing
}

// Limits of a File.
const (
	MaxFile  = 64 << 10 // octets; a larger file is not read
	maxLines = 1000     // that say something; what follows is not looked at
)

// ParseFile reads any text. A line that is wrong matches nothing, and says why; others count. What a line has is not repeated in what is
// said about it: the text may be another file's.
func ParseFile(owner, path, text string) *File {
	f := &File{Owner: owner, Path: path}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(f.Lines) == maxLines {
			f.Lines = append(f.Lines, Line{Number: number, Bad: fmt.Sprintf("only %d lines count", maxLines)})
			break
		}
		f.Lines = append(f.Lines, parseLine(number, owner, words))
	}
	return f
}

func parseLine(number int, owner string, words []string) Line {
	l := Line{Number: number, Machine: strings.ToLower(words[0]), User: owner}
	if len(words) > 1 {
		l.User = words[1]
	}
	switch {
	case len(words) > 2:
		l.Bad = "it has more than a machine and a user"
	case checkMachine(l.Machine) != nil:
		l.Bad = "that is no machine's name, nor a pattern of names"
	case !literal(l.User):
		l.Bad = "the user is a pattern; name each one"
	case checkUser(l.User) != nil:
		l.Bad = "that is no user's name"
	}
	return l
}

// fits tells whether the line lets the caller be the file's owner.
func (l *Line) fits(c *Call) bool {
	return l.Bad == "" && match(l.Machine, c.Machine) && l.User == c.User
}

// words says why it does, or does not.
func (l *Line) words(owner string, c *Call) string {
	switch {
	case l.Bad != "":
		return "no: " + l.Bad
	case !match(l.Machine, c.Machine):
		return fmt.Sprintf("no: the machine %s is not %s", c.Machine, l.Machine)
	case l.User != c.User:
		return fmt.Sprintf("no: the caller %s is not %s", c.User, l.User)
	}
	return fmt.Sprintf("yes: %s lets %s@%s be %s", owner, c.User, c.Machine, owner)
}
