package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// play is what the demo shows, in order.
func play(l *lab.Lab) []line {
	sneezy, doc := l.Machine("sneezy"), l.Machine("doc")
	all := []line{
		{on: "grumpy", text: "netman status", must: has("grumpy: up")},
		{note: "A command on another machine. Nobody told grumpy where that is.",
			on: "grumpy", text: "rx sneezy uname -n", must: says("sneezy\n")},
		{on: "doc", text: "rx 'grumpy!uname -n'", must: says("grumpy\n")},
		{note: "Input, output, error output and exit status are the command's own.",
			on: "grumpy", text: "echo through a circuit | rx sneezy tr a-z A-Z", must: says("THROUGH A CIRCUIT\n")},
		{on: "grumpy", text: "rx sneezy ls / | rx doc grep -x etc", must: says("etc\n")},
		{on: "grumpy", text: "rx sneezy 'exit 7'; echo $?", must: says("7\n")},
		{on: "grumpy", text: "rx sneezy 'echo out; echo err >&2' >/dev/null", must: complains("err\n")},
		{on: "grumpy", text: "rx sneezy rx doc uname -n", must: says("doc\n")},
		{on: "grumpy", text: "rx sneezy uname -n & rx doc uname -n & wait", must: has("sneezy\n", "doc\n")},
		{note: "Any filter is a service: cat.doc is /bin/cat.",
			on: "grumpy", text: "echo to and fro | netman nc cat.doc", must: says("to and fro\n")},
		{note: "64 MB there and back.",
			on: "grumpy", text: "head -c 64M /dev/urandom >big; md5sum <big; rx sneezy md5sum <big", must: twiceTheSame, elapsed: true},
		{on: "grumpy", text: "rx doc 'cat >copy' <big; rx doc cat copy | cmp - big && echo the same", must: says("the same\n"), elapsed: true},
		{note: "What is not there is known soon.",
			on: "grumpy", text: "rx nosuch true; echo $?", must: failsWithin(5 * time.Second / 2), elapsed: true},
		{note: "Whoever waits is told when the other machine, or the way to it, is gone. Here sneezy's netman is killed ...",
			on: "grumpy", text: "rx sneezy 'echo asleep; sleep 1000'; echo $?", when: "asleep\n",
			act: func() { sneezy.KillNetman(unix.SIGKILL) }, must: endsWithin(5 * time.Second), elapsed: true},
		{note: "... and here doc's cable is pulled out.",
			on: "grumpy", text: "rx doc 'echo asleep; sleep 1000'; echo $?", when: "asleep\n",
			act: doc.LinkDown, must: endsWithin(5 * time.Second), elapsed: true},
		{note: "Both come back.", before: func() { sneezy.Netman(); doc.LinkUp() },
			on: "grumpy", text: "rx sneezy uname -n; rx doc uname -n", must: says("sneezy\ndoc\n")},
		{on: "grumpy", text: "netman status", must: has("grumpy: up", "sneezy")},
	}
	if lab.FUSE() == nil {
		all = slices.Insert(all, 10, line{note: "And a circuit is a file.", on: "grumpy",
			text: "exec 3<>" + lab.Netphys + "/plain/cat.doc; echo as a file >&3; read -r line <&3; echo $line", must: says("as a file\n")})
	}
	return all
}

// says asks for this output, no error output, and success.
func says(want string) func(outcome) error {
	return func(r outcome) error {
		if r.stdout != want || r.stderr != "" || r.status != 0 {
			return fmt.Errorf("it should say %q and nothing else, with status 0 (which is %d)", want, r.status)
		}
		return nil
	}
}

// has asks for these pieces of output, and success.
func has(want ...string) func(outcome) error {
	return func(r outcome) error {
		for _, w := range want {
			if !strings.Contains(r.stdout, w) {
				return fmt.Errorf("it should say %q", w)
			}
		}
		if r.status != 0 {
			return fmt.Errorf("its status should be 0, and is %d", r.status)
		}
		return nil
	}
}

// complains asks for this error output and no output.
func complains(want string) func(outcome) error {
	return func(r outcome) error {
		if r.stderr != want || r.stdout != "" || r.status != 0 {
			return fmt.Errorf("its error output should be %q, its output nothing, its status 0 (which is %d)", want, r.status)
		}
		return nil
	}
}

// twiceTheSame asks for two lines that are the same.
func twiceTheSame(r outcome) error {
	if lines := strings.Split(r.stdout, "\n"); len(lines) != 3 || lines[0] == "" || lines[0] != lines[1] || r.stderr != "" {
		return fmt.Errorf("it should say one line, twice")
	}
	return nil
}

// failed asks for rx's own status, and a reason.
func failed(r outcome) error {
	if !strings.HasSuffix(r.stdout, "255\n") || !strings.HasPrefix(r.stderr, "rx: ") {
		return fmt.Errorf("rx should say why (rx: ...), and its status should be 255")
	}
	return nil
}

// failsWithin asks rx to fail, and soon.
func failsWithin(soon time.Duration) func(outcome) error {
	return func(r outcome) error {
		if r.took > soon {
			return fmt.Errorf("it took %v; %v would be long", r.took, soon)
		}
		return failed(r)
	}
}

// endsWithin asks rx to end, and soon, a command that had begun.
func endsWithin(soon time.Duration) func(outcome) error {
	return func(r outcome) error {
		if !strings.HasPrefix(r.stdout, "asleep\n") {
			return fmt.Errorf("it should have begun")
		}
		return failsWithin(soon)(r)
	}
}
