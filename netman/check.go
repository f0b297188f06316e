package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/netman/trust"
)

// question is what check --who asks.
type question struct {
	who, as, authority string
	json               bool
}

// errNotAllowed is the answer no of check --who, which has been printed.
var errNotAllowed = errors.New("not allowed")

func checkCommand(opt *options) *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use: "check [--who USER@MACHINE SERVICE]", Short: "check servtab and say what it offers, or who a caller would be, without starting anything",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case q.who != "" && len(args) == 0:
				return errors.New("check: name the service that --who USER@MACHINE calls")
			case q.who == "" && (len(args) > 0 || q.as != "" || q.authority != "" || q.json):
				return errors.New("check: a service, --as, --authority and --json go with --who USER@MACHINE")
			}
			setup, err := prepare(*opt, cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			if q.who == "" {
				setup.print(opt.servtab)
				return nil
			}
			v, err := setup.judge(q, args[0])
			if err != nil {
				return fmt.Errorf("check: %w", err)
			}
			return v.print(os.Stdout, q.json)
		},
	}
	configFlag(cmd, opt)
	cmd.Flags().StringVar(&q.who, "who", "", "say whether this caller, `USER@MACHINE`, may call the service, as whom, and which rule says so")
	cmd.Flags().StringVar(&q.as, "as", "", "with --who: the local `USER` that the caller wants to be")
	cmd.Flags().StringVar(&q.authority, "authority", "", "with --who: suppose this `AUTHORITY` of the machine: none, accepted, secret (default: what it has now)")
	cmd.Flags().BoolVar(&q.json, "json", false, "with --who: print one JSON object")
	return cmd
}

// print says what servtab offers.
func (s *setup) print(servtab string) {
	if _, err := os.Stat(servtab); err != nil {
		fmt.Printf("no %s: machine %s offers nothing, and calls others\n", servtab, s.machine)
		return
	}
	fmt.Printf("%s: good: machine %s, %d services", servtab, s.machine, len(s.services))
	if n := len(s.trust.rules); n > 0 {
		fmt.Printf(", %d trust rules", n)
	}
	fmt.Println()
	for _, name := range sortedKeys(s.services) {
		s := s.services[name]
		fmt.Printf("  %-24s %s as %s, at most %d calls at once\n", name, strings.Join(s.argv, " "), s.runsAs(), s.max)
	}
}

// runsAs tells whom servers of the service run as.
func (s *program) runsAs() string {
	switch {
	case s.caller:
		return "the caller"
	case s.as.name == "":
		return "netman's own user"
	}
	return s.as.name
}

// verdict answers check --who. Its keys are stable (netman.8).
type verdict struct {
	Caller    string   `json:"caller"` // user@machine
	Service   string   `json:"service"`
	Authority string   `json:"authority"` // of the machine
	Allowed   bool     `json:"allowed"`
	User      string   `json:"user,omitempty"` // whom the server would run as
	Rule      string   `json:"rule,omitempty"` // what says so: file:line, local, servtab
	Why       []string `json:"why"`            // what was looked at
}

// judge goes the way of a call, by the files as they are now.
func (s *setup) judge(q question, service string) (*verdict, error) {
	call, err := s.call(q, service)
	if err != nil {
		return nil, err
	}
	v := &verdict{Caller: call.User + "@" + call.Machine, Service: call.Service, Authority: call.Authority.String()}
	offered := s.services[call.Service]
	if offered == nil {
		v.say("servtab has no service %s; the trust rules are asked all the same", call.Service)
	} else if by, ok := offered.allow.May(call, groupsFor(offered.allow, call)); !ok {
		v.say("allow = %v: no entry is for %s", offered.allow, v.Caller)
		return v, nil
	} else if by != "" {
		v.say("allow: yes: %q", by)
	}
	switch {
	case offered == nil || offered.caller:
		v.trust(s, q, call)
	case call.As != "" && call.As != offered.as.name:
		v.say("servtab runs %s as %s, whoever calls", call.Service, offered.runsAs())
	default:
		v.Allowed, v.User, v.Rule = true, offered.runsAs(), "servtab"
		v.say("servtab runs %s as %s, whoever calls", call.Service, offered.runsAs())
	}
	return v, nil
}

// call is the call that the question is about.
func (s *setup) call(q question, service string) (c trust.Call, err error) {
	user, machine, both := strings.Cut(q.who, "@")
	if !both || machine == "" {
		return c, fmt.Errorf("--who %s: it is USER@MACHINE", q.who)
	}
	c = trust.Call{User: user, Machine: names.FoldService(machine), Service: names.FoldService(service), As: q.as}
	if s.services[c.Service] == nil && s.services[c.Service+"."+s.machine] != nil {
		c.Service += "." + s.machine
	}
	if err = names.CheckUser(c.User); err == nil {
		err = names.CheckLabel(c.Machine)
	}
	if err != nil {
		return c, fmt.Errorf("--who: %w", err)
	}
	if err = names.CheckService(c.Service); err != nil {
		return c, err
	}
	if err = names.CheckUser(c.As); err != nil {
		return c, fmt.Errorf("--as: %w", err)
	}
	c.Authority = s.authority(c.Machine)
	if q.authority == "" {
		return c, nil
	}
	here := c.Authority == trust.Local
	if c.Authority, err = trust.ParseAuthority(q.authority); err != nil {
		return c, fmt.Errorf("--authority: %w", err)
	}
	if here != (c.Authority == trust.Local) {
		return c, fmt.Errorf("--authority: local is that of this machine, %s, and of no other", s.machine)
	}
	return c, nil
}

// authority is what a machine has now, by the files; see keeper.authority.
func (s *setup) authority(machine string) trust.Authority {
	accepted := func(pin seal.Pin) bool { return pin.Machine == machine && pin.Accepted }
	switch {
	case machine == s.machine:
		return trust.Local
	case s.sealing == nil:
	case s.sealing.config.Mode == seal.Secret:
		return trust.Secret
	case slices.ContainsFunc(s.sealing.config.Pins, accepted):
		return trust.Accepted
	}
	return trust.None
}

// trust asks the rules, and then the file of the user who is meant.
func (v *verdict) trust(s *setup, q question, call trust.Call) {
	d := trust.Explain(s.trust.rules, call)
	switch {
	case d.Owner != "" && !s.trust.files:
		d.Why = append(d.Why, "trust_files = false: the file of "+d.Owner+" is not asked")
	case d.Owner != "":
		d = trust.DecideFile(d, new(trustFiles).read(d.Owner), call)
	}
	v.Why = append(v.Why, d.Why...)
	switch {
	case call.Authority != trust.None || q.authority != "":
	case s.sealing == nil:
		v.say("in mode open no other machine has authority; --authority accepted says what would hold if it had")
	default:
		v.say("%s has no authority until it is accepted: netman trust accept %s", call.Machine, call.Machine)
	}
	if d.User == "" {
		return
	}
	if _, err := findAccount(&d); err != nil {
		v.say("%s: but %v", d.Rule, err)
		return
	}
	v.Allowed, v.User, v.Rule = true, d.User, d.Rule
}

func (v *verdict) say(format string, args ...any) {
	v.Why = append(v.Why, fmt.Sprintf(format, args...))
}

// print shows the verdict; the error is the answer no.
func (v *verdict) print(w io.Writer, asJSON bool) error {
	if asJSON {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", text)
	} else {
		fmt.Fprintf(w, "%s calls %s; authority of the machine: %s\n", v.Caller, v.Service, v.Authority)
		for _, why := range v.Why {
			fmt.Fprintf(w, "  %s\n", why)
		}
		if v.Allowed {
			fmt.Fprintf(w, "allowed: as %s, by %s\n", v.User, v.Rule)
		} else {
			fmt.Fprintln(w, "not allowed")
		}
	}
	if !v.Allowed {
		return errNotAllowed
	}
	return nil
}
