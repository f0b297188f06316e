// Package seal proves who a station is and seals what it says: the handshake of two stations (Noise, revision 34), the frames sealed under the
// keys that come of it, the frames sealed for all stations of a site, and the table of names pinned to keys (protocol.md, Sealed links). It
// is pure: octets and the time are given to it, octets and events come out; random numbers are read from where the owner says.
//
// A sealed frame (protocol.md 1): key 1 to 3 are those of two stations, key 0 is the site's.
//
//	+-----------+---------+------------------+--------+     key 1..3: AES-256-GCM, nonce 0000 | counter
//	| header 17 | ctr 8   | PDU, sealed      | tag 16 |     additional data: header and counter
//	+-----------+---------+------------------+--------+
//	+-----------+---------+-------------+--------+--------+-------------+--------+
//	| header 17 | ctr 8   | secret id 4 | salt 8 | boot 8 | PDU, sealed | tag 16 |     key 0
//	+-----------+---------+-------------+--------+--------+-------------+--------+
//
// A handshake message (TLV 20 of a control message of type 4). In pinned mode there is no id and no MAC, and no psk in Noise:
//
//	+--------+-------+-------------+--------+------------------+    Noise_XX_25519_AESGCM_SHA256 and Noise_IK_…,
//	| step 1 | key 1 | secret id 4 | MAC 16 | message of Noise |    XXpsk0 and IKpsk0 in secret mode
//	+--------+-------+-------------+--------+------------------+
//	step 1 2 3: XX     4 5: IK     payload: boot id 8, then the sender's hello
//
// A key on its way, at the side that began the handshake (left) and at the other (right):
//
//	own --second message--> cur ---newer key---> prev      pending (IK) --first frame--> cur --newer key--> prev
//	                                                       theirs (XX) --third message--> cur
//
// What may be a recording changes nothing: a first message is answered and put aside, and the key of IK is taken into use when a frame under it
// comes. Old keys are accepted, and sent under, until the new one is known to be there. When two handshakes cross, the key of the one
// that the lower address began is used by both; the other is accepted, so that whatever each side knows, nothing is lost.
//
// Ownership: slices given are borrowed for the call; what Out holds is not written again.
package seal
