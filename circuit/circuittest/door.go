// Package circuittest is a door without a network, for tests of programs that use circuits: a netman
// of one machine that knows its services and joins two programs (protocol.md 5).
//
//	d := circuittest.New(t)
//	d.Transient("rx.moon", func() *exec.Cmd { return exec.Command(rx, "-B") })
//	c, err := circuit.Dial(ctx, "rx.moon", circuit.Options{Door: d.Path})
package circuittest

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// Machine is the name of the one machine there is.
const Machine = "moon"

// Door is a running door.
type Door struct {
	Path string // for $DNET_DOOR or circuit.Options

	relay    bool
	killed   atomic.Bool
	listener *net.UnixListener
	mu       sync.Mutex
	services map[string]service
	open     map[any]func() // links and circuits: what Close has to close
	running  sync.WaitGroup
}

// service is either resident or transient.
type service struct {
	resident *link
	command  func() *exec.Cmd
}

// User is the name of every caller.
const User = "tester"

// New opens a door in a temporary directory and closes it, with all circuits, when the test ends. It
// joins the data of both programs by one socket pair, as netman does on one machine.
func New(t testing.TB) *Door { return open(t, place(t), false) }

// NewAt is New at the path of a door that was closed: a netman that is started again.
func NewAt(t testing.TB, path string) *Door { return open(t, path, false) }

// NewRelay is New with data that goes through the door, as between two machines.
func NewRelay(t testing.TB) *Door { return open(t, place(t), true) }

// place is a path for a door, whose length does not depend on the test's name.
func place(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "door")
}

func open(t testing.TB, path string, relay bool) *Door {
	t.Helper()
	d := &Door{
		Path:     path,
		relay:    relay,
		services: map[string]service{},
		open:     map[any]func(){},
	}
	var err error
	d.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: d.Path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	d.running.Go(d.accept)
	t.Cleanup(d.Close)
	return d
}

// Close ends the door as a netman that is killed: no circuit is told why. It waits for all that the
// door does, so that nothing of it is left, servers excepted.
func (d *Door) Close() {
	d.killed.Store(true)
	d.listener.Close()
	d.mu.Lock()
	for _, closeIt := range d.open {
		closeIt()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// Transient makes a service of a command that is started for each call.
func (d *Door) Transient(name string, command func() *exec.Cmd) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.services[name] = service{command: command}
}

func (d *Door) accept() {
	for {
		conn, err := d.listener.AcceptUnix()
		if err != nil {
			return
		}
		f, err := conn.File()
		conn.Close()
		if err != nil {
			continue
		}
		l := d.newLink(f)
		d.running.Go(func() {
			d.request(l)
			d.forget(l)
		})
	}
}

// request serves the first line of a connection.
func (d *Door) request(l *link) {
	record, err := l.receive()
	if err != nil {
		l.close()
		return
	}
	line, err := circuit.ParseRequest(record)
	switch {
	case err != nil:
		l.refuse("EINVAL", err.Error())
	case line.Verb == "call":
		d.call(l, line)
	case line.Verb == "listen":
		d.listen(l, line.Word(0))
	default:
		l.refuse("EINVAL", "no such verb: "+line.Verb)
	}
}

func (d *Door) listen(l *link, name string) {
	d.mu.Lock()
	_, taken := d.services[name]
	if !taken {
		d.services[name] = service{resident: l}
	}
	d.mu.Unlock()
	if taken {
		l.refuse("EADDRINUSE", name+" is registered already")
		return
	}
	l.send(circuit.Line{Verb: "ok"})
	for {
		if _, err := l.receive(); err != nil {
			break
		}
	}
	d.mu.Lock()
	delete(d.services, name)
	d.mu.Unlock()
	l.close()
}

func (d *Door) call(caller *link, line circuit.Line) {
	name := line.Word(0)
	if name == "" || strings.ContainsAny(name, "/@ ") {
		caller.refuse("EINVAL", name+": not a name")
		return
	}
	d.mu.Lock()
	s, ok := d.services[name]
	d.mu.Unlock()
	if !ok {
		caller.fail("error", "0d", "00", "")
		return
	}
	c, ends, err := d.newCircuit(caller, line.Get("stream") == "1")
	if err != nil {
		caller.fail("error", "05", "00", err.Error())
		return
	}
	defer closeAll(ends[:])
	if s.resident != nil {
		err = c.offer(s.resident, name, ends)
	} else {
		err = d.start(s.command(), name, ends)
	}
	if err != nil {
		var refused *refusal
		if errors.As(err, &refused) {
			caller.fail("error", "00", refused.diag, refused.text)
		} else {
			caller.fail("error", "05", "00", err.Error())
		}
		c.close()
		return
	}
	closeAll(ends[1:])
	caller.send(circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "machine", Value: Machine}, {Key: "service", Value: name}}}, int(ends[0].Fd()))
	ends[0].Close()
	c.run()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// start runs a transient server: ends are the caller's data, the server's data and control.
func (d *Door) start(cmd *exec.Cmd, name string, ends [3]*os.File) error {
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = ends[1], ends[1], []*os.File{ends[2]}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	cmd.Env = append(cmd.Environ(), "DNET_SERVICE="+name, "DNET_MACHINE="+Machine,
		"DNET_PEER_MACHINE="+Machine, "DNET_PEER_USER="+User, "DNET_MODE=open")
	if err := cmd.Start(); err != nil {
		return err
	}
	d.running.Go(func() { cmd.Wait() })
	return nil
}

// link is the door's end of a connection or of a control descriptor.
type link struct {
	d *Door
	f *os.File
}

func (d *Door) newLink(f *os.File) *link {
	l := &link{d, f}
	d.track(l, l.close)
	return l
}

func (d *Door) track(key any, closeIt func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[key] = closeIt
}

func (d *Door) forget(key any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, key)
}

// close may be called twice, and while something is being received.
func (l *link) close() { l.f.Close() }

// receive waits for a record; io.EOF at the end.
func (l *link) receive() ([]byte, error) {
	p := make([]byte, circuit.MaxLine)
	n, err := readRecord(l.f, p)
	return p[:n], err
}

// readRecord waits for a record; io.EOF at the end.
func readRecord(f *os.File, p []byte) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, io.EOF
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, got = circuit.ReadRecord(int(fd), p)
		return got != unix.EAGAIN
	})
	if err != nil || got != nil || n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (l *link) send(line circuit.Line, fds ...int) error {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = circuit.SendFds(int(fd), line.Append(nil), fds...)
		return sent != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return sent
}

// refuse answers a request that is wrong in itself.
func (l *link) refuse(errno, text string) {
	l.send(circuit.Line{Verb: "error", Keys: []circuit.Key{{Key: "e", Value: errno}}, Words: []string{circuit.CutText(text)}})
	l.close()
}

// fail ends the link with a cause, a diagnostic and a text.
func (l *link) fail(verb, cause, diag, text string) {
	line := circuit.Line{Verb: verb, Words: []string{cause, diag}}
	if text != "" {
		line.Words = append(line.Words, circuit.CutText(text))
	}
	l.send(line)
	l.close()
}
