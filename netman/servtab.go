package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"dnet/netman/names"
	"dnet/netman/node"
	"dnet/netman/trust"
)

// defaultServtab is read when -c names no other; it may be missing.
const defaultServtab = "/etc/dnet/servtab.toml"

// servtab is the file of that name: what this machine is called, its links, what it offers.
type servtab struct {
	Machine   string         `toml:"machine"`
	Tolerance string         `toml:"tolerance"`
	Netphys   string         `toml:"netphys"`
	Links     []linkEntry    `toml:"link"`
	Security  security       `toml:"security"`
	Services  []serviceEntry `toml:"service"`
	Trust     []trustEntry   `toml:"trust"`

	path string
	text string
	meta toml.MetaData
}

type linkEntry struct {
	Interface string `toml:"interface"`
	Ethertype int    `toml:"ethertype"`
}

// security says how this machine and others prove who they are; see keys.go.
type security struct {
	Mode       string `toml:"mode"`        // "" or "pinned", "open", "secret"
	Identity   string `toml:"identity"`    // the file of the machine's key
	Pins       string `toml:"pins"`        // the file of the machines known
	Secret     string `toml:"secret"`      // the file of the site secrets
	Pin        string `toml:"pin"`         // "" or "first", "strict"
	TrustFiles *bool  `toml:"trust_files"` // ~/.dnet/trust counts; nil: it does
}

// serviceEntry is one [[service]] as written.
type serviceEntry struct {
	Name string   `toml:"name"`
	Exec []string `toml:"exec"`
	Mode string   `toml:"mode"` // "" or "circuit", "bytes"
	User string   `toml:"user"`
	Max  *int     `toml:"max"` // calls at once; not given: maxServers

	Allow    []string `toml:"allow"`    // who may call; nil: everybody
	Resident bool     `toml:"resident"` // netman starts it once, and it registers the name

	Direct *bool `toml:"direct"` // nil: true: programs of this machine are joined without netman between
}

// maxServers bounds the servers of one service where servtab does not.
const maxServers = 256

// readServtab reads and checks the file. A missing file is an empty one unless it was named.
func readServtab(path string, named bool) (*servtab, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return &servtab{path: path}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseServtab(path, string(text))
}

// parseServtab reads any text. The errors name the path, and the line if it is known.
func parseServtab(path, text string) (st *servtab, err error) {
	st = &servtab{path: path, text: text}
	meta, err := toml.Decode(text, st)
	var parse toml.ParseError
	if errors.As(err, &parse) {
		// Position.Line is one too many where a newline is at fault, and Start is before the text where its first octet is.
		line := 1 + strings.Count(text[:min(max(parse.Position.Start, 0), len(text))], "\n")
		return nil, fmt.Errorf("%s:%d: %s", path, line, parse.Message)
	}
	if err != nil {
		return nil, typeError(path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0]
		return nil, fmt.Errorf("%s:%d: unknown key %q", path, keyLine(text, key), key)
	}
	return st, nil
}

// wrongType is how the library says that a value has another type than its key.
var wrongType = regexp.MustCompile(`^toml: line (\d+) \(last key "(.+)"\): incompatible types: TOML value has type (\S+); destination has type (\S+)$`)

// typeError names the line, the key and what it wants.
func typeError(path string, err error) error {
	m := wrongType.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "toml: "))
	}
	kinds := map[string]string{"string": "a text", "slice": "a list", "array": "a list", "[]any": "a list", "integer": "a number", "int": "a number",
		"int64": "a number", "float64": "a number", "boolean": "true or false", "bool": "true or false"}
	kind := func(name string) string {
		if text, ok := kinds[name]; ok {
			return text
		}
		return name
	}
	return fmt.Errorf("%s:%s: %s is %s; it must be %s", path, m[1], m[2], kind(m[3]), kind(m[4]))
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
	for i, line := range strings.Split(text, "\n") { // in an inline table
		if last := key[len(key)-1]; strings.Contains(strings.ReplaceAll(line, " ", ""), last+"=") {
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
func (st *servtab) services(machine string) (map[string]*program, error) {
	all := map[string]*program{}
	for i, entry := range st.Services {
		s, err := entry.service(machine)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: service %d (%q): %w", st.path, st.serviceLine(i), i+1, entry.Name, err)
		}
		if all[s.name] != nil {
			return nil, fmt.Errorf("%s:%d: service %s is there twice", st.path, st.serviceLine(i), s.name)
		}
		if s.allow, err = entry.allow(); err != nil {
			return nil, fmt.Errorf("%s: service %d (%q): allow: %w", st.where("service", i, "allow"), i+1, entry.Name, err)
		}
		all[s.name] = s
	}
	if len(all) > names.MaxServices {
		return nil, fmt.Errorf("%s: %d services; a machine has at most %d", st.path, len(all), names.MaxServices)
	}
	return all, nil
}

// serviceLine is the line on which service i begins.
func (st *servtab) serviceLine(i int) int {
	for n, line := range strings.Split(st.text, "\n") {
		if strings.HasPrefix(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), "[[service]]") {
			if i--; i < 0 {
				return n + 1
			}
		}
	}
	return 1
}

func (entry serviceEntry) service(machine string) (*program, error) {
	if entry.Name == "" {
		return nil, errors.New("name is missing")
	}
	if len(entry.Exec) == 0 {
		return nil, errors.New("exec is missing: the program and its arguments")
	}
	s := &program{user: entry.User, argv: append([]string(nil), entry.Exec...)}
	if s.caller = entry.User == callerUser; s.caller {
		s.user = ""
	}
	s.name = names.FoldService(strings.ReplaceAll(entry.Name, "%m", machine))
	if err := names.CheckService(s.name); err != nil {
		return nil, err
	}
	switch label, of, _ := names.SplitService(s.name); {
	case label == "netman" && of == machine:
		return nil, fmt.Errorf("%s is netman's own name", s.name)
	case of != "" && of != machine:
		return nil, fmt.Errorf("%s is a name of the machine %s, and this is %s (write %%m for this machine's name)", s.name, of, machine)
	}
	s.resident = entry.Resident
	s.indirect = entry.Direct != nil && !*entry.Direct
	switch entry.Mode {
	case "", "circuit":
		s.argv = append(s.argv, "-B")
	case "bytes":
		s.bytes = true
	default:
		return nil, fmt.Errorf("unknown mode %q: it is \"circuit\" or \"bytes\"", entry.Mode)
	}
	if s.bytes && entry.Direct != nil && *entry.Direct {
		return nil, errors.New("direct = true: the circuits of a service in bytes mode go through netman")
	}
	if s.resident && (s.bytes || entry.Max != nil) {
		return nil, errors.New("a resident server has no mode and no max: it answers each call itself")
	}
	if s.resident && s.caller {
		return nil, errors.New("a resident server runs before anybody calls: it has a user of its own, not \"caller\"")
	}
	if s.resident {
		s.argv = s.argv[:len(entry.Exec)]
	}
	if entry.Max != nil && *entry.Max < 1 {
		return nil, fmt.Errorf("max = %d: it is at least 1", *entry.Max)
	}
	s.max = maxServers
	if entry.Max != nil {
		s.max = *entry.Max
	}
	var err error
	if s.path, err = findProgram(entry.Exec[0]); err != nil {
		return nil, err
	}
	s.as, err = findUser(s.user)
	return s, err
}

// program is a service of servtab, made ready: what the keeper starts for it.
type program struct {
	name     string
	path     string   // of the file
	argv     []string // argv[0] as written in servtab
	resident bool     // it is kept running, and registers the name itself
	bytes    bool     // plain stdin and stdout instead of datagrams with control bytes
	user     string   // as named in servtab; empty: none was
	indirect bool     // circuits within this machine go through netman too
	caller   bool     // servers run as whoever the trust rules make of the caller, and without one as as, nobody
	as       identity
	allow    *trust.Allow // who may call; nil: everybody
	max      int          // calls at once
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
	id, err := lookupUser(name)
	if err != nil {
		return id, fmt.Errorf("user: %w", err)
	}
	return id, nil
}

// lookupUser is a user of this machine as whom this netman can run a server.
func lookupUser(name string) (identity, error) {
	id, err := lookUser(name)
	if err != nil {
		return id, err
	}
	self := uint32(os.Getuid())
	if self != 0 && id.uid != self {
		return identity{}, fmt.Errorf("netman is not root and cannot run a server as %s", name)
	}
	id.change = self == 0 && id.uid != 0
	return id, nil
}

// lookUser finds a user of this machine.
func lookUser(name string) (identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, fmt.Errorf("no user %s on this machine", name)
	}
	id := identity{name: name, home: u.HomeDir}
	id.uid, err = parseID(u.Uid)
	if err == nil {
		id.gid, err = parseID(u.Gid)
	}
	ids, _ := u.GroupIds()
	for _, g := range ids {
		gid, wrong := parseID(g)
		err = errors.Join(err, wrong)
		id.groups = append(id.groups, gid)
	}
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}

// parseID reads the number of a user or a group. No number must come to stand for root.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("the number %q is none that a user or group can have", s)
	}
	return uint32(n), nil
}
