package main

import (
	"errors"
	"fmt"

	"dnet/netman/names"
)

// keyring is what a netman knows machines by: its own key, and the names that are pinned to keys. Keys are shown, and read, as text.
type keyring interface {
	// own is the key of this machine.
	own() string
	// pins lists the machines known, by name.
	pins() []pinRow
	// pin keeps a machine's name and key, instead of what was kept. The error is that the text is no key, or that there are too many.
	pin(p pinRow) error
	// forget drops a machine. False: there was none of that name.
	forget(machine string) bool
}

// pinRow is a machine and its key (netman.8). Its keys are stable.
type pinRow struct {
	Row      string `json:"row"` // "pin"
	Machine  string `json:"machine"`
	Key      string `json:"key"`
	Accepted bool   `json:"accepted"`          // by an administrator: trust rules match it
	How      string `json:"how"`               // "met", "added", "replaced"
	Refused  string `json:"refused,omitempty"` // the key that it was refused for last
}

// identityRow is this machine and its key.
type identityRow struct {
	Row     string `json:"row"` // "identity"
	Machine string `json:"machine"`
	Key     string `json:"key"`
}

// errNoKeys is the answer where machines have no keys.
var errNoKeys = errors.New("in mode open machines have no keys")

// changeKeys changes what is known of a machine, and says what it did. A key is accepted only by a verb that means it: to take the key that
// a machine came with last is to go on with it, not to trust it.
func changeKeys(k keyring, verb, machine, key string) (says string, err error) {
	if k == nil {
		return "", errNoKeys
	}
	if err := names.CheckLabel(machine); err != nil {
		return "", err
	}
	var known *pinRow
	for _, p := range k.pins() {
		if p.Machine == machine {
			known = &p
		}
	}
	if known == nil && verb != "add" {
		return "", fmt.Errorf("no machine %s is known; netman trust list shows those that are, and netman trust add %s KEY makes it known", machine, machine)
	}
	switch {
	case verb == "add" && key == "":
		return "", fmt.Errorf("add: the key of %s is missing; netman identity shows it there", machine)
	case verb == "add" && known != nil && known.Key != key:
		return "", fmt.Errorf("%s is known by another key, %s; if it was installed anew: netman trust replace %s %s", machine, known.Key, machine, key)
	case verb == "add":
		return "accepted " + machine + " with the key " + key, k.pin(pinRow{Machine: machine, Key: key, Accepted: true, How: "added"})
	case verb == "accept" && key != "" && key != known.Key:
		return "", fmt.Errorf("%s is known by another key, %s", machine, known.Key)
	case verb == "accept":
		return "accepted " + machine + " with the key " + known.Key, k.pin(pinRow{Machine: machine, Key: known.Key, Accepted: true, How: known.How})
	case verb == "forget":
		k.forget(machine)
		return "forgot " + machine + ", whose key was " + known.Key, nil
	case verb == "replace" && key != "":
		return fmt.Sprintf("replaced the key of %s, %s, by %s", machine, known.Key, key),
			k.pin(pinRow{Machine: machine, Key: key, Accepted: known.Accepted, How: "replaced"})
	case verb == "replace" && known.Refused == "":
		return "", fmt.Errorf("%s has not come with another key since this netman was started; give it: netman trust replace %s KEY", machine, machine)
	case verb == "replace":
		return fmt.Sprintf("replaced the key of %s, %s, by the one it came with last, %s; it is not accepted until netman trust accept %s",
			machine, known.Key, known.Refused, machine), k.pin(pinRow{Machine: machine, Key: known.Refused, How: "replaced"})
	}
	return "", fmt.Errorf("trust: unknown verb %q: it is accept, add, forget or replace", verb)
}
