package trust

import (
	"fmt"
	"strings"
)

// Authority is what is known of a caller's machine.
type Authority uint8

const (
	None     Authority = iota // open mode, or a key that was met first and that nobody has accepted
	Accepted                  // an administrator has accepted the machine's key
	Secret                    // the machine knows the site's secret
	Local                     // it is this machine: the kernel says who calls
)

var authorities = [...]string{None: "none", Accepted: "accepted", Secret: "secret", Local: "local"}

func (a Authority) String() string { return authorities[a] }

// ParseAuthority is the inverse of String.
func ParseAuthority(text string) (Authority, error) {
	for a, s := range authorities {
		if s == text {
			return Authority(a), nil
		}
	}
	return None, fmt.Errorf("unknown authority %q: it is none, accepted, secret or local", text)
}

// Rule is one [[trust]] of servtab: callers whose user is one of Users on one of Machines may be each local user of As, in the services
// of Services. All are patterns; Same in As stands for the name that the caller has on its own machine.
type Rule struct {
	Where    string // file:line, for people
	Machines []string
	Users    []string
	As       []string
	Services []string
}

// Same, in Rule.As, is the caller's own name.
const Same = "="

// root is named literally or not meant.
const root = "root"

// Check tells what is wrong with a rule: the key of servtab, and why.
func (r *Rule) Check() (key string, err error) {
	for _, part := range []struct {
		key      string
		patterns []string
		check    func(string) error
	}{
		{"machines", r.Machines, checkMachine}, {"users", r.Users, checkUser},
		{"as", r.As, checkAs}, {"services", r.Services, checkService},
	} {
		if len(part.patterns) == 0 {
			return part.key, fmt.Errorf("is empty: it lists at least one pattern")
		}
		for _, p := range part.patterns {
			if err := part.check(p); err != nil {
				return part.key, err
			}
		}
	}
	return "", nil
}

func checkAs(pattern string) error {
	if pattern == Same {
		return nil
	}
	return checkUser(pattern)
}

// part is a key of a rule.
type part uint8

const (
	all part = iota // of them
	machines
	users
	services
	as
)

// misfit is the first part of the rule that does not match a caller who wants to be the local user: all if each does.
func (r *Rule) misfit(c *Call, local string) part {
	switch {
	case !matchAny(r.Machines, c.Machine):
		return machines
	case !matchUser(r.Users, c.User):
		return users
	case !matchAny(r.Services, c.Service):
		return services
	case !r.matchAs(c.User, local):
		return as
	}
	return all
}

// words says why a rule matches, or which part does not.
func (r *Rule) words(p part, c *Call, local string) string {
	switch p {
	case machines:
		return fmt.Sprintf("%s: no: the machine %s is not in machines = %s", r.Where, c.Machine, list(r.Machines))
	case users:
		return fmt.Sprintf("%s: no: the caller %s is not in users = %s%s", r.Where, c.User, list(r.Users), rootToo(c.User, r.Users))
	case services:
		return fmt.Sprintf("%s: no: the service %s is not in services = %s", r.Where, c.Service, list(r.Services))
	case as:
		return fmt.Sprintf("%s: no: the local user %s is not in as = %s%s", r.Where, local, list(r.As), rootToo(local, r.As))
	}
	return fmt.Sprintf("%s: yes: %s@%s may be %s in %s", r.Where, c.User, c.Machine, local, c.Service)
}

func (r *Rule) matchAs(user, local string) bool {
	for _, p := range r.As {
		if p == Same && user == local && local != root || p != Same && isUser(p, local) {
			return true
		}
	}
	return false
}

// first is the first local user that the rule names literally, root left out: "" if there is none.
func (r *Rule) first() string {
	for _, p := range r.As {
		if p != Same && literal(p) && p != root {
			return p
		}
	}
	return ""
}

// matchUser is matchAny where root is matched by its own name only.
func matchUser(patterns []string, user string) bool {
	for _, p := range patterns {
		if isUser(p, user) {
			return true
		}
	}
	return false
}

func isUser(pattern, user string) bool {
	return match(pattern, user) && (user != root || pattern == root)
}

func matchAny(patterns []string, text string) bool {
	for _, p := range patterns {
		if match(p, text) {
			return true
		}
	}
	return false
}

// rootToo reminds of the rule that has been forgotten by whoever asks why.
func rootToo(user string, patterns []string) string {
	if user == root && (matchAny(patterns, root) || matchAny(patterns, Same)) {
		return ": root must be named literally"
	}
	return ""
}

// list shows patterns as servtab has them.
func list(patterns []string) string {
	quoted := make([]string, len(patterns))
	for i, p := range patterns {
		quoted[i] = fmt.Sprintf("%q", p)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
