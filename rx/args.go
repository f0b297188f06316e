package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"dnet/circuit"
	"dnet/session"
)

const usage = `usage: rx [OPTION...] [USER@]MACHINE COMMAND [ARGUMENT...]
       rx [OPTION...] [USER@]MACHINE! COMMAND [ARGUMENT...]
       rx [OPTION...] '[USER@]MACHINE!COMMAND [ARGUMENT...]'
       rx [OPTION...] MACHINE,MACHINE... COMMAND [ARGUMENT...]
       rx [OPTION...] 'PATTERN' COMMAND [ARGUMENT...]
       rx [OPTION...] -a COMMAND [ARGUMENT...]

Runs COMMAND on MACHINE, with this standard input, output and error output,
and ends with its exit status. The arguments are joined with spaces and given
to the login shell there. With several machines (a list, a pattern such as
'web*', or -a for all that netman knows) the command has no input, each line of
output begins with its machine's name, and the worst exit status is rx's.

  -l USER    the user to run as, the same as USER@MACHINE
  -n         no input: the command reads end of file at once
  -t         give the command a terminal, if standard input is one; -tt: in any
             case; -T: never. Without them programs such as vi and top get one
  -e CHAR    the escape character of a terminal, ~, or none
  -a         all machines
  -P NUMBER  run on so many machines at once (16)
  --json     print a JSON object for each line of output and each machine
  -s NAME    run a subsystem instead of a command: sftp
  -V, --version, --help

The options of ssh are understood where they mean nothing here, and refused
where leaving them out would do other than asked; see rx(1).
In bash and zsh, "!" needs a space after it, or single quotes.
rx's own failures have exit status 255 and a message "rx: ...".
netman starts rx -B as the server.
`

// request is what the command line asks for.
type request struct {
	user      string   // "": whomever the server serves as
	machines  []string // as written: names, patterns; none with all
	command   string
	subsystem string   // instead of a command
	variables []string // for the command, besides those of the environment
	noInput   bool
	terminal  terminal
	escape    byte // 0: none
	all       bool // -a
	parallel  int  // -P
	json      bool
	serve     bool   // -B
	print     string // --help, --version: this and nothing else

	withSubsystem bool // -s: what follows the machine is no command
}

// terminal is whether the command gets one.
type terminal int

const (
	ifNeeded    terminal = iota // programs that are known to need one get it
	never                       // -T
	ifHere                      // -t
	inAnyCase                   // -tt
	maxParallel = 256
)

// parseArgs reads the command line. Options end at the machine's name: what follows is the command's.
func parseArgs(args []string) (request, error) {
	r := request{escape: '~', parallel: 16}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && r.print == "" {
		option := args[0]
		args = args[1:]
		if option == "--" {
			break
		}
		var err error
		if strings.HasPrefix(option, "--") {
			err = r.long(option)
		} else {
			args, err = r.short(option, args)
		}
		if err != nil {
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
	}
	return r, r.operands(args)
}

func (r *request) long(option string) error {
	switch option {
	case "--help":
		r.print = usage
	case "--version":
		r.print = "rx of dnet " + circuit.Version + "\n"
	case "--json":
		r.json = true
	default:
		return fmt.Errorf("%s: no such option (rx --help)", option)
	}
	return nil
}

// withValue are the short options that take a value: those of rx and those of ssh.
const withValue = "leP" + "bcDEFIiJLmOopQRSWw"

// short takes the options of one argument, such as -n, -tt, -lalice or -l alice, and returns what is left.
func (r *request) short(letters string, args []string) ([]string, error) {
	for i := 1; i < len(letters); i++ {
		name := letters[i : i+1]
		if !strings.Contains(withValue, name) {
			if err := r.flag(name); err != nil {
				return nil, err
			}
			continue
		}
		value := letters[i+1:]
		if value == "" && len(args) == 0 {
			return nil, fmt.Errorf("-%s: it needs a value (rx --help)", name)
		} else if value == "" {
			value, args = args[0], args[1:]
		}
		return args, r.value(name, value)
	}
	return args, nil
}

// flag takes an option without a value.
func (r *request) flag(name string) error {
	switch name {
	case "n":
		r.noInput = true
	case "t":
		if r.terminal == ifHere || r.terminal == inAnyCase {
			r.terminal = inAnyCase
		} else {
			r.terminal = ifHere
		}
	case "T":
		r.terminal = never
	case "a":
		r.all = true
	case "s":
		r.withSubsystem = true
	case "B":
		r.serve = true
	case "V":
		return r.long("--version")
	default:
		return sshFlag(name)
	}
	return nil
}

// value takes an option with its value.
func (r *request) value(name, value string) error {
	switch name {
	case "l":
		return session.ParseUser(&r.user, value)
	case "e":
		char, ok := session.ParseEscape(value)
		if !ok {
			return fmt.Errorf("-e %s: it is a character, ^ and a letter, or none", value)
		}
		r.escape = char
	case "P":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxParallel {
			return fmt.Errorf("-P %s: it is a number within 1 and %d", value, maxParallel)
		}
		r.parallel = n
	case "o":
		return r.sshOption(value)
	default:
		return sshValue(name, value)
	}
	return nil
}

// operands takes the machines and the command.
func (r *request) operands(args []string) error {
	where := "all machines"
	if !r.all {
		if len(args) == 0 {
			return errors.New("no machine (rx --help)")
		}
		if args[0] == "-" {
			return errors.New("-: not the name of a machine (rx --help)")
		}
		machine, first, bang := strings.Cut(args[0], "!")
		args = args[1:]
		if bang && first != "" {
			args = append([]string{first}, args...)
		}
		if i := strings.LastIndexByte(machine, '@'); i >= 0 {
			if err := session.ParseUser(&r.user, machine[:i]); err != nil {
				return err
			}
			machine = machine[i+1:]
		}
		if machine == "" && !bang {
			return errors.New("the machine's name is empty (rx --help)")
		}
		if machine == "" {
			return errors.New("no machine before the ! (rx --help)")
		}
		where = machine
		if err := r.setMachines(machine); err != nil {
			return err
		}
	}
	r.command = strings.Join(args, " ")
	switch {
	case strings.TrimSpace(r.command) == "":
		return fmt.Errorf("%s: no command; to log in there: ncu %s", where, where)
	case r.withSubsystem:
		r.command, r.subsystem = "", r.command
	}
	if r.fanOut() && (r.subsystem != "" || r.terminal == ifHere || r.terminal == inAnyCase) {
		return errors.New("a subsystem and a terminal are for one machine")
	}
	return nil
}

// setMachines takes a name, a pattern, or a list of them.
func (r *request) setMachines(list string) error {
	for m := range strings.SplitSeq(list, ",") {
		if m == "" {
			return fmt.Errorf("%s: an empty name in the list", list)
		}
		if _, err := path.Match(m, ""); err != nil {
			return fmt.Errorf("%s: not a pattern", m)
		}
		if !slices.Contains(r.machines, m) {
			r.machines = append(r.machines, m)
		}
	}
	return nil
}

// fanOut tells whether the output is that of several machines.
func (r *request) fanOut() bool {
	return r.all || r.json || len(r.machines) != 1 || isPattern(r.machines[0])
}

func isPattern(machine string) bool { return strings.ContainsAny(machine, `*?[\`) }

// screens are programs that nobody runs without a terminal.
const screens = `
	aptitude alsamixer btop cfdisk dialog emacs fzf htop iotop joe less lynx man mc micro more most mutt nano ncdu
	nmtui nnn nvim passwd pico ranger screen su tig tmux top vi view vigr vim vimdiff vipw visudo watch whiptail`

// wantsTerminal tells whether the command is to have a terminal.
func (r *request) wantsTerminal() bool {
	here := session.IsTerminal(os.Stdin)
	switch r.terminal {
	case inAnyCase:
		return true
	case ifHere:
		if !here {
			say("standard input is no terminal, so the command gets none either; -tt gives it one")
		}
		return here
	case ifNeeded:
		first, _, _ := strings.Cut(strings.TrimSpace(r.command), " ")
		return here && !r.noInput && session.IsTerminal(os.Stdout) && isWord(path.Base(first), screens)
	}
	return false
}
