package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/fusedev"
	"dnet/netman/node"
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
	l.node = node.New(node.Config{
		Machine: m.Setup.Machine, BootID: random(), Seed: random(), Ethertype: m.Setup.Ethertype, Tolerance: m.Setup.Tolerance,
	})
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
	case "service":
		o := m.Offer
		l.pending[o.Name] = &service{
			name: o.Name, argv: o.Argv, transient: !o.Resident, indirect: o.Indirect, bytes: o.Bytes, as: o.As, max: o.Max,
		}
	case "services":
		l.takeServices(l.pending)
		l.pending = map[string]*service{}
	case "begin":
		l.begin()
	case "signalled":
		l.signalled(m)
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
	log.Printf("machine %s on %s; mode open: callers are not authenticated, whoever is on this network may call",
		l.node.Machine(), l.addresses())
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
