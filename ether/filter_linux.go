package ether

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wholeFrame is what the filter returns for a frame it takes: the number of its octets to keep, which is all.
const wholeFrame = 1 << 18

// part is which of a station's frames a socket takes.
type part uint8

const (
	all     part = iota
	hails        // control messages and SABME: what a station may send that is not known yet (protocol.md 2, 3)
	ofLinks      // all others
)

// filter is the program by which the kernel chooses the frames for a socket (protocol.md 1): own Ethertype, no VLAN tag, to us or
// to the group, from a station, and not one that this machine sends itself. A zero group is no group.
func filter(ethertype uint16, addr, group Addr, p part) []bpf.Instruction {
	high := func(a Addr) uint32 { return binary.BigEndian.Uint32(a[:4]) }
	low := func(a Addr) uint32 { return uint32(binary.BigEndian.Uint16(a[4:])) }
	if group == (Addr{}) {
		group = addr
	}
	choice := p.choose()
	drop := func(from int) uint8 { return uint8(16 + len(choice) - from - 1) }
	// A jump counts the instructions it leaves out.
	program := []bpf.Instruction{
		0: bpf.LoadAbsolute{Off: 12, Size: 2},
		1: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ethertype), SkipTrue: drop(1)}, // drop

		// The kernel takes a VLAN tag out of the frame, so that the Ethertype is that inside the tag. For a socket bound to one
		// Ethertype it then clears the mark of the tag as well, but makes the frame one for another host.
		2: bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		3: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: drop(3)}, // drop

		// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST come before PACKET_OTHERHOST and PACKET_OUTGOING.
		4: bpf.LoadExtension{Num: bpf.ExtType},
		5: bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: drop(5)}, // drop

		6: bpf.LoadAbsolute{Off: 6, Size: 1},
		7: bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: drop(7)}, // drop: a group sends nothing

		8:  bpf.LoadAbsolute{Off: 0, Size: 4},
		9:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high(group), SkipTrue: 2}, // try our own
		10: bpf.LoadAbsolute{Off: 4, Size: 2},
		11: bpf.JumpIf{Cond: bpf.JumpEqual, Val: low(group), SkipTrue: 4}, // for us

		12: bpf.LoadAbsolute{Off: 0, Size: 4},
		13: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high(addr), SkipTrue: drop(13)}, // drop
		14: bpf.LoadAbsolute{Off: 4, Size: 2},
		15: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: low(addr), SkipTrue: drop(15)}, // drop
	}
	return append(append(program, choice...), bpf.RetConstant{Val: 0})
}

// choose is the end of the filter for frames that are for us.
func (p part) choose() []bpf.Instruction {
	take, drop := bpf.RetConstant{Val: wholeFrame}, bpf.RetConstant{Val: 0}
	if p == all {
		return []bpf.Instruction{take}
	}
	hail, other := take, drop
	if p == ofLinks {
		hail, other = drop, take
	}
	const dsap, control = HeaderLen + 3, HeaderLen + 5 // after L and F
	return []bpf.Instruction{
		0: bpf.LoadAbsolute{Off: dsap, Size: 1},
		1: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xfe}, // without the group bit
		2: bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x44, SkipTrue: 3},
		3: bpf.LoadAbsolute{Off: control, Size: 1},
		4: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xef}, // without P
		5: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x6f, SkipTrue: 1},
		6: hail,
		7: other,
	}
}
