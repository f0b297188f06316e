package test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// badInput is something wrong in servtab or on the command line, and what the message about it must have.
type badInput struct {
	name, servtab string
	args          []string
	says          []string
}

// goodService is a service with nothing wrong.
const goodService = "[[service]]\nname = \"x\"\nexec = [\"/bin/cat\"]\nmode = \"bytes\"\nuser = \"root\"\n"

func badInputs() []badInput {
	const service = goodService
	return []badInput{
		{"unknown key at the top", "machine = \"doc\"\n\nspeed = 9\n", nil, []string{"/root/tab.toml:3: ", "speed"}},
		{"unknown key in a service", service + "maxx = 3\n", nil, []string{"/root/tab.toml:6: ", "maxx"}},
		{"unknown key in the second service", service + service + "maxx = 3\n", nil, []string{"/root/tab.toml:11: ", "maxx"}},
		{"key that is known elsewhere", service + "[security]\nuser = \"root\"\n", nil, []string{"/root/tab.toml:7: ", "user"}},
		{"unknown table", service + "[mount]\npath = \"/x\"\n", nil, []string{"/root/tab.toml:6: ", "mount"}},
		{"syntax", "machine = \"doc\"\n[[service]\n", nil, []string{"/root/tab.toml:2: "}},
		{"string without end", "\n\nmachine = \"doc\n", nil, []string{"/root/tab.toml:3: "}},
		{"number for a string", "machine = 3\n", nil, []string{"/root/tab.toml", "machine"}},
		{"string for a number", service + "max = \"three\"\n", nil, []string{"/root/tab.toml", "max"}},
		{"negative max", service + "max = -1\n", nil, []string{"/root/tab.toml:1: ", "x", "max"}},
		{"no calls at all", service + service + "max = 0\n", nil, []string{"/root/tab.toml:6: ", "x", "max"}},
		{"text for a list", "\n[[service]]\nname = \"x\"\nexec = \"/bin/cat\"\n", nil, []string{"/root/tab.toml:4: ", "exec", "a list"}},
		{"unknown key in an inline table", "\n\nsecurity = { mood = \"open\" }\n", nil, []string{"/root/tab.toml:3: ", "mood"}},
		{"netman's own name", strings.Replace(service, "\"x\"", "\"netman.%m\"", 1), nil, []string{"/root/tab.toml:1: ", "netman.doc"}},
		{"more services than a machine has", many(4097), nil, []string{"/root/tab.toml", "4097", "4096"}},
		{"missing executable", "[[service]]\nname = \"x\"\nexec = [\"/no/such/program\"]\n", nil, []string{"/root/tab.toml", "\"x\"", "/no/such/program"}},
		{"missing command", "[[service]]\nname = \"x\"\nexec = [\"no-such-program\"]\n", nil, []string{"/root/tab.toml", "\"x\"", "no-such-program"}},
		{"a file that is no program", "[[service]]\nname = \"x\"\nexec = [\"/etc/passwd\"]\n", nil, []string{"/root/tab.toml", "\"x\"", "/etc/passwd"}},
		{"a directory as program", "[[service]]\nname = \"x\"\nexec = [\"/etc\"]\n", nil, []string{"/root/tab.toml", "\"x\"", "/etc"}},
		{"no exec", "[[service]]\nname = \"x\"\n", nil, []string{"/root/tab.toml", "\"x\"", "exec"}},
		{"no name", "[[service]]\nexec = [\"/bin/cat\"]\n", nil, []string{"/root/tab.toml", "name"}},
		{"bad service name", strings.Replace(service, "\"x\"", "\"x_y\"", 1), nil, []string{"/root/tab.toml", "x_y"}},
		{"long service name", strings.Replace(service, "\"x\"", "\""+strings.Repeat("x", 33)+"\"", 1), nil, []string{"/root/tab.toml", strings.Repeat("x", 33)}},
		{"another machine's service", strings.Replace(service, "\"x\"", "\"x.grumpy\"", 1), nil, []string{"/root/tab.toml", "x.grumpy"}},
		{"a service twice", service + service, nil, []string{"/root/tab.toml", "x", "twice"}},
		{"unknown mode", strings.Replace(service, "bytes", "octets", 1), nil, []string{"/root/tab.toml", "octets"}},
		{"unknown user", strings.Replace(service, "root", "nosuchuser", 1), nil, []string{"/root/tab.toml", "\"x\"", "nosuchuser"}},
		{"bad tolerance", "tolerance = \"soon\"\n", nil, []string{"/root/tab.toml", "tolerance"}},
		{"short tolerance", "tolerance = \"1ms\"\n", nil, []string{"/root/tab.toml", "1ms"}},
		{"secret mode without a secret", "[security]\nmode = \"secret\"\n", nil, []string{"/root/tab.toml", "secret = \"FILE\""}},
		{"a secret in pinned mode", "[security]\nmode = \"pinned\"\nsecret = \"/x\"\n", nil, []string{"/root/tab.toml", "secret", "pinned"}},
		{"a secret in the default mode", "[security]\nsecret = \"/x\"\n", nil, []string{"/root/tab.toml", "secret", "pinned"}},
		{"a secret in open mode", "[security]\nmode = \"open\"\nsecret = \"/x\"\n", nil, []string{"/root/tab.toml", "secret", "open"}},
		{"unknown pin", "[security]\nmode = \"pinned\"\npin = \"never\"\n", nil, []string{"/root/tab.toml", "never", "strict"}},
		{"unknown security mode", "[security]\nmode = \"none\"\n", nil, []string{"/root/tab.toml", "none"}},
		{"trust without machines", service + "[[trust]]\nusers = [\"alice\"]\n", nil, []string{"/root/tab.toml:6: ", "machines"}},
		{"trust of a bad name", "[[trust]]\nmachines = [\"moon\"]\nusers = [\"al ice\"]\n", nil, []string{"/root/tab.toml:3: ", "users", "al ice"}},
		{"unknown key in trust", "[[trust]]\nmachines = [\"moon\"]\nuser = [\"alice\"]\n", nil, []string{"/root/tab.toml:3: ", "user"}},
		{"bad entry of allow", service + "allow = [\"alice@moon\", \"a@b@c\"]\n", nil, []string{"/root/tab.toml:6: ", "\"x\"", "allow", "a@b@c"}},
		{"unknown group in allow", service + "allow = [\"@nosuchgroup\"]\n", nil, []string{"/root/tab.toml:6: ", "allow", "nosuchgroup"}},
		{"resident as the caller", "[[service]]\nname = \"x\"\nexec = [\"/bin/cat\"]\nresident = true\nuser = \"caller\"\n", nil, []string{"/root/tab.toml", "caller"}},
		{"bad machine name", "machine = \"under_score\"\n", nil, []string{"/root/tab.toml", "under_score"}},
		{"long machine name", "machine = \"" + strings.Repeat("x", 33) + "\"\n", nil, []string{"/root/tab.toml", strings.Repeat("x", 33), "32"}},
		{"bad machine name on the command line", "", []string{"--machine", "a.b"}, []string{"--machine", "a.b"}},
		{"bad ethertype", "[[link]]\nethertype = 3\n", nil, []string{"/root/tab.toml", "ethertype"}},
		{"no such interface", "", []string{"-i", "nosuch0"}, []string{"nosuch0"}},
		{"no such interface in servtab", "[[link]]\ninterface = \"nosuch0\"\n", nil, []string{"nosuch0"}},
		{"interface that is no Ethernet", "", []string{"-i", "lo"}, []string{"lo"}},
		{"bad faults", "", []string{"--faults", "loss=lots"}, []string{"--faults", "loss"}},
		{"unknown fault", "", []string{"--faults", "rain=5"}, []string{"--faults", "rain"}},
		{"too many faults", "", []string{"--faults", "loss=101"}, []string{"--faults", "loss"}},
		{"files in no directory", "", []string{"--netphys", "/proc/no/dir"}, []string{"netphys /proc/no/dir"}},
		{"files in a file", "", []string{"--netphys", "/etc/hostname"}, []string{"netphys /etc/hostname"}},
		{"unknown option", "", []string{"--speed"}, []string{"--speed"}},
		{"unknown verb", "", []string{"stauts"}, []string{"stauts"}},
		{"no such servtab", "", []string{"-c", "/root/nosuch.toml"}, []string{"/root/nosuch.toml"}},
		{"capture in no directory", "", []string{"--pcap", "/no/such/dir"}, []string{"--pcap", "/no/such/dir"}},
		{"door in no directory", "", []string{"--door", "/proc/no/door"}, []string{"/proc/no"}},
		{"long door", "", []string{"--door", "/run/" + strings.Repeat("x", 200)}, []string{"--door", "107 octets"}},
		{"door where a file is", "", []string{"--door", "/root/tab.toml"}, []string{"/root/tab.toml", "no socket"}},
	}
}

// What is wrong is said, in a line that begins with the program's name and has what matters; the status is not 0; and nothing is left.
func TestBadInput(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	for _, bad := range badInputs() {
		t.Run(bad.name, func(t *testing.T) {
			write(t, doc, "/root/tab.toml", bad.servtab)
			p := run(t, doc, "netman", append([]string{"-c", "/root/tab.toml"}, bad.args...)...)
			refused(t, p, bad.says...)
			if tab := sh(t, doc, "cat /root/tab.toml"); tab != bad.servtab {
				t.Errorf("/root/tab.toml is now %.200q", tab)
			}
			if left := sh(t, doc, "cd /run && find . -type s; ls -d /run/dnet/door 2>/dev/null || true"); left != "" {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	doc.Netman() // after all that it starts
}

// many is a servtab of so many services.
func many(services int) string {
	var text strings.Builder
	for i := range services {
		fmt.Fprintf(&text, "[[service]]\nname = \"x%d\"\nexec = [\"/bin/cat\"]\nmode = \"bytes\"\nuser = \"root\"\n", i)
	}
	return text.String()
}

// A user whose number cannot be read is not root.
func TestUserWithoutNumber(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	sh(t, doc, "echo 'weird:x:-2:-2::/:' >>/etc/passwd")
	write(t, doc, "/root/tab.toml", "[[service]]\nname = \"id\"\nexec = [\"id\"]\nmode = \"bytes\"\nuser = \"weird\"\n")
	refused(t, run(t, doc, "netman", "-c", "/root/tab.toml"), "/root/tab.toml", "weird", "-2")
}

// refused asks a netman that has ended for a message and a status.
func refused(t *testing.T, p *program, says ...string) {
	t.Helper()
	text := p.stderr.String()
	if p.status() == 0 || p.stdout.String() != "" || !strings.HasPrefix(text, "netman: ") || !strings.HasSuffix(text, "\n") {
		t.Errorf("%s\nended with %d, output %q, message %q; want a failure, no output, and a message that begins with netman:",
			p, p.status(), &p.stdout, text)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("%s\nsays %q, and not %q", p, text, s)
		}
	}
	if lines := strings.Count(text, "\n"); lines > 2 || strings.Contains(text, "goroutine") {
		t.Errorf("%s\nsays %d lines:\n%s", p, lines, text)
	}
}

func TestSecondNetman(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	p := run(t, doc, "netman")
	refused(t, p, "/run/dnet/door", "another netman")
	start(t, doc, strings.NewReader("still served"), "netman", "nc", "cat.doc").ends(t).must(t, "still served", "", 0)

	// With a door of its own it is told of the name, or of the wire, that it would share.
	p = run(t, doc, "netman", "--door", "/run/other/door")
	refused(t, p, "netman")
	start(t, doc, strings.NewReader("still served"), "netman", "nc", "cat.doc").ends(t).must(t, "still served", "", 0)

	// With a wire of its own, too, it runs beside the first.
	write(t, doc, "/root/second.toml", "[[link]]\ninterface = \"eth0\"\nethertype = 0x88b6\n"+filter("cat.%m", "", "/bin/cat"))
	second := daemon(t, doc, "-c", "/root/second.toml", "--door", "/run/other/door")
	c := doc.Command("netman", "nc", "cat.doc")
	c.Env = append(c.Env, "DNET_DOOR=/run/other/door")
	launch(t, c, strings.NewReader("by the second")).ends(t).must(t, "by the second", "", 0)
	second.Process.Kill()
	second.ends(t)
}

func TestNoRight(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	lab.Need(t, "setpriv")
	p := run(t, doc, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", "netman")
	refused(t, p, "CAP_NET_RAW", "eth0")
	if left := sh(t, doc, "find /run -type s"); left != "" {
		t.Errorf("left behind: %q", left)
	}
	doc.Netman()
}

func TestNameInUse(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	doc.Netman()
	p := run(t, grumpy, "netman", "--machine", "doc")
	// What netman says at its start comes before.
	_, text, _ := strings.Cut(p.stderr.String(), "may call\n")
	if p.status() == 0 || !strings.HasPrefix(text, "netman: ") {
		t.Errorf("status %d, it says %q", p.status(), &p.stderr)
	}
	for _, want := range []string{"doc", grumpy.MAC(), doc.MAC()} {
		if !strings.Contains(text, want) {
			t.Errorf("it says %q, and not %q", text, want)
		}
	}
	if left := sh(t, grumpy, "find /run -type s"); left != "" {
		t.Errorf("left behind: %q", left)
	}
	grumpy.Netman()
	run(t, grumpy, "rx", "doc", "uname", "-n").must(t, "doc\n", "", 0)

	// Of two that claim at once the one with the lower address has it.
	grumpy.KillNetman(unix.SIGTERM)
	doc.KillNetman(unix.SIGTERM)
	a := start(t, grumpy, nil, "netman", "--machine", "same")
	b := start(t, doc, nil, "netman", "--machine", "same")
	b.ends(t)
	a.says(t, &a.stderr, "netman: same is up\n")
	if b.status() == 0 || !strings.Contains(b.stderr.String(), grumpy.MAC()) {
		t.Errorf("the one that lost ended with %d and says\n%s", b.status(), &b.stderr)
	}
}
