// Ncu logs in on another machine of the network: ncu MACHINE.
//
// The client (client.go) calls the service ncu.MACHINE; its netman starts `ncu -B` (serve.go) there, which holds the
// session (holder.go), also for a while when the circuit is lost (kept.go, tokens.go). What the two say to each other
// is in proto.go, how nothing of it gets lost in stream.go and, octet by octet, in protocol.md 7.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"dnet/circuit"
	"dnet/session"
)

// exitFailure is the exit status of all failures of ncu itself, as of ssh.
const exitFailure = 255

const usage = `usage: ncu [-e CHAR] [-l USER] [USER@]MACHINE
       ncu [-e CHAR] -r MACHINE

Logs in on MACHINE, on a terminal of its own there, and ends with the exit
status of the shell. A session whose link is lost is kept for a while and taken
up again when the machine is back.

  -l USER    the user to be, the same as USER@MACHINE
  -r         take up the latest session there that was lost or left
  -e CHAR    the escape character, ~, or none
  -V, --version, --help

Escapes, at the beginning of a line: ~. ends the connection, ~^Z stops ncu,
~? shows them, ~~ sends ~. To run one command: rx MACHINE COMMAND.
ncu's own failures have exit status 255 and a message "ncu: ...".

netman starts ncu -B as the server, with these options from servtab.toml:
  --keep TIME    how long a lost session is kept, such as 10m (the default); 0
  --allow-open   let login ask for a password though links are not sealed
`

// request is what the command line asks for.
type request struct {
	machine string
	user    string
	again   bool // -r
	escape  byte // 0: none
	print   string

	serve     bool // -B
	keep      time.Duration
	allowOpen bool
}

// keepDefault is how long a lost session is kept, maxKeep how long it may be.
const (
	keepDefault = 10 * time.Minute
	maxKeep     = 7 * 24 * time.Hour
)

// parseArgs reads the command line.
func parseArgs(args []string) (request, error) {
	r := request{escape: '~', keep: keepDefault}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && r.print == "" {
		option := args[0]
		args = args[1:]
		if option == "--" {
			break
		}
		var err error
		if args, err = r.option(option, args); err != nil {
			return r, err
		}
	}
	switch {
	case r.print != "":
		return r, nil
	case r.serve && len(args) > 0:
		return r, fmt.Errorf("%s: -B takes no arguments; netman gives it the circuit", args[0])
	case r.serve:
		return r, nil
	case len(args) == 0:
		return r, errors.New("no machine (ncu --help)")
	case len(args) > 1:
		return r, fmt.Errorf("%s: ncu runs no command; rx %s does", args[1], strings.Join(args, " "))
	}
	r.machine = args[0]
	if i := strings.LastIndexByte(r.machine, '@'); i >= 0 {
		if err := session.ParseUser(&r.user, r.machine[:i]); err != nil {
			return r, err
		}
		r.machine = r.machine[i+1:]
	}
	r.machine = strings.ToLower(r.machine) // as netman has it, so that -r finds it again
	if r.machine == "" {
		return r, errors.New("no machine after the @ (ncu --help)")
	}
	if r.again && r.user != "" {
		return r, errors.New("-r takes up a session whose user is known: it goes without one")
	}
	return r, nil
}

// option takes one option, and its value from the other arguments.
func (r *request) option(option string, args []string) ([]string, error) {
	switch option {
	case "-r":
		r.again = true
		return args, nil
	case "-B":
		r.serve = true
		return args, nil
	case "--allow-open":
		r.allowOpen = true
		return args, nil
	case "--help":
		r.print = usage
		return args, nil
	case "-V", "--version":
		r.print = "ncu of dnet " + circuit.Version + "\n"
		return args, nil
	}
	name, value := option[:2], option[2:]
	if option == "--keep" {
		name, value = option, ""
	}
	if name != "-l" && name != "-e" && name != "--keep" {
		return nil, fmt.Errorf("%s: no such option (ncu --help)", option)
	}
	if value == "" && len(args) == 0 {
		return nil, fmt.Errorf("%s: it needs a value (ncu --help)", option)
	} else if value == "" {
		value, args = args[0], args[1:]
	}
	return args, r.value(name, value)
}

func (r *request) value(name, value string) error {
	switch name {
	case "-l":
		return session.ParseUser(&r.user, value)
	case "-e":
		char, ok := session.ParseEscape(value)
		if !ok {
			return fmt.Errorf("-e %s: it is a character, ^ and a letter, or none", value)
		}
		r.escape = char
	case "--keep":
		d, err := time.ParseDuration(value)
		if value == "0" {
			d, err = 0, nil
		}
		if err != nil || d < 0 || d > maxKeep || d%time.Second != 0 {
			return fmt.Errorf("--keep %s: it is a time in whole seconds of at most %v, such as 10m, or 0", value, maxKeep)
		}
		r.keep = d
	}
	return nil
}

// say prints one message, "ncu: what: why".
func say(parts ...any) {
	text := "ncu"
	for _, p := range parts {
		text += ": " + fmt.Sprint(p)
	}
	os.Stderr.WriteString(text + "\n")
}

func execute() int {
	r, err := parseArgs(os.Args[1:])
	switch {
	case err != nil:
		say(err)
		return exitFailure
	case r.print != "":
		if _, err := os.Stdout.WriteString(r.print); err != nil {
			say("standard output", err)
			return exitFailure
		}
		return 0
	case r.serve:
		return serve(r)
	}
	runtime.UnlockOSThread()
	return call(r)
}

// The first thread is the one that netman's death is signalled to (PR_SET_PDEATHSIG), until holder.hold says otherwise.
func init() { runtime.LockOSThread() }

func main() { os.Exit(execute()) }
