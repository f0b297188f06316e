package lab

import (
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal is the state of standard input as it was found: a shell that runs in a machine takes the terminal, and cannot give it
// back to a process group outside its pid namespace.
type terminal struct {
	modes *unix.Termios // nil: not a terminal, or not ours
}

func saveTerminal() terminal {
	modes, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return terminal{}
	}
	if owner, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil || owner != unix.Getpgrp() {
		return terminal{}
	}
	return terminal{modes}
}

func (tty terminal) restore() {
	if tty.modes == nil {
		return
	}
	signal.Ignore(unix.SIGTTOU) // sent to those who set a terminal in the background, as this process may be now
	unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
	unix.IoctlSetTermios(0, unix.TCSETS, tty.modes)
}
