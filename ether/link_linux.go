package ether

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Link is an interface of this machine, as rtnetlink tells of it.
type Link struct {
	Index    int
	Name     string
	Addr     Addr
	MTU      int
	Up       bool   // set up, and able to carry frames (carrier present)
	Ethernet bool   // has frames with Ethernet addresses, and is not the loopback
	Kind     string // "" for a physical one; "veth", "bridge", "bond", "vlan" …
	Master   int    // index of the bridge or bond it is a port of; 0: none
	Lower    int    // index of the link it lies on, as a VLAN does; 0: none, or one in another namespace

	adminUp  bool   // set up, with or without a carrier
	received uint64 // frames, when it was asked for
}

// Received is how many frames of any kind a link has received, as the kernel counts.
func Received(name string) (frames uint64, err error) {
	l, err := linkNamed(name)
	return l.received, err
}

// Physical reports whether the link is an Ethernet device and not one made of others.
func (l Link) Physical() bool { return l.Ethernet && l.Kind == "" }

// neverUnlessNamed are the beginnings of the names of links that are not taken by default (protocol.md 1). The links of kind veth
// are treated by their kind.
var neverUnlessNamed = []string{"docker", "virbr", "veth"}

// Interfaces returns the links a station uses. With names: those, in their order, up or not; ErrNoInterface or ErrNotEthernet
// for one that cannot be. Without: every physical Ethernet that is up, or instead of it the bridge, bond or VLAN above it; or in
// a namespace that has one Ethernet only, and that a made one such as a veth, this one (protocol.md 1). None is not an error:
// one may come later.
func Interfaces(named []string) ([]Link, error) {
	if len(named) == 0 {
		links, err := Links()
		return choose(links), err
	}
	var chosen []Link
	for _, name := range named {
		l, err := linkNamed(name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(chosen, func(c Link) bool { return c.Index == l.Index }) {
			chosen = append(chosen, l)
		}
	}
	return chosen, nil
}

// linkNamed returns the Ethernet link of that name.
func linkNamed(name string) (Link, error) {
	links, err := Links()
	if err != nil {
		return Link{}, err
	}
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
	switch {
	case i < 0:
		return Link{}, fmt.Errorf("%s: %w: 'ip link' lists those there are", name, ErrNoInterface)
	case !links[i].Ethernet:
		return Link{}, fmt.Errorf("%s: %w", name, ErrNotEthernet)
	}
	return links[i], nil
}

// choose makes the default choice of protocol.md 1.
func choose(links []Link) []Link {
	var chosen []Link
	add := func(l Link) {
		if !slices.Contains(chosen, l) {
			chosen = append(chosen, l)
		}
	}
	physical := false
	for _, l := range links {
		if l.Physical() {
			physical = true
			if l.Up {
				climb(links, l, climbMax, add)
			}
		}
	}
	if !physical {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Ethernet })
		if i >= 0 && links[i].Up && !slices.ContainsFunc(links[i+1:], func(l Link) bool { return l.Ethernet }) {
			if links[i].Kind == "veth" || !barred(links[i]) {
				add(links[i])
			}
		}
	}
	slices.SortFunc(chosen, func(a, b Link) int { return a.Index - b.Index })
	return chosen
}

// barred reports whether the link is of those only taken by name.
func barred(l Link) bool {
	return l.Kind == "veth" ||
		slices.ContainsFunc(neverUnlessNamed, func(begin string) bool { return strings.HasPrefix(l.Name, begin) })
}

// climb adds the link, or instead of it what lies above: the bridge or bond it is a port of (which takes all its frames), or the
// VLANs on it that are up.
func climb(links []Link, l Link, levels int, add func(Link)) {
	if levels == 0 || !l.Ethernet || !l.Up || barred(l) {
		return
	}
	if l.Master != 0 {
		i := slices.IndexFunc(links, func(m Link) bool { return m.Index == l.Master })
		if i < 0 {
			return
		}
		switch links[i].Kind {
		case "vrf": // concerns IP only
		case "bridge", "bond", "team", "":
			climb(links, links[i], levels-1, add)
			return
		default: // a switch of another kind, which takes the frames; its ports are used by name
			return
		}
	}
	above := false
	for _, v := range links {
		if v.Kind == "vlan" && v.Lower == l.Index && v.Up {
			above = true
			climb(links, v, levels-1, add)
		}
	}
	if !above {
		add(l)
	}
}

// Links returns all links of this network namespace, by index.
func Links() ([]Link, error) {
	fd, err := netlinkSocket(0)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	defer unix.Close(fd)
	// A kernel that does not answer is not waited for.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	for try := 1; ; try++ {
		links, err := dumpLinks(fd)
		if err == nil {
			slices.SortFunc(links, func(a, b Link) int { return a.Index - b.Index })
			return links, nil
		}
		if !errors.Is(err, errChanged) || try == dumpTries {
			return nil, fmt.Errorf("rtnetlink: list of links: %w", err)
		}
	}
}

// errChanged tells that the links changed while they were listed.
var errChanged = errors.New("changed meanwhile")

// netlinkSocket opens an rtnetlink socket that hears the groups.
func netlinkSocket(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dumpLinks asks for all links.
func dumpLinks(fd int) ([]Link, error) {
	// struct nlmsghdr, struct ifinfomsg
	request := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.RTM_GETLINK)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var links []Link
	changed := false
	buf := make([]byte, netlinkBuffer)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		for m, rest, ok := nextMessage(buf[:n]); ok; m, rest, ok = nextMessage(rest) {
			changed = changed || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				if changed {
					return nil, errChanged
				}
				return links, nil
			case unix.NLMSG_ERROR:
				return nil, m.errno()
			case unix.RTM_NEWLINK:
				if l, ok := parseLink(m.body); ok {
					links = append(links, l)
				}
			}
		}
	}
}

// netlinkBuffer is the room for one read of a netlink socket; the kernel puts at most 32 KiB in one.
const netlinkBuffer = 64 << 10

// message is one netlink message: struct nlmsghdr and what follows.
type message struct {
	kind, flags uint16
	body        []byte
}

// nextMessage cuts the first message off b; ok is false when there is no whole one.
func nextMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return message{}, nil, false
	}
	size := binary.NativeEndian.Uint32(b)
	if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
		return message{}, nil, false
	}
	m = message{
		kind:  binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		body:  b[unix.SizeofNlMsghdr:size],
	}
	return m, b[min(len(b), align4(int(size))):], true
}

// errno is the error an NLMSG_ERROR message tells.
func (m message) errno() error {
	if len(m.body) < 4 {
		return unix.EIO
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))
}

// parseLink reads struct ifinfomsg and its attributes. ok is false for what is not a link, such as what a bridge tells of its
// ports (family AF_BRIDGE).
func parseLink(b []byte) (l Link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return Link{}, false
	}
	kind := binary.NativeEndian.Uint16(b[2:])
	flags := binary.NativeEndian.Uint32(b[8:])
	l.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	l.adminUp = flags&unix.IFF_UP != 0
	l.Up = l.adminUp && flags&unix.IFF_RUNNING != 0
	foreign := false
	for t, v, rest, ok := nextAttr(b[unix.SizeofIfInfomsg:]); ok; t, v, rest, ok = nextAttr(rest) {
		switch t {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
		case unix.IFLA_ADDRESS:
			if len(v) == len(l.Addr) {
				l.Addr = Addr(v)
				l.Ethernet = kind == unix.ARPHRD_ETHER && flags&unix.IFF_LOOPBACK == 0
			}
		case unix.IFLA_MTU:
			l.MTU = number(v)
		case unix.IFLA_MASTER:
			l.Master = number(v)
		case unix.IFLA_STATS64: // struct rtnl_link_stats64 begins with rx_packets
			if len(v) >= 8 {
				l.received = binary.NativeEndian.Uint64(v)
			}
		case unix.IFLA_LINK:
			l.Lower = number(v)
		case unix.IFLA_LINK_NETNSID:
			foreign = true
		case unix.IFLA_LINKINFO:
			for t, v, rest, ok := nextAttr(v); ok; t, v, rest, ok = nextAttr(rest) {
				if t == unix.IFLA_INFO_KIND {
					l.Kind = text(v)
				}
			}
		}
	}
	if foreign || l.Lower == l.Index {
		l.Lower = 0
	}
	return l, l.Index > 0 && l.Name != ""
}

// nextAttr cuts the first attribute (struct rtattr) off b; ok is false when there is no whole one.
func nextAttr(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < unix.SizeofRtAttr {
		return 0, nil, nil, false
	}
	size := int(binary.NativeEndian.Uint16(b))
	if size < unix.SizeofRtAttr || size > len(b) {
		return 0, nil, nil, false
	}
	kind = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	return kind, b[unix.SizeofRtAttr:size], b[min(len(b), align4(size)):], true
}

func align4(n int) int { return (n + 3) &^ 3 }

// text is an attribute that is a string ended by NUL.
func text(v []byte) string {
	s, _, _ := strings.Cut(string(v), "\x00")
	return s
}

// number is an attribute of 32 bits.
func number(v []byte) int {
	if len(v) != 4 {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(v)))
}
