package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Door is where netman's door is, in every machine.
const Door = "/run/dnet/door"

// Open in a servtab has links that can be read on the wire.
const Open = "\n[security]\nmode = \"open\"\n"

// Netphys is where circuits are files, in every machine: not /netphys, which would be a directory of the host's.
const Netphys = "/run/netphys"

// netman is a netman that runs in a machine.
type netman struct {
	cmd     *Cmd
	ended   chan struct{} // closed when it has ended
	err     error         // how; then
	wanted  bool          // that it ends
	mu      sync.Mutex
	log     strings.Builder
	changed chan struct{} // closed, and replaced, at each line of the log
}

// servtab is the /etc/dnet/servtab.toml of a machine.
func (l *Lab) servtab(machine string) string {
	text := fmt.Sprintf("machine = %q\n", machine) + l.services()
	if !l.cfg.Sealed && !strings.Contains(text, "[security]") {
		text += Open
	}
	return text
}

func (l *Lab) services() string {
	if l.cfg.Servtab != "" {
		return l.cfg.Servtab
	}
	text := "\n[[service]]\nname = \"rx.%m\"\nexec = [\"rx\"]\nuser = \"root\"\n" +
		"\n[[service]]\nname = \"cat.%m\"\nexec = [\"/bin/cat\"]\nmode = \"bytes\"\nmax = 2\n"
	if !ManyUsers() {
		text += "user = \"root\"\n"
	}
	return text
}

// Netman starts netman in the machine, with the machine's servtab and these arguments, and returns when it is up: its name is
// claimed, its services are open, its door answers. It is fatal to the test when netman ends instead. What netman says on standard error
// is kept (NetmanLog), and goes to the test's log when the test fails. A netman that ends though nobody asked it to fails the test.
func (m *Machine) Netman(args ...string) {
	m.lab.t.Helper()
	m.startNetman(args)
	m.awaitNetman()
}

// Netman starts netman on every machine, all at once; see Machine.Netman.
func (l *Lab) Netman(args ...string) {
	l.t.Helper()
	for _, m := range l.machines {
		m.startNetman(args)
	}
	for _, m := range l.machines {
		m.awaitNetman()
	}
}

func (m *Machine) startNetman(args []string) {
	m.lab.t.Helper()
	n := &netman{cmd: m.Command("netman", args...), ended: make(chan struct{}), changed: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		m.lab.t.Fatalf("lab: %v", err)
	}
	n.cmd.Stdout, n.cmd.Stderr = w, w
	err = n.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		m.lab.t.Fatalf("%s: netman: %v (it should be in %s: build it first, by make)", m.Name, err, m.lab.bin)
	}
	m.netman = n
	go n.follow(r)
}

func (m *Machine) awaitNetman() {
	m.lab.t.Helper()
	if err := m.WaitLog("netman: "+m.Name+" is up", settleLimit); err != nil {
		m.lab.t.Fatalf("%s: %v", m.Name, err)
	}
	if err := m.Do(knock); err != nil {
		m.lab.t.Fatalf("%s: netman says that it is up, but its door does not open: %v", m.Name, err)
	}
}

// follow collects the log until netman has ended.
func (n *netman) follow(r *os.File) {
	defer r.Close()
	waited := make(chan error, 1)
	go func() { waited <- n.cmd.Wait() }()
	lines := bufio.NewReader(r)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			line, err := lines.ReadString('\n')
			n.note(line)
			if err != nil {
				return
			}
		}
	}()
	n.err = <-waited
	// Servers that netman started may hold its standard error; what netman itself wrote is in the pipe already.
	r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	<-drained
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ended)
}

// note adds to the log.
func (n *netman) note(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log.WriteString(line)
	close(n.changed)
	n.changed = make(chan struct{})
}

// state gives the log so far, and a channel that is closed when there is more.
func (n *netman) state() (string, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String(), n.changed
}

// WaitLog waits until netman's log has a text. The error, when it does not come in time or netman ends, has the log.
func (m *Machine) WaitLog(text string, within time.Duration) error {
	n := m.netman
	if n == nil {
		return errors.New("no netman was started")
	}
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		log, more := n.state()
		if strings.Contains(log, text) {
			return nil
		}
		select {
		case <-more:
		case <-n.ended:
			if log, _ := n.state(); !strings.Contains(log, text) {
				n.wanted = true // said here, so Close need not
				return fmt.Errorf("netman ended (%v) before it said %q; it said:\n%s", n.how(), text, log)
			}
		case <-late.C:
			return fmt.Errorf("netman did not say %q within %v; it said:\n%s", text, within, log)
		}
	}
}

// NetmanLog is what the last netman started in the machine has written so far.
func (m *Machine) NetmanLog() string {
	if m.netman == nil {
		return ""
	}
	log, _ := m.netman.state()
	return log
}

// KillNetman sends netman a signal and waits for its end; after SIGSTOP and SIGCONT there is nothing to wait for. It is
// fatal to the test when netman does not end.
func (m *Machine) KillNetman(sig syscall.Signal) {
	m.lab.t.Helper()
	n := m.netman
	if n == nil {
		m.lab.t.Fatalf("%s: no netman to kill", m.Name)
	}
	stays := sig == unix.SIGSTOP || sig == unix.SIGCONT
	n.wanted = n.wanted || !stays
	if stays {
		// Both of its processes: it is the one that reads the network that others hear of.
		if wire, err := Wire(m.NetmanPid()); err == nil {
			unix.Kill(wire, sig)
		}
	}
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.lab.t.Fatalf("%s: netman: %v", m.Name, err)
	}
	if stays {
		return
	}
	select {
	case <-n.ended:
	case <-time.After(settleLimit):
		m.lab.t.Fatalf("%s: netman does not end after %v", m.Name, sig)
	}
}

// NetmanPid is the process of the machine's netman that has its rights and was started.
func (m *Machine) NetmanPid() int { return m.netman.cmd.Process.Pid }

// NetmanWire is the process of the machine's netman that reads the network, and has the circuits. It is fatal to the test when there
// is none.
func (m *Machine) NetmanWire() int {
	m.lab.t.Helper()
	pid, err := Wire(m.NetmanPid())
	if err != nil {
		m.lab.t.Fatalf("%s: %v", m.Name, err)
	}
	return pid
}

// Wire is the process that reads the network for the netman with this process number.
func Wire(netman int) (int, error) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", netman))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			if name, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.HasPrefix(string(name), "netman: wire") {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, fmt.Errorf("the netman %d has no process that reads the network", netman)
}

// how says in what way netman ended.
func (n *netman) how() string {
	if n.err == nil {
		return "exit status 0"
	}
	return n.err.Error()
}

// reportNetman tells the test what it should know of the machine's netman, before the machine is switched off.
func (m *Machine) reportNetman() {
	n := m.netman
	if n == nil {
		return
	}
	select {
	case <-n.ended:
		if !n.wanted {
			m.lab.t.Errorf("%s: netman ended though nobody asked it to: %v", m.Name, n.how())
		}
	default:
	}
	if m.lab.t.Failed() {
		m.lab.t.Logf("netman of %s said:\n%s", m.Name, m.NetmanLog())
	}
}

// knock opens netman's door and goes away.
func knock() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: Door})
}
