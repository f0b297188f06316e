// Package ether is the one place where dnet touches an Ethernet: frames in, frames out. It knows addresses and sizes, and
// nothing of what is inside a frame.
//
// A Port is a station's place on one Ethernet. A frame is whole, from the destination address on, without FCS:
//
//	+--------+--------+-------------+------------------+----------------------+
//	| DA 6   | SA 6   | Ethertype 2 | up to MTU octets | zeros up to 60 in all |
//	+--------+--------+-------------+------------------+----------------------+
//	bit 0 of the first octet of an address: 1 = a group (multicast or broadcast)
//
// There are two kinds of Port, and three wrappers, each a Port round another one:
//
//	raw_linux.go     an interface of this machine, through a packet socket (packet(7)), in batches
//	filter_linux.go  the filter the kernel applies before a frame reaches the socket
//	bus.go           an Ethernet in memory
//	trace.go         a line of text per frame
//	pcap.go          a capture file (pcapng)
//	faults.go        loss, duplication, reordering, corruption, delay, from a seed
//
// Wrappers are put on from the inside out: trace and pcap next to the wire show what the wire carried, faults outside them
// are then a part of the station.
//
// Which interfaces there are, which of them a netman takes when none is named, and what becomes of them, is told by rtnetlink(7):
// link_linux.go and watch_linux.go.
//
// A Port, a wrapper, a Bus and a Watcher have one owner each: nothing here may be used by two goroutines at once.
package ether
