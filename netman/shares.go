package main

import (
	"strconv"

	"dnet/netman/node"
)

// shares rations something of which there is a limited number: nobody holds more than a part of it, so that one user or one machine
// cannot shut out all others.
type shares struct {
	limit int
	each  int // most that one may hold
	all   int
	held  map[string]int // by who
}

func newShares(limit, each int) shares {
	return shares{limit: limit, each: each, held: map[string]int{}}
}

// take takes one: false if there is none left, or who has enough.
func (s *shares) take(who string) bool {
	if s.all >= s.limit || s.held[who] >= s.each {
		return false
	}
	s.all++
	s.held[who]++
	return true
}

// give gives one back.
func (s *shares) give(who string) {
	s.all--
	if s.held[who]--; s.held[who] == 0 {
		delete(s.held, who)
	}
}

// who names a local user.
func (v *visitor) who() string { return "uid " + strconv.FormatUint(uint64(v.uid), 10) }

// callerOf names who placed a call: another machine, or a user of this one.
func callerOf(c *node.Circuit) string {
	if c.Local() {
		return "user " + c.PeerUser
	}
	return "machine " + c.Machine
}
