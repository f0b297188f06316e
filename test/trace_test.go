package test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// traces starts netman trace on a machine, on which no other runs, and waits until it is shown frames.
func traces(t *testing.T, m *lab.Machine, args ...string) *program {
	t.Helper()
	return begun(t, m, start(t, m, nil, "netman", append([]string{"trace"}, args...)...))
}

// begun waits until a trace has begun.
func begun(t *testing.T, m *lab.Machine, p *program) *program {
	t.Helper()
	eventually(t, "the trace has begun", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %v\n%s", p, p.err, &p.stderr)
		default:
		}
		return find(rows(t, m, "status"), "machine", "machine", m.Name)["traces"] == 1.0
	})
	return p
}

// says the text to a filter of another machine, which says it back.
func talk(t *testing.T, from, to *lab.Machine, text string) {
	t.Helper()
	start(t, from, strings.NewReader(text), "netman", "nc", "cat."+to.Name).ends(t).must(t, text, "", 0)
}

// netman trace prints the frames of a running netman in their one form, without what users say, and ends at a signal.
func TestTraceText(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	p := traces(t, grumpy, "doc", "call,data,clear")
	talk(t, grumpy, doc, "a secret")
	p.says(t, &p.stdout, "CLEAR lci 4095")
	p.Process.Signal(unix.SIGINT)
	p.ends(t)
	if p.status() != 0 || !regexp.MustCompile(`^netman: trace: \d+ frames, \d+ others that no filter let pass, 0 missing\n$`).MatchString(p.stderr.String()) {
		t.Errorf("status %d, it complains %q", p.status(), &p.stderr)
	}
	line := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{6} eth0 [<>] ([0-9a-f:]{17}) > ([0-9a-f:]{17}) I S\d+ R\d+.* \| (CALL|DATA|CLEAR)`)
	for text := range strings.Lines(p.stdout.String()) {
		if !line.MatchString(text) {
			t.Errorf("a line of another form, or that no filter asked for: %q", text)
		}
	}
	out := grumpy.MAC() + " > " + doc.MAC()
	for _, want := range []string{"eth0 > " + out + " I S1 R1", "| CALL lci 4095 fac ", "| DATA lci 4095 ps 0 pr 0 len 8\n"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("the trace has no %q:\n%s", want, &p.stdout)
		}
	}
	idle(t, l.Machines()...)
	if r := find(rows(t, grumpy, "status"), "machine", "machine", "grumpy"); r["traces"] != nil {
		t.Errorf("the trace has ended, and status says %v", r)
	}
}

// netman trace -w writes what tshark dissects without being told how: headers alone, and with --data all of it.
func TestTraceCapture(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("MTU %d", mtu), func(t *testing.T) {
			t.Parallel()
			lab.Need(t, "tshark")
			l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}, MTU: mtu})
			grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
			text := strings.Repeat("a secret ", 700)
			files := map[string]bool{}
			for _, data := range []bool{false, true} {
				file := filepath.Join(t.TempDir(), fmt.Sprintf("data-%v.pcapng", data))
				files[file] = data
				args := []string{"-w", file}
				if data {
					args = append(args, "--data")
				}
				p := traces(t, grumpy, args...)
				talk(t, grumpy, doc, text)
				idle(t, l.Machines()...)
				p.Process.Signal(unix.SIGTERM)
				if p.ends(t); p.status() != 0 || p.stdout.String() != "" {
					t.Errorf("status %d, %q, %q", p.status(), &p.stdout, &p.stderr)
				}
			}
			for file, data := range files {
				judgeTrace(t, grumpy, file, data, text)
			}
		})
	}
}

// judgeTrace asks tshark what a trace of a call of cat.doc has.
func judgeTrace(t *testing.T, m *lab.Machine, file string, data bool, text string) {
	t.Helper()
	args := []string{"-o", "x25.reassemble:FALSE", "-r", file, "-T", "fields"}
	for _, field := range []string{"frame.interface_name", "frame.packet_flags_direction", "x25.type", "x25.lcn", "data.data", "frame.comment"} {
		args = append(args, "-e", field)
	}
	p := run(t, m, "tshark", args...)
	if p.status() != 0 || strings.Contains(p.stderr.String(), "cut short") {
		t.Fatalf("%s: %v\n%s", p, p.err, &p.stderr)
	}
	count := map[string]int{}
	comments, said := "", ""
	for line := range strings.Lines(p.stdout.String()) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 6 || f[0] != "eth0" {
			t.Fatalf("tshark says %q", line)
		}
		way := map[string]string{"0x00000001": "<", "1": "<", "0x00000002": ">", "2": ">"}[f[1]]
		if f[2] != "" {
			count[way+f[2]]++
		}
		if f[2] == "0x00" && way == ">" {
			said += f[4]
		}
		comments += f[5] + "\n"
	}
	for _, want := range []string{">0x0b", "<0x0f", ">0x00", "<0x00"} {
		if count[want] == 0 {
			t.Errorf("%s: no packet %s is dissected: %v", file, want, count)
		}
	}
	if whole := fmt.Sprintf("%x", text); data && !strings.HasPrefix(said, whole) || !data && said != "" {
		t.Errorf("%s: --data is %v, and of what was said the capture has %d digits: %.40s", file, data, len(said), said)
	}
	if !strings.Contains(comments, "QUERY txid") && !data { // the second trace begins with the link up
		t.Errorf("%s: no control message has its text as a comment", file)
	}
}

// With -w - the capture goes to a pipe, of which tshark reads along, and -c ends it by itself.
func TestTracePipe(t *testing.T) {
	t.Parallel()
	lab.Need(t, "tshark")
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	p := start(t, l.Machine("grumpy"), nil, "sh", "-c", "netman trace -c 8 -w - | tshark -r - -Y x25")
	within(t, bound, "the trace has begun", func() bool {
		return find(rows(t, l.Machine("grumpy"), "status"), "machine", "machine", "grumpy")["traces"] == 1.0
	})
	talk(t, l.Machine("grumpy"), l.Machine("doc"), "hello")
	if p.ends(t); p.status() != 0 || !strings.Contains(p.stdout.String(), "X.25") || !strings.Contains(p.stderr.String(), "netman: trace: 8 frames") {
		t.Errorf("status %d, %q, %q", p.status(), &p.stdout, &p.stderr)
	}
}

// Only root and members of the group dnet may trace.
func TestTracePermission(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"doc"}})
	doc := l.Machine("doc")
	if !lab.ManyUsers() {
		lab.Absent(t, "users", "there is no user but root here")
	}
	need(t, doc, "setpriv")
	sh(t, doc, "grep -v ^dnet: /etc/group >/tmp/group; echo dnet:x:4711: >>/tmp/group; cat /tmp/group >/etc/group")
	doc.Netman()
	as := func(id ...string) []string {
		return append(append([]string{"--reuid=65534", "--regid=65534"}, id...), "netman", "trace", "-w", "/tmp/t.pcapng")
	}
	run(t, doc, "setpriv", as("--clear-groups")...).must(t, "", "netman: trace: a trace is for root and for members of the group dnet\n", 1)
	run(t, doc, "setpriv", as("--groups=4712")...).must(t, "", "netman: trace: a trace is for root and for members of the group dnet\n", 1)
	run(t, doc, "ls", "/tmp/t.pcapng").must(t, "", "ls: cannot access '/tmp/t.pcapng': No such file or directory\n", 2)
	for _, id := range [][]string{{"--regid=65534", "--groups=4712,4711"}, {"--clear-groups", "--regid=4711"}} {
		p := begun(t, doc, start(t, doc, nil, "setpriv", append(append([]string{"--reuid=65534"}, id...), "netman", "trace")...))
		p.Process.Signal(unix.SIGINT)
		if p.ends(t); p.status() != 0 {
			t.Errorf("%v: status %d, %q", id, p.status(), &p.stderr)
		}
		eventually(t, "the trace has ended", func() bool {
			return find(rows(t, doc, "status"), "machine", "machine", "doc")["traces"] == nil
		})
	}
}

// A trace that nobody reads costs the circuits nothing, and is told afterwards how much it missed.
func TestTraceSlowReader(t *testing.T) {
	t.Parallel()
	l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	p := traces(t, grumpy, "--data", "DATA")
	p.Process.Signal(unix.SIGSTOP)
	transfer(t, grumpy, doc, 30_000_000)
	p.Process.Signal(unix.SIGCONT)
	p.says(t, &p.stdout, "frames are missing here: they were not read in time")
	talk(t, grumpy, doc, "after that") // and goes on from there
	p.says(t, &p.stdout, "len 10\n")
	p.Process.Signal(unix.SIGINT)
	p.ends(t)
	if p.status() != 0 || !regexp.MustCompile(`, [1-9]\d* missing\n`).MatchString(p.stderr.String()) {
		t.Errorf("status %d, %q", p.status(), &p.stderr)
	}
	counted := rows(t, grumpy, "counters")[0]["counters"].(map[string]any)["trace: frames left out"]
	if n, _ := counted.(float64); n == 0 {
		t.Errorf("no frame was counted as left out")
	}
}

// When netman goes a trace says so, and the file is whole.
func TestTraceOfNetmanThatGoes(t *testing.T) {
	t.Parallel()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		l := network(t, lab.Config{Machines: []string{"grumpy", "doc"}})
		file := filepath.Join(t.TempDir(), "trace.pcapng")
		p := traces(t, l.Machine("grumpy"), "-w", file)
		talk(t, l.Machine("grumpy"), l.Machine("doc"), "hello")
		began := time.Now()
		l.Machine("grumpy").KillNetman(signal)
		p.ends(t)
		if took := time.Since(began); p.status() != 1 || took > slack*tolerance || !strings.HasSuffix(p.stderr.String(), "netman: trace: netman has gone\n") {
			t.Errorf("%v: status %d after %v, %q", signal, p.status(), took, &p.stderr)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil || len(b) == 0 || !wholeBlocks(b) {
			t.Errorf("the file of %d octets does not end with a whole block: %v", len(b), err)
		}
	}
	run(t, lab.New(t, lab.Config{Machines: []string{"doc"}}).Machine("doc"), "netman", "trace").
		must(t, "", "netman: /run/dnet/door: no such file or directory: is netman running?\n", 1)
}

// wholeBlocks says whether a pcapng file is blocks to its end: type 4, length 4, body, length 4, little-endian here.
func wholeBlocks(b []byte) bool {
	for len(b) >= 12 {
		n := int(b[4]) | int(b[5])<<8 | int(b[6])<<16 | int(b[7])<<24
		if n < 12 || n > len(b) {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}
