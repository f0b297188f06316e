// Package circuit is what a program sees of dnet: virtual circuits to services found by name,
// over the door of this machine's netman (protocol.md 5).
//
//	c, err := circuit.Dial(ctx, "date.moon", circuit.Options{})
//	n, bits, err := c.ReadDatagram(p)     // datagrams with their marks
//	io.Copy(os.Stdout, c)                 // or the byte view: a Conn is a net.Conn
//
//	l, err := circuit.Listen(ctx, "date.moon", circuit.Options{})
//	call, err := l.Accept()               // who calls; then call.Accept() or call.Refuse(…)
//
// A Listener outlives its netman: it registers the name again when there is one.
//
//	c, err := circuit.Inherited()         // in a server that netman started for one call
//
// A circuit is two Unix SOCK_SEQPACKET descriptors. One record of data is one datagram, or one
// piece of it:
//
//	+----------------+------------------------+
//	| control byte   | 0 to 65535 octets      |      bit 7 Q, bit 4 M, the rest 0
//	+----------------+------------------------+
//
// One record of control is one text line of the door (type Line); an interrupt carries its octets
// after a NUL:
//
//	+------------------+-----+----------------+
//	| "interrupt"      | NUL | 1 to 32 octets |
//	+------------------+-----+----------------+
//
//	program to netman   interrupt   clear DD [text]   abort DD [text]   accept   refuse DD [text]
//	netman to program   interrupt   cleared CC DD [text]   reset CC DD   error text e=ENAME
//
// clear ends the circuit when what was written has arrived, abort at once. Closing both descriptors
// without either tells the other end that the program died. netman writes cleared before it ends
// data, so data that ended while control is silent means: the other end has ended its direction.
//
// A server of thousands of callers says Options{Complex: true} to Listen: then all circuits of the Listener are
// channels of one descriptor, on which X.25 packets pass (protocol.md 5). They are used as any others, but that
// a written datagram may wait in this process until the circuit's window opens: Close still delivers it, the
// end of the process does not.
//
// How a circuit ended is a value: every call of a circuit that the other end, the link or a netman
// has cleared returns a *Cleared, which says why and matches an errno. Data that came before it is
// readable first. A circuit closed in the ordinary way reads as io.EOF.
package circuit

// Version is that of dnet: of this package, and of the commands built with it.
const Version = "0.1"
