package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"dnet/netman/names"
	"dnet/netman/node"
)

// defaultServtab is read when -c names no other; it may be missing.
const defaultServtab = "/etc/dnet/servtab.toml"

// servtab is the file of that name : what this machine is called, its links, what it offers.
type servtab struct {
	Machine   string         `toml:"machine"`
	Tolerance string         `toml:"tolerance"`
	Links     []linkEntry    `toml:"link"`
	Security  security       `toml:"security"`
	Services  []serviceEntry `toml:"service"`

	path string
	meta toml.MetaData
}

type linkEntry struct {
	Interface string `toml:"interface"`
	Ethertype int    `toml:"ethertype"`
}

// security says how this machine and others prove who they are; see keys.go.
type security struct {
	Mode     string `toml:"mode"`     // "" or "open", "pinned", "secret"
	Identity string `toml:"identity"` // the file of the machine's key
	Pins     string `toml:"pins"`     // the file of the machines known
	Secret   string `toml:"secret"`   // the file of the site secrets
	Pin      string `toml:"pin"`      // "" or "first", "strict"
}

// serviceEntry is one [[service]] as written.
type serviceEntry struct {
	Name string   `toml:"name"`
	Exec []string `toml:"exec"`
	Mode string   `toml:"mode"` // "" or "circuit", "bytes"
	User string   `toml:"user"`
	Max  int      `toml:"max"` // calls at once; 0: maxServers

	Resident bool `toml:"resident"` // netman starts it once, and it registers the name
}

// maxServers bounds the servers of one service where servtab does not.
const maxServers = 256

// readServtab reads and checks the file. A missing file is an empty one unless it was named.
func readServtab(path string, named bool) (*servtab, error) {
	st := &servtab{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	st.meta, err = toml.Decode(string(text), st)
	var parse toml.ParseError
	if errors.As(err, &parse) {
		// Position.Line is one too many where a newline is at fault.
		line := 1 + strings.Count(string(text[:min(parse.Position.Start, len(text))]), "\n")
		return nil, fmt.Errorf("%s:%d: %s", path, line, parse.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := st.meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0]
		return nil, fmt.Errorf("%s:%d: unknown key %q", path, keyLine(string(text), key), key)
	}
	return st, nil
}

// keyLine finds the line of an undecoded key, of which the library tells only the name: the first one in the table that it names.
func keyLine(text string, key toml.Key) int {
	table := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, "=")
		name = strings.NewReplacer(" ", "", "\t", "", `"`, "", "'", "").Replace(name)
		if strings.HasPrefix(name, "[") {
			table, _, _ = strings.Cut(strings.TrimLeft(name, "["), "]")
			name = table
		} else if table != "" {
			name = table + "." + name
		}
		if name == strings.Join(key, ".") {
			return i + 1
		}
	}
	return 1
}

// machineName is the name of this machine: the flag's, servtab's, or the host name's first label.
func (st *servtab) machineName(flag string) (string, error) {
	name, from := flag, "--machine"
	if name == "" {
		name, from = st.Machine, st.path+": machine"
	}
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("no machine name: %w", err)
		}
		name, _, _ = strings.Cut(host, ".")
		from = "the host name (set machine in " + st.path + " or give --machine)"
	}
	name = names.FoldService(name)
	if err := names.CheckLabel(name); err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	return name, nil
}

// tolerance is how long a station may be silent.
func (st *servtab) tolerance() (time.Duration, error) {
	if st.Tolerance == "" {
		return time.Second, nil
	}
	d, err := time.ParseDuration(st.Tolerance)
	if err != nil {
		return 0, fmt.Errorf("%s: tolerance: %w", st.path, err)
	}
	if d < 50*time.Millisecond || d > 30*time.Second {
		return 0, fmt.Errorf("%s: tolerance: %v is not within 50ms and 30s", st.path, d)
	}
	return d, nil
}

// interfaces lists the named interfaces and the one Ethertype of this netman.
func (st *servtab) interfaces(flag string) (ifaces []string, ethertype uint16, err error) {
	ethertype = node.Ethertype
	for _, link := range st.Links {
		if link.Interface != "" {
			ifaces = append(ifaces, link.Interface)
		}
		if link.Ethertype != 0 {
			if link.Ethertype < 0x600 || link.Ethertype > 0xffff {
				return nil, 0, fmt.Errorf("%s: ethertype %#x is not within 0x600 and 0xffff", st.path, link.Ethertype)
			}
			if ethertype != node.Ethertype && ethertype != uint16(link.Ethertype) {
				return nil, 0, fmt.Errorf("%s: one netman has one ethertype; run a second netman for the other", st.path)
			}
			ethertype = uint16(link.Ethertype)
		}
	}
	if flag != "" {
		ifaces = strings.Split(flag, ",")
	}
	return ifaces, ethertype, nil
}

// services checks every [[service]] and makes it ready to be called.
func (st *servtab) services(machine string) (map[string]*service, error) {
	all := map[string]*service{}
	for i, entry := range st.Services {
		s, err := entry.service(machine)
		if err != nil {
			return nil, fmt.Errorf("%s: service %d (%q): %w", st.path, i+1, entry.Name, err)
		}
		if all[s.name] != nil {
			return nil, fmt.Errorf("%s: service %s is there twice", st.path, s.name)
		}
		all[s.name] = s
	}
	return all, nil
}

func (entry serviceEntry) service(machine string) (*service, error) {
	if entry.Name == "" {
		return nil, errors.New("name is missing")
	}
	if len(entry.Exec) == 0 {
		return nil, errors.New("exec is missing: the program and its arguments")
	}
	s := &service{max: entry.Max, user: entry.User, argv: append([]string(nil), entry.Exec...)}
	s.name = names.FoldService(strings.ReplaceAll(entry.Name, "%m", machine))
	if err := names.CheckService(s.name); err != nil {
		return nil, err
	}
	if _, of, _ := names.SplitService(s.name); of != "" && of != machine {
		return nil, fmt.Errorf("%s is a name of the machine %s, and this is %s (write %%m for this machine's name)", s.name, of, machine)
	}
	s.resident = entry.Resident
	switch entry.Mode {
	case "", "circuit":
		s.argv = append(s.argv, "-B")
	case "bytes":
		s.bytes = true
	default:
		return nil, fmt.Errorf("unknown mode %q: it is \"circuit\" or \"bytes\"", entry.Mode)
	}
	if s.resident && (s.bytes || s.max != 0) {
		return nil, errors.New("a resident server has no mode and no max: it answers each call itself")
	}
	if s.resident {
		s.argv = s.argv[:len(entry.Exec)]
	}
	if s.max < 0 {
		return nil, fmt.Errorf("max = %d: it is at least 1", s.max)
	}
	if s.max == 0 {
		s.max = maxServers
	}
	var err error
	if s.path, err = findProgram(entry.Exec[0]); err != nil {
		return nil, err
	}
	s.as, err = findUser(entry.User)
	return s, err
}

// findProgram looks beside netman, then in PATH.
func findProgram(name string) (string, error) {
	if strings.Contains(name, "/") {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("exec: %s: %w", name, errors.Unwrap(err))
		}
		return name, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("exec: no program %s beside netman or in PATH", name)
	}
	return path, nil
}

// identity is the user that a server runs as.
type identity struct {
	name     string
	uid, gid uint32
	groups   []uint32
	home     string
	change   bool // netman is root and must change to it
}

// findUser says who a service runs as: the named user; without one nobody under a netman that is root, and netman's own user
// under one that is not (servtab.5).
func findUser(name string) (identity, error) {
	self := uint32(os.Getuid())
	named := name != ""
	if !named && self != 0 {
		return identity{uid: self, gid: uint32(os.Getgid()), home: os.Getenv("HOME")}, nil
	}
	if !named {
		name = "nobody"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, fmt.Errorf("user: no user %s on this machine", name)
	}
	id := identity{name: name, home: u.HomeDir}
	id.uid, id.gid = parseID(u.Uid), parseID(u.Gid)
	if self != 0 && id.uid != self {
		return identity{}, fmt.Errorf("user: netman is not root and cannot run a server as %s", name)
	}
	if ids, err := u.GroupIds(); err == nil {
		for _, g := range ids {
			id.groups = append(id.groups, parseID(g))
		}
	}
	id.change = self == 0 && id.uid != 0
	return id, nil
}

func parseID(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}
