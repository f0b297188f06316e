package main

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dnet/netman/fusedev"
	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/x25"
)

// The directories of /netphys, by node.
const (
	rootNode        uint64 = iota + 1 // /netphys
	plainNode                         // /netphys/plain
	listenNode                        // /netphys/listen
	plainListenNode                   // /netphys/plain/listen
	firstFileNode                     // names
)

// nodeNumber is how the kernel knows a node.
type nodeNumber = uint64

// directory is one of them: its own directories, and what its files are.
type directory struct {
	subs   map[string]nodeNumber
	plain  bool // without control bytes
	listen bool // for servers
}

var directories = map[uint64]directory{
	rootNode:        {subs: map[string]nodeNumber{"plain": plainNode, "listen": listenNode}},
	plainNode:       {subs: map[string]nodeNumber{"listen": plainListenNode}, plain: true},
	listenNode:      {listen: true},
	plainListenNode: {plain: true, listen: true},
}

// tree is what there is to see in /netphys without calling anybody. Any legal name is there: whether somebody offers it is asked when it
// is opened. Each look at a name makes a node of its own, for what is written to a node waits for one another.
type tree struct {
	since  time.Time
	nodes  map[uint64]*fileNode
	last   uint64              // the node given last
	number uint64              // the inode number shown last
	oldest uint64              // no node is older
	lists  map[uint64][]string // of open directories, by handle
	met    map[string]bool     // services of other machines that have answered
}

// fileNode is a name that was looked up.
type fileNode struct {
	name  string
	in    uint64 // the directory
	file  *file  // the one that was opened last
	opens int
}

// maxMet bounds the services of other machines that are remembered; a further one takes the place of any.
const maxMet = 1024

func newTree(now time.Time) tree {
	return tree{
		since: now, nodes: map[uint64]*fileNode{}, last: firstFileNode, number: firstFileNode, oldest: firstFileNode, lists: map[uint64][]string{},
		met: map[string]bool{},
	}
}

// handleTree carries out a request that concerns no open circuit.
func (m *mount) handleTree(r *fusedev.Request) {
	switch r.Op {
	case fusedev.Lookup:
		m.lookup(r)
	case fusedev.GetAttr, fusedev.SetAttr: // to set an attribute, or the size, has no effect, as on a device
		if attr, ok := m.attr(r.Node); ok {
			m.dev.Attributes(r.Unique, attr)
		} else {
			m.dev.Fail(r.Unique, unix.ESTALE)
		}
	case fusedev.OpenDir:
		m.openDir(r)
	case fusedev.ReadDir:
		m.readDir(r)
	case fusedev.ReleaseDir:
		delete(m.lists, r.Handle)
		m.dev.Fail(r.Unique, 0)
	case fusedev.StatFS:
		m.dev.FileSystem(r.Unique)
	case fusedev.GetXattr, fusedev.ListXattr:
		m.xattr(r)
	case fusedev.Create, fusedev.MkNod:
		m.dev.Fail(r.Unique, unix.EINVAL) // only a name that is not legal is not there
	case fusedev.MkDir, fusedev.Unlink, fusedev.RmDir, fusedev.Rename, fusedev.Rename2, fusedev.Link, fusedev.Symlink:
		m.dev.Fail(r.Unique, unix.EROFS)
	default:
		m.dev.Fail(r.Unique, unix.ENOSYS)
	}
}

// lookup makes a node of a name.
func (m *mount) lookup(r *fusedev.Request) {
	dir, ok := directories[r.Node]
	if !ok {
		m.dev.Fail(r.Unique, unix.ENOTDIR)
		return
	}
	if sub, ok := dir.subs[string(r.Name)]; ok {
		attr, _ := m.attr(sub)
		m.dev.Entry(r.Unique, attr)
		return
	}
	name := names.FoldService(string(r.Name))
	if names.CheckService(name) != nil {
		m.dev.Fail(r.Unique, unix.ENOENT)
		return
	}
	m.makeRoom()
	m.last++
	m.nodes[m.last] = &fileNode{name: name, in: r.Node}
	attr, _ := m.attr(m.last)
	m.dev.Entry(r.Unique, attr)
}

// makeRoom forgets the oldest node that is not open, when there are too many. Whoever comes back to it looks the name up again
// (ESTALE).
func (m *mount) makeRoom() {
	for ; len(m.nodes) >= maxNodes && m.oldest <= m.last; m.oldest++ {
		if n := m.nodes[m.oldest]; n != nil && n.opens == 0 {
			delete(m.nodes, m.oldest)
			m.l.count("netphys: names forgotten")
		}
	}
}

// forget drops nodes that the kernel has forgotten.
func (m *mount) forget(forgotten []fusedev.Forgotten) {
	for _, f := range forgotten {
		delete(m.nodes, f.Node)
	}
}

// attr is what a node looks like. A file has another inode number at each look: filters such as cat refuse to read what they write,
// and tell by the number, but the input and the output of a circuit are two things.
func (m *mount) attr(node uint64) (a fusedev.Attr, ok bool) {
	if _, dir := directories[node]; dir {
		return fusedev.Attr{Node: node, Number: node, Mode: unix.S_IFDIR | 0o555, Since: m.since}, true
	}
	m.number++
	return fusedev.Attr{Node: node, Number: m.number, Mode: unix.S_IFREG | 0o666, Since: m.since}, m.nodes[node] != nil
}

// learn keeps, for listings, the name of a service of another machine that has answered somebody here, and drops one that nobody offers
// any more.
func (m *mount) learn(ev node.Event) {
	if m == nil {
		return
	}
	switch ev.Kind {
	case node.Connected, node.Located:
		if ev.Circuit.Machine == m.l.node.Machine() || m.met[ev.Circuit.Service] {
			return
		}
		if len(m.met) >= maxMet {
			for any := range m.met {
				delete(m.met, any)
				break
			}
		}
		m.met[ev.Circuit.Service] = true
	case node.Cleared:
		if ev.Cause == x25.CauseNotObtainable {
			delete(m.met, ev.Circuit.Service)
		}
	}
}

// listing is what ls shows: directories, then the services of this machine and those of others that have answered; in a directory for
// servers, the names that are served through it. Nobody is asked.
func (m *mount) listing(node uint64) (all []string) {
	dir := directories[node]
	for name := range dir.subs {
		all = append(all, name)
	}
	if dir.listen {
		for name := range m.servers {
			all = append(all, name)
		}
	} else {
		for name := range m.l.services {
			all = append(all, name)
		}
		for name := range m.met {
			if m.l.services[name] == nil {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all) // a service may be called as a directory is
}

// openDir takes a picture of a directory, which readDir shows.
func (m *mount) openDir(r *fusedev.Request) {
	if _, ok := directories[r.Node]; !ok {
		m.dev.Fail(r.Unique, unix.ENOTDIR)
		return
	}
	if len(m.lists) >= maxFiles {
		m.l.count("netphys: too many open files")
		m.dev.Fail(r.Unique, unix.ENFILE)
		return
	}
	m.handles++
	m.lists[m.handles] = m.listing(r.Node)
	if m.dev.OpenedDir(r.Unique, m.handles) != nil {
		delete(m.lists, m.handles)
	}
}

func (m *mount) readDir(r *fusedev.Request) {
	dir := fusedev.NewDir(r.Size)
	all := m.lists[r.Handle]
	for i := r.Offset; i < uint64(len(all)); i++ {
		mode, node := uint32(unix.S_IFREG), firstFileNode // the number of a file is made when it is looked at
		if sub, ok := directories[r.Node].subs[all[i]]; ok {
			mode, node = unix.S_IFDIR, sub
		}
		if !dir.Add(all[i], node, i+1, mode) {
			break
		}
	}
	m.dev.Listing(r.Unique, dir)
}

// The extended attributes of an open circuit, for programs that have no ioctl.
const (
	xattrService = "user.dnet.service"
	xattrMachine = "user.dnet.machine"
	xattrUser    = "user.dnet.user"
)

var xattrNames = strings.Join([]string{xattrService, xattrMachine, xattrUser}, "\x00") + "\x00"

// xattr tells of the circuit that was opened on a node last, which is the only one but for those who open a descriptor again.
func (m *mount) xattr(r *fusedev.Request) {
	var f *file
	if n := m.nodes[r.Node]; n != nil {
		f = n.file
	}
	if f == nil || f.c == nil {
		if r.Op == fusedev.ListXattr {
			m.dev.Xattr(r.Unique, nil, r.Size)
		} else {
			m.dev.Fail(r.Unique, unix.ENODATA)
		}
		return
	}
	if r.Op == fusedev.ListXattr {
		m.dev.Xattr(r.Unique, []byte(xattrNames), r.Size)
		return
	}
	switch string(r.Name) {
	case xattrService:
		m.dev.Xattr(r.Unique, []byte(f.c.Service), r.Size)
	case xattrMachine:
		m.dev.Xattr(r.Unique, []byte(f.c.Machine), r.Size)
	case xattrUser:
		m.dev.Xattr(r.Unique, []byte(f.c.PeerUser), r.Size)
	default:
		m.dev.Fail(r.Unique, unix.ENODATA)
	}
}
