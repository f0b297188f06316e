// Package hdlc is layer 2 of dnet: the link machine of LLC type 2 (IEEE 802.2, ISO 8802-2), asynchronous balanced mode
// extended, modulo 128, one Link per pair of stations, on SAP 0x7E. It carries X.25 packets in order, once each, over an
// Ethernet that may lose, double, delay or reorder frames, and tells when the peer has gone, and why. It is pure: frames
// and the time are given to it; frames and events come out in an Out.
//
// A PDU (protocol.md 3; bit 1 is the low-order bit):
//
//	+---------+---------+-------------+-------------+
//	| DSAP 1  | SSAP 1  | control 1|2 | information |    DSAP bit 1: group; SSAP bit 1: 0 command, 1 response
//	+---------+---------+-------------+-------------+
//	I      SSSSSSS0 RRRRRRRP      RR  00000001 RRRRRRRp     RNR 00000101 RRRRRRRp     REJ 00001001 RRRRRRRp
//	SABME  011p1111  6F 7F        DISC  010p0011  43 53     UA   011p0011  63 73      DM    000p1111  0F 1F
//	FRMR   100p0111  87 97        UI    000p0011  03 13     XID  101p1111  AF BF      TEST  111p0011  E3 F3
//	p: P in a command, F in a response
//
// The states of a link. BUSY, REJECT and AWAIT of IEEE 802.2 are flags within NORMAL.
//
//	        Connect: SABME            UA                    echo, or 3 TESTs without
//	ADM ------------------> SETUP ----------+---> PROOF ---------------------------> NORMAL
//	 ^ \                                   /   (N1 above SafeN1 only)                   |
//	 |  \   SABME after Expect: UA        /                                             |
//	 |   \-------------------------------/                                              |
//	 +------ UA, DM, N2 tries ------ D_CONN <--------- Disconnect: DISC ---------------+
//	 +------ DISC, silence, DM to a poll, FRMR either way, a path that eats frames -----+
//
// Where this differs from IEEE 802.2, because an Ethernet may double and reorder frames and every link begins with hello:
//
//   - N(R) and N(S) up to 64 behind are stale: such a frame is ignored but for its P. Windows are at most 63.
//   - SABME is accepted only when a hello announced it (Expect). One repeated because UA was lost is answered again.
//   - DM in NORMAL counts only as the answer to a poll; any other makes us poll. UA that nobody waits for is ignored.
//   - F that nobody waits for is ignored, where the standard has FRMR.
//   - There is no ERROR state: the sender of FRMR is down at once, and says DM to whoever did not hear it.
//   - What Parse refuses is dropped, where the standard has FRMR with W or X.
//   - Silence and not a number of tries decides that the peer has gone.
//
// A number more than 64 behind looks like a new one: nothing on the wire may delay a frame by more than a window. What can be
// noticed of that ends the link (FRMR).
//
// Loss is repaired in three ways, each the safety net of the one before. The receiver of a gap sends REJ, once, and again
// only when it sees that the sender has gone back and the frame it waits for is missing anew. Bursts end in P=1, whose
// answer tells the sender what arrived (checkpointing). And a timer polls when there was no answer: T1, at least 20 ms, or
// while a P is outstanding the P-bit timer, at least 5 ms, for F is not held back as acknowledgements are. The sender
// always goes back to N(R) and sends on from there; what the receiver has already is recognised as stale.
//
// Ownership: Frame.Info and Event.Info are borrowed. Buffers come from a Slab; a sent packet stays in its buffer until
// it is acknowledged, and Out.Frames shows that same buffer.
package hdlc
