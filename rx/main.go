// Rx runs a command on another machine of the network: rx MACHINE COMMAND….
//
// The client (client.go) calls the service rx.MACHINE; its netman starts `rx -B` (serve.go) there. What
// the two say to each other is in proto.go and, octet by octet, in protocol.md 6.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

// exitFailure is the exit status of all failures of rx itself, as of ssh.
const exitFailure = 255

const usage = `usage: rx [-n] MACHINE COMMAND [ARGUMENT...]
       rx [-n] MACHINE! COMMAND [ARGUMENT...]
       rx [-n] 'MACHINE!COMMAND [ARGUMENT...]'

Runs COMMAND on MACHINE, with this standard input, output and error output,
and ends with its exit status. The arguments are joined with spaces and given
to the login shell there.

  -n         no input: the command reads end of file at once
  --help     this text
  --version  the version

In bash and zsh, "!" needs a space after it, or single quotes.
rx's own failures have exit status 255 and a message "rx: ...".
netman starts rx -B as the server.
`

// request is what the command line asks for.
type request struct {
	machine string
	command string
	noInput bool
	serve   bool   // -B
	print   string // --help, --version: this and nothing else
}

// parseArgs reads the command line. Options end at the machine's name: what follows is the command's.
func parseArgs(args []string) (r request, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option := args[0]
		args = args[1:]
		if option == "--" {
			break
		}
		switch option {
		case "-n":
			r.noInput = true
		case "-B":
			r.serve = true
		case "--help":
			return request{print: usage}, nil
		case "--version":
			return request{print: "rx of dnet " + version() + "\n"}, nil
		default:
			return r, fmt.Errorf("%s: no such option (rx --help)", option)
		}
	}
	if r.serve {
		if len(args) > 0 {
			return r, fmt.Errorf("%s: -B takes no arguments; netman gives it the circuit", args[0])
		}
		return r, nil
	}
	if len(args) == 0 {
		return r, errors.New("no machine (rx --help)")
	}
	machine, first, bang := strings.Cut(args[0], "!")
	args = args[1:]
	if bang && first != "" {
		args = append([]string{first}, args...)
	}
	r.machine, r.command = machine, strings.Join(args, " ")
	switch {
	case machine == "":
		return r, errors.New("no machine before the ! (rx --help)")
	case strings.TrimSpace(r.command) == "":
		return r, fmt.Errorf("%s: no command (rx --help)", machine)
	}
	return r, nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// say prints one message, "rx: what: why".
func say(parts ...any) {
	text := "rx"
	for _, p := range parts {
		text += ": " + fmt.Sprint(p)
	}
	fmt.Fprintln(os.Stderr, text)
}

func run() int {
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
		return serve()
	}
	return call(r)
}

func main() { os.Exit(run()) }
