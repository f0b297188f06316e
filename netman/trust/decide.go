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
	Why     []string // what was looked at, a line each
}

// Itself, as Decision.Rule, is that a caller on this machine stays the user that it is.
const Itself = "local"

// Decide applies the rules of servtab. A wanted local user is allowed if any rule allows it. Where none is wanted, the caller is the local
// user of its own name if any rule allows that, else the first user, root left out, that a rule matching the caller names literally.
func Decide(rules []Rule, c Call) (d Decision) {
	if why := c.refused(); why != "" {
		d.Why = append(d.Why, why)
		return d
	}
	as := c.wanted()
	if c.Authority == Local && as == c.User {
		d.decide(as, Itself, true, "the caller is on this machine, and stays who it is")
		return d
	}
	for i := range rules {
		r := &rules[i]
		yes, why := r.allows(&c, as)
		if yes {
			d.decide(as, r.Where, matchLiteral(r.As, as), fmt.Sprintf("%s: yes: %s", r.Where, why))
			return d
		}
		d.Why = append(d.Why, fmt.Sprintf("%s: no: %s", r.Where, why))
	}
	if len(rules) == 0 {
		d.Why = append(d.Why, "servtab has no [[trust]]")
	}
	if c.As == "" {
		d.otherName(rules, &c)
	}
	if d.User == "" && as != root {
		d.Owner = as
	}
	return d
}

// otherName looks for a rule that gives the caller another name than its own.
func (d *Decision) otherName(rules []Rule, c *Call) {
	for i := range rules {
		r := &rules[i]
		as := r.first()
		if as == "" {
			continue
		}
		if yes, why := r.allows(c, as); yes {
			d.decide(as, r.Where, true, fmt.Sprintf("%s: yes: %s, whom as names first", r.Where, why))
			return
		}
	}
}

// DecideFile applies the ~/.dnet/trust of d.Owner, after Decide has decided nothing.
func DecideFile(d Decision, f *File, c Call) Decision {
	owner := d.Owner
	d.Owner = ""
	if owner == "" || f.Owner != owner || owner == root || c.refused() != "" || c.wanted() != owner {
		return d
	}
	if f.Unread != "" {
		d.Why = append(d.Why, fmt.Sprintf("%s: no: %s", f.Path, f.Unread))
		return d
	}
	for _, line := range f.Lines {
		where := fmt.Sprintf("%s:%d", f.Path, line.Number)
		switch {
		case line.Bad != "":
			d.Why = append(d.Why, fmt.Sprintf("%s: no: %s", where, line.Bad))
		case !match(line.Machine, c.Machine):
			d.Why = append(d.Why, fmt.Sprintf("%s: no: the machine %s is not %s", where, c.Machine, line.Machine))
		case line.User != c.User:
			d.Why = append(d.Why, fmt.Sprintf("%s: no: the caller %s is not %s", where, c.User, line.User))
		default:
			d.decide(owner, where, false, fmt.Sprintf("%s: yes: %s lets %s@%s be %s", where, owner, c.User, c.Machine, owner))
			return d
		}
	}
	if len(f.Lines) == 0 {
		d.Why = append(d.Why, fmt.Sprintf("%s: no: it has no lines", f.Path))
	}
	return d
}

func (d *Decision) decide(user, rule string, literal bool, why string) {
	d.User, d.Rule, d.Literal = user, rule, literal
	d.Why = append(d.Why, why)
}

// wanted is the local user that is asked about first.
func (c *Call) wanted() string {
	if c.As == "" {
		return c.User
	}
	return c.As
}

// refused says why no rule whatever could match.
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
