package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "netman" {
		fakeNetman()
	}
	Main(m)
}

func TestEveryMachineHasItsOwn(t *testing.T) {
	l := New(t, Config{})
	for _, m := range l.Machines() {
		for line, want := range map[string]string{
			"hostname":                         m.Name,
			"cat /etc/hostname":                m.Name,
			"set -- /proc/[0-9]*; echo $#":     "2", // pid 1 and this shell
			"ls /run":                          "lab",
			"ls /etc/dnet":                     "servtab.toml",
			"head -n 1 /etc/dnet/servtab.toml": `machine = "` + m.Name + `"`,
			"ls /sys/class/net":                "eth0\nlo",
			"cat /sys/class/net/eth0/address":  m.MAC(),
			"cat /sys/class/net/eth0/mtu":      "1500",
			"cat /sys/class/net/eth0/carrier":  "1",
			"ip -6 addr":                       "",
			"pwd":                              "/root",
			"id -u":                            "0",
			"echo $PATH | cut -d: -f1":         binDir(),
			"echo $DNET_LAB$DNET_LAB_MACHINE":  "",
		} {
			if got := strings.TrimSpace(m.Sh(line)); got != want {
				t.Errorf("%s$ %s\n%s\nwant %s", m.Name, line, got, want)
			}
		}
	}
	for _, m := range l.Machines() {
		for _, dir := range []string{"/tmp", "/root", "/run", "/etc"} {
			mark := dir + "/mark-of-the-lab"
			m.Sh("test ! -e " + mark + " && touch " + mark)
			if exists(mark) {
				t.Errorf("%s is not %s's own", dir, m.Name)
			}
		}
	}
	if host, _ := os.Hostname(); host != "lab" {
		t.Errorf("the world is called %q", host)
	}
}

func TestSharedDirectory(t *testing.T) {
	l := New(t, Config{Machines: []string{"grumpy", "sneezy"}})
	file := filepath.Join(t.TempDir(), "letter")
	if !strings.HasPrefix(file, Shared) {
		t.Fatalf("the temporary directory is %s, not in %s", file, Shared)
	}
	l.Machine("grumpy").Sh("echo hello >" + file)
	if got := l.Machine("sneezy").Output("cat", file); got != "hello\n" {
		t.Errorf("what grumpy wrote to %s is %q on sneezy", file, got)
	}
}

func TestCommand(t *testing.T) {
	m := New(t, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	cat := m.Command("cat")
	cat.Stdin = strings.NewReader("through")
	if out, err := cat.Output(); err != nil || string(out) != "through" {
		t.Errorf("cat: %q, %v", out, err)
	}
	var exit *exec.ExitError
	if out, err := m.Command("sh", "-c", "echo out; echo err >&2; exit 7").Output(); !errors.As(err, &exit) || exit.ExitCode() != 7 ||
		string(exit.Stderr) != "err\n" || string(out) != "out\n" {
		t.Errorf("sh: out %q, err %v", out, err)
	}
	if out, err := m.Command("sh", "-c", "echo out; echo err >&2").CombinedOutput(); err != nil || string(out) != "out\nerr\n" {
		t.Errorf("both: %q, %v", out, err)
	}
	if err := m.Command("no-such-program").Run(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that is not there: %v", err)
	}
	sleep := m.Start("sleep", "1000")
	if err := sleep.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("a killed sleep: %v", err)
	}
	pipe := m.Command("echo", "by pipe")
	out, err := pipe.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pipe.Start(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(out); err != nil || string(text) != "by pipe\n" || pipe.Wait() != nil {
		t.Errorf("pipe: %q, %v", text, err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	m := New(t, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	m.Sh("(sleep 0.01 & sleep 0.02 &) ; sleep 0.2")
	if got := m.Sh("cat /proc/[0-9]*/stat | grep -c ' Z ' || true"); strings.TrimSpace(got) != "0" {
		t.Errorf("%s zombies are left", got)
	}
}

// frame is an Ethernet frame of the local experimental Ethertype.
func frame(da, sa, text string) []byte {
	to, _ := net.ParseMAC(da)
	from, _ := net.ParseMAC(sa)
	f := append(append([]byte{}, to...), from...)
	f = binary.BigEndian.AppendUint16(f, 0x88b5)
	f = append(f, text...)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// wire opens a packet socket on a machine's eth0 whose reads end after a time.
func wire(t *testing.T, m *Machine) int {
	t.Helper()
	var fd int
	err := m.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		limit := unix.Timeval{Sec: 5}
		return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(0x88b5), Ifindex: eth0.Index}))
	})
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func receive(fd int) ([]byte, error) {
	b := make([]byte, 65536)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}

func TestMachinesHearEachOthersFrames(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		l := New(t, Config{MTU: mtu})
		recording := filepath.Join(t.TempDir(), "wire.pcap")
		capture := l.Capture(recording)
		grumpy, sneezy, doc := l.Machine("grumpy"), l.Machine("sneezy"), l.Machine("doc")
		g, s, d := wire(t, grumpy), wire(t, sneezy), wire(t, doc)
		all := frame("03:44:4e:45:54:00", grumpy.MAC(), "to all")
		long := frame(grumpy.MAC(), sneezy.MAC(), strings.Repeat("x", mtu))
		for _, step := range []struct {
			from  int
			frame []byte
			to    []int
		}{{g, all, []int{s, d}}, {s, long, []int{g}}} {
			if _, err := unix.Write(step.from, step.frame); err != nil {
				t.Fatal(err)
			}
			for _, fd := range step.to {
				if got, err := receive(fd); err != nil || !bytes.Equal(got, step.frame) {
					t.Fatalf("MTU %d: heard %d octets of %d: %v", mtu, len(got), len(step.frame), err)
				}
			}
		}
		if err := capture.Close(); err != nil {
			t.Fatal(err)
		}
		checkRecording(t, recording, all, long)
		if _, err := unix.Write(s, append(long, 0)); err != unix.EMSGSIZE {
			t.Errorf("MTU %d: a frame longer by one octet: %v", mtu, err)
		}
		l.Close()
	}
}

// checkRecording compares a pcap file with the frames that it should have, no other between them: the wire is quiet.
func checkRecording(t *testing.T, file string, frames ...[]byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 24 || binary.LittleEndian.Uint32(text) != 0xa1b23c4d {
		t.Fatalf("%s is no pcap file with nanoseconds: % x", file, text)
	}
	text = text[24:]
	for i, f := range frames {
		if len(text) < 16+len(f) || int(binary.LittleEndian.Uint32(text[8:])) != len(f) || !bytes.Equal(text[16:16+len(f)], f) {
			t.Fatalf("record %d is not frame %d; left of the file: % x", i, i, text)
		}
		at := time.Unix(int64(binary.LittleEndian.Uint32(text)), int64(binary.LittleEndian.Uint32(text[4:])))
		if age := time.Since(at); age < 0 || age > time.Minute {
			t.Errorf("record %d is of %v", i, at)
		}
		text = text[16+len(f):]
	}
	if len(text) > 0 {
		t.Errorf("the wire was not quiet: % x", text)
	}
}

func TestTshark(t *testing.T) {
	Need(t, "tshark")
	l := New(t, Config{Machines: []string{"grumpy", "sneezy"}})
	file := filepath.Join(t.TempDir(), "wire.pcap")
	capture := l.Capture(file)
	fd := wire(t, l.Machine("grumpy"))
	if _, err := unix.Write(fd, frame(l.Machine("sneezy").MAC(), l.Machine("grumpy").MAC(), "hello")); err != nil {
		t.Fatal(err)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tshark", "-r", file, "-T", "fields", "-e", "eth.src", "-e", "eth.type").Output()
	if want := l.Machine("grumpy").MAC() + "\t0x88b5\n"; err != nil || string(out) != want {
		t.Errorf("tshark says %q, %v; want %q", out, err, want)
	}
}

func TestLink(t *testing.T) {
	l := New(t, Config{Machines: []string{"grumpy", "sneezy"}})
	grumpy, sneezy := l.Machine("grumpy"), l.Machine("sneezy")
	carrier := func() string { return strings.TrimSpace(sneezy.Output("cat", "/sys/class/net/eth0/carrier")) }
	g, s := wire(t, grumpy), wire(t, sneezy)
	f := frame(sneezy.MAC(), grumpy.MAC(), "one")
	for range 3 {
		sneezy.LinkDown()
		if got := carrier(); got != "0" {
			t.Errorf("the cable is out, but the carrier is %s", got)
		}
		if _, err := unix.Write(g, f); err != nil {
			t.Fatal(err)
		}
		sneezy.LinkUp()
		if got := carrier(); got != "1" {
			t.Errorf("the cable is in again, but the carrier is %s", got)
		}
		f = frame(sneezy.MAC(), grumpy.MAC(), "two")
		if _, err := unix.Write(g, f); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(s); err != nil || !bytes.Equal(got, f) {
			t.Fatalf("heard % x, %v: not the frame sent after the cable was put back", got, err)
		}
	}
}

func TestTCP(t *testing.T) {
	l := New(t, Config{Machines: []string{"grumpy", "sneezy"}, IP: true})
	grumpy, sneezy := l.Machine("grumpy"), l.Machine("sneezy")
	if got := grumpy.Sh("getent hosts sneezy || grep sneezy /etc/hosts"); !strings.Contains(got, sneezy.IP()) {
		t.Errorf("grumpy knows sneezy as %q", got)
	}
	var listener net.Listener
	err := sneezy.Do(func() (err error) {
		listener, err = net.Listen("tcp", sneezy.IP()+":7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	var conn net.Conn
	err = grumpy.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", sneezy.IP()+":7", 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	conn.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
		t.Errorf("echo: %q, %v", text, err)
	}
}

func TestTwoLabsAtOnce(t *testing.T) {
	one, other := New(t, Config{}), New(t, Config{})
	a, b := wire(t, one.Machine("grumpy")), wire(t, other.Machine("sneezy"))
	f := frame("ff:ff:ff:ff:ff:ff", one.Machine("grumpy").MAC(), "here only")
	if _, err := unix.Write(a, f); err != nil {
		t.Fatal(err)
	}
	g := frame("ff:ff:ff:ff:ff:ff", other.Machine("grumpy").MAC(), "there")
	if _, err := unix.Write(wire(t, other.Machine("grumpy")), g); err != nil {
		t.Fatal(err)
	}
	if got, err := receive(b); err != nil || !bytes.Equal(got, g) {
		t.Errorf("heard %q, %v", got, err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := footprint(t)
	l := New(t, Config{})
	for _, m := range l.Machines() {
		m.Start("sleep", "1000") // nobody waits for this one
		m.Sh("setsid sleep 1000 >/dev/null 2>&1 &")
		m.Sh("trap '' TERM HUP INT; sleep 1000 >/dev/null 2>&1 &")
	}
	l.Close()
	sameFootprint(t, before)
	if err := l.Machine("doc").Command("true").Run(); !errors.Is(err, errOff) {
		t.Errorf("a command in a machine that is off: %v", err)
	}
}

func BenchmarkCommand(b *testing.B) {
	m := New(b, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	for b.Loop() {
		if err := m.Command("true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNsenter is what BenchmarkCommand is compared with.
func BenchmarkNsenter(b *testing.B) {
	m := New(b, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	for b.Loop() {
		if err := exec.Command("nsenter", "-t", fmt.Sprint(m.init.Process.Pid), "-m", "-n", "-u", "-p", "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(b, Config{}).Close()
	}
}
