package x25

import "time"

// Role decides from which end logical channels are taken and who yields in a call collision (ISO 8208 4.5, 5.2.5).
type Role uint8

// Roles.
const (
	DTE Role = iota // the station with the lower address: from the top, its call stands
	DCE             // from the bottom, its call yields
)

func (r Role) String() string {
	if r == DTE {
		return "DTE"
	}
	return "DCE"
}

// Timers of a level. Zero is the default of protocol.md 4.
type Timers struct {
	T20, T21, T22, T23 time.Duration // restart 2 s, call 10 s, reset 2 s, clear 2 s
	Tries              int           // restart, reset and clear requests in all: 3
	Ack                time.Duration // an RR is held back for at most: 5 ms
	Drain              time.Duration // a Close gives up when P(R) stands still for: 30 s
}

// Config is what a level is told at its start. Zero values are the defaults.
type Config struct {
	Role         Role
	MaxPacket    int // largest packet that layer 2 takes, octets; at least 160, below it is taken as that
	Window       int // packets proposed and taken, 1..127; 0: chosen so that a window is 128 to 512 KiB
	MaxUserData  int // of a data packet, octets; 0: MaxPacket-4
	MaxCircuits  int // that programs hold at once: 4095
	MaxLCI       int // highest logical channel: 4095
	QueueLimit   int // octets queued to be sent, per circuit: 64 KiB; what passes it by is one Send
	ReceiveLimit int // octets received and not read, per circuit, up to which credit is given: 256 KiB
	MaxMessage   int // a longer one is handed up in pieces: 65535 octets
	Timers       Timers
	Pool         *Pool   // nil: the level's own
	Budget       *Budget // nil: 64 MiB of the level's own
}

// Defaults and bounds that are not in Config's comments.
const (
	minPacket     = 160       // holds any call, accept or clear this package sends
	windowOctets  = 256 << 10 // a window aims at
	budgetLimit   = 64 << 20
	budgetPortion = 4  // above 3/4 of the budget credit is short
	budgetShare   = 64 // a circuit is promised at most this part of what is left of half of it
	poolKeep      = 8 << 20
	maxDataSize   = 65535 // what facility 7f can say
	maxTries      = 100
)

func (cfg Config) withDefaults() Config {
	cfg.MaxPacket = max(cfg.MaxPacket, minPacket)
	if most := min(cfg.MaxPacket-dataHeaderLen, maxDataSize); cfg.MaxUserData <= 0 || cfg.MaxUserData > most {
		cfg.MaxUserData = most
	}
	if cfg.Window <= 0 {
		cfg.Window = max(windowOctets/cfg.MaxUserData, defaultWindow)
	}
	cfg.Window = min(cfg.Window, 127)
	orDefault(&cfg.MaxLCI, maxLCI)
	cfg.MaxLCI = min(cfg.MaxLCI, maxLCI)
	orDefault(&cfg.MaxCircuits, maxLCI)
	orDefault(&cfg.QueueLimit, 64<<10)
	orDefault(&cfg.ReceiveLimit, 256<<10)
	orDefault(&cfg.MaxMessage, 65535)
	t := &cfg.Timers
	orDefault(&t.T20, 2*time.Second)
	orDefault(&t.T21, 10*time.Second)
	orDefault(&t.T22, 2*time.Second)
	orDefault(&t.T23, 2*time.Second)
	orDefault(&t.Tries, 3)
	t.Tries = min(t.Tries, maxTries)
	orDefault(&t.Ack, 5*time.Millisecond)
	orDefault(&t.Drain, 30*time.Second)
	if cfg.Pool == nil {
		cfg.Pool = NewPool()
	}
	if cfg.Budget == nil {
		cfg.Budget = &Budget{Limit: budgetLimit}
	}
	return cfg
}

func orDefault[T int | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

// Budget bounds the memory of the receive queues of all levels that share it: the octets of their buffers. A window is a promise to
// take so much, which is not taken back: the more circuits there are, the smaller are those of further ones. Above three
// quarters, or where all promises together would pass the whole, a circuit with data queued gets no new credit; above the whole the
// largest holder is cleared (protocol.md 4), or loses its queue if it has ended already.
type Budget struct {
	Limit    int // octets
	used     int
	promised int // octets of the buffers that the windows of all circuits may need
	holders  list
}

// Used is the octets in use.
func (b *Budget) Used() int { return b.used }

func (b *Budget) short() bool { return b.used > b.Limit-max(b.Limit/budgetPortion, b.promised) }

// window is how many packets of at most size octets a further circuit may be promised: most, or less when there are many circuits.
func (b *Budget) window(size, most int) int {
	left := b.Limit/2 - b.promised
	return min(max(left/budgetShare/promise(1, size), defaultWindow), most)
}

// promise is the octets of buffers that a window may need: a buffer may be twice as large as what is in it.
func promise(window, size int) int { return 2 * window * size }

// largest is the circuit with the most memory, ended or not.
func (b *Budget) largest() *Circuit {
	var best *Circuit
	for c := b.holders.head; c != nil; c = c.links[inHolders].next {
		if best == nil || c.rx.counted > best.rx.counted {
			best = c
		}
	}
	return best
}

// Counter names something that a level counts.
type Counter uint8

// Counters.
const (
	PacketsIn Counter = iota
	PacketsOut
	DataIn  // octets of user data
	DataOut // octets of user data
	Calls   // placed by this side
	IncomingCalls
	Collisions
	Resets         // begun by either side
	Restarts       // by the peer, in r1
	ProcedureError // requests sent because of what the peer did
	TimerExpired   // T20 to T23, or a Close that stood still
	BudgetCleared  // circuits cleared, or queues dropped, for memory

	// Packets discarded, or parts of them.
	DropDown         // before LinkUp or after LinkDown
	DropFormat       // not a packet
	DropState        // the action table says discard
	DropLevel        // of no use on LCI 0: diagnostic, registration, unknown
	DropUnassigned   // LCI above MaxLCI
	DropClosed       // data octets for a program that has gone
	DropReset        // received octets that a reset took: of a sequence that it cut, or above ReceiveLimit
	DropNoChannel    // calls of either side refused for want of a channel
	DropSurplus      // confirmations of a repeated request
	DropDiagnostic   // diagnostics not sent because one was waiting
	InterruptDropped // interrupts for a program that has gone

	counters
)

var counterNames = [counters]string{
	"packets in", "packets out", "data octets in", "data octets out", "calls", "incoming calls", "call collisions", "resets",
	"restarts", "procedure errors", "timers expired", "cleared for memory",
	"dropped: link down", "dropped: not a packet", "dropped: wrong state", "dropped: no use on LCI 0",
	"dropped: unassigned LCI", "dropped: data for a closed circuit", "dropped: data of a cut sequence",
	"dropped: call without a channel", "dropped: surplus confirmation", "dropped: diagnostic not sent",
	"dropped: interrupt for a closed circuit",
}

func (c Counter) String() string { return counterNames[c] }

// Stats are the counters of a level, by Counter.
type Stats [counters]uint64
