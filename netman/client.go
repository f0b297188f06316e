package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	var asJSON bool
	cmd := &cobra.Command{
		Use: what, Short: short, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			rows, err := askStatus(opt.door, what)
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
		"link":    "LINK\tSTATION\tSTATE\tUP\tCIRCUITS\tN1\tRTT\tRESENT",
		"service": "SERVICE\tMODE\tRUNNING\tMAX\tCALLS\tREFUSED",
		"circuit": "CIRCUIT\tOTHER END\tSIDE\tLCI\tUSER\tPID\tHELD",
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
	case "counters":
		var r countersRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		for _, name := range sortedKeys(r.Counters) {
			fmt.Fprintf(out, "%d\t%s\n", r.Counters[name], name)
		}
	case "link":
		var r linkRow
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\t%s %s\t%s\t%s\t%d\t%d\t%.3f ms\t%d\n", r.Machine, r.Interface, r.Station, r.State, seconds(r.Seconds),
			r.Circuits, r.N1, r.RTT, r.Resent)
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
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%d\t%d\n", r.Service, r.Machine, r.Side, r.LCI, r.User, r.PID, r.Held)
	}
	return nil
}

// seconds prints a time for people.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
