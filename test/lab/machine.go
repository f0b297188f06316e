package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is one machine of a Lab.
type Machine struct {
	Name string

	lab  *Lab
	port string // the bridge's end of its cable
	mac  string
	ip   string

	init   *exec.Cmd // its pid 1
	report *os.File  // what pid 1 says of its start
	thread *thread
	netman *netman

	mu      sync.Mutex
	started []*os.Process
}

// plan is what pid 1 of a machine is told, in $DNET_LAB_MACHINE.
type plan struct {
	Name  string
	Hosts string   // /etc/hosts
	Tab   string   // /etc/dnet/servtab.toml
	Keep  []string // directories that stay where they are
}

const planEnv = "DNET_LAB_MACHINE"

// reportFd is the descriptor on which pid 1 of a machine says that it is ready, or why not.
const reportFd = 3

// start makes the namespaces and pid 1 in them.
func (m *Machine) start() error {
	p := plan{Name: m.Name, Hosts: m.lab.hosts(), Tab: m.lab.servtab(m.Name), Keep: []string{Shared, m.lab.bin, projectRoot()}}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	report, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	m.report = report
	m.init = again("machine", []string{m.Name})
	m.init.Env = append(m.init.Env, planEnv+"="+string(text))
	m.init.Stdin = nil
	m.init.ExtraFiles = []*os.File{theirs}
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
	}
	return m.init.Start()
}

// ready waits until the machine has started.
func (m *Machine) ready() error {
	m.report.SetReadDeadline(time.Now().Add(settleLimit))
	text, err := io.ReadAll(m.report)
	m.report.Close()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if string(text) != "ready" {
		return fmt.Errorf("start: %s", text)
	}
	m.thread, err = newThread(m.init.Process.Pid)
	return err
}

// plugIn gives eth0 what it needs, and waits until frames pass.
func (m *Machine) plugIn() error {
	script := "link set lo up\nlink set eth0 up\n"
	if m.lab.cfg.IP {
		script += "addr add " + m.ip + "/24 dev eth0\n"
	}
	cmd := m.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return m.waitForPort(portForwarding)
}

// hosts is the machines' /etc/hosts.
func (l *Lab) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for i, name := range l.cfg.Machines {
		if l.cfg.IP {
			fmt.Fprintf(&b, "10.0.0.%d %s\n", i+1, name)
		}
	}
	return b.String()
}

// machineInit is pid 1 of a machine: it mounts, says that it is ready, and reaps until it is killed.
func machineInit() {
	unix.CloseOnExec(reportFd)
	report := os.NewFile(reportFd, "report")
	var p plan
	err := json.Unmarshal([]byte(os.Getenv(planEnv)), &p)
	if err == nil {
		err = buildMachine(p)
	}
	if err != nil {
		report.WriteString(err.Error())
		os.Exit(1)
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	report.WriteString("ready")
	report.Close()
	for range children {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.EINTR && (err != nil || pid == 0) {
				break
			}
		}
	}
}

// buildMachine makes what a machine has of its own.
func buildMachine(p plan) error {
	if err := unix.Sethostname([]byte(p.Name)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	kept, err := keep(p.Keep...)
	if err != nil {
		return err
	}
	if err := mountKernel(); err != nil {
		return err
	}
	if err := quietIPv6(); err != nil {
		return err
	}
	if err := mountEtc(p); err != nil {
		return err
	}
	for dir, mode := range map[string]string{"/run": "755", "/tmp": "1777", "/root": "700", "/var/lib": "755"} {
		if !exists(dir) {
			continue
		}
		if err := mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode="+mode); err != nil {
			return err
		}
	}
	return kept.restore()
}

// off ends the machine and everything in it, without waiting for it.
func (m *Machine) off() {
	if m.init == nil || m.init.Process == nil {
		return
	}
	m.init.Process.Kill()
	// Its pid 1 is not gone before every process of its pid namespace has been waited for, also those whose test did not.
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.started {
		go p.Wait()
	}
}

// Kill ends the machine at once, as when its power fails: every process in it is killed, and its interfaces go with it. Nothing can be
// run in it any more.
func (m *Machine) Kill() {
	if m.netman != nil {
		m.netman.wanted = true
	}
	m.off()
}

// gone waits for the end that off began.
func (m *Machine) gone() {
	if m.init == nil || m.init.Process == nil {
		return
	}
	m.init.Wait()
	if m.thread != nil {
		m.thread.end()
	}
}

// MAC is the address of eth0, "02:44:4e:45:54:01" for the first machine.
func (m *Machine) MAC() string { return m.mac }

// IP is the address of eth0 where Config.IP was set.
func (m *Machine) IP() string { return m.ip }

// LinkDown pulls the machine's cable out of the bridge: eth0 has no carrier from then on.
func (m *Machine) LinkDown() {
	m.lab.t.Helper()
	m.setPort("down")
}

// LinkUp puts the cable back, and returns when frames pass.
func (m *Machine) LinkUp() {
	m.lab.t.Helper()
	m.setPort("up")
	if err := m.waitForPort(portForwarding); err != nil {
		m.lab.t.Fatalf("lab: %s: %v", m.Name, err)
	}
}

func (m *Machine) setPort(state string) {
	m.lab.t.Helper()
	if err := ip("link set " + m.port + " " + state); err != nil {
		m.lab.t.Fatalf("lab: %s: %v", m.Name, err)
	}
}

// portForwarding is the state of a bridge port that passes frames (BR_STATE_FORWARDING).
const portForwarding = "3"

var errPort = errors.New("the port of the bridge does not come up")

// waitForPort waits until the machine's port of the bridge is in a state: a matter of milliseconds, so it just looks.
func (m *Machine) waitForPort(state string) error { return waitForPort(m.port, state) }

func waitForPort(port, state string) error {
	for end := time.Now().Add(settleLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile("/sys/class/net/" + port + "/brport/state")
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(text)) == state {
			return nil
		}
	}
	return errPort
}
