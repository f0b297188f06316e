package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thread is an operating system thread of this process that lives in a machine's namespaces. What it starts runs there, as a
// child of this process: no agent, no helper, and a start costs what any start costs.
type thread struct {
	jobs chan func()
	over chan struct{} // closed by end
}

var errOff = errors.New("the machine is off")

// newThread makes a thread and moves it into the namespaces of a process.
func newThread(pid int) (*thread, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	th := &thread{jobs: make(chan func()), over: make(chan struct{})}
	entered := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine. Until then the runtime starts no thread from it (a new
		// pid namespace is for its children only), and uses its template thread instead.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS) // a mount namespace can be entered only with a root and directory of one's own
		if err == nil {
			err = unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWPID)
		}
		entered <- err
		for err == nil {
			select {
			case job := <-th.jobs:
				job()
			case <-th.over:
				return
			}
		}
	}()
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	return th, nil
}

// do runs f on the thread.
func (th *thread) do(f func() error) error {
	if th == nil {
		return errOff
	}
	done := make(chan error)
	select {
	case th.jobs <- func() { done <- f() }:
		return <-done
	case <-th.over:
		return errOff
	}
}

// end lets the thread go, and with it what it holds of the machine.
func (th *thread) end() { close(th.over) }

// Do runs f on a thread that is in the machine: files, sockets and interfaces that f opens are the machine's, and stay so. f
// must not block for long and must not use the Machine (the thread is the only one); goroutines that it starts are not in the
// machine.
func (m *Machine) Do(f func() error) error { return m.thread.do(f) }

// Cmd is an exec.Cmd whose program runs in a machine.
type Cmd struct {
	*exec.Cmd
	m *Machine
}

// commandLimit bounds the commands of Output and Sh.
const commandLimit = time.Minute

// Command prepares a program to run in the machine, as root, in /root, with an environment of its own and the project's bin
// directory first in PATH. Standard input is empty, as in exec.Cmd. When the lab closes, the program is killed.
func (m *Machine) Command(name string, args ...string) *Cmd {
	path := append([]string{m.lab.bin}, sbin...)
	c := &Cmd{m: m, Cmd: &exec.Cmd{Path: name, Args: append([]string{name}, args...), Dir: "/"}}
	c.Env = []string{"PATH=" + strings.Join(path, ":"), "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
		"DNET_NETPHYS=" + Netphys}
	for _, key := range []string{"TERM", "LANG", "LC_ALL", "TZ", "GOMEMLIMIT"} {
		if value, ok := os.LookupEnv(key); ok {
			c.Env = append(c.Env, key+"="+value)
		}
	}
	err := m.Do(func() error {
		if exists("/root") {
			c.Dir = "/root"
		}
		if strings.Contains(name, "/") {
			return nil
		}
		var err error
		c.Path, err = findIn(name, path)
		return err
	})
	if err != nil {
		c.Err = err
	}
	return c
}

// Start starts the program.
func (c *Cmd) Start() error {
	return c.m.Do(func() error {
		if err := c.Cmd.Start(); err != nil {
			return err
		}
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.m.started = append(c.m.started, c.Process)
		return nil
	})
}

// Run starts the program and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns its standard output; an *exec.ExitError has its standard error if nothing else took that.
func (c *Cmd) Output() ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the program and returns its standard output and standard error together.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	err := c.Run()
	return both.Bytes(), err
}

// Start starts a program in the machine that runs until it ends, or is killed when the lab closes. Its output goes to the test's own
// standard error.
func (m *Machine) Start(name string, args ...string) *Cmd {
	m.lab.t.Helper()
	c := m.Command(name, args...)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		m.lab.t.Fatalf("%s$ %s: %v", m.Name, strings.Join(c.Args, " "), err)
	}
	return c
}

// Output runs a program in the machine and returns its standard output. It is fatal to the test when it fails, or does not end
// within a minute.
func (m *Machine) Output(name string, args ...string) string {
	m.lab.t.Helper()
	c := m.Command(name, args...)
	limit := time.AfterFunc(commandLimit, func() {
		if c.Process != nil {
			c.Process.Kill()
		}
	})
	defer limit.Stop()
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		var stderr []byte
		if errors.As(err, &exit) {
			stderr = exit.Stderr
		}
		m.lab.t.Fatalf("%s$ %s: %v\n%s%s", m.Name, strings.Join(c.Args, " "), err, out, stderr)
	}
	return string(out)
}

// Sh runs a line of shell in the machine, as Output does.
func (m *Machine) Sh(line string) string {
	m.lab.t.Helper()
	return m.Output("sh", "-c", line)
}
