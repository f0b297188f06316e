package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"time"

	"github.com/spf13/cobra"

	"dnet/circuit"
	"dnet/ether"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("netman: ")
	err := run()
	if err != nil && err != errSaid && err != errNotAllowed {
		fmt.Fprintf(os.Stderr, "netman: %v\n", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func run() error {
	if os.Getenv(wireEnv) != "" {
		os.Unsetenv(wireEnv)
		return runWire()
	}
	return command().Execute()
}

// options are those of the daemon's command line; they win over servtab.
type options struct {
	servtab string
	ifaces  string
	machine string
	door    string
	netphys string
	faults  string
	trace   bool
	pcap    string
}

func command() *cobra.Command {
	var opt options
	root := &cobra.Command{
		Use:   "netman",
		Short: "the daemon of a DNET machine: circuits, names, servers",
		Long: "netman runs in the foreground and logs to stderr. It needs CAP_NET_RAW and nothing configured but the machine's\n" +
			"name, which is the host name's first label unless servtab or --machine says otherwise.",
		Version: circuit.Version, Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDaemon(opt, cmd.Flags().Changed("config"))
		},
	}
	root.PersistentFlags().StringVar(&opt.door, "door", doorPath(), "the `PATH` of the door's socket")
	flags := root.Flags()
	configFlag(root, &opt)
	flags.StringVarP(&opt.ifaces, "interface", "i", "", "the interfaces to use, as `IFACE,…` (default: every physical one that is up)")
	flags.StringVar(&opt.machine, "machine", "", "the `NAME` of this machine")
	flags.StringVar(&opt.netphys, "netphys", "", "make circuits files in `DIR`; none: do not (default: "+defaultNetphys+", where FUSE is)")
	flags.StringVar(&opt.faults, "faults", "", "disturb the wire, to try things out: `loss=5,dup=2,reorder=2,corrupt=1,delay=3ms,seed=7` (percent)")
	flags.BoolVar(&opt.trace, "trace", false, "print every frame to stderr")
	flags.StringVar(&opt.pcap, "pcap", "", "write every frame to `FILE` (pcapng)")
	root.AddCommand(statusCommand(&opt), statusVerb(&opt, "links", "show the links to other machines"),
		statusVerb(&opt, "circuits", "show the circuits of programs and servers"), statusVerb(&opt, "services", "show what this machine offers"),
		statusVerb(&opt, "counters", "show what was counted, discards by reason"), checkCommand(&opt), identityCommand(&opt), trustCommand(&opt), ncCommand(&opt), waitCommand(&opt),
		statusVerb(&opt, "interfaces", "show the interfaces, and why one is not used"),
		statusVerb(&opt, "stations", "show the machines that were heard"), traceCommand(&opt), doctorCommand(&opt))
	return root
}

// configFlag gives a command the option that names the servtab.
func configFlag(cmd *cobra.Command, opt *options) {
	cmd.Flags().StringVarP(&opt.servtab, "config", "c", defaultServtab, "the servtab `FILE`")
}

func doorPath() string {
	if path := os.Getenv("DNET_DOOR"); path != "" {
		return path
	}
	return circuit.DoorPath
}

// setup is all that can be said wrong before anything is opened.
type setup struct {
	machine   string
	tolerance time.Duration
	services  map[string]*program
	trust     trustRules
	wire      wireOptions
	capture   *os.File // where frames are written to; nil: nowhere

	netphys      string   // the directory, or none
	netphysNamed bool     // it was asked for
	sealing      *sealing // nil in open mode
}

// prepare reads and checks servtab and the command line.
func prepare(opt options, named bool) (*setup, error) {
	st, err := readServtab(opt.servtab, named)
	if err != nil {
		return nil, err
	}
	s := &setup{}
	s.netphys, s.netphysNamed = netphysDir(opt.netphys, st.Netphys)
	if s.sealing, err = st.sealing(); err != nil {
		return nil, err
	}
	if s.machine, err = st.machineName(opt.machine); err != nil {
		return nil, err
	}
	if s.tolerance, err = st.tolerance(); err != nil {
		return nil, err
	}
	if s.wire.ifaces, s.wire.ethertype, err = st.interfaces(opt.ifaces); err != nil {
		return nil, err
	}
	if s.services, err = st.services(s.machine); err != nil {
		return nil, err
	}
	if s.trust, err = st.trust(s.machine); err != nil {
		return nil, err
	}
	if opt.faults != "" {
		if _, err := ether.ParseFaults(opt.faults); err != nil {
			return nil, fmt.Errorf("--%w", err) // it begins with "faults: "
		}
	}
	return s, nil
}

// runDaemon is netman until it is told to go.
func runDaemon(opt options, named bool) error {
	setup, err := prepare(opt, named)
	if err != nil {
		return err
	}
	if opt.pcap != "" {
		setup.capture, err = os.OpenFile(opt.pcap, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("--pcap: %w", err)
		}
		defer setup.capture.Close()
	}
	return runKeeper(opt, setup)
}

// errSaid ends netman with a status of failure, and what is to be said was said.
var errSaid = errors.New("")

func random() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}

// claimed says that the machine's name is its own and calls may come.
func (l *loop) claimed() {
	l.up = true
	log.Printf("%s is up", l.node.Machine())
}

// clash ends a netman that has not got its name yet; later ones are only told.
func (l *loop) clash(text string) {
	if !l.up {
		l.stop = errors.New(text + "; give one of them another name")
		return
	}
	if len(l.clashes) < 16 {
		l.clashes = append(l.clashes, text)
	}
	l.logf(text, "clash", "%s", text)
}

// logf writes a line that a peer or a program can cause: at most one a minute for one reason and source.
func (l *loop) logf(source, reason, format string, args ...any) {
	if l.logs.Allow(l.now, source, reason) {
		log.Printf(format, args...)
	}
}

// count counts something that happened to a program at the door.
func (l *loop) count(what string) { l.counters[what]++ }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
