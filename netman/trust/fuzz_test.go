package trust

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzMatch: a pattern is what the regular expression of the same meaning is, and no pattern takes long.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{{"lab-*", "lab-7"}, {"*a*b", "aab"}, {"?", ""}, {"**", ""}, {"a?c", "abc"}, {"*a*a*a*a*b", strings.Repeat("a", 99)}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 100 || len(text) > 100 {
			return
		}
		// Octet by octet: as ISO 8859-1, so that the expression counts octets, too.
		want := regexp.MustCompile(`(?s)\A` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(latin(pattern))) + `\z`)
		if got := match(pattern, text); got != want.MatchString(latin(text)) {
			t.Errorf("match(%q, %q) is %v", pattern, text, got)
		}
	})
}

func latin(octets string) string {
	runes := make([]rune, len(octets))
	for i := range len(octets) {
		runes[i] = rune(octets[i])
	}
	return string(runes)
}

// FuzzParseFile: any text is a file; a line that counts names one user and a machine; and what it allows it allows by such a line.
func FuzzParseFile(f *testing.F) {
	f.Add(personal, "moon", "alice")
	f.Add("* *\n+ +\n* root", "moon", "root")
	f.Add("a\x00b\r\n\xff * # \n", "moon", "alice")
	f.Fuzz(func(t *testing.T, text, machine, user string) {
		file := ParseFile("carol", "p", text)
		if len(file.Lines) > maxLines+1 {
			t.Fatalf("%d lines", len(file.Lines))
		}
		for _, l := range file.Lines {
			if l.Bad == "" && (!literal(l.User) || checkUser(l.User) != nil || checkMachine(l.Machine) != nil) {
				t.Errorf("line %+v counts", l)
			}
		}
		call := Call{Machine: machine, User: user, As: "carol", Service: "x", Authority: Accepted}
		d := DecideFile(Decide(nil, call), file, call)
		if d.User != "" && d.User != "carol" {
			t.Errorf("carol's file makes %q@%q %q", user, machine, d.User)
		}
		if d.User != "" && !strings.Contains(text, user) {
			t.Errorf("%q is not in the file, and is carol", user)
		}
		call.Authority = None
		if d := DecideFile(Decision{Owner: "carol"}, file, call); d.User != "" {
			t.Errorf("a machine without authority is carol")
		}
	})
}

// FuzzDecide: whatever a rule says, a machine without authority matches nothing, root is matched by its name alone, and a rule more takes
// nothing away from whoever wants to be somebody.
func FuzzDecide(f *testing.F) {
	f.Add("moon", "alice", "=", "moon", "alice", "", uint8(2))
	f.Add("*", "*", "*", "moon", "root", "root", uint8(1))
	f.Add("*", "r*", "?oot", "moon", "root", "", uint8(2))
	f.Fuzz(func(t *testing.T, machines, users, as, machine, user, wanted string, authority uint8) {
		r := rule("t:1", machines, users, as)
		if _, err := r.Check(); err != nil {
			return
		}
		c := Call{Machine: machine, User: user, As: wanted, Service: "rx.doc", Authority: Authority(authority % 4)}
		rules := []Rule{r}
		d := Decide(rules, c)
		if d.User != "" && c.Authority == None {
			t.Fatalf("without authority: %q", d.User)
		}
		if d.User != "" && c.Authority != Local {
			if d.User == root && !matchLiteral(r.As, root) || user == root && !matchLiteral(r.Users, root) {
				t.Fatalf("root by wildcard: %+v %+v", r, c)
			}
		}
		if wanted != "" && d.User != "" && d.User != wanted {
			t.Fatalf("it wants to be %q and is %q", wanted, d.User)
		}
		for _, more := range [][]Rule{{rule("t:0", "x", "y"), r}, {r, rule("t:2", "*", "*", "guest")}} {
			if e := Decide(more, c); wanted != "" && e.User != d.User && d.User != "" {
				t.Fatalf("one rule more, and %q is %q", d.User, e.User)
			}
		}
	})
}

// FuzzParseAllow: an entry that is read is shown as it was written, and matches nobody from elsewhere without naming a machine.
func FuzzParseAllow(f *testing.F) {
	for _, seed := range []string{"alice@moon", "*", "@wheel", "*@lab-*", "@@", "a@b@c"} {
		f.Add(seed, "alice", "moon")
	}
	f.Fuzz(func(t *testing.T, text, user, machine string) {
		a, err := ParseAllow([]string{text})
		if err != nil {
			return
		}
		if a.String() != list([]string{text}) {
			t.Errorf("%q is shown as %s", text, a)
		}
		if by, ok := a.May(Call{User: user, Machine: machine, Authority: Accepted}, []string{user}); ok && (by != text || strings.Index(text, "@") < 1) {
			t.Errorf("%q lets %q@%q in, by %q", text, user, machine, by)
		}
	})
}
