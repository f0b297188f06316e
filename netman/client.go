package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
)

// statusCommand shows what a running netman tells of itself.
func statusCommand(opt *options) *cobra.Command {
	return statusVerb(opt, "status", "show the machine, its links, services and circuits")
}

// statusVerb is one of the verbs that show a part of the state.
func statusVerb(opt *options, what, short string) *cobra.Command {
	return rowsVerb(func() string { return opt.door }, what, short)
}

// keyVerb is one of those that ask the keeper.
func keyVerb(opt *options, what, short string) *cobra.Command {
	return rowsVerb(func() string { return trustDoor(opt.door) }, what, short)
}

func rowsVerb(door func() string, what, short string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: what, Short: short, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			rows, err := askStatus(door(), what)
			if err != nil {
				return err
			}
			if asJSON {
				for _, row := range rows {
					fmt.Printf("%s\n", row)
				}
				return nil
			}
			return printStatus(os.Stdout, rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line")
	return cmd
}

// askStatus gets the JSON rows of `status WHAT` from the door.
func askStatus(door, what string) (rows []json.RawMessage, err error) {
	fd, err := visit(door, circuit.Line{Verb: "status", Words: []string{what}})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readRows(fd, door)
}

// readRows reads what a `status` answers.
func readRows(fd int, door string) (rows []json.RawMessage, err error) {
	buf := make([]byte, 1<<20)
	for {
		n, fds, err := circuit.RecvFds(fd, buf)
		circuit.CloseFds(fds)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", door, err)
		}
		if line, err := circuit.ParseLine(buf[:n]); err == nil && line.Verb == "error" {
			return nil, errors.New(line.Text(0))
		}
		rows = append(rows, append(json.RawMessage(nil), buf[:n]...))
	}
}

// printStatus shows the rows for people.
func printStatus(w io.Writer, rows []json.RawMessage) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer out.Flush()
	heads := map[string]string{
		"link":      "LINK\tSTATION\tSTATE\tUP\tCIRCUITS\tN1\tRTT\tRESENT\tWHY NOT",
		"station":   "MACHINE\tSTATION\tHEARD",
		"interface": "INTERFACE\tSTATION\tUSED\tMTU\tSENT\tRECEIVED\tWHY NOT",
		"service":   "SERVICE\tMODE\tRUNNING\tMAX\tCALLS\tREFUSED",
		"pin":       "MACHINE\tKEY\tACCEPTED\tHOW\tREFUSED",
		"circuit":   "CIRCUIT\tOTHER END\tSIDE\tLCI\tUSER\tPID\tHELD\tDIRECT",
	}
	for i, raw := range rows {
		var kind struct{ Row string }
		if err := json.Unmarshal(raw, &kind); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		if head, first := heads[kind.Row]; first {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintln(out, head)
			delete(heads, kind.Row)
		}
		if err := printRow(out, kind.Row, raw); err != nil {
			return fmt.Errorf("status: %w", err)
		}
	}
	return nil
}

func printRow(out io.Writer, kind string, raw []byte) error {
	switch kind {
	case "machine":
		return printMachine(out, raw)
	case "counters":
		return printCounters(out, raw)
	case "identity":
		var r identityRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %s\n", r.Machine, r.Key)
	case "pin":
		var r pinRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", r.Machine, r.Key, map[bool]string{true: "yes", false: "no"}[r.Accepted], r.How, r.Refused)
	case "link":
		var r linkRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s %s\t%s\t%s\t%d\t%d\t%.3f ms\t%d\t%s\n", r.Machine, r.Interface, r.Station, r.State, seconds(r.Seconds),
			r.Circuits, r.N1, r.RTT, r.Resent, r.Why)
	case "station":
		var r stationRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s %s\t%s ago\n", r.Machine, r.Interface, r.Station, seconds(r.Seconds))
	case "interface":
		var r interfaceRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		used := map[bool]string{true: "yes", false: "no"}[r.Used]
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", r.Interface, r.Station, used, r.MTU, r.Sent, r.Received, r.Why)
	case "service":
		var r serviceRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%d\t%d\n", r.Service, r.Mode, r.Running, r.Max, r.Calls, r.Refused)
	case "circuit":
		var r circuitRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		direct := "-"
		if r.Direct {
			direct = "yes"
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%d\t%d\t%s\n", r.Service, r.Machine, r.Side, r.LCI, r.User, r.PID, r.Held, direct)
	}
	return nil
}

// seconds prints a time for people.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// stationsOf lists the stations of each machine that netman has, or lately had, a link to; and its own.
func stationsOf(door string) (map[string][]string, error) {
	stations := map[string][]string{}
	rows, err := askStatus(door, "status")
	if err != nil {
		return nil, err
	}
	for _, raw := range rows {
		var r struct {
			Row, Machine, Station string
			Stations              []string
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("status: %w", err)
		}
		switch r.Row {
		case "link":
			stations[r.Machine] = append(stations[r.Machine], r.Station)
		case "machine":
			for _, s := range r.Stations {
				_, addr, _ := strings.Cut(s, " ")
				stations[r.Machine] = append(stations[r.Machine], addr)
			}
		}
	}
	return stations, nil
}

func printCounters(out io.Writer, raw []byte) error {
	var r countersRow
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	for _, name := range sortedKeys(r.Counters) {
		fmt.Fprintf(out, "%d\t%s\n", r.Counters[name], name)
	}
	return nil
}

func printMachine(out io.Writer, raw []byte) error {
	var r machineRow
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	state := "up"
	if !r.Up {
		state = "claiming its name"
	}
	fmt.Fprintf(out, "%s: %s for %s, mode %s\n", r.Machine, state, seconds(r.Seconds), r.Mode)
	if r.Key != "" {
		fmt.Fprintf(out, "  key %s\n", r.Key)
	}
	for _, s := range r.Stations {
		fmt.Fprintf(out, "  %s\n", s)
	}
	for _, c := range r.Clashes {
		fmt.Fprintf(out, "  %s\n", c)
	}
	if r.Traces > 0 {
		fmt.Fprintf(out, "  its frames are shown to %d programs (netman trace)\n", r.Traces)
	}
	return nil
}
