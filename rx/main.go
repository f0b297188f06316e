// Rx runs a command on another machine of the network: rx MACHINE COMMAND….
//
// The client (client.go) calls the service rx.MACHINE; its netman starts `rx -B` (serve.go) there. What
// the two say to each other is in proto.go and, octet by octet, in protocol.md 6. The command line is read by
// args.go, and as programs that drive ssh write it by ssh.go; several machines at once are fanout.go's.
package main

import (
	"fmt"
	"os"
)

// exitFailure is the exit status of all failures of rx itself, as of ssh.
const exitFailure = 255

// say prints one message, "rx: what: why".
func say(parts ...any) {
	text := "rx"
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
		return serve()
	case r.fanOut():
		return callAll(r)
	}
	return call(r)
}

func main() { os.Exit(execute()) }
