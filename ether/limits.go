package ether

import "time"

// The limits of this package, and what happens at each.
const (
	// batchMax is the number of frames one system call carries; more are sent in several calls, and left for the next Recv.
	batchMax = 64

	// defaultRcvBuf is the receive buffer asked for when RawConfig names none, in octets. What comes when it is full is dropped
	// by the kernel and counted (Raw.Drops).
	defaultRcvBuf = 16 << 20

	// hailRcvBuf is that of the socket for control messages and SABME, where they come apart (Raw.HailFd): the queries of a station
	// that asks for 4,096 names at once. What comes when it is full is dropped and counted (RawStats.HailDrops).
	hailRcvBuf = 2 << 20

	// busQueueMax is the number of frames waiting at one port of a Bus; one more is dropped and counted (BusPort.Drops).
	busQueueMax = 1024

	// heldMax is the number of frames a FaultPort holds back in each direction; one more is dropped and counted
	// (FaultCounts.Overflow).
	heldMax = 8192

	// lateness is how long a FaultPort holds a frame taken out of its order when nothing overtakes it.
	lateness = 2 * time.Millisecond

	// overtakeMax is the largest number of frames that overtake one taken out of its order.
	overtakeMax = 3

	// wireRetry is when a FaultPort offers a frame again that the wire had no room for.
	wireRetry = time.Millisecond

	// delayMax is the largest delay ParseFaults takes.
	delayMax = 10 * time.Second

	// watchMessages is the number of netlink messages one Watcher.Read takes; the rest stays for the next.
	watchMessages = 64

	// dumpTries is how often the list of links is asked for when it changes while it is read.
	dumpTries = 8

	// climbMax is the number of links on top of each other that the default choice of interfaces follows.
	climbMax = 8
)
