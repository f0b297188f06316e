package hdlc

import "time"

// MaxWindow is the largest k and rw on links where numbers alone tell stale frames from new ones (protocol.md 3).
const MaxWindow = 63

// modulus of N(S) and N(R); numbers staleAt or more ahead are behind.
const (
	modulus = 128
	staleAt = modulus / 2
)

// Numbers of protocol.md 3.
const (
	t2Delay     = 5 * time.Millisecond   // T2: an acknowledgement waits this long for a frame to ride on
	ackFrames   = 16                     // or until so many frames wait for one
	t1Least     = 20 * time.Millisecond  // T1 adapts between these two,
	t1Most      = 2 * time.Second        //
	t1First     = 100 * time.Millisecond // and is this before anything was measured
	tpLeast     = t2Delay                // the P-bit timer's floor: F is not held back
	n2          = 10                     // SABME or DISC sent without answer before giving up
	testTries   = 3                      // TEST sent without echo before N1 falls to SafeN1
	maxSends    = 8                      // one N(S) sent so often while polls are answered: the path eats it
	leastWindow = 2                      // working window
)

// Tolerance of silence: default and limits (protocol.md 3).
const (
	defaultTolerance = time.Second
	leastTolerance   = 50 * time.Millisecond
	mostTolerance    = 30 * time.Second
)

// leastN1 is the smallest N1 that a Link works with: the largest PDU that is not an I frame is FRMR.
const leastN1 = 8
