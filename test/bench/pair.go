package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dnet/ether"
	"dnet/test/lab"
)

// Where the doors are, in both machines.
const (
	netmanDoor = lab.Door
	relayDoor  = "/run/relay/door"
	sealedDoor = "/run/sealed/door"
)

// self is this program, from any mount namespace.
const self = "/proc/self/exe"

// tcpPort is that of the TCP server.
const tcpPort = ":4000"

// limit is how much longer than planned a program may take.
const limit = 20 * time.Second

// bench is the T of the labs: what goes wrong in building them ends the program, and with it the world and all that is in it.
type bench struct{ failures int }

func (b *bench) Helper()                     {}
func (b *bench) Logf(f string, args ...any)  { fmt.Fprintf(os.Stderr, "bench: "+f+"\n", args...) }
func (b *bench) Failed() bool                { return b.failures > 0 }
func (b *bench) Cleanup(func())              {}
func (b *bench) Fatalf(f string, a ...any)   { b.Errorf(f, a...); os.Exit(1) }
func (b *bench) Errorf(f string, arg ...any) { b.failures++; b.Logf(f, arg...) }

// progress shows what is being done, on a terminal only.
func (b *bench) progress(f string, args ...any) {
	if _, err := unix.IoctlGetTermios(2, unix.TCGETS); err == nil {
		fmt.Fprintf(os.Stderr, "\r\033[K"+f, args...)
	}
}

// machines are two machines of one Ethernet, with everything that is compared running on them: clients are grumpy's, servers doc's.
type machines struct {
	lab     *lab.Lab
	near    *lab.Machine
	far     *lab.Machine
	netmans []int // pids
	sealed  []int
	relays  []int
	said    *said
}

// said is what the servers say on standard error, which is of interest when a client fails.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// String gives what was said since it was asked the last time.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// newMachines starts them. bare: nothing but the netmans, and their server.
func newMachines(b *bench, mtu int, bare bool) (*machines, error) {
	l := lab.New(b, lab.Config{Machines: []string{"grumpy", "doc"}, MTU: mtu, IP: true})
	m := &machines{lab: l, near: l.Machine("grumpy"), far: l.Machine("doc"), said: &said{}}
	l.Netman()
	var err error
	if m.netmans, err = netmanPids(); err != nil || len(m.netmans) == 0 {
		return m, fmt.Errorf("no process is called netman: %v", err)
	}
	for _, server := range []string{":circuit", ":complex"} {
		if _, err := m.serve(m.far, server, netmanDoor); err != nil {
			return m, err
		}
	}
	if bare {
		return m, nil
	}
	if err := m.sealedNetmans(); err != nil {
		return m, err
	}
	for _, ends := range [][2]*lab.Machine{{m.near, m.far}, {m.far, m.near}} {
		pid, err := m.serve(ends[0], ":relay", "eth0", ends[1].MAC(), relayDoor)
		if err != nil {
			return m, err
		}
		m.relays = append(m.relays, pid)
		if err := ends[0].Do(func() error { return noOffloads("eth0") }); err != nil {
			return m, err
		}
	}
	for _, args := range [][]string{{":circuit", relayDoor}, {":tcp", tcpPort}, {":wire", "eth0"}} {
		if _, err := m.serve(m.far, args...); err != nil {
			return m, err
		}
	}
	return m, m.checkOffloads()
}

// sealedNetmans starts a second netman on each machine, with an Ethertype and a door of its own, in mode pinned.
func (m *machines) sealedNetmans() error {
	for _, on := range []*lab.Machine{m.near, m.far} {
		tab := fmt.Sprintf("machine = %q\n[[link]]\nethertype = %d\n[security]\nmode = \"pinned\"\n"+
			"identity = \"/etc/dnet/identity\"\npins = \"/etc/dnet/pins\"\n", on.Name, guardType)
		if err := on.Do(func() error { return os.WriteFile("/etc/dnet/sealed.toml", []byte(tab), 0o644) }); err != nil {
			return err
		}
		c := on.Command("netman", "-c", "/etc/dnet/sealed.toml", "--door", sealedDoor)
		says, err := c.StderrPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		m.sealed = append(m.sealed, c.Process.Pid)
		lines := bufio.NewReader(says)
		for line := ""; !strings.HasSuffix(line, " is up\n"); {
			if line, err = lines.ReadString('\n'); err != nil {
				return fmt.Errorf("%s: the sealed netman does not come up: %q, %w", on.Name, line, err)
			}
		}
		go io.Copy(m.said, lines)
	}
	_, err := m.serve(m.far, ":circuit", sealedDoor)
	return err
}

// address is where the server of a column is.
func (m *machines) address(column string) (kind, address string) {
	switch column {
	case netman:
		return "circuit", netmanDoor
	case asFile:
		return "file", lab.Netphys
	case sealed:
		return "circuit", sealedDoor
	case bareRelay:
		return "circuit", relayDoor
	case barePair:
		return "pair", ""
	case tcp:
		return "tcp", m.far.IP() + tcpPort
	}
	return "wire", m.far.MAC()
}

// serve starts a server and waits until it serves.
func (m *machines) serve(on *lab.Machine, args ...string) (pid int, err error) {
	c := on.Command(self, args...)
	c.Stderr = m.said
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return 0, fmt.Errorf("%s$ bench %s: does not serve (%q, %v): %s", on.Name, strings.Join(args, " "), line, err, m.said)
	}
	return c.Process.Pid, nil
}

// ask runs a client in a machine and reads its result.
func (m *machines) ask(on *lab.Machine, args ...string) (r result, err error) {
	err = m.askFor(&r, on, args...)
	return r, err
}

func (m *machines) askFor(r any, on *lab.Machine, args ...string) error {
	c := on.Command(self, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	late := time.AfterFunc(limit, func() {
		if c.Process != nil {
			c.Process.Kill()
		}
	})
	defer late.Stop()
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, r)
	}
	if err != nil {
		why := strings.TrimSpace(strings.TrimPrefix(stderr.String(), streaming+"\n") + m.said.String())
		return fmt.Errorf("%s$ bench %s: %w: %s", on.Name, strings.Join(args, " "), err, why)
	}
	return nil
}

// client is a program in a machine that goes on until its standard input ends.
type client struct {
	*lab.Cmd
	in   io.Closer
	said *bufio.Reader // standard output
	late *time.Timer
}

func (m *machines) begin(on *lab.Machine, args ...string) (*client, error) {
	c := on.Command(self, args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &client{c, in, bufio.NewReader(out), time.AfterFunc(3*limit, func() { c.Process.Kill() })}, nil
}

// tells waits for a line of JSON.
func (c *client) tells(what any) error {
	line, err := c.said.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, what)
}

func (c *client) end() error {
	defer c.late.Stop()
	c.in.Close()
	return c.Wait()
}

// rtt is round trips from grumpy to doc.
func (m *machines) rtt(column string, d time.Duration) (result, error) {
	kind, address := m.address(column)
	return m.ask(m.near, ":rtt", kind, address, d.String())
}

// stream is one direction, from grumpy to doc.
func (m *machines) stream(column string, d time.Duration, size int) (result, error) {
	kind, address := m.address(column)
	return m.ask(m.near, ":stream", kind, address, d.String(), strconv.Itoa(size))
}

// beside measures round trips while another circuit streams.
func (m *machines) beside(d time.Duration) (trips, streams result, err error) {
	c := m.near.Command(self, ":stream", "circuit", netmanDoor, (d + d/2).String(), strconv.Itoa(largeSize))
	var out bytes.Buffer
	c.Stdout = &out
	said, err := c.StderrPipe()
	if err != nil {
		return trips, streams, err
	}
	if err := c.Start(); err != nil {
		return trips, streams, err
	}
	late := time.AfterFunc(limit, func() { c.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewReader(said)
	if line, err := lines.ReadString('\n'); line != streaming+"\n" {
		return trips, streams, errors.Join(fmt.Errorf("the stream does not begin: %q, %v", line, err), c.Wait())
	}
	trips, err = m.rtt(netman, d)
	if e := c.Wait(); e != nil && err == nil {
		err = e
	}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &streams)
	}
	return trips, streams, err
}

// checkOffloads looks at what TCP sends: no frame may be longer than the MTU.
func (m *machines) checkOffloads() error {
	var port *ether.Raw
	err := m.far.Do(func() (err error) {
		port, err = ether.Open("eth0", unix.ETH_P_IP, ether.RawConfig{})
		return err
	})
	if err != nil {
		return err
	}
	defer port.Close()
	if _, err := m.stream(tcp, 50*time.Millisecond, largeSize); err != nil {
		return err
	}
	frames, batch := 0, ether.NewBatch(batchFrames, ether.HeaderLen+port.MTU())
	for {
		n, err := port.Recv(batch)
		if err != nil {
			return err
		}
		if frames += n; n == 0 {
			break
		}
	}
	if s := port.Stats(); frames == 0 || s.Truncated > 0 {
		return fmt.Errorf("TCP without offloads sent %d frames, and %d longer than the MTU", frames, s.Truncated)
	}
	return nil
}

// children are the processes of a name that this one has started.
func children(name string) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f, err := stat(pid); err == nil && f[0] == name && f[2] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// netmanPids are the processes of the netmans that this process has started: the one that was, and the one that reads the network.
func netmanPids() (pids []int, err error) {
	keepers, err := children("netman")
	if err != nil {
		return nil, err
	}
	for _, keeper := range keepers {
		wire, err := lab.Wire(keeper)
		if err != nil {
			return nil, err
		}
		pids = append(pids, keeper, wire)
	}
	return pids, nil
}

// stat are the fields of /proc/PID/stat (proc(5)) from the second on, which is the name.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text), " (")
	end := strings.LastIndex(rest, ") ")
	if end < 0 {
		return nil, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	return append([]string{rest[:end]}, strings.Fields(rest[end+2:])...), nil
}

// cpu is the seconds that processes have used: utime and stime, in hundredths.
func cpu(pids []int) (seconds float64, err error) {
	for _, pid := range pids {
		f, err := stat(pid)
		if err != nil || len(f) < 14 {
			return 0, fmt.Errorf("process %d: %v", pid, err)
		}
		for _, ticks := range f[12:14] {
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return 0, err
			}
			seconds += float64(n) / 100
		}
	}
	return seconds, nil
}

// memory is the anonymous memory of a process in KiB.
func memory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no RssAnon", pid)
}
