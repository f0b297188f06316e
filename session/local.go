package session

import (
	"os"
	"os/signal"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Local is the terminal of whoever sits here.
type Local struct {
	in, out *os.File

	mu     sync.Mutex
	saved  unix.Termios // as it was found
	wanted bool         // raw modes are, as long as this process is in the foreground
	raw    bool         // they are set
	screen Screen
	shows  bool // out is a terminal too
}

// OpenLocal looks at standard input and output; nil when the input is no terminal.
func OpenLocal(in, out *os.File) *Local {
	modes, err := unix.IoctlGetTermios(fd(in), unix.TCGETS)
	if err != nil {
		return nil
	}
	return &Local{in: in, out: out, saved: *modes, shows: IsTerminal(out)}
}

// IsTerminal tells whether a file is one.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(fd(f), unix.TCGETS)
	return err == nil
}

// fd is the descriptor, without making the file blocking for the poller as File.Fd does.
func fd(f *os.File) (n int) {
	n = -1
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// Terminal is what the far side's should be like.
func (l *Local) Terminal() *Terminal {
	return &Terminal{Size: l.Size(), Modes: AppendModes(nil, &l.saved)}
}

// Size is the terminal's size now; zeros when it has none.
func (l *Local) Size() Size {
	w, err := unix.IoctlGetWinsize(fd(l.in), unix.TIOCGWINSZ)
	if err != nil {
		return Size{}
	}
	return Size{Rows: w.Row, Cols: w.Col, X: w.Xpixel, Y: w.Ypixel}
}

// Raw passes every key on.
func (l *Local) Raw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = true
	l.makeRaw()
}

func (l *Local) makeRaw() {
	t := l.saved
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	l.raw = unix.IoctlSetTermios(fd(l.in), unix.TCSETS, &t) == nil
}

// Restore gives the terminal the modes that it was found with. It may be called at any time, and twice.
func (l *Local) Restore() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	l.restore()
}

func (l *Local) restore() {
	if l.raw {
		unix.IoctlSetTermios(fd(l.in), unix.TCSETS, &l.saved)
		l.raw = false
	}
}

// Note reads along what is written to the terminal.
func (l *Local) Note(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.screen.Note(p)
}

// PutRight restores the modes and ends what the far program, cut off, has left in the terminal.
func (l *Local) PutRight() {
	if l == nil {
		return
	}
	l.mu.Lock()
	b := l.screen.PutRight()
	l.mu.Unlock()
	if l.shows {
		l.out.Write(b)
	}
	l.Restore()
}

// Again is Raw after PutRight, for a program that goes on.
func (l *Local) Again() {
	l.Raw()
	l.mu.Lock()
	b := l.screen.Again()
	l.mu.Unlock()
	if l.shows {
		l.out.Write(b)
	}
}

// Watch follows the signals of a terminal as long as the process lives: resized is called when the size may have
// changed, and stopped keys are honoured with the terminal as it was found meanwhile.
func (l *Local) Watch(resized func(Size)) {
	// A program in the background may set its modes back.
	signal.Ignore(unix.SIGTTOU)
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	go func() {
		for s := range caught {
			switch s {
			case unix.SIGWINCH:
				resized(l.Size())
			case unix.SIGTSTP:
				l.Stop()
				resized(l.Size())
			case unix.SIGCONT: // after a stop that could not be caught
				l.mu.Lock()
				l.continued()
				l.mu.Unlock()
				resized(l.Size())
			}
		}
	}()
}

// Stop stops this process, as ^Z does, with the terminal as it was found.
func (l *Local) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restore()
	// To this thread, so that the next line is run by the one who continues us.
	runtime.LockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	runtime.UnlockOSThread()
	l.continued()
}

// continued makes the terminal raw again if it is to be, and if it is ours.
func (l *Local) continued() {
	if l.wanted && l.foreground() {
		l.makeRaw()
	}
}

func (l *Local) foreground() bool {
	group, err := unix.IoctlGetInt(fd(l.in), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
