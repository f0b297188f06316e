package node

import "time"

// Limits of one machine. Each queue and table has one; what happens at it is said beside it.
const (
	maxStations   = 1024                  // further ones get no hello: no link, counter "stations full"
	maxCircuits   = 4095                  // per link, X.25's own limit: Clear 05
	maxCalls      = 4096                  // calls of this machine that look for a server or a link at once: Clear 05
	receiveBudget = 64 << 20              // octets received and not yet taken by programs (protocol.md 4)
	greetTries    = 3                     // hellos before a station is given up
	quietStation  = 30 * time.Second      // a station without link or call is forgotten after this
	idleLink      = 60 * time.Second      // protocol.md 3: a link without circuits is disconnected
	logInterval   = time.Minute           // per reason and station
	maxBeside     = 3                     // servers of one call whose handshakes run side by side
	besideWait    = 20 * time.Millisecond // until a further one is begun
	refusedAgain  = 10 * time.Second      // a station that proved a wrong key: its sealed frames get no handshake for so long
	maxNotices    = 8                     // times in a second that differing modes are logged and told: further ones are counted only
)

// greetWaits is how long each hello waits for its answer; as with queries (protocol.md 2).
var greetWaits = [greetTries]time.Duration{40 * time.Millisecond, 120 * time.Millisecond, 360 * time.Millisecond}

// safeN1 is the largest PDU that every Ethernet carries: 1500 octets less L and F. Larger ones are proved first.
const safeN1 = 1500 - 3
