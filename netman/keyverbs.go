package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
)

// identityCommand shows this machine's name and key.
func identityCommand(opt *options) *cobra.Command {
	return keyVerb(opt, "identity", "show the key of this machine, as another one's `netman trust add` takes it")
}

// trustCommand is the verbs that say which machines are known, and by which keys.
func trustCommand(opt *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "trust", Short: "the machines that are known, and their keys", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("trust: say what: list, accept, add, forget or replace")
		},
	}
	list := keyVerb(opt, "pins", "show the machines that are known, their keys, and whether they are accepted")
	list.Use = "list"
	cmd.AddCommand(list,
		trustVerb(opt, "accept MACHINE [KEY]", "accept the key that a machine is known by: trust rules match it from then on", 1, 2),
		trustVerb(opt, "add MACHINE KEY", "make a machine known, and accept it", 2, 2),
		trustVerb(opt, "forget MACHINE", "forget a machine: it is met as a new one", 1, 1),
		trustVerb(opt, "replace MACHINE [KEY]", "after a machine was installed anew: know it by a key, or by the one that it came with last", 1, 2))
	return cmd
}

// trustVerb is a verb that changes what is known of a machine.
func trustVerb(opt *options, use, short string, least, most int) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.RangeArgs(least, most),
		RunE: func(cmd *cobra.Command, args []string) error {
			line := circuit.Line{Verb: "trust", Words: []string{cmd.Name(), args[0]}}
			if len(args) > 1 {
				line.Keys = []circuit.Key{{Key: "key", Value: args[1]}}
			}
			says, err := askOnce(trustDoor(opt.door), line)
			if err != nil {
				return fmt.Errorf("trust %s: %w", cmd.Name(), err)
			}
			fmt.Println(says)
			return nil
		},
	}
}

// askOnce says a line at the door and gives the text of the answer.
func askOnce(door string, line circuit.Line) (says string, err error) {
	fd, err := visit(door, line)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(fd, buf)
	circuit.CloseFds(fds)
	if err != nil {
		return "", fmt.Errorf("%s: %w", door, err)
	}
	answer, err := circuit.ParseLine(buf[:n])
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", door, err)
	case answer.Verb != "ok":
		return "", errors.New(answer.Text(0))
	}
	return answer.Text(0), nil
}
