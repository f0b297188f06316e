package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Columns of the table.
const (
	netman    = "netman"
	sealed    = "sealed" // netman in mode pinned
	bareWire  = "AF_PACKET"
	bareRelay = "bare relay"
	tcp       = "TCP"
	tcpAnswer = "TCP, one octet" // to the server and back, before the end
	forkExec  = "fork, exec"
	asFile    = "netman, file" // the calling end is a file of /netphys
	barePair  = "socket pair"
)

var columns = []string{netman, sealed, bareRelay, bareWire, tcp, tcpAnswer, forkExec, asFile, barePair}

// row is a line of the table; its values are samples, one of each round.
type row struct {
	Key     string              `json:"key"`
	Title   string              `json:"title"`
	Unit    string              `json:"unit"`
	Samples map[string][]sample `json:"samples"` // by column
}

// sample is a value measured in one run.
type sample struct {
	Run   int     `json:"run"`
	Value float64 `json:"value"`
}

// record is everything that was measured.
type record struct {
	Host   host    `json:"host"`
	Others float64 `json:"others"` // the share of the machine's CPUs that other work took meanwhile
	run    int
	Rows   []*row    `json:"rows"`
	Ratios []verdict `json:"ratios"`
	Errors []string  `json:"errors,omitempty"`
}

// add takes one sample of the present run.
func (r *record) add(key, title, unit, column string, value float64) {
	i := slices.IndexFunc(r.Rows, func(l *row) bool { return l.Key == key })
	if i < 0 {
		r.Rows = append(r.Rows, &row{Key: key, Title: title, Unit: unit, Samples: map[string][]sample{}})
		i = len(r.Rows) - 1
	}
	l := r.Rows[i]
	l.Samples[column] = append(l.Samples[column], sample{r.run, value})
}

// samples are those of a row and a column.
func (r *record) samples(key, column string) []sample {
	for _, l := range r.Rows {
		if l.Key == key {
			return l.Samples[column]
		}
	}
	return nil
}

// spread is the median of samples, and the lowest and highest.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spreadOf(samples []float64) spread {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]}
}

// String has three digits of each, "74.1 (70.3–81.0)".
func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", digits(s.Median), digits(s.Low), digits(s.High))
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// print writes the table, the ratios, and what went wrong.
func (r *record) print(w io.Writer, runs int) {
	fmt.Fprintf(w, "%v\nmedian (lowest–highest) of %d interleaved runs; other work took %.0f %% of the machine\n\n", r.Host, runs, 100*r.Others)
	used := slices.DeleteFunc(slices.Clone(columns), func(c string) bool {
		return !slices.ContainsFunc(r.Rows, func(l *row) bool { return len(l.Samples[c]) > 0 })
	})
	lines := [][]string{append([]string{""}, used...)}
	for _, l := range r.Rows {
		line := []string{l.Title + ", " + l.Unit}
		for _, c := range used {
			cell := ""
			if s := l.Samples[c]; len(s) > 0 {
				var values []float64
				for _, one := range s {
					values = append(values, one.Value)
				}
				cell = spreadOf(values).String()
			}
			line = append(line, cell)
		}
		lines = append(lines, line)
	}
	table(w, lines)
	fmt.Fprintln(w)
	lines = [][]string{{"of the same run", "", "aim", ""}}
	for _, v := range r.Ratios {
		lines = append(lines, []string{v.Title, v.Spread.String(), v.Aim, v.Verdict})
	}
	table(w, lines)
	for _, e := range r.Errors {
		fmt.Fprintln(w, "failed:", e)
	}
}

// table writes lines with their cells below each other.
func table(w io.Writer, lines [][]string) {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			b.WriteString(cell + strings.Repeat(" ", width[i]-len([]rune(cell))+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
