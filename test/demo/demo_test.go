package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// playEnv makes this test binary the demo.
const playEnv = "DNET_DEMO"

func TestMain(m *testing.M) {
	if os.Getenv(playEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// console is a terminal with the demo on it.
type console struct {
	t      *testing.T
	master *os.File
	demo   *exec.Cmd
	said   bytes.Buffer
	unread string // the end of it that was not awaited yet
}

// start runs the demo on a terminal of its own, and then something that reads the same terminal.
func start(t *testing.T) *console {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, master: os.NewFile(uintptr(fd), "terminal")}
	t.Cleanup(func() { c.master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.demo = exec.Command("sh", "-c", `"$0"; status=$?; echo after the demo; read x; echo "read $x"; exit $status`, self)
	c.demo.Env = append(os.Environ(), playEnv+"=1", "TERM=xterm")
	c.demo.Stdin, c.demo.Stdout, c.demo.Stderr = tty, tty, tty
	c.demo.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.demo.Process.Kill() })
	return c
}

// await reads until the demo has said something, after what was awaited last.
func (c *console) await(text string) {
	c.t.Helper()
	c.master.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 4096)
	for {
		if _, after, found := strings.Cut(c.unread, text); found {
			c.unread = after
			return
		}
		n, err := c.master.Read(b)
		c.unread += string(b[:n])
		c.said.Write(b[:n])
		if err != nil {
			c.t.Fatalf("%v, before %q was said:\n%s", err, text, c.said.String())
		}
	}
}

func (c *console) enter(text string) {
	c.t.Helper()
	if _, err := c.master.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// ends waits for the demo's end and gives its status.
func (c *console) ends() int {
	c.t.Helper()
	late := time.AfterFunc(20*time.Second, func() { c.demo.Process.Kill() })
	defer late.Stop()
	err := c.demo.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	return c.demo.ProcessState.ExitCode()
}

func TestShell(t *testing.T) {
	c := start(t)
	c.await("and `exit`.")
	c.await("grumpy$ ")
	c.enter("tty; echo $((6 * 7)) on $(hostname)\n")
	c.await("/dev/pts/")
	c.await("42 on grumpy")
	c.await("grumpy$ ")
	c.enter("rx sneezy uname -n | tr a-z A-Z\n")
	c.await("SNEEZY")
	c.await("grumpy$ ")
	// What is interrupted says itself that it runs: a ^C while bash is still handing it the terminal would be bash's own.
	c.enter("stty -a </dev/tty | grep -c speed; sh -c 'echo begun; exec sleep 1000'\n")
	c.await("begun\r\n")
	c.enter("\x03") // ^C ends the sleep and nothing else
	c.await("grumpy$ ")
	c.enter("echo status $?\n")
	c.await("status 130")
	c.await("grumpy$ ")
	c.enter("sleep 1000 &\n")
	c.await("[1]")
	c.await("grumpy$ ")
	c.enter("jobs; echo jobs were listed\n")
	c.await("Running")
	c.await("jobs were listed\r\n")
	c.await("grumpy$ ")
	c.enter("exit\n")
	c.await("after the demo")
	c.enter("on\n")
	c.await("read on")
	if status := c.ends(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if strings.Contains(c.said.String(), "no job control") {
		t.Errorf("the shell has no job control:\n%s", c.said.String())
	}
}

func TestInterrupted(t *testing.T) {
	c := start(t)
	c.await("grumpy$ ")
	c.enter("\x03")
	if status := c.ends(); status != 130 {
		t.Errorf("exit status %d after ^C, want 130", status)
	}
}

func TestWithoutInputItEndsByItself(t *testing.T) {
	demo := exec.Command("/proc/self/exe")
	demo.Env = append(os.Environ(), playEnv+"=1")
	out, err := demo.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "\x1b") {
		t.Errorf("colours, though this is no terminal:\n%q", out)
	}
}
