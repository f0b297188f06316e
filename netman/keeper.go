package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dnet/netman/names"
)

// keeper is the process of netman that has power: it opens packet sockets, owns servtab and the door, and starts servers. It reads
// nothing from the network; that does the wire, a process of its own without any right (wire.go), which asks the keeper for what it
// needs. Whatever the wire asks is checked against servtab, since it may have been taken over by whoever speaks on the network.
type keeper struct {
	opt       options
	setup     *setup
	door      *keptDoor
	trustDoor *keptDoor  // beside it, see trustDoor
	keys      keyring    // nil: machines have no keys
	pins      *pins      // the same
	voucher   *voucher   // the same
	mount     *keptMount // nil: circuits are not files
	line      *memoLine
	wire      *exec.Cmd
	starts    chan func()
	deciding  chan struct{} // calls of which it is not decided yet who they are and what they start: a further one waits in the wire
	blamed    time.Time     // when the wire was last blamed, in the goroutine that hears it

	files trustFiles

	mu        sync.Mutex
	trust     trustRules
	passes    passes
	services  map[string]*program
	running   map[string]int      // servers, by service
	servers   map[uint64]*process // by the wire's number for them
	residents []*resident
	users     userNames
	going     bool // netman ends: nothing is started any more
	told      bool // by a signal
}

// process is a server that runs. It is not waited for before it has left the table: its number is its own as long as it is there.
type process struct {
	service string
	pid     int
}

// deafTime is how long the wire may leave memos unread while there is no room for more; then netman ends.
const deafTime = 30 * time.Second

// goodbye is how long the wire may take to say goodbye to everybody.
const goodbye = 5 * time.Second

// runKeeper is netman until it is told to go.
func runKeeper(opt options, setup *setup) error {
	k := &keeper{
		opt: opt, setup: setup, services: setup.services, trust: setup.trust, running: map[string]int{}, servers: map[uint64]*process{},
		starts: make(chan func()), deciding: make(chan struct{}, maxStarting),
	}
	go k.startThread()
	var err error
	if s := setup.sealing; s != nil {
		if err := s.prepare(); err != nil {
			return err
		}
		k.pins = newPins(k, s)
		k.keys = k.pins
		k.voucher = newVoucher(s)
	}
	if k.door, err = openDoor(opt.door); err != nil {
		return err
	}
	defer k.door.close()
	if k.trustDoor, err = openTrustDoor(trustDoor(opt.door)); err != nil {
		return err
	}
	defer k.trustDoor.close()
	if k.mount, err = openMount(setup.netphys, setup.netphysNamed); err != nil {
		return err
	}
	defer func() { k.mount.close() }()
	ports, err := k.openPorts()
	defer func() {
		for _, p := range ports {
			p.close()
		}
	}()
	if err != nil {
		return err
	}
	if err := k.startWire(); err != nil {
		return err
	}
	if err := k.tellSetup(ports); err != nil {
		return k.wireEnded(err)
	}
	k.onSignals()
	k.sayTrust()
	go k.serveDoor()
	go k.serveTrust()
	k.takeResidents(setup.services)
	for {
		m, err := k.line.receive()
		if err != nil {
			return k.wireEnded(nil)
		}
		k.serve(m)
	}
}

// startThread runs what starts processes on a thread that lives as long as netman: they are told of its death by the kernel, which
// watches the thread that started them.
func (k *keeper) startThread() {
	runtime.LockOSThread()
	for start := range k.starts {
		start()
	}
}

// onThread has the thread do something, and waits.
func (k *keeper) onThread(start func() error) (err error) {
	done := make(chan struct{})
	k.starts <- func() {
		err = start()
		close(done)
	}
	<-done
	return err
}

// startWire starts the process that has no power: this program again.
func (k *keeper) startWire() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	limit := unix.NsecToTimeval(deafTime.Nanoseconds())
	unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	k.line = newMemoLine(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "keeper")
	defer theirs.Close()
	files := []*os.File{theirs}
	if os.Geteuid() == 0 {
		root, err := emptyRoot(filepath.Dir(k.opt.door))
		if err != nil {
			return fmt.Errorf("an empty directory for the process that reads the network: %w", err)
		}
		defer root.Close()
		files = append(files, root)
	}
	k.wire = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"netman: wire"}, Env: append(os.Environ(), wireEnv+"=1"), Stderr: os.Stderr,
		ExtraFiles:  files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := k.onThread(k.wire.Start); err != nil {
		return fmt.Errorf("the process that reads the network: %w", err)
	}
	return nil
}

// emptyRoot is a directory that has no name any more, so that nothing can come into it and it is gone with the wire.
func emptyRoot(in string) (*os.File, error) {
	path, err := os.MkdirTemp(in, ".wire-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	return os.Open(path)
}

// tellSetup tells the wire what it is to do.
func (k *keeper) tellSetup(ports []*openPort) error {
	s := k.setup
	w := &wireSetup{
		Machine: s.machine, Boot: random(), Door: k.opt.door, Tolerance: s.tolerance, Ethertype: s.wire.ethertype, Ifaces: s.wire.ifaces,
		Faults: k.opt.faults, Trace: k.opt.trace, Capture: s.capture != nil, Owner: uint32(os.Getuid()),
	}
	if os.Geteuid() == 0 {
		w.Root = true
		w.UID, w.GID = powerless()
	}
	if k.voucher != nil {
		w.Boot = k.voucher.boot
	}
	w.Seal = s.sealing.forWire()
	var files []int
	if s.capture != nil {
		files = append(files, int(s.capture.Fd()))
	}
	if err := k.line.send(&memo{Kind: "setup", Setup: w}, files...); err != nil {
		return err
	}
	for _, p := range ports {
		if err := k.line.send(p.memo(), p.fds()...); err != nil {
			return err
		}
		p.close()
	}
	if err := errors.Join(k.tellPins(), k.mount.give(k), k.tellServices(s.services)); err != nil {
		return err
	}
	return k.line.send(&memo{Kind: "begin"})
}

// tellServices tells the wire what servtab offers.
func (k *keeper) tellServices(services map[string]*program) error {
	for _, name := range sortedKeys(services) {
		s := services[name]
		offer := serviceOffer{
			Name: s.name, Argv: s.argv, Bytes: s.bytes, As: s.shownUser(), Max: s.max, Resident: s.resident, Indirect: s.indirect,
			UID: s.as.uid, Guarded: s.allow != nil,
		}
		if err := k.line.send(&memo{Kind: "service", Offer: offer}); err != nil {
			return err
		}
	}
	return k.line.send(&memo{Kind: "services"})
}

// wireEnded ends what the keeper has started, after the wire has said goodbye to everybody. A wire that ends before it was told to has said why, or was killed.
func (k *keeper) wireEnded(why error) error {
	k.end()
	k.line.file.Close()
	late := time.AfterFunc(goodbye, func() { k.wire.Process.Kill() })
	err := k.wire.Wait()
	late.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	var exit *exec.ExitError
	switch {
	case k.told && err == nil:
		return nil
	case errors.As(err, &exit) && exit.Exited():
		return errSaid
	case err == nil:
		err = why
	}
	return fmt.Errorf("the process that reads the network ended: %v", err)
}

// end has every server end, and starts none any more.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.going = true
	for _, p := range k.servers {
		unix.Kill(-p.pid, unix.SIGTERM)
	}
	for _, r := range k.residents {
		r.quit()
	}
}

// serve does what the wire asks for.
func (k *keeper) serve(m *memo) {
	switch m.Kind {
	case "start":
		k.deciding <- struct{}{}
		go k.start(m) // which may wait for a trust file, and then for the server's end
	case "met", "refused":
		if k.pins != nil && names.CheckLabel(m.Machine) == nil {
			k.pins.heard(m)
		}
	case "may":
		k.deciding <- struct{}{}
		go k.may(m)
	case "vouch":
		k.vouch(m)
	case "signal":
		k.signal(m)
	case "open":
		k.openLater(m.Name)
	case "who":
		k.mu.Lock()
		u := k.users.of(m.UID)
		k.mu.Unlock()
		k.line.send(&memo{Kind: "user", UID: m.UID, User: u})
	default:
		k.blame("asks for %.40q", m.Kind)
	}
}

// blame says that the wire does what it never does, at most once a minute: it is not what it was, or has a fault.
func (k *keeper) blame(format string, args ...any) {
	if now := time.Now(); now.Sub(k.blamed) >= time.Minute {
		k.blamed = now
		log.Printf("the process that reads the network "+format, args...)
	}
}

// onSignals reads servtab again at SIGHUP, and has netman go at SIGTERM and SIGINT.
func (k *keeper) onSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		s := <-signals
		for ; s == unix.SIGHUP; s = <-signals {
			k.reload()
		}
		signal.Stop(signals) // a second one ends netman at once
		log.Printf("%v: going", s)
		k.mu.Lock()
		k.told, k.going = true, true
		k.mu.Unlock()
		time.AfterFunc(goodbye, func() { k.wire.Process.Kill() }) // first, for it may not listen
		k.line.send(&memo{Kind: "stop", Text: "netman on " + k.setup.machine + " has been stopped"})
	}()
}

// reload reads servtab again: services come, go and change; what is running stays as it is.
func (k *keeper) reload() {
	st, err := readServtab(k.opt.servtab, true)
	var services map[string]*program
	var rules trustRules
	if err == nil {
		services, err = st.services(k.setup.machine)
	}
	if err == nil {
		rules, err = st.trust(k.setup.machine)
	}
	if err == nil {
		err = k.reloadSecrets(st)
	}
	if err != nil {
		log.Printf("reload: %v; nothing is changed", err)
		return
	}
	k.mu.Lock()
	k.services, k.trust = services, rules
	k.mu.Unlock()
	if err := k.tellServices(services); err != nil {
		log.Printf("reload: %v", err)
		return
	}
	k.takeResidents(services) // whose names are free now
	log.Printf("reload: %s: %d services", k.opt.servtab, len(services))
}

// shownUser is whom the servers of a program run as, for status.
func (p *program) shownUser() string {
	if p.caller {
		return callerUser
	}
	return p.as.name
}

// rules are those of trust, as servtab has them now.
func (k *keeper) rules() trustRules {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.trust
}

// logf writes a line that a caller can cause: at most one a minute for one reason and source... of the same text.
func (k *keeper) logf(format string, args ...any) {
	log.Printf(format, args...)
}

// powerless is the user and the group that the wire becomes: dnet, or else nobody.
func powerless() (uid, gid int) {
	for _, name := range []string{"dnet", "nobody"} {
		if id, err := lookUser(name); err == nil && id.uid != 0 {
			return int(id.uid), int(id.gid)
		}
	}
	return 65534, 65534
}
