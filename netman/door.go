package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/x25"
)

// door is the socket that programs knock at. Its lock says whose it is: the one netman that holds it replaces what a dead one left.
type door struct {
	l    *loop
	path string
	lock *os.File
	desc *desc
}

// openDoor makes the socket, for everybody (protocol.md 5).
func (l *loop) openDoor(path string) (*door, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("door %s: another netman holds it; give this one a door of its own with --door", path)
	}
	fd, err := listenSeqpacket(path)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("door %s: %w", path, err)
	}
	d := &door{l: l, path: path, lock: lock}
	d.desc = &desc{fd: fd, mask: unix.EPOLLIN, ready: d.accept}
	l.watch(d.desc)
	return d, nil
}

// listenSeqpacket replaces whatever stands at path by a listening socket.
func listenSeqpacket(path string) (int, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		if err = os.Chmod(path, 0o666); err == nil {
			err = unix.Listen(fd, 1024)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// close takes the socket away. The lock file stays, so that two netmans never lock different files.
func (d *door) close() {
	d.l.forget(d.desc)
	os.Remove(d.path)
	d.lock.Close()
}

// visitor is a connection to the door that has not yet said what it wants.
type visitor struct {
	l    *loop
	desc *desc
	uid  uint32
}

// maxVisitors bounds the connections that have not said what they want; the oldest wins, a further one is closed.
const maxVisitors = 1024

// accept lets visitors in.
func (d *door) accept(uint32) {
	for i := 0; i < 64; i++ {
		fd, _, err := unix.Accept4(d.desc.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			if err == unix.EMFILE || err == unix.ENFILE {
				d.l.count("door: no descriptors left")
			}
			return
		}
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || d.l.visitors >= maxVisitors {
			d.l.count("door: visitors turned away")
			unix.Close(fd)
			continue
		}
		v := &visitor{l: d.l, uid: cred.Uid}
		v.desc = &desc{fd: fd, mask: unix.EPOLLIN, ready: v.ready}
		d.l.visitors++
		d.l.watch(v.desc)
		v.ready(0) // most have said it already
	}
}

// ready reads the first line and does what it asks for.
func (v *visitor) ready(uint32) {
	n, err := unix.Read(v.desc.fd, v.l.line)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	v.l.visitors--
	if err != nil || n == 0 {
		v.l.forget(v.desc)
		return
	}
	line, err := circuit.ParseRequest(v.l.line[:n])
	if err != nil {
		v.refuse(err.Error())
		return
	}
	switch line.Verb {
	case "call":
		v.call(line)
	case "find":
		v.find(line)
	case "status":
		v.status(line)
	case "listen":
		v.listen(line)
	case "trust":
		v.changeTrust(line)
	default:
		v.refuse(fmt.Sprintf("%s is not in this version of netman", line.Verb))
	}
}

// refuse answers a line that cannot be carried out at all.
func (v *visitor) refuse(why string) { v.fail("EINVAL", why) }

func (v *visitor) fail(errno, why string) {
	unix.Write(v.desc.fd, errorLine(errno, why).Append(nil))
	v.l.forget(v.desc)
}

// call places a call for the visitor, whose connection becomes control.
func (v *visitor) call(line circuit.Line) {
	c, err := v.l.node.Call(v.l.now, line.Word(0), userName(v.uid), line.Get("stream") == "1", &v.l.out)
	v.await(c, err)
}

// find says which machine offers a name, without calling it.
func (v *visitor) find(line circuit.Line) {
	c, err := v.l.node.Locate(v.l.now, line.Word(0), &v.l.out)
	v.await(c, err)
}

// await makes the visitor's connection the control of what it asked for, whose answer follows.
func (v *visitor) await(c *node.Circuit, err error) {
	if err != nil {
		v.refuse(err.Error())
		return
	}
	e := &endpoint{l: v.l, c: c, control: v.desc}
	v.desc.ready = e.controlReady
	v.l.hold(c, e)
}

// found answers a find.
func (e *endpoint) found() {
	e.sendControl(circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "machine", Value: e.c.Machine}, {Key: "service", Value: e.c.Service}}})
	e.release()
}

// answer gives the caller the data descriptor of a call that was accepted.
func (e *endpoint) answer() {
	pair, err := dataPair()
	if err != nil {
		e.c.Clear(e.l.now, x25.CauseCongestion, 0, "", &e.l.out)
		e.reject(&node.Event{Cause: x25.CauseCongestion, Text: err.Error()})
		return
	}
	defer unix.Close(pair[1])
	line := circuit.Line{Verb: "ok", Keys: []circuit.Key{{Key: "machine", Value: e.c.Machine}, {Key: "service", Value: e.c.Service}}}
	if err := circuit.SendFds(e.control.fd, line.Append(nil), pair[1]); err != nil {
		unix.Close(pair[0])
		e.abandon()
		return
	}
	e.in = &desc{fd: pair[0]}
	e.out = e.in
	e.start()
}

// reject tells the caller why there is no circuit.
func (e *endpoint) reject(ev *node.Event) {
	line := clearedLine(ev)
	line.Verb = "error"
	e.sendControl(line)
	e.release()
}

// refuse clears an incoming call that its server does not take.
func (e *endpoint) refuse(diag x25.Diag, text string) {
	e.c.Clear(e.l.now, x25.CauseDTE, diag, text, &e.l.out)
	e.release()
}

// userNames remembers the names of the users that called, as long as the file with the names stays as it is: a number that is given to
// another user must not call by the name of the one before.
var userNames struct {
	byID map[uint32]string
	file unix.Stat_t
}

// userName is the caller's name as the other machine sees it: of SO_PEERCRED, so that nobody can say another's.
func userName(uid uint32) string {
	var file unix.Stat_t
	unix.Stat("/etc/passwd", &file)
	file.Atim = unix.Timespec{}
	if userNames.file != file || len(userNames.byID) >= 4096 {
		userNames.file, userNames.byID = file, map[uint32]string{}
	}
	if name, ok := userNames.byID[uid]; ok {
		return name
	}
	name := strconv.Itoa(int(uid))
	if u, err := user.LookupId(name); err == nil && names.CheckUser(u.Username) == nil {
		name = u.Username
	} else if err != nil {
		log.Printf("caller: no name for user %d: calling as %q", uid, name)
	}
	userNames.byID[uid] = name
	return name
}
