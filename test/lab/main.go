package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageEnv says to a binary that was run again what it is now. The stages, in order:
//
//	(none)   the process that somebody started: makes the world, waits for it
//	wait     in the new namespaces, without rights until the ids are mapped
//	init     pid 1 of the world
//	main     the tests, or the demo
//	machine  pid 1 of a machine
const stageEnv = "DNET_LAB"

// inWorld is true in the main stage.
var inWorld bool

// The first thread belongs to the main goroutine: the parent that PR_SET_PDEATHSIG means is a thread, so it must be one that
// lives as long as the process. It also keeps it from being the thread that a machine borrows.
func init() { runtime.LockOSThread() }

// Runner is what Main runs in the world: a *testing.M, or a Func.
type Runner interface{ Run() int }

// Func is a Runner made of a function that returns an exit status.
type Func func() int

// Run calls f.
func (f Func) Run() int { return f() }

// Main runs m inside a world and exits with its status. Call it first in TestMain or main: it runs the same binary again, with
// the same arguments, environment, directory and standard descriptors.
//
// Where the machine lacks what a world needs, Main says so and exits with status 1, or skips as Skip does when $DNET_SKIPS is
// set.
func Main(m Runner) {
	stage := os.Getenv(stageEnv)
	os.Unsetenv(stageEnv)
	switch stage {
	case "":
		os.Exit(outer())
	case "wait":
		waitForIDs()
	case "init":
		worldInit()
	case "machine":
		machineInit()
	case "main":
		inWorld = true
		os.Exit(m.Run())
	}
	fmt.Fprintf(os.Stderr, "lab: unknown stage %s=%s\n", stageEnv, stage)
	os.Exit(1)
}

// again prepares this binary to run again as a stage.
func again(stage string, args []string) *exec.Cmd {
	return &exec.Cmd{
		Path:   "/proc/self/exe",
		Args:   args,
		Env:    append(os.Environ(), stageEnv+"="+stage),
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
	}
}

// outer makes the world and waits for its end. It returns the exit status of what ran inside.
func outer() int {
	if _, err := findTool("ip"); err != nil {
		return lacking("ip", "the machines of the lab are joined by it: install iproute2 (apt-get install iproute2)")
	}
	if !exists("/proc/self/ns/net") {
		return lacking("namespaces", "this kernel has none (/proc/self/ns/net)")
	}
	theirs, lifeline, err := os.Pipe()
	if err != nil {
		return lacking("a pipe", err.Error())
	}
	world := again("wait", os.Args)
	world.ExtraFiles = []*os.File{theirs}
	world.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // keys typed at the terminal are for this process to judge
	}
	ordinary := !privileged()
	if ordinary {
		world.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	}
	tty := saveTerminal()
	signals := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	if err := world.Start(); err != nil {
		return lacking("namespaces", whyNot(err, ordinary))
	}
	theirs.Close()
	if ordinary {
		if err := mapIDs(world.Process.Pid); err != nil {
			world.Process.Kill()
			world.Wait()
			return lacking("user namespaces", whyNot(err, ordinary))
		}
	}
	lifeline.Write([]byte{1})
	ended := make(chan error, 1)
	go func() { ended <- world.Wait() }()
	status := waitForEnd(world.Process, ended, signals)
	lifeline.Close()
	tty.restore()
	return status
}

// waitForEnd returns the status of the world's end; a signal, and the death of the go command that runs a test, end it.
func waitForEnd(world *os.Process, ended <-chan error, signals <-chan os.Signal) int {
	orphaned := goCommandGone()
	status := 0
	for {
		select {
		case sig := <-signals:
			if sig == unix.SIGQUIT {
				world.Signal(sig) // go test asks for the stacks of a test that is late
				continue
			}
			status = 128 + int(sig.(syscall.Signal))
			world.Kill()
		case <-orphaned:
			status, orphaned = 128+int(unix.SIGKILL), nil
			world.Kill()
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case status != 0:
				return status
			case errors.As(err, &exit) && exit.Exited():
				return exit.ExitCode()
			case errors.As(err, &exit):
				return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
			case err != nil:
				return 1
			}
			return 0
		}
	}
}

// goCommandGone gives a channel that is closed when the parent, if it is the go command, has gone: a `go test` that was killed
// does not tell the test binary.
func goCommandGone() <-chan struct{} {
	parent := os.Getppid()
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(comm)) != "go" {
		return nil
	}
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return nil
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				return
			}
		}
	}()
	return gone
}

// privileged reports whether this process may make namespaces without a user namespace around them.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if os.Geteuid() != 0 || unix.Capget(&header, &data[0]) != nil {
		return false
	}
	need := uint32(1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN)
	return data[0].Effective&need == need
}

// sbin are the directories of system programs, which an ordinary user's PATH may lack.
var sbin = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// findTool looks for a program in PATH and where system programs are.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return findIn(name, sbin)
}

// findIn looks for a program in directories.
func findIn(name string, dirs []string) (string, error) {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
