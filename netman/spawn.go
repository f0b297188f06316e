package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"dnet/netman/trust"
)

// Reasons for which the keeper starts no server. The wire, which counts them too, asks in vain only if it is not what it was.
var (
	errNoService = errors.New("no such service in servtab")
	errMax       = errors.New("it serves as many calls as it may already")
	errGoing     = errors.New("netman ends")
)

// start starts a server for a call and gives the wire our ends of its descriptors; its end is told later.
func (k *keeper) start(m *memo) {
	call, err := k.caller(m)
	var p *program
	if err == nil {
		p, err = k.admit(m)
	}
	var who *runner
	var fds []int
	var cmd *exec.Cmd
	if err == nil {
		if err = k.mayCall(p, call); err == nil {
			who, err = k.runnerFor(p, call)
		}
		if err == nil {
			cmd, fds, err = k.startServer(p, m, call, who)
		}
		if err != nil {
			k.left(m.ID)
		}
	}
	answer := &memo{Kind: "started", ID: m.ID}
	if err != nil {
		answer.Error, answer.Scarce = err.Error(), scarce(err)
		answer.bar(err)
	} else {
		answer.PID, answer.As = cmd.Process.Pid, who.as.name
		k.audit(call, who, answer.PID)
	}
	k.line.send(answer, fds...)
	closeAll(fds)
	<-k.deciding
	if err == nil {
		k.await(m.ID, cmd, p.bytes)
	}
}

// scarce tells that something is used up, and may be there again.
func scarce(err error) bool {
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.EAGAIN, unix.ENOMEM, unix.ENOBUFS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// admit finds the service of a call and counts its server, if it may have one more.
func (k *keeper) admit(m *memo) (*program, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.services[m.Service]
	switch {
	case k.going:
		return nil, errGoing
	case s == nil || s.resident || k.servers[m.ID] != nil:
		return nil, errNoService
	case k.running[s.name] >= s.max:
		return nil, errMax
	}
	k.running[s.name]++
	k.servers[m.ID] = &process{service: s.name}
	return s, nil
}

// left takes a server out of the table.
func (k *keeper) left(id uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.servers[id]; p != nil {
		delete(k.servers, id)
		if k.running[p.service]--; k.running[p.service] == 0 {
			delete(k.running, p.service)
		}
	}
}

// await tells the wire of a server's end.
func (k *keeper) await(id uint64, cmd *exec.Cmd, bytes bool) {
	pid := cmd.Process.Pid
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	k.left(id) // before its number is free for another process
	err := cmd.Wait()
	k.line.send(&memo{Kind: "exited", ID: id, Failed: serverFailed(err, bytes)})
}

// signal sends a signal to a server that runs.
func (k *keeper) signal(m *memo) {
	sig := unix.Signal(m.Signal)
	if sig != unix.SIGHUP && sig != unix.SIGTERM && sig != unix.SIGKILL {
		k.blame("asks for signal %d", m.Signal)
		return
	}
	k.mu.Lock()
	if p := k.servers[m.ID]; p != nil && p.pid > 0 {
		unix.Kill(-p.pid, sig)
	}
	k.mu.Unlock()
	k.line.send(&memo{Kind: "signalled", ID: m.ID})
}

// callEnv is the environment of a server that is started for a call.
func (k *keeper) callEnv(s *program, call trust.Call, stream bool) []string {
	env := append(k.serverEnv(s), "DNET_PEER_MACHINE="+call.Machine, "DNET_PEER_USER="+call.User)
	if stream {
		env = append(env, "DNET_STREAM=1")
	}
	return env
}

// serverEnv is the environment of every server, but for what depends on its user.
func (k *keeper) serverEnv(s *program) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"DNET_DOOR=" + k.opt.door,
		"DNET_SERVICE=" + s.name,
		"DNET_MACHINE=" + k.setup.machine,
		"DNET_MODE=" + k.mode().String(),
	}
	if k.mount != nil {
		env = append(env, "DNET_NETPHYS="+k.mount.dir)
	}
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
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

// serverFailed says whether the way a server ended is a death rather than a close: a signal, or in circuit mode also a status
// other than 0. A filter's status is its own affair.
func serverFailed(err error, bytes bool) bool {
	exit, ok := err.(*exec.ExitError)
	if !ok {
		return err != nil
	}
	return exit.Sys().(syscall.WaitStatus).Signaled() || !bytes
}

// startServer makes the descriptors and starts the process. fds are our ends, and the server's data once more for the wire to keep, to
// give to a caller, or to close: data, theirs, control; or a filter's output and input.
func (k *keeper) startServer(s *program, m *memo, call trust.Call, who *runner) (cmd *exec.Cmd, fds []int, err error) {
	cmd = &exec.Cmd{Path: s.path, Args: s.argv, Env: append(k.callEnv(s, call, m.Stream), who.env...), Dir: "/", Stderr: os.Stderr}
	cmd.SysProcAttr = who.as.processAttr()
	theirs, fds, err := serverDescriptors(s.bytes)
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdin, cmd.Stdout = theirs[0], theirs[1]
	cmd.ExtraFiles = theirs[2:]
	if err = k.onThread(cmd.Start); err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.servers[m.ID].pid = cmd.Process.Pid
	return cmd, fds, nil
}

// serverDescriptors makes a server's standard input, output and, in circuit mode, its control descriptor 3; and our ends of them.
func serverDescriptors(bytes bool) (theirs []*os.File, ours []int, err error) {
	defer func() {
		if err != nil {
			closeAll(ours)
			ours = nil
		}
	}()
	add := func(fd int) { theirs = append(theirs, os.NewFile(uintptr(fd), "server")) }
	if bytes {
		var stdin, stdout [2]int
		if err = unix.Pipe2(stdout[:], unix.O_CLOEXEC); err != nil {
			return theirs, ours, fmt.Errorf("pipe: %w", err)
		}
		ours = append(ours, stdout[0])
		if err = unix.Pipe2(stdin[:], unix.O_CLOEXEC); err != nil {
			unix.Close(stdout[1])
			return theirs, ours, fmt.Errorf("pipe: %w", err)
		}
		ours = append(ours, stdin[1])
		add(stdin[0])
		add(stdout[1])
		for _, fd := range ours {
			unix.SetNonblock(fd, true)
		}
		return theirs, ours, nil
	}
	data, err := dataPair()
	if err != nil {
		return theirs, ours, err
	}
	ours = append(ours, data[0], data[1])
	for range 2 { // standard input and output
		fd, err := unix.FcntlInt(uintptr(data[1]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return theirs, ours, fmt.Errorf("dup: %w", err)
		}
		add(fd)
	}
	control, err := seqpacketPair()
	if err != nil {
		return theirs, ours, err
	}
	ours = append(ours, control[0])
	add(control[1])
	return theirs, ours, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
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

// processAttr makes a server the leader of a session of its own, as this user, and has it told when netman dies.
func (id identity) processAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if id.change {
		attr.Credential = &syscall.Credential{Uid: id.uid, Gid: id.gid, Groups: id.groups}
	}
	return attr
}
