package circuit

import (
	"fmt"
	"syscall"

	"dnet/x25"
)

// Cause and Diag are the two reason octets of X.25, with the names and constants of package x25.
type (
	Cause = x25.Cause
	Diag  = x25.Diag
)

// Cleared says how a circuit ended, or why none came to be. Every call of a circuit that was cleared
// returns one; errors.As finds it, and errors.Is(err, syscall.ENOENT) and so on match its Errno.
type Cleared struct {
	Cause Cause
	Diag  Diag
	Text  string // what the one who cleared it adds; often empty

	reset   bool // the circuit was reset, which ends it too
	refused bool // it is the answer to a call, so that 00 00 is not an ordinary end
}

// reasons is the table of protocol.md 4. A row with diag -1 is for every other diagnostic.
var reasons = []struct {
	cause Cause
	diag  int
	errno syscall.Errno
	text  string
}{
	{x25.CauseNotObtainable, -1, syscall.ENOENT, "no such service or machine"},
	{x25.CauseBusy, -1, syscall.EBUSY, "busy"},
	{x25.CauseBarred, -1, syscall.EACCES, "not allowed"},
	{x25.CauseOutOfOrder, -1, syscall.EHOSTDOWN, "the machine, the link to it or a netman is gone"},
	{x25.CauseCongestion, -1, syscall.ENOBUFS, "out of memory, descriptors or channels"},
	{x25.CauseIncompatible, -1, syscall.EPROTO, "no common version or mode"},
	{x25.CauseRemoteProcedure, -1, syscall.EPROTO, "protocol error of the far machine"},
	{x25.CauseLocalProcedure, -1, syscall.EPROTO, "protocol error of this machine"},
	{x25.CauseDTE, 0, syscall.EPIPE, "the other end closed the circuit"},
	{x25.CauseDTE, int(x25.DiagProgramDied), syscall.ECONNRESET, "the program at the other end died"},
	{x25.CauseDTE, int(x25.DiagUndelivered), syscall.ECONNRESET, "undelivered: the other end took nothing any more"},
	{x25.CauseDTE, -1, syscall.ECONNREFUSED, "refused"},
}

// netmanGone is how circuits and calls end that their netman has left without a word.
func netmanGone() *Cleared { return &Cleared{Cause: x25.CauseOutOfOrder, Text: "netman is gone"} }

// closed tells an ordinary end, which a reader sees as io.EOF.
func (e *Cleared) closed() bool {
	return !e.reset && !e.refused && e.fromDTE() && e.Diag == 0
}

// fromDTE tells that the other end cleared: cause 00, or 80 and above (ISO 8208).
func (e *Cleared) fromDTE() bool { return e.Cause == x25.CauseDTE || e.Cause >= 0x80 }

// Errno is the error number that says the same: EPIPE for the ordinary end.
func (e *Cleared) Errno() syscall.Errno {
	errno, _ := e.reason()
	return errno
}

// reason finds the row of the table.
func (e *Cleared) reason() (syscall.Errno, string) {
	if e.reset {
		return syscall.ECONNRESET, "the circuit was reset"
	}
	if e.refused && e.fromDTE() && e.Diag == 0 {
		return syscall.ECONNREFUSED, "refused"
	}
	for _, r := range reasons {
		if (r.cause == e.Cause || r.cause == x25.CauseDTE && e.fromDTE()) && (r.diag < 0 || r.diag == int(e.Diag)) {
			return r.errno, r.text
		}
	}
	return syscall.EPROTO, fmt.Sprintf("cleared: %v", e.Cause)
}

// Error is the reason in words, the text that came with it, and a diagnostic that says more.
func (e *Cleared) Error() string {
	_, s := e.reason()
	if e.Text != "" {
		return s + ": " + e.Text
	}
	if e.Diag != 0 && e.Diag != x25.DiagProgramDied && e.Diag != x25.DiagUndelivered {
		s += fmt.Sprintf(" (%v)", e.Diag)
	}
	return s
}

// Is matches the errno of the table.
func (e *Cleared) Is(target error) bool {
	errno, ok := target.(syscall.Errno)
	return ok && errno == e.Errno()
}

// parseCleared reads `cleared`, `error` and `reset` lines: CC DD [text].
func parseCleared(l Line) (*Cleared, error) {
	cause, err := l.Octet(0)
	if err != nil {
		return nil, err
	}
	diag, err := l.Octet(1)
	if err != nil {
		return nil, err
	}
	return &Cleared{Cause: Cause(cause), Diag: Diag(diag), Text: l.Text(2), reset: l.Verb == "reset"}, nil
}
