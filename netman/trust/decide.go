package trust

import "fmt"

// Call is who asks for what.
type Call struct {
	Machine   string    // that calls; in lower case
	Authority Authority // of that machine
	User      string    // on that machine; "" if it does not say
	Service   string    // that is called; in lower case
	As        string    // the local user that the caller wants to be; "": whoever the rules make of it, its own name first
}

// Decision is what the rules make of a caller.
type Decision struct {
	User    string   // the local user that it may be; "": none, the caller is nobody here
	Rule    string   // what decided: file:line, or Itself; "" if nothing did
	Literal bool     // the rule names the local user by its own name: without that it must not be one with user id 0
	Owner   string   // the local user whose ~/.dnet/trust may still decide (DecideFile); "": nobody's
	Why     []string // what was looked at, a line each; nothing unless Explain was asked

	explain bool
}

// Itself, as Decision.Rule, is that a caller on this machine stays the user that it is.
const Itself = "local"

// Decide applies the rules of servtab. A wanted local user is allowed if any rule allows it. Where none is wanted, the caller is the local
// user of its own name if any rule allows that, else the first user, root left out, that a rule matching the caller names literally.
func Decide(rules []Rule, c Call) Decision {
	var d Decision
	d.ask(rules, &c)
	return d
}

// Explain is Decide with the reasons, which take far longer to say than to find.
func Explain(rules []Rule, c Call) Decision {
	d := Decision{explain: true}
	d.ask(rules, &c)
	return d
}

func (d *Decision) ask(rules []Rule, c *Call) {
	if c.mute() {
		d.say(c.refused)
		return
	}
	local := c.wanted()
	if c.Authority == Local && local == c.User {
		d.decide(local, Itself, true)
		d.say(func() string { return "the caller is on this machine, and stays who it is" })
		return
	}
	for i := range rules {
		r := &rules[i]
		misfit := r.misfit(c, local)
		d.say(func() string { return r.words(misfit, c, local) })
		if misfit == all {
			d.decide(local, r.Where, matchLiteral(r.As, local))
			return
		}
	}
	if len(rules) == 0 {
		d.say(func() string { return "servtab has no [[trust]]" })
	}
	if c.As == "" {
		d.otherName(rules, c)
	}
	if d.User == "" && local != root {
		d.Owner = local
	}
}

// otherName looks for a rule that gives the caller another name than its own.
func (d *Decision) otherName(rules []Rule, c *Call) {
	for i := range rules {
		r := &rules[i]
		if local := r.first(); local != "" && r.misfit(c, local) == all {
			d.decide(local, r.Where, true)
			d.say(func() string { return r.words(all, c, local) + ", whom as names first" })
			return
		}
	}
}

// DecideFile applies the ~/.dnet/trust of d.Owner, after Decide has decided nothing.
func DecideFile(d Decision, f *File, c Call) Decision {
	owner := d.Owner
	d.Owner = ""
	if owner == "" || f.Owner != owner || owner == root || c.mute() || c.wanted() != owner {
		return d
	}
	if f.Unread != "" {
		d.say(func() string { return f.Path + ": no: " + f.Unread })
		return d
	}
	for i := range f.Lines {
		line := &f.Lines[i]
		where := func() string { return fmt.Sprintf("%s:%d", f.Path, line.Number) }
		d.say(func() string { return where() + ": " + line.words(owner, &c) })
		if line.fits(&c) {
			d.decide(owner, where(), false)
			return d
		}
	}
	if len(f.Lines) == 0 {
		d.say(func() string { return f.Path + ": no: it has no lines" })
	}
	return d
}

func (d *Decision) decide(user, rule string, literal bool) {
	d.User, d.Rule, d.Literal = user, rule, literal
}

// say adds a reason, if reasons are asked for.
func (d *Decision) say(why func() string) {
	if d.explain {
		d.Why = append(d.Why, why())
	}
}

// wanted is the local user that is asked about first.
func (c *Call) wanted() string {
	if c.As == "" {
		return c.User
	}
	return c.As
}

// mute tells that no rule whatever could match: the machine has no authority, the user no name. refused says why.
func (c *Call) mute() bool { return c.Authority == None || isNumber(c.User) }

func (c *Call) refused() string {
	switch {
	case c.Authority == None:
		return fmt.Sprintf("no rule matches a machine without authority: nobody has accepted the key of %s here, or the mode is open", c.Machine)
	case c.User == "":
		return fmt.Sprintf("%s does not say which user calls", c.Machine)
	case isNumber(c.User):
		// Users without a name call by their number. It might be somebody's name here.
		return fmt.Sprintf("the calling user has no name on %s, only the number %s", c.Machine, c.User)
	}
	return ""
}

func isNumber(user string) bool {
	for i := range len(user) {
		if user[i] < '0' || user[i] > '9' {
			return false
		}
	}
	return true
}

func matchLiteral(patterns []string, text string) bool {
	for _, p := range patterns {
		if p == text {
			return true
		}
	}
	return false
}
