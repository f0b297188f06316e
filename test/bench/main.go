// Bench is `make bench`: dnet beside what it could be compared with, in one run on one machine.
//
//	main.go      flags, and the programs that it is made of
//	probe.go     what is measured, in rounds in which all variants take their turn
//	pair.go      the two machines, and what runs on them
//	record.go    samples, median (lowest-highest), the table
//	aim.go       the ratios, and what they should be
//	session.go   round trips and streams, whoever carries them
//	circuits.go  ... circuits of package circuit: over netman, or over the bare relay
//	relay.go     the bare relay: no protocol, plain Go
//	files.go     ... circuits that are files
//	bare.go      ... a bare socket pair
//	wire.go      ... frames of package ether
//	tcp.go       ... TCP
//	offload.go   TCP without segmentation offloads
//
// All of it happens on machines of the lab: the programs, the netmans and the relays are processes of their own. Where the
// scheduler puts them decides a round trip more than anything else, and other work on the machine disturbs it: only figures of one
// round are compared, and a ratio is the median of the ratios of the rounds.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// options are the flags.
type options struct {
	runs  int
	only  *regexp.Regexp
	short bool
	json  bool
}

func main() {
	// In the machines this program is the clients, servers and relays.
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], ":") {
		runtime.UnlockOSThread() // package lab ties the main goroutine to its thread, which makes each wake-up dearer
		if err := runRole(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", strings.Join(os.Args[1:], " "), err)
			os.Exit(1)
		}
		return
	}
	opt := parseFlags()
	lab.Main(lab.Func(func() int { return run(opt) }))
}

func parseFlags() options {
	opt := options{runs: 5}
	only := ""
	flag.StringVar(&only, "run", "", "measure only what `REGEXP` matches: "+strings.Join(probeNames(), ", "))
	flag.IntVar(&opt.runs, "n", opt.runs, "rounds, each of all variants")
	flag.BoolVar(&opt.short, "short", false, "a look only: two short rounds")
	flag.BoolVar(&opt.json, "json", false, "print everything, each sample too, as JSON")
	flag.Parse()
	var err error
	if opt.only, err = regexp.Compile(only); err != nil || flag.NArg() > 0 || opt.runs < 1 {
		fmt.Fprintln(os.Stderr, "bench: -run takes a regular expression, -n a number from 1, and nothing else follows; -h says more")
		os.Exit(2)
	}
	if opt.short {
		opt.runs = min(opt.runs, 2)
	}
	return opt
}

// host describes the machine that all of this runs on.
type host struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Date   string `json:"date"`
	Commit string `json:"commit,omitempty"`
}

func thisHost() host {
	h := host{CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Format(time.RFC3339)}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			h.CPU = strings.TrimSpace(value)
			break
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		h.Commit = strings.TrimSpace(string(out))
	}
	return h
}

func (h host) String() string {
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s, %s %s", h.CPU, h.CPUs, h.Kernel, h.Go, h.Date, h.Commit)
}

// busyTime is how long the CPUs have been busy in all (proc(5): user, nice, system, irq, softirq, steal, in hundredths).
func busyTime() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	var f [8]int64
	for i, word := range strings.Fields(strings.TrimPrefix(line, "cpu")) {
		if i < len(f) && i != 3 && i != 4 { // idle, iowait
			f[i], _ = strconv.ParseInt(word, 10, 64)
		}
	}
	return time.Duration(f[0]+f[1]+f[2]+f[5]+f[6]+f[7]) * 10 * time.Millisecond
}

// ownTime is what this process and those that it has started and waited for have used.
func ownTime() (own time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			own += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return own
}
