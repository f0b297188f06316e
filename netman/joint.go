package main

import (
	"golang.org/x/sys/unix"

	"dnet/netman/node"
)

// joint is the one socket pair by which two programs of this machine are joined: what one writes the other reads, and netman has no
// part in it. The circuit in the node is theirs all the same: it has placed the call, it carries interrupts and says how it ended.
//
// netman keeps a second descriptor of both ends and neither reads nor watches them. So data ends for a program only when both ends
// have been let go here, and that is after `cleared` was written to its control (protocol.md 5).
type joint struct {
	ends    [2]int // second descriptors: of the caller's end, of the server's
	holders int    // endpoints that have not let go of it
}

// callersEnd is the place of the caller's end in joint.ends; the server's is the other.
const callersEnd = 0

// callerOf is the endpoint that placed a call, if it can be joined with the server's: both are programs with sockets on this machine,
// and nothing says that the circuit is to go through netman.
func (l *loop) callerOf(c *node.Circuit, s *service) *endpoint {
	if t := l.offers[s.name]; s.indirect || t != nil && t.indirect {
		return nil
	}
	if other := c.Other(); other != nil {
		caller, _ := other.User.(*endpoint)
		return caller
	}
	return nil
}

// newJoint takes a pair over, for the server's endpoint. A program's end blocks until it says otherwise.
func newJoint(pair [2]int) *joint {
	unix.SetNonblock(pair[callersEnd], false)
	return &joint{ends: pair, holders: 1}
}

// takeData takes over the data of a server: between it and netman; or, where there is a caller to be joined with, between the two.
func (e *endpoint) takeData(pair [2]int) {
	if e.caller != nil {
		e.joint = newJoint(pair)
		return
	}
	unix.Close(pair[1])
	e.in = &desc{fd: pair[0]}
	e.out = e.in
}

// join gives the caller its part of the joint, before the server's accept is passed on.
func (e *endpoint) join() {
	if e.joint != nil && e.caller.phase == calling {
		e.joint.holders++
		e.caller.joint = e.joint
	}
	e.caller = nil
}

// letGo is when an endpoint has no more to do with its joint.
func (e *endpoint) letGo() {
	if e.joint != nil {
		e.joint.leave()
		e.joint = nil
	}
}

// leave lets go of the joint. The last one ends data for both programs, also where somebody else has a descriptor of an end.
func (j *joint) leave() {
	if j.holders--; j.holders > 0 {
		return
	}
	for _, fd := range j.ends {
		unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	for _, fd := range j.ends {
		unix.Close(fd)
	}
}

// held is how many octets, control bytes included, wait in its socket for the caller or for the server.
func (j *joint) held(caller bool) int {
	fd := j.ends[1]
	if caller {
		fd = j.ends[callersEnd]
	}
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return 0
	}
	return n
}
