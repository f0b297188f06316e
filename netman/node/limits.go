package node

import (
	"time"

	"dnet/netman/names"
)

// Limits of one machine; a zero is the default. Each queue and table has one; what happens at it is said beside it. Those of the packet
// level are in Config.Level, and the most circuits of a link are its MaxCircuits: 4095, X.25's own limit, then Clear 05.
type Limits struct {
	Stations      int          // a further one takes the place of one without a link, or with one half open; else "stations full". 1024
	Calls         int          // of this machine, that look for a server or a link: Clear 05, "calls full". 6144
	HelloBurst    int          // hellos of one station at once: further ones are dropped, "hellos of one station limited". 64
	GreetTries    int          // hellos before a station is given up, 1 to 3: calls go to the next server, or are cleared 09. 3
	Logged        int          // log lines a minute, of all reasons and sources: "log lines left out". 256
	ComplexBudget int          // octets come from one complex server and not gone on: above it the largest holder is cleared 05. 64 MiB
	Names         names.Limits // of the directory; its Queries are never above Calls
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Stations, 1024)
	orDefault(&l.Calls, 6144)
	orDefault(&l.HelloBurst, 64)
	orDefault(&l.GreetTries, len(greetWaits))
	l.GreetTries = min(l.GreetTries, len(greetWaits))
	orDefault(&l.Logged, maxLogged)
	orDefault(&l.ComplexBudget, complexBudget)
	orDefault(&l.Names.Queries, l.Calls)
	l.Names.Queries = min(l.Names.Queries, l.Calls)
	return l
}

func orDefault(v *int, standard int) {
	if *v <= 0 {
		*v = standard
	}
}

// Defaults that stand in several places, and what goes by time.
const (
	maxCircuits   = 4095                  // per link: Clear 05
	receiveBudget = 64 << 20              // octets received and not yet taken by programs (protocol.md 4)
	helloInterval = time.Second / 32      // a station may send one more hello after each of these
	quietStation  = 30 * time.Second      // a station without link or call is forgotten after this
	idleLink      = 60 * time.Second      // protocol.md 3: a link without circuits is disconnected
	logInterval   = time.Minute           // one line per reason and source; others are counted as "log lines left out"
	maxLogged     = 256                   // lines in a logInterval, of all reasons and sources
	maxBeside     = 3                     // servers of one call whose handshakes run side by side
	besideWait    = 20 * time.Millisecond // until a further one is begun
	refusedAgain  = 10 * time.Second      // a station that proved a wrong key: its sealed frames get no handshake for so long
	maxNotices    = 8                     // times in a second that differing modes are logged and told: further ones are counted only
)

// Limits of a complex server (protocol.md 5). It has at most maxCircuits calls and circuits: one more is cleared 01.
const (
	ComplexPacket  = 16 << 10         // octets of its largest packet
	complexQueue   = 16 << 10         // queued for the program, per circuit, passed by at most one datagram: the other end's window shuts
	complexReceive = 64 << 10         // come from the program and not gone on, per circuit, and a window: P(R) stands
	complexBudget  = 64 << 20         // the same of all its circuits, but for Limits: above it the largest is cleared 05, and no other program's
	complexOffer   = 8 * time.Second  // T21 at the door: a call that the program does not answer is cleared 01
	complexDrain   = 24 * time.Hour   // a program may take its time over what its callers wrote before they closed
	spliceStall    = 30 * time.Second // protocol.md 4: what the program wrote before it closed is not taken: 00 F0
	spliceDied     = time.Second      // what it wrote before it died may take so long to arrive
)

// greetWaits is how long each hello waits for its answer; as with queries (protocol.md 2).
var greetWaits = [...]time.Duration{40 * time.Millisecond, 120 * time.Millisecond, 360 * time.Millisecond}

// safeN1 is the largest PDU that every Ethernet carries: 1500 octets less L and F. Larger ones are proved first.
const safeN1 = 1500 - 3
