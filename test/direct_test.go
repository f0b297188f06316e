package test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/test/lab"
)

// Two programs of one machine are joined by one socket pair, unless something forbids it, and status says so. What waits in a program's
// socket is shown as held.
func TestDirect(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		caller, server := r.connect(t, circuit.Options{})
		if err := caller.WriteDatagram(make([]byte, 1000), 0); err != nil {
			t.Fatal(err)
		}
		held := 0.0
		if r.direct {
			held = 1001
		}
		for _, m := range []place{r.from, r.to} {
			for _, c := range rows(t, m.Machine, "circuits") {
				if c["direct"] != r.direct {
					t.Errorf("status of %s says %v; want direct %v", m.Name, c, r.direct)
				}
				if c["side"] == "server" && c["held"] != held && r.direct {
					t.Errorf("status says that the server holds %v; want %v", c["held"], held)
				}
			}
		}
		if got, _, err := server.Next(); err != nil || len(got) != 1000 {
			t.Errorf("%d octets, %v", len(got), err)
		}
	})
}

// A transient server is joined with its caller too, but not where servtab says that it is not to be, and a filter never.
func TestDirectServtab(t *testing.T) {
	t.Parallel()
	rx := func(name, more string) string {
		return fmt.Sprintf("[[service]]\nname = %q\nexec = [\"rx\"]\nuser = \"root\"\n%s\n", name, more)
	}
	servtab := rx("rx.%m", "") + rx("through.%m", "direct = false\n") + filter("cat.%m", "", "/bin/cat")
	l := network(t, lab.Config{Machines: []string{"grumpy"}, Servtab: servtab})
	grumpy := l.Machine("grumpy")
	for service, direct := range map[string]bool{"rx.grumpy": true, "through.grumpy": false, "cat.grumpy": false} {
		c, err := dial(t, grumpy, service, circuit.Options{Stream: true})
		if err != nil {
			t.Fatal(err)
		}
		circuits := rows(t, grumpy, "circuits")
		for _, r := range circuits {
			if r["direct"] != direct {
				t.Errorf("status says %v; want direct %v", r, direct)
			}
		}
		if len(circuits) != 2 {
			t.Errorf("%d ends of circuits, want 2", len(circuits))
		}
		c.Close()
		idle(t, grumpy)
	}
	run(t, grumpy, "rx", "grumpy", "echo over here; echo why >&2; exit 3").must(t, "over here\n", "why\n", 3)
	write(t, grumpy, "/root/bad.toml", filter("cat.%m", "direct = true\n", "/bin/cat"))
	run(t, grumpy, "netman", "check", "-c", "/root/bad.toml").must(t, "",
		"netman: /root/bad.toml:1: service 1 (\"cat.%m\"): direct = true: the circuits of a service in bytes mode go through netman\n", 1)
}

// A program that writes what no circuit has: through netman it is told, joined with the other one it is the other one that sees it.
func TestRecordsOfTheOtherProgram(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		for name, records := range map[string][]string{
			"a control byte with other bits": {"\x07bad"},
			"Q changes inside a sequence":    {"\x10a", "\x80b"},
		} {
			data, control, server := r.raw(t)
			for _, record := range records {
				if _, err := unix.Write(data, []byte(record)); err != nil {
					t.Fatal(err)
				}
			}
			if r.direct {
				var err error
				for err == nil {
					_, _, err = server.Next()
				}
				if !errors.Is(err, unix.EPROTO) {
					t.Errorf("%s: the other program reads %v; want EPROTO", name, err)
				}
			} else {
				p := make([]byte, circuit.MaxLine)
				n, err := unix.Read(control, p)
				if err != nil || !bytes.HasPrefix(p[:n], []byte("error ")) || !bytes.HasSuffix(p[:n], []byte(" e=EINVAL")) {
					t.Errorf("%s: on control comes %q, %v", name, p[:max(n, 0)], err)
				}
			}
			unix.Close(data)
			unix.Close(control)
			server.Close()
		}
	})
}

// raw makes a circuit whose caller has nothing but the descriptors of the door.
func (r route) raw(t *testing.T) (data, control int, server *circuit.Conn) {
	t.Helper()
	service := r.service()
	lis := r.to.listen(t, service, circuit.Options{})
	defer lis.Close()
	control, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(control, &unix.SockaddrUnix{Name: r.from.door}); err != nil {
		t.Fatal(err)
	}
	if err := circuit.SendFds(control, []byte("dnet1 call "+service)); err != nil {
		t.Fatal(err)
	}
	call, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if server, err = call.Accept(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(control, p)
	if err != nil || len(fds) != 1 {
		t.Fatalf("the call is answered by %q with %d descriptors, %v", p[:n], len(fds), err)
	}
	return fds[0], control, server
}

// When data ends, the reason is on control already: a program that reads data to its end, and then control, needs not wait.
func TestReasonBeforeTheEnd(t *testing.T) {
	eachRoute(t, func(t *testing.T, r route) {
		for i := range 50 {
			data, control, server := r.raw(t)
			server.WriteDatagram([]byte("last"), 0)
			want := "cleared 00 00"
			if i%2 == 0 {
				server.Close()
			} else {
				server.Clear(0x42, "why")
				want = "cleared 00 42 why"
			}
			p := make([]byte, circuit.MaxLine)
			for _, record := range []string{"\x00last", ""} {
				n, err := unix.Read(data, p)
				for err == unix.ECONNRESET {
					n, err = unix.Read(data, p)
				}
				if err != nil || string(p[:n]) != record {
					t.Fatalf("round %d: data has %q, %v; want %q", i, p[:max(n, 0)], err, record)
				}
			}
			n, _, err := unix.Recvfrom(control, p, unix.MSG_DONTWAIT)
			if err != nil || !bytes.HasPrefix(p[:n], []byte(want)) {
				t.Errorf("round %d: data has ended, and control has %q, %v; want %q", i, p[:max(n, 0)], err, want)
			}
			unix.Close(data)
			unix.Close(control)
		}
	})
}
