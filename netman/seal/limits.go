package seal

import "time"

// Limits of sealing; a zero is the default. What happens at each is said beside it. Tests set tiny ones.
type Limits struct {
	Frames uint64        // sealed or opened under one key: the lower address begins a new one. 2^28; at four times it nothing more is sent
	Age    time.Duration // of a key: likewise. 1 h
	Grace  time.Duration // an old key is still accepted, once the new one was heard and the old one was not for so long. 2 s
	Pins   int           // machines pinned: a further unknown machine is refused. 4096
}

func (l Limits) withDefaults() Limits {
	if l.Frames == 0 {
		l.Frames = 1 << 28
	}
	if l.Age == 0 {
		l.Age = time.Hour
	}
	if l.Grace == 0 {
		l.Grace = 2 * time.Second
	}
	if l.Pins == 0 {
		l.Pins = 4096
	}
	return l
}

const (
	hard = 4 // times a limit of a key: nothing is sent or taken under it any more

	maxHalfOpen  = 16                     // handshakes of one station, of each pattern, that were answered and not finished: the oldest is forgotten
	halfOpenAge  = 5 * time.Second        // and one that waits longer is
	pendingAge   = 30 * time.Second       // an answered IK handshake under whose key nothing was heard is forgotten
	crossingWait = 120 * time.Millisecond // then the peer should use the one that the lower address began
	crossingAge  = time.Second            // two handshakes that end so close together may have crossed
	rekeyAgain   = 10 * time.Second       // a new key that did not come about is tried for again after this, or Age/8
	unknownPace  = time.Second            // handshakes begun because of frames under an unknown key, per station
	stepsPerSec  = 20                     // handshake messages that cost a Diffie-Hellman, per station,
	stepsBurst   = 8                      // after the first 8; further ones are dropped
	guestPerSec  = 200                    // and from all stations together that share no key with us,
	guestBurst   = 64                     //
	allPerSec    = 1000                   // and from all stations in all: an honest one is silent then, and asks again,
	allBurst     = 256                    // after the first 256
	maxSenders   = 1024                   // of group frames: the one not heard for longest is forgotten
	maxStarts    = 5                      // of one sender that are told apart: the one not heard for longest is forgotten
	maxRefused   = 64                     // machines whose other key is remembered for `trust replace`
	maxMessage   = 255                    // octets of a handshake: one TLV
	tries        = 3                      // of a first message
)

// waits is how long each try waits for its answer, as with queries (protocol.md 2).
var waits = [tries]time.Duration{40 * time.Millisecond, 120 * time.Millisecond, 360 * time.Millisecond}
