package test

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// Files in shells and filters, as streams of octets; servers that are shells; C; many files at once.

// bash runs a script that has N for /netphys; it fails at the first command that does.
func bash(t *testing.T, m *lab.Machine, script string) *program {
	t.Helper()
	return start(t, m, nil, "bash", "-c", "set -e -o pipefail; N="+lab.Netphys+"\n"+script)
}

// The plain view: what a shell, cat, head, dd and wc can do with a service.
func TestFilesShell(t *testing.T) {
	lab.Need(t, "bash")
	l, _, doc := files(t, filter("cat.%m", "", "/bin/cat")+filter("date.%m", "", "/bin/date", "-u", "+%Y")+filter("count.%m", "", "/usr/bin/wc", "-c"))
	listen(t, doc, "silent.doc", circuit.Options{})
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		fine(t, bash(t, from, `
exec 3<>$N/plain/cat.doc
echo hello >&3; read -r line <&3; echo "$line"
printf 'two\nlines\n' >&3; read -r a <&3; read -r b <&3; echo $a $b
getfattr --only-values -n user.dnet.machine /dev/fd/3 2>/dev/null || python3 -c 'import os; print(os.getxattr(3, "user.dnet.machine").decode(), end="")'
echo
exec 3>&-
[ $(cat $N/plain/date.doc) = $(date -u +%Y) ]
head -c 3000000 /dev/urandom >data
exec 3<>$N/plain/cat.doc
head -c 3000000 <&3 >back &
cat data >&3; wait $!
cmp data back
exec 3>&-
# Who can only write need not read; who can only read has written all.
dd if=data of=$N/plain/cat.doc bs=1M 2>/dev/null
cp data $N/plain/cat.doc; cat data >>$N/plain/cat.doc
[ $(cat $N/plain/count.doc) = 0 ]
test -e $N/plain/cat.doc; test ! -e $N/not_legal; test -d $N/listen
ls $N/plain | grep -qx cat.doc                          # it has answered; nosuch.doc has not
! cat $N/plain/nosuch.doc 2>why; grep -qx "cat: $N/plain/nosuch.doc: No such file or directory" why
timeout 0.3 cat $N/plain/silent.doc || echo $?
`), "hello\ntwo lines\ndoc\n124\n")
		// One direction ends: what wc counts is told when its input has ended.
		fine(t, python(t, from, `
fd = os.open(N + 'plain/count.doc', RW)
assert peer(fd)[0] == STREAM
os.write(fd, b'x' * 300000)
end(fd)
fails(errno.EPIPE, os.write, fd, b'y')
assert os.read(fd, 100).strip() == b'300000'
assert os.read(fd, 100) == b''
`), "")
		idle(t, l.Machines()...)
	})
	if n := processes("/bin/cat"); n != 0 {
		t.Errorf("%d servers are left", n)
	}
}

// A stream whose directions end one after the other, between the plain view and the one with control bytes.
func TestFilesStreams(t *testing.T) {
	l, _, doc := files(t, "")
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		for _, view := range []string{"", "plain/"} {
			server := python(t, doc, `
control = b'' if sys.argv[1] else b'\0'
fd = os.open(N + sys.argv[1] + 'listen/stream.doc', RW)
assert peer(fd)[0] == CALLED | STREAM, peer(fd)
got = b''
while octets := os.read(fd, MAX): got += octets[len(control):]
assert got == b'question' * 20000, len(got)
assert state(fd)[0] == ENDED and ready(fd) & select.POLLRDHUP
os.write(fd, control + b'answer'); end(fd)
fails(errno.EPIPE, os.write, fd, control + b'x')
say(os.read(fd, 1))
`, view)
			eventually(t, "it serves", func() bool { return find(rows(t, doc, "services"), "service", "service", "stream.doc") != nil })
			fine(t, python(t, from, `
fd = os.open(N + 'plain/stream.doc', RW)
os.write(fd, b'question' * 20000)
assert ready(fd) & select.POLLIN == 0
end(fd)
assert os.read(fd, 100) == b'answer' and os.read(fd, 100) == b''
`), "")
			fine(t, server, "b''\n")
			idle(t, l.Machines()...)
		}
	})
}

// ls and stat ask nobody.
func TestFilesListing(t *testing.T) {
	_, grumpy, doc := files(t, "")
	out := sh(t, grumpy, `cd /run/netphys; ls; ls plain listen plain/listen; stat -c %A rx.doc plain listen; find . -name '*.doc'; test -e other.doc; stat -f -c %T .`)
	want := "cat.grumpy\nlisten\nplain\nrx.grumpy\nlisten:\n\nplain:\ncat.grumpy\nlisten\nrx.grumpy\n\nplain/listen:\n-rw-rw-rw-\ndr-xr-xr-x\ndr-xr-xr-x\nfuseblk\n"
	if strings.ReplaceAll(out, "fuse\n", "fuseblk\n") != want {
		t.Errorf("the listing is %q, want %q", out, want)
	}
	if all := rows(t, doc, "links"); len(all) != 0 {
		t.Errorf("to look around set up %v", all)
	}
	lis := listen(t, doc, "met.doc", circuit.Options{})
	serveOnce(t, lis, func(call *circuit.Call) { call.Refuse(1, "") })
	fine(t, python(t, grumpy, `
assert 'met.doc' not in os.listdir(N)
fails(errno.ECONNREFUSED, os.open, N + 'met.doc', RW)
fd = os.open(N + 'plain/cat.doc', RW)
assert os.listdir(N) == sorted(os.listdir(N)) and 'cat.doc' in os.listdir(N), os.listdir(N)
server = threading.Thread(target=lambda: os.open(N + 'listen/mine', RW), daemon=True); server.start()
while os.listdir(N + 'listen') != ['mine']: time.sleep(0.01)
assert 'mine' in os.listdir(N)
os._exit(0)
`), "")
	idle(t, grumpy, doc)
}

// Servers that are shells and filters: each open takes one call.
func TestFilesServers(t *testing.T) {
	lab.Need(t, "bash")
	l, grumpy, doc := files(t, "")
	each := bash(t, doc, `while exec 3<>$N/plain/listen/each.doc; do cat <&3 >&3 & exec 3>&-; done`)
	turn := bash(t, doc, `while exec 3<>$N/plain/listen/turn; do read -r line <&3; echo "$line, $line" >&3; exec 3>&-; done`)
	dir, err := filepath.Abs("../netman")
	if err != nil {
		t.Fatal(err)
	}
	example := start(t, doc, nil, "python3", filepath.Join(dir, "netphys.py"), lab.Netphys+"/listen/example.doc")
	eventually(t, "all serve", func() bool {
		all := rows(t, doc, "services")
		return find(all, "service", "service", "each.doc") != nil && find(all, "service", "service", "turn") != nil &&
			find(all, "service", "service", "example.doc") != nil
	})
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		// Many at once: calls wait until the server comes back.
		fine(t, bash(t, from, `
for i in $(seq 20); do
	( exec 3<>$N/plain/each.doc; echo $i >&3; read -r line <&3; [ "$line" = $i ]
	  exec 3<>$N/plain/turn; echo $i >&3; read -r line <&3; [ "$line" = "$i, $i" ] ) &
	all="$all $!"
done
for p in $all; do wait $p; done; echo all`), "all\n")
		fine(t, python(t, from, `
fds = [os.open(N + 'example.doc', RW) for _ in range(5)]
for i, fd in enumerate(fds): os.write(fd, b'\x80%d' % i)
for i, fd in enumerate(fds): assert os.read(fd, MAX) == b'\x80%d' % i
`), "")
	})
	// Who serves is one user; another one, a program at the door, a name of servtab are refused.
	if lab.ManyUsers() {
		fine(t, python(t, doc, `
os.setgid(65534); os.setuid(65534)
fails(errno.EADDRINUSE, os.open, N + 'listen/each.doc', RW)
fd = os.open(N + 'each.doc', RW)                        # but anybody calls
os.write(fd, b'\0x'); assert os.read(fd, 9) == b'\0x'
`), "")
	}
	if _, err := circuit.Listen(t.Context(), "each.doc", circuit.Options{Door: door(t, doc), Shared: true}); err == nil {
		t.Error("the name was registered at the door as well")
	}
	for _, p := range []*program{each, turn, example} {
		p.Process.Signal(unix.SIGKILL)
		p.ends(t)
	}
	idle(t, l.Machines()...)
	eventually(t, "the names are withdrawn", func() bool {
		return find(rows(t, doc, "services"), "service", "mode", "resident") == nil
	})
	fine(t, python(t, grumpy, `fails(errno.ENOENT, os.open, N + 'each.doc', RW)`), "")
}

// The same from C, with the header of the sources.
func TestFilesC(t *testing.T) {
	lab.Need(t, "gcc")
	l, _, doc := files(t, "")
	dir, err := filepath.Abs("../netman")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "files")
	if out, err := doc.Command("gcc", "-Wall", "-Wextra", "-Werror", "-I", dir, "-o", program, filepath.Join(dir, "../test/testdata/files.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		server := start(t, doc, nil, program, "serve", lab.Netphys+"/listen/c.doc")
		eventually(t, "it serves", func() bool { return find(rows(t, doc, "services"), "service", "service", "c.doc") != nil })
		fine(t, start(t, from, nil, program, "call", lab.Netphys+"/c.doc"), "c.doc on doc\nhello\ninterrupt stop\ncleared 00 5 enough\n")
		fine(t, server, "called from "+from.Name+"\ninterrupt go\n")
	})
	idle(t, l.Machines()...)
}

// 300 circuits that do nothing are held beside one that is busy; each gives the descriptor back its own.
func TestFilesMany(t *testing.T) {
	l, _, doc := files(t, "")
	server := python(t, doc, `
def serve():
    while True:
        fd = os.open(N + 'listen/many.doc', RW)
        threading.Thread(target=echo, args=(fd,), daemon=True).start()
def echo(fd):
    while datagram := os.read(fd, 4096): os.write(fd, datagram)
    os.close(fd)
say('serving')
serve()
`)
	server.says(t, &server.stdout, "serving\n")
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		p := python(t, from, `
fds = []
def ping(fd, n):
    took = []
    for i in range(n):
        began = time.monotonic()
        os.write(fd, b'\0%d' % i); assert os.read(fd, 4096) == b'\0%d' % i
        took.append(time.monotonic() - began)
    return sorted(took)[n // 2] * 1e6
while True:
    try: first = os.open(N + 'many.doc', RW); break
    except FileNotFoundError: time.sleep(0.02)
alone = ping(first, 2000)
for _ in range(300): fds.append(os.open(N + 'many.doc', RW))
p = select.epoll()
for fd in fds: p.register(fd, select.EPOLLIN)
beside = ping(first, 2000)
assert p.poll(0) == []
for i, fd in enumerate(fds): os.write(fd, b'\0own %d' % i)
for i, fd in enumerate(fds): assert os.read(fd, 4096) == b'\0own %d' % i
say('%.0f us alone, %.0f us beside 300' % (alone, beside))
`).ends(t)
		if p.err != nil {
			t.Fatalf("%v\n%s%s", p.err, &p.stdout, &p.stderr)
		}
		t.Log(p.stdout.String())
		idle(t, from)
	})
	idle(t, l.Machines()...)
}
