package main

import (
	"fmt"
	"log"
	"os"
	"os/user"

	"dnet/netman/node"
	"dnet/netman/trust"
)

// guard is who may call, who may listen, and what is needed to tell who a caller is.
type guard struct {
	trust   trustRules
	allow   map[string]*trust.Allow // of the services of servtab that have a list
	keepers map[string]uint32       // the users of resident servers of servtab, which register the names themselves
	reading map[string]*reading     // trust files, by owner
	keys    keyring                 // nil: machines have no keys
}

// guardServices takes from the services of servtab who may call and register them.
func (l *loop) guardServices(services map[string]*service) {
	l.allow, l.keepers = map[string]*trust.Allow{}, map[string]uint32{}
	for name, s := range services {
		if s.allow != nil {
			l.allow[name] = s.allow
		}
		if s.resident {
			l.keepers[name] = s.as.uid
		}
	}
}

// authority is what this netman knows of the machine that a call comes from. In open mode that is nothing.
func (l *loop) authority(c *node.Circuit) trust.Authority {
	if c.Local() {
		return trust.Local
	}
	return trust.None
}

// sayTrust says at the start when there are rules that cannot match.
func (l *loop) sayTrust() {
	if n := len(l.trust.rules); n > 0 {
		log.Printf("mode open: no other machine has authority: of the %d [[trust]] rules none matches one", n)
	}
}

// caller is a call as the rules of trust see it, wanting to be the local user as; "" leaves that to them.
func (l *loop) caller(c *node.Circuit, as string) trust.Call {
	return trust.Call{Machine: c.Machine, Authority: l.authority(c), User: c.PeerUser, Service: c.Service, As: as}
}

// mayCall says whether the allow list of the service, if it has one, lets the caller in.
func (l *loop) mayCall(c *node.Circuit) bool {
	allow := l.allow[c.Service]
	if allow == nil {
		return true
	}
	call := l.caller(c, "")
	_, ok := allow.May(call, groupsFor(allow, call))
	return ok
}

// groupsFor are the groups of a caller on this machine, if the list names any at all.
func groupsFor(allow *trust.Allow, call trust.Call) (groups []string) {
	if call.Authority != trust.Local || len(allow.Groups()) == 0 {
		return nil
	}
	u, err := user.Lookup(call.User)
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			groups = append(groups, g.Name)
		}
	}
	return groups
}

// mayListen says why a user may not register a name; "": it may. Whoever answers to a name of dnet's own commands gets the commands, files
// and passwords that are meant for the machine, and whoever answers to a name of servtab what is meant for that server.
func (l *loop) mayListen(name string, uid uint32) (why string) {
	if uid == 0 || uid == uint32(os.Getuid()) {
		return ""
	}
	if trust.Reserved(name) {
		return fmt.Sprintf("%s is a name of dnet's own commands: only root may offer it", name)
	}
	if keeper, kept := l.keepers[name]; kept && keeper != uid {
		return fmt.Sprintf("servtab keeps %s for a server of the user %s", name, userName(keeper))
	}
	return ""
}
