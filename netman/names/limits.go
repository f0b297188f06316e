package names

import "time"

// Limits of a Directory; a zero is the default. What happens at each is said beside it.
type Limits struct {
	Queries  int // being asked by this machine: Query returns ErrQueries, which the node counts as "calls full". 4096
	Answers  int // kept for one query: further stations are counted as "answers full". 16
	Stations int // known: the one not heard for longest is forgotten, counted as "stations full". 1024
	Services int // registered on this machine: Register returns an error. MaxServices
	Held     int // answers held back for their jitter: further ones go at once, counted as "held answers full". 256
	Rivals   int // machines that claim our name when we do: further ones are counted as "rivals full". 16
	Clashes  int // stations reported with our name: further ones are counted as "clashes full". 64
}

// MaxServices is how many services a machine may offer.
const MaxServices = 4096

func (l Limits) withDefaults() Limits {
	set := func(limit *int, value int) {
		if *limit <= 0 {
			*limit = value
		}
	}
	set(&l.Queries, 4096)
	set(&l.Answers, 16)
	set(&l.Stations, 1024)
	set(&l.Services, MaxServices)
	set(&l.Held, 256)
	set(&l.Rivals, 16)
	set(&l.Clashes, 64)
	return l
}

// waits is how long each try of a query waits for answers (protocol.md 2).
var waits = [...]time.Duration{40 * time.Millisecond, 120 * time.Millisecond, 360 * time.Millisecond}

const (
	firstHops = 8 // gateways a query may pass (protocol.md 2)

	// Answers to installation-wide names are held back by up to the smaller of the two (protocol.md 2).
	maxJitter        = 20 * time.Millisecond
	jitterPerStation = 50 * time.Microsecond

	// Answers to one station: a token bucket. Its size is as many queries as an honest station may have.
	answerInterval = time.Millisecond
	answerBurst    = 4096

	// A last try whose end is noticed later than this was judged by a process that slept; answers may lie unread
	// in its socket. They get this long to be read.
	lateLimit = 20 * time.Millisecond
)

// Limits of names (protocol.md 2), in octets.
const (
	maxLabel   = 32
	maxService = 80
	maxUser    = 32
)

// What a hello may say. The smallest N1 holds the largest X.25 call request, and what every Ethernet carries is above it.
const (
	minN1        = 512
	minTolerance = 50 * time.Millisecond
	maxTolerance = 30 * time.Second
	maxRW        = 127
)
