package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"dnet/netman/trust"
)

func TestTrustOfServtab(t *testing.T) {
	st, err := parseServtab("tab", `
[[trust]]                    # line 2
machines = ["Lab-*"]
users = ["*"]

[security]
trust_files = false
[[trust]]
machines = [
	"moon", "sun",
]
users = ["alice"]
as = ["=", "build"]
services = ["rx.%m", "ncu.*"]
`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := st.trust("doc")
	want := trustRules{files: false, rules: []trust.Rule{
		{Where: "tab:2", Machines: []string{"lab-*"}, Users: []string{"*"}, As: []string{"="}, Services: []string{"*"}},
		{Where: "tab:8", Machines: []string{"moon", "sun"}, Users: []string{"alice"}, As: []string{"=", "build"}, Services: []string{"rx.doc", "ncu.*"}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if st, err = parseServtab("tab", ""); err != nil {
		t.Fatal(err)
	}
	if got, err := st.trust("doc"); err != nil || len(got.rules) != 0 || !got.files {
		t.Errorf("an empty servtab: %+v, %v; want no rule, and trust files that count", got, err)
	}
}

// What is wrong is said with its file, its line and its key.
func TestTrustOfServtabErrors(t *testing.T) {
	const good = "[[trust]]\nmachines = [\"moon\"]\nusers = [\"alice\"]\n"
	const service = "[[service]]\nname = \"x\"\nexec = [\"/bin/cat\"]\n"
	for _, row := range []struct{ text, says string }{
		{good + "[[trust]]\nusers = [\"alice\"]\n", "tab:4: [[trust]] machines: is empty"},
		{"[[trust]]\nmachines = [\"moon\"]\n", "tab:1: [[trust]] users: is empty"},
		{good + good + "as = []\n", "tab:7: [[trust]] as: is empty"},
		{good + "services = []\n", "tab:4: [[trust]] services: is empty"},
		{good + "[[trust]]\n\nmachines = [\"a.b\"]\nusers = [\"alice\"]\n", "tab:6: [[trust]] machines: machine pattern \"a.b\" has the character '.'"},
		{good + "  as  = [\"ro ot\"]\n", "tab:4: [[trust]] as: user pattern \"ro ot\""},
		{strings.Repeat(good, maxRules+1), "there are 1025 [[trust]]; 1024 are allowed"},
		{service + "allow = [\"alice@\"]\n", "tab:4: service 1 (\"x\"): allow: \"alice@\": machine pattern is empty"},
		{service + service[:12] + "allow = [\"@nosuchgroup\"]\n" + strings.Replace(service[12:], "\"x\"", "\"y\"", 1),
			"tab:5: service 2 (\"y\"): allow: \"@nosuchgroup\": no group nosuchgroup"},
		{service + "user = \"caller\"\nresident = true\n", "service 1 (\"x\"): a resident server runs before anybody calls"},
	} {
		st, err := parseServtab("tab", row.text)
		if err == nil {
			_, err = st.trust("doc")
		}
		if err == nil {
			_, err = st.services("doc")
		}
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%.200s\nsays %v; want %s", row.text, err, row.says)
		}
	}
	// What the fuzzer has found: a first octet that is none of TOML's.
	if _, err := parseServtab("tab", "\x0f"); err == nil || !strings.Contains(err.Error(), "tab:1: ") {
		t.Errorf("a control character says %v; want it to name line 1", err)
	}
	for _, text := range []string{good + "user = \"x\"\n", "[security]\ntrust_file = true\n", service + "alow = []\n"} {
		if _, err := parseServtab("tab", text); err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s says %v; want it to know no such key", text, err)
		}
	}
}

// FuzzServtab: any text is refused with a message, or gives rules and services whose places are lines of it.
func FuzzServtab(f *testing.F) {
	f.Add("[[trust]]\nmachines = [\"moon\"]\nusers = [\"*\"]\n[[service]]\nname = \"x\"\nexec = [\"/bin/cat\"]\nallow = [\"@@\"]\n")
	f.Add("trust = [{machines=[\"a\"], users=[\"b\"]}]\n")
	f.Add("[[ trust ]]\n \"machines\" = [\n[[trust]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "exec") && strings.Contains(text, "/") {
			return // of programs that are there or not
		}
		st, err := parseServtab("tab", text)
		if err != nil {
			return
		}
		rules, err := st.trust("doc")
		if err != nil && !strings.HasPrefix(err.Error(), "tab:") {
			t.Errorf("%q: %v", text, err)
		}
		for _, r := range rules.rules {
			var line int
			if n, _ := fmt.Sscanf(r.Where, "tab:%d", &line); n != 1 || line < 1 || line > 1+strings.Count(text, "\n") {
				t.Errorf("%q: a rule is at %s", text, r.Where)
			}
			if key, err := r.Check(); err != nil {
				t.Errorf("%q: %s: %v", text, key, err)
			}
		}
		st.services("doc")
	})
}

// A list without entries lets nobody in; no list lets everybody in.
func TestAllowOfServtab(t *testing.T) {
	for _, row := range []struct {
		allow string
		in    bool
	}{{"", true}, {"allow = []\n", false}, {"allow = [\"alice@moon\"]\n", true}, {"allow = [\"bob@moon\", \"@root\"]\n", false}} {
		st, err := parseServtab("tab", "[[service]]\nname = \"x.%m\"\nexec = [\"/bin/cat\"]\nuser = \"caller\"\n"+row.allow)
		if err != nil {
			t.Fatal(err)
		}
		services, err := st.services("doc")
		if err != nil {
			t.Fatal(err)
		}
		s := services["x.doc"]
		if _, in := s.allow.May(trust.Call{User: "alice", Machine: "moon"}, nil); in != row.in || !s.caller || s.user != "" {
			t.Errorf("%q: alice@moon may call: %v; user %q, caller %v", row.allow, in, s.user, s.caller)
		}
	}
}
