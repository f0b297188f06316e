package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"dnet/netman/names"
	"dnet/netman/seal"
)

// voucher is what the keeper proves with who calls from this machine, and by which it holds the calls of others to what their keepers have
// proved (protocol.md 4). The wire has none of it. k.mu guards what changes.
type voucher struct {
	witness seal.Witness
	boot    uint64 // of this netman: credentials for another are void
	epoch   uint64 // of its own credentials, later at each start
	counter uint64 // of the last one
	sites   []seal.SiteSecret
	used    map[string]*seal.Once // by calling machine; as many as there are pins, at most
}

// Bounds of what a visitor of the door is vouched for.
const (
	visitTime = time.Minute // from its coming to its call; who stays longer comes again
	maxTried  = 16          // machines that one call is taken to
)

// guest is a visitor of the door, and where its call was taken.
type guest struct {
	user    string
	at      time.Time
	service string // that it calls, once it is vouched for
	tried   []taken
}

// may says whether its call may be of the service: it has come lately, and has called no other.
func (g *guest) may(service string) bool {
	return time.Since(g.at) <= visitTime && (g.service == "" || g.service == service)
}

// taken is a machine that a call was taken to. Asked again, the same credential is given, which counts once.
type taken struct {
	machine       string
	boot, counter uint64
}

// newVoucher makes the keeper's part of sealed modes; the epoch is kept beside the identity, so that a clock that goes back makes no old one.
func newVoucher(s *sealing) *voucher {
	v := &voucher{
		witness: s.witness, boot: random(), epoch: uint64(time.Now().UnixNano()), sites: s.config.Secrets, used: map[string]*seal.Once{},
	}
	path := s.identity + ".epoch"
	if text, err := os.ReadFile(path); err == nil {
		if last, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && last < 1<<63 {
			v.epoch = max(v.epoch, last+1)
		}
	}
	if err := replaceFile(path, fmt.Appendf(nil, "%d\n", v.epoch)); err != nil {
		log.Printf("identity: %v: if the clock goes back, other machines refuse this one's calls until they are started anew", err)
	}
	return v
}

var (
	errVisit  = errors.New("netman does not know, or knows no more, who places this call: place it again")
	errTried  = fmt.Errorf("%d machines did not take the call", maxTried)
	errWanted = errors.New("netman knows no key of that machine's keeper")
)

// vouch answers the wire's question for the credential of a call to another machine. The user is the one that came to the door with the pass;
// a call without one is of no user. A pass is good for one service, soon after its visit.
func (k *keeper) vouch(m *memo) {
	answer := &memo{Kind: "vouched", ID: m.ID}
	user, credential, err := k.credential(m)
	if answer.User, answer.Credential = user, credential; err != nil {
		answer.Error = err.Error()
	}
	k.line.send(answer)
}

func (k *keeper) credential(m *memo) (user string, credential []byte, err error) {
	if k.voucher == nil {
		return "", nil, errNoKeys
	}
	if err := errors.Join(names.CheckService(m.Service), names.CheckLabel(m.Machine)); err != nil {
		return "", nil, err
	}
	k.mu.Lock()
	v := k.voucher
	pin, known := k.pins.known[m.Machine]
	counter := uint64(0)
	if err = errWanted; known {
		user, counter, err = v.count(&k.passes, m)
	}
	site := v.site(k.mode())
	k.mu.Unlock()
	if err != nil {
		return "", nil, err
	}
	claim := &seal.Claim{
		Caller: k.setup.machine, Callee: m.Machine, Boot: m.Boot, Service: m.Service, User: user, Stream: m.Stream,
		Epoch: v.epoch, Counter: counter,
	}
	credential, err = v.witness.Vouch(pin.Witness, site, claim)
	return user, credential, err
}

// count finds whose call it is, and the counter of its credential. k.mu is held.
func (v *voucher) count(p *passes, m *memo) (user string, counter uint64, err error) {
	if m.Pass == 0 {
		v.counter++
		return "", v.counter, nil
	}
	guest := p.names[m.Pass]
	if guest == nil || !guest.may(m.Service) {
		return "", 0, errVisit
	}
	for _, t := range guest.tried {
		if t.machine == m.Machine && t.boot == m.Boot {
			return guest.user, t.counter, nil
		}
	}
	if len(guest.tried) >= maxTried {
		return "", 0, errTried
	}
	v.counter++
	guest.service, guest.tried = m.Service, append(guest.tried, taken{m.Machine, m.Boot, v.counter})
	return guest.user, v.counter, nil
}

// site is the secret that own credentials are made with; nil in pinned mode.
func (v *voucher) site(mode seal.Mode) *seal.SiteSecret {
	if mode != seal.Secret || len(v.sites) == 0 {
		return nil
	}
	return &v.sites[0]
}

// unproven is why a call is not taken for what the wire says it is.
type unproven struct{ text string }

func (u *unproven) Error() string { return u.text }

// check holds a call from another machine to its credential, which it uses up.
func (k *keeper) check(m *memo) error {
	k.mu.Lock()
	v := k.voucher
	pin, known := k.pins.known[m.Machine]
	sites := v.sites
	k.mu.Unlock()
	claim := &seal.Claim{
		Caller: m.Machine, Callee: k.setup.machine, Boot: v.boot, Service: m.Service, User: m.User, Stream: m.Stream,
	}
	err := seal.ErrCredential
	switch {
	case !known, names.CheckService(m.Service) != nil:
	case k.mode() != seal.Secret:
		err = v.witness.Check(pin.Witness, nil, claim, m.Credential)
	default:
		for i := 0; i < len(sites) && err != nil; i++ {
			err = v.witness.Check(pin.Witness, &sites[i], claim, m.Credential)
		}
	}
	if err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		once := v.used[m.Machine]
		if once == nil {
			once = &seal.Once{}
			v.used[m.Machine] = once
		}
		err = once.Take(claim.Epoch, claim.Counter)
	}
	if err != nil {
		return &unproven{fmt.Sprintf("%s does not believe that %s calls: %v", k.setup.machine, m.Machine, err)}
	}
	return nil
}
