package trust

import (
	"strings"
	"testing"
)

// rule is a rule as servtab has it where only machines and users are written.
func rule(where string, machines, users string, more ...string) Rule {
	r := Rule{Where: where, Machines: strings.Fields(machines), Users: strings.Fields(users), As: []string{Same}, Services: []string{"*"}}
	if len(more) > 0 {
		r.As = strings.Fields(more[0])
	}
	if len(more) > 1 {
		r.Services = strings.Fields(more[1])
	}
	return r
}

var moon = rule("t:1", "moon", "alice")

var decisions = []struct {
	name  string
	rules []Rule
	call  Call
	user  string
	says  string // in the last line of why
}{
	{"nobody is trusted by default", nil,
		Call{Machine: "moon", User: "alice", Authority: Secret}, "", "no [[trust]]"},
	{"a machine that an administrator accepted", []Rule{moon},
		Call{Machine: "moon", User: "alice", Authority: Accepted}, "alice", "t:1: yes: alice@moon may be alice"},
	{"a machine met under the site secret", []Rule{moon},
		Call{Machine: "moon", User: "alice", Authority: Secret}, "alice", "t:1: yes"},
	{"open mode, or a pin made by first meeting: continuity, not authority", []Rule{moon, rule("t:2", "*", "*", "*")},
		Call{Machine: "moon", User: "alice", Authority: None}, "", "without authority"},
	{"another machine", []Rule{moon},
		Call{Machine: "sun", User: "alice", Authority: Secret}, "", "t:1: no: the machine sun is not in machines"},
	{"another user", []Rule{moon},
		Call{Machine: "moon", User: "bob", Authority: Secret}, "", "t:1: no: the caller bob is not in users"},
	{"another service", []Rule{rule("t:1", "moon", "alice", "=", "rx.* ncu.*")},
		Call{Machine: "moon", User: "alice", Service: "date.doc", Authority: Secret}, "", "the service date.doc is not in services"},
	{"the service", []Rule{rule("t:1", "moon", "alice", "=", "rx.* ncu.*")},
		Call{Machine: "moon", User: "alice", Service: "ncu.doc", Authority: Secret}, "alice", "yes"},
	{"another local user is wanted", []Rule{moon},
		Call{Machine: "moon", User: "alice", As: "bob", Authority: Secret}, "", "the local user bob is not in as = [\"=\"]"},
	{"a local user that as lists", []Rule{rule("t:1", "moon", "alice", "= build")},
		Call{Machine: "moon", User: "alice", As: "build", Authority: Secret}, "build", "yes"},
	{"none is wanted: the same name", []Rule{rule("t:1", "moon", "alice", "build =")},
		Call{Machine: "moon", User: "alice", Authority: Secret}, "alice", "yes"},
	{"none is wanted, and the same name is not allowed: the first named", []Rule{rule("t:1", "moon", "alice", "b* build ci")},
		Call{Machine: "moon", User: "alice", Authority: Secret}, "build", "whom as names first"},
	{"a second rule", []Rule{rule("t:1", "sun", "*"), rule("t:5", "m*", "a????")},
		Call{Machine: "moon", User: "alice", Authority: Accepted}, "alice", "t:5: yes"},
	{"the same name in a later rule comes before another in an earlier one", []Rule{rule("t:1", "*", "*", "guest"), moon},
		Call{Machine: "moon", User: "alice", Authority: Accepted}, "alice", "t:1: yes"},
	{"every user of some machines", []Rule{rule("t:1", "lab-*", "*")},
		Call{Machine: "lab-07", User: "bob", Authority: Accepted}, "bob", "yes"},

	{"root is no caller by wildcard", []Rule{rule("t:1", "*", "* r?ot", "root =")},
		Call{Machine: "moon", User: "root", Authority: Secret}, "", "root must be named literally"},
	{"root is no local user by wildcard", []Rule{rule("t:1", "*", "alice root", "* ro?t =")},
		Call{Machine: "moon", User: "alice", As: "root", Authority: Secret}, "", "root must be named literally"},
	{"root is no local user by the same name", []Rule{rule("t:1", "*", "root", "=")},
		Call{Machine: "moon", User: "root", Authority: Secret}, "", "root must be named literally"},
	{"root named on both sides", []Rule{rule("t:1", "moon", "root", "root")},
		Call{Machine: "moon", User: "root", Authority: Accepted}, "root", "yes"},
	{"root named on both sides, and on no other machine", []Rule{rule("t:1", "moon", "root", "root")},
		Call{Machine: "sun", User: "root", Authority: Accepted}, "", "no"},
	{"root as somebody else", []Rule{rule("t:1", "moon", "root", "backup")},
		Call{Machine: "moon", User: "root", Authority: Accepted}, "backup", "yes"},
	{"alice may be root when she asks", []Rule{rule("t:1", "moon", "alice", "root")},
		Call{Machine: "moon", User: "alice", As: "root", Authority: Accepted}, "root", "yes"},
	{"alice is not root unless she asks", []Rule{rule("t:1", "moon", "alice", "root")},
		Call{Machine: "moon", User: "alice", Authority: Accepted}, "", "no: the local user alice"},

	{"a caller without a user", []Rule{rule("t:1", "*", "*", "*")},
		Call{Machine: "moon", Authority: Secret}, "", "does not say which user"},
	{"a caller without a name, who has the number that is a name here", []Rule{rule("t:1", "*", "*")},
		Call{Machine: "moon", User: "1000", Authority: Secret}, "", "only the number 1000"},
	{"a caller on this machine is who it is", nil,
		Call{Machine: "doc", User: "alice", Authority: Local}, "alice", "stays who it is"},
	{"also root", nil,
		Call{Machine: "doc", User: "root", Authority: Local}, "root", "stays who it is"},
	{"a caller on this machine is nobody else", nil,
		Call{Machine: "doc", User: "alice", As: "bob", Authority: Local}, "", "no [[trust]]"},
	{"a caller on this machine, by a rule", []Rule{rule("t:1", "doc", "alice", "bob")},
		Call{Machine: "doc", User: "alice", As: "bob", Authority: Local}, "bob", "yes"},
}

func TestDecide(t *testing.T) {
	for _, row := range decisions {
		t.Run(row.name, func(t *testing.T) {
			if row.call.Service == "" {
				row.call.Service = "rx.doc"
			}
			d := Explain(row.rules, row.call)
			if d.User != row.user || (d.Rule == "") != (row.user == "") {
				t.Errorf("it is %q by %q; want %q\n%s", d.User, d.Rule, row.user, strings.Join(d.Why, "\n"))
			}
			if len(d.Why) == 0 || !strings.Contains(strings.Join(d.Why, "\n"), row.says) {
				t.Errorf("it says %q; want %q", d.Why, row.says)
			}
		})
	}
}

// Why has a line for each rule up to the one that decides, with where it stands.
func TestDecideSaysWhy(t *testing.T) {
	rules := []Rule{rule("t:3", "sun", "alice"), rule("t:7", "moon", "bob"), rule("t:11", "moon", "*"), rule("t:15", "*", "*")}
	d := Explain(rules, Call{Machine: "moon", User: "alice", Service: "rx.doc", Authority: Accepted})
	want := []string{
		`t:3: no: the machine moon is not in machines = ["sun"]`,
		`t:7: no: the caller alice is not in users = ["bob"]`,
		`t:11: yes: alice@moon may be alice in rx.doc`,
	}
	if strings.Join(d.Why, "\n") != strings.Join(want, "\n") || d.Rule != "t:11" {
		t.Errorf("it says, by %q:\n%s\nwant\n%s", d.Rule, strings.Join(d.Why, "\n"), strings.Join(want, "\n"))
	}
}

// What a rule names by wildcard, or by "=", must not turn out to have user id 0 under another name.
func TestDecideLiteral(t *testing.T) {
	for _, row := range []struct {
		as      string
		wanted  string
		literal bool
	}{{"=", "", false}, {"*", "", false}, {"* alice", "", true}, {"to*", "toor", false}, {"toor", "toor", true}, {"build", "", true}} {
		d := Explain([]Rule{rule("t:1", "*", "*", row.as)}, Call{Machine: "moon", User: "alice", As: row.wanted, Service: "x", Authority: Secret})
		if d.User == "" || d.Literal != row.literal {
			t.Errorf("as = %q: %q, literal %v; want %v", row.as, d.User, d.Literal, row.literal)
		}
	}
}

func TestCheckRule(t *testing.T) {
	for _, row := range []struct{ machines, users, as, services, key, says string }{
		{"moon lab-*", "alice r?ot", "= build", "*", "", ""},
		{"", "alice", "=", "*", "machines", "empty"},
		{"moon", "", "=", "*", "users", "empty"},
		{"moon", "alice", "", "*", "as", "empty"},
		{"moon", "alice", "=", "", "services", "empty"},
		{"under_score", "alice", "=", "*", "machines", `'_'`},
		{"moon.lab", "alice", "=", "*", "machines", `'.'`},
		{"moon", "al:ce", "=", "*", "users", `':'`},
		{"moon", "=", "=", "*", "users", `'='`},
		{"moon", "alice", "a=b", "*", "as", `'='`},
		{"moon", "alice", "=", "rx_1", "services", `'_'`},
		{strings.Repeat("m", 33), "alice", "=", "*", "machines", "33 octets; 32 are allowed"},
	} {
		r := rule("", row.machines, row.users, row.as, row.services)
		key, err := r.Check()
		if key != row.key || (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%+v: %q, %v; want %q, %q", r, key, err, row.key, row.says)
		}
	}
}

const personal = `# who may be carol

moon            alice     # from work
MARS            carol
lab-*
*               bob
sun             *
+               +
venus alice extra
under_score     alice
pluto           root
`

func TestDecideFile(t *testing.T) {
	file := ParseFile("carol", "/home/carol/.dnet/trust", personal)
	for _, row := range []struct {
		name string
		call Call
		user string
		says string
	}{
		{"a line", Call{Machine: "moon", User: "alice", As: "carol", Authority: Accepted}, "carol", "/home/carol/.dnet/trust:3: yes"},
		{"a machine in upper case", Call{Machine: "mars", User: "carol", Authority: Accepted}, "carol", "trust:4: yes"},
		{"no user: the owner's name", Call{Machine: "lab-3", User: "carol", Authority: Secret}, "carol", "trust:5: yes"},
		{"no user: not another's name", Call{Machine: "lab-3", User: "dave", As: "carol", Authority: Secret}, "", "trust:5: no: the caller dave is not carol"},
		{"every machine's bob", Call{Machine: "venus", User: "bob", As: "carol", Authority: Secret}, "carol", "trust:6: yes"},
		{"users are no patterns", Call{Machine: "sun", User: "eve", As: "carol", Authority: Secret}, "", "trust:7: no: the user is a pattern"},
		{"plus is no wildcard", Call{Machine: "venus", User: "eve", As: "carol", Authority: Secret}, "", "trust:8: no: that is no machine's name"},
		{"too many words", Call{Machine: "venus", User: "alice", As: "carol", Authority: Secret}, "", "trust:9: no: it has more than"},
		{"no machine's name", Call{Machine: "venus", User: "alice", As: "carol", Authority: Secret}, "", "trust:10: no: that is no machine's name"},
		{"root, named", Call{Machine: "pluto", User: "root", As: "carol", Authority: Secret}, "carol", "trust:11: yes"},
		{"no authority", Call{Machine: "moon", User: "alice", As: "carol", Authority: None}, "", "without authority"},
		{"somebody else's file", Call{Machine: "moon", User: "alice", As: "dave", Authority: Secret}, "", ""},
		{"a caller on this machine", Call{Machine: "doc", User: "bob", As: "carol", Authority: Local}, "carol", "trust:6: yes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.call.Service = "rx.doc"
			d := DecideFile(Explain(nil, row.call), file, row.call)
			if d.User != row.user || !strings.Contains(strings.Join(d.Why, "\n"), row.says) || d.Literal {
				t.Errorf("it is %q: %q; want %q: %q", d.User, d.Why, row.user, row.says)
			}
		})
	}
}

// Whose file may decide: the wanted user's, never root's, and nobody's once servtab has decided.
func TestOwner(t *testing.T) {
	for _, row := range []struct {
		call  Call
		rules []Rule
		owner string
	}{
		{Call{User: "alice", Authority: Secret}, nil, "alice"},
		{Call{User: "alice", As: "carol", Authority: Secret}, nil, "carol"},
		{Call{User: "alice", As: "root", Authority: Secret}, nil, ""},
		{Call{User: "root", Authority: Secret}, nil, ""},
		{Call{User: "alice", Authority: None}, nil, ""},
		{Call{User: "1000", Authority: Secret}, nil, ""},
		{Call{User: "alice", Authority: Secret}, []Rule{rule("t:1", "*", "*")}, ""},
	} {
		row.call.Machine, row.call.Service = "moon", "rx.doc"
		if d := Explain(row.rules, row.call); d.Owner != row.owner {
			t.Errorf("%+v: %q's file is asked; want %q's", row.call, d.Owner, row.owner)
		}
	}
	root := ParseFile("root", "/root/.dnet/trust", "moon root\n")
	call := Call{Machine: "moon", User: "root", Service: "rx.doc", Authority: Secret}
	if d := DecideFile(Decision{Owner: "root"}, root, call); d.User != "" {
		t.Errorf("root's own file makes the caller %q", d.User)
	}
	carol := ParseFile("carol", "p", "moon alice\n")
	for _, c := range []Call{{User: "alice"}, {User: "alice", As: "dave"}} {
		c.Machine, c.Service, c.Authority = "moon", "rx.doc", Secret
		if d := DecideFile(Decision{Owner: "carol"}, carol, c); d.User != "" {
			t.Errorf("%+v does not want to be carol, and is %q", c, d.User)
		}
	}
	unread := &File{Owner: "alice", Path: "/home/alice/.dnet/trust", Unread: "others may write to it", Lines: []Line{{Number: 1, Machine: "*", User: "alice"}}}
	call.User = "alice"
	if d := DecideFile(Explain(nil, call), unread, call); d.User != "" || !strings.Contains(strings.Join(d.Why, "\n"), "others may write to it") {
		t.Errorf("a file that must not be read makes the caller %q: %q", d.User, d.Why)
	}
}

func TestParseFileLimits(t *testing.T) {
	f := ParseFile("alice", "p", strings.Repeat("moon bob\n", 2*maxLines))
	if len(f.Lines) != maxLines+1 || f.Lines[maxLines].Bad == "" {
		t.Errorf("%d lines count, the last is %+v", len(f.Lines), f.Lines[len(f.Lines)-1])
	}
	if f := ParseFile("alice", "p", "\n# moon\n   \n\t#\n"); len(f.Lines) != 0 {
		t.Errorf("comments count: %+v", f.Lines)
	}
}

func TestAllow(t *testing.T) {
	remote := func(user, machine string) Call { return Call{User: user, Machine: machine} }
	here := func(user string) Call { return Call{User: user, Machine: "doc", Authority: Local} }
	for _, row := range []struct {
		allow  string
		call   Call
		groups string
		by     string
	}{
		{"alice@moon", remote("alice", "moon"), "", "alice@moon"},
		{"alice@moon", remote("bob", "moon"), "", ""},
		{"alice@moon", remote("alice", "sun"), "", ""},
		{"alice@moon", here("alice"), "", ""},
		{"alice@moon *@lab-*", remote("root", "lab-1"), "", "*@lab-*"},
		{"*@Lab-*", remote("", "lab-1"), "", "*@Lab-*"},
		{"alice", here("alice"), "", "alice"},
		{"alice", remote("alice", "moon"), "", ""},
		{"*", here("anybody"), "", "*"},
		{"*", remote("anybody", "moon"), "", ""},
		{"alice@doc", here("alice"), "", "alice@doc"},
		{"@wheel", here("bob"), "users wheel", "@wheel"},
		{"@wheel", here("bob"), "users", ""},
		{"@wheel", remote("bob", "wheel"), "wheel", ""},
		{"*@*", remote("eve", "mars"), "", "*@*"},
		{"*@*", here("eve"), "", "*@*"},
		{"", remote("eve", "mars"), "", ""},
		{"", here("root"), "", ""},
	} {
		a, err := ParseAllow(strings.Fields(row.allow))
		if err != nil {
			t.Fatal(err)
		}
		by, ok := a.May(row.call, strings.Fields(row.groups))
		if by != row.by || ok != (row.by != "") {
			t.Errorf("allow %q, %+v, groups %q: %v by %q; want %q", row.allow, row.call, row.groups, ok, by, row.by)
		}
	}
	var everybody *Allow
	if _, ok := everybody.May(remote("eve", "mars"), nil); !ok {
		t.Error("without a list not everybody may call")
	}
	for text, says := range map[string]string{
		"":             "empty",
		"@":            "empty",
		"@wh*l":        "a group is named",
		"alice@":       "machine pattern is empty",
		"alice@a@b":    "'@'",
		"alice@a.b":    "'.'",
		"al ice@moon":  "' '",
		"alice @ moon": "' '",
	} {
		if _, err := ParseAllow([]string{"ok@moon", text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want it to say %s", text, err, says)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, name := range []string{"rx", "rx.moon", "ncu.moon", "raccess.moon.lab", "netman.moon", "dmap", "dmap.moon"} {
		if !Reserved(name) {
			t.Errorf("%s may be offered by anybody", name)
		}
	}
	for _, name := range []string{"date", "date.rx", "rxx.moon", "rx-1.moon", "talk.netman"} {
		if Reserved(name) {
			t.Errorf("%s is reserved", name)
		}
	}
}

func TestAuthority(t *testing.T) {
	for text, want := range map[string]Authority{"none": None, "accepted": Accepted, "secret": Secret, "local": Local} {
		if a, err := ParseAuthority(text); a != want || err != nil || a.String() != text {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	if _, err := ParseAuthority("root"); err == nil {
		t.Error("root is an authority")
	}
}
