package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// probe is a measurement that is repeated in every round, with all its variants.
type probe struct {
	name string
	mtu  int
	bare bool // on machines of its own, new in every round
	run  func(*turn) error
}

// turn is one probe in one round.
type turn struct {
	*record
	*machines
	mtu   int
	long  time.Duration // how long one measurement takes
	short bool
}

// probes are all of them, in order.
var probes = []probe{
	{name: "rtt1500", mtu: 1500, run: (*turn).roundTrips},
	{name: "large1500", mtu: 1500, run: (*turn).large},
	{name: "small1500", mtu: 1500, run: (*turn).small},
	{name: "beside", mtu: 1500, run: (*turn).besideStream},
	{name: "setup", mtu: 1500, run: (*turn).setUps},
	{name: "rx", mtu: 1500, run: (*turn).commands},
	{name: "rtt9000", mtu: 9000, run: (*turn).roundTrips},
	{name: "large9000", mtu: 9000, run: (*turn).large},
	{name: "small9000", mtu: 9000, run: (*turn).small},
	{name: "local", mtu: 1500, run: (*turn).local},
	{name: "complex", mtu: 1500, run: (*turn).complex},
	{name: "memory", mtu: 1500, bare: true, run: (*turn).idle},
	{name: "idlecomplex", mtu: 1500, bare: true, run: (*turn).idleComplex},
}

func probeNames() (names []string) {
	for _, p := range probes {
		names = append(names, p.name)
	}
	return names
}

// run measures, in the world of the lab, and returns the exit status: 1 if something failed. An aim that is not met is no failure.
func run(opt options) int {
	b, r := &bench{}, &record{Host: thisHost()}
	pairs := map[int]*machines{}
	began, busy := time.Now(), busyTime()
	for round := range opt.runs {
		r.run = round + 1
		for _, p := range probes {
			if !opt.only.MatchString(p.name) {
				continue
			}
			b.progress("run %d of %d: %s", round+1, opt.runs, p.name)
			m, err := pairs[p.mtu], error(nil)
			if m == nil || p.bare {
				if m, err = newMachines(b, p.mtu, p.bare); err != nil {
					b.Fatalf("%v", err)
				}
			}
			t := &turn{record: r, machines: m, mtu: p.mtu, long: 500 * time.Millisecond, short: opt.short}
			if opt.short {
				t.long = 150 * time.Millisecond
			}
			if err := p.run(t); err != nil {
				r.Errors = append(r.Errors, fmt.Sprintf("run %d: %s: %v", round+1, p.name, err))
			}
			if p.bare {
				m.lab.Close()
			} else {
				pairs[p.mtu] = m
			}
		}
	}
	b.progress("")
	for _, m := range pairs {
		m.lab.Close()
	}
	// All that was started has been waited for, so what is left is others'.
	r.Others = (busyTime() - busy - ownTime()).Seconds() / time.Since(began).Seconds() / float64(r.Host.CPUs)
	r.judge()
	if opt.json {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		out.Encode(r)
	} else {
		r.print(os.Stdout, opt.runs)
	}
	if len(r.Errors) > 0 || b.failures > 0 {
		return 1
	}
	return 0
}

// variants are columns in the order of this run: none is always the first.
func (t *turn) variants(of ...string) []string {
	n := t.record.run % len(of)
	return append(append([]string(nil), of[n:]...), of[:n]...)
}

func (t *turn) roundTrips() error {
	var failed error
	for _, column := range t.variants(withFiles(netman, sealed, bareRelay, bareWire, tcp)...) {
		r, err := t.rtt(column, t.long)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.add(fmt.Sprintf("rtt%d", t.mtu), fmt.Sprintf("round trip of %d octets, MTU %d", tripSize, t.mtu), "us", column, r.Median)
	}
	return failed
}

func (t *turn) large() error { return t.streams("large", "60 KiB", largeSize) }

func (t *turn) small() error { return t.streams("small", "1 KiB", smallSize) }

// streams measures one direction, and with large datagrams what the daemons use for it.
func (t *turn) streams(key, name string, size int) error {
	var failed error
	pids := map[string][]int{netman: t.netmans, sealed: t.sealed, bareRelay: t.relays}
	for _, column := range t.variants(withFiles(netman, sealed, bareRelay, bareWire, tcp)...) {
		before, err := cpu(pids[column])
		if err != nil {
			return err
		}
		r, err := t.stream(column, t.long, size)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		after, err := cpu(pids[column])
		if err != nil {
			return err
		}
		t.add(fmt.Sprintf("%s%d", key, t.mtu), fmt.Sprintf("one way, %s, MTU %d", name, t.mtu), "MB/s", column, r.Rate)
		if pids[column] != nil && size == largeSize {
			t.add(fmt.Sprintf("cpu%d", t.mtu), fmt.Sprintf("CPU of both daemons, %s, MTU %d", name, t.mtu), "s/GB", column,
				(after-before)/float64(r.Octets)*1e9)
		}
	}
	return failed
}

// besideStream measures what a stream costs another circuit.
func (t *turn) besideStream() error {
	trips, streams, err := t.beside(t.long)
	if err != nil {
		return err
	}
	t.add("beside", "round trip beside a stream, MTU 1500", "us", netman, trips.Median)
	t.add("beside99", "  99th percentile", "us", netman, trips.P99)
	t.add("besideMB", "  the stream beside it", "MB/s", netman, streams.Rate)
	return nil
}

// setUps measures the time from asking for a circuit to its end.
func (t *turn) setUps() error {
	var failed error
	for _, column := range t.variants(netman, tcp, tcpAnswer) {
		kind, address := t.address(column)
		if column == tcpAnswer {
			kind, address = "tcp-answer", t.far.IP()+tcpPort
		}
		r, err := t.ask(t.near, ":setup", kind, address, t.long.String())
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.add("setup", "call or connect, and close", "us", column, r.Median)
	}
	return failed
}

// commands measures rx beside starting a program on the far machine.
func (t *turn) commands() error {
	var failed error
	for _, column := range t.variants(netman, forkExec) {
		on, args := t.near, []string{"rx", "doc", "true"}
		if column == forkExec {
			on, args = t.far, []string{"/bin/true"}
		}
		r, err := t.ask(on, append([]string{":exec", t.long.String()}, args...)...)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.add("rx", "rx doc true, and /bin/true on doc", "ms", column, r.Median/1e3)
	}
	return failed
}

// local measures two programs of one machine.
func (t *turn) local() error {
	var failed error
	for _, column := range t.variants(netman, barePair, tcp) {
		kind, address := t.address(column)
		trips, err := t.ask(t.far, ":rtt", kind, address, t.long.String())
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.add("localrtt", fmt.Sprintf("within a machine: round trip of %d octets", tripSize), "us", column, trips.Median)
		stream, err := t.ask(t.far, ":stream", kind, address, t.long.String(), fmt.Sprint(largeSize))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.add("locallarge", "within a machine: one way, 60 KiB", "MB/s", column, stream.Rate)
	}
	return failed
}

// complex measures many clients of one complex server that send at once, beside one circuit on which as much is sent.
func (t *turn) complex() error {
	count, each := 4000, 2
	if t.short {
		count = 1000
	}
	title := fmt.Sprintf("%d x %d x 60 KiB, MTU 1500: ", count, each)
	one := func() (err error) {
		_, err = t.crowd("one", title+"on one circuit", service, 1, count*each)
		return err
	}
	many := func() error {
		c, err := t.crowd("complex", title+"by so many clients of a complex server", complexService, count, each)
		if err == nil {
			t.add("slowest", "  rate of the slowest client, of the median's", "1", netman, c.Slowest)
		}
		return err
	}
	if t.record.run%2 == 0 {
		return errors.Join(one(), many())
	}
	return errors.Join(many(), one())
}

// crowd measures clients that send at once, and what the daemons use for it.
func (t *turn) crowd(key, title, name string, count, each int) (c crowd, err error) {
	client, err := t.begin(t.near, ":crowd", netmanDoor, name, fmt.Sprint(count), fmt.Sprint(each))
	if err != nil {
		return c, err
	}
	defer client.end()
	if line, err := client.said.ReadString('\n'); line != "ready\n" {
		return c, fmt.Errorf("the clients are not ready: %q, %w", line, err)
	}
	before, err := cpu(t.netmans)
	if err != nil {
		return c, err
	}
	client.in.Close()
	if err := client.tells(&c); err != nil {
		return c, err
	}
	after, err := cpu(t.netmans)
	if err != nil {
		return c, err
	}
	t.add(key, title, "MB/s", netman, c.Rate)
	t.add(key+"cpu", "  CPU of both daemons", "s/GB", netman, (after-before)/float64(count*each*largeSize)*1e9)
	return c, nil
}

// idle measures netman's memory with many circuits open.
func (t *turn) idle() error { return t.idleClients("memory", "circuit", service) }

// idleComplex measures it with many clients of a complex server.
func (t *turn) idleComplex() error {
	return t.idleClients("memorycomplex", "client of a complex server", complexService)
}

func (t *turn) idleClients(key, what, name string) error {
	count := 2000
	if t.short {
		count = 200
	}
	// The link comes up, and what is allocated once is.
	if _, err := t.rtt(netman, t.long); err != nil {
		return err
	}
	before, err := memories(t.netmans)
	if err != nil {
		return err
	}
	client, err := t.begin(t.near, ":circuits", netmanDoor, name, fmt.Sprint(count))
	if err != nil {
		return err
	}
	var m many
	err = client.tells(&m)
	after, e := memories(t.netmans)
	if err = errors.Join(err, e, client.end()); err != nil {
		return err
	}
	most := 0.0
	for i := range after {
		most = max(most, (after[i]-before[i])/float64(count))
	}
	t.add(key, fmt.Sprintf("memory of a netman per idle %s, %d open", what, count), "KiB", netman, most)
	t.add(key+"opened", "  opened and echoed once", "s", netman, m.Seconds)
	return nil
}

func memories(pids []int) (kib []float64, err error) {
	for _, pid := range pids {
		m, err := memory(pid)
		if err != nil {
			return nil, err
		}
		kib = append(kib, m)
	}
	return kib, nil
}
