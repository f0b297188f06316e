package main

import (
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dnet/ether"
	"dnet/netman/node"
)

// openPort is a packet socket on its way to the wire.
type openPort struct {
	link  ether.Link
	raw   *ether.Raw
	guard int
}

func (p *openPort) memo() *memo { return &memo{Kind: "port", Link: p.link} }

func (p *openPort) fds() []int { return []int{p.raw.Fd(), p.raw.HailFd(), p.guard} }

// close closes the keeper's descriptors of it.
func (p *openPort) close() {
	if p.guard >= 0 {
		p.raw.Close()
		unix.Close(p.guard)
		p.guard = -1
	}
}

// openPorts opens the interfaces that there are.
func (k *keeper) openPorts() (ports []*openPort, err error) {
	links, err := ether.Interfaces(k.setup.wire.ifaces)
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		p, err := k.openPort(link)
		if errors.Is(err, ether.ErrDown) {
			log.Printf("%v: waiting for it", err)
		} else if err != nil {
			return ports, err
		} else {
			ports = append(ports, p)
		}
	}
	if len(links) == 0 {
		log.Print("no Ethernet interface is up: waiting for one (-i names one)")
	}
	return ports, nil
}

// openLater opens an interface that has come, if it is one of those that this netman uses.
func (k *keeper) openLater(name string) {
	links, err := ether.Interfaces(nil)
	if named := k.setup.wire.ifaces; len(named) > 0 {
		links, err = namedLinks(named)
	}
	answer := &memo{Kind: "port", Link: ether.Link{Name: name}}
	i := slices.IndexFunc(links, func(l ether.Link) bool { return l.Name == name })
	switch {
	case err != nil:
		answer.Error = fmt.Sprintf("interfaces: %v", err)
	case i < 0:
		answer.Error = name + " has gone, or is not this netman's"
	default:
		p, err := k.openPort(links[i])
		if err == nil {
			k.line.send(p.memo(), p.fds()...)
			p.close()
			return
		}
		answer.Error = err.Error()
	}
	k.line.send(answer)
}

func (k *keeper) openPort(link ether.Link) (*openPort, error) {
	ethertype := k.setup.wire.ethertype
	guard, err := holdInterface(link.Name, ethertype)
	if err != nil {
		return nil, err
	}
	raw, err := ether.Open(link.Name, ethertype, ether.RawConfig{Group: node.Group, Apart: true})
	if err != nil {
		unix.Close(guard)
		return nil, err
	}
	return &openPort{link: link, raw: raw, guard: guard}, nil
}

// namedLinks lists those of the named interfaces that are there.
func namedLinks(names []string) (links []ether.Link, err error) {
	for _, name := range names {
		found, err := ether.Interfaces([]string{name})
		if err != nil && !errors.Is(err, ether.ErrNoInterface) {
			return links, err
		}
		links = append(links, found...)
	}
	return links, nil
}

// holdInterface takes a name in the abstract namespace of Unix sockets, which is one per network namespace and gone with its
// owner. Two netmans with one Ethertype on one interface would answer for each other, and could not hear each other.
func holdInterface(name string, ethertype uint16) (guard int, err error) {
	for end := time.Now().Add(holdWait); ; time.Sleep(holdWait / 50) {
		guard, err = bindInterface(name, ethertype)
		if err != unix.EADDRINUSE || time.Now().After(end) {
			break
		}
	}
	if err == unix.EADDRINUSE {
		err = errors.New("another netman uses it; give this one another ethertype in servtab, or end the other")
	}
	if err != nil {
		return -1, fmt.Errorf("%s with ethertype %#04x: %w", name, ethertype, err)
	}
	return guard, nil
}

// holdWait is how long the wire of a netman that was killed a moment ago may take to be gone.
const holdWait = 500 * time.Millisecond

func bindInterface(name string, ethertype uint16) (guard int, err error) {
	guard, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(guard, &unix.SockaddrUnix{Name: fmt.Sprintf("@dnet/%04x/%s", ethertype, name)}); err != nil {
		unix.Close(guard)
		return -1, err
	}
	return guard, nil
}
