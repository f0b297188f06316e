package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// n1 is the largest PDU on the link that a machine has to another.
func n1(t *testing.T, m, to *lab.Machine) int {
	t.Helper()
	links := rows(t, m, "links")
	for _, r := range links {
		if r["machine"] == to.Name && r["state"] == "up" {
			return int(r["n1"].(float64))
		}
	}
	t.Fatalf("%s has no link to %s: %v", m.Name, to.Name, links)
	return 0
}

// transfer streams at least so many octets from one machine to another, and judges them.
func transfer(t *testing.T, from, to *lab.Machine, size int64) {
	t.Helper()
	a, b := pair(t, from, to, "transfer")
	s, began := stream(t, a, b), time.Now()
	s.carries(t, size)
	total := s.finish()
	t.Logf("%s to %s: %d octets, %.0f MB/s", from.Name, to.Name, total, float64(total)/time.Since(began).Seconds()/1e6)
	a.Close()
	b.Close()
}

// What netman says when the path is found to carry less than both ends do.
const eaten = "the path loses frames above 1500 octets"

// Frames are as large as both ends, and the path between them, can carry.
func TestMTU(t *testing.T) {
	for _, c := range []struct {
		name      string
		doc, port int // MTU of doc's eth0, and of its port of the bridge; 0: 9000
		n1        int
		says      string
	}{
		{"9000 on all", 0, 0, 8997, ""},
		{"9000 against 1500", 1500, 0, 1497, ""},
		{"9000 against 4000", 4000, 0, 3997, ""},
		{"a bridge that eats", 0, 1500, 1497, eaten},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}, MTU: 9000})
			grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
			if c.doc > 0 {
				sh(t, doc, fmt.Sprintf("ip link set eth0 mtu %d", c.doc))
			}
			if c.port > 0 {
				doc.PortMTU(c.port)
			}
			if netmans(l.Machines()); t.Failed() {
				t.FailNow()
			}
			run(t, grumpy, "rx", "doc", "uname -n").must(t, "doc\n", "", 0)
			transfer(t, grumpy, doc, 10_000_000)
			transfer(t, doc, grumpy, 10_000_000)
			for _, ends := range [][2]*lab.Machine{{grumpy, doc}, {doc, grumpy}} {
				if got := n1(t, ends[0], ends[1]); got != c.n1 {
					t.Errorf("%s sends PDUs of up to %d octets to %s, want %d", ends[0].Name, got, ends[1].Name, c.n1)
				}
				if c.says == "" && strings.Contains(ends[0].NetmanLog(), eaten) {
					t.Errorf("%s says without reason that %s", ends[0].Name, eaten)
				} else if err := ends[0].WaitLog(c.says, tolerance); err != nil {
					t.Errorf("%s: %v", ends[0].Name, err)
				}
			}
			idle(t, l.Machines()...)
		})
	}
}

// A path that begins to eat large frames under a stream ends the link; the next one goes with smaller frames.
func TestPathThatShrinks(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}, MTU: 9000})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	a, b := pair(t, grumpy, doc, "stream")
	arrived := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, b)
		arrived <- err
	}()
	go io.Copy(a, noise(1<<40))
	within(t, bound, "the stream runs", func() bool {
		r := find(rows(t, grumpy, "links"), "link", "machine", "doc")
		return r != nil && r["n1"] == 8997.0 && rows(t, grumpy, "counters")[0]["counters"].(map[string]any)["link: I sent"].(float64) > 100
	})
	began := time.Now()
	doc.PortMTU(1500)
	err := <-arrived
	why, ok := cleared(err)
	if !ok || why.Cause != 9 {
		t.Errorf("the stream ends by %v, want cause 09", err)
	}
	t.Logf("the stream ended after %v", time.Since(began))
	if err := grumpy.WaitLog(eaten, bound); err != nil {
		t.Error(err)
	}
	eventually(t, "calls go again", func() bool { return run(t, grumpy, "rx", "doc", "uname -n").status() == 0 })
	transfer(t, grumpy, doc, 5_000_000)
	transfer(t, doc, grumpy, 5_000_000)
	if got := n1(t, grumpy, doc); got != 1497 {
		t.Errorf("N1 is %d, want 1497", got)
	}
}

// smallBuffer says that this program is to run another one, for whose sockets no receive buffer but the default one is to be had.
const smallBuffer = "DNET_TEST_SMALL_BUFFER"

func init() {
	if os.Getenv(smallBuffer) == "" {
		return
	}
	runtime.LockOSThread()
	os.Unsetenv(smallBuffer)
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = ignoreBuffers()
	}
	if err == nil {
		err = unix.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// ignoreBuffers makes setsockopt(2) of SO_RCVBUF and SO_RCVBUFFORCE do nothing, by seccomp(2): as if the sysctl net.core.rmem_max, which
// is one for the whole host, were as small as its default.
func ignoreBuffers() error {
	const number, level, option, allow, nothing = 0, 16 + 8, 16 + 16, unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO // of struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(number), equal(unix.SYS_SETSOCKOPT, 0, 5),
		load(level), equal(unix.SOL_SOCKET, 0, 3),
		load(option), equal(unix.SO_RCVBUF, 2, 0), equal(unix.SO_RCVBUFFORCE, 1, 0),
		answer(allow), answer(nothing),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

// withSmallBuffer starts netman with nothing but the default receive buffer.
func withSmallBuffer(t *testing.T, m *lab.Machine) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	program := filepath.Join(t.TempDir(), "small")
	if err == nil {
		err = os.WriteFile(program, self, 0o755) // where the machine sees it
	}
	if err != nil {
		t.Fatal(err)
	}
	c := m.Command(program, "netman")
	c.Env = append(c.Env, smallBuffer+"=1")
	p := launch(t, c, nil)
	p.says(t, &p.stderr, "netman: "+m.Name+" is up\n")
	t.Cleanup(func() {
		select {
		case <-p.ended:
			t.Errorf("%s: netman ended: %v\n%s", m.Name, p.err, &p.stderr)
		default:
		}
	})
}

// again is the part of its I frames that a machine sent more than once.
func again(t *testing.T, m *lab.Machine) float64 {
	t.Helper()
	counters := rows(t, m, "counters")[0]["counters"].(map[string]any)
	count := func(name string) float64 { n, _ := counters["link: "+name].(float64); return n }
	t.Logf("%s: %.0f I frames, %.0f sent again, %.0f losses, %.0f T1; %v", m.Name, count("I sent"), count("I sent again"), count("losses"),
		count("T1 expired"), counters["frames lost by the receive buffer of eth0"])
	return count("I sent again") / count("I sent")
}

// Where the receive buffer is small the windows are, and three stations that stream to one at full speed do not make it lose frames.
func TestSmallReceiveBuffer(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprint("MTU ", mtu), func(t *testing.T) {
			l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc", "sneezy", "happy", "bashful"}, MTU: mtu})
			doc, others := l.Machine("doc"), []*lab.Machine{l.Machine("grumpy"), l.Machine("sneezy"), l.Machine("happy")}
			withSmallBuffer(t, doc)
			if netmans(others); t.Failed() {
				t.FailNow()
			}
			buffer := number(t, "/proc/sys/net/core/rmem_default")
			frame := map[int]int{1500: 2304, 9000: 13100}[mtu] // as the kernel counts one (measured; package ether)
			ours := newStation(t, l.Machine("bashful"))
			rw := int(ours.ask(doc)[8][0])
			most := int(ours.ask(others[0])[8][0])
			t.Logf("a buffer of %d octets: rw %d; with one as large as it can be: %d", buffer, rw, most)
			if rw > max(buffer/frame/8, 4) || rw >= most {
				t.Errorf("rw is %d, of which %d octets hold %d", rw, buffer, buffer/frame)
			}

			const size = 50_000_000
			var streams []*streamed
			for _, m := range others {
				from, to := pair(t, m, doc, "from-"+m.Name)
				streams = append(streams, stream(t, from, to))
			}
			began := time.Now()
			for _, s := range streams {
				s.carries(t, size/int64(len(streams)))
			}
			for _, s := range streams {
				s.finish()
			}
			t.Logf("%d octets from three stations in %v", size, time.Since(began))
			transfer(t, doc, others[0], size/5)
			for _, m := range l.Machines()[:4] {
				if part := again(t, m); part > 0.03 {
					t.Errorf("%s sent %.1f %% of its frames again", m.Name, 100*part)
				}
			}
		})
	}
}

func number(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	n, wrong := strconv.Atoi(strings.TrimSpace(string(text)))
	if err = errors.Join(err, wrong); err != nil {
		t.Fatal(err)
	}
	return n
}

// netman does without CAP_NET_ADMIN: its receive buffer is what net.core.rmem_max allows, and the window follows.
func TestWithoutNetAdmin(t *testing.T) {
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc", "bashful"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	need(t, doc, "setpriv")
	grumpy.Netman()
	p := start(t, doc, nil, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "netman")
	p.says(t, &p.stderr, "netman: doc is up\n")
	buffer := 2 * min(16<<20, number(t, "/proc/sys/net/core/rmem_max"))
	rw := int(newStation(t, l.Machine("bashful")).ask(doc)[8][0])
	t.Logf("a buffer of %d octets: rw %d", buffer, rw)
	if rw > max(buffer/2304/8, 4) {
		t.Errorf("rw is %d, of which %d octets hold %d", rw, buffer, buffer/2304)
	}
	transfer(t, grumpy, doc, 10_000_000)
	transfer(t, doc, grumpy, 10_000_000)
	for _, m := range []*lab.Machine{grumpy, doc} {
		if part := again(t, m); part > 0.03 {
			t.Errorf("%s sent %.1f %% of its frames again", m.Name, 100*part)
		}
	}
}
