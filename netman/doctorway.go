package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/seal"
	"dnet/x25"
)

// doctorCalls is how many calls measure a round trip; the fastest counts.
const doctorCalls = 5

// doctorCallTime bounds one call: longer than T21.
const doctorCallTime = 15 * time.Second

// wayTo goes the way to another machine: query, hello, link, path.
func (d *doctor) wayTo(machine string) {
	found, err := d.knock("find", "netman."+machine)
	switch {
	case err != nil:
		d.wrong("query", err.Error(), "")
		return
	case found.Verb != "ok":
		d.noAnswer(machine)
		return
	}
	d.ok("query", fmt.Sprintf("%s answers for its name on %s, station %s", machine, found.Get("interface"), found.Get("station")))
	// netman.MACHINE is a name that nobody can call: that a call of it is cleared by the other end shows that all between works.
	began := time.Now()
	answer, err := d.knock("call", "netman."+machine)
	took := time.Since(began)
	if err != nil {
		d.wrong("link", err.Error(), "")
		return
	}
	link, ok := d.linkTo(machine, found.Get("station"))
	if !ok || link.State != "up" {
		d.noLink(machine, answer, link)
		return
	}
	d.ok("link", fmt.Sprintf("the link to %s on %s is up", machine, link.Interface))
	d.judgePath(machine, link)
	for range doctorCalls {
		began := time.Now()
		if _, err := d.knock("call", "netman."+machine); err != nil {
			d.wrong("link", err.Error(), "")
			return
		}
		took = min(took, time.Since(began))
	}
	if cause, _ := answer.Octet(0); x25.Cause(cause) != x25.CauseNotObtainable {
		d.wrong("link", fmt.Sprintf("a call of %s ended otherwise than it should: %s", machine, answer.Text(2)), "'netman trace "+machine+"' shows what happens")
		return
	}
	if d.verdict() == nil {
		d.ok("path", fmt.Sprintf("all well: %s by %s, a call and its answer in %.2f ms, N1 %d", machine, link.Interface,
			float64(took.Microseconds())/1000, link.N1))
	}
}

// knock says one line at the door and waits for the answer.
func (d *doctor) knock(verb, service string) (circuit.Line, error) {
	fd, err := visit(d.opt.door, circuit.Line{Verb: verb, Words: []string{service}})
	if err != nil {
		return circuit.Line{}, err
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(doctorCallTime.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	buf := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(fd, buf)
	circuit.CloseFds(fds)
	if errors.Is(err, unix.EAGAIN) {
		return circuit.Line{}, fmt.Errorf("%s %s: no answer from netman within %v", verb, service, doctorCallTime)
	}
	if err != nil {
		return circuit.Line{}, fmt.Errorf("%s: %w", d.opt.door, err)
	}
	line, err := circuit.ParseLine(buf[:n])
	if err == nil && line.Get("e") != "" {
		err = errors.New(line.Text(0))
	}
	return line, err
}

// linkTo is the best link to a machine, or to its station, which may not have said whose it is: one that is up before one that is not.
func (d *doctor) linkTo(machine, station string) (best linkRow, ok bool) {
	rows, _ := d.rows("links")
	for _, raw := range rows {
		var r linkRow
		if json.Unmarshal(raw, &r) == nil && (r.Machine == machine || r.Station == station) && (!ok || best.State != "up") {
			best, ok = r, true
		}
	}
	return best, ok
}

// noAnswer says what is known of a machine that does not answer for its name.
func (d *doctor) noAnswer(machine string) {
	text := "no netman answers for the name " + machine
	if r, ok := d.linkTo(machine, ""); ok && r.Why != "" {
		text += fmt.Sprintf("; the last link to it, on %s, ended: %s", r.Interface, r.Why)
	}
	rows, _ := d.rows("stations")
	var others []string
	for _, raw := range rows {
		var r stationRow
		switch {
		case json.Unmarshal(raw, &r) != nil:
		case r.Machine == machine:
			text += fmt.Sprintf("; it was heard last %s ago, as %s on %s", seconds(r.Seconds), r.Station, r.Interface)
		case len(others) < 3:
			others = append(others, r.Machine)
		}
	}
	do := fmt.Sprintf("on %s: does netman run ('netman doctor' there), on this network, with Ethertype %s?", machine, d.machine.Type)
	d.askInterfaces() // the queries of this very visit count as well
	for _, r := range d.interfaces {
		if r.Used && r.Received == 0 && r.Sent >= silence {
			text += "; " + d.silent(r)
		}
	}
	if len(others) > 0 {
		do += " Others were heard here (" + strings.Join(others, ", ") + "), so look there first."
	} else {
		do += " Does a switch, a bridge or a filter (nft, ebtables) between the two drop that Ethertype?"
	}
	d.wrong("query", text, do)
}

// noLink says why no link came up to a machine that answers for its name.
func (d *doctor) noLink(machine string, answer circuit.Line, link linkRow) {
	why := answer.Text(2)
	if link.Why != "" {
		why = link.Why
	}
	cause, _ := answer.Octet(0)
	switch {
	case x25.Cause(cause) == x25.CauseIncompatible:
		d.wrong("hello", fmt.Sprintf("%s answers, but %s", machine, why), "run the same version and the same security mode on both")
	case strings.Contains(why, "hello"):
		d.wrong("hello", fmt.Sprintf("%s answers for its name, but %s", machine, why),
			"frames that are directed to it get lost, or its netman hangs: two stations with one MAC address? a switch that filters? 'netman doctor' there")
	case x25.Cause(cause) == x25.CauseOutOfOrder:
		d.wrong("link", fmt.Sprintf("%s answers the hello, but there is no link: %s", machine, why),
			"'netman trace "+machine+"' on both machines shows which frames get lost")
	default:
		d.wrong("link", fmt.Sprintf("there is no link to %s: %s", machine, why), "")
	}
}

// mtu is the MTU that a largest PDU comes from: L and F are before it, and a seal around it.
func (d *doctor) mtu(n1 int) int {
	if d.machine.Mode != seal.Open.String() {
		n1 += seal.Overhead
	}
	return n1 + 3
}

// judgePath compares what both ends take with what the path between them carries.
func (d *doctor) judgePath(machine string, link linkRow) {
	most := min(link.N1Here, link.N1There)
	switch {
	case link.N1 < most:
		d.wrong("path", fmt.Sprintf("%s and %s take PDUs of %d octets, but the path between them loses frames above 1500 octets: N1 is %d",
			d.machine.Machine, machine, most, link.N1),
			fmt.Sprintf("a switch or bridge on the way has a smaller MTU: give it %d, or both ends 1500", d.mtu(most)))
	case link.N1Here != link.N1There:
		d.note("path", fmt.Sprintf("the MTU is %d here and %d on %s: the smaller one holds", d.mtu(link.N1Here), d.mtu(link.N1There), machine), "")
	}
	if link.Resent > 0 {
		d.note("path", fmt.Sprintf("%d frames were sent again on this link", link.Resent), "a few are usual under load; if it grows, the path loses frames")
	}
}
