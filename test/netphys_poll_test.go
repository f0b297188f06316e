package test

import (
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// Waiting for files: poll, select, epoll, O_NONBLOCK, signals.

// What is ready does not wait, and what would wait is not ready.
func TestFilesPoll(t *testing.T) {
	l, _, doc := files(t, "")
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		server := python(t, doc, `
fd = os.open(N + 'listen/poll.doc', RW | NB)            # it may be polled before there is a call
fails(errno.ENOTCONN, peer, fd)
assert state(fd)[0] == WAITING and ready(fd) == 0
fails(errno.EAGAIN, os.read, fd, 100); fails(errno.EAGAIN, os.write, fd, b'\0x')
say('listening')
assert select.select([fd], [fd], [], 20)[1] == [fd]     # a call has come: it can be written
assert peer(fd)[1] == 'poll.doc'
os.set_blocking(fd, True)
for _ in range(3):
    assert os.read(fd, MAX) == b'\0next'
    os.write(fd, b'\0answer')
say('waiting')
p = select.poll(); p.register(fd, select.POLLPRI); p.poll()
n = 0
while os.read(fd, MAX) != b'\0full': n += 1
say('read', n > 4)
os.write(fd, b'\0over'); os.close(fd)
`)
		server.says(t, &server.stdout, "listening\n")
		fine(t, python(t, from, `
fd = os.open(N + 'poll.doc', RW | NB)
becomes(fd, select.POLLOUT)
IN, OUT = select.POLLIN, select.POLLOUT
assert ready(fd) == OUT
fails(errno.EAGAIN, os.read, fd, 100)
# select waits for what comes, and for no longer than it is told.
began = time.monotonic()
assert select.select([fd], [], [], 0.2) == ([], [], [])
assert time.monotonic() - began >= 0.19
os.write(fd, b'\0next')
assert select.select([fd], [], [fd], 20) == ([fd], [], [])
assert ready(fd) == IN | OUT
assert os.read(fd, 4) == b'\x10ans' and ready(fd) == IN | OUT      # there is more of it
assert os.read(fd, MAX) == b'\0wer' and ready(fd) == OUT
# epoll, level-triggered: as long as there is something.
p = select.epoll(); p.register(fd, select.EPOLLIN)
assert p.poll(0) == []
os.write(fd, b'\0next')
assert p.poll(20) == [(fd, select.EPOLLIN)] and p.poll(0) == [(fd, select.EPOLLIN)]
assert os.read(fd, MAX) == b'\0answer' and p.poll(0) == []
# Edge-triggered: once for what has come, and again for what comes after.
p.modify(fd, select.EPOLLIN | select.EPOLLET)
os.write(fd, b'\0next')
assert p.poll(20) == [(fd, select.EPOLLIN)] and p.poll(0) == []
assert os.read(fd, MAX) == b'\0answer'
fails(errno.EAGAIN, os.read, fd, MAX)
# What cannot be written is not ready to be, and becomes so.
filled(fd, bytes(60000))
os.set_blocking(fd, False)
assert ready(fd) == 0
fails(errno.EAGAIN, os.write, fd, bytes(60000))
interrupt(fd, b'read on')
becomes(fd, OUT)
while True:
    try: os.write(fd, b'\0full'); break
    except BlockingIOError: becomes(fd, OUT)
# The end: readable, hung up, and an edge.
assert p.poll(20)[0][1] & select.EPOLLIN
becomes(fd, IN | select.POLLHUP | OUT)
assert os.read(fd, MAX) == b'\0over' and os.read(fd, MAX) == b'' and os.read(fd, MAX) == b''
fails(errno.EPIPE, os.write, fd, b'\0x')
`), "")
		fine(t, server, "listening\nwaiting\nread True\n")
	})
	idle(t, l.Machines()...)
}

// Signals end what waits, and nothing is lost by it: no call stays behind without its owner, and no octet.
func TestFilesSignals(t *testing.T) {
	l, _, doc := files(t, "")
	listen(t, doc, "silent.doc", circuit.Options{})
	lis := listen(t, doc, "signal.doc", circuit.Options{})
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		goOn, count := make(chan struct{}), make(chan int, 1)
		serveOnce(t, lis, func(call *circuit.Call) {
			c, err := call.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			<-goOn
			c.WriteDatagram([]byte("after the signal"), 0)
			for read := 0; ; {
				octets, _, err := c.Next()
				if err != nil {
					count <- read
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
				read += len(octets)
			}
			c.Close()
		})
		p := python(t, from, `
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
def interrupted(call, *args):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try: call(*args)
    except Alarm: return
    assert False, 'it should have waited'
interrupted(os.open, N + 'silent.doc', RW)                            # a call that nobody answers
interrupted(os.open, N + 'listen/never.' + os.uname().nodename, RW)   # and none that comes
fd = os.open(N + 'signal.doc', RW)
interrupted(os.read, fd, MAX)
full = filled(fd, bytes(60001))
interrupted(os.write, fd, bytes(50001))                               # which has not gone
say('full', full)
assert os.read(fd, MAX) == b'\0after the signal'
os.write(fd, b'\0end')
say('good')
`)
		p.says(t, &p.stdout, "full ")
		close(goOn)
		p.ends(t)
		var full int
		if _, err := fmt.Sscanf(p.stdout.String(), "full %d\ngood\n", &full); err != nil || p.err != nil {
			t.Fatalf("%v: %v\n%s%s", p.err, err, &p.stdout, &p.stderr)
		}
		if read := <-count; read != full*60000+len("end") {
			t.Errorf("%d octets arrived of %d", read, full*60000+len("end"))
		}
	})
	idle(t, l.Machines()...)
}

// Opens that are interrupted at any moment, of callers and of servers, leave no circuit without its owner.
func TestFilesAbandoned(t *testing.T) {
	l, _, doc := files(t, "")
	lis := listen(t, doc, "prompt.doc", circuit.Options{})
	go echoServer(lis)
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		rush := `
import random
random.seed(7)
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
opened = given_up = 0
for i in range(200):
    fd = -1
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003))
        fd = os.open(N + sys.argv[1], RW)
        signal.setitimer(signal.ITIMER_REAL, 0)
        opened += 1
    except Alarm: given_up += 1
    except OSError as e: assert e.errno in (errno.EBUSY, errno.ENOENT), e
    if fd >= 0: os.close(fd)
    if opened and given_up and i > 50: break
say('done')
`
		fine(t, python(t, from, rush, "prompt.doc"), "done\n")
		server := python(t, doc, rush, "listen/rushed.doc")
		fine(t, python(t, from, `
while True:
    try: fd = os.open(N + 'rushed.doc', RW)
    except FileNotFoundError:
        if sys.argv[1:] or not os.path.exists(N): break
        sys.argv.append('once more'); continue
    except OSError: continue
    os.close(fd)
`), "")
		fine(t, server, "done\n")
		idle(t, l.Machines()...)
	})
}

// A program that is killed while it waits leaves nothing, wherever it waits.
func TestFilesKilled(t *testing.T) {
	l, _, doc := files(t, "")
	listen(t, doc, "silent.doc", circuit.Options{})
	lis := listen(t, doc, "held.doc", circuit.Options{})
	calls(t, l.Machines(), func(t *testing.T, from *lab.Machine) {
		for name, script := range map[string]string{
			"calling":   `say('now'); os.open(N + 'silent.doc', RW)`,
			"listening": `say('now'); os.open(N + 'listen/never.' + os.uname().nodename, RW)`,
		} {
			p := python(t, from, script)
			p.says(t, &p.stdout, "now\n")
			if name == "calling" {
				eventually(t, "the call is placed", func() bool { return find(rows(t, doc, "circuits"), "circuit", "service", "silent.doc") != nil })
			} else {
				eventually(t, "it listens", func() bool {
					return find(rows(t, from, "services"), "service", "service", "never."+from.Name) != nil
				})
			}
			p.Process.Signal(unix.SIGKILL)
			p.ends(t)
			idle(t, l.Machines()...)
			eventually(t, "the name is withdrawn", func() bool {
				return find(rows(t, from, "services"), "service", "service", "never."+from.Name) == nil
			})
		}
		for name, script := range map[string]string{
			"reading": `fd = os.open(N + 'held.doc', RW); say('now'); os.read(fd, 100)`,
			"writing": `fd = os.open(N + 'held.doc', RW); filled(fd, bytes(60000)); say('now'); os.write(fd, bytes(60000))`,
		} {
			got := make(chan error, 1)
			next := make(chan struct{})
			serveOnce(t, lis, func(call *circuit.Call) {
				c, err := call.Accept()
				<-next
				for err == nil {
					_, _, err = c.Next()
				}
				got <- err
				c.Close()
			})
			p := python(t, from, script)
			p.says(t, &p.stdout, "now\n")
			p.Process.Signal(unix.SIGKILL)
			p.ends(t)
			close(next)
			if err := <-got; err != io.EOF {
				t.Errorf("killed while %s: the other end is told %v", name, err)
			}
			idle(t, l.Machines()...)
		}
	})
	// In the middle of a datagram the end is no ordinary one.
	got := make(chan error, 1)
	serveOnce(t, lis, func(call *circuit.Call) {
		c, err := call.Accept()
		for err == nil {
			_, _, err = c.Next()
		}
		got <- err
		c.Close()
	})
	fine(t, python(t, doc, `os.write(os.open(N + 'held.doc', RW), b'\x10half a datagra')`), "")
	if why, ok := cleared(<-got); !ok || why.Cause != 0 || why.Diag != 0xf1 {
		t.Errorf("cut in the middle of a datagram: %v; want 00 F1", why)
	}
	idle(t, l.Machines()...)
}
