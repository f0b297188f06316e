// Package names finds services by name in a DNET network: the control messages of protocol.md 2 (the MUI of DNET, carried in
// LLC UI frames on SAP 0x44), the user data of a call, the rules for names, and the Directory of one machine, which claims
// the machine's name, answers for its services and asks for those of others. It is pure: messages and the time are given to it;
// messages and events come out in an Out.
//
// A control message (protocol.md 2; numbers are big-endian):
//
//	+--------+-----------+-----------+--------+------+    +--------+----------+-------+
//	| type 1 | version 1 | boot id 8 | txid 4 | TLVs |    | type 1 | length 1 | value |  TLV
//	+--------+-----------+-----------+--------+------+    +--------+----------+-------+
//	type: 1 query, 2 answer, 3 hello          TLV type: top bit set: critical, an unknown one refuses the message
//
// The user data of a call (the protocol identifier C4 is followed by "DN" and version 1):
//
//	+-------------+-----------+--------+----------+
//	| C4 44 4E 01 | service   | user   | stream 1 |  TLVs 1, 2, 3
//	+-------------+-----------+--------+----------+
//
// The machine's own name, netman.MACHINE. The answer of a holder ends the claim at once; a rival, who claims at the same time,
// is weighed when the try ends, since it may be heard on several Ethernets, and then answered if it is to lose:
//
//	           Claim              3 tries without an answer
//	unclaimed -------> claiming ----------------------------> claimed (Clash events from then on: nobody is cut off)
//	                      |   an answer, or a rival with a lower address
//	                      +------------------------------------------------> lost (event Clash)
//
// A query (a try is one message to the group and the wait after it: 40, 120, 360 ms):
//
//	          a free answer, or at the end of a try a busy one: event Answered
//	asking ----------------------------------------------------------------------> answered
//	  |  ^             Next finds no answer left, and not all tries are made          |
//	  |  +----------------------------------------------------------------------------+
//	  +--- end of the third try: event Failed
//
// Slices given in are borrowed for the call. Out is the caller's.
package names
