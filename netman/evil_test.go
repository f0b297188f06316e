package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/seal"
	"dnet/test/lab"
)

// What these variables make of the test's program: netman, whose wire is evilWire.
const (
	evilKeeper = "DNET_TEST_KEEPER"
	evilAims   = "DNET_TEST_AIMS" // what the wire is to reach: a directory
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(wireEnv) != "" && os.Getenv(evilAims) != "":
		evilWire(os.Getenv(evilAims))
		os.Exit(0)
	case os.Getenv(evilKeeper) != "":
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// evil is a wire that was taken over: it knows all that a wire is told, and says whatever it likes.
type evil struct {
	rng   *rand.Rand
	aims  string
	setup *wireSetup
	heard chan *memo
	last  uint64
}

func evilWire(aims string) {
	e := &evil{rng: rand.New(rand.NewPCG(1, 2)), aims: aims, heard: make(chan *memo, 1<<16)}
	buf := make([]byte, maxMemo)
	begun, heardOut := make(chan bool), make(chan bool)
	go func() {
		for {
			n, fds, err := circuit.RecvFds(keeperFd, buf)
			if err != nil {
				os.Exit(1)
			}
			circuit.CloseFds(fds)
			m, _ := decodeMemo(buf[:n])
			if m.Setup != nil {
				e.setup = m.Setup
			}
			if m.Kind == "begin" {
				close(begun)
			}
			if m.Kind == "user" && m.UID == evilEnd {
				close(heardOut)
			}
			select {
			case e.heard <- m:
			default:
			}
		}
	}()
	<-begun
	fmt.Fprintln(os.Stderr, "evil: begun")
	pass := e.wait("visitor").Pass
	for range 20 {
		e.say(&memo{Kind: "start", ID: e.id(), Service: "caller", Machine: e.setup.Machine, User: "root", Local: true, Pass: pass})
	}
	e.forge()
	for range 30_000 {
		e.say(e.any(pass))
	}
	e.say(&memo{Kind: "who", UID: evilEnd})
	<-heardOut // the keeper has heard all that came before
	fmt.Fprintln(os.Stderr, "evil: done")
	for {
		if text, err := os.ReadFile(filepath.Join(aims, "..", "more")); err == nil {
			unix.Write(keeperFd, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (e *evil) id() uint64 { e.last++; return e.last }

func (e *evil) say(m *memo, fds ...int) {
	record, err := m.encode()
	if err == nil {
		err = circuit.SendFds(keeperFd, record, fds...)
	}
	if err != nil && len(record) <= maxMemo {
		fmt.Fprintf(os.Stderr, "evil: %v\n", err)
		os.Exit(1)
	}
}

// evilEnd is the user that the wire asks for when it has said all.
const evilEnd = 4_000_000_000

// wait waits for a memo of the kind.
func (e *evil) wait(kind string) *memo {
	for m := range e.heard {
		if m.Kind == kind {
			return m
		}
	}
	return nil
}

// forge calls as a machine of its own making, with credentials that hold, each many times.
func (e *evil) forge() {
	link, witness, _ := seal.FromSeed([32]byte{66})
	e.say(&memo{Kind: "met", Machine: "mallory", Key: seal.FormatKeys(link.Key, witness.Key)})
	claim := &seal.Claim{
		Caller: "mallory", Callee: e.setup.Machine, Boot: e.setup.Boot, Service: "good", User: "once", Epoch: 1, Counter: 1,
	}
	m := &memo{Kind: "start", Service: "good", Machine: "mallory", User: "once"}
	if e.setup.Seal != nil {
		m.Credential, _ = witness.Vouch(e.setup.Seal.Witness, nil, claim)
	}
	for range 50 {
		m.ID = e.id()
		e.say(m)
	}
}

// any is any memo.
func (e *evil) any(pass uint64) *memo {
	pick := func(of ...string) string { return of[e.rng.IntN(len(of))] }
	canary := filepath.Join(e.aims, "canary")
	name := func() string {
		return pick("good", "caller", "", "bad", "rx", "netman", canary, "../"+canary, "/bin/sh", "good\x00", "good/../bad", "-B", "GOOD", "*", "=", "alice", "root", "mallory",
			"host", "LD_PRELOAD="+canary, "\n", strings.Repeat("x", e.rng.IntN(60000)), pick("lo", "eth0"))
	}
	octets := make([]byte, e.rng.IntN(100))
	for i := range octets {
		octets[i] = byte(e.rng.Uint32())
	}
	m := &memo{
		Kind: pick("start", "start", "may", "vouch", "vouch", "signal", "met", "refused", "who", "setup", "service", "begin", "visitor", "pin", "stop", "xyz", canary),
		ID:   e.rng.Uint64N(300), Name: name(), Service: name(), Machine: name(), User: pick("root", "", name()),
		Pass: pick2(e.rng, 0, pass, pass+1, e.rng.Uint64()), Local: e.rng.IntN(2) == 0, Stream: e.rng.IntN(2) == 0, As: name(), Key: name(), Credential: octets,
		Signal: e.rng.IntN(70) - 2, PID: e.rng.IntN(3), UID: uint32(e.rng.IntN(70000)), Boot: e.rng.Uint64(), Accepted: true, Admin: true,
		Offer: serviceOffer{Name: name(), Argv: []string{"/bin/touch", canary}},
	}
	if e.rng.IntN(2) == 0 { // most are too long otherwise
		m.Name, m.Offer, m.As, m.Key = "", serviceOffer{}, "", seal.FormatKeys(seal.Key{1}, seal.Key{2})
	}
	if m.Kind == "start" && m.Service == "caller" && m.Pass == pass {
		m.User = "root"
	}
	return m
}

func pick2(rng *rand.Rand, of ...uint64) uint64 { return of[rng.IntN(len(of))] }

// TestEvilWire: a keeper whose wire was taken over starts nothing but what servtab has, as nobody but whom it may, touches no file that it
// would not touch anyway, and goes on.
func TestEvilWire(t *testing.T) {
	if os.Geteuid() != 0 {
		lab.Skip(t, "root", "a keeper that can start servers as other users is root")
	}
	for _, mode := range []string{"open", "pinned", "secret"} {
		t.Run(mode, func(t *testing.T) { tryEvil(t, mode) })
	}
}

// victim is a keeper with an evil wire.
type victim struct {
	*testing.T
	mode, dir, aims, made, door string
	keeper                      *exec.Cmd
	lines                       chan string
	log                         bytes.Buffer
}

func tryEvil(t *testing.T, mode string) {
	dir, err := os.MkdirTemp("", "dnet-evil")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	v := &victim{T: t, mode: mode, dir: dir, aims: dir + "/aims", made: dir + "/made", door: dir + "/door", lines: make(chan string, 1<<16)}
	v.prepare()
	inotify, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	v.must(err)
	defer unix.Close(inotify)
	_, err = unix.InotifyAddWatch(inotify, v.aims, unix.IN_ALL_EVENTS)
	v.must(err)
	v.start()
	defer v.keeper.Process.Kill()
	v.until("evil: begun")
	before := descriptors(t, v.keeper.Process.Pid)
	fd, err := circuitKnock(v.door)
	v.must(err)
	v.until("evil: done")
	unix.Close(fd)
	v.check(before)
	v.end()

	seen := make([]byte, 4096)
	if n, err := unix.Read(inotify, seen); err != unix.EAGAIN {
		t.Errorf("somebody has touched the canary: % x, %v", seen[:max(n, 0)], err)
	}
	entries, err := os.ReadDir(dir)
	v.must(err)
	for _, entry := range entries {
		switch entry.Name() {
		case "aims", "made", "secret", "tab.toml", "more", "door.lock", "identity", "identity.epoch", "pins":
		default:
			t.Errorf("there is a file %s", entry.Name())
		}
	}
}

func (v *victim) must(errs ...error) {
	v.Helper()
	for _, err := range errs {
		if err != nil {
			v.Fatal(err)
		}
	}
}

// prepare makes a servtab with two services, what they write to, and a canary.
func (v *victim) prepare() {
	dir := v.dir
	v.must(os.Chmod(dir, 0o755), os.Mkdir(v.aims, 0o777), os.WriteFile(v.aims+"/canary", []byte("#!/bin/sh\n"), 0o777),
		os.WriteFile(v.made, nil, 0o666), os.Chmod(v.made, 0o666), os.WriteFile(dir+"/secret", []byte("what all machines of this site know\n"), 0o600))
	security := "mode = \"" + v.mode + "\"\n"
	if v.mode != "open" {
		security += fmt.Sprintf("identity = %q\npins = %q\n", dir+"/identity", dir+"/pins")
	}
	if v.mode == "secret" {
		security += fmt.Sprintf("secret = %q\n", dir+"/secret")
	}
	service := func(name, user string) string {
		script := "echo " + name + " $(id -u) $DNET_SERVICE peer=$DNET_PEER_USER@$DNET_PEER_MACHINE >>" + v.made
		return fmt.Sprintf("[[service]]\nname = %q\nexec = [\"/bin/sh\", \"-c\", %q]\nmode = \"bytes\"\nmax = 3\n%s", name, script, user)
	}
	const trusts = "[[trust]]\nmachines = [\"*\"]\nusers = [\"*\", \"root\"]\nas = [\"*\", \"=\", \"root\"]\n"
	v.must(os.WriteFile(dir+"/tab.toml", []byte("machine = \"host\"\n[security]\n"+security+trusts+
		service("good", "")+service("caller", "user = \"caller\"\n")), 0o600))
}

// start starts the keeper where there is no interface.
func (v *victim) start() {
	v.keeper = exec.Command("/proc/self/exe", "-c", v.dir+"/tab.toml", "--door", v.door, "--netphys", "none")
	v.keeper.Env = append(os.Environ(), evilKeeper+"=1", evilAims+"="+v.aims)
	v.keeper.Dir = v.aims
	v.keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stderr, err := v.keeper.StderrPipe()
	v.must(err, v.keeper.Start())
	go func() {
		for in := bufio.NewScanner(stderr); in.Scan(); {
			v.lines <- in.Text()
		}
		close(v.lines)
	}()
}

// until waits until the keeper, or its wire, says something.
func (v *victim) until(what string) {
	v.Helper()
	for limit := time.After(2 * time.Minute); ; {
		select {
		case line, more := <-v.lines:
			fmt.Fprintln(&v.log, line)
			if !more {
				v.Fatalf("the keeper ended before %q:\n%s", what, &v.log)
			}
			if strings.Contains(line, what) {
				return
			}
		case <-limit:
			v.Fatalf("no %q:\n%s", what, &v.log)
		}
	}
}

// check looks whether the keeper still answers, has not grown, and what it has started.
func (v *victim) check(before int) {
	v.Helper()
	pid := v.keeper.Process.Pid
	if v.mode != "open" {
		if rows, err := askStatus(trustDoor(v.door), "identity"); err != nil || len(rows) != 1 {
			v.Errorf("the keeper does not answer any more: %v", err)
		}
	}
	if after := descriptors(v.T, pid); after > before+6*6 { // six servers may just be started, of thirty thousand
		v.Errorf("it has %d descriptors, and had %d", after, before)
	}
	if kb := residentSize(v.T, pid); kb > 200<<10 {
		v.Errorf("it has grown to %d KiB", kb)
	}
	if v.log.Len() > 256<<10 {
		v.Errorf("it has logged %d octets", v.log.Len())
	}
	checkMade(v.T, v.mode, v.made)
}

// end has the wire say what is no memo: it ends the keeper, as the wire's own end does.
func (v *victim) end() {
	v.Helper()
	v.must(os.WriteFile(v.dir+"/more~", []byte("{\"kind\":"), 0o600), os.Rename(v.dir+"/more~", v.dir+"/more"))
	ended := make(chan error, 1)
	go func() {
		for range v.lines {
		}
		ended <- v.keeper.Wait()
	}()
	select {
	case err := <-ended:
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
			v.Errorf("it ends with %v", err)
		}
	case <-time.After(5 * goodbye):
		v.Fatal("it does not end")
	}
}

// checkMade looks at what the servers say that were started.
func checkMade(t *testing.T, mode, made string) {
	t.Helper()
	text, err := os.ReadFile(made)
	if err != nil || len(text) == 0 {
		t.Fatalf("no server was started at all: %v", err)
	}
	root, once := 0, 0
	nobody, _ := lookUser("nobody")
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 4 || words[0] != words[2] || words[0] != "good" && words[0] != "caller" {
			t.Errorf("a server was started that says %q", line)
			continue
		}
		switch {
		case words[0] == "caller" && words[1] == "0" && words[3] == "peer=root@host":
			root++
		case words[1] != strconv.Itoa(int(nobody.uid)):
			t.Errorf("a server was started that says %q", line)
		}
		if words[3] == "peer=once@mallory" {
			once++
		}
		if strings.HasSuffix(words[3], "@host") && mode != "open" && words[3] != "peer=@host" && words[3] != "peer=root@host" {
			t.Errorf("nobody but the wire said who that is: %q", line)
		}
	}
	want := map[string]int{"pinned": 1}[mode]
	if root != 1 || mode != "open" && once != want {
		t.Errorf("%d servers for the one visitor, %d for the one credential; want 1 and %d", root, once, want)
	}
}

// circuitKnock comes to a door, and says nothing.
func circuitKnock(door string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: door})
	}
	return fd, err
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// residentSize is the memory of a process, in KiB.
func residentSize(t *testing.T, pid int) (kb int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	fmt.Sscan(after, &kb)
	return kb
}

// FuzzMemo: whatever the wire says, the keeper starts nothing that servtab does not have, and goes on.
func FuzzMemo(f *testing.F) {
	for _, m := range []memo{
		{Kind: "start", ID: 1, Service: "good", Machine: "moon", User: "alice", Credential: make([]byte, seal.CredentialLen)},
		{Kind: "may", ID: 2, Service: "guarded", Local: true, Pass: 7}, {Kind: "vouch", ID: 3, Machine: "doc", Service: "rx.doc"},
		{Kind: "met", Machine: "sun", Key: seal.FormatKeys(seal.Key{1}, seal.Key{2})}, {Kind: "refused", Machine: "doc", Key: seal.FormatKeys(seal.Key{1}, seal.Key{2})},
		{Kind: "who", UID: 4001}, {Kind: "signal", ID: 1, Signal: 9}, {Kind: "setup", Setup: &wireSetup{}},
	} {
		record, _ := json.Marshal(m)
		f.Add(record)
	}
	f.Add([]byte("{"))
	f.Add([]byte(`{"kind":"vouch","credential":"!"}`))
	k, doc := sealedKeeper(f, "moon", 1, seal.Pinned), sealedKeeper(f, "doc", 2, seal.Pinned)
	k.knows(doc, true)
	k.services = map[string]*program{"good": {name: "good", path: "/nonexistent/good", argv: []string{"good"}, max: 2, bytes: true}}
	k.running, k.servers, k.starts, k.deciding = map[string]int{}, map[uint64]*process{}, make(chan func()), make(chan struct{}, maxStarting)
	go k.startThread()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	k.line = newMemoLine(pair[0])
	go io.Copy(io.Discard, os.NewFile(uintptr(pair[1]), "wire"))
	f.Fuzz(func(t *testing.T, record []byte) {
		m, err := decodeMemo(record)
		if err != nil || m.Kind == "open" { // which looks at the interfaces of this machine
			return
		}
		k.serve(m)
		for range cap(k.deciding) { // until all is decided
			k.deciding <- struct{}{}
		}
		for range cap(k.deciding) {
			<-k.deciding
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.servers) != 0 || len(k.pins.known) > maxPins || len(k.passes.names) > maxPasses || len(k.voucher.used) > maxPins {
			t.Fatalf("%d servers, %d pins, %d passes, %d callers", len(k.servers), len(k.pins.known), len(k.passes.names), len(k.voucher.used))
		}
	})
}
