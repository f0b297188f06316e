package session

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// Audit is what the log says of a session when it is over.
type Audit struct {
	Tool  string
	Peer  circuit.Peer // who, from where
	What  string       // the command
	Line  string       // of the terminal, "" for none
	Began time.Time
}

// Write writes the line to the log, netman's, with the end of the session in words.
func (a Audit) Write(how string) {
	// netman may have gone, and its log with it. The signal is caught, not ignored: programs would inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	os.Stderr.WriteString(a.line(time.Since(a.Began), how))
}

func (a Audit) line(took time.Duration, how string) string {
	what := fmt.Sprintf("%q", circuit.CutText(a.What))
	if a.Line != "" {
		what += " on " + a.Line
	}
	from := fmt.Sprintf("%s@%s", a.Peer.User, a.Peer.Machine)
	// The log has a line for each session, whatever the other end calls itself.
	from = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, from)
	return fmt.Sprintf("%s: session of %s as %s: %s: %.3f s: %s\n", a.Tool, from, os.Getenv("DNET_USER"), what, took.Seconds(), how)
}

// Ended says in words how a program ended.
func Ended(status byte, signal string) string {
	if signal != "" {
		return "killed by SIG" + signal
	}
	return fmt.Sprintf("exit status %d", status)
}
