package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"dnet/netman/trust"
)

// spawnJob is a server to be started: for a call, or a resident one.
type spawnJob struct {
	e        *endpoint
	resident *resident
	service  service         // a copy: servtab may be read again meanwhile
	caller   *trust.Decision // who the caller is here, if that decides whom the server runs as
	env      []string
}

// spawnResult is what became of it.
type spawnResult struct {
	in, out, control *desc
	pid              int
	err              error

	as      identity // whom it runs as, where the caller decides that
	trusted string   // by which rule; "none": as nobody
	unfit   error    // why the user that the rules made of the caller is not it
}

// spawn hands a call to the spawner. The answer comes to loop.spawned, the end of the server to loop.serverExited.
func (l *loop) spawn(e *endpoint) {
	env := append(l.serverEnv(e.server.service), "DNET_PEER_MACHINE="+e.c.Machine, "DNET_PEER_USER="+e.c.PeerUser)
	if e.c.Stream {
		env = append(env, "DNET_STREAM=1")
	}
	job := spawnJob{e: e, service: e.server.called, caller: e.server.caller, env: env}
	select {
	case l.spawner <- job:
	default:
		// More calls wait to be started than maxSpawning: refuse here rather than wait.
		l.spawned(e, spawnResult{err: errSpawning})
	}
}

// serverEnv is the environment of every server, but for what depends on its user.
func (l *loop) serverEnv(s *service) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"DNET_DOOR=" + l.door.path,
		"DNET_SERVICE=" + s.name,
		"DNET_MACHINE=" + l.node.Machine(),
		"DNET_MODE=open",
	}
	return env
}

// environment is what depends on the user. named is the user that servtab or a trust rule names; empty: none does.
func (id identity) environment(named string) []string {
	env := []string{"HOME=" + id.home}
	if id.name != "" {
		env = append(env, "USER="+id.name, "LOGNAME="+id.name)
	}
	if named != "" {
		env = append(env, "DNET_USER="+named)
	}
	return env
}

// maxSpawning bounds the calls that wait for their server to be started.
const maxSpawning = 256

var errSpawning = fmt.Errorf("%d servers wait to be started already", maxSpawning)

// spawner starts servers, one after another, on a thread that lives as long as netman: they are told of its death by
// the kernel, which watches the thread that started them.
func (l *loop) spawnServers() {
	runtime.LockOSThread()
	for job := range l.spawner {
		if job.resident != nil {
			job.resident.startCommand(job)
			continue
		}
		cmd, r := startServer(job)
		e := job.e
		l.post(func() { l.spawned(e, r) })
		if r.err == nil {
			go func() {
				err := cmd.Wait()
				bytes := e.bytes
				l.post(func() { l.serverExited(e, serverFailed(err, bytes)) })
			}()
		}
	}
}

// serverFailed says whether the way a server ended is a death rather than a close: a signal, or in circuit mode also a status
// other than 0. A filter's status is its own affair.
func serverFailed(err error, bytes bool) bool {
	exit, ok := err.(*exec.ExitError)
	if !ok {
		return err != nil
	}
	return exit.Sys().(syscall.WaitStatus).Signaled() || !bytes
}

// startServer makes the descriptors and starts the process.
func startServer(job spawnJob) (*exec.Cmd, spawnResult) {
	s := &job.service
	who, r := job.runsAs()
	if r.err != nil {
		return nil, r
	}
	cmd := &exec.Cmd{Path: s.path, Args: s.argv, Env: append(job.env, who...), Dir: "/", Stderr: os.Stderr}
	cmd.SysProcAttr = r.as.processAttr()
	theirs, ends := serverDescriptors(s.bytes)
	r.in, r.out, r.control, r.err = ends.in, ends.out, ends.control, ends.err
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if r.err != nil {
		return nil, r
	}
	cmd.Stdin, cmd.Stdout = theirs[0], theirs[1]
	if len(theirs) > 2 {
		cmd.ExtraFiles = theirs[2:]
	}
	if err := cmd.Start(); err != nil {
		for _, d := range []*desc{r.in, r.out, r.control} {
			if d != nil && d.fd >= 0 {
				unix.Close(d.fd)
				d.fd = -1
			}
		}
		r.err = err
		return nil, r
	}
	r.pid = cmd.Process.Pid
	return cmd, r
}

// serverDescriptors makes a server's standard input, output and, in circuit mode, its control descriptor 3; and our ends of them.
func serverDescriptors(bytes bool) (theirs []*os.File, r spawnResult) {
	file := func(fd int) { theirs = append(theirs, os.NewFile(uintptr(fd), "server")) }
	if bytes {
		var stdin, stdout [2]int
		if r.err = unix.Pipe2(stdin[:], unix.O_CLOEXEC); r.err != nil {
			return
		}
		file(stdin[0])
		r.out = &desc{fd: stdin[1]}
		if r.err = unix.Pipe2(stdout[:], unix.O_CLOEXEC); r.err != nil {
			unix.Close(stdin[1])
			return
		}
		file(stdout[1])
		r.in = &desc{fd: stdout[0]}
		unix.SetNonblock(r.in.fd, true)
		unix.SetNonblock(r.out.fd, true)
		return
	}
	data, err := dataPair()
	if err != nil {
		r.err = err
		return
	}
	control, err := seqpacketPair()
	if err != nil {
		unix.Close(data[0])
		unix.Close(data[1])
		r.err = err
		return
	}
	second, err := unix.FcntlInt(uintptr(data[1]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		r.err = err
		second = -1
	}
	file(data[1])
	file(second)
	file(control[1])
	r.in = &desc{fd: data[0]}
	r.out, r.control = r.in, &desc{fd: control[0]}
	return
}

// seqpacketPair makes a connected pair, the first end non-blocking for the loop.
func seqpacketPair() ([2]int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return pair, fmt.Errorf("socketpair: %w", err)
	}
	unix.SetNonblock(pair[0], true)
	return pair, nil
}

// dataPair is a pair with room for large datagrams: as much as the kernel grants (net.core.wmem_max); its default does too.
func dataPair() ([2]int, error) {
	pair, err := seqpacketPair()
	if err == nil {
		unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
		unix.SetsockoptInt(pair[1], unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	return pair, err
}

// startResident starts a resident server and reports its end.
func (r *resident) startCommand(job spawnJob) {
	s := &job.service
	env := append(job.env, s.as.environment(s.user)...)
	cmd := &exec.Cmd{Path: s.path, Args: s.argv, Env: env, Dir: "/", Stdout: os.Stderr, Stderr: os.Stderr}
	cmd.SysProcAttr = s.as.processAttr()
	if err := cmd.Start(); err != nil {
		r.l.post(func() { r.ended(err) })
		return
	}
	pid := cmd.Process.Pid
	r.l.post(func() {
		r.pid = pid
		if r.gone {
			r.quit()
		}
	})
	go func() {
		err := cmd.Wait()
		r.l.post(func() { r.ended(err) })
	}()
}

// processAttr makes a server the leader of a session of its own, as this user, and has it told when netman dies.
func (id identity) processAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if id.change {
		attr.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid, Groups: id.groups}
	}
	return attr
}
