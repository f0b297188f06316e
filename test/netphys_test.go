package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// Circuits as files, used by programs that know nothing of dnet: python3, a shell, C.

// python starts a script that has the modules it may need, N for /netphys, and netphys.py of the sources.
func python(t *testing.T, m *lab.Machine, script string, args ...string) *program {
	t.Helper()
	return start(t, m, nil, "python3", append([]string{"-c", pythonHead(t) + script}, args...)...)
}

func pythonHead(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../netman")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, %q)
import errno, fcntl, os, select, signal, threading, time
from netphys import *
N = %q + '/'
RW, NB = os.O_RDWR, os.O_NONBLOCK

def say(*what): print(*what, flush=True)

def fails(number, call, *args):
    """call must fail with this errno."""
    try: got = call(*args)
    except OSError as e: got = e.errno
    assert got == number, (errno.errorcode[number], got, errno.errorcode.get(got))

def ready(fd, wait=0):
    """What poll says of fd, after at most so many seconds."""
    p = select.poll()
    p.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
    return (p.poll(wait * 1000) or [(fd, 0)])[0][1]

def becomes(fd, events):
    """Waits until poll says all these events."""
    end = time.monotonic() + 20
    while ready(fd, 1) & events != events: assert time.monotonic() < end, (ready(fd), events)

def filled(fd, datagram):
    """Writes, without waiting, until nothing more is taken, here and on the way."""
    os.set_blocking(fd, False)
    n = 0
    p = select.poll(); p.register(fd, select.POLLOUT)
    while p.poll(500):
        try:
            while True: os.write(fd, datagram); n += 1
        except BlockingIOError: pass
    os.set_blocking(fd, True)
    return n
`, dir, lab.Netphys)
}

// files makes two machines with a netman, where there is FUSE.
func files(t *testing.T, servtab string) (l *lab.Lab, grumpy, doc *lab.Machine) {
	t.Helper()
	lab.NeedFUSE(t)
	lab.Need(t, "python3")
	t.Parallel()
	l = network(t, lab.Config{Machines: []string{"grumpy", "doc"}, Servtab: servtab})
	return l, l.Machine("grumpy"), l.Machine("doc")
}

// fine asks a script to have succeeded, having said this.
func fine(t *testing.T, p *program, stdout string) {
	t.Helper()
	p.ends(t).must(t, stdout, "", 0)
}

// calls runs a script on the same and on the other machine, as a subtest each.
func calls(t *testing.T, machines []*lab.Machine, f func(t *testing.T, from *lab.Machine)) {
	for _, from := range machines {
		t.Run("from "+from.Name, func(t *testing.T) { f(t, from) })
	}
}

// An echo server and its client: boundaries, marks, pieces, large and empty datagrams, reads that are too small.
func TestFilesDatagrams(t *testing.T) {
	l, _, doc := files(t, "")
	server := python(t, doc, `
while True:
    fd = os.open(N + 'listen/talk.doc', RW)
    say(*peer(fd)[:3], os.getxattr(fd, 'user.dnet.user').decode())
    while datagram := os.read(fd, MAX):
        os.write(fd, datagram)
    os.close(fd)
`)
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		fine(t, python(t, from, `
fd = os.open(N + 'talk.doc', RW)
def back(sent, *want, size=MAX):
    assert os.write(fd, sent) == len(sent)
    for w in want:
        got = os.read(fd, size)
        assert got == w, (got[:40], len(got), w[:40], len(w))
back(b'\0hello', b'\0hello')
back(b'\x80qualified', b'\x80qualified')
back(b'\0', b'\0')                                     # an empty datagram
back(b'\x80', b'\x80')
big = bytes(range(256)) * 256
back(b'\0' + big[:65535], b'\0' + big[:65535])
back(b'\0abcdef', b'\x10ab', b'\x10cd', b'\0ef', size=3)
back(b'\x80abcdef', b'\x90abcd', b'\x80ef', size=5)
os.write(fd, b'\0z'); fails(errno.EINVAL, os.read, fd, 1); assert os.read(fd, 2) == b'\0z'
# A datagram of a megabyte in pieces comes back whole.
whole = os.urandom(1 << 20)
def send():
    for at in range(0, len(whole), 50000):
        os.write(fd, (b'\x10' if at + 50000 < len(whole) else b'\0') + whole[at:at + 50000])
sender = threading.Thread(target=send); sender.start()
got = b''
while True:
    piece = os.read(fd, MAX); got += piece[1:]
    if not piece[0] & M: break
sender.join()
assert got == whole, (len(got), len(whole))
# What is refused leaves the circuit as it was.
fails(errno.EMSGSIZE, os.write, fd, b'\0' + big)
fails(errno.EMSGSIZE, os.write, fd, b'\0' * (3 << 20))
for bad in (1, 2, 4, 8, 0x20, 0x40): fails(errno.EINVAL, os.write, fd, bytes([bad]) + b'x')
os.write(fd, b'\x10one '); fails(errno.EINVAL, os.write, fd, b'\x80two'); os.write(fd, b'\0two')
got = b''
while True:
    piece = os.read(fd, MAX); got += piece[1:]
    if not piece[0] & M: break
assert got == b'one two', got
fails(errno.ESPIPE, os.lseek, fd, 0, 0)
fails(errno.EOPNOTSUPP, end, fd)
assert peer(fd) == (0, 'talk.doc', 'doc', 'root'), peer(fd)
assert state(fd) == (OPEN, 0, 0, '')
assert os.getxattr(fd, 'user.dnet.machine') == b'doc' and 'user.dnet.service' in os.listxattr(fd)
os.close(fd)
say('good')
`), "good\n")
		server.says(t, &server.stdout, "1 talk.doc "+from.Name+" root\n")
	})
	idle(t, l.Machines()...)
}

// Interrupts pass a circuit whose windows are full both ways, and are told by POLLPRI.
func TestFilesInterrupts(t *testing.T) {
	l, _, doc := files(t, "")
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		server := python(t, doc, `
fd = os.open(N + 'listen/stuck.doc', RW)
say('full', filled(fd, bytes(60000)) > 4)              # nobody reads what is written, either way
p = select.poll(); p.register(fd, select.POLLPRI)
assert p.poll(20000) == [(fd, select.POLLPRI)]
got = take_interrupt(fd)
assert got == bytes(range(32)), got
fails(errno.EAGAIN, take_interrupt, fd)
assert p.poll(0) == []
interrupt(fd, b'!')
n = 0
while os.read(fd, MAX) != b'\0end': n += 1
say('read', n)
`)
		server.says(t, &server.stdout, "")
		client := python(t, from, `
while True:
    try: fd = os.open(N + 'stuck.doc', RW); break
    except FileNotFoundError: time.sleep(0.02)          # the server is about to come
full = filled(fd, bytes(60000))
fails(errno.EINVAL, interrupt, fd, b'')
interrupt(fd, bytes(range(32)))
p = select.epoll(); p.register(fd, select.EPOLLPRI | select.EPOLLET)
assert p.poll(20) == [(fd, select.EPOLLPRI)]
assert take_interrupt(fd) == b'!'
os.write(fd, b'\0end')
say('wrote', full)
while os.read(fd, MAX): pass
`)
		client.ends(t)
		server.ends(t)
		client.must(t, client.stdout.String(), "", 0)
		server.must(t, "full True\n"+strings.Replace(client.stdout.String(), "wrote", "read", 1), "", 0)
	})
	idle(t, l.Machines()...)
}

// serveOnce takes the next call, as the test's.
func serveOnce(t *testing.T, lis *circuit.Listener, then func(*circuit.Call)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call, err := lis.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		then(call)
	}()
	t.Cleanup(func() { <-done })
}

// Why there is no circuit (protocol.md 4), as errno of open; with O_NONBLOCK, of read and write.
func TestFilesRefused(t *testing.T) {
	l, _, doc := files(t, filter("one.%m", "max = 1", "/bin/cat"))
	lis := listen(t, doc, "causes.doc", circuit.Options{})
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		fine(t, python(t, from, `
fails(errno.ENOENT, os.open, N + 'nosuch.doc', RW)
fails(errno.ENOENT, os.open, N + 'nosuch.nowhere', RW)
fails(errno.ENOENT, os.open, N + 'not_legal', RW)
fails(errno.EINVAL, os.open, N + 'not_legal', RW | os.O_CREAT)
fails(errno.EROFS, os.mkdir, N + 'not_legal')
fails(errno.EINVAL, os.open, N + 'listen/one.elsewhere', RW)
fails(errno.EADDRINUSE, os.open, N + 'listen/one.' + os.uname().nodename, RW)
held = os.open(N + 'plain/one.doc', RW)
fails(errno.EBUSY, os.open, N + 'plain/one.doc', RW)
os.close(held)
`), "")
		for diag, text := range map[circuit.Diag]string{7: "not today", 0: ""} {
			serveOnce(t, lis, func(call *circuit.Call) { call.Refuse(diag, text) })
			fine(t, python(t, from, `fails(errno.ECONNREFUSED, os.open, N + 'causes.doc', RW)`), "")
		}
		serveOnce(t, lis, func(call *circuit.Call) { call.Refuse(7, "not today") })
		fine(t, python(t, from, `
fd = os.open(N + 'causes.doc', RW | NB)                 # as a connect(2) that does not wait
fails(errno.ENOTCONN, interrupt, fd, b'x')
becomes(fd, select.POLLOUT)
fails(errno.ECONNREFUSED, os.write, fd, b'\0x')
fails(errno.ECONNREFUSED, os.read, fd, 100)
assert state(fd) == (OVER, 0, 7, 'not today'), state(fd)
`), "")
	})
	idle(t, l.Machines()...)
}

// How a circuit ends, as errno of read and of write, after what came before.
func TestFilesEnded(t *testing.T) {
	l, _, doc := files(t, "")
	lis := listen(t, doc, "causes.doc", circuit.Options{})
	for _, end := range []struct {
		name  string
		do    func(*circuit.Conn)
		last  string // what is read before the end
		read  string
		write unix.Errno
		state string
		err   string // POLLERR
	}{
		{"closed", func(c *circuit.Conn) { c.Close() }, "assert os.read(fd, 100) == b'\\0last'", "assert os.read(fd, 100) == b''", unix.EPIPE,
			"(OVER, 0, 0, '')", "False\n"},
		{"with a reason", func(c *circuit.Conn) { c.Clear(9, "done") }, "assert os.read(fd, 100) == b'\\0last'",
			"fails(errno.ECONNREFUSED, os.read, fd, 100)", unix.ECONNREFUSED, "(OVER, 0, 9, 'done')", "True\n"},
		{"died", func(c *circuit.Conn) { c.Abort(0xf1, "dead") }, "", "fails(errno.ECONNRESET, os.read, fd, 100)", unix.ECONNRESET,
			"(OVER, 0, 0xf1, 'dead')", "True\n"},
	} {
		calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
			serveOnce(t, lis, func(call *circuit.Call) {
				c, err := call.Accept()
				if err != nil {
					t.Errorf("%s: %v", end.name, err)
					return
				}
				c.WriteDatagram([]byte("first"), 0)
				if _, _, err := c.Next(); err != nil {
					t.Errorf("%s: %v", end.name, err)
				}
				if end.last != "" { // one that died loses what is on its way
					c.WriteDatagram([]byte("last"), 0)
				}
				end.do(c)
			})
			fine(t, python(t, from, fmt.Sprintf(`
fd = os.open(N + 'causes.doc', RW)
assert os.read(fd, 100) == b'\0first'
os.write(fd, b'\0go')
becomes(fd, select.POLLIN | select.POLLHUP)
%s
%s
%s                                                      # and again
fails(%d, os.write, fd, b'\0x')
assert state(fd) == %s, state(fd)
say(bool(ready(fd) & select.POLLERR))
`, end.last, end.read, end.read, end.write, end.state)), end.err)
		})
	}
	idle(t, l.Machines()...)
}

// The other machine, or the way to it, is gone.
func TestFilesGone(t *testing.T) {
	_, grumpy, doc := files(t, "")
	lis := listen(t, doc, "causes.doc", circuit.Options{})
	for _, gone := range []struct {
		name string
		how  func()
		then func()
	}{
		{"the cable is pulled out", doc.LinkDown, doc.LinkUp},
		{"netman over there is killed", func() { doc.KillNetman(unix.SIGKILL) }, func() {}},
	} {
		serveOnce(t, lis, func(call *circuit.Call) { call.Accept() })
		p := python(t, grumpy, `
fd = os.open(N + 'causes.doc', RW)
say('connected')
fails(errno.EHOSTDOWN, os.read, fd, 100)
fails(errno.EHOSTDOWN, os.write, fd, b'\0x')
`)
		p.says(t, &p.stdout, "connected\n")
		row := find(rows(t, grumpy, "circuits"), "circuit", "service", "causes.doc")
		if row["side"] != "caller" || row["machine"] != "doc" || row["user"] != "root" || row["pid"] == nil {
			t.Errorf("status shows %v", row)
		}
		began := time.Now()
		gone.how()
		fine(t, p, "connected\n")
		if took := time.Since(began); took > slack*tolerance {
			t.Errorf("%s: the program was told after %v", gone.name, took)
		}
		gone.then()
	}
	idle(t, grumpy)
}

// netman's own end: told as EHOSTDOWN to whoever waits when it is stopped, as ECONNABORTED by the kernel when it is killed, and as
// ENOTCONN from then on. The next one mounts anew.
func TestFilesWithoutNetman(t *testing.T) {
	_, grumpy, doc := files(t, "")
	listen(t, doc, "held.doc", circuit.Options{})
	lis := listen(t, doc, "kept.doc", circuit.Options{})
	go func() {
		for {
			call, err := lis.Accept()
			if err != nil {
				return
			}
			call.Accept()
		}
	}()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		errno := map[unix.Signal]unix.Errno{unix.SIGTERM: unix.EHOSTDOWN, unix.SIGKILL: unix.ECONNABORTED}[signal]
		p := python(t, grumpy, fmt.Sprintf(`
fd = os.open(N + 'kept.doc', RW)
server = threading.Thread(target=fails, args=(%[1]d, os.open, N + 'listen/never.grumpy', RW)); server.start()
caller = threading.Thread(target=fails, args=(%[1]d, os.open, N + 'held.doc', RW)); caller.start()
say('connected')
fails(%[1]d, os.read, fd, 100)
server.join(); caller.join()
while True:                                            # a read that comes in the moment of the end is aborted
    try: os.read(fd, 100)
    except OSError as e:
        if e.errno == errno.ENOTCONN: break
        assert e.errno == errno.ECONNABORTED, e
fails(errno.ENOTCONN, os.write, fd, b'\0x')
try: os.close(fd)
except OSError: pass
say('told')
`, errno))
		p.says(t, &p.stdout, "connected\n")
		eventually(t, "the server and the callers wait", func() bool {
			return len(rows(t, grumpy, "circuits")) == 2 && find(rows(t, grumpy, "services"), "service", "service", "never.grumpy") != nil
		})
		grumpy.KillNetman(signal)
		fine(t, p, "connected\ntold\n")
		if signal == unix.SIGTERM {
			if left := sh(t, grumpy, "grep netphys /proc/mounts || true; ls -d /run/netphys 2>/dev/null || true"); left != "" {
				t.Errorf("a netman that was stopped left %q", left)
			}
		} else if left := sh(t, grumpy, "grep -c netphys /proc/mounts"); left != "1\n" {
			t.Errorf("a netman that was killed left %q mounts", left)
		}
		grumpy.Netman()
		if left := sh(t, grumpy, "grep -c netphys /proc/mounts; ls /run/netphys"); left != "1\ncat.grumpy\nlisten\nplain\nrx.grumpy\n" {
			t.Errorf("the next netman has %q", left)
		}
	}
	grumpy.KillNetman(unix.SIGTERM)
	if left := sh(t, grumpy, "grep netphys /proc/mounts || true"); left != "" {
		t.Errorf("a netman that was stopped left %q", left)
	}
}

// A second netman has its own mount; one that wants a mount that is taken is told, and goes on if it did not ask for it by name.
func TestFilesOfTwoNetmans(t *testing.T) {
	_, grumpy, _ := files(t, "")
	write(t, grumpy, "/root/second.toml", "machine = \"second\"\nnetphys = \"/root/second\"\n[[link]]\nethertype = 0x88b6\n")
	args := []string{"-c", "/root/second.toml", "--door", "/root/door"}
	p := run(t, grumpy, "netman", append(args, "--netphys", lab.Netphys)...)
	if p.status() != 1 || !strings.HasSuffix(p.stderr.String(), "netman: netphys /run/netphys: another netman has mounted it\n") {
		t.Errorf("a mount that is taken: status %d, %q", p.status(), &p.stderr)
	}
	write(t, grumpy, "/root/third.toml", "machine = \"third\"\n[[link]]\nethertype = 0x88b7\n")
	third := start(t, grumpy, nil, "netman", "-c", "/root/third.toml", "--door", "/root/door3")
	third.says(t, &third.stderr, "netman: third is up\n")
	if !strings.Contains(third.stderr.String(), "netphys /run/netphys: another netman has mounted it: going on without") {
		t.Errorf("a mount that is taken and was not asked for: %q", &third.stderr)
	}
	second := start(t, grumpy, nil, "netman", args...)
	second.says(t, &second.stderr, "netman: second is up\n")
	fine(t, python(t, grumpy, `
S = '/root/second/'
def serve():
    fd = os.open(S + 'listen/here', RW)
    say(peer(fd)[2]); os.write(fd, b'\0second'); os.close(fd)
server = threading.Thread(target=serve); server.start()
while 'here' not in os.listdir(S + 'listen'): time.sleep(0.01)
assert 'here' not in os.listdir(N + 'listen')
fd = os.open(S + 'here', RW)
assert os.read(fd, 100) == b'\0second' and os.read(fd, 100) == b''
server.join()
fails(errno.ENOENT, os.open, N + 'here', RW)
`), "second\n")
	second.Process.Signal(unix.SIGTERM)
	if second.ends(t).status() != 0 {
		t.Errorf("the second netman: %v\n%s", second.err, &second.stderr)
	}
	if left := sh(t, grumpy, "ls -d /root/second 2>/dev/null || true; ls /run/netphys | head -1"); left != "cat.grumpy\n" {
		t.Errorf("afterwards there is %q", left)
	}
	off := start(t, grumpy, nil, "netman", append(args, "--netphys", "none")...)
	off.says(t, &off.stderr, "netman: second is up\n")
	if left := sh(t, grumpy, "grep -c netphys /proc/mounts"); left != "1\n" {
		t.Errorf("with --netphys none there are %q mounts", left)
	}
}

// Names that were looked at are forgotten, and found again; what is open stays. Somebody who unmounts /netphys stops nothing else.
func TestFilesForgotten(t *testing.T) {
	_, grumpy, doc := files(t, "")
	go echoServer(listen(t, doc, "kept.doc", circuit.Options{}))
	fine(t, python(t, grumpy, `
fd = os.open(N + 'kept.doc', RW)
for i in range(70000): os.stat(N + 'n%d.doc' % i)
assert os.fstat(fd).st_size == 0 and peer(fd)[2] == 'doc'
os.write(fd, b'\0x'); assert os.read(fd, 9) == b'\0x'
for i in range(0, 70000, 1000): os.stat(N + 'n%d.doc' % i)
assert os.getxattr(fd, 'user.dnet.machine') == b'doc'
`), "")
	if n, _ := rows(t, grumpy, "counters")[0]["counters"].(map[string]any)["netphys: names forgotten"].(float64); n < 70000-65536 {
		t.Errorf("%v names were forgotten", n)
	}
	p := python(t, grumpy, `
fd = os.open(N + 'kept.doc', RW)
say('open')
fails(errno.EBUSY, os.rmdir, N)
while os.path.ismount(N): os.write(fd, b'\0x'); os.read(fd, 9)      # a lazy unmount leaves it what is open
os.write(fd, b'\0x'); assert os.read(fd, 9) == b'\0x'
os.close(fd)
`)
	p.says(t, &p.stdout, "open\n")
	sh(t, grumpy, "umount -l /run/netphys")
	fine(t, p, "open\n")
	if err := grumpy.WaitLog("netman: netphys /run/netphys: no such device: somebody has unmounted it", bound); err != nil {
		t.Error(err)
	}
	idle(t, grumpy, doc)
	start(t, grumpy, strings.NewReader("still\n"), "netman", "nc", "cat.doc").ends(t).must(t, "still\n", "", 0)
	grumpy.KillNetman(unix.SIGTERM)
}

// Go's files, which poll: deadlines, and a Close that ends a Read.
func TestFilesOfGo(t *testing.T) {
	_, grumpy, doc := files(t, "")
	lis := listen(t, doc, "go.doc", circuit.Options{})
	go echoServer(lis)
	c := grumpy.Command("sleep", "infinity")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/root%s/go.doc", c.Process.Pid, lab.Netphys)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 100)
	f.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := f.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read with a deadline: %d, %v", n, err)
	}
	f.SetReadDeadline(time.Now().Add(bound))
	if _, err := f.Write([]byte("\x00hello")); err != nil {
		t.Error(err)
	}
	if n, err := f.Read(buf); err != nil || string(buf[:n]) != "\x00hello" {
		t.Errorf("the echo is %q, %v", buf[:n], err)
	}
	read := make(chan error)
	go func() {
		_, err := f.Read(buf)
		read <- err
	}()
	f.Close()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read that Close ended: %v", err)
	}
	idle(t, grumpy, doc)
}
