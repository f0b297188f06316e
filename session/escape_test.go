package session

import "testing"

func TestEscape(t *testing.T) {
	for typed, want := range map[string]struct {
		sent    string
		actions []Action
	}{
		"ls\r":         {"ls\r", nil},
		"~.":           {"", []Action{Disconnect}},
		"ls\r~.":       {"ls\r", []Action{Disconnect}},
		"ls\n~.x":      {"ls\nx", []Action{Disconnect}},
		"x~.":          {"x~.", nil},
		"ls ~/\r":      {"ls ~/\r", nil},
		"~/bin\r":      {"~/bin\r", nil},
		"~~":           {"~", nil},
		"~~.":          {"~.", nil},
		"~\r~.":        {"~\r", []Action{Disconnect}},
		"~?~?":         {"", []Action{Help, Help}},
		"~\x1a":        {"", []Action{Suspend}},
		"a\r~\x1ab~.":  {"a\rb~.", []Action{Suspend}},
		"\r~\x1a\r~?":  {"\r\r", []Action{Suspend, Help}},
		"~":            {"", nil},
		"~\x1b[A":      {"~\x1b[A", nil},
		"\x03~.":       {"\x03~.", nil},
		"\r\r\r~~~~~.": {"\r\r\r~~~~.", nil},
	} {
		for _, size := range []int{1, 2, 100} { // keys come one by one or many at once
			e := Escape{Char: '~'}
			sent, actions := "", []Action(nil)
			for rest := typed; rest != ""; {
				n := min(size, len(rest))
				piece := []byte(rest[:n])
				rest = rest[n:]
				for len(piece) > 0 {
					out, action, left := e.Next(piece)
					sent += string(out)
					if action != None {
						actions = append(actions, action)
					}
					piece = left
				}
			}
			if sent != want.sent || len(actions) != len(want.actions) {
				t.Errorf("%q sends %q and does %v, want %q and %v", typed, sent, actions, want.sent, want.actions)
				continue
			}
			for i := range actions {
				if actions[i] != want.actions[i] {
					t.Errorf("%q does %v, want %v", typed, actions, want.actions)
				}
			}
		}
	}
	none := Escape{}
	if out, action, rest := none.Next([]byte("\r~.")); string(out) != "\r~." || action != None || rest != nil {
		t.Errorf("without escape character %q, %v, %q", out, action, rest)
	}
}

func TestParseEscape(t *testing.T) {
	for s, want := range map[string]int{"~": '~', "%": '%', "none": 0, "^]": 0x1d, "^A": 1, "": -1, "ab": -1, "^": '^', " ": -1, "^a": -1, "\x7f": -1} {
		c, ok := ParseEscape(s)
		if got := int(c); ok && got != want || ok != (want >= 0) {
			t.Errorf("-e %q: %d, %v, want %d", s, got, ok, want)
		}
	}
}
