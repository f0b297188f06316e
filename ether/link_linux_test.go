package ether

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// eth makes a physical Ethernet link that is up.
func eth(index int, name string) Link {
	return Link{Index: index, Name: name, Ethernet: true, Up: true, adminUp: true}
}

func (l Link) of(kind string) Link  { l.Kind = kind; return l }
func (l Link) port(master int) Link { l.Master = master; return l }
func (l Link) on(lower int) Link    { l.Lower = lower; return l }
func (l Link) down() Link           { l.Up = false; return l }

func TestDefaultChoice(t *testing.T) {
	loopback := Link{Index: 1, Name: "lo", Up: true, adminUp: true}
	for name, c := range map[string]struct {
		links []Link
		want  string
	}{
		"nothing but the loopback": {[]Link{loopback}, ""},
		"every physical one":       {[]Link{loopback, eth(2, "eth0"), eth(3, "wlan0")}, "eth0 wlan0"},
		"that is up":               {[]Link{eth(2, "eth0").down(), eth(3, "eth1")}, "eth1"},
		"the bridge above":         {[]Link{eth(2, "eth0").port(4), eth(3, "eth1").port(4), eth(4, "br0").of("bridge")}, "br0"},
		"not the bridge's veths": {
			[]Link{eth(2, "eth0").port(4), eth(4, "br0").of("bridge"), eth(5, "tap0").of("veth").port(4)},
			"br0"},
		"no bridge that is down":    {[]Link{eth(2, "eth0").port(4), eth(4, "br0").of("bridge").down()}, ""},
		"the bond above":            {[]Link{eth(2, "eth0").port(9), eth(3, "eth1").port(9).down(), eth(9, "bond0").of("bond")}, "bond0"},
		"the bridge above the bond": {[]Link{eth(2, "eth0").port(9), eth(9, "bond0").of("bond").port(8), eth(8, "br0").of("bridge")}, "br0"},
		"the VLANs above":           {[]Link{eth(2, "eth0"), eth(3, "eth0.5").of("vlan").on(2), eth(4, "eth0.6").of("vlan").on(2)}, "eth0.5 eth0.6"},
		"no VLAN that is down":      {[]Link{eth(2, "eth0"), eth(3, "eth0.5").of("vlan").on(2).down()}, "eth0"},
		"the bridge above the VLAN": {[]Link{eth(2, "eth0"), eth(3, "eth0.5").of("vlan").on(2).port(4), eth(4, "br5").of("bridge")}, "br5"},
		"what is in a vrf":          {[]Link{eth(2, "eth0").port(5), {Index: 5, Name: "blue", Kind: "vrf", Up: true}}, "eth0"},
		"no port of a switch of another kind": {
			[]Link{eth(2, "eth0").port(5), eth(5, "ovs-system").of("openvswitch")}, ""},
		"a port whose bridge is not to be seen": {[]Link{eth(2, "eth0").port(77)}, ""},
		"no docker, no virbr, no veth": {
			[]Link{eth(2, "eth0"), eth(3, "docker0").of("bridge"), eth(4, "virbr0").of("bridge"), eth(5, "veth1234").of("veth").port(3)}, "eth0"},
		"not even with a physical port":    {[]Link{eth(2, "eth0").port(3), eth(3, "virbr0").of("bridge")}, ""},
		"no tap, no dummy":                 {[]Link{eth(2, "eth0"), eth(3, "tap0").of("tun"), eth(4, "dummy0").of("dummy")}, "eth0"},
		"the veth that is all there is":    {[]Link{loopback, eth(2, "eth0").of("veth")}, "eth0"},
		"whatever its name":                {[]Link{loopback, eth(2, "veth0").of("veth")}, "veth0"},
		"the macvlan that is all there is": {[]Link{loopback, eth(2, "eth0").of("macvlan")}, "eth0"},
		"not when it is down":              {[]Link{loopback, eth(2, "eth0").of("veth").down()}, ""},
		"nor one of two":                   {[]Link{loopback, eth(2, "eth0").of("veth"), eth(3, "eth1").of("veth")}, ""},
		"nor when a physical one is down":  {[]Link{eth(2, "eth0").down(), eth(3, "v0").of("veth")}, ""},
		"nor a docker bridge that is all":  {[]Link{loopback, eth(2, "docker0").of("bridge")}, ""},
		"nothing that goes round in a circle": {
			[]Link{eth(2, "eth0").port(3), eth(3, "br0").of("bridge").port(4), eth(4, "br1").of("bridge").port(3)},
			""},
	} {
		var names []string
		for _, l := range choose(c.links) {
			names = append(names, l.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestInterfacesHere: whatever this machine has, it can be listed.
func TestInterfacesHere(t *testing.T) {
	links, err := Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Index <= 0 || l.Name == "" {
			t.Errorf("%+v", l)
		}
		if l.Name == "lo" && l.Ethernet {
			t.Error("the loopback is no Ethernet")
		}
	}
	if _, err := Interfaces(nil); err != nil {
		t.Error(err)
	}
}

func TestInterfacesNamed(t *testing.T) {
	vethPair(t, 1400)
	run(t, "ip link set right down")
	got, err := Interfaces([]string{"right", "left", "right"})
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if l := got[0]; l.Name != "right" || l.Up || l.Addr != stationB || l.MTU != 1400 || l.Kind != "veth" || !l.Ethernet {
		t.Errorf("named ones in their order, up or not: %+v", l)
	}
	_, err = Interfaces([]string{"left", "eth77"})
	wantError(t, err, ErrNoInterface, "eth77")
	_, err = Interfaces([]string{"lo"})
	wantError(t, err, ErrNotEthernet, "lo")
	if got, err := Interfaces(nil); err != nil || len(got) != 0 {
		t.Errorf("two veths, neither named: %+v, %v", got, err)
	}
}

// TestInterfacesOnlyVeth: one end of a pair is alone in the test's namespace, the other in another.
func TestInterfacesOnlyVeth(t *testing.T) {
	vethPair(t, 1500)
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	there, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run(t, fmt.Sprintf("ip link set right netns /proc/%d/fd/%d", os.Getpid(), there.Fd()))
	waitLink(t, "left", false)
	if got, err := Interfaces(nil); err != nil || len(got) != 0 {
		t.Errorf("no carrier while the other end is down: %+v, %v", got, err)
	}
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run(t, "ip link set right up")
	waitUp(t, "right")
	got, err := Interfaces(nil)
	if err != nil || len(got) != 1 || got[0].Name != "right" || got[0].Lower != 0 {
		t.Errorf("the only one: %+v, %v", got, err)
	}
}

// watcherSays runs a command and returns the events that follow, up to the one that ends it.
func watcherSays(t *testing.T, w *Watcher, command string, last func(LinkEvent) bool) []LinkEvent {
	t.Helper()
	run(t, command)
	var all []LinkEvent
	for {
		pollIn(t, w.Fd())
		events, err := w.Read()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, events...)
		if slices.ContainsFunc(events, last) {
			return all
		}
	}
}

func TestWatch(t *testing.T) {
	vethPair(t, 1500)
	w, err := Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if events, err := w.Read(); len(events) != 0 || err != nil {
		t.Fatalf("what there is at the start is no event: %+v, %v", events, err)
	}
	is := func(name string, what func(LinkEvent) bool) func(LinkEvent) bool {
		return func(e LinkEvent) bool { return e.Name == name && what(e) }
	}
	watcherSays(t, w, "ip link set left mtu 1400", is("left", func(e LinkEvent) bool { return e.MTU == 1400 && e.Up }))
	watcherSays(t, w, "ip link set left address 02:00:00:00:00:0c",
		is("left", func(e LinkEvent) bool { return e.Addr == Addr{2, 0, 0, 0, 0, 0x0c} }))
	watcherSays(t, w, "ip link set left down", is("left", func(e LinkEvent) bool { return !e.Up && !e.Removed }))
	watcherSays(t, w, "ip link set left name other", is("other", func(e LinkEvent) bool { return !e.Up }))
	watcherSays(t, w, "ip link set other up", is("other", func(e LinkEvent) bool { return e.Up }))
	watcherSays(t, w, "ip link add dev new0 type veth peer name new1", is("new0", func(e LinkEvent) bool { return e.Kind == "veth" }))
	watcherSays(t, w, "ip link add dev br0 type bridge", is("br0", func(e LinkEvent) bool { return e.Kind == "bridge" }))
	watcherSays(t, w, "ip link set new0 master br0", is("new0", func(e LinkEvent) bool { return e.Master != 0 }))
	for _, e := range watcherSays(t, w, "ip link set new0 nomaster", is("new0", func(e LinkEvent) bool { return e.Master == 0 })) {
		if e.Removed {
			t.Errorf("leaving a bridge is not the end of a link: %+v", e)
		}
	}
	events := watcherSays(t, w, "ip link del other", is("other", func(e LinkEvent) bool { return e.Removed }))
	for _, e := range events {
		if e.Removed && e.Up {
			t.Errorf("removed and up: %+v", e)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := w.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

// TestWatchOverflow: when changes come faster than they are read, the Watcher ends up with what there is.
func TestWatchOverflow(t *testing.T) {
	vethPair(t, 1500)
	run(t, "ip link add dev gone0 type bridge")
	w, err := Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := unix.SetsockoptInt(w.Fd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		run(t, fmt.Sprintf("ip link set left mtu %d", 1000+i))
	}
	run(t, "ip link del gone0")
	run(t, "ip link add dev new0 type bridge")
	last := map[string]LinkEvent{}
	for range 10 {
		events, err := w.Read()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			last[e.Name] = e
		}
	}
	if last["left"].MTU != 1019 || !last["gone0"].Removed || last["new0"].Kind != "bridge" {
		t.Errorf("at the end: %+v", last)
	}
}

// newlink is an RTM_NEWLINK as a kernel sends it, shortened: eth0, up and running, a veth whose other end is in another namespace.
func newlink(t testing.TB) []byte {
	return unhex(t, `
		64000000 1000 0000 00000000 00000000  # struct nlmsghdr: 100 octets, RTM_NEWLINK
		00 00 0100 07000000 43100100 00000000 # struct ifinfomsg: AF_UNSPEC, ARPHRD_ETHER, index 7, flags
		0900 0300 6574683000 000000           # IFLA_IFNAME eth0
		0800 0400 dc050000                    # IFLA_MTU 1500
		0800 0500 09000000                    # IFLA_LINK 9
		0800 0a00 03000000                    # IFLA_MASTER 3
		0a00 0100 02000000000a 0000           # IFLA_ADDRESS
		0c00 1280 0800 0100 76657468          # IFLA_LINKINFO, nested: IFLA_INFO_KIND veth
		0800 2500 00000000                    # IFLA_LINK_NETNSID 0
	`)
}

func TestParseLink(t *testing.T) {
	if !littleEndian() {
		lab.Absent(t, "a little-endian processor", "the messages of TestParseLink are typed for one")
	}
	b := newlink(t)
	m, rest, ok := nextMessage(b)
	if !ok || len(rest) != 0 || m.kind != unix.RTM_NEWLINK {
		t.Fatalf("message %+v, rest %d", m, len(rest))
	}
	want := Link{Index: 7, Name: "eth0", Addr: stationA, MTU: 1500, Up: true, Ethernet: true, Kind: "veth", Master: 3, adminUp: true}
	if l, ok := parseLink(m.body); !ok || l != want {
		t.Errorf("got %+v, want %+v", l, want)
	}
	bridgePort := bytes.Clone(m.body)
	bridgePort[0] = unix.AF_BRIDGE
	if _, ok := parseLink(bridgePort); ok {
		t.Error("what a bridge tells of its ports is no link")
	}
	w := &Watcher{known: map[int]Link{}}
	if events := w.take(append(bytes.Clone(b), b...), nil); len(events) != 1 || events[0].Link != want {
		t.Errorf("what is told twice is one event: %+v", events)
	}
	for n := range b { // cut off anywhere
		if _, _, ok := nextMessage(b[:n]); ok {
			t.Errorf("a message of %d octets of %d", n, len(b))
		}
		if n >= unix.SizeofNlMsghdr {
			parseLink(b[unix.SizeofNlMsghdr:n])
		}
	}
}

// littleEndian reports the order of octets of this machine.
func littleEndian() bool { return htons(1) != 1 }

func FuzzWatcher(f *testing.F) {
	f.Add(newlink(f))
	f.Add(append(newlink(f), newlink(f)...))
	f.Add([]byte{4, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &Watcher{known: map[int]Link{}}
		events := w.take(b, nil)
		if len(w.known) > len(b)/unix.SizeofNlMsghdr || len(events) > len(b)/unix.SizeofNlMsghdr {
			t.Errorf("%d links and %d events from %d octets", len(w.known), len(events), len(b))
		}
	})
}
