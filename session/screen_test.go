package session

import (
	"strings"
	"testing"
)

// TestScreen: what a program leaves behind is switched off, by what xterm's list of control sequences says.
func TestScreen(t *testing.T) {
	const vim = "\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?12h\x1b[?25l\x1b[?1006;1000h"
	for what, row := range map[string]struct {
		output       string
		right, again []string // parts of what puts right and switches on again, in order
		not          []string // what puts right has none of these
	}{
		"vim": {vim, []string{"\x1b[>4m", "\x1b[?1l", "\x1b[?1000l", "\x1b[?1004l", "\x1b[?1006l", "\x1b[?2004l", "\x1b>", "\x1b[?25h", "\x1b[?1049l", "\x1b[r"},
			[]string{"\x1b[?1049h", "\x1b[?1h", "\x1b[?2004h", "\x1b[?1004h", "\x1b[?1006h", "\x1b[?1000h", "\x1b=", "\x1b[?25l", "\x1b[>4;1m"}, nil},
		"a shell with colours":     {"\x1b[31mred", []string{"\x1b[?1003l", "\x1b[?2004l", "\x1b[m", "\x1b[?25h"}, nil, []string{"\x1b[?1049l", "\x1b[?1047l", "\x1b[<"}},
		"vim that has ended":       {vim + "\x1b[?1049l\x1b[?1l\x1b>\x1b[?25h", []string{"\x1b[?25h"}, []string{"\x1b[?2004h"}, []string{"\x1b[?1049l"}},
		"the old alternate screen": {"\x1b[?47h", []string{"\x1b[?47l"}, []string{"\x1b[?47h"}, []string{"\x1b[?1049l"}},
		"kitty's keys":             {"\x1b[>1u\x1b[>3u\x1b[<u", []string{"\x1b[<1u"}, []string{"\x1b[>1u"}, nil},
		"modes in a string":        {"\x1b]0;\x1b[?1049h\x1b\\", nil, nil, nil},
		"a reset":                  {vim + "\x1bc", []string{"\x1b[?25h"}, nil, []string{"\x1b[?1049l"}},
		"a sequence cut off":       {"\x1b[?1049h\x1b[?10", []string{"\x18", "\x1b[?1049l"}, nil, nil},
		"an endless sequence":      {"\x1b[" + strings.Repeat("1;", 1000) + "m\x1b[?1049h", []string{"\x1b[?1049l"}, nil, nil},
	} {
		for cut := 1; cut <= 7; cut += 2 { // the output comes in pieces
			var s Screen
			for rest := row.output; rest != ""; {
				n := min(cut, len(rest))
				s.Note([]byte(rest[:n]))
				rest = rest[n:]
			}
			inOrder(t, what+": puts right", string(s.PutRight()), row.right)
			inOrder(t, what+": again", string(s.Again()), row.again)
			for _, not := range row.not {
				if strings.Contains(string(s.PutRight()), not) {
					t.Errorf("%s: puts right with %q, which moves what was right", what, not)
				}
			}
		}
	}
}

func inOrder(t *testing.T, what, text string, parts []string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		i := strings.Index(rest, p)
		if i < 0 {
			t.Errorf("%s: %q, without %q at its place", what, text, p)
			return
		}
		rest = rest[i+len(p):]
	}
}

// A terminal that has never been sent an escape sequence may not know any.
func TestScreenWithoutEscapes(t *testing.T) {
	var s Screen
	s.Note([]byte("plain text\r\n"))
	if b := s.PutRight(); b != nil {
		t.Errorf("puts right with %q", b)
	}
}

func FuzzScreen(f *testing.F) {
	f.Add("\x1b[?1049h\x1b[>4;2m\x1b]0;title\x07\x1b[!p")
	f.Fuzz(func(t *testing.T, output string) {
		var whole, cut Screen
		whole.Note([]byte(output))
		for i := range len(output) {
			cut.Note([]byte(output[i : i+1]))
		}
		if string(whole.PutRight()) != string(cut.PutRight()) || string(whole.Again()) != string(cut.Again()) {
			t.Fatalf("%q in one piece is %q, cut it is %q", output, whole.PutRight(), cut.PutRight())
		}
		// What was put right has nothing left to be switched on, and the other way round.
		again := whole.Again()
		whole.Note(whole.PutRight())
		if n := len(whole.Again()); n != 0 {
			t.Fatalf("%q: after %q there still is %q", output, whole.PutRight(), whole.Again())
		}
		whole.Note(again)
		if string(whole.Again()) != string(again) {
			t.Fatalf("%q: %q brings back %q", output, again, whole.Again())
		}
	})
}
