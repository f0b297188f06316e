package test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dnet/circuit"
	"dnet/test/lab"
)

// find is the row of this kind whose key has this value.
func find(all []row, kind, key string, value any) row {
	for _, r := range all {
		if r["row"] == kind && r[key] == value {
			return r
		}
	}
	return nil
}

func TestStatus(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	c, err := dial(t, grumpy, "cat.doc", circuit.Options{Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "hello\n")
	t.Run("json", func(t *testing.T) {
		all := rows(t, grumpy, "status")
		for _, want := range []struct {
			kind, key string
			value     any
			also      row
		}{
			{"machine", "machine", "grumpy", row{"up": true, "mode": "open"}},
			{"link", "machine", "doc", row{"station": doc.MAC(), "interface": "eth0", "state": "up", "circuits": 1.0, "n1": 1497.0}},
			{"service", "service", "cat.grumpy", row{"mode": "bytes", "max": 2.0, "running": 0.0}},
			{"service", "service", "rx.grumpy", row{"mode": "circuit", "user": "root", "running": 0.0}},
			{"circuit", "service", "cat.doc", row{"machine": "doc", "side": "caller", "user": "root", "held": 0.0}},
		} {
			got := find(all, want.kind, want.key, want.value)
			for key, value := range want.also {
				if got[key] != value {
					t.Errorf("%s %v: %s is %v, want %v", want.kind, want.value, key, got[key], value)
				}
			}
		}
		if r := find(rows(t, doc, "circuits"), "circuit", "service", "cat.doc"); r["side"] != "server" || r["machine"] != "grumpy" || r["pid"] == 0.0 ||
			r["lci"] != find(all, "circuit", "service", "cat.doc")["lci"] {
			t.Errorf("the server's end of the circuit is %v", r)
		}
		if r := find(rows(t, doc, "services"), "service", "service", "cat.doc"); r["running"] != 1.0 || r["calls"] != 1.0 {
			t.Errorf("the service is %v", r)
		}
		if all := rows(t, grumpy, "counters"); len(all) != 1 || all[0]["row"] != "counters" {
			t.Errorf("counters are %v", all)
		}
	})
	t.Run("for people", func(t *testing.T) {
		for verb, want := range map[string]string{
			"status":   `grumpy: up for \d+s, mode open\n  eth0 ` + grumpy.MAC() + `\n`,
			"links":    `(?m)^doc +eth0 ` + doc.MAC() + ` +up `,
			"services": `(?m)^cat.grumpy +bytes `,
			"circuits": `(?m)^cat.doc +doc +caller `,
			"counters": ``,
		} {
			p := run(t, grumpy, "netman", verb)
			if p.status() != 0 || p.stderr.String() != "" || !regexp.MustCompile(want).MatchString(p.stdout.String()) {
				t.Errorf("netman %s: status %d, complaint %q, and it says\n%s\nwant %s", verb, p.status(), &p.stderr, &p.stdout, want)
			}
		}
	})
	finish(t, c)
	idle(t, l.Machines()...)
}

func TestCheck(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	p := run(t, doc, "netman", "check")
	if p.status() != 0 || p.stderr.String() != "" || !strings.HasPrefix(p.stdout.String(), "/etc/dnet/servtab.toml: good: machine doc, 2 services\n") {
		t.Errorf("status %d, %q, %q", p.status(), &p.stdout, &p.stderr)
	}
	example, err := filepath.Abs("../servtab.toml")
	if err != nil {
		t.Fatal(err)
	}
	if p := run(t, doc, "netman", "check", "-c", example); p.status() != 0 || !strings.Contains(p.stdout.String(), "date.doc") {
		t.Errorf("the example: status %d, %q, %q", p.status(), &p.stdout, &p.stderr)
	}
	write(t, doc, "/root/bad.toml", "machine = \"doc\"\n\nspeed = 9\n")
	run(t, doc, "netman", "check", "-c", "/root/bad.toml").must(t, "", "netman: /root/bad.toml:3: unknown key \"speed\"\n", 1)
	if left := sh(t, doc, "ls /run"); left != "lab\n" {
		t.Errorf("check leaves in /run: %q", left)
	}
}

// netman nc joins two standard inputs and outputs.
func TestNc(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	for _, from := range l.Machines() {
		lis := start(t, doc, strings.NewReader("from the listener"), "netman", "nc", "-l", "talk")
		wait := run(t, from, "netman", "wait", "-w", "20s", "talk")
		wait.must(t, "doc\n", "", 0)
		start(t, from, strings.NewReader("from the caller"), "netman", "nc", "talk").ends(t).must(t, "from the listener", "", 0)
		lis.ends(t).must(t, "from the caller", "", 0)
	}
	p := run(t, grumpy, "netman", "nc", "talk")
	if p.status() != 1 || !strings.HasPrefix(p.stderr.String(), "netman: talk: no such service") {
		t.Errorf("nobody listens any more: status %d, %q", p.status(), &p.stderr)
	}
	idle(t, l.Machines()...)
}

// netman wait waits for a service that is not there yet.
func TestWait(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	grumpy.Netman()
	p := run(t, grumpy, "netman", "wait", "-w", "100ms", "cat.doc")
	if p.status() != 1 || p.stdout.String() != "" || !strings.HasPrefix(p.stderr.String(), "netman: cat.doc: ") {
		t.Errorf("status %d, %q, %q", p.status(), &p.stdout, &p.stderr)
	}
	p = start(t, grumpy, nil, "netman", "wait", "cat.doc")
	doc.Netman()
	p.ends(t).must(t, "doc\n", "", 0)
	run(t, grumpy, "netman", "wait", "cat.grumpy").must(t, "grumpy\n", "", 0)
}
