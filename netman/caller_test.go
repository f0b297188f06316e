package main

import (
	"os"
	"testing"
	"time"

	"dnet/netman/trust"
	"dnet/test/lab"
)

// A caller from a machine with authority becomes the user that a rule makes of it, or nobody.
func TestIdentify(t *testing.T) {
	if os.Getuid() != 0 {
		lab.Skip(t, "root", "only root runs servers as other users")
	}
	nobody, err := findUser("")
	if err != nil {
		lab.Skip(t, "nobody", err.Error())
	}
	rule := trust.Rule{Where: "tab:7", Machines: []string{"moon"}, Users: []string{"root", "daemon", "erin"}, As: []string{"=", "root"}, Services: []string{"*"}}
	k := &keeper{setup: &setup{machine: "doc"}, trust: trustRules{rules: []trust.Rule{rule}, files: true}}
	p := &program{name: "who", caller: true, as: nobody}
	for _, row := range []struct {
		name    string
		call    trust.Call
		uid     uint32
		trusted string
	}{
		{"root is named on both sides", trust.Call{User: "root", Authority: trust.Accepted}, 0, "tab:7"},
		{"without authority", trust.Call{User: "root"}, nobody.uid, "none"},
		{"a rule, and an account that may not log in", trust.Call{User: "daemon", Authority: trust.Secret}, nobody.uid, "none"},
		{"a rule, and no account", trust.Call{User: "erin", Authority: trust.Accepted}, nobody.uid, "none"},
		{"no rule, and no file", trust.Call{User: "nobody", Authority: trust.Accepted}, nobody.uid, "none"},
		{"no rule, no file, no account", trust.Call{User: "frank", Authority: trust.Accepted}, nobody.uid, "none"},
		{"another user is wanted", trust.Call{User: "erin", As: "root", Authority: trust.Secret}, 0, "tab:7"},
	} {
		row.call.Machine, row.call.Service = "moon", "who"
		who, err := k.runnerFor(p, row.call)
		if err != nil || who.as.uid != row.uid || who.trusted != row.trusted {
			t.Errorf("%s: %+v, %v; want user %d by %s", row.name, who, err, row.uid, row.trusted)
		}
	}
}

// A caller on this machine is who came to the door with the pass that the wire shows, once; a wire that says anything else, or shows it
// twice, is not believed.
func TestPasses(t *testing.T) {
	k := &keeper{setup: &setup{machine: "doc"}}
	alice, root := k.passes.give("alice"), k.passes.give("root")
	for _, row := range []struct {
		name string
		m    memo
		want trust.Authority
	}{
		{"another's name", memo{Local: true, User: "root", Pass: alice}, trust.None},
		{"no pass", memo{Local: true, User: "root"}, trust.None},
		{"a pass that nobody has", memo{Local: true, User: "root", Pass: alice + root}, trust.None},
		{"a caller from outside with a pass", memo{Machine: "doc", User: "root", Pass: root}, trust.None},
		{"its own", memo{Local: true, User: "alice", Pass: alice}, trust.Local},
		{"the same again", memo{Local: true, User: "alice", Pass: alice}, trust.None},
		{"another machine's name does not matter here", memo{Local: true, Machine: "moon", User: "root", Pass: root}, trust.Local},
	} {
		if call, err := k.caller(&row.m); err != nil || call.Authority != row.want || row.m.Local && call.Machine != "doc" {
			t.Errorf("%s: %+v; want authority %v", row.name, call, row.want)
		}
	}
	late, other := k.passes.give("alice"), k.passes.give("alice")
	k.passes.names[late].at = time.Now().Add(-visitTime - time.Second)
	k.passes.names[other].service = "cat.doc"
	for _, pass := range []uint64{late, other} {
		if call, _ := k.caller(&memo{Local: true, User: "alice", Service: "rx.doc", Pass: pass}); call.Authority != trust.None {
			t.Errorf("a visitor of long ago, or one that calls something else, is %+v", call)
		}
	}
	for range 2 * maxPasses {
		k.passes.give("alice")
	}
	if len(k.passes.names) > maxPasses || len(k.passes.order) > maxPasses {
		t.Errorf("%d passes are kept", len(k.passes.names))
	}
}
