package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
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
	fd := v.desc.fd
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	v.l.forget(v.desc)
	if err != nil {
		return
	}
	go writeRows(dup, rows)
}

// writeRows writes one JSON object per record, and gives up on a reader that takes none for 10 s.
func writeRows(fd int, rows []any) {
	f := os.NewFile(uintptr(fd), "status")
	defer f.Close()
	unix.SetNonblock(fd, false)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 10})
	for _, row := range rows {
		text, err := json.Marshal(row)
		if err != nil {
			return
		}
		if _, err := unix.Write(fd, text); err != nil {
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
	Key      string   `json:"key,omitempty"` // this machine's; not in mode open
	Stations []string `json:"stations"`      // interface and address of each port
	Clashes  []string `json:"clashes,omitempty"`
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
}

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
	Held    int    `json:"held"` // octets received and not taken
}

func (l *loop) machineStatus() machineRow {
	row := machineRow{
		Row: "machine", Machine: l.node.Machine(), Up: l.up, Seconds: time.Since(l.started).Seconds(), Mode: l.node.Mode().String(),
		Clashes: l.clashes,
	}
	if l.node.Mode() != seal.Open {
		row.Key = l.node.Key().String()
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
	for _, p := range l.ports {
		if p.lost > 0 {
			all["frames that "+p.name+" did not take"] += p.lost
		}
		if p.raw != nil {
			if drops := p.raw.Drops(); drops > 0 {
				all["frames lost by the receive buffer of "+p.name] += drops
			}
		}
	}
	return all
}

func (l *loop) linkStatus() (rows []any) {
	for _, s := range l.node.Links() {
		row := linkRow{
			Row: "link", Machine: s.Machine, Station: s.Addr, Interface: l.ports[s.Port].name, State: s.State,
			Circuits: s.Circuits, N1: s.N1, RTT: float64(s.RTT) / float64(time.Millisecond), Resent: s.Resent,
		}
		if !s.Since.IsZero() {
			row.Seconds = l.now.Sub(s.Since).Seconds()
		}
		rows = append(rows, row)
	}
	return rows
}

func (l *loop) serviceStatus() (rows []any) {
	for _, name := range sortedKeys(l.services) {
		s := l.services[name]
		mode := "circuit"
		switch {
		case s.path == "":
			mode = "resident"
		case s.bytes:
			mode = "bytes"
		}
		rows = append(rows, serviceRow{
			Row: "service", Service: s.name, Exec: s.argv, Mode: mode, User: s.as.name,
			Running: s.running, Max: s.max, Calls: s.calls, Refused: s.refused,
		})
	}
	return rows
}

func (l *loop) circuitStatus() (rows []any) {
	for h := range l.holders {
		rows = append(rows, h.row())
	}
	return rows
}
