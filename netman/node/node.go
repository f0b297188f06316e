package node

import (
	"fmt"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
	"dnet/netman/seal"
	"dnet/x25"
)

// Config is what a machine is told before it starts.
type Config struct {
	Machine   string        // its name, a label of protocol.md 2
	BootID    uint64        // random at each start
	Seed      uint64        // of the node's own pseudo-random numbers (jitter)
	Ethertype uint16        // 0: Ethertype
	Tolerance time.Duration // silence after which a link is down; 0: 1 s
	Budget    int           // received octets held for programs; 0: 64 MiB
	Limits    Limits        // zeros: the defaults
	Level     x25.Config    // limits and timers of layer 3; role, sizes, pool and budget are filled in per link
	Seal      *seal.Config  // mode, keys, pins; nil: mode open. BootID is filled in
}

// Node is one machine. All its state has one owner, who calls its methods one at a time.
type Node struct {
	cfg       Config
	ports     []port
	stations  map[stationKey]*station
	order     []*station // the same, in the order they were met: what is walked is walked the same way each time
	local     *loopback
	complexes []*Complex // in the order they came
	resets    []*splice  // one end of which is still to be reset
	dir       *names.Directory
	looking   map[uint32]*Circuit // calls whose name is being asked for, by query
	instance  uint32              // of the last link that this machine began
	hellos    uint32              // txid of the last hello
	next      time.Time           // no timer is due before it
	slabs     map[int]*hdlc.Slab  // by buffer size
	pool      *x25.Pool
	budget    *x25.Budget
	stranger  *hdlc.Link // answers for stations that have no link
	logs      Limiter
	drops     map[string]uint64 // frames that no machine took, by reason
	past      map[string]uint64 // what links and levels counted that are no more
	claimed   bool
	sealing
	staggered []*Circuit // calls that may try a further server
	others    bool       // another link than the one at hand got something to send: a call, or the clear of a circuit

	// Scratch, reused by every call.
	xout  x25.Out
	xnext int // events of xout before it are handled
	nout  names.Out
}

// port is one interface of the machine.
type port struct {
	addr Addr
	mtu  int // octets after the Ethernet header
	rw   int // frames that its receive buffer holds for one link
	up   bool
}

type stationKey struct {
	port int
	addr Addr
}

// New returns a machine without ports. Nothing is sent before AddPort and Start.
func New(cfg Config) *Node {
	if cfg.Ethertype == 0 {
		cfg.Ethertype = Ethertype
	}
	if cfg.Tolerance == 0 {
		cfg.Tolerance = time.Second
	}
	if cfg.Budget == 0 {
		cfg.Budget = receiveBudget
	}
	cfg.Limits = cfg.Limits.withDefaults()
	n := &Node{
		cfg:      cfg,
		stations: map[stationKey]*station{},
		looking:  map[uint32]*Circuit{},
		slabs:    map[int]*hdlc.Slab{},
		pool:     x25.NewPool(),
		budget:   &x25.Budget{Limit: cfg.Budget},
		logs:     Limiter{Most: cfg.Limits.Logged},
		drops:    map[string]uint64{},
		past:     map[string]uint64{},
		dir:      names.New(names.Config{Machine: cfg.Machine, BootID: cfg.BootID, Seed: cfg.Seed, Limits: cfg.Limits.Names}),
	}
	n.startSealing(cfg.Seal)
	n.stranger = hdlc.NewLink(n.linkConfig(n.safeN1(), n.safeN1(), hdlc.MaxWindow, hdlc.MaxWindow, cfg.Tolerance))
	n.local = newLoopback(n)
	return n
}

// AddPort gives the machine an interface, number id (small, chosen by the caller), or brings a known one up again. addr is its
// station address, mtu the octets a frame carries after the Ethernet header, rw the frames its receive buffer holds for one link.
func (n *Node) AddPort(id int, addr Addr, mtu, rw int) {
	for len(n.ports) <= id {
		n.ports = append(n.ports, port{})
	}
	n.dir.SetAddr(id, addr)
	n.ports[id] = port{addr: addr, mtu: mtu, rw: min(max(rw, 4), 127), up: true}
	for _, s := range n.order {
		if n.desk != nil && s.key.port == id {
			s.sealed.peer.Move(addr)
		}
	}
}

// RemovePort takes an interface away, or tells that it went down: its links end at once (protocol.md 1).
func (n *Node) RemovePort(now time.Time, id int, out *Out) {
	if id >= len(n.ports) || !n.ports[id].up {
		return
	}
	n.ports[id].up = false
	for _, s := range n.order {
		if s.key.port == id {
			n.endLink(now, s, "interface down", out)
		}
	}
	n.forgetStations(now, out)
	n.settleOthers(now, out)
}

// Start claims the machine's name: the event Claimed or Clash follows. Services may be registered before it, and
// are answered for once the name is claimed.
func (n *Node) Start(now time.Time, out *Out) {
	n.local.start(now, out)
	n.dir.Claim(now, &n.nout)
	n.handleNames(now, out)
}

// Stop ends every link with a word to the peer, who clears the circuits on it. Nothing else is told; the node is done.
func (n *Node) Stop(now time.Time, out *Out) {
	for _, s := range n.order {
		if s.state == up {
			s.link.Disconnect(now, &out.link)
			n.takeFrames(s.key, out)
		}
	}
}

// Register makes a service known: calls for it are raised as Incoming. The error names what is wrong with the name.
func (n *Node) Register(service string) error { return n.dir.Register(service) }

// Unregister withdraws a service. Its circuits stay.
func (n *Node) Unregister(service string) { n.dir.Unregister(service) }

// SetBusy says whether a service can take a further call.
func (n *Node) SetBusy(service string, busy bool) { n.dir.SetBusy(service, busy) }

// Machine is the machine's own name.
func (n *Node) Machine() string { return n.cfg.Machine }

// EventKind says what an Event reports.
type EventKind uint8

// Events of a node.
const (
	Claimed            EventKind = iota + 1 // the machine's name is its own
	Clash                                   // Text: another station holds the name (fatal before Claimed)
	Incoming                                // Circuit is a call for Circuit.Service: Accept or Clear it
	Connected                               // the call of this side was accepted
	Cleared                                 // Circuit is over, for Cause, Diag, Text; what it still holds can be read
	Data                                    // Circuit has something to Peek at
	Room                                    // Circuit takes Sends again
	Reset                                   // Circuit was reset: data may be lost; one that is over lost what it held, for memory
	Interrupt                               // Octets came out of band
	InterruptConfirmed                      // the last Interrupt of this side arrived
	Drained                                 // the Close of this side is complete
	Located                                 // Circuit.Machine offers what Locate asked for; the circuit is over
	Packets                                 // Complex has packets for its program: AppendNext gives them
	Log                                     // Text is for the log
	Pinned                                  // Pin is a machine met for the first time, to be kept
	Refused                                 // Pin is a machine that came with another key than the one pinned, which is this one
	Vouch                                   // Circuit waits for the credential of its call to Circuit.Machine: Vouched
)

// Event is something the owner must know.
type Event struct {
	Kind    EventKind
	Circuit *Circuit
	Complex *Complex // of Packets
	Cause   x25.Cause
	Diag    x25.Diag
	Text    string
	Octets  []byte
	Pin     *seal.Pin
}

// Frame is one to be sent, whole, on the port.
type Frame struct {
	Port   int
	Octets []byte
}

// Out collects, in order, what the machine wants done. Frames stay valid until Reset.
type Out struct {
	Frames []Frame
	Events []Event

	link  hdlc.Out // what the links want done, and the buffers to give back at Reset
	taken int      // frames of link that are in Frames already
	arena []byte   // control messages
	acks  []ack    // of sealed links
}

// Reset empties the Out once its frames are sent and its events handled.
func (o *Out) Reset() {
	clear(o.Events)
	o.Frames, o.Events, o.arena = o.Frames[:0], o.Events[:0], o.arena[:0]
	o.taken, o.acks = 0, o.acks[:0]
	o.link.Reset()
}

// note remembers that a timer is due at t.
func (n *Node) note(t time.Time) {
	if !t.IsZero() && (n.next.IsZero() || t.Before(n.next)) {
		n.next = t
	}
}

// drop counts a frame that no machine took.
func (n *Node) drop(reason string) { n.drops[reason]++ }

// logf reports to the owner's log, at most once a minute for one reason and station.
func (n *Node) logf(now time.Time, addr Addr, reason string, out *Out, format string, args ...any) {
	if n.logs.Allow(now, string(addr[:]), reason) {
		out.Events = append(out.Events, Event{Kind: Log, Text: fmt.Sprintf(format, args...)})
	}
}
