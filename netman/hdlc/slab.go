package hdlc

// Slab is a free list of equal-sized frame buffers, shared by the links of a node. It has one owner and no lock. What
// is in use is bounded by the windows of the links, and so is what the list keeps.
type Slab struct {
	size int
	free [][]byte
	used int
}

// NewSlab returns an empty list of buffers of size octets: headroom and the largest PDU.
func NewSlab(size int) *Slab { return &Slab{size: size} }

// Size is the size of its buffers in octets.
func (s *Slab) Size() int { return s.size }

// Used is how many buffers are out.
func (s *Slab) Used() int { return s.used }

// Get takes a buffer, of length 0 and capacity Size.
func (s *Slab) Get() []byte {
	s.used++
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]byte, 0, s.size)
}

// Put gives a buffer back.
func (s *Slab) Put(b []byte) {
	s.used--
	s.free = append(s.free, b[:0])
}

// Out collects, in order, what links want done. The links of one node share one Out; a link is not used with two at a time.
type Out struct {
	Frames [][]byte // each: Config.Headroom octets for the caller to fill, then the LLC PDU; valid until Reset
	Events []Event

	past []pastBuffer // to give back at Reset
	turn uint64       // counts Resets
}

type pastBuffer struct {
	slab *Slab
	buf  []byte
}

// Reset empties the Out once its frames are sent and its events handled, and gives back the buffers of frames that
// were acknowledged: one that Frames showed is not used again before.
func (o *Out) Reset() {
	for _, p := range o.past {
		p.slab.Put(p.buf)
	}
	o.past, o.Frames, o.Events = o.past[:0], o.Frames[:0], o.Events[:0]
	o.turn++
}

// Release gives a buffer of a slab that the caller took back at the next Reset.
func (o *Out) Release(s *Slab, b []byte) { o.release(s, b) }

// release gives a buffer back at the next Reset.
func (o *Out) release(s *Slab, b []byte) { o.past = append(o.past, pastBuffer{s, b}) }

// shows tells whether a frame is already on its way out, so that sending it again would only double it.
func (o *Out) shows(frame []byte) bool {
	for _, f := range o.Frames {
		if &f[0] == &frame[0] {
			return true
		}
	}
	return false
}

// EventKind says what an Event reports.
type EventKind uint8

// Events of a link.
const (
	Up   EventKind = iota + 1 // packets may be sent; N1 is settled
	Down                      // Reason says why; what was not acknowledged is lost
	Data                      // Info is the packet of an I frame, borrowed from the frame handled
)

// String names the event.
func (k EventKind) String() string {
	return [...]string{"", "up", "down", "data"}[k]
}

// Event is something layer 3 must know.
type Event struct {
	Kind   EventKind
	Reason Reason
	Info   []byte
}

// Reason is why a link went down, or did not come up.
type Reason uint8

// Reasons of Down.
const (
	Disconnected Reason = iota + 1 // the peer sent DISC
	Silent                         // nothing heard from the peer, though polled
	Refused                        // the peer answered DM: it has no link with us
	Rejected                       // FRMR: one side broke the protocol
	Reset                          // SABME of a new instance of the peer
	Local                          // this side's Disconnect is complete
	PathMTU                        // the path eats frames of the size in use
)

var reasonNames = [...]string{"", "disconnected by the peer", "silent", "refused", "protocol error", "begun anew by the peer",
	"disconnected", "frames of this size do not pass"}

// String is the reason in words.
func (r Reason) String() string {
	if int(r) >= len(reasonNames) {
		return "unknown reason"
	}
	return reasonNames[r]
}
