// Package sim is a network of simulated machines: N nodes on one Ethernet, in virtual time, from one seed. The
// nodes are the very code that the daemon runs (package node); what is simulated is what surrounds them: the wire, which loses,
// doubles, delays, reorders, corrupts and parts; the machines, which crash, start anew, sleep and lose their interfaces; and the
// programs at both ends of each circuit, which write, read slowly, interrupt, reset, close and die. Tests import it; nothing else does.
//
//	World (world.go)      the time, the queue of what is to happen, the machines, the ledger of all requests
//	Wire (wire.go)        one Ethernet; Mood says how it treats frames
//	Machine (machine.go)  a node and what the daemon is to it: socket buffer, turns, services
//	program (program.go)  one end of a circuit, which uses the node as netman's endpoints do
//	complexServer         the process of a complex service: a packet level, and a pipe of few packets to its node (complex.go)
//	check.go              what may be heard of circuits and links
//	flow (flow.go)        what was written in one direction, and what the reader may expect next
//	weather.go            the faults of a random world
//	random.go             a random world from a seed
//
// After every turn of a machine these hold, or the run ends with a Failure that names the seed:
//
//   - node.Check: windows, queues, tables, timers and limits of links, levels, directory and node
//   - what a program reads is exactly the next thing that the other end wrote: order, M sequences, Q, each octet
//   - after a Clear that an ordinary Close sent: all that was written before it
//   - a circuit ends once at each end, and nothing is heard of it afterwards
//   - a request is accepted by one server at most, and by the one that the caller is told of
//   - one interrupt is outstanding at most; each is delivered once at most, in order, and before it is confirmed
//   - a circuit is cleared, a link goes down, only for a reason that the world gave
//
// And at the end: once the wire has healed all that was not cleared completes within a bounded virtual time, a call
// to each service succeeds, and when all is idle every table is empty.
//
// The seed decides everything: two runs make the same trace, of which Hash is the fingerprint.
package sim
