package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawnJob is a server to be started: for a call, or a resident one.
type spawnJob struct {
	e        *endpoint
	resident *resident
	env      []string
}

// spawnResult is what became of it.
type spawnResult struct {
	in, out, control *desc
	pid              int
	err              error
}

// spawn hands a call to the spawner. The answer comes to loop.spawned, the end of the server to loop.serverExited.
func (l *loop) spawn(e *endpoint) {
	env := append(l.serverEnv(e.server.service), "DNET_PEER_MACHINE="+e.c.Machine, "DNET_PEER_USER="+e.c.PeerUser)
	if e.c.Stream {
		env = append(env, "DNET_STREAM=1")
	}
	job := spawnJob{e: e, env: env}
	select {
	case l.spawner <- job:
	default:
		// More calls wait to be started than maxSpawning: refuse here rather than wait.
		l.spawned(e, spawnResult{err: errSpawning})
	}
}

// serverEnv is the environment of every server.
func (l *loop) serverEnv(s *service) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + s.as.home,
		"DNET_DOOR=" + l.door.path,
		"DNET_SERVICE=" + s.name,
		"DNET_MACHINE=" + l.node.Machine(),
		"DNET_MODE=" + l.node.Mode().String(),
	}
	if s.as.name != "" {
		env = append(env, "USER="+s.as.name, "LOGNAME="+s.as.name)
	}
	if s.user != "" {
		env = append(env, "DNET_USER="+s.user)
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
	s := job.e.server.service
	cmd := &exec.Cmd{Path: s.path, Args: s.argv, Env: job.env, Dir: "/", Stderr: os.Stderr}
	cmd.SysProcAttr = s.processAttr()
	theirs, r := serverDescriptors(s.bytes)
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
		return nil, spawnResult{err: err}
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
	s := r.service
	cmd := &exec.Cmd{Path: s.path, Args: s.argv, Env: job.env, Dir: "/", Stdout: os.Stderr, Stderr: os.Stderr}
	cmd.SysProcAttr = s.processAttr()
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

// processAttr makes a server the leader of a session of its own, as the service's user, and has it told when netman dies.
func (s *service) processAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if s.as.change {
		attr.Credential = &syscall.Credential{Uid: s.as.uid, Gid: s.as.gid, Groups: s.as.groups}
	}
	return attr
}
