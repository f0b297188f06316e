package main

import (
	"errors"
	"fmt"
	"os/user"
	"time"

	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/netman/trust"
	"dnet/x25"
)

// The wire's side: names that not everybody may register, and calls of which the keeper says whether they are let in.

// mayListen says why a user may not register a name; "": it may. Whoever answers to a name of dnet's own commands gets the commands, files
// and passwords that are meant for the machine, and whoever answers to a name of servtab what is meant for that server.
func (l *loop) mayListen(name string, uid uint32) (why string) {
	if uid == 0 || uid == l.owner {
		return ""
	}
	if trust.Reserved(name) {
		return fmt.Sprintf("%s is a name of dnet's own commands: only root may offer it", name)
	}
	if s := l.offers[name]; s != nil && !s.transient && s.uid != uid {
		return fmt.Sprintf("servtab keeps %s for a server of the user %s", name, s.as)
	}
	return ""
}

// admission is a call for a service that not everybody may call, while the keeper is asked. (Where it starts a server it says so with that.)
type admission struct {
	l  *loop
	c  *node.Circuit
	id uint64
}

func (l *loop) askAdmission(c *node.Circuit) {
	l.serverID++
	a := &admission{l: l, c: c, id: l.serverID}
	l.hold(c, a)
	l.admissions[a.id] = a
	m := l.callMemo("may", c)
	m.ID = a.id
	l.tell(m)
}

func (a *admission) handle(ev node.Event) {
	if ev.Kind == node.Cleared || ev.Kind == node.Drained {
		a.l.drop(a)
		a.c.Clear(a.l.now, x25.CauseDTE, 0, "", &a.l.out)
		delete(a.l.admissions, a.id)
	}
}

func (a *admission) row() circuitRow { return circuitRowOf(a.c, "server") }

func (a *admission) farewell(gone *node.Event) {
	a.c.Clear(a.l.now, gone.Cause, gone.Diag, gone.Text, &a.l.out)
}

// admitted takes what the keeper says of a call.
func (l *loop) admitted(m *memo) {
	a := l.admissions[m.ID]
	if a == nil {
		return // the caller has gone meanwhile
	}
	delete(l.admissions, m.ID)
	l.drop(a)
	s := l.services[a.c.Service]
	switch {
	case m.Barred || m.Error != "":
		l.bar(a.c, m.Error, m.Unproven)
	case s == nil || s.transient:
		a.c.Clear(l.now, x25.CauseNotObtainable, 0, "no service "+a.c.Service, &l.out)
	default:
		l.offer(s, a.c)
	}
}

// bar clears a call that is not let in.
func (l *loop) bar(c *node.Circuit, why string, unproven bool) {
	l.count("calls that are not allowed")
	if unproven {
		l.count("calls without a valid credential")
		l.logf(c.Machine, "credential", "%s", why)
	}
	c.Clear(l.now, x25.CauseBarred, 0, why, &l.out)
}

// askVouch asks the keeper for the credential of a call to another machine. The answer always comes, once.
func (l *loop) askVouch(c *node.Circuit) {
	l.serverID++
	l.vouching[l.serverID] = c
	m := &memo{Kind: "vouch", ID: l.serverID, Service: c.Service, Machine: c.Machine, Boot: c.PeerBoot(), Stream: c.Stream}
	if caller, ok := c.User.(*endpoint); ok {
		m.Pass = caller.pass
	}
	l.tell(m)
}

// vouched takes the keeper's answer.
func (l *loop) vouched(m *memo) {
	if c := l.vouching[m.ID]; c != nil {
		delete(l.vouching, m.ID)
		c.Vouched(l.now, m.User, m.Credential, m.Error, &l.out)
	}
}

// callMemo tells the keeper of a call.
func (l *loop) callMemo(kind string, c *node.Circuit) *memo {
	m := &memo{Kind: kind, Service: c.Service, Machine: c.Machine, User: c.PeerUser, Stream: c.Stream, Local: c.Local()}
	if !m.Local {
		m.Credential = c.Credential()
	}
	if other := c.Other(); other != nil {
		if caller, ok := other.User.(*endpoint); ok {
			m.Pass = caller.pass
		}
	}
	return m
}

// The keeper's side.

// caller is a call as the rules of trust see it. The wire says who calls; what authority that has is not the wire's to say. A caller on this
// machine is who came to the door with this pass, once. One on another machine is whom its keeper's credential names, in open mode whom the
// wire names; the error is that the credential does not hold.
func (k *keeper) caller(m *memo) (trust.Call, error) {
	err := names.CheckUser(m.User)
	if !m.Local {
		err = errors.Join(err, names.CheckLabel(m.Machine))
	}
	if err != nil {
		return trust.Call{}, err // the wire has checked them, unless it is not what it was
	}
	call := trust.Call{Machine: m.Machine, User: m.User, Service: m.Service}
	if m.Local {
		call.Machine = k.setup.machine
		k.mu.Lock()
		defer k.mu.Unlock()
		if guest := k.passes.names[m.Pass]; guest != nil && guest.user == m.User && guest.may(m.Service) {
			delete(k.passes.names, m.Pass)
			call.Authority = trust.Local
		} else if k.voucher != nil {
			call.User = "" // nobody but the wire says so
		}
		return call, nil
	}
	if k.voucher != nil {
		if err := k.check(m); err != nil {
			return trust.Call{Service: m.Service}, err
		}
	}
	call.Authority = k.authority(m.Machine)
	return call, nil
}

// authority is what this netman knows of another machine. In open mode that is nothing; to have met a machine is not enough.
func (k *keeper) authority(machine string) trust.Authority {
	switch {
	case k.mode() == seal.Secret:
		return trust.Secret
	case k.pins != nil && k.pins.accepted(machine):
		return trust.Accepted
	}
	return trust.None
}

// sayTrust says at the start when there are rules that cannot match.
func (k *keeper) sayTrust() {
	if n := len(k.rules().rules); n > 0 && k.mode() == seal.Open {
		k.logf("mode open: no other machine has authority: of the %d [[trust]] rules none matches one", n)
	}
}

// mayCall says why the allow list of a service, if it has one, keeps a caller out: nil if it does not.
func (k *keeper) mayCall(p *program, call trust.Call) error {
	if p.allow == nil {
		return nil
	}
	if _, ok := p.allow.May(call, groupsFor(p.allow, call)); ok {
		return nil
	}
	return &barred{fmt.Sprintf("%s does not let %s@%s call %s", k.setup.machine, call.User, call.Machine, call.Service)}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// bar says in an answer why a call is not let in, if that is the error.
func (m *memo) bar(err error) {
	var bar *barred
	var forged *unproven
	m.Unproven = errors.As(err, &forged)
	if m.Barred = m.Unproven || errors.As(err, &bar); m.Barred {
		m.Error = err.Error()
	}
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

// may answers the wire's question whether a call of a service that is not started for it is let in.
func (k *keeper) may(m *memo) {
	k.mu.Lock()
	p := k.services[m.Service]
	k.mu.Unlock()
	defer func() { <-k.deciding }()
	answer := &memo{Kind: "admitted", ID: m.ID}
	call, err := k.caller(m)
	if err == nil && p != nil {
		err = k.mayCall(p, call)
	}
	answer.Error = errorText(err)
	answer.bar(err)
	k.line.send(answer)
}

// passes are what visitors got at the door, by which the keeper knows them again when the wire has a server started for one.
type passes struct {
	names map[uint64]*guest
	order []uint64 // as they were given
}

// maxPasses bounds those that were not used: the oldest is forgotten, and its caller is nobody.
const maxPasses = 1 << 16

// give makes one. k.mu is held.
func (p *passes) give(name string) uint64 {
	if p.names == nil {
		p.names = map[uint64]*guest{}
	}
	if len(p.order) >= maxPasses {
		delete(p.names, p.order[0])
		p.order = p.order[1:]
	}
	pass := random()
	p.names[pass] = &guest{user: name, at: time.Now()}
	p.order = append(p.order, pass)
	return pass
}
