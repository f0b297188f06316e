// Package node is one machine of a DNET network, without its operating system: the links to other stations
// (layer 2, package hdlc), the circuits on them (layer 3, package x25), the names (package names) and the glue between
// the three. It is pure: frames and the time are given to it, frames and events come out. The daemon netman and
// the simulator drive the very same code.
//
// The frame (protocol.md 1), of which package hdlc's PDUs are the inside:
//
//	+--------+--------+-----------+-----+-----+------------------+---------+
//	| DA 6   | SA 6   | Ethertype | L 2 | F 1 | LLC PDU, L       | padding |
//	+--------+--------+-----------+-----+-----+------------------+---------+
//	F: version 4 bits = 1 | key number 2 | sealed 1 | 0
//
// In the modes pinned and secret the PDU is sealed (package seal): seal.go has the handshakes, sealed.go the frames in and out, pins.go
// who a station may be, mode.go what is said when modes differ. greeting is then a handshake, whose payload is the hello.
//
// A station is another machine on a port; its states are the states of the link to it:
//
//	        call waits              hello answered            UA
//	idle ----------------> greeting ---------------> setup --------> up
//	 ^  \   hello heard, SABME comes                           ^      |
//	 |   \-----------------------------------------------------/      |
//	 +------------- DISC, silence, DM, FRMR, new boot id -------------+
//
// The way of a datagram up: HandleFrame (in.go) parses the frame, the link takes it, its Data event goes to the
// level, whose Data event names a Circuit; the owner reads it by Peek and Next. Down: Circuit.Send queues, pump (out.go)
// lets layer 2 pull packets from layer 3 while the window is open.
//
// A call to a complex server (complex.go) is two circuits here, one on the network and one on the descriptor of the program, which a
// splice joins (splice.go); its owner moves the packets between Complex and the descriptor.
//
// Ownership: slices given in are borrowed for the call. Frames in Out are valid until Out.Reset.
package node
