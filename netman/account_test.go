package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dnet/netman/trust"
	"dnet/test/lab"
)

// shadow(5): name, password, days of: last change, least, most, warning, grace; day of expiry; reserved.
func TestCheckAccount(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nftp:x:101:101::/srv:/usr/sbin/nologin\n" +
		"git:x:102:102::/srv:/bin/false\nbare:x:103:103::/srv:\nshort:x:104\nold:!:105:105::/srv:/bin/sh\n"
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) // day 20782
	for _, row := range []struct{ name, shadow, says string }{
		{"alice", "alice:$6$salt$hash:20000:0:99999:7:::\n", ""},
		{"alice", "", ""},
		{"alice", "bob:!:20000:0:99999:7:::\n", ""},
		{"alice", "alice:*:20000:0:99999:7:::\n", ""},
		{"alice", "alice::20000:0:99999:7:::\n", ""},
		{"alice", "alice:!:20000:0:99999:7:::\n", "alice is locked"},
		{"alice", "alice:!$6$salt$hash:20000:0:99999:7:::\n", "alice is locked"},
		{"alice", "alice:!!:20000::::::\n", "alice is locked"},
		{"alice", "alice:*:20000:0:99999:7::20783:\n", ""},
		{"alice", "alice:*:20000:0:99999:7::20782:\n", "alice has expired, 0 days ago"},
		{"alice", "alice:*:20000:0:99999:7::1:\n", "alice has expired"},
		{"alice", "alice:*:20000:0:99999:7::0:\n", "alice has expired"},
		{"alice", "alice:*:20000:0:99999:7::-1:\n", ""},
		{"alice", "alice:*:20000:0:775:7:7::\n", ""},
		{"alice", "alice:*:20000:0:774:7:7::\n", "alice is closed: its password expired 8 days ago"},
		{"alice", "alice:*:20000:0:774:7:::\n", ""},
		{"alice", "alice:*\n", ""},
		{"root", "", ""},
		{"bare", "", ""},
		{"ftp", "", "ftp may not log in: its shell is /usr/sbin/nologin"},
		{"git", "", "git may not log in: its shell is /bin/false"},
		{"short", "", "short is not in /etc/passwd"},
		{"bob", "", "bob is not in /etc/passwd"},
		{"old", "", "old is locked"},
		{"", "", " is not in /etc/passwd"},
	} {
		err := checkAccount(row.name, passwd, row.shadow, now)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s with %q: %v; want %q", row.name, row.shadow, err, row.says)
		}
	}
}

// FuzzAccount: whatever the tables hold, nobody logs in whose own line of shadow says that the account is locked, or whose name has no
// line in passwd.
func FuzzAccount(f *testing.F) {
	f.Add("alice", "alice:x:1:1::/:/bin/sh\n", "alice:!:1:0:9:7:7::\n")
	f.Add("alice", "alice:x:1:1::/:/bin/sh", "alice:*:99999999999999999999:-1:9:::1:")
	f.Add("", "::::::", "::::::::")
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, name, passwd, shadow string) {
		if checkAccount(name, passwd, shadow, now) != nil {
			return
		}
		if !strings.HasPrefix(passwd, name+":") && !strings.Contains(passwd, "\n"+name+":") {
			t.Errorf("%q has no line in %q", name, passwd)
		}
		if first, _, _ := strings.Cut(shadow, "\n"); strings.HasPrefix(first, name+":!") && strings.Count(first, ":") >= 8 {
			t.Errorf("%q is locked by %q", name, shadow)
		}
	})
}

// Whom a server for a caller runs as, and what it is told of that.
func TestRunsAs(t *testing.T) {
	if os.Getuid() != 0 {
		lab.Skip(t, "root", "only root runs servers as other users")
	}
	nobody, err := findUser("")
	if err != nil {
		lab.Skip(t, "nobody", err.Error())
	}
	for _, row := range []struct {
		decision trust.Decision
		uid      uint32
		trusted  string
		unfit    string
	}{
		{trust.Decision{}, nobody.uid, "none", ""},
		{trust.Decision{User: "root", Rule: "t:1", Literal: true}, 0, "t:1", ""},
		{trust.Decision{User: "root", Rule: "t:1"}, nobody.uid, "none", "named literally"},
		{trust.Decision{User: "root", Rule: trust.Itself, Literal: true}, 0, "local", ""},
		{trust.Decision{User: "nosuchuser", Rule: "t:1", Literal: true}, nobody.uid, "none", "no user nosuchuser"},
		{trust.Decision{User: "daemon", Rule: "t:1", Literal: true}, nobody.uid, "none", "may not log in"},
		{trust.Decision{User: "daemon", Rule: trust.Itself, Literal: true}, 1, "local", ""},
	} {
		r := (&program{as: nobody, caller: true}).runAs(&row.decision)
		env := r.env
		if r.as.uid != row.uid || r.as.change != (row.uid != 0) || r.trusted != row.trusted {
			t.Errorf("%+v: user %d, change %v, trusted %q, %v", row.decision, r.as.uid, r.as.change, r.trusted, r.unfit)
		}
		if (r.unfit == nil) != (row.unfit == "") || r.unfit != nil && !strings.Contains(r.unfit.Error(), row.unfit) {
			t.Errorf("%+v: %v; want %q", row.decision, r.unfit, row.unfit)
		}
		if !slices.Contains(env, "DNET_TRUST="+row.trusted) || slices.Contains(env, "DNET_USER="+row.decision.User) != (row.trusted != "none") {
			t.Errorf("%+v: environment %q", row.decision, env)
		}
		if want := fmt.Sprintf("HOME=%s", r.as.home); !slices.Contains(env, want) {
			t.Errorf("%+v: environment %q lacks %s", row.decision, env, want)
		}
	}
}
