package sim

import (
	"bytes"
	"hash/crc32"
	"slices"
	"time"

	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// batchFrames is how many frames a machine takes in one turn, as netman does.
const batchFrames = 64

// Machine is a station: a node, and what the daemon and the operating system are to it.
type Machine struct {
	w    *World
	name string
	MachineConfig

	seal *seal.Config // what outlives a restart: its key, its pins; nil in open mode

	n       *node.Node // nil while the machine is down
	boot    int        // how often it has started
	bootID  uint64     // of the last start
	out     node.Out
	marked  int // events of out that the ledger has been told of
	nics    []*nic
	inbox   []arrival // the receive buffer of its socket
	missed  uint64    // frames that it did not hold
	wakeAt  time.Duration
	asleep  time.Duration // not driven before
	claimed bool
	logs    []string // what its netman logged

	services []*service
	servers  []*complexServer // the processes of complex services
	programs []*program       // that have not ended
}

// MachineConfig is what a machine is made of.
type MachineConfig struct {
	MTU       int // octets after the Ethernet header; 0: 1500
	RW        int // frames its buffer holds for one link; 0: 127
	Ports     int // interfaces on the wire; 0: 1
	Tolerance time.Duration
	Budget    int
	Limits    node.Limits
	Level     x25.Config
	Mode      *seal.Mode    // nil: the world's
	Secret    []byte        // nil: the world's
	Strict    bool          // no unknown machine is accepted
	Latency   time.Duration // until it takes what has arrived, at most
}

type arrival struct {
	port  int
	frame []byte
}

// service is a name that a machine offers.
type service struct {
	name    string
	max     int // calls at once
	delay   time.Duration
	refuses float64 // chance that a call is refused
	mute    float64 // chance that a call is never answered
	plan    func(r *request) plan
	running int
	complex bool           // all its circuits are on one descriptor
	server  *complexServer // then: its process, nil while there is none
}

// AddMachine puts a machine on the wire. It is down until Start.
func (w *World) AddMachine(name string, cfg MachineConfig) *Machine {
	orElse(&cfg.MTU, 1500)
	orElse(&cfg.RW, 127)
	orElse(&cfg.Ports, 1)
	m := &Machine{w: w, name: name, MachineConfig: cfg, wakeAt: -1}
	for port := range cfg.Ports {
		m.nics = append(m.nics, w.Wire.attach(m, port, w.newAddr()))
	}
	w.Machines = append(w.Machines, m)
	return m
}

func orElse(v *int, standard int) {
	if *v == 0 {
		*v = standard
	}
}

// newAddr is the address of a further station, above or below those there are.
func (w *World) newAddr() node.Addr {
	return node.Addr{0x02, 0, byte(w.rng.IntN(256)), byte(w.rng.IntN(256)), 0, byte(len(w.Wire.nics))}
}

// offer adds a service: from the next start on, or at once if the machine is up.
func (m *Machine) offer(s *service) {
	m.services = append(m.services, s)
	if m.n != nil {
		m.n.Register(s.name)
		if s.complex {
			m.turn(func(time.Time) { m.serve(s) })
		}
	}
}

// Start boots the machine.
func (m *Machine) Start() {
	if m.n != nil {
		return
	}
	w := m.w
	m.boot++
	m.n = node.New(node.Config{
		Machine: m.name, BootID: m.drawBoot(), Seed: w.rng.Uint64(), Tolerance: m.Tolerance, Budget: m.Budget, Limits: m.Limits,
		Level: m.Level,
		Seal:  m.sealing(),
	})
	w.tracef("%s starts in mode %v", m.name, w.Mode)
	for _, c := range m.nics {
		if c.up {
			m.n.AddPort(c.port, c.addr, m.MTU, m.RW)
		}
	}
	for _, s := range m.services {
		s.running = 0
		m.n.Register(s.name)
	}
	m.n.Start(w.time(), &m.out)
	for _, s := range m.services {
		if s.complex {
			m.serve(s)
		}
	}
	m.flush()
}

// Crash ends the machine without a word, and all that ran on it.
func (m *Machine) Crash() {
	if m.n == nil {
		return
	}
	m.w.tracef("%s crashes", m.name)
	m.w.Stats.Crashes++
	m.n, m.out, m.marked, m.claimed = nil, node.Out{}, 0, false
	m.wakeAt, m.asleep = -1, 0
	for _, a := range m.inbox {
		m.w.spare = append(m.w.spare, a.frame)
	}
	m.inbox = m.inbox[:0]
	for len(m.servers) > 0 {
		m.servers[0].die()
	}
	for len(m.programs) > 0 {
		m.programs[0].release()
	}
}

// Stop ends the machine's netman as a person would; its programs end with it.
func (m *Machine) Stop() {
	if m.n == nil {
		return
	}
	m.w.tracef("%s stops", m.name)
	m.n.Stop(m.w.time(), &m.out)
	m.send()
	m.Crash()
}

// Sleep keeps the machine from being driven for a while.
func (m *Machine) Sleep(d time.Duration) { m.asleep = max(m.asleep, m.w.now+d) }

// InterfaceDown and InterfaceUp are what becomes of an interface.
func (m *Machine) InterfaceDown(port int) {
	m.w.tracef("%s/%d down", m.name, port)
	m.nics[port].up = false
	m.turn(func(now time.Time) { m.n.RemovePort(now, port, &m.out) })
}

// InterfaceUp brings it back; with another address if there is one.
func (m *Machine) InterfaceUp(port int, addr node.Addr) {
	c := m.nics[port]
	if addr != (node.Addr{}) {
		c.addr = addr
	}
	m.w.tracef("%s/%d up %s", m.name, port, node.FormatAddr(c.addr))
	c.up = true
	m.turn(func(time.Time) { m.n.AddPort(port, c.addr, m.MTU, m.RW) })
}

// turn does something with the node, if the machine is up, and carries out what comes of it.
func (m *Machine) turn(do func(now time.Time)) {
	if m.n != nil {
		do(m.w.time())
		m.flush()
	}
}

// after does something on the machine in a while, unless it has started anew by then. A machine that sleeps does it later.
func (m *Machine) after(d time.Duration, do func(now time.Time)) {
	boot := m.boot
	m.w.After(d, func() {
		switch {
		case m.n == nil || m.boot != boot:
		case m.asleep > m.w.now:
			m.after(m.asleep-m.w.now, do)
		default:
			m.turn(do)
		}
	})
}

// arrive puts a frame into the receive buffer.
func (m *Machine) arrive(c *nic, frame []byte) {
	if m.n == nil || len(m.inbox) >= m.RW*8 {
		m.missed++
		m.w.spare = append(m.w.spare, frame)
		return
	}
	m.inbox = append(m.inbox, arrival{c.port, frame})
	if m.wakeAt < 0 {
		m.wakeAt = m.w.now + m.w.between(0, m.Latency)
	}
}

// due is when the machine is next to be driven: -1: not at all.
func (m *Machine) due() time.Duration {
	if m.n == nil {
		return -1
	}
	at := m.wakeAt
	if deadline := m.n.Deadline(); !deadline.IsZero() {
		if d := deadline.Sub(epoch); at < 0 || d < at {
			at = d
		}
	}
	if at < 0 {
		return -1
	}
	return max(at, m.asleep)
}

// wake drives the node as netman's loop does: a batch of frames, then the timers.
func (m *Machine) wake() {
	w := m.w
	now := w.time()
	if m.wakeAt >= 0 && m.wakeAt <= w.now {
		m.receive(now)
	}
	if m.n == nil {
		return
	}
	if deadline := m.n.Deadline(); !deadline.IsZero() && !now.Before(deadline) {
		m.n.HandleTimeout(now, &m.out)
		m.flush()
	}
}

// receive gives a batch of frames to the node.
func (m *Machine) receive(now time.Time) {
	n := min(len(m.inbox), batchFrames)
	for _, a := range m.inbox[:n] {
		m.n.HandleFrame(now, a.port, a.frame, &m.out)
	}
	m.flush()
	if m.n == nil {
		return
	}
	for _, a := range m.inbox[:n] {
		for i := range min(len(a.frame), 96) {
			a.frame[i] = 0xa5 // whoever kept a borrowed slice is found out
		}
		m.w.spare = append(m.w.spare, a.frame)
	}
	m.inbox = m.inbox[:copy(m.inbox, m.inbox[n:])]
	m.wakeAt = -1
	if len(m.inbox) > 0 {
		m.wakeAt = m.w.now
	}
}

// flush carries out what the node wants done: events, which may bring forth more, then frames; then all must be well.
func (m *Machine) flush() {
	for i := 0; m.n != nil && i < len(m.out.Events); i++ {
		m.mark()
		m.handle(m.out.Events[i])
	}
	if m.n == nil {
		return
	}
	m.send()
	if err := m.n.Check(); err != nil {
		m.w.failf("%s: %v", m.name, err)
	}
	m.checkPrograms()
}

// send puts the frames of the turn on the wire.
func (m *Machine) send() {
	m.n.Finish(&m.out)
	for _, f := range m.out.Frames {
		m.w.Wire.transmit(m.nics[f.Port], f.Octets)
	}
	m.out.Reset()
	m.marked = 0
}

// mark tells the ledger of resets and confirmations the moment they have happened, whatever the program knows of it yet.
func (m *Machine) mark() {
	for ; m.marked < len(m.out.Events); m.marked++ {
		ev := &m.out.Events[m.marked]
		p, ok := programOf(ev.Circuit)
		switch {
		case !ok:
		case ev.Kind == node.Reset && ev.Cause == x25.ResetCongestion:
			p.lost = true
		case ev.Kind == node.Reset:
			p.markReset()
		case ev.Kind == node.InterruptConfirmed:
			p.markConfirmed()
		}
	}
}

func programOf(c *node.Circuit) (*program, bool) {
	if c == nil {
		return nil, false
	}
	p, ok := c.User.(*program)
	return p, ok
}

var eventNames = map[node.EventKind]string{
	node.Claimed: "claimed", node.Clash: "clash", node.Incoming: "incoming", node.Connected: "connected", node.Cleared: "cleared",
	node.Data: "data", node.Room: "room", node.Reset: "reset", node.Interrupt: "interrupt",
	node.InterruptConfirmed: "interrupt confirmed", node.Drained: "drained", node.Located: "located", node.Log: "log",
	node.Packets: "packets", node.Pinned: "pinned", node.Refused: "refused", node.Vouch: "vouch",
}

// handle takes an event of the node to where it belongs.
func (m *Machine) handle(ev node.Event) {
	w := m.w
	w.hash = w.hash*31 + uint64(crc32.Update(uint32(w.now)+uint32(ev.Kind)<<8+uint32(ev.Cause), crcTable, []byte(ev.Text)))
	if w.trace != nil {
		who := ""
		if p, ok := programOf(ev.Circuit); ok {
			who = " " + p.String()
		}
		w.tracef("%s    %s%s %02x %02x %s", m.name, eventNames[ev.Kind], who, uint8(ev.Cause), uint8(ev.Diag), ev.Text)
	}
	switch ev.Kind {
	case node.Claimed:
		m.claimed = true
	case node.Clash:
		m.clash()
	case node.Log:
		m.logs = append(m.logs, ev.Text)
		m.checkLog(ev.Text)
	case node.Pinned:
		m.pinned(*ev.Pin)
	case node.Refused:
	case node.Vouch:
		m.after(w.between(0, 3*time.Millisecond), func(now time.Time) { m.vouch(now, ev.Circuit) })
	case node.Incoming:
		m.incoming(ev.Circuit)
	case node.Packets:
		for _, srv := range m.servers {
			if srv.k == ev.Complex {
				srv.pull(w.time())
			}
		}
	default:
		p, ok := programOf(ev.Circuit)
		if !ok && ev.Kind == node.Cleared && m.isComplex(ev.Circuit.Service) {
			return // before it was offered
		}
		if !ok {
			w.failf("%s: %s for a circuit that is nobody's", m.name, eventNames[ev.Kind])
		}
		p.handle(ev)
	}
}

// isComplex says whether the machine offers a service by a complex server.
func (m *Machine) isComplex(name string) bool {
	return slices.ContainsFunc(m.services, func(s *service) bool { return s.name == name && s.complex })
}

// clash: another machine has the name. A netman that does not run yet refuses to; it is tried again.
func (m *Machine) clash() {
	m.w.Stats.Clashes++
	if m.claimed {
		return
	}
	boot := m.boot
	m.Crash()
	m.w.After(time.Second, func() {
		if m.boot == boot {
			m.Start()
		}
	})
}

// incoming takes a call for one of the machine's services as netman does.
func (m *Machine) incoming(c *node.Circuit) {
	w := m.w
	r := w.requestOf(c)
	var s *service
	for _, each := range m.services {
		if each.name == c.Service {
			s = each
		}
	}
	switch {
	case s == nil:
		w.failf("%s: a call for %s, which it does not offer", m.name, c.Service)
	case !w.Corrupt && (r.service != c.Service || r.caller.m.name != c.Machine):
		w.failf("%s: a call of %s for %s; it was %s's for %s", m.name, c.Machine, c.Service, r.caller.m.name, r.service)
	case m.n.Mode() != seal.Open && !c.Local() && !bytes.Equal(c.Credential(), credentialOf(c.PeerUser, m.bootID)):
		w.failf("%s: a call of %s carries %q", m.name, c.PeerUser, c.Credential())
	case s.complex:
		if s.server == nil || !s.server.k.Offer(w.time(), c, &m.out) {
			c.Clear(w.time(), x25.CauseBusy, 0, s.name+" is busy", &m.out)
		}
		return
	case s.running >= s.max:
		c.Clear(w.time(), x25.CauseBusy, 0, s.name+" is busy", &m.out)
		return
	}
	p := w.newProgram(m, c, r, s)
	c.User = p
	m.admit(p)
}

// admit has the server of a call run, refuse, or do nothing.
func (m *Machine) admit(p *program) {
	w, r, s := m.w, p.r, p.service
	r.servers = append(r.servers, p)
	p.plan = s.plan(r)
	s.running++
	m.n.SetBusy(s.name, s.running >= s.max)
	switch {
	case w.chance(s.mute):
	case w.chance(s.refuses):
		m.after(w.between(0, s.delay), func(now time.Time) { p.refuse(now) })
	default:
		m.after(w.between(0, s.delay), func(now time.Time) { p.accept(now) })
	}
}

// requestOf finds the request that a call is.
func (w *World) requestOf(c *node.Circuit) *request { return w.requestOfUser(c.PeerUser, c.Service) }
