package test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// guarded is a servtab in a sealed mode, whose files are the machine's own, with the lab's usual services.
func guarded(mode string) string {
	if mode == "" {
		return guardedServices // netman's default, which is pinned, and where it keeps keys by itself
	}
	text := "[security]\nmode = \"" + mode + "\"\nidentity = \"/etc/dnet/identity\"\npins = \"/etc/dnet/pins\"\n"
	if mode == "secret" {
		text += "secret = \"/etc/dnet/secret\"\n"
	}
	return text + guardedServices
}

var guardedServices = "\n[[service]]\nname = \"rx.%m\"\nexec = [\"rx\"]\nuser = \"root\"\n" + filter("cat.%m", "", "/bin/cat")

// site makes machines with a netman in a sealed mode on each; in secret mode all know the secret.
func site(t *testing.T, mode string, machines ...string) *lab.Lab {
	t.Helper()
	l := lab.New(t, lab.Config{Machines: machines, Servtab: guarded(mode), Sealed: true})
	for _, m := range l.Machines() {
		if mode == "secret" {
			private(t, m, "/etc/dnet/secret", "b2xkIGVub3VnaCB0byBiZSBhIHNlY3JldCBvZiBhIHNpdGU\n")
		}
	}
	netmans(l.Machines())
	return l
}

// private writes a file that only its owner can read.
func private(t *testing.T, m *lab.Machine, path, text string) {
	t.Helper()
	write(t, m, path, text)
	if err := m.Do(func() error { return os.Chmod(path, 0o600) }); err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
}

// TestSealed: two netmans exchange data, files, interrupts and signals, and nothing of it can be read on the wire: in pinned mode names in
// queries and answers, in secret mode not even those.
func TestSealed(t *testing.T) {
	for _, set := range []string{"", "pinned", "secret"} {
		mode := cmp.Or(set, "pinned")
		t.Run(cmp.Or(set, "default"), func(t *testing.T) {
			l := site(t, set, "grumpy", "sneezy")
			grumpy, sneezy := l.Machine("grumpy"), l.Machine("sneezy")
			file := filepath.Join(t.TempDir(), "capture.pcap")
			recording := l.Capture(file)
			run(t, grumpy, "rx", "sneezy", "echo the output of a command; echo $DNET_MODE $DNET_PEER_MACHINE; echo its complaint >&2; exit 7").must(t,
				"the output of a command\n"+mode+" grumpy\n", "its complaint\n", 7)
			a, b := join(t, grumpy, sneezy, circuit.Options{Stream: true})
			speak(t, a, b)
			a.Close()
			b.Close()
			big := strings.Repeat("a line of a large input\n", 100_000)
			start(t, grumpy, strings.NewReader(big), "rx", "sneezy", "cat").ends(t).must(t, big, "", 0)
			idle(t, l.Machines()...)
			if err := recording.Close(); err != nil {
				t.Fatal(err)
			}
			frames, err := os.ReadFile(file)
			if err != nil || len(frames) < len(big)*2 {
				t.Fatalf("the capture has %d octets, %v", len(frames), err)
			}
			// Short words would be found in the noise, now and then.
			secrets := []string{"the output", "complaint", "exit 7", "a large input", "\x02\x04root", "\xc4DN\x01\x01", "good bye", "BREAK"}
			if mode == "secret" {
				secrets = append(secrets, "grumpy", "sneezy")
			}
			for _, word := range secrets {
				if at := bytes.Index(frames, []byte(word)); at >= 0 {
					t.Errorf("%q can be read at octet %d of the capture", word, at)
				}
			}
			if mode == "pinned" && !bytes.Contains(frames, []byte("rx.sneezy")) {
				t.Error("the capture lacks the query: is it one?")
			}
			row := rows(t, sneezy, "status")[0]
			if key, _ := row["key"].(string); row["mode"] != mode || len(key) != 87 {
				t.Errorf("status says %v", row)
			}
		})
	}
}

// TestReinstalledMachine: a machine that comes back with another key is refused, and every tool's error says so and names the command to run.
func TestReinstalledMachine(t *testing.T) {
	l := site(t, "pinned", "grumpy", "doc")
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	run(t, grumpy, "rx", "doc", "true").must(t, "", "", 0)
	if err := grumpy.WaitLog("met machine doc for the first time", bound); err != nil {
		t.Fatal(err)
	}

	// A restart of either changes nothing.
	for _, m := range l.Machines() {
		m.KillNetman(unix.SIGTERM)
		m.Netman()
		run(t, grumpy, "rx", "doc", "true").must(t, "", "", 0)
	}
	if pins := sh(t, grumpy, "grep -c ^doc /etc/dnet/pins; stat -c %a /etc/dnet/pins /etc/dnet/identity"); pins != "1\n600\n600\n" {
		t.Errorf("pins and their modes: %q", pins)
	}

	doc.KillNetman(unix.SIGTERM)
	sh(t, doc, "rm /etc/dnet/identity /etc/dnet/pins")
	doc.Netman()
	for _, p := range []*program{run(t, grumpy, "rx", "doc", "true"), run(t, grumpy, "netman", "nc", "cat.doc"), run(t, doc, "rx", "grumpy", "true")} {
		if p.status() == 0 || !strings.Contains(p.stderr.String(), "netman trust replace doc") {
			t.Errorf("%s: status %d, it says %q", p, p.status(), &p.stderr)
		}
	}
	if n := strings.Count(grumpy.NetmanLog(), "the key of doc is not the one pinned"); n != 1 {
		t.Errorf("grumpy's netman said it %d times", n)
	}
}

// TestMachinesOfTwoModes: no link, and one line in both logs that says which setting differs.
func TestMachinesOfTwoModes(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}, Servtab: guarded("pinned")})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	write(t, doc, "/etc/dnet/servtab.toml", filter("cat.%m", "", "/bin/cat")+lab.Open)
	netmans(l.Machines())
	for range 2 {
		p := run(t, grumpy, "netman", "nc", "cat.doc")
		if p.status() != 1 || !strings.Contains(p.stderr.String(), "is in mode open, this machine in mode pinned") {
			t.Errorf("%s: status %d, it says %q", p, p.status(), &p.stderr)
		}
	}
	for _, m := range l.Machines() {
		if n := strings.Count(m.NetmanLog(), "set the same mode under [security] on both"); n != 1 {
			t.Errorf("%s said it %d times", m.Name, n)
		}
	}
}

// TestChangeOfSecret: a new secret is brought in while netmans run: added everywhere, made the first everywhere, the old one taken away.
func TestChangeOfSecret(t *testing.T) {
	l := site(t, "secret", "grumpy", "doc")
	older := "b2xkIGVub3VnaCB0byBiZSBhIHNlY3JldCBvZiBhIHNpdGU\n"
	newer := "YW5vdGhlciBzZWNyZXQsIHdoaWNoIGlzIGFzIGxvbmcK\n"
	for i, text := range []string{older + newer, newer + older, newer} {
		for _, m := range l.Machines() {
			private(t, m, "/etc/dnet/secret", text)
			before := strings.Count(m.NetmanLog(), "netman: reload: ")
			m.Sh("kill -HUP $(pidof netman)")
			eventually(t, "reloaded", func() bool { return strings.Count(m.NetmanLog(), "netman: reload: ") > before })
			for _, from := range l.Machines() {
				for _, to := range l.Machines() {
					said := fmt.Sprintf("step %d from %s\n", i, from.Name)
					start(t, from, strings.NewReader(said), "netman", "nc", "cat."+to.Name).ends(t).must(t, said, "", 0)
				}
			}
		}
	}
}

// TestKeyFiles: a key that others could read, or that is none, is not used.
func TestKeyFiles(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	const good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for _, bad := range []struct{ name, mode, file, text, chmod, says string }{
		{"identity that others can read", "pinned", "identity", good + "\n", "644", "chmod 600 /etc/dnet/identity"},
		{"identity that is none", "pinned", "identity", "hello\n", "600", "not a machine's key"},
		{"empty identity", "pinned", "identity", "", "600", "not a machine's key"},
		{"pins that others can write", "pinned", "pins", "", "622", "chmod 600 /etc/dnet/pins"},
		{"pins that are none", "pinned", "pins", "grumpy " + good + "\n", "600", "/etc/dnet/pins:1: "},
		{"a pin of no name", "pinned", "pins", "\n# x\nGRUMPY " + good + " - met\n", "600", "/etc/dnet/pins:3: "},
		{"secret that others can read", "secret", "secret", good + "\n", "640", "chmod 600 /etc/dnet/secret"},
		{"short secret", "secret", "secret", "swordfish\n", "600", "at least 32 octets"},
		{"empty secret", "secret", "secret", "\n# none\n", "600", "is empty"},
		{"missing secret", "secret", "", "", "", "/etc/dnet/secret: no such file"},
		{"secret that is a directory", "secret", "", "", "dir", "not a file"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			sh(t, doc, "rm -rf /etc/dnet/identity /etc/dnet/pins /etc/dnet/secret")
			write(t, doc, "/etc/dnet/servtab.toml", guarded(bad.mode))
			if bad.file != "" {
				write(t, doc, "/etc/dnet/"+bad.file, bad.text)
				sh(t, doc, "chmod "+bad.chmod+" /etc/dnet/"+bad.file)
			} else if bad.chmod == "dir" {
				sh(t, doc, "mkdir -m 700 /etc/dnet/secret")
			}
			for _, args := range [][]string{{"check"}, {}} {
				p := run(t, doc, "netman", args...)
				if p.status() != 1 || !strings.HasPrefix(p.stderr.String(), "netman: ") || !strings.Contains(p.stderr.String(), bad.says) {
					t.Errorf("%s: status %d, it says %q, not %q", p, p.status(), &p.stderr, bad.says)
				}
			}
		})
	}
}
