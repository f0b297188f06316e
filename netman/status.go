package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/node"
	"dnet/netman/seal"
)

// status answers a `status WHAT` line with JSON lines, then the end of file (protocol.md 5). The state is copied here, by its
// owner; it is rendered and written elsewhere.
func (v *visitor) status(line circuit.Line) {
	var rows []any
	switch what := line.Word(0); what {
	case "counters":
		rows = append(rows, countersRow{Row: "counters", Counters: v.l.allCounters()})
	case "links":
		rows = v.l.linkStatus()
	case "stations":
		rows = v.l.stationStatus()
	case "interfaces":
		rows = v.l.interfaceStatus()
	case "services":
		rows = v.l.serviceStatus()
	case "circuits":
		rows = v.l.circuitStatus()
	case "", "status":
		rows = append(rows, v.l.machineStatus())
		rows = append(rows, v.l.linkStatus()...)
		rows = append(rows, v.l.serviceStatus()...)
		rows = append(rows, v.l.circuitStatus()...)
	default:
		v.refuse(fmt.Sprintf("status %s is not in this version of netman", what))
		return
	}
	l, who := v.l, v.who()
	if !l.readers.take(who) {
		v.fail("EBUSY", "as many programs as may read the status at once do so")
		return
	}
	fd := v.desc.fd
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	l.forget(v.desc)
	if err != nil {
		l.count("door: no descriptors left")
		l.readers.give(who)
		return
	}
	go func() {
		writeRows(dup, rows)
		l.post(func() { l.readers.give(who) })
	}()
}

// readerTime is how long a reader of the status may take.
const readerTime = 10 * time.Second

// writeRows writes one JSON object per record. The descriptor is non-blocking: a slow reader costs no thread.
func writeRows(fd int, rows []any) {
	f := os.NewFile(uintptr(fd), "status")
	defer f.Close()
	f.SetWriteDeadline(time.Now().Add(readerTime))
	for _, row := range rows {
		text, err := json.Marshal(row)
		if err != nil {
			return
		}
		if _, err := f.Write(text); err != nil {
			return
		}
	}
}

// sendRows writes rows to a descriptor that blocks, for as long as its own limit.
func sendRows(fd int, rows []any) {
	for _, row := range rows {
		if text, err := json.Marshal(row); err != nil || circuit.SendFds(fd, text) != nil {
			return
		}
	}
}

// The rows of status. Their keys are stable (netman.8).
type machineRow struct {
	Row      string   `json:"row"` // "machine"
	Machine  string   `json:"machine"`
	Up       bool     `json:"up"`
	Seconds  float64  `json:"seconds"` // since netman's start
	Mode     string   `json:"mode"`
	Version  string   `json:"version"`
	Type     string   `json:"ethertype"`
	Key      string   `json:"key,omitempty"` // this machine's; not in mode open
	Stations []string `json:"stations"`      // interface and address of each port
	Clashes  []string `json:"clashes,omitempty"`
	Traces   int      `json:"traces,omitempty"` // programs to which the frames are shown
}

type countersRow struct {
	Row      string            `json:"row"` // "counters"
	Counters map[string]uint64 `json:"counters"`
}

type linkRow struct {
	Row       string  `json:"row"` // "link"
	Machine   string  `json:"machine"`
	Station   string  `json:"station"`
	Interface string  `json:"interface"`
	State     string  `json:"state"`
	Seconds   float64 `json:"seconds"` // up since
	Circuits  int     `json:"circuits"`
	N1        int     `json:"n1"`
	RTT       float64 `json:"rtt_ms"`
	Resent    uint64  `json:"resent"`
	N1Here    int     `json:"n1_here"`
	N1There   int     `json:"n1_there"`
	Why       string  `json:"why,omitempty"` // there is no link
}

type stationRow struct {
	Row       string  `json:"row"` // "station"
	Machine   string  `json:"machine"`
	Station   string  `json:"station"`
	Interface string  `json:"interface"`
	Seconds   float64 `json:"seconds"` // since it was heard
}

type interfaceRow struct {
	Row       string  `json:"row"` // "interface"
	Interface string  `json:"interface"`
	Station   string  `json:"station"`
	Used      bool    `json:"used"`
	Wanted    bool    `json:"wanted"`        // it would be used if it could
	Why       string  `json:"why,omitempty"` // it is not used
	MTU       int     `json:"mtu"`
	Sent      uint64  `json:"sent"` // frames of this netman
	Received  uint64  `json:"received"`
	Heard     float64 `json:"heard"`  // seconds since the last one was received; -1: none was
	Others    uint64  `json:"others"` // frames of any kind that the interface received meanwhile
	Buffer    int     `json:"buffer"` // octets, as the kernel counts them
	Lost      uint64  `json:"lost"`   // by the receive buffer
}

// bufferWanted is the receive buffer that netman asks for, as the kernel counts it.
const bufferWanted = 2 * 16 << 20

type serviceRow struct {
	Row     string   `json:"row"` // "service"
	Service string   `json:"service"`
	Exec    []string `json:"exec"`
	Mode    string   `json:"mode"`
	User    string   `json:"user,omitempty"`
	Running int      `json:"running"`
	Max     int      `json:"max"`
	Calls   uint64   `json:"calls"`
	Refused uint64   `json:"refused"`
}

type circuitRow struct {
	Row     string `json:"row"` // "circuit"
	Service string `json:"service"`
	Machine string `json:"machine"` // of the other end
	LCI     int    `json:"lci"`
	User    string `json:"user,omitempty"`
	Side    string `json:"side"` // "caller" or "server"
	PID     int    `json:"pid,omitempty"`
	As      string `json:"as,omitempty"` // the user that the server runs as
	Held    int    `json:"held"`         // octets received and not taken
	Direct  bool   `json:"direct"`       // joined with the other program, which is on this machine
}

func (l *loop) machineStatus() machineRow {
	row := machineRow{
		Row: "machine", Machine: l.node.Machine(), Up: l.up, Seconds: time.Since(l.started).Seconds(), Mode: l.node.Mode().String(),
		Version: circuit.Version, Type: fmt.Sprintf("%#04x", l.wire.ethertype),
		Clashes: l.clashes, Traces: len(l.tracers),
	}
	if l.node.Mode() != seal.Open {
		row.Key = l.node.Keys()
	}
	for _, p := range l.ports {
		row.Stations = append(row.Stations, p.name+" "+p.link.Addr.String())
	}
	return row
}

// allCounters are those of the node, of the loop and of the ports.
func (l *loop) allCounters() map[string]uint64 {
	all := l.node.Counters()
	for name, count := range l.counters {
		all[name] += count
	}
	all["log lines left out"] += l.logs.Left
	for _, p := range l.ports {
		s := p.stats()
		all["frames that "+p.name+" did not take"] += p.lost
		all["sends that had to wait for "+p.name] += s.Full
		all["frames lost by the receive buffer of "+p.name] += s.Drops
		all["control messages lost by the receive buffer of "+p.name] += s.HailDrops
		all["frames too long for "+p.name] += s.Truncated
		p.countFaults(all)
	}
	maps.DeleteFunc(all, func(_ string, count uint64) bool { return count == 0 })
	return all
}

// countFaults adds what --faults did.
func (p *port) countFaults(all map[string]uint64) {
	f, ok := p.ether.(*ether.FaultPort)
	if !ok {
		return
	}
	in, out := f.Counts()
	for _, c := range []ether.FaultCounts{in, out} {
		all["faults: lost"] += c.Lost
		all["faults: doubled"] += c.Duplicated
		all["faults: reordered"] += c.Reordered
		all["faults: corrupted"] += c.Corrupted
		all["faults: dropped: too many held back"] += c.Overflow
		all["faults: dropped: sent late, and too long by then"] += c.Refused
	}
}

func (l *loop) linkStatus() (rows []any) {
	for _, s := range l.node.Links() {
		row := linkRow{
			Row: "link", Machine: s.Machine, Station: s.Addr, Interface: l.ports[s.Port].name, State: s.State,
			Circuits: s.Circuits, N1: s.N1, RTT: float64(s.RTT) / float64(time.Millisecond), Resent: s.Resent,
			N1Here: s.OwnN1, N1There: s.PeerN1, Why: s.Why,
		}
		if !s.Since.IsZero() {
			row.Seconds = l.now.Sub(s.Since).Seconds()
		}
		rows = append(rows, row)
	}
	return rows
}

func (l *loop) stationStatus() (rows []any) {
	for _, h := range l.node.Heard() {
		rows = append(rows, stationRow{
			Row: "station", Machine: h.Machine, Station: h.Addr, Interface: l.ports[h.Port].name, Seconds: l.now.Sub(h.At).Seconds(),
		})
	}
	return rows
}

// interfaceStatus has the interfaces in use, those that should be, and the other Ethernets of the machine.
func (l *loop) interfaceStatus() (rows []any) {
	links, err := ether.Links()
	if err != nil {
		l.logf("", "links", "interfaces: %v", err)
	}
	for _, p := range l.ports {
		row := interfaceRow{
			Row: "interface", Interface: p.name, Station: p.link.Addr.String(), Used: p.ether != nil, Wanted: true, MTU: p.link.MTU,
			Sent: p.sent, Received: p.received, Heard: -1, Others: received(p.name) - p.others, Lost: p.stats().Drops,
		}
		if p.raw != nil {
			row.Buffer = p.raw.RcvBuf()
		} else if row.Why = ether.WhyNot(p.name, links, l.wire.ifaces); row.Why == "" {
			row.Why = p.why
		}
		if p.received > 0 {
			row.Heard = l.now.Sub(p.heard).Seconds()
		}
		rows = append(rows, row)
	}
	for _, link := range links {
		if link.Ethernet && l.portNamed(link.Name) == nil {
			rows = append(rows, interfaceRow{
				Row: "interface", Interface: link.Name, Station: link.Addr.String(), MTU: link.MTU, Heard: -1,
				Why: ether.WhyNot(link.Name, links, l.wire.ifaces),
			})
		}
	}
	return rows
}

func (l *loop) serviceStatus() (rows []any) {
	for _, name := range sortedKeys(l.services) {
		s := l.services[name]
		mode := "circuit"
		running := s.running
		for _, a := range s.acceptors {
			if srv, ok := a.(*complexServer); ok {
				mode = "complex"
				running += srv.circuits()
			}
		}
		switch {
		case !s.transient && mode == "circuit":
			mode = "resident"
		case s.bytes:
			mode = "bytes"
		}
		rows = append(rows, serviceRow{
			Row: "service", Service: s.name, Exec: s.argv, Mode: mode, User: s.as,
			Running: running, Max: s.max, Calls: s.calls, Refused: s.refused,
		})
	}
	return rows
}

func (l *loop) circuitStatus() (rows []any) {
	for h := range l.holders {
		rows = append(rows, h.row())
	}
	for srv := range l.complexes {
		srv.k.Each(func(c *node.Circuit) { rows = append(rows, circuitRowOf(c, "server")) })
	}
	return rows
}
