// Package x25 implements the X.25 packet layer between two stations, ISO 8208 (DTE to DTE), modulo 128, on a layer 2 that
// neither loses nor reorders. It is a pure core: no I/O, no clock, no goroutine, no lock. One Level serves one link. The
// owner hands in packets and the time; what is to be known comes back in an Out, and packets are pulled with AppendNext
// whenever layer 2 has room. The numbers and the three deviations from the standard are in protocol.md 4.
//
// # Packets
//
//	    8   7   6   5   4   3   2   1
//	  +---------------+---------------+
//	1 | Q/A D   1   0 | LCI 11..8     |   10: modulo 128
//	  +---------------+---------------+
//	2 | LCI 7..0                      |   0: restart, diagnostic; 1..4095: circuits
//	  +-------------------------------+
//	3 | packet type, or P(S) and 0    |   bit 1 = 0: data
//	  +---------------------------+---+
//	4 | P(R)                      | M |   data; P(R) and 0 in RR, RNR, REJ
//	  +---------------------------+---+
//	  | user data                     |
//	  +-------------------------------+
//
//	call request    0b   address lengths, addresses, facility length, facilities, call user data (128)
//	call accepted   0f   nothing, or the same with called user data
//	clear request   13   cause, diagnostic [, addresses, facilities, clear user data]
//	clear confirm   17
//	interrupt       23   1 to 32 octets             interrupt confirm  27
//	RR 01  RNR 05  REJ 09
//	reset request   1b   cause, diagnostic          reset confirm      1f
//	restart request fb   cause, diagnostic          restart confirm    ff
//	diagnostic      f1   diagnostic, first three octets of the packet at fault
//
// # States
//
// They are the standard's, as a station has them that sees its peer as the DTE. A state that serves the peer (r2, p6, d2,
// and p2 once accepted) ends when AppendNext has given out the answer.
//
//	restart  r1 ready             r2 the peer's restart is being served   r3 ours is outstanding
//	call     p1 ready             p2 the peer's call awaits our answer    p3 ours awaits the peer's
//	         p4 data transfer     p5 call collision
//	         p6 the peer's clear is being served                          p7 ours is outstanding
//	data     d1 ready             d2 the peer's reset is being served     d3 ours is outstanding
//	interrupt                     i2 ours is unconfirmed                  j2 the peer's is unconfirmed
//
//	    Call               accepted                     Close, Clear             confirmed
//	p1 -----> p3 -----------------------------> p4 ----------------------> p7 -------------> p1
//	p1 -----> p2 ---- Accept, accept sent ----> p4 --- peer clears ---> p6 - confirm sent -> p1
//	  incoming
//
// # The way of an octet
//
// Send copies into the circuit's send queue; AppendNext cuts packets from it, one per circuit in rotation; HandlePacket
// adds to the receive queue of the other end, where Peek shows whole messages and Next gives them back, which may let P(R)
// move on. Both queues are a fifo whose buffer comes from a Pool and returns to it when the queue is empty, so an idle
// circuit holds none.
package x25
