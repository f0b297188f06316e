package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/node"
	"dnet/netman/seal"
	"dnet/x25"
)

// version of the suite.
const version = "0.1"

func main() {
	log.SetFlags(0)
	log.SetPrefix("netman: ")
	if err := command().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "netman: %v\n", err)
		os.Exit(1)
	}
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
		Version: version, Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDaemon(opt, cmd.Flags().Changed("config"))
		},
	}
	root.PersistentFlags().StringVarP(&opt.servtab, "config", "c", defaultServtab, "the servtab `FILE`")
	root.PersistentFlags().StringVar(&opt.door, "door", doorPath(), "the `PATH` of the door's socket")
	flags := root.Flags()
	flags.StringVarP(&opt.ifaces, "interface", "i", "", "the interfaces to use, as `IFACE,…` (default: every physical one that is up)")
	flags.StringVar(&opt.machine, "machine", "", "the `NAME` of this machine")
	flags.StringVar(&opt.netphys, "netphys", "none", "the `DIR` for circuits as files; only none is in this version")
	flags.StringVar(&opt.faults, "faults", "", "disturb the wire, to try things out: `loss=5,dup=2,reorder=2,corrupt=1,delay=3ms,seed=7` (percent)")
	flags.BoolVar(&opt.trace, "trace", false, "print every frame to stderr")
	flags.StringVar(&opt.pcap, "pcap", "", "write every frame to `FILE` (pcapng)")
	root.AddCommand(statusCommand(&opt), statusVerb(&opt, "links", "show the links to other machines"),
		statusVerb(&opt, "circuits", "show the circuits of programs and servers"), statusVerb(&opt, "services", "show what this machine offers"),
		statusVerb(&opt, "counters", "show what was counted, discards by reason"), checkCommand(&opt), ncCommand(&opt), waitCommand(&opt))
	return root
}

func doorPath() string {
	if path := os.Getenv("DNET_DOOR"); path != "" {
		return path
	}
	return circuit.DoorPath
}

func checkCommand(opt *options) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "check servtab and say what it offers, without starting anything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			setup, err := prepare(*opt, cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			fmt.Printf("%s: good: machine %s, %d services\n", opt.servtab, setup.machine, len(setup.services))
			for _, name := range sortedKeys(setup.services) {
				s := setup.services[name]
				fmt.Printf("  %-24s %s as %s, at most %d calls at once\n", name, strings.Join(s.argv, " "), s.as.describe(), s.max)
			}
			return nil
		},
	}
}

func (id identity) describe() string {
	if id.name == "" {
		return "netman's own user"
	}
	return id.name
}

// setup is all that can be said wrong before anything is opened.
type setup struct {
	machine   string
	tolerance time.Duration
	services  map[string]*service
	wire      wireOptions
	sealing   *sealing // nil in open mode
}

// prepare reads and checks servtab and the command line.
func prepare(opt options, named bool) (*setup, error) {
	st, err := readServtab(opt.servtab, named)
	if err != nil {
		return nil, err
	}
	if opt.netphys != "" && opt.netphys != "none" {
		return nil, errors.New("--netphys: circuits as files are not in this version; only none")
	}
	s := &setup{}
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
	if opt.faults != "" {
		faults, err := ether.ParseFaults(opt.faults)
		if err != nil {
			return nil, fmt.Errorf("--faults: %w", err)
		}
		s.wire.faults = &faults
	}
	if opt.trace {
		s.wire.trace = os.Stderr
	}
	return s, nil
}

// runDaemon is netman until it is told to go.
func runDaemon(opt options, named bool) error {
	setup, err := prepare(opt, named)
	if err != nil {
		return err
	}
	debug.SetGCPercent(400)
	if opt.pcap != "" {
		file, err := os.OpenFile(opt.pcap, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("--pcap: %w", err)
		}
		defer file.Close()
		setup.wire.capture = ether.NewCapture(file)
	}
	l, err := newLoop()
	if err != nil {
		return err
	}
	if setup.sealing != nil {
		if err := setup.sealing.prepare(); err != nil {
			return err
		}
	}
	l.setup(setup)
	l.servtab = opt.servtab
	if l.door, err = l.openDoor(opt.door); err != nil {
		return err
	}
	defer l.door.close()
	if err := l.openPorts(setup.wire); err != nil {
		return err
	}
	l.sayMode()
	go l.spawnServers()
	l.takeServices(setup.services)
	l.onSignals()
	l.node.Start(l.now, &l.out)
	l.flush()
	err = l.run()
	l.shutdown()
	l.pins.finish()
	return err
}

// sayMode says at the start what callers may be believed.
func (l *loop) sayMode() {
	says := "callers are not authenticated, whoever is on this network may call"
	switch l.node.Mode() {
	case seal.Pinned:
		says = "the key of this machine is " + l.node.Key().String()
	case seal.Secret:
		says = "for machines that know the site secret; the key of this one is " + l.node.Key().String()
	}
	log.Printf("machine %s on %s; mode %v: %s", l.node.Machine(), l.addresses(), l.node.Mode(), says)
}

// setup makes the node that servtab and the command line described.
func (l *loop) setup(s *setup) {
	cfg := node.Config{
		Machine: s.machine, BootID: random(), Seed: random(), Ethertype: s.wire.ethertype, Tolerance: s.tolerance,
	}
	l.pins = &pinKeeper{l: l}
	if s.sealing != nil {
		cfg.Seal, l.pins.path = &s.sealing.config, s.sealing.pins
	}
	l.node = node.New(cfg)
}

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
	log.Print(text)
}

// onSignals reads servtab again at SIGHUP and ends the loop at SIGTERM and SIGINT.
func (l *loop) onSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		s := <-signals
		for ; s == unix.SIGHUP; s = <-signals {
			l.post(l.reload)
		}
		signal.Stop(signals) // a second one ends netman at once
		l.post(func() {
			log.Printf("%v: going", s)
			l.stop = errStopped
		})
	}()
}

// shutdown tells everybody that this netman goes: programs, servers, stations.
func (l *loop) shutdown() {
	l.now = time.Now()
	gone := node.Event{Cause: x25.CauseOutOfOrder, Text: "netman on " + l.node.Machine() + " has been stopped"}
	for _, r := range l.residents {
		r.quit()
	}
	for h := range l.holders {
		h.farewell(&gone)
	}
	l.out.Reset()
	l.node.Stop(l.now, &l.out)
	l.out.Events = nil
	l.flush()
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
