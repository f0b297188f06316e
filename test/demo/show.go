package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// limit bounds a command.
const limit = time.Minute

// show is where the demo is shown: standard output. It is the T of the lab.
type show struct {
	terminal bool // standard output is one
	colour   bool
	failures int
	waiting  bool // a line of progress stands on the terminal
}

func newShow() *show {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return &show{terminal: err == nil, colour: err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// line is a command of the play.
type line struct {
	on      string // the machine
	text    string
	note    string                // said before it
	before  func()                // done before it
	when    string                // as soon as it has said this ...
	act     func()                // ... this is done
	must    func(r outcome) error // what it must do
	elapsed bool                  // show the time that it took
}

// outcome is what a command did.
type outcome struct {
	stdout, stderr string
	status         int
	took           time.Duration // from act, if there is one, else from the start
}

// run shows a command with its prompt and its output, as it comes, and judges it.
func (s *show) run(l *lab.Lab, p line) {
	if p.note != "" {
		s.say("%s", p.note)
	}
	if p.before != nil {
		p.before()
	}
	s.print(os.Stdout, s.style("1", p.on+"$ ")+p.text+"\n")
	r, err := s.perform(l.Machine(p.on), p)
	if err == nil {
		err = p.must(r)
	}
	if p.elapsed {
		s.print(os.Stdout, s.style("2", fmt.Sprintf("(%.2f s)", r.took.Seconds()))+"\n")
	}
	if err != nil {
		s.failures++
		s.print(os.Stdout, s.style("31", fmt.Sprintf("demo: this is wrong: %v", err))+"\n")
	}
}

// perform runs a command.
func (s *show) perform(m *lab.Machine, p line) (outcome, error) {
	c := m.Command("sh", "-c", p.text)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		return outcome{}, err
	}
	late := time.AfterFunc(limit, func() { unix.Kill(-c.Process.Pid, unix.SIGKILL) })
	var r outcome
	err = s.follow([2]*os.File{stdout.(*os.File), stderr.(*os.File)}, [2]*string{&r.stdout, &r.stderr}, func() {
		if p.act != nil && strings.Contains(r.stdout, p.when) {
			p.act()
			p.act, began = nil, time.Now()
		}
	})
	err = errors.Join(err, c.Wait())
	if !late.Stop() {
		return outcome{}, fmt.Errorf("it did not end within %v", limit)
	}
	r.took = time.Since(began)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.status, err = exit.ExitCode(), nil
	}
	return r, err
}

// follow shows what comes out of the pipes of standard output and standard error, and keeps it, until their end. After each piece it
// looks. Of what is there at once, error output comes first: a shell that reports a program's status does so after the program
// has complained. (The order of the poll set makes that so.)
func (s *show) follow(pipes [2]*os.File, keep [2]*string, look func()) error {
	styles := [2]string{"", "33"}
	fds := []unix.PollFd{{Fd: int32(pipes[0].Fd()), Events: unix.POLLIN}, {Fd: int32(pipes[1].Fd()), Events: unix.POLLIN}}
	b := make([]byte, 1<<16)
	began := time.Now()
	for fds[0].Fd >= 0 || fds[1].Fd >= 0 {
		n, err := unix.Poll(fds, 1000)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			s.progress(fmt.Sprintf("%.0f s", time.Since(began).Seconds()))
		}
		for _, i := range []int{1, 0} {
			if fds[i].Fd < 0 || fds[i].Revents == 0 {
				continue
			}
			n, err := pipes[i].Read(b)
			if err != nil {
				fds[i].Fd = -1 // the end
				continue
			}
			*keep[i] += string(b[:n])
			s.print(os.Stdout, s.style(styles[i], string(b[:n])))
			look()
		}
	}
	return nil
}

// say writes a paragraph of the demo's own.
func (s *show) say(format string, args ...any) {
	s.print(os.Stdout, "\n"+s.style("2", "# "+fmt.Sprintf(format, args...))+"\n")
}

// progress says, on a terminal, what is being waited for; the next thing that is written takes its place.
func (s *show) progress(what string) {
	if !s.terminal {
		return
	}
	s.print(os.Stdout, what+" ...")
	s.waiting = true
}

// print writes, in place of a line of progress.
func (s *show) print(w io.Writer, text string) {
	if s.waiting {
		text = "\r\x1b[K" + text
		s.waiting = false
	}
	io.WriteString(w, text)
}

// style dresses text up for a terminal: 1 bold, 2 faint, 31 red, 33 yellow.
func (s *show) style(code, text string) string {
	if !s.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// What follows makes show a lab.T.

// Helper does nothing here.
func (s *show) Helper() {}

// Cleanup does nothing: the world ends with the demo.
func (s *show) Cleanup(func()) {}

// Failed reports whether a command did not do what it should.
func (s *show) Failed() bool { return s.failures > 0 }

// Logf writes to standard error.
func (s *show) Logf(format string, args ...any) {
	s.print(os.Stderr, fmt.Sprintf("demo: "+format+"\n", args...))
}

// Errorf notes a failure.
func (s *show) Errorf(format string, args ...any) {
	s.failures++
	s.Logf(format, args...)
}

// Fatalf ends the demo.
func (s *show) Fatalf(format string, args ...any) {
	s.Logf(format, args...)
	os.Exit(1)
}
