package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dnet/netman/trust"
)

// tab reads a servtab.
func tab(t *testing.T, text string) (*servtab, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tab.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := readServtab(path, true)
	if err == nil {
		st.path = "tab"
	}
	return st, err
}

func TestTrustOfServtab(t *testing.T) {
	st, err := tab(t, `
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
	if st, err = tab(t, ""); err != nil {
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
		st, err := tab(t, row.text)
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
	for _, text := range []string{good + "user = \"x\"\n", "[security]\ntrust_file = true\n", service + "alow = []\n"} {
		if _, err := tab(t, text); err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s says %v; want it to know no such key", text, err)
		}
	}
}

// A list without entries lets nobody in; no list lets everybody in.
func TestAllowOfServtab(t *testing.T) {
	for _, row := range []struct {
		allow string
		in    bool
	}{{"", true}, {"allow = []\n", false}, {"allow = [\"alice@moon\"]\n", true}, {"allow = [\"bob@moon\", \"@root\"]\n", false}} {
		st, err := tab(t, "[[service]]\nname = \"x.%m\"\nexec = [\"/bin/cat\"]\nuser = \"caller\"\n"+row.allow)
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
