package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/hdlc"
	"dnet/netman/node"
)

// traceOptions are those of `netman trace`.
type traceOptions struct {
	file  string
	data  bool
	count int
}

// traceCommand shows the frames of a running netman.
func traceCommand(opt *options) *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use: "trace [FILTER...]", Short: "show the frames that the running netman sends and receives",
		Long: "Prints a line for every frame, or writes them to a capture file. A FILTER is a word of the line, or several in quotes: CALL,\n" +
			"'lci 12', eth0, an address. A machine's name also stands for its stations. With commas between, one of them; of\n" +
			"several FILTERs all must be met. It is for root and for members of the group dnet.",
		RunE: func(_ *cobra.Command, args []string) error {
			if o.count < 0 {
				return fmt.Errorf("trace: -c %d: a count is above 0", o.count)
			}
			return runTrace(opt.door, o, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "write", "w", "", "write the frames to `FILE` (pcapng; - is standard output) instead of printing them")
	flags.BoolVar(&o.data, "data", false, "show what users say to each other as well, not only headers and what sets up circuits")
	flags.IntVarP(&o.count, "count", "c", 0, "end after so many frames")
	return cmd
}

// traceShower is where the frames of a trace go.
type traceShower interface {
	// show shows a frame, before which so many are missing.
	show(e traceEntry, text string, missing uint64) error
	// lost tells that frames are missing.
	lost(e traceEntry) error
}

// runTrace traces until it is told to end, the count is reached, or netman has gone.
func runTrace(door string, o traceOptions, filters []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	filter, err := newTraceFilter(door, filters)
	if err != nil {
		return err
	}
	fd, err := openTrace(door, o.data)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	defer context.AfterFunc(ctx, func() { unix.Shutdown(fd, unix.SHUT_RDWR) })()
	t := &traceReader{fd: fd, filter: filter, count: o.count, out: bufio.NewWriter(os.Stdout)}
	t.shower = traceText{t.out}
	if o.file != "" {
		file, err := createCapture(o.file)
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		defer file.Close()
		t.shower = &traceCapture{capture: ether.NewCapture(file), ports: map[string]uint32{}}
	}
	err = t.run(ctx)
	fmt.Fprintf(os.Stderr, "netman: trace: %d frames, %d others that no filter let pass, %d missing\n", t.shown, t.others, t.missing)
	return err
}

// openTrace asks the door for a trace.
func openTrace(door string, data bool) (int, error) {
	line := circuit.Line{Verb: "trace"}
	if data {
		line.Keys = append(line.Keys, circuit.Key{Key: "data", Value: "1"})
	}
	fd, err := visit(door, line)
	if err != nil {
		return -1, err
	}
	buf := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(fd, buf)
	circuit.CloseFds(fds)
	if err == nil {
		if line, err = circuit.ParseLine(buf[:n]); err == nil && line.Verb != "ok" {
			err = errors.New("trace: " + line.Text(0))
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// traceReader reads the records of a trace.
type traceReader struct {
	fd     int
	filter traceFilter
	shower traceShower
	out    *bufio.Writer // of the text; flushed after each record
	count  int           // 0: no end

	shown, others int
	missing       uint64
	before        uint64 // missing since the last frame shown
}

func (t *traceReader) run(ctx context.Context) error {
	buf := make([]byte, 2*traceRecord)
	for t.count == 0 || t.shown < t.count {
		n, fds, err := circuit.RecvFds(t.fd, buf)
		circuit.CloseFds(fds)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("trace: netman has gone")
		case err != nil:
			return fmt.Errorf("trace: %w", err)
		}
		err = t.record(buf[:n])
		if wrong := t.out.Flush(); err == nil {
			err = wrong
		}
		if errors.Is(err, unix.EPIPE) {
			return nil // whoever looked at it has seen enough
		}
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
	}
	return nil
}

// record shows what one record has.
func (t *traceReader) record(b []byte) error {
	for len(b) > 0 && (t.count == 0 || t.shown < t.count) {
		e, rest, err := parseTraceEntry(b)
		if err != nil {
			return err
		}
		b = rest
		if err := t.entry(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *traceReader) entry(e traceEntry) error {
	if e.kind == traceLost {
		t.missing += uint64(e.size)
		t.before += uint64(e.size)
		return t.shower.lost(e)
	}
	text := node.FormatCut(e.frame, int(e.size))
	if !t.filter.match(e.name, text) {
		t.others++
		return nil
	}
	t.shown++
	before := t.before
	t.before = 0
	return t.shower.show(e, text, before)
}

// traceFilter is what a line must have: of each list one word, or several words in a row. The name of a machine stands for its
// stations too: those that netman knows at the start, and those that say so in the trace.
type traceFilter struct {
	lists    [][]string
	stations map[string][]string
}

// newTraceFilter reads filters.
func newTraceFilter(door string, filters []string) (f traceFilter, err error) {
	for _, filter := range filters {
		list := words(filter)
		if len(list) == 0 {
			return f, fmt.Errorf("trace: the filter %q is empty", filter)
		}
		f.lists = append(f.lists, list)
	}
	if len(filters) > 0 {
		f.stations, err = stationsOf(door)
	}
	return f, err
}

// words are the alternatives of one filter.
func words(filter string) (list []string) {
	for _, word := range strings.Split(filter, ",") {
		if word = strings.Join(strings.Fields(strings.ToLower(word)), " "); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// match says whether a frame is to be shown.
func (f *traceFilter) match(name, text string) bool {
	if len(f.lists) == 0 {
		return true
	}
	f.learn(text)
	line := " " + strings.ToLower(name+" "+text) + " "
	has := func(word string) bool { return strings.Contains(line, " "+word+" ") }
	for _, words := range f.lists {
		if !slices.ContainsFunc(words, func(word string) bool { return has(word) || slices.ContainsFunc(f.stations[word], has) }) {
			return false
		}
	}
	return true
}

// learn notes whose station a frame comes from, if it says so and a filter asks for that machine.
func (f *traceFilter) learn(text string) {
	before, after, ok := strings.Cut(text, " machine ")
	if !ok {
		return
	}
	station, _, _ := strings.Cut(before, " ")
	machine, _, _ := strings.Cut(after, " ")
	asked := slices.ContainsFunc(f.lists, func(words []string) bool { return slices.Contains(words, machine) })
	if asked && !slices.Contains(f.stations[machine], station) && len(f.stations[machine]) < maxFilterStations {
		f.stations[machine] = append(f.stations[machine], station)
	}
}

// maxFilterStations is how many stations of one machine a filter knows; further ones are shown only where they name the machine.
const maxFilterStations = 64

// traceText prints frames.
type traceText struct{ w io.Writer }

const traceTime = "15:04:05.000000"

func (t traceText) show(e traceEntry, text string, _ uint64) error {
	_, err := fmt.Fprintf(t.w, "%s %s %c %s\n", e.time.Format(traceTime), e.name, e.kind, text)
	return err
}

func (t traceText) lost(e traceEntry) error {
	_, err := fmt.Fprintf(t.w, "%s ! %d frames are missing here: they were not read in time\n", e.time.Format(traceTime), e.size)
	return err
}

// jumboLLC is the Ethertype of frames that have an LLC PDU right after it and no length. Every dissector knows it, which ours it
// does not.
const jumboLLC = 0x8870

// traceCapture writes frames to a capture file. The Ethertype, L and F of ours are left out, so that the LLC PDU is dissected as such
// without being told how; what cannot be parsed is written as it is.
type traceCapture struct {
	capture *ether.Capture
	ports   map[string]uint32
	frame   []byte
}

func (t *traceCapture) show(e traceEntry, text string, missing uint64) error {
	id, known := t.ports[e.name]
	if !known {
		id = t.capture.Interface(e.name, ether.Addr{})
		t.ports[e.name] = id
	}
	p := ether.Packet{Interface: id, Time: e.time, Sent: e.kind == traceSent, Frame: e.frame, Size: int(e.size), Dropped: missing}
	if size, ok := llcSize(e); ok {
		t.frame = append(append(t.frame[:0], e.frame[:12]...), jumboLLC>>8, jumboLLC&0xff)
		t.frame = append(t.frame, e.frame[node.Headroom:min(len(e.frame), node.Headroom+size)]...)
		p.Frame, p.Size = t.frame, ether.HeaderLen+size
		if pdu := e.frame[node.Headroom:]; len(pdu) > 1 && pdu[1]&^1 == hdlc.SAPControl {
			_, p.Comment, _ = strings.Cut(text, " | ") // which no dissector knows
		}
	}
	if missing > 0 {
		p.Comment = strings.TrimSpace(fmt.Sprintf("%d frames are missing before this one. %s", missing, p.Comment))
	}
	return t.capture.Write(p)
}

// lost is told beside the next frame.
func (t *traceCapture) lost(traceEntry) error { return nil }

// llcSize is the length of the LLC PDU of a frame, and false if it has none.
func llcSize(e traceEntry) (int, bool) {
	whole := make([]byte, max(int(e.size), len(e.frame)))
	copy(whole, e.frame)
	pdu, ok := node.LLC(whole)
	return len(pdu), ok
}

// wholeFile is a file to which only whole writes are made: what the disk did not take whole is taken back.
type wholeFile struct {
	*os.File
	size int64
}

// createCapture makes the capture file; only its owner may read it.
func createCapture(name string) (io.WriteCloser, error) {
	if name == "-" {
		return os.Stdout, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	return &wholeFile{File: f}, err
}

func (f *wholeFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if err != nil && n > 0 {
		f.Truncate(f.size)
		return 0, err
	}
	f.size += int64(n)
	return n, err
}
