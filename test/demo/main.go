// Demo is `make demo`: three machines on one network, commands run between them, and a shell on one of them to try more.
//
//	main.go   the machines, the shell
//	play.go   the commands that are shown, and what each must do
//	show.go   how they are run and shown
//
// It exits with status 0 when every command did what it should. The shell comes only when standard input is a terminal.
// However it ends, the machines and all that is in them end with it; see package lab.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

func main() { lab.Main(lab.Func(demo)) }

// demo runs in the world of the lab.
func demo() int {
	s := newShow()
	began := time.Now()
	s.progress("starting grumpy, sneezy and doc")
	l := lab.New(s, lab.Config{Sealed: true})
	s.progress("starting a netman on each")
	l.Netman()
	s.say("Three machines, grumpy, sneezy and doc, are up after %.1f s: one Ethernet, a netman on each, no IP addresses.",
		time.Since(began).Seconds())
	for _, p := range play(l) {
		s.run(l, p)
	}
	if s.failures > 0 {
		s.say("%d of the commands did not do what they should.", s.failures)
		l.Close()
		return 1
	}
	status := 0
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		status = shell(s, l.Machine("grumpy"))
	}
	l.Close()
	return status
}

// shell gives the terminal to a shell on a machine until that ends.
func shell(s *show, m *lab.Machine) int {
	s.say("This is a shell on %s. The others are sneezy and doc: try `rx sneezy ls -l /`, `netman status`, and `exit`.", m.Name)
	c := m.Command("bash", "-i")
	if c.Err != nil {
		c = m.Command("sh", "-i")
	}
	if err := m.Do(func() error { return os.WriteFile("/root/.bashrc", []byte("PS1='\\h$ '\n"), 0o644) }); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	c.Env = append(c.Env, "PS1="+m.Name+"$ ")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The shell leads the terminal's foreground group, in the session that the demo was started in; where the terminal is not
	// that session's, it gets a session of its own.
	signal.Ignore(unix.SIGTTOU)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: shell:", err)
		return 1
	}
	c.Wait() // its status is that of the last command typed: not ours
	return 0
}
