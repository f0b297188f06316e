package lab

import (
	"fmt"
	"slices"
	"strings"
)

// Join plugs machines into another Ethernet, by an interface of that name ("eth1"), which they must not have. There is one such
// Ethernet for each name; the first Join makes it. The machines' addresses on it end as those of eth0 do.
func (l *Lab) Join(ifname string, mtu int, machines ...string) {
	l.t.Helper()
	bridge := l.bridge + ifname
	var script []string
	if !slices.Contains(l.joined, bridge) {
		l.joined = append(l.joined, bridge)
		script = append(script, fmt.Sprintf("link add %s mtu %d type bridge mcast_snooping 0", bridge, mtu), "link set "+bridge+" up")
	}
	for _, name := range machines {
		m := l.Machine(name)
		port := bridge + strings.TrimPrefix(m.port, l.bridge)
		if !slices.Contains(l.joined, port) {
			l.joined = append(l.joined, port)
		}
		script = append(script,
			fmt.Sprintf("link add %s mtu %d type veth peer name %s netns %d address %s mtu %d", port, mtu, ifname, m.init.Process.Pid,
				m.AddrOn(ifname), mtu),
			fmt.Sprintf("link set %s master %s up", port, bridge))
	}
	if err := ip(script...); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	for _, name := range machines {
		m := l.Machine(name)
		m.Output("ip", "link", "set", ifname, "up")
		if err := waitForPort(bridge+strings.TrimPrefix(m.port, l.bridge), portForwarding); err != nil {
			l.t.Fatalf("lab: %s: %s: %v", name, ifname, err)
		}
	}
}

// AddrOn is the machine's address on an interface made by Join.
func (m *Machine) AddrOn(ifname string) string {
	octets := strings.Split(m.mac, ":")
	octets[4] = fmt.Sprintf("%02x", 0x80+ifname[len(ifname)-1]%16)
	return strings.Join(octets, ":")
}

// PortMTU gives the bridge's end of the machine's cable another MTU than its eth0 has: a switch that eats what is larger, both ways,
// and tells nobody.
func (m *Machine) PortMTU(mtu int) {
	m.lab.t.Helper()
	if err := ip(fmt.Sprintf("link set %s mtu %d", m.port, mtu)); err != nil {
		m.lab.t.Fatalf("lab: %s: %v", m.Name, err)
	}
}
