package test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// knock opens a machine's door so many times as a user, without a word, and leaves it so until the test ends.
func knock(t *testing.T, m *lab.Machine, uid, times int) (fds []int) {
	t.Helper()
	err := m.Do(func() error {
		const same = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 { // of this thread alone
			return fmt.Errorf("setresuid: %w", errno)
		}
		defer unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same)
		for range times {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				fds = append(fds, fd)
				err = unix.Connect(fd, &unix.SockaddrUnix{Name: lab.Door})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return fds
}

// turnedAway waits until netman has closed a connection.
func turnedAway(t *testing.T, fd int) {
	t.Helper()
	eventually(t, "netman turns a visitor away", func() bool {
		n, _, err := unix.Recvfrom(fd, make([]byte, 16), unix.MSG_DONTWAIT)
		return n == 0 && err == nil || err == unix.ECONNRESET
	})
}

// A user who opens the door again and again, and says nothing, does not shut out another.
func TestDoorHeldByOneUser(t *testing.T) {
	if !lab.ManyUsers() {
		lab.Absent(t, "users", "there is no user but root here")
	}
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	fds := knock(t, grumpy, 65534, 1100)
	turnedAway(t, fds[len(fds)-1])
	talk(t, grumpy, doc, "root is let in")
	counted := rows(t, grumpy, "counters")[0]["counters"].(map[string]any)
	if n, _ := counted["door: visitors turned away"].(float64); n != 1100-768 {
		t.Errorf("%v visitors were turned away, want those beyond 768 of 1100", n)
	}
}

// A netman without descriptors turns visitors away at once, and goes on when there are some again.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy"}})
	grumpy := l.Machine("grumpy")
	p := start(t, grumpy, nil, "sh", "-c", "ulimit -n 48 && exec netman")
	p.says(t, &p.stderr, "netman: grumpy is up\n")
	fds := knock(t, grumpy, 0, 100)
	turnedAway(t, fds[len(fds)-1])
	for _, fd := range fds {
		unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	eventually(t, "calls go on", func() bool { // a call needs more descriptors than a question: all that the visitors had
		return start(t, grumpy, strings.NewReader("it goes on"), "netman", "nc", "cat.grumpy").ends(t).status() == 0
	})
	talk(t, grumpy, grumpy, "it goes on")
	counted := rows(t, grumpy, "counters")[0]["counters"].(map[string]any)
	if n, _ := counted["door: no descriptors left"].(float64); n == 0 {
		t.Errorf("it counted %v", counted)
	}
	p.Process.Signal(unix.SIGTERM)
	if p.ends(t); p.status() != 0 || strings.Contains(p.stderr.String(), "panic") {
		t.Errorf("status %d, %s", p.status(), &p.stderr)
	}
}
