package session

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// KillDelay is what a session whose circuit has gone has between SIGHUP and SIGKILL.
const KillDelay = time.Second

// Terminal is what a session's terminal is to be at first.
type Terminal struct {
	Size  Size
	Modes []byte // as AppendModes writes them; what they do not name stays as a new terminal has it
}

// Command is a program to be started.
type Command struct {
	Path string
	Args []string
	Env  []string
	Dir  string
}

// Process is a program in a session and process group of its own, with this server's ends of its
// descriptors. Either it has three pipes or a terminal, which is all three.
type Process struct {
	Stdin, Stdout, Stderr *os.File      // pipes
	Terminal              *os.File      // or the master of the terminal
	Line                  string        // its name, "pts/3"; "" without terminal
	Exited                chan struct{} // closed when the program has exited; it is waited for by Status

	drained int        // octets that ReadTerminal has read after its time
	ending  sync.Mutex // held while End is at work: the program keeps its number until then
	mu      sync.Mutex // guards the process group: it is not signalled once its number is given back
	process *os.Process
	reaped  bool
	ended   bool
}

// Start starts a program on pipes, on a terminal if one is given. The kernel sends it SIGHUP when this process goes.
func Start(c Command, t *Terminal) (*Process, error) {
	p := &Process{Exited: make(chan struct{})}
	attr := &os.ProcAttr{Dir: c.Dir, Env: c.Env, Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGHUP}}
	open := p.pipes
	if t != nil {
		open = func() ([]*os.File, error) { return p.openTerminal(t) }
		attr.Sys.Setctty = true // descriptor 0
	}
	theirs, err := open()
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if err == nil {
		attr.Files = theirs
		if t != nil {
			attr.Files = []*os.File{theirs[0], theirs[0], theirs[0]}
		}
		err = p.run(c, attr)
	}
	if err != nil {
		p.closeOurs()
		return nil, err
	}
	if t != nil {
		go p.drainWhenExited()
	}
	return p, nil
}

func (p *Process) closeOurs() {
	for _, f := range []*os.File{p.Stdin, p.Stdout, p.Stderr, p.Terminal} {
		if f != nil {
			f.Close()
		}
	}
}

// pipes makes the three, and returns the program's ends.
func (p *Process) pipes() (theirs []*os.File, err error) {
	for i, ours := range []**os.File{&p.Stdin, &p.Stdout, &p.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		if i == 0 {
			r, w = w, r
		}
		*ours, theirs = r, append(theirs, w)
	}
	return theirs, nil
}

// openTerminal makes a terminal, and returns the program's end.
func (p *Process) openTerminal(t *Terminal) (theirs []*os.File, err error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer master.Close()
	theirs = []*os.File{slave}
	modes, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		err = ApplyModes(modes, t.Modes)
	}
	if err == nil {
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, modes)
	}
	if err != nil {
		return theirs, err
	}
	// A descriptor for the poller, so that a read can be ended.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return theirs, err
	}
	unix.SetNonblock(fd, true)
	p.Terminal = os.NewFile(uintptr(fd), slave.Name())
	p.Line = strings.TrimPrefix(slave.Name(), "/dev/")
	p.Resize(t.Size)
	return theirs, nil
}

// Resize sets the size of the terminal; the program gets SIGWINCH.
func (p *Process) Resize(s Size) {
	p.control(func(fd int) {
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols, Xpixel: s.X, Ypixel: s.Y})
	})
}

// control calls f with the terminal's descriptor, if there is one.
func (p *Process) control(f func(fd int)) {
	if p.Terminal == nil {
		return
	}
	if raw, err := p.Terminal.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// run starts the program on a thread that stays: Pdeathsig is the death of the thread.
func (p *Process) run(c Command, attr *os.ProcAttr) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		process, err := os.StartProcess(c.Path, c.Args, attr)
		p.process = process
		started <- err
		if err == nil {
			for unix.Waitid(unix.P_PID, process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			}
			close(p.Exited)
		}
		select {}
	}()
	return <-started
}

// EndOfInput tells the program that no more input comes: on a terminal that is the character for it, twice
// when a line is unfinished.
func (p *Process) EndOfInput(unfinished bool) {
	if p.Terminal == nil {
		p.Stdin.Close()
		return
	}
	var end []byte
	p.control(func(fd int) {
		modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || modes.Lflag&unix.ICANON == 0 || modes.Cc[unix.VEOF] == 0 {
			return
		}
		end = append(end, modes.Cc[unix.VEOF])
		if unfinished {
			end = append(end, modes.Cc[unix.VEOF])
		}
	})
	p.Terminal.Write(end)
}

// Signal signals the program's process group, and the one in the foreground of its terminal. False: there is
// no such group any more.
func (p *Process) Signal(number syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	own := p.process.Pid
	p.control(func(fd int) {
		if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group > 1 && group != own {
			unix.Kill(-group, number)
		}
	})
	return unix.Kill(-own, number) == nil
}

// Pid is the number of the program, and of its session and process group.
func (p *Process) Pid() int { return p.process.Pid }

// Status waits for the program: its exit status; 128+n and the name of the signal when signal n killed it.
func (p *Process) Status() (status byte, name string) {
	p.ending.Lock()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	p.ending.Unlock()
	state, err := p.process.Wait()
	if err != nil {
		return 255, ""
	}
	w := state.Sys().(syscall.WaitStatus)
	if w.Signaled() {
		return byte(128 + w.Signal()), strings.TrimPrefix(unix.SignalName(w.Signal()), "SIG")
	}
	return byte(w.ExitStatus()), ""
}

// End ends all processes of the session: SIGHUP, and SIGKILL for those that are still there a moment
// later. False: the program had ended by itself.
func (p *Process) End() bool {
	p.ending.Lock()
	defer p.ending.Unlock()
	if !p.signalSession(unix.SIGHUP) {
		return false
	}
	p.ended = true
	p.signalSession(unix.SIGCONT) // a stopped process does not notice otherwise
	time.Sleep(KillDelay)
	p.signalSession(unix.SIGKILL)
	return true
}

// Ended tells whether End has ended the program. Status waits for that to be known.
func (p *Process) Ended() bool {
	p.ending.Lock()
	defer p.ending.Unlock()
	return p.ended
}

// signalSession signals the program's process group and all others of its session.
func (p *Process) signalSession(number syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return false
	}
	there := unix.Kill(-p.process.Pid, number) == nil
	for _, pid := range members(p.process.Pid) {
		unix.Kill(pid, number)
	}
	return there
}

// members are the processes of a session outside the process group of its leader: those that a shell runs
// for somebody at a terminal.
func members(session int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	own := strconv.Itoa(session)
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp session: the name may have spaces and parentheses
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) < 4 || f[3] != own || f[2] == own {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// drainTime is how long the output of a terminal may take to come when its program has exited, and drainLimit how much
// of it is read after that: more than a terminal holds. Others may have the terminal for ever.
const (
	drainTime  = 200 * time.Millisecond
	drainLimit = 128 << 10
)

// drainWhenExited ends the wait for output a moment after the program has exited.
func (p *Process) drainWhenExited() {
	<-p.Exited
	p.Terminal.SetReadDeadline(time.Now().Add(drainTime))
}

// ReadTerminal reads output of the terminal, at least one octet; io.EOF when nobody has it open any more, or a moment
// after the program has exited. One goroutine may call it.
func (p *Process) ReadTerminal(b []byte) (n int, err error) {
	n, err = p.Terminal.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && p.drained < drainLimit {
		// What was there before the reader came back from its own waits.
		p.control(func(fd int) { n, _ = unix.Read(fd, b) })
		p.drained += max(n, 0)
	}
	if n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

// Redraw has the program in the foreground of the terminal paint its screen again, if it is one that does.
func (p *Process) Redraw() {
	p.control(func(fd int) {
		if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group > 1 {
			unix.Kill(-group, unix.SIGWINCH)
		}
	})
}
