package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a Lab is made of. The zero value is three machines, grumpy, sneezy and doc, on an Ethernet of MTU 1500.
type Config struct {
	Machines []string // host names; at most 250. Their MAC addresses rise in this order
	MTU      int      // octets after the Ethernet header; 0: 1500
	IP       bool     // the machines also get 10.0.0.1, 10.0.0.2 ..., found by name in /etc/hosts: for comparison with TCP
	Servtab  string   // servtab.toml of every machine, %m as in any servtab; "": rx and cat
	Sealed   bool     // where Servtab has no [security], netman's default mode; false: mode open, whose frames can be read
}

// Lab is a number of machines on one Ethernet.
type Lab struct {
	t        T
	cfg      Config
	bridge   string
	joined   []string // interfaces made by Join
	bin      string
	machines []*Machine
	captures []*Capture
	once     sync.Once
}

// labs counts the Labs of this process, for names of interfaces.
var labs atomic.Int32

// settleLimit bounds the wait for what takes milliseconds: a machine that starts, a link that comes up.
const settleLimit = 10 * time.Second

// New builds the machines and joins them. All of it goes when the test ends. It is fatal to t when it cannot be built.
func New(t T, cfg Config) *Lab {
	t.Helper()
	if !inWorld {
		t.Fatalf("lab.New works inside a world only: call lab.Main from TestMain")
	}
	if len(cfg.Machines) == 0 {
		cfg.Machines = []string{"grumpy", "sneezy", "doc"}
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	l := &Lab{t: t, cfg: cfg, bridge: fmt.Sprintf("lab%d", labs.Add(1)), bin: binDir()}
	t.Cleanup(l.Close)
	if err := l.build(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	return l
}

// build starts the machines, all at once, and plugs them in.
func (l *Lab) build() error {
	for i, name := range l.cfg.Machines {
		m := &Machine{
			Name: name, lab: l, port: fmt.Sprintf("%sp%d", l.bridge, i+1),
			mac: fmt.Sprintf("02:44:4e:45:54:%02x", i+1), ip: fmt.Sprintf("10.0.0.%d", i+1),
		}
		if err := m.start(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.machines = append(l.machines, m)
	}
	script := []string{
		fmt.Sprintf("link add %s mtu %d type bridge mcast_snooping 0", l.bridge, l.cfg.MTU),
		fmt.Sprintf("link set %s up", l.bridge),
	}
	for _, m := range l.machines {
		if err := m.ready(); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		script = append(script,
			fmt.Sprintf("link add %s mtu %d type veth peer name eth0 netns %d address %s mtu %d",
				m.port, l.cfg.MTU, m.init.Process.Pid, m.mac, l.cfg.MTU),
			fmt.Sprintf("link set %s master %s up", m.port, l.bridge))
	}
	if err := ip(script...); err != nil {
		return err
	}
	for _, m := range l.machines {
		if err := m.plugIn(); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// Machine is the machine of that name; there must be one.
func (l *Lab) Machine(name string) *Machine {
	l.t.Helper()
	for _, m := range l.machines {
		if m.Name == name {
			return m
		}
	}
	l.t.Fatalf("lab: no machine %s; there are %s", name, strings.Join(l.cfg.Machines, ", "))
	return nil
}

// Machines are all machines, in order of their MAC addresses.
func (l *Lab) Machines() []*Machine { return l.machines }

// Close ends every program in the machines, and the machines. It may be called before the test ends.
func (l *Lab) Close() { l.once.Do(l.close) }

func (l *Lab) close() {
	l.t.Helper()
	for _, c := range l.captures {
		if err := c.Close(); err != nil {
			l.t.Errorf("lab: capture: %v", err)
		}
	}
	for _, m := range l.machines {
		m.reportNetman()
	}
	// The interfaces by name: a net namespace is taken apart some time after its last process.
	var script []string
	for _, name := range append(append(l.ports(), l.bridge), l.joined...) {
		if exists("/sys/class/net/" + name) {
			script = append(script, "link del "+name)
		}
	}
	if err := ip(script...); err != nil {
		l.t.Errorf("lab: %v", err)
	}
	for _, m := range l.machines {
		m.off()
	}
	for _, m := range l.machines {
		m.gone()
	}
}

// ports are the bridge's ends of the cables.
func (l *Lab) ports() (names []string) {
	for _, m := range l.machines {
		names = append(names, m.port)
	}
	return names
}

// ip runs lines of ip(8) in the world.
func ip(lines ...string) error {
	tool, err := findTool("ip")
	if err != nil {
		return err
	}
	cmd := exec.Command(tool, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// binDir is where the project's programs are: $DNET_BIN, else beside this program, else bin in the project's root.
func binDir() string {
	if dir := os.Getenv("DNET_BIN"); dir != "" {
		return dir
	}
	self, err := os.Executable()
	root := projectRoot()
	if err == nil && (root == "" || exists(filepath.Join(filepath.Dir(self), "netman"))) {
		return filepath.Dir(self)
	}
	return filepath.Join(root, "bin")
}
