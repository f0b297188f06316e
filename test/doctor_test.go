package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// diagnosis is what netman doctor says.
type diagnosis struct {
	*program
	findings []row
}

// examine runs netman doctor, for people and as JSON, which must say the same.
func examine(t *testing.T, m *lab.Machine, args ...string) diagnosis {
	t.Helper()
	d := diagnosis{program: run(t, m, "netman", append([]string{"doctor", "--json"}, args...)...)}
	for line := range strings.Lines(d.stdout.String()) {
		r := row{}
		if err := json.Unmarshal([]byte(line), &r); err != nil || r["row"] != "finding" {
			t.Fatalf("%s: %v in %q", d, err, line)
		}
		d.findings = append(d.findings, r)
	}
	return d
}

// wants asks for a finding of a level and step whose text and advice match, and for the status that goes with what was found.
func (d diagnosis) wants(t *testing.T, level, step, text string) {
	t.Helper()
	found, wrong := false, 0
	for _, f := range d.findings {
		said := fmt.Sprint(f["text"], ": ", f["do"])
		found = found || f["level"] == level && f["step"] == step && regexp.MustCompile(text).MatchString(said)
		if f["level"] == "wrong" {
			wrong++
		}
	}
	if status := min(wrong, 1); !found || d.status() != status || (d.stderr.String() == "") != (wrong == 0) {
		t.Errorf("%s: status %d with %d things wrong, %q; want %s, %s, %q in\n%s", d, d.status(), wrong, &d.stderr, level, step, text, &d.stdout)
	}
}

func TestDoctorAllWell(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	examine(t, grumpy).wants(t, "ok", "netman", `^netman 0\.1 on grumpy, Ethertype 0x88b5, mode open`)
	examine(t, grumpy, "grumpy").wants(t, "ok", "query", "this machine")
	d := examine(t, grumpy, "doc")
	d.wants(t, "ok", "interface", "eth0: station "+grumpy.MAC()+", MTU 1500")
	d.wants(t, "ok", "query", "doc answers for its name on eth0, station "+doc.MAC())
	d.wants(t, "ok", "path", `all well: doc by eth0, a call and its answer in \d+\.\d\d ms, N1 1497`)
	p := run(t, doc, "netman", "doctor", "GRUMPY")
	lines := strings.Split(strings.TrimSpace(p.stdout.String()), "\n")
	if p.status() != 0 || !strings.HasPrefix(lines[len(lines)-1], "ok    all well: grumpy by eth0") {
		t.Errorf("status %d, %s%s", p.status(), &p.stdout, &p.stderr)
	}
	run(t, grumpy, "netman", "doctor", "not a name").must(t, "", `netman: doctor: name "not a name" has the character ' '; a label has 1 to 32 of a-z, 0-9 and '-'`+"\n", 1)
	idle(t, l.Machines()...)
}

// There is no netman, or it does not answer.
func TestDoctorWithoutNetman(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	d := examine(t, grumpy, "doc")
	d.wants(t, "wrong", "netman", "^no netman answers at /run/dnet/door: start it")
	d.wants(t, "ok", "interface", "^eth0: station "+grumpy.MAC())
	sh(t, grumpy, "ip link set eth0 down")
	d = examine(t, grumpy)
	d.wants(t, "note", "interface", "^eth0 would not be used: it is down: ip link set eth0 up")
	d.wants(t, "wrong", "interface", "no Ethernet interface to use")
	if p := run(t, doc, "sh", "-c", "command -v setpriv"); p.status() == 0 {
		p := run(t, doc, "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", "netman", "doctor")
		if p.status() != 1 || !strings.Contains(p.stdout.String(), "wrong eth0: not permitted to open a packet socket: be root, or give the program CAP_NET_RAW") {
			t.Errorf("without the right: status %d, %s%s", p.status(), &p.stdout, &p.stderr)
		}
	}
	doc.Netman()
	doc.KillNetman(unix.SIGSTOP)
	examine(t, doc).wants(t, "wrong", "netman", "does not answer at /run/dnet/door: it is stopped or hangs")
	doc.KillNetman(unix.SIGCONT)
}

// Interfaces that are down, without a cable, or of a kind that is not taken.
func TestDoctorInterfaces(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	sh(t, grumpy, "ip link set eth0 down")
	eventually(t, "netman has heard of it", func() bool { return rows(t, grumpy, "interfaces")[0]["used"] == false })
	d := examine(t, grumpy)
	d.wants(t, "wrong", "interface", "^eth0 is not in use: it is down: ip link set eth0 up")
	d.wants(t, "wrong", "interface", "^no Ethernet interface is in use")
	doc.LinkDown()
	eventually(t, "netman has heard of it", func() bool { return rows(t, doc, "interfaces")[0]["used"] == false })
	examine(t, doc).wants(t, "wrong", "interface", "^eth0 is not in use: it has no carrier")
	doc.LinkUp()
	sh(t, doc, "ip link add docker0 type bridge; ip link set docker0 up; ip link add veth7 type veth peer name veth8; ip link set veth8 up; ip link set veth7 up")
	eventually(t, "veth7 has its carrier", func() bool {
		r := find(rows(t, doc, "interfaces"), "interface", "interface", "veth7")
		return r != nil && !strings.Contains(fmt.Sprint(r["why"]), "carrier")
	})
	d = examine(t, doc)
	d.wants(t, "note", "interface", "^veth7 is not used: docker, virbr and veth interfaces are used only when they are named")
	d.wants(t, "note", "interface", "^docker0 is not used: ")
}

// MTUs that differ, and a bridge between that has a smaller one.
func TestDoctorMTU(t *testing.T) {
	t.Parallel()
	t.Run("open", func(t *testing.T) { doctorMTU(t, false, "8997", "1497", "3997") })
	t.Run("sealed", func(t *testing.T) { doctorMTU(t, true, "8973", "1473", "3973") }) // a seal takes 24 octets (protocol.md 1)
}

func doctorMTU(t *testing.T, sealed bool, large, safe, less string) {
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc", "happy", "sleepy"}, MTU: 9000, Sealed: sealed})
	grumpy, doc, happy := l.Machine("grumpy"), l.Machine("doc"), l.Machine("happy")
	doc.PortMTU(1500)
	sh(t, happy, "ip link set eth0 mtu 4000")
	if netmans(l.Machines()); t.Failed() {
		t.FailNow()
	}
	examine(t, grumpy, "doc").wants(t, "wrong", "path", "take PDUs of "+large+" octets, but the path between them loses frames above 1500 octets: N1 is "+safe+": .* give it 9000")
	d := examine(t, grumpy, "happy")
	d.wants(t, "note", "path", "^the MTU is 9000 here and 4000 on happy")
	d.wants(t, "ok", "path", "all well: happy by eth0, .* N1 "+less)
	if p := run(t, grumpy, "netman", "doctor", "sleepy"); p.status() != 0 || strings.Contains(p.stdout.String(), "MTU is") {
		t.Errorf("two machines of one MTU: status %d, %s", p.status(), &p.stdout)
	}
}

// A machine that does not answer: not there, ended, stopped, on another Ethertype, behind a filter.
func TestDoctorNoAnswer(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc", "happy"}})
	grumpy, doc, happy := l.Machine("grumpy"), l.Machine("doc"), l.Machine("happy")
	examine(t, grumpy, "sleepy").wants(t, "wrong", "query", "^no netman answers for the name sleepy: on sleepy: does netman run")
	examine(t, grumpy, "doc").wants(t, "ok", "path", "all well")
	doc.KillNetman(unix.SIGSTOP)
	eventually(t, "the link is down", func() bool { return find(rows(t, grumpy, "links"), "link", "machine", "doc")["state"] != "up" })
	examine(t, grumpy, "doc").wants(t, "wrong", "query", "^no netman answers for the name doc; the last link to it, on eth0, ended: .* it was heard last")
	doc.KillNetman(unix.SIGCONT)
	doc.KillNetman(unix.SIGTERM)
	examine(t, grumpy, "happy").wants(t, "ok", "path", "all well")
	examine(t, grumpy, "doc").wants(t, "wrong", "query", "Others were heard here .*happy.*, so look there first")
	idle(t, grumpy, happy)
}

func TestDoctorEthertype(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	grumpy.Netman()
	write(t, doc, "/etc/dnet/servtab.toml", "machine = \"doc\"\n\n[[link]]\nethertype = 0x88b6\n")
	doc.Netman()
	d := examine(t, grumpy, "doc")
	d.wants(t, "wrong", "query", `^no netman answers for the name doc; eth0: no frame of Ethertype 0x88b5 has come, though \d+ were sent and [1-9]\d* others came`)
	d.wants(t, "wrong", "query", "Does a switch, a bridge or a filter .* drop that Ethertype")
	examine(t, doc).wants(t, "ok", "netman", "Ethertype 0x88b6")
}

// A filter on the way that drops the Ethertype.
func TestDoctorFilter(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	lab.Need(t, "tc")
	if p := run(t, doc, "sh", "-c", "tc qdisc add dev eth0 clsact && tc filter add dev eth0 egress protocol 0x88b5 matchall action drop"); p.err != nil {
		lab.Absent(t, "tc filter", "the kernel has none: "+p.stderr.String())
	}
	if netmans(l.Machines()); t.Failed() {
		t.FailNow()
	}
	examine(t, grumpy, "doc").wants(t, "wrong", "query", "^no netman answers for the name doc; eth0: no frame of Ethertype 0x88b5 has come")
}

// Two machines of one name that meet when both are up already.
func TestDoctorNameClash(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	for _, m := range l.Machines() {
		m.LinkDown()
		p := start(t, m, nil, "netman", "--machine", "same")
		p.says(t, &p.stderr, "netman: same is up\n")
	}
	for _, m := range l.Machines() {
		m.LinkUp()
		eventually(t, "netman has the interface", func() bool { return rows(t, m, "interfaces")[0]["used"] == true })
	}
	run(t, doc, "netman", "wait", "-w", "100ms", "anything")
	examine(t, grumpy).wants(t, "wrong", "name", "the machine name same is in use: by the station "+doc.MAC()+" .*: give one of them another name")
}

// Two stations with one MAC address.
func TestDoctorSameAddress(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	grumpy.Netman()
	sh(t, doc, "ip link set eth0 down; ip link set eth0 address "+grumpy.MAC()+"; ip link set eth0 up")
	doc.Netman()
	eventually(t, "it is heard", func() bool {
		counted, _ := rows(t, grumpy, "counters")[0]["counters"].(map[string]any)
		return counted["own address"] != nil
	})
	examine(t, grumpy).wants(t, "wrong", "station", "another station uses our MAC address")
}

// Stations that answer for a name and then speak another version, or nothing.
func TestDoctorHello(t *testing.T) {
	for _, c := range []struct {
		name, text string
		hello      func(s *station, txid uint32) []byte // its answer; nil: none
	}{
		{"another version", "^doc answers, but it speaks versions 2 to 3 in mode 0, and this netman version 1 .*: run the same version", func(s *station, txid uint32) []byte {
			return control(msgHello, s.boot, txid, true, named(2, s.name), tlv(5, 2, 3), tlv(6, 0, 0, 0, 1), tlv(7, 5, 0xd9), tlv(8, 63), tlv(9, 3, 0xe8),
				tlv(10, 0), tlv(11, 0, 0, 0, 0))
		}},
		{"no answer", "^doc answers for its name, but .*hello.*: frames that are directed to it get lost", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
			grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
			grumpy.Netman()
			s := newStation(t, doc)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				s.answerNames(stop, func(from [6]byte, txid uint32) {
					if c.hello != nil {
						s.send(frame(from, s.port.Addr(), c.hello(s, txid)))
					}
				})
			}()
			examine(t, grumpy, "doc").wants(t, "wrong", "hello", c.text)
			close(stop)
			<-stopped
		})
	}
}

// answerNames answers queries for the name of the station's machine, and leaves its hellos to somebody else.
func (s *station) answerNames(stop <-chan struct{}, hello func(from [6]byte, txid uint32)) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		unix.Poll([]unix.PollFd{{Fd: int32(s.port.Fd()), Events: unix.POLLIN}}, int((10 * time.Millisecond).Milliseconds()))
		n, err := s.port.Recv(s.batch)
		if err != nil {
			s.t.Errorf("%s: %v", s.name, err)
			return
		}
		for _, f := range s.batch.Frames[:n] {
			from := [6]byte(f[6:12])
			switch kind, response, txid, tlvs := readControl(f); {
			case kind == msgQuery && string(tlvs[1]) == "netman."+s.name:
				s.send(frame(from, s.port.Addr(), control(msgAnswer, s.boot, txid, true, tlv(1, tlvs[1]...), named(2, s.name), tlv(4, 0))))
			case kind == msgHello && !response:
				hello(from, txid)
			}
		}
	}
}
