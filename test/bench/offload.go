package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// offloads are the features by which TCP gives the interface more than a frame at a time, as ethtool -k names them.
var offloads = []string{
	"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation",
	"tx-generic-segmentation", "rx-gro",
}

// noOffloads does what `ethtool -K IFNAME tso off gso off gro off` does, and reads back that it is so (the kernel's
// Documentation/networking/ethtool-netlink.rst). It acts in the net namespace of the thread that calls it.
func noOffloads(ifname string) error {
	g, err := openGenl("ethtool")
	if err != nil {
		return err
	}
	defer unix.Close(g.fd)
	header := attr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, attr(unix.ETHTOOL_A_HEADER_DEV_NAME, zero(ifname)))
	var bits []byte
	for _, name := range offloads { // named, and without a value: off
		bits = append(bits, attr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, attr(unix.ETHTOOL_A_BITSET_BIT_NAME, zero(name)))...)
	}
	wanted := attr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, attr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, bits))
	if _, err := g.ask(unix.ETHTOOL_MSG_FEATURES_SET, append(slices.Clone(header), wanted...)); err != nil {
		return fmt.Errorf("switching offloads of %s off: %w", ifname, err)
	}
	features, err := g.ask(unix.ETHTOOL_MSG_FEATURES_GET, header)
	if err != nil {
		return fmt.Errorf("features of %s: %w", ifname, err)
	}
	// Active features are listed by name, those that are off are not.
	active := string(features[unix.ETHTOOL_A_FEATURES_ACTIVE])
	if active == "" {
		return fmt.Errorf("the kernel does not list the features of %s", ifname)
	}
	for _, name := range offloads {
		if strings.Contains(active, string(zero(name))) {
			return fmt.Errorf("%s of %s stays on", name, ifname)
		}
	}
	return nil
}

// genl is a socket for one family of generic netlink.
type genl struct {
	fd     int
	family uint16
}

func openGenl(family string) (*genl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	g := &genl{fd: fd, family: unix.GENL_ID_CTRL}
	about, err := g.ask(unix.CTRL_CMD_GETFAMILY, attr(unix.CTRL_ATTR_FAMILY_NAME, zero(family)))
	if id := about[unix.CTRL_ATTR_FAMILY_ID]; err == nil && len(id) == 2 {
		g.family = binary.NativeEndian.Uint16(id)
		return g, nil
	}
	unix.Close(fd)
	return nil, fmt.Errorf("netlink: no family %s: %w", family, err)
}

// ask sends a command and returns the attributes of the answer, which may be none.
func (g *genl) ask(command uint8, attrs []byte) (map[uint16][]byte, error) {
	m := make([]byte, unix.SizeofNlMsghdr, 4096)
	m = append(append(m, command, 1, 0, 0), attrs...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], g.family)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(g.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	answer, buf := map[uint16][]byte{}, make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(g.fd, buf, 0)
		if err != nil {
			return nil, err
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.SizeofNlMsghdr+4 || size > len(rest) {
				return nil, fmt.Errorf("a netlink message of %d octets", size)
			}
			body := rest[unix.SizeofNlMsghdr:size]
			if binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_ERROR {
				if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
					return nil, unix.Errno(-code)
				}
				return answer, nil
			}
			parseAttrs(answer, body[4:])
			rest = rest[min(align(size), len(rest)):]
		}
	}
}

func parseAttrs(into map[uint16][]byte, b []byte) {
	for len(b) >= unix.SizeofNlAttr {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)
		if size < unix.SizeofNlAttr || size > len(b) {
			return
		}
		into[kind] = slices.Clone(b[unix.SizeofNlAttr:size])
		b = b[min(align(size), len(b)):]
	}
}

// attr is an attribute, padded to 4 octets.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func align(n int) int { return (n + 3) &^ 3 }

// zero is a string as C has it.
func zero(s string) []byte { return append([]byte(s), 0) }
