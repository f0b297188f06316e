package main

import (
	"fmt"
	"os/user"
	"strings"

	"dnet/netman/trust"
)

// trustEntry is one [[trust]] as written.
type trustEntry struct {
	Machines []string `toml:"machines"`
	Users    []string `toml:"users"`
	As       []string `toml:"as"`       // nil: the same name
	Services []string `toml:"services"` // nil: every one that asks
}

// trustRules is what servtab says about who may be whom.
type trustRules struct {
	rules []trust.Rule
	files bool // ~/.dnet/trust counts too
}

// maxRules bounds the [[trust]] of a servtab: all of them may be looked at for a call.
const maxRules = 1024

// trust checks every [[trust]].
func (st *servtab) trust(machine string) (t trustRules, err error) {
	t.files = st.Security.TrustFiles == nil || *st.Security.TrustFiles
	if len(st.Trust) > maxRules {
		return t, fmt.Errorf("%s: there are %d [[trust]]; %d are allowed", st.path, len(st.Trust), maxRules)
	}
	for i, entry := range st.Trust {
		r := trust.Rule{
			Where: st.where("trust", i, ""), Users: entry.Users,
			Machines: lower(entry.Machines), As: entry.As, Services: lower(entry.Services),
		}
		if entry.As == nil {
			r.As = []string{trust.Same}
		}
		for i, s := range r.Services {
			r.Services[i] = strings.ReplaceAll(s, "%m", machine)
		}
		if entry.Services == nil {
			r.Services = []string{"*"}
		}
		if key, err := r.Check(); err != nil {
			return t, fmt.Errorf("%s: [[trust]] %s: %w", st.where("trust", i, key), key, err)
		}
		t.rules = append(t.rules, r)
	}
	return t, nil
}

func lower(names []string) (lower []string) {
	for _, name := range names {
		lower = append(lower, strings.ToLower(name))
	}
	return lower
}

// allow reads the allow list of a service; nil is everybody.
func (entry serviceEntry) allow() (*trust.Allow, error) {
	if entry.Allow == nil {
		return nil, nil
	}
	a, err := trust.ParseAllow(entry.Allow)
	if err != nil {
		return nil, err
	}
	for _, group := range a.Groups() {
		if _, err := user.LookupGroup(group); err != nil {
			return nil, fmt.Errorf("%q: no group %s on this machine", "@"+group, group)
		}
	}
	return a, nil
}

// where is the file and line of a key in the table number i of its kind, or of the table where it has no such key.
func (st *servtab) where(table string, i int, key string) string {
	at, in := 0, false
	for n, line := range strings.Split(st.text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			header, array := strings.CutPrefix(line, "[[")
			header, _, _ = strings.Cut(header, "]]")
			in = false
			if array && strings.TrimSpace(header) == table {
				if in = i == 0; in {
					at = n + 1
				}
				i--
			}
			continue
		}
		if name, _, is := strings.Cut(line, "="); in && is && strings.Trim(name, " \t\"'") == key {
			return fmt.Sprintf("%s:%d", st.path, n+1)
		}
	}
	return fmt.Sprintf("%s:%d", st.path, max(at, 1))
}
