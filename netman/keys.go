package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dnet/netman/names"
	"dnet/netman/seal"
)

// keptIn is where keys are kept unless servtab says otherwise. A netman that is not root keeps them where its user keeps such things (XDG Base
// Directory Specification 0.8).
func keptIn(name string) string {
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/dnet", name)
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = filepath.Join(os.Getenv("HOME"), ".local/state")
	}
	return filepath.Join(state, "dnet", name)
}

// maxSecrets is how many site secrets are accepted at once: the old and the new, while they change.
const maxSecrets = 4

// sealing is what servtab says of keys, with what the files that it names hold.
type sealing struct {
	config   seal.Config
	identity string       // the path of the machine's key; made at the first start
	witness  seal.Witness // of the machine's keeper
	fresh    bool         // it is not there yet
	pins     string       // the path of the pins
	secret   string       // the path of the site secrets; empty unless in secret mode
	unread   error        // why this user may not read all of that; netman check goes without
}

// sealing reads the keys of the modes pinned and secret; nil in open mode. Nothing is written.
func (st *servtab) sealing() (*sealing, error) {
	sec := st.Security
	s := &sealing{identity: orDefault(sec.Identity, keptIn("identity")), pins: orDefault(sec.Pins, keptIn("pins")), secret: sec.Secret}
	switch sec.Mode {
	case "open":
		if sec.Secret != "" || sec.Pin != "" {
			return nil, fmt.Errorf("%s: [security] secret and pin mean nothing in mode \"open\"; write mode = \"pinned\" or \"secret\"", st.path)
		}
		return nil, nil
	case "", "pinned":
		s.config.Mode = seal.Pinned
		if sec.Secret != "" {
			return nil, fmt.Errorf("%s: [security] secret means nothing in mode \"pinned\"; write mode = \"secret\"", st.path)
		}
	case "secret":
		s.config.Mode = seal.Secret
		if sec.Secret == "" {
			return nil, fmt.Errorf("%s: security mode \"secret\" needs secret = \"FILE\", the file that all machines of the site have", st.path)
		}
	default:
		return nil, fmt.Errorf("%s: unknown security mode %q: it is \"open\", \"pinned\" or \"secret\"", st.path, sec.Mode)
	}
	switch sec.Pin {
	case "", "first":
	case "strict":
		s.config.Strict = true
	default:
		return nil, fmt.Errorf("%s: unknown pin %q: it is \"first\" or \"strict\"", st.path, sec.Pin)
	}
	if s.unread = s.read(); !errors.Is(s.unread, fs.ErrPermission) {
		return s, s.unread
	}
	return s, nil
}

func orDefault(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}

// read reads the files. That there is no key or no pin yet is no error.
func (s *sealing) read() (err error) {
	s.config.Rand = rand.Reader
	if s.config.Identity, s.witness, err = readIdentity(s.identity); errors.Is(err, fs.ErrNotExist) {
		s.fresh, err = true, nil
	}
	if err != nil {
		return err
	}
	if s.config.Pins, err = readPins(s.pins); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.config.Mode == seal.Secret {
		s.config.Secrets, err = readSecrets(s.secret)
		return err
	}
	return nil
}

// prepare makes the machine's key if it has none, and the folder that pins are kept in.
func (s *sealing) prepare() error {
	if s.unread != nil {
		return s.unread
	}
	if err := os.MkdirAll(filepath.Dir(s.pins), 0o700); err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	if !s.fresh {
		return nil
	}
	var err error
	if s.config.Identity, s.witness, err = makeIdentity(s.identity); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	s.fresh = false
	return nil
}

// readPrivate reads a file that nobody but its owner, netman's user or root, may read or write.
func readPrivate(what, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s %s: not a file", what, path)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s %s: it belongs to user %d, and must belong to root or to netman's user: chown it", what, path, st.Uid)
	case st.Mode&0o077 != 0:
		return nil, fmt.Errorf("%s %s: its mode is %04o, so that others can read it: run: chmod 600 %s", what, path, st.Mode&0o7777, path)
	case st.Size > 1<<20:
		return nil, fmt.Errorf("%s %s: %d octets are too many", what, path, st.Size)
	}
	text := make([]byte, st.Size)
	n, err := f.Read(text)
	if err != nil && st.Size > 0 {
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return text[:n], nil
}

// readIdentity reads what the machine's keys are derived from: one line of base64.
func readIdentity(path string) (id seal.Identity, witness seal.Witness, err error) {
	text, err := readPrivate("identity", path)
	if err != nil {
		return id, witness, err
	}
	b, err := base64.RawURLEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(b) != 32 {
		return id, witness, fmt.Errorf("identity %s: not a machine's key; take it away and netman makes a new one, which other machines must be told of", path)
	}
	return seal.FromSeed([32]byte(b))
}

// makeIdentity makes the machine's keys, and keeps what they are derived from where only its owner can read it.
func makeIdentity(path string) (id seal.Identity, witness seal.Witness, err error) {
	var seed [32]byte
	rand.Read(seed[:])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return id, witness, err
	}
	if err := replaceFile(path, []byte(base64.RawURLEncoding.EncodeToString(seed[:])+"\n")); err != nil {
		return id, witness, err
	}
	return seal.FromSeed(seed)
}

// replaceFile writes a file of mode 0600 whole, or not at all.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone if it was renamed
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// readSecrets reads the site secrets: one in each line, the one in use first. Empty lines, and those that begin with #, are left out.
func readSecrets(path string) (all []seal.SiteSecret, err error) {
	text, err := readPrivate("site secret", path)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		secret, err := seal.NewSiteSecret([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("site secret %s:%d: %w: make one with: head -c 32 /dev/urandom | base64", path, i+1, err)
		}
		all = append(all, secret)
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("site secret %s: it is empty: make one with: head -c 32 /dev/urandom | base64", path)
	case len(all) > maxSecrets:
		return nil, fmt.Errorf("site secret %s: %d secrets, and at most %d are accepted at once", path, len(all), maxSecrets)
	}
	return all, nil
}

// readPins reads the machines known: in each line name, key, "accepted" or "-", and how it was learnt.
func readPins(path string) (all []seal.Pin, err error) {
	text, err := readPrivate("pins", path)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		pin, err := parsePin(fields)
		if err != nil {
			return nil, fmt.Errorf("pins %s:%d: %w", path, n, err)
		}
		all = append(all, pin)
	}
	return all, lines.Err()
}

func parsePin(fields []string) (pin seal.Pin, err error) {
	if len(fields) != 4 || fields[2] != "accepted" && fields[2] != "-" {
		return pin, errors.New("a line has four words: name, key, \"accepted\" or \"-\", how it was learnt")
	}
	pin = seal.Pin{Machine: fields[0], Accepted: fields[2] == "accepted", How: fields[3]}
	if err := names.CheckLabel(pin.Machine); err != nil {
		return pin, err
	}
	pin.Key, pin.Witness, err = seal.ParseKeys(fields[1])
	return pin, err
}

// formatPins is the text of the file.
func formatPins(all []seal.Pin) []byte {
	text := []byte("# Machines this one has met, and the key of each. See netman(8).\n")
	for _, pin := range all {
		accepted := "-"
		if pin.Accepted {
			accepted = "accepted"
		}
		text = fmt.Appendf(text, "%s %s %s %s\n", pin.Machine, pin.Keys(), accepted, pin.How)
	}
	return text
}
