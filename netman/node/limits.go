package node

import "time"

// Limits of one machine. Each queue and table has one; what happens at it is said beside it.
const (
	maxStations   = 1024                  // a further one takes the place of one without a link, or with one half open; else "stations full"
	maxCircuits   = 4095                  // per link, X.25's own limit: Clear 05
	maxCalls      = 6144                  // calls of this machine that look for a server or a link at once: Clear 05
	receiveBudget = 64 << 20              // octets received and not yet taken by programs (protocol.md 4)
	helloBurst    = 64                    // hellos of one station at once: further ones are dropped, counter "hellos of one station limited",
	helloInterval = time.Second / 32      // and one more after each of these
	greetTries    = 3                     // hellos before a station is given up
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
	complexBudget  = 64 << 20         // the same of all its circuits: above it the largest is cleared 05, and no other program's
	complexOffer   = 8 * time.Second  // T21 at the door: a call that the program does not answer is cleared 01
	complexDrain   = 24 * time.Hour   // a program may take its time over what its callers wrote before they closed
	spliceStall    = 30 * time.Second // protocol.md 4: what the program wrote before it closed is not taken: 00 F0
	spliceDied     = time.Second      // what it wrote before it died may take so long to arrive
)

// greetWaits is how long each hello waits for its answer; as with queries (protocol.md 2).
var greetWaits = [greetTries]time.Duration{40 * time.Millisecond, 120 * time.Millisecond, 360 * time.Millisecond}

// safeN1 is the largest PDU that every Ethernet carries: 1500 octets less L and F. Larger ones are proved first.
const safeN1 = 1500 - 3
