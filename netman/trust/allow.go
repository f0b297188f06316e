package trust

import (
	"fmt"
	"slices"
	"strings"
)

// Allow is the allow list of a service: who may call it at all. The zero value, or nil, is everybody.
//
//	alice@moon   a user on a machine; both are patterns, so *@lab-1? is everybody on those
//	alice        a user of this machine; a pattern
//	@wheel       a member of the group wheel of this machine
//
// It is a filter and no proof: it believes what the caller's machine says, as far as the mode authenticates machines.
type Allow struct {
	entries []entry
}

type entry struct {
	text          string
	machine, user string // patterns; machine "": this machine
	group         string // "": none
}

// maxAllow bounds the entries of a list.
const maxAllow = 256

// ParseAllow reads the entries as written in servtab. A list without entries is nobody.
func ParseAllow(texts []string) (*Allow, error) {
	if len(texts) > maxAllow {
		return nil, fmt.Errorf("it has %d entries; %d are allowed", len(texts), maxAllow)
	}
	a := &Allow{entries: []entry{}}
	for _, text := range texts {
		e, err := parseEntry(text)
		if err != nil {
			return nil, fmt.Errorf("%.90q: %w (entries are user@machine, user, @group)", text, err)
		}
		a.entries = append(a.entries, e)
	}
	return a, nil
}

func parseEntry(text string) (entry, error) {
	user, machine, remote := strings.Cut(text, "@")
	switch {
	case !remote:
		return entry{text: text, user: user}, checkUser(user)
	case user == "":
		if !literal(machine) {
			return entry{}, fmt.Errorf("a group is named, not matched; *@MACHINE is everybody on a machine")
		}
		return entry{text: text, group: machine}, checkPattern("group", machine, maxUser, inUser)
	}
	machine = strings.ToLower(machine)
	if err := checkUser(user); err != nil {
		return entry{}, err
	}
	return entry{text: text, user: user, machine: machine}, checkMachine(machine)
}

// Groups are those that the list names.
func (a *Allow) Groups() (groups []string) {
	if a == nil {
		return nil
	}
	for _, e := range a.entries {
		if e.group != "" {
			groups = append(groups, e.group)
		}
	}
	return groups
}

// May tells whether the caller may call, and which entry says so. groups are those of a caller on this machine.
func (a *Allow) May(c Call, groups []string) (by string, ok bool) {
	if a == nil || a.entries == nil {
		return "", true
	}
	here := c.Authority == Local
	for _, e := range a.entries {
		switch {
		case e.group != "":
			ok = here && slices.Contains(groups, e.group)
		case e.machine == "":
			ok = here && match(e.user, c.User)
		default:
			ok = match(e.machine, c.Machine) && match(e.user, c.User)
		}
		if ok {
			return e.text, true
		}
	}
	return "", false
}

// String shows the list as servtab has it.
func (a *Allow) String() string {
	if a == nil {
		return "everybody"
	}
	texts := make([]string, len(a.entries))
	for i, e := range a.entries {
		texts[i] = e.text
	}
	return list(texts)
}

// Reserved tells whether a name belongs to a command of dnet, whatever machine follows: only root, and netman's own user, may offer it,
// for whoever answers there is given commands, files and passwords.
func Reserved(service string) bool {
	label, _, _ := strings.Cut(service, ".")
	switch label {
	case "rx", "ncu", "raccess", "netman", "dmap":
		return true
	}
	return false
}
