package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"dnet/test/lab"
)

// need skips a test unless the machine has the programs.
func need(t *testing.T, m *lab.Machine, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if m.Command(tool).Err != nil {
			lab.Skip(t, tool, "not installed")
		}
	}
}

// tree makes a directory with files of all sorts on a machine.
const tree = `mkdir -p src/sub/empty && cd src &&
	printf 'text\n' >file && : >nothing && head -c 3000000 /dev/urandom >big && ln -s file link &&
	printf 'x' >'a name with  spaces' && printf '#!/bin/sh\n' >sub/run && chmod 755 sub/run && touch -d 2001-02-03 file`

// list is what to compare of a tree.
func list(t *testing.T, m *lab.Machine, dir string) string {
	t.Helper()
	return sh(t, m, "cd "+dir+" && find . -printf '%P %y %m %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 md5sum")
}

func TestPrograms(t *testing.T) {
	l := network(t, lab.Config{})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	sh(t, grumpy, tree)
	want := list(t, grumpy, "src")
	t.Run("tar", func(t *testing.T) {
		need(t, grumpy, "tar")
		sh(t, grumpy, "rx doc mkdir by-tar; cd src && tar c . | rx doc 'tar x -C by-tar'")
		if got := list(t, doc, "by-tar"); got != want {
			t.Errorf("there are\n%s\nwant\n%s", got, want)
		}
		sh(t, grumpy, "mkdir back && rx doc 'tar c -C by-tar .' | tar x -C back")
		if got := list(t, grumpy, "back"); got != want {
			t.Errorf("back came\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("rsync", func(t *testing.T) { rsyncOverRx(t, grumpy, doc, want) })
	t.Run("git", func(t *testing.T) { gitOverRx(t, grumpy, doc) })
	t.Run("no input", func(t *testing.T) {
		sh(t, grumpy, "rx doc 'cat >f' </dev/null")
		if got := sh(t, doc, "wc -c <f"); got != "0\n" {
			t.Errorf("the file has %s octets", got)
		}
		// No standard input at all is the same.
		sh(t, grumpy, "rx doc 'cat >g' <&-; rx -n doc 'cat >>g'")
		if got := sh(t, doc, "wc -c <g"); got != "0\n" {
			t.Errorf("the file has %s octets", got)
		}
	})
	t.Run("head", func(t *testing.T) {
		nap := nap()
		if got := sh(t, grumpy, "rx sneezy yes "+nap+" | head -n 1"); got != nap+"\n" {
			t.Errorf("it says %q", got)
		}
		eventually(t, "yes has ended", func() bool { return processes("yes "+nap) == 0 })
	})
	t.Run("pipeline", func(t *testing.T) {
		if got := sh(t, grumpy, "rx sneezy seq 100000 | rx doc sort -rn | rx grumpy head -n 2"); got != "100000\n99999\n" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("loop", func(t *testing.T) {
		if got := sh(t, grumpy, "printf '1\\n2\\n3\\n' | while read n; do rx -n doc echo got $n; done"); got != "got 1\ngot 2\ngot 3\n" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("background", func(t *testing.T) {
		nap := nap()
		p := run(t, grumpy, "rx", "doc", nap+" </dev/null >/dev/null 2>&1 & echo started")
		p.must(t, "started\n", "", 0)
		eventually(t, "the background command runs", func() bool { return processes(nap) == 1 })
	})
	idle(t, l.Machines()...)
}

// client speaks the door's protocol (protocol.md 5) with Python's socket and array, and nothing of dnet's.
const client = `
import array, os, socket, sys

def call(line):
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect("/run/dnet/door")
    control.send(line)
    text, more, flags, _ = control.recvmsg(2048, socket.CMSG_SPACE(8))
    fds = array.array("i")
    for level, kind, octets in more:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        fds.frombytes(octets)
    return control, text.decode(), [socket.socket(fileno=fd) for fd in fds]

control, text, fds = call(b"dnet1 call cat.doc stream=1 later=yes")
print(text)
data, = fds
data.send(b"\x00hello")
data.send(b"\x10in ")
data.send(b"\x00pieces")
got = b""
while len(got) < 14:
    record = data.recv(65536)
    assert record[0] in (0, 0x10), record
    got += record[1:]
print(got)
data.send(b"\x00" + bytes(65535))
got = 0
while got < 65535:
    got += len(data.recv(65536)) - 1
data.send(b"\x07bad")
print(control.recv(2048).decode())
control.send(b"interrupt\0now")
data.shutdown(socket.SHUT_WR)
print(data.recv(65536))
print(control.recv(2048).decode())

for line in (b"dnet1 call nosuch.doc", b"dnet1 call under_score", b"dnet1 dance", b"hello", b"dnet1 call", b"\xff\xfe"):
    print(call(line)[1])
`

func TestPythonAtTheDoor(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy := l.Machine("grumpy")
	need(t, grumpy, "python3")
	file := "/root/client.py"
	write(t, grumpy, file, client)
	p := run(t, grumpy, "python3", "-I", file)
	lines := strings.Split(p.stdout.String(), "\n")
	want := []string{
		"ok machine=doc service=cat.doc", "b'helloin pieces'", "error ", "b''", "cleared 00 00",
		"error 0d 00 ", "error ", "error ", "error ", "error ", "error ", "",
	}
	if p.err != nil || len(lines) != len(want) {
		t.Fatalf("status %d, it says\n%s%s", p.status(), &p.stdout, &p.stderr)
	}
	for i := range lines {
		if !strings.HasPrefix(lines[i], want[i]) || i > 5 && want[i] != "" && !strings.HasSuffix(lines[i], " e=EINVAL") {
			t.Errorf("line %d is %q, want %q", i, lines[i], want[i])
		}
	}
	if lines[2] == lines[7] || !strings.HasSuffix(lines[2], " e=EINVAL") {
		t.Errorf("a wrong control byte is answered by %q", lines[2])
	}
	idle(t, l.Machines()...)
}

// Many programs that come, say anything or nothing, and go, leave nothing in netman.
func TestDoorOfAll(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	need(t, grumpy, "python3")
	doc.Netman()
	netman := daemon(t, grumpy)
	descriptors := func() int {
		wire, err := lab.Wire(netman.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, pid := range []int{netman.Process.Pid, wire} {
			entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if err != nil {
				t.Fatal(err)
			}
			n += len(entries)
		}
		return n
	}
	run(t, grumpy, "rx", "doc", "true").must(t, "", "", 0)
	idle(t, l.Machines()...)
	before := descriptors()
	write(t, grumpy, "/root/noise.py", `
import os, random, socket
random.seed(5)
words = [b"dnet1 call cat.doc stream=1", b"dnet1 call cat.doc", b"dnet1 listen x.grumpy", b"dnet1 status status", b"dnet1 find cat.doc",
	b"dnet1 call nosuch.grumpy", b"dnet2 call cat.doc", b"", b"\0", b"dnet1 call " + b"x" * 2000, b"dnet1 listen " + b"\"" * 9]
for i in range(300):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect("/run/dnet/door")
    try:
        s.send(random.choice(words))
        if random.random() < .5:
            text, fds, flags, _ = socket.recv_fds(s, 2048, 8)
            for fd in fds:
                if random.random() < .5:
                    os.write(fd, os.urandom(random.randrange(1, 50)))
                os.close(fd)
        for j in range(random.randrange(3)):
            s.send(random.choice([b"accept", b"clear", b"clear 07 why", b"abort zz", b"interrupt\0x", b"interrupt", b"\0", os.urandom(30)]))
    except OSError:
        pass
    s.close()
print("done")
`)
	p := run(t, grumpy, "python3", "-I", "/root/noise.py")
	p.must(t, "done\n", "", 0)
	idle(t, l.Machines()...)
	eventually(t, fmt.Sprintf("netman has the %d descriptors that it had", before), func() bool { return descriptors() <= before })
	start(t, grumpy, strings.NewReader("all is well"), "netman", "nc", "cat.doc").ends(t).must(t, "all is well", "", 0)
}

// gitOverRx clones, pushes and pulls with rx in ssh's place.
func gitOverRx(t *testing.T, grumpy, doc *lab.Machine) {
	need(t, grumpy, "git")
	const who = "git config --global user.name a && git config --global user.email a@b && "
	sh(t, doc, who+"git init -q -b main repo && cd repo && head -c 300000 /dev/urandom >noise && git add . && git commit -q -m first")
	sh(t, grumpy, who+"GIT_SSH_COMMAND=rx git clone -q doc:repo clone && cd clone && git config core.sshCommand rx && "+
		"git checkout -q -b more && echo more >more && git add . && git commit -q -m second && git push -q origin more && git pull -q origin main")
	if got, want := sh(t, doc, "cd repo && git rev-parse more"), sh(t, grumpy, "cd clone && git rev-parse HEAD"); got != want {
		t.Errorf("doc has %s, grumpy %s", got, want)
	}
	sh(t, grumpy, "GIT_SSH_COMMAND=rx GIT_SSH_VARIANT=simple git clone -q --depth 1 ssh://doc/root/repo shallow && cd shallow && git log --format=%s | grep -qx first")
}

// rsyncOverRx copies trees both ways, and between two other machines.
func rsyncOverRx(t *testing.T, grumpy, doc *lab.Machine, want string) {
	need(t, grumpy, "rsync")
	sh(t, grumpy, "rsync -a -e rx src/ doc:by-rsync/")
	if got := list(t, doc, "by-rsync"); got != want {
		t.Errorf("there are\n%s\nwant\n%s", got, want)
	}
	sh(t, doc, "echo changed >by-rsync/file; rm by-rsync/nothing")
	sh(t, grumpy, "rsync -a -z -e rx src/ doc:/root/by-rsync/")
	sh(t, grumpy, "rsync -a -e rx doc:by-rsync/ pulled/ && rsync -a -e rx src/ sneezy:relay/ && rx sneezy rsync -a -e rx relay/ doc:by-relay/")
	for dir, m := range map[string]*lab.Machine{"by-rsync": doc, "pulled": grumpy, "by-relay": doc} {
		if got := list(t, m, dir); got != want {
			t.Errorf("in %s are\n%s\nwant\n%s", dir, got, want)
		}
	}
	if p := run(t, grumpy, "rsync", "-a", "-e", "rx", "nosuch:x", "y"); p.err == nil || !strings.Contains(p.stderr.String(), "rx: nosuch: ") {
		t.Errorf("from a machine that is not there: status %d, %q", p.status(), &p.stderr)
	}
}
