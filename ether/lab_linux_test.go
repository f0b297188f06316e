package ether

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// The tests of interfaces run in a network namespace of their own, which is that of the test's thread. It needs no name and no
// cleaning up: the goroutine keeps the thread until it ends, the thread ends with it, and the namespace with the last socket.

var (
	testGroup = Addr{0x03, 0x44, 0x4e, 0x45, 0x54, 0x00}
	stationA  = Addr{0x02, 0, 0, 0, 0, 0x0a}
	stationB  = Addr{0x02, 0, 0, 0, 0, 0x0b}
)

const testType = 0x88b5

// lacks skips the test for want of something the machine does not have; where CI is set it fails instead.
func lacks(t testing.TB, what string) {
	t.Helper()
	lab.Skip(t, what, t.Name()+" needs it")
}

// inNamespace gives the test a network namespace with nothing in it but the loopback.
func inNamespace(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		lacks(t, "ip (iproute2)")
	}
	runtime.LockOSThread() // for good, see above
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		lacks(t, fmt.Sprintf("the right to make a network namespace (be root): %v", err))
	}
}

// run runs a command in the namespace of the calling thread.
func run(t testing.TB, command string) {
	t.Helper()
	words := strings.Fields(command)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// vethPair makes two interfaces, left and right, joined to each other, with the addresses of stations A and B, both up.
func vethPair(t testing.TB, mtu int) {
	t.Helper()
	inNamespace(t)
	run(t, fmt.Sprintf("ip link add dev left address %v mtu %d type veth peer name right address %v mtu %d", stationA, mtu, stationB, mtu))
	run(t, "ip link set left up")
	run(t, "ip link set right up")
	waitUp(t, "left")
	waitUp(t, "right")
}

// waitUp waits until the kernel says that the link carries frames.
func waitUp(t testing.TB, name string) {
	t.Helper()
	waitLink(t, name, true)
}

// waitLink waits until the link is up, or not.
func waitLink(t testing.TB, name string, up bool) {
	t.Helper()
	w, err := Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		if l, err := linkNamed(name); err != nil {
			t.Fatal(err)
		} else if l.Up == up {
			return
		}
		pollIn(t, w.Fd())
		if _, err := w.Read(); err != nil {
			t.Fatal(err)
		}
	}
}

// mustOpen opens an interface of the test for frames of testType to its station or testGroup.
func mustOpen(t testing.TB, name string, cfg RawConfig) *Raw {
	t.Helper()
	cfg.Group = testGroup
	r, err := Open(name, testType, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// pollIn waits until the descriptor is readable, and fails after five seconds.
func pollIn(t testing.TB, fd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 5000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("nothing to read within 5 s (%v)", err)
		}
		return
	}
}

// recvOne waits for a frame, which must be the only one, and returns a copy.
func recvOne(t testing.TB, p Port, b *Batch) []byte {
	t.Helper()
	pollIn(t, p.Fd())
	n, err := p.Recv(b)
	if err != nil || n != 1 {
		t.Fatalf("Recv = %d, %v, want one frame", n, err)
	}
	return bytes.Clone(b.Frames[0])
}

// recvN waits for n frames and returns copies.
func recvN(t testing.TB, p Port, b *Batch, n int) [][]byte {
	t.Helper()
	var frames [][]byte
	for len(frames) < n {
		pollIn(t, p.Fd())
		k, err := p.Recv(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range b.Frames[:k] {
			frames = append(frames, bytes.Clone(f))
		}
	}
	return frames
}

// mustSend sends all frames.
func mustSend(t testing.TB, p Port, frames ...[]byte) {
	t.Helper()
	if n, err := p.Send(frames); n != len(frames) || err != nil {
		t.Fatalf("Send = %d, %v, want %d frames sent", n, err, len(frames))
	}
}

// frameOf makes a frame.
func frameOf(to, from Addr, ethertype uint16, payload string) []byte {
	f := append(append([]byte(nil), to[:]...), from[:]...)
	return append(append(f, byte(ethertype>>8), byte(ethertype)), payload...)
}

// padded is the frame as it is on the wire.
func padded(frame []byte) []byte {
	return append(bytes.Clone(frame), padding[:max(0, MinFrame-len(frame))]...)
}

// tap is a packet socket without a filter, that sends any frame, of any source and Ethertype.
func tap(t testing.TB, name string) int {
	t.Helper()
	link, err := linkNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// wantError fails unless err is of a kind and its text has the words.
func wantError(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want one that is %q", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// htons is the number as it is in memory in network order.
func htons(n uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)) }
