package names

import (
	"strings"
	"testing"
)

func TestCheckService(t *testing.T) {
	long := strings.Repeat("a", 32)
	for _, name := range []string{
		"dmap", "rx.sneezy", "a.b.c.d.e", "0-9", "-", long, long + "." + long, "x--y.9",
		long + "." + long + "." + strings.Repeat("d", 14),
	} {
		if err := CheckService(name); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	for _, row := range []struct{ name, want string }{
		{"", `service name "": service is empty`},
		{".sneezy", `service name ".sneezy": service is empty`},
		{"rx.", `service name "rx.": machine is empty`},
		{"rx..x", `service name "rx..x": machine is empty`},
		{"rx.sneezy.", `service name "rx.sneezy.": domain is empty`},
		{"rx.a.b..c", `domain is empty`},
		{"rx_1.sneezy", `service "rx_1" has the character '_'; a label has 1 to 32 of a-z, 0-9 and '-'`},
		{"rx.Sneezy", `machine "Sneezy" has the character 'S'`},
		{"rx.snö", `machine "snö" has the character 'ö'`},
		{"rx.a\nb", `machine "a\nb" has the character '\n'`},
		{"rx.a\xff", `has the character`},
		{"rx.a/b", `'/'`},
		{"rx." + long + "a", `machine "` + long + `a" has 33 octets; a label has 1 to 32`},
		{long + "." + long + "." + strings.Repeat("d", 15), `has 81 octets; 80 are allowed`},
		{strings.Repeat("x", 70000), `… has 70000 octets; 80 are allowed`},
	} {
		err := CheckService(row.name)
		if err == nil || !strings.Contains(err.Error(), row.want) || len(err.Error()) > 500 {
			t.Errorf("%.90q: %v; want it to say %s", row.name, err, row.want)
		}
	}
}

func TestCheckLabelAndUser(t *testing.T) {
	if err := CheckLabel("sneezy-2"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"":     "name is empty",
		"a.b":  `name "a.b" has the character '.'`,
		"A":    `name "A" has the character 'A'`,
		"a b":  `' '`,
		"\x00": `'\x00'`,
	} {
		if err := CheckLabel(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want it to say %s", name, err, want)
		}
	}
	for _, name := range []string{"", "alice", "A.b_c-9", "1000", strings.Repeat("u", 32)} {
		if err := CheckUser(name); err != nil {
			t.Errorf("user %q is refused: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"al ice":                `user name "al ice" has the character ' '`,
		"ålice":                 `'å'`,
		"root@moon":             `'@'`,
		strings.Repeat("u", 33): "has 33 octets; 32 are allowed",
	} {
		if err := CheckUser(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("user %q: %v; want it to say %s", name, err, want)
		}
	}
}

func TestFoldAndSplit(t *testing.T) {
	for name, want := range map[string]string{
		"Rx.SNEEZY":   "rx.sneezy",
		"AZ-09":       "az-09",
		"\u212a\xffÅ": "\u212a\xffÅ", // the Kelvin sign is not a k
	} {
		if got := FoldService(name); got != want {
			t.Errorf("%q folds to %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string][3]string{
		"dmap":          {"dmap", "", ""},
		"rx.sneezy":     {"rx", "sneezy", ""},
		"rx.sneezy.a.b": {"rx", "sneezy", "a.b"},
		"":              {"", "", ""},
	} {
		s, m, d := SplitService(name)
		if [3]string{s, m, d} != want {
			t.Errorf("%q splits into %q %q %q", name, s, m, d)
		}
	}
}
