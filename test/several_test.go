package test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

const secondDoor = "/run/second/door"

// second starts another netman on a machine, on the same interface, with an Ethertype and a door of its own.
func second(t *testing.T, m *lab.Machine) *program {
	t.Helper()
	tab := "machine = \"" + m.Name + "\"\n\n[[link]]\nethertype = 0x88b6\n\n[[service]]\nname = \"upper.%m\"\nexec = [\"/usr/bin/tr\", \"a-z\", \"A-Z\"]\nmode = \"bytes\"\n"
	if !lab.ManyUsers() {
		tab += "user = \"root\"\n"
	}
	write(t, m, "/root/second.toml", tab)
	return daemon(t, m, "-c", "/root/second.toml", "--door", secondDoor)
}

// Two netmans on each machine, on one interface, with two Ethertypes: each serves and calls, and does not know of the other.
func TestTwoNetmans(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	seconds := map[*lab.Machine]*program{grumpy: second(t, grumpy), doc: second(t, doc)}
	through := func(door string) []string { return []string{"nc", "--door", door} }
	for _, from := range l.Machines() {
		for _, to := range l.Machines() {
			start(t, from, strings.NewReader("hello"), "netman", append(through(lab.Door), "cat."+to.Name)...).ends(t).must(t, "hello", "", 0)
			start(t, from, strings.NewReader("hello"), "netman", append(through(secondDoor), "upper."+to.Name)...).ends(t).must(t, "HELLO", "", 0)
		}
		for door, service := range map[string]string{lab.Door: "upper.doc", secondDoor: "cat.doc"} {
			p := run(t, from, "netman", append(through(door), service)...)
			if p.status() != 1 || !strings.HasPrefix(p.stderr.String(), "netman: "+service+": no such service") {
				t.Errorf("%s: %s by the wrong door: status %d, %q", from.Name, service, p.status(), &p.stderr)
			}
		}
		examine(t, from, "--door", secondDoor, map[*lab.Machine]string{grumpy: "doc", doc: "grumpy"}[from]).wants(t, "ok", "path", "all well")
	}

	// A third for one of the two Ethertypes is refused, and changes nothing.
	p := run(t, doc, "netman", "-c", "/root/second.toml", "--door", "/run/third/door")
	if want := "netman: eth0 with ethertype 0x88b6: another netman uses it; give this one another ethertype in servtab, or end the other\n"; p.status() != 1 ||
		!strings.HasSuffix(p.stderr.String(), want) {
		t.Errorf("a third netman: status %d, %q, want %q", p.status(), &p.stderr, want)
	}
	if left := sh(t, doc, "ls /run/third"); strings.Contains(left, "door\n") {
		t.Errorf("the third has left %q", left)
	}

	// Circuits through the one live on when the other ends, whichever way.
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		c, err := dial(t, grumpy, "cat.doc", circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, "before")
		other := start(t, grumpy, held(t), "netman", append(through(secondDoor), "upper.doc")...)
		eventually(t, "a circuit through the second", func() bool {
			return strings.Contains(sh(t, doc, "netman circuits --json --door "+secondDoor), "upper.doc")
		})
		seconds[doc].Process.Signal(signal)
		seconds[doc].ends(t)
		if other.ends(t); other.status() != 1 || other.took > bound {
			t.Errorf("%v: the circuit through the second ended with status %d, %q", signal, other.status(), &other.stderr)
		}
		echo(t, c, "after")
		finish(t, c)
		start(t, grumpy, strings.NewReader("hello"), "netman", append(through(lab.Door), "cat.doc")...).ends(t).must(t, "hello", "", 0)
		seconds[doc] = second(t, doc)
		start(t, grumpy, strings.NewReader("hello"), "netman", append(through(secondDoor), "upper.doc")...).ends(t).must(t, "HELLO", "", 0)
	}
	idle(t, l.Machines()...)
}

// held is an input that has a word and does not end before the test does.
func held(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	w.WriteString("held")
	return r
}
