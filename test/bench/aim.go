package main

import "fmt"

// aim is a ratio of two cells of the table, or their difference, and what it should be.
type aim struct {
	title          string
	key, column    string
	ofKey, against string
	minus          bool
	atLeast        float64 // 0: no such bound
	atMost         float64
}

// verdict is an aim with the figures of this run.
type verdict struct {
	Title   string `json:"title"`
	Spread  spread `json:"figure"`
	Aim     string `json:"aim,omitempty"`
	Verdict string `json:"verdict,omitempty"`
}

// aims are those that were set, and ratios that tell how far from the limits netman is.
var aims = []aim{
	{title: "round trip, MTU 1500: netman / bare relay", key: "rtt1500", column: netman, ofKey: "rtt1500", against: bareRelay, atMost: 1},
	{title: "round trip, MTU 9000: netman / bare relay", key: "rtt9000", column: netman, ofKey: "rtt9000", against: bareRelay, atMost: 1},
	{title: "round trip, MTU 1500: netman, file / netman", key: "rtt1500", column: asFile, ofKey: "rtt1500", against: netman, atMost: 2},
	{title: "60 KiB, MTU 1500: netman / TCP", key: "large1500", column: netman, ofKey: "large1500", against: tcp, atLeast: 0.7},
	{title: "60 KiB, MTU 9000: netman / TCP", key: "large9000", column: netman, ofKey: "large9000", against: tcp, atLeast: 0.5},
	{title: "1 KiB, MTU 1500: netman / TCP with 60 KiB", key: "small1500", column: netman, ofKey: "large1500", against: tcp, atLeast: 0.25},
	{title: "1 KiB, MTU 1500: netman / TCP with 1 KiB", key: "small1500", column: netman, ofKey: "small1500", against: tcp, atLeast: 0.25},
	{title: "1 KiB, MTU 9000: netman / TCP with 1 KiB", key: "small9000", column: netman, ofKey: "small9000", against: tcp, atLeast: 0.25},
	{title: "round trip beside a stream / idle", key: "beside", column: netman, ofKey: "rtt1500", against: netman, atMost: 8},
	{title: "call set-up / TCP connect", key: "setup", column: netman, ofKey: "setup", against: tcp, atMost: 4},
	{title: "CPU per GB, MTU 1500: netman / bare relay", key: "cpu1500", column: netman, ofKey: "cpu1500", against: bareRelay, atMost: 1.3},
	{title: "CPU per GB, MTU 9000: netman / bare relay", key: "cpu9000", column: netman, ofKey: "cpu9000", against: bareRelay, atMost: 1.3},
	{title: "rx doc true - fork and exec, ms", key: "rx", column: netman, ofKey: "rx", against: forkExec, minus: true, atMost: 4},
	{title: "60 KiB, MTU 1500: sealed / open", key: "large1500", column: sealed, ofKey: "large1500", against: netman, atLeast: 0.8},
	{title: "60 KiB, MTU 9000: sealed / open", key: "large9000", column: sealed, ofKey: "large9000", against: netman, atLeast: 0.8},
	{title: "round trip, MTU 1500: sealed / open", key: "rtt1500", column: sealed, ofKey: "rtt1500", against: netman, atMost: 1.1},
	{title: "memory per idle circuit, KiB", key: "memory", column: netman, atMost: 12},
	{title: "memory per idle client of a complex server, KiB", key: "memorycomplex", column: netman, atMost: 12},
	{title: "within a machine, round trip: netman / socket pair", key: "localrtt", column: netman, ofKey: "localrtt", against: barePair, atMost: 1.05},
	{title: "within a machine, 60 KiB: netman / socket pair", key: "locallarge", column: netman, ofKey: "locallarge", against: barePair, atLeast: 0.95},
	{title: "within a machine, round trip: netman / TCP", key: "localrtt", column: netman, ofKey: "localrtt", against: tcp},
	{title: "within a machine, 60 KiB: netman / TCP", key: "locallarge", column: netman, ofKey: "locallarge", against: tcp},
	{title: "all clients of a complex server / one circuit", key: "complex", column: netman, ofKey: "one", against: netman, atLeast: 0.7},
	{title: "slowest client of a complex server / median", key: "slowest", column: netman, atLeast: 0.5},
	{title: "call set-up / TCP connect and one octet back", key: "setup", column: netman, ofKey: "setup", against: tcpAnswer},
	{title: "60 KiB, MTU 1500: netman / bare relay", key: "large1500", column: netman, ofKey: "large1500", against: bareRelay},
	{title: "60 KiB, MTU 9000: netman / bare relay", key: "large9000", column: netman, ofKey: "large9000", against: bareRelay},
	{title: "60 KiB, MTU 1500: netman / AF_PACKET", key: "large1500", column: netman, ofKey: "large1500", against: bareWire},
	{title: "60 KiB, MTU 9000: netman / AF_PACKET", key: "large9000", column: netman, ofKey: "large9000", against: bareWire},
}

// judge computes the ratios of what was measured, run by run.
func (r *record) judge() {
	for _, a := range aims {
		against := map[int]float64{}
		for _, s := range r.samples(a.ofKey, a.against) {
			against[s.Run] = s.Value
		}
		var figures []float64
		for _, s := range r.samples(a.key, a.column) {
			other, both := against[s.Run]
			switch {
			case a.ofKey == "":
				figures = append(figures, s.Value)
			case !both: // it failed in this run
			case a.minus:
				figures = append(figures, s.Value-other)
			default:
				figures = append(figures, s.Value/other)
			}
		}
		if len(figures) > 0 {
			r.Ratios = append(r.Ratios, a.verdict(spreadOf(figures)))
		}
	}
}

// verdict says whether the median keeps the aim.
func (a aim) verdict(s spread) verdict {
	v := verdict{Title: a.title, Spread: s}
	met := true
	switch {
	case a.atLeast > 0:
		v.Aim, met = fmt.Sprintf("at least %g", a.atLeast), s.Median >= a.atLeast
	case a.atMost > 0:
		v.Aim, met = fmt.Sprintf("at most %g", a.atMost), s.Median <= a.atMost
	default:
		return v
	}
	if v.Verdict = "met"; !met {
		v.Verdict = "not met"
	}
	return v
}
