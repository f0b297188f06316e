package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
	"dnet/x25"
)

// The people of these tests, on every machine: bob is one of the deputies, dave's account is locked.
var people = map[string]int{"alice": 4001, "bob": 4002, "carol": 4003, "dave": 4004}

// peopled makes machines with people, a servtab, and a netman on each.
func peopled(t *testing.T, servtab string) (grumpy, doc *lab.Machine) {
	t.Helper()
	if !lab.ManyUsers() {
		lab.Skip(t, "users", "this world has one user; as root, or with newuidmap and a range in /etc/subuid, it has more")
	}
	lab.Need(t, "setpriv")
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}, Servtab: servtab})
	for _, m := range l.Machines() {
		var lines strings.Builder
		// The commands where everybody can read them, wherever the project is.
		lines.WriteString("mkdir /run/bin && cp $(command -v netman) $(command -v rx) /run/bin && chmod 755 /run/bin /run/bin/*\n")
		lines.WriteString("echo deputies:x:4100:bob >>/etc/group\n")
		for name, id := range people {
			secret := map[bool]string{true: "!", false: "*"}[name == "dave"]
			fmt.Fprintf(&lines, "echo %s:x:%d:%d::/tmp/%s:/bin/sh >>/etc/passwd; echo %s:x:%d: >>/etc/group\n", name, id, id, name, name, id)
			fmt.Fprintf(&lines, "touch /etc/shadow; echo %s:%s:20000:0:99999:7::: >>/etc/shadow\n", name, secret)
			fmt.Fprintf(&lines, "mkdir -p /tmp/%s/.dnet && chmod 755 /tmp/%s /tmp/%s/.dnet && chown -R %d:%d /tmp/%s\n", name, name, name, id, id, name)
		}
		sh(t, m, lines.String())
	}
	netmans(l.Machines())
	return l.Machine("grumpy"), l.Machine("doc")
}

// as starts a command as one of the people, or as root.
func as(t *testing.T, m *lab.Machine, name, command string, args ...string) *program {
	t.Helper()
	argv := append([]string{"/run/bin/" + command}, args...)
	if id := people[name]; id != 0 {
		argv = append([]string{"setpriv", fmt.Sprintf("--reuid=%d", id), fmt.Sprintf("--regid=%d", id), "--clear-groups"}, argv...)
	}
	return start(t, m, nil, argv[0], argv[1:]...)
}

// ringAs says a line at the door as a user, and gives the answer. The thread of the machine is that user for as long as it connects: what
// the door is told by the kernel is who connected.
func ringAs(t *testing.T, m *lab.Machine, uid int, door, line string) (answer string) {
	t.Helper()
	err := m.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		const unchanged = ^uintptr(0)
		unix.RawSyscall(unix.SYS_SETRESUID, unchanged, uintptr(uid), unchanged)
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: door})
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, 0, unchanged); err != nil || errno != 0 {
			return errors.Join(err, errno)
		}
		if _, err = unix.Write(fd, []byte(line)); err != nil {
			return err
		}
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(bound.Seconds())})
		buf := make([]byte, circuit.MaxLine)
		n, err := unix.Read(fd, buf)
		answer = string(buf[:max(n, 0)])
		return err
	})
	if err != nil {
		t.Fatalf("%s: %q at the door: %v", m.Name, line, err)
	}
	return answer
}

// barred asks that a call ended with cause 0B, which a program sees as EACCES, and that netman says who is not let in.
func barred(t *testing.T, what string, err error, who string) {
	t.Helper()
	if why, ok := cleared(err); !ok || why.Cause != x25.CauseBarred || !errors.Is(err, unix.EACCES) || !strings.Contains(why.Text, who) {
		t.Errorf("%s: %v; want cause 0b, EACCES, and a text with %s", what, err, who)
	}
}

// Who answers to a name of dnet's own commands is root, whatever the machine.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	grumpy, doc := peopled(t, filter("cat.%m", "", "/bin/cat"))
	for _, name := range []string{"rx.doc", "RX.doc", "rx", "ncu.doc", "ncu", "raccess.doc", "raccess", "netman.doc", "netman", "dmap.doc", "dmap"} {
		for _, who := range []string{"alice", "bob"} {
			p := as(t, doc, who, "netman", "nc", "-l", name).ends(t)
			if text := p.stderr.String(); p.status() != 1 || !strings.Contains(text, "only root may offer it") {
				t.Errorf("%s registers %s: status %d, %q; want 1, and why", who, name, p.status(), text)
			}
			if answer := ringAs(t, doc, people[who], lab.Door, "dnet1 listen "+name); !strings.HasPrefix(answer, "error ") || !strings.HasSuffix(answer, " e=EACCES") {
				t.Errorf("%s registers %s: netman answers %q; want e=EACCES", who, name, answer)
			}
		}
	}
	for _, row := range []struct{ who, name string }{{"root", "ncu.doc"}, {"alice", "talk.doc"}, {"alice", "rxx.doc"}, {"bob", "date"}} {
		lis := as(t, doc, row.who, "netman", "nc", "-l", row.name)
		run(t, grumpy, "netman", "wait", "-w", "30s", row.name).must(t, "doc\n", "", 0)
		run(t, grumpy, "netman", "nc", row.name).must(t, "", "", 0)
		lis.ends(t).must(t, "", "", 0)
	}
}

// Which machines are known is root's to say, and in mode open there is nothing to say.
func TestKeysInOpenMode(t *testing.T) {
	t.Parallel()
	_, doc := peopled(t, "")
	const none = "in mode open machines have no keys"
	for _, verb := range []string{"accept moon", "add moon key=K", "forget moon", "replace moon", "dance moon"} {
		if answer := ringAs(t, doc, people["alice"], lab.Door+".trust", "dnet1 trust "+verb); answer != `error "only root may say which machines are known" e=EACCES` {
			t.Errorf("alice: trust %s: netman answers %q", verb, answer)
		}
		if answer := ringAs(t, doc, 0, lab.Door+".trust", "dnet1 trust "+verb); answer != `error "`+none+`" e=EINVAL` {
			t.Errorf("root: trust %s: netman answers %q", verb, answer)
		}
	}
	for args, says := range map[string]string{
		"identity": none, "trust list": none, "trust accept moon": "trust accept: " + none, "trust": "say what", "trust add moon": "arg", "trust dance": "unknown command"} {
		refused(t, run(t, doc, "netman", strings.Fields(args)...), says)
	}
}

// A service's allow list lets some users of this machine in, and some of others: no other starts a server.
func TestAllow(t *testing.T) {
	t.Parallel()
	const list = `allow = ["alice", "@deputies", "bob@grumpy", "carol@lab-*"]` + "\n"
	grumpy, doc := peopled(t, filter("open.%m", list, "/bin/echo", "served"))
	for _, row := range []struct {
		from *lab.Machine
		who  string
		in   bool
	}{
		{doc, "alice", true}, {doc, "bob", true}, {doc, "carol", false}, {doc, "root", false},
		{grumpy, "bob", true}, {grumpy, "alice", false}, {grumpy, "carol", false}, {grumpy, "root", false},
	} {
		p := as(t, row.from, row.who, "netman", "nc", "open.doc").ends(t)
		if row.in {
			p.must(t, "served\n", "", 0)
			continue
		}
		p.must(t, "", fmt.Sprintf("netman: open.doc: not allowed: doc does not let %s@%s call open.doc\n", row.who, row.from.Name), 1)
	}
	for _, m := range []*lab.Machine{grumpy, doc} {
		_, err := dial(t, m, "open.doc", circuit.Options{})
		barred(t, "a call from "+m.Name, err, "root@"+m.Name)
	}

	for _, row := range rows(t, doc, "counters") {
		if n := row["counters"].(map[string]any)["calls that are not allowed"]; n != 7.0 {
			t.Errorf("%v calls were kept out; want 7", n)
		}
	}
	idle(t, grumpy, doc)
}

// The list of a resident server's name keeps callers from its server, too, and nobody else takes the name. SIGHUP makes both so.
func TestAllowReload(t *testing.T) {
	t.Parallel()
	grumpy, doc := peopled(t, filter("open.%m", "", "/bin/echo", "served"))
	as(t, grumpy, "alice", "netman", "nc", "open.doc").ends(t).must(t, "served\n", "", 0)
	const kept = "[[service]]\nname = \"kept.%m\"\nexec = [\"netman\", \"nc\", \"-l\", \"kept.doc\"]\nresident = true\nuser = \"root\"\nallow = [\"root@grumpy\"]\n"
	write(t, doc, "/etc/dnet/servtab.toml", kept+filter("open.%m", "allow = []\n", "/bin/echo", "served"))
	unix.Kill(doc.NetmanPid(), unix.SIGHUP)
	if err := doc.WaitLog("netman: reload: /etc/dnet/servtab.toml: 2 services", bound); err != nil {
		t.Fatal(err)
	}
	run(t, grumpy, "netman", "wait", "-w", "30s", "kept.doc").must(t, "doc\n", "", 0)
	for _, m := range []*lab.Machine{grumpy, doc} {
		_, err := dial(t, m, "open.doc", circuit.Options{})
		barred(t, "a call from "+m.Name+" to a service with an empty list", err, "root@"+m.Name)
	}
	_, err := dial(t, doc, "kept.doc", circuit.Options{})
	barred(t, "a call to a resident server", err, "root@doc")
	for _, who := range []string{"alice", "bob"} {
		if p := as(t, doc, who, "netman", "nc", "-l", "kept.doc").ends(t); p.status() != 1 || !strings.Contains(p.stderr.String(), "servtab keeps kept.doc for a server of the user root") {
			t.Errorf("%s takes the name of servtab's server: status %d, %q", who, p.status(), &p.stderr)
		}
	}
	run(t, grumpy, "netman", "nc", "kept.doc").must(t, "", "", 0)
	idle(t, grumpy, doc)
}

// A service with user = "caller" serves a caller whom nobody vouches for as nobody, whatever the rules say, and a caller on this machine
// as itself.
func TestCallerInOpenMode(t *testing.T) {
	t.Parallel()
	const rules = "[[trust]]\nmachines = [\"*\"]\nusers = [\"*\", \"root\"]\nas = [\"*\", \"=\", \"root\"]\n"
	const script = `echo $(id -un) $(id -gn) trust=$DNET_TRUST user=$DNET_USER peer=$DNET_PEER_USER home=$HOME`
	grumpy, doc := peopled(t, rules+"[[service]]\nname = \"who.%m\"\nexec = [\"/bin/sh\", \"-c\", \""+script+"\"]\nmode = \"bytes\"\nuser = \"caller\"\n"+
		"[[service]]\nname = \"rx.%m\"\nexec = [\"rx\"]\nuser = \"caller\"\n"+
		"[[service]]\nname = \"hold.%m\"\nexec = [\"/bin/cat\"]\nmode = \"bytes\"\nuser = \"caller\"\n")
	nobody := strings.TrimSpace(sh(t, doc, "getent passwd nobody | cut -d: -f6"))
	group := strings.TrimSpace(sh(t, doc, "id -gn nobody"))
	for _, who := range []string{"alice", "bob", "root"} {
		as(t, grumpy, who, "netman", "nc", "who.doc").ends(t).must(t,
			fmt.Sprintf("nobody %s trust=none user= peer=%s home=%s\n", group, who, nobody), "", 0)
		home := "/tmp/" + who
		if who == "root" {
			home = "/root"
		}
		as(t, doc, who, "netman", "nc", "who.doc").ends(t).must(t,
			fmt.Sprintf("%s %s trust=local user=%s peer=%s home=%s\n", who, who, who, who, home), "", 0)
		says := fmt.Sprintf("netman: trust: %s@doc is %s in who.doc (pid ", who, who)
		if err := doc.WaitLog(says, bound); err != nil {
			t.Error(err)
		}
		if log := doc.NetmanLog(); strings.Contains(log, "trust: "+who+"@grumpy") {
			t.Errorf("%s@grumpy is somebody:\n%s", who, log)
		}
		// rx runs nothing as nobody.
		p := as(t, grumpy, who, "rx", "doc", "id").ends(t)
		if p.status() == 0 || p.stdout.String() != "" || !strings.Contains(p.stderr.String(), "trust rule") {
			t.Errorf("%s@grumpy runs a command: status %d, %q, %q", who, p.status(), &p.stdout, &p.stderr)
		}
		as(t, doc, who, "rx", "doc", "id -un; pwd").ends(t).must(t, who+"\n"+home+"\n", "", 0)
	}
	for from, user := range map[*lab.Machine]string{grumpy: "nobody", doc: "root"} {
		c, err := dial(t, from, "hold.doc", circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c, "whose?\n")
		for _, r := range rows(t, doc, "circuits") {
			if r["side"] == "server" && (r["machine"] != from.Name || r["user"] != "root" || r["as"] != user) {
				t.Errorf("status shows the server for root@%s as %v; want as %s", from.Name, r, user)
			}
		}
		finish(t, c)
		idle(t, doc)
	}
	if !strings.Contains(doc.NetmanLog(), "mode open: no other machine has authority: of the 1 [[trust]] rules none") {
		t.Errorf("netman does not say that its rules match nobody:\n%s", doc.NetmanLog())
	}
	idle(t, grumpy, doc)
}

// A user's number that is given to somebody else does not call by the old name.
func TestCallerWithANewName(t *testing.T) {
	t.Parallel()
	_, doc := peopled(t, "[[service]]\nname = \"who.%m\"\nexec = [\"/bin/sh\", \"-c\", \"echo $(id -u) $DNET_PEER_USER\"]\nmode = \"bytes\"\nuser = \"caller\"\n")
	as(t, doc, "alice", "netman", "nc", "who.doc").ends(t).must(t, "4001 alice\n", "", 0)
	sh(t, doc, "sed -i 's/^alice:x:4001:/erin:x:4001:/; s/^carol:x:4003:/alice:x:4003:/' /etc/passwd")
	as(t, doc, "alice", "netman", "nc", "who.doc").ends(t).must(t, "4001 erin\n", "", 0)
	as(t, doc, "carol", "netman", "nc", "who.doc").ends(t).must(t, "4003 alice\n", "", 0)
}

// A netman that is not root serves its own user, and starts nothing for others.
func TestCallerWithoutRoot(t *testing.T) {
	t.Parallel()
	grumpy, doc := peopled(t, "")
	doc.KillNetman(unix.SIGTERM)
	write(t, doc, "/tmp/alice/tab.toml", "[[service]]\nname = \"who.%m\"\nexec = [\"/usr/bin/id\", \"-un\"]\nmode = \"bytes\"\nuser = \"caller\"\n"+lab.Open)
	netman := start(t, doc, nil, "setpriv", "--reuid=4001", "--regid=4001", "--clear-groups", "--inh-caps=+net_raw", "--ambient-caps=+net_raw",
		"env", "HOME=/tmp/alice", "/run/bin/netman", "-c", "/tmp/alice/tab.toml", "--door", "/tmp/alice/door")
	netman.says(t, &netman.stderr, "netman: doc is up\n")
	call := func(who string) *program {
		return as(t, doc, who, "netman", "--door", "/tmp/alice/door", "nc", "who.doc").ends(t)
	}
	call("alice").must(t, "alice\n", "", 0)
	call("bob").must(t, "", "netman: who.doc: not allowed: doc does not trust bob@doc\n", 1)
	call("root").must(t, "", "netman: who.doc: not allowed: doc does not trust root@doc\n", 1)
	as(t, grumpy, "alice", "netman", "nc", "who.doc").ends(t).must(t, "", "netman: who.doc: not allowed: doc does not trust alice@grumpy\n", 1)
	_, err := dial(t, grumpy, "who.doc", circuit.Options{})
	barred(t, "a call to a netman that is not root", err, "root@grumpy")
	netman.Process.Signal(unix.SIGTERM)
	netman.ends(t)
}

// whoServtab is for questions about callers. Its [[trust]] is in line 16: every servtab of a lab begins with the name of its machine.
const whoServtab = `
[[service]]
name = "who.%m"
exec = ["/usr/bin/id"]
mode = "bytes"
user = "caller"
allow = ["*@*"]

[[service]]
name = "closed.%m"
exec = ["/bin/date"]
mode = "bytes"
allow = ["alice@moon"]

[[trust]]
machines = ["lab-*"]
users = ["*"]
`

const (
	whoRule = "/etc/dnet/servtab.toml:16"
	whoFile = "/tmp/alice/.dnet/trust"
)

// verdict is what check --who --json prints.
type verdict struct {
	Caller, Service, Authority, User, Rule string
	Allowed                                bool
	Why                                    []string
}

func (v verdict) says(text string) bool { return strings.Contains(strings.Join(v.Why, "\n"), text) }

// checkWho asks netman who a caller would be.
func checkWho(t *testing.T, m *lab.Machine, args string) (p *program, v verdict) {
	t.Helper()
	p = run(t, m, "netman", append([]string{"check", "--json", "--who"}, strings.Fields(args)...)...)
	if err := json.Unmarshal(p.stdout.text.Bytes(), &v); err != nil || p.stderr.String() != "" {
		t.Fatalf("%s: %v in %q, %q", p, err, &p.stdout, &p.stderr)
	}
	return p, v
}

// netman check --who says who a caller would be, and which rule says so.
func TestCheckWho(t *testing.T) {
	t.Parallel()
	_, doc := peopled(t, whoServtab)
	sh(t, doc, "echo 'moon bob # a friend' >"+whoFile+"; chown alice "+whoFile)
	for _, row := range []struct {
		args             string
		user, rule, says string
	}{
		{"alice@lab-3 who.doc --authority accepted", "alice", whoRule, "yes"},
		{"alice@lab-3 who --authority secret", "alice", whoRule, "yes"},
		{"alice@lab-3 who.doc --authority none", "", "", "without authority"},
		{"alice@lab-3 who.doc", "", "", "--authority accepted says what would hold"},
		{"root@lab-3 who.doc --authority secret", "", "", "root must be named literally"},
		{"alice@lab-3 who.doc --authority secret --as root", "", "", "the local user root is not in as"},
		{"dave@lab-3 who.doc --authority secret", "", "", "dave is locked"},
		{"eve@lab-3 who.doc --authority secret", "", "", "no user eve"},
		{"bob@moon who.doc --authority accepted --as alice", "alice", whoFile + ":1", "alice lets bob@moon be alice"},
		{"bob@moon who.doc --authority accepted", "", "", "/tmp/bob/.dnet/trust: no: there is no such file"},
		{"carol@moon who.doc --authority accepted --as alice", "", "", whoFile + ":1: no: the caller carol is not bob"},
		{"bob@doc who.doc", "bob", "local", "stays who it is"},
		{"alice@moon closed.doc", "nobody", "servtab", `yes: "alice@moon"`},
		{"bob@moon closed.doc", "", "", "no entry is for bob@moon"},
	} {
		p, v := checkWho(t, doc, row.args)
		status := map[bool]int{true: 0, false: 1}[row.user != ""]
		if v.Allowed != (row.user != "") || v.User != row.user || v.Rule != row.rule || p.status() != status ||
			!v.says(row.says) {
			t.Errorf("check --who %s: %+v, status %d; want %q by %q, %d, and %q", row.args, v, p.status(), row.user, row.rule, status, row.says)
		}
	}
	p := run(t, doc, "netman", "check", "--who", "alice@lab-3", "who", "--authority", "accepted")
	p.must(t, "alice@lab-3 calls who.doc; authority of the machine: accepted\n  allow: yes: \"*@*\"\n  "+whoRule+
		": yes: alice@lab-3 may be alice in who.doc\nallowed: as alice, by "+whoRule+"\n", "", 0)
	for _, bad := range []string{"check --who alice@lab-3", "check who.doc", "check --json", "check --who alice who.doc", "check --who al:ce@x who",
		"check --who alice@x who --authority lots", "check --who alice@x who --authority local", "check --who alice@x wh_o", "check --who a@x who --as b:c"} {
		p := run(t, doc, "netman", strings.Fields(bad)...)
		refused(t, p, "netman: check: ")
	}
}

// A trust file that others could have written is not read.
func TestTrustFileOfOthers(t *testing.T) {
	t.Parallel()
	_, doc := peopled(t, whoServtab)
	sh(t, doc, "echo 'moon bob' >"+whoFile+"; chown alice "+whoFile)
	const question = "bob@moon who.doc --authority accepted --as alice"
	if _, v := checkWho(t, doc, question); !v.Allowed || v.User != "alice" || v.Rule != whoFile+":1" {
		t.Errorf("with a file as it should be: %+v", v)
	}
	for _, row := range [][2]string{
		{"chmod g+w " + whoFile, "chmod go-w"},
		{"chmod g-w " + whoFile + "; chmod o+w /tmp/alice", "/tmp/alice can be written"},
		{"chmod o-w /tmp/alice; chown bob " + whoFile, "another user"},
		{"chown root " + whoFile + "; chmod 600 " + whoFile, "permission denied"}, // it is read with alice's rights
		{"rm " + whoFile + "; ln -s /etc/passwd " + whoFile, "a symbolic link"},
	} {
		spoil, says := row[0], row[1]
		sh(t, doc, spoil)
		if _, v := checkWho(t, doc, question); v.Allowed || !v.says(says) {
			t.Errorf("after %s: %+v; want it to say %q", spoil, v, says)
		}
	}
}
