package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"dnet/circuit"
)

// maxLine is how much of a line is put out as one; what is longer comes in several, each with its label.
const maxLine = 64 << 10

// callAll runs the command on all machines that r means, some at once, and returns the worst exit status.
func callAll(r request) int {
	machines, err := r.resolve()
	if err != nil {
		say(err)
		return exitFailure
	}
	r.noInput = true
	out := &labels{json: r.json, width: widest(machines)}
	worst := 0
	var mu sync.Mutex
	var all sync.WaitGroup
	places := make(chan struct{}, r.parallel)
	for _, m := range machines {
		places <- struct{}{}
		all.Go(func() {
			status := out.run(r, m)
			mu.Lock()
			worst = max(worst, status)
			mu.Unlock()
			<-places
		})
	}
	all.Wait()
	if out.failed != nil {
		say("standard output", out.failed)
		return exitFailure
	}
	return worst
}

// resolve makes names of patterns and of -a: netman's own machine if rx is offered there, and those that it has a
// link to or has met lately. There is no list of all machines of a network.
func (r *request) resolve() ([]string, error) {
	if !r.all && !slices.ContainsFunc(r.machines, isPattern) {
		return r.machines, nil
	}
	known, err := knownMachines()
	if err != nil {
		return nil, err
	}
	if r.all {
		if len(known) == 0 {
			return nil, errors.New("netman knows no other machine yet; name them: rx a,b,c COMMAND")
		}
		return known, nil
	}
	var machines []string
	for _, pattern := range r.machines {
		found := []string{pattern}
		if isPattern(pattern) {
			pattern = strings.ToLower(pattern)
			found = slices.DeleteFunc(slices.Clone(known), func(m string) bool {
				match, _ := path.Match(pattern, m)
				return !match
			})
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no machine of that kind among those that netman knows (%s)", pattern, strings.Join(known, " "))
		}
		for _, m := range found {
			if !slices.Contains(machines, m) {
				machines = append(machines, m)
			}
		}
	}
	return machines, nil
}

// knownMachines are those that this machine's netman knows, by name.
func knownMachines() (machines []string, err error) {
	rows, err := circuit.Status(context.Background(), "status", circuit.Options{})
	if err != nil {
		return nil, err
	}
	own := ""
	for _, raw := range rows {
		var row struct{ Row, Machine, Service string }
		if err := json.Unmarshal(raw, &row); err != nil {
			return nil, fmt.Errorf("status: %w", err)
		}
		switch {
		case row.Row == "machine":
			own = row.Machine
		case row.Row == "link" && row.Machine != "":
			machines = append(machines, row.Machine)
		case row.Row == "service" && row.Service == "rx."+own:
			machines = append(machines, own)
		}
	}
	slices.Sort(machines)
	return slices.Compact(machines), nil
}

func widest(machines []string) (n int) {
	for _, m := range machines {
		n = max(n, len(m))
	}
	return n
}

// labels puts out what comes of several machines, whole lines at a time.
type labels struct {
	json  bool
	width int

	mu     sync.Mutex
	failed error // of standard output
}

// lineRecord is one line of output, endRecord the end of one machine's command: the objects of --json.
type lineRecord struct {
	Machine string `json:"machine"`
	Stream  string `json:"stream"` // "stdout" or "stderr"
	Line    string `json:"line"`
	Partial bool   `json:"partial,omitempty"` // no newline followed
}

type endRecord struct {
	Machine string  `json:"machine"`
	Status  int     `json:"status"`
	Signal  string  `json:"signal,omitempty"`
	Error   string  `json:"error,omitempty"` // of rx: there was no exit status
	Seconds float64 `json:"seconds"`
}

// run runs the command on one machine.
func (l *labels) run(r request, machine string) int {
	began := time.Now()
	var lines sync.WaitGroup
	var ends [2]*os.File
	for i, stream := range []string{"stdout", "stderr"} {
		read, write, err := os.Pipe()
		if err != nil {
			return l.end(machine, began, outcome{status: exitFailure, err: err})
		}
		ends[i] = write
		lines.Go(func() {
			defer read.Close()
			l.copy(read, machine, stream)
		})
	}
	o := run(r, machine, false, nil, ends[0], ends[1])
	ends[0].Close()
	ends[1].Close()
	lines.Wait()
	return l.end(machine, began, o)
}

func (l *labels) end(machine string, began time.Time, o outcome) int {
	if l.json {
		record := endRecord{Machine: machine, Status: o.status, Signal: o.signal, Seconds: time.Since(began).Seconds()}
		if o.err != nil {
			record.Error = o.err.Error()
		}
		l.object(record)
	} else if o.err != nil {
		say(machine, o.err)
	} else if o.status != 0 {
		say(machine, fmt.Sprintf("exit status %d", o.status))
	}
	return o.status
}

// copy puts the lines of one output out.
func (l *labels) copy(from io.Reader, machine, stream string) {
	// Nothing of a line is put out before its end, so that lines stay whole.
	in := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			l.line(machine, stream, line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (l *labels) line(machine, stream string, line []byte) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	if l.json {
		l.object(lineRecord{Machine: machine, Stream: stream, Line: strings.ToValidUTF8(string(text), "\ufffd"), Partial: !whole})
		return
	}
	record := fmt.Appendf(nil, "%-*s %s\n", l.width+1, machine+":", text)
	if stream == "stderr" {
		l.write(os.Stderr, record)
	} else {
		l.write(os.Stdout, record)
	}
}

func (l *labels) object(record any) {
	text, err := json.Marshal(record)
	if err == nil {
		l.write(os.Stdout, append(text, '\n'))
	}
}

// write writes a whole line.
func (l *labels) write(f *os.File, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := f.Write(line); err != nil && f == os.Stdout && l.failed == nil {
		l.failed = err
	}
}
