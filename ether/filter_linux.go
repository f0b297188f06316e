package ether

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wholeFrame is what the filter returns for a frame it takes: the number of its octets to keep, which is all.
const wholeFrame = 1 << 18

// filter is the program by which the kernel chooses the frames for a socket (protocol.md 1): own Ethertype, no VLAN tag, to us or
// to the group, from a station, and not one that this machine sends itself. A zero group is no group.
func filter(ethertype uint16, addr, group Addr) []bpf.Instruction {
	high := func(a Addr) uint32 { return binary.BigEndian.Uint32(a[:4]) }
	low := func(a Addr) uint32 { return uint32(binary.BigEndian.Uint16(a[4:])) }
	if group == (Addr{}) {
		group = addr
	}
	// A jump counts the instructions it leaves out.
	return []bpf.Instruction{
		0: bpf.LoadAbsolute{Off: 12, Size: 2},
		1: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ethertype), SkipTrue: 15}, // drop

		// The kernel takes a VLAN tag out of the frame, so that the Ethertype is that inside the tag. For a socket bound to one
		// Ethertype it then clears the mark of the tag as well, but makes the frame one for another host.
		2: bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		3: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 13}, // drop

		// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST come before PACKET_OTHERHOST and PACKET_OUTGOING.
		4: bpf.LoadExtension{Num: bpf.ExtType},
		5: bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 11}, // drop

		6: bpf.LoadAbsolute{Off: 6, Size: 1},
		7: bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: 9}, // drop: a group sends nothing

		8:  bpf.LoadAbsolute{Off: 0, Size: 4},
		9:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high(group), SkipTrue: 2}, // try our own
		10: bpf.LoadAbsolute{Off: 4, Size: 2},
		11: bpf.JumpIf{Cond: bpf.JumpEqual, Val: low(group), SkipTrue: 4}, // take

		12: bpf.LoadAbsolute{Off: 0, Size: 4},
		13: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high(addr), SkipTrue: 3}, // drop
		14: bpf.LoadAbsolute{Off: 4, Size: 2},
		15: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: low(addr), SkipTrue: 1}, // drop

		16: bpf.RetConstant{Val: wholeFrame}, // take
		17: bpf.RetConstant{Val: 0},          // drop
	}
}
