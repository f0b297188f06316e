package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/fusedev"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// wireEnv makes this program the wire.
const wireEnv = "DNET_WIRE"

// keeperFd is where the wire hears from the keeper.
const keeperFd = 3

// rootFd is the empty directory that the wire of a netman that is root goes into.
const rootFd = 4

// runWire is the process that reads the network: all of netman that is not the keeper, without any right. It lives in an empty
// directory, as a user who owns nothing, without a capability and without a way to get one.
func runWire() error {
	unix.CloseOnExec(keeperFd)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM) // which are the keeper's to hear, and come to both from pkill(1)
	l, err := newLoop()
	if err != nil {
		return err
	}
	m, fds, err := receiveMemo(keeperFd, l.memo)
	if err != nil || m.Kind != "setup" || m.Setup == nil {
		return fmt.Errorf("%s is set by netman itself, not to be run by hand (%v)", wireEnv, err)
	}
	os.WriteFile("/proc/self/comm", []byte("netman-wire"), 0) // what ps shows
	if err := m.Setup.dropPower(); err != nil {
		return err
	}
	debug.SetGCPercent(400)
	wire, err := m.Setup.wireOptions(fds)
	if err != nil {
		return err
	}
	l.owner = m.Setup.Owner
	cfg := node.Config{
		Machine: m.Setup.Machine, BootID: m.Setup.Boot, Seed: random(), Ethertype: m.Setup.Ethertype, Tolerance: m.Setup.Tolerance,
	}
	if cfg.Seal, err = m.Setup.Seal.config(); err != nil {
		return err
	}
	l.node = node.New(cfg)
	if err := l.followWire(wire); err != nil {
		return err
	}
	unix.SetNonblock(keeperFd, true)
	l.keeper = &desc{fd: keeperFd, mask: unix.EPOLLIN, ready: l.hearKeeper}
	l.watch(l.keeper)
	err = l.run()
	l.shutdown()
	return err
}

// wireOptions are what the keeper was told of the wire.
func (s *wireSetup) wireOptions(fds []int) (w wireOptions, err error) {
	w = wireOptions{ifaces: s.Ifaces, ethertype: s.Ethertype}
	if s.Faults != "" {
		faults, err := ether.ParseFaults(s.Faults)
		if err != nil {
			return w, fmt.Errorf("--faults: %w", err)
		}
		w.faults = &faults
	}
	if s.Trace {
		w.trace = os.Stderr
	}
	if s.Capture && len(fds) == 1 {
		w.capture = ether.NewCapture(os.NewFile(uintptr(fds[0]), "capture"))
	}
	return w, nil
}

// tell asks the keeper for something. What it does not take now waits: as many memos as there are servers and interfaces, at most a few.
func (l *loop) tell(m *memo) {
	record, err := m.encode()
	if err != nil {
		log.Print(err)
		return
	}
	l.unsaid = append(l.unsaid, record)
	l.tellRest()
}

// tellRest tells the keeper what it did not take before.
func (l *loop) tellRest() {
	for len(l.unsaid) > 0 {
		switch err := circuit.SendFds(keeperFd, l.unsaid[0]); err {
		case nil:
			l.unsaid = l.unsaid[1:]
		case unix.EAGAIN:
			l.wait(l.keeper, unix.EPOLLIN|unix.EPOLLOUT)
			return
		default:
			l.unsaid = nil // it has gone, which reading tells
		}
	}
	l.wait(l.keeper, unix.EPOLLIN)
}

// hearKeeper takes what the keeper says.
func (l *loop) hearKeeper(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		l.tellRest()
	}
	for {
		m, fds, err := receiveMemo(keeperFd, l.memo)
		switch {
		case err == unix.EAGAIN:
			return
		case err == io.EOF:
			l.stop = errStopped // it was killed: all ends
			return
		case err != nil:
			l.stop = err
			return
		}
		l.hear(m, fds)
		l.flush()
	}
}

func (l *loop) hear(m *memo, fds []int) {
	switch m.Kind {
	case "port":
		l.opened(m, fds)
		return
	case "started":
		l.serverStarted(m, fds)
		return
	case "visitor":
		if len(fds) == 1 {
			l.admit(m, fds[0])
			return
		}
		l.count("door: no descriptors left")
	case "mount":
		if len(fds) == 1 {
			l.mount = l.newMount(fusedev.New(fds[0], m.Name))
			return
		}
	case "user":
		l.named(m)
	case "pin", "unpin", "secrets":
		l.rekey(m)
	case "service":
		o := m.Offer
		l.pending[o.Name] = &service{
			name: o.Name, argv: o.Argv, transient: !o.Resident, indirect: o.Indirect, bytes: o.Bytes, as: o.As, max: o.Max,
			uid: o.UID, guarded: o.Guarded,
		}
	case "services":
		l.takeServices(l.pending)
		l.pending = map[string]*service{}
	case "begin":
		l.begin()
	case "signalled":
		l.signalled(m)
	case "vouched":
		l.vouched(m)
	case "admitted":
		l.admitted(m)
	case "exited":
		l.exited(m)
	case "stop":
		l.gone, l.stop = m.Text, errStopped
	}
	circuit.CloseFds(fds)
}

// begin claims the machine's name.
func (l *loop) begin() {
	l.begun = true
	l.sayMode()
	l.now = time.Now()
	l.node.Start(l.now, &l.out)
	// Between the keeper's look at the interfaces and the watch for changes there may have been some.
	if links, err := ether.Links(); err == nil {
		for _, link := range links {
			l.giveUp(link, false)
		}
	}
	l.takeUp()
}

// shutdown tells everybody that this netman goes: programs, stations.
func (l *loop) shutdown() {
	if l.gone == "" {
		return // the keeper was killed, or the name was taken: there is nobody to tell
	}
	l.now = time.Now()
	gone := node.Event{Cause: x25.CauseOutOfOrder, Text: l.gone}
	for h := range l.holders {
		h.farewell(&gone)
	}
	l.mount.close()
	l.out.Reset()
	l.node.Stop(l.now, &l.out)
	l.out.Events = nil
	l.flush()
}

// sayMode says at the start what callers may be believed.
func (l *loop) sayMode() {
	says := "callers are not authenticated, whoever is on this network may call"
	switch l.node.Mode() {
	case seal.Pinned:
		says = "the key of this machine is " + l.node.Keys()
	case seal.Secret:
		says = "for machines that know the site secret; the key of this one is " + l.node.Keys()
	}
	log.Printf("machine %s on %s; mode %v: %s", l.node.Machine(), l.addresses(), l.node.Mode(), says)
}

// config is what the node is told of keys; nil in mode open. The pins come by themselves.
func (w *wireSeal) config() (*seal.Config, error) {
	if w == nil {
		return nil, nil
	}
	if len(w.Private) != 32 {
		return nil, errors.New("no key came for this machine")
	}
	id, err := seal.IdentityOf([32]byte(w.Private))
	if err != nil {
		return nil, err
	}
	secrets, err := w.siteSecrets()
	return &seal.Config{Mode: w.Mode, Identity: id, Witness: w.Witness, Secrets: secrets, Strict: w.Strict, Rand: rand.Reader}, err
}

// rekey takes what the keeper says of keys.
func (l *loop) rekey(m *memo) {
	switch m.Kind {
	case "unpin":
		l.node.ForgetPin(l.now, m.Machine, &l.out)
	case "secrets":
		if secrets, err := m.Seal.siteSecrets(); err == nil {
			l.node.SetSecrets(secrets)
		}
	default:
		key, witness, err := seal.ParseKeys(m.Key)
		if err == nil {
			err = l.node.SetPin(l.now, seal.Pin{Machine: m.Machine, Key: key, Witness: witness, Accepted: m.Accepted, How: m.How}, &l.out)
		}
		if err != nil {
			log.Printf("pin of %s: %v", m.Machine, err)
		}
	}
}

// userName is a user's name as the keeper has said it, for a while.
type userName struct {
	name  string
	until time.Time
}

// userTime is for how long.
const userTime = 10 * time.Second

// withUser does something that needs a user's name, as soon as the keeper has said it.
func (l *loop) withUser(uid uint32, f func(name string)) {
	if u, ok := l.users[uid]; ok && l.now.Before(u.until) {
		f(u.name)
		return
	}
	waiting, asked := l.naming[uid]
	l.naming[uid] = append(waiting, f)
	if !asked {
		l.tell(&memo{Kind: "who", UID: uid})
	}
}

// named takes a user's name from the keeper.
func (l *loop) named(m *memo) {
	waiting := l.naming[m.UID]
	delete(l.naming, m.UID)
	if len(l.users) >= 4096 {
		clear(l.users)
	}
	l.users[m.UID] = userName{m.User, l.now.Add(userTime)}
	for _, f := range waiting {
		f(m.User)
		l.flush()
	}
}
