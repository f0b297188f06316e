package test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// Programs that drive ssh drive rx: they give it ssh's options, and name machines as they would hosts.
func TestDrivers(t *testing.T) {
	l := network(t, lab.Config{})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	sh(t, grumpy, tree)
	want := list(t, grumpy, "src")
	t.Run("rsync of many files", func(t *testing.T) { rsyncMany(t, grumpy, doc) })
	t.Run("git", func(t *testing.T) { gitAsSSH(t, grumpy, doc) })
	t.Run("scp", func(t *testing.T) {
		lab.Need(t, "scp")
		needSFTP(t, grumpy)
		for _, protocol := range []string{"-s", "-O"} { // sftp, and scp's own
			dir := "by-scp" + protocol
			sh(t, doc, "mkdir "+dir)
			sh(t, grumpy, "scp "+protocol+" -q -S rx -rp src/sub src/big 'src/a name with  spaces' doc:"+dir+" && scp "+protocol+" -q -S rx root@doc:"+dir+"/big got"+protocol)
			got := sh(t, doc, "cd "+dir+" && md5sum <big && cat 'a name with  spaces' && test -x sub/run && test -d sub/empty")
			if want := sh(t, grumpy, "md5sum <src/big && cat 'src/a name with  spaces' && cmp src/big got"+protocol); got != want {
				t.Errorf("with %s there is %q, want %q", protocol, got, want)
			}
		}
		p := run(t, grumpy, "scp", "-S", "rx", "src/file", "bob@doc:file")
		if p.status() == 0 || !strings.Contains(p.stderr.String(), "rx: doc: refused: sessions there are root's: bob cannot be had") {
			t.Errorf("as another user: status %d, %q", p.status(), &p.stderr)
		}
	})
	t.Run("sftp", func(t *testing.T) {
		lab.Need(t, "sftp")
		needSFTP(t, grumpy)
		sh(t, grumpy, "printf 'put -r src by-sftp\\nget by-sftp/big got\\nls by-sftp\\n' | sftp -q -S rx -b - doc >listed && grep -q file listed && cmp src/big got")
		if got := sh(t, doc, "md5sum <by-sftp/big"); got != sh(t, grumpy, "md5sum <src/big") {
			t.Errorf("there is %s", got)
		}
	})
	t.Run("tar", func(t *testing.T) {
		sh(t, grumpy, "rx doc mkdir by-tar; tar c -C src . | rx doc tar x -C by-tar")
		if got := list(t, doc, "by-tar"); got != want {
			t.Errorf("there are\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("ansible", func(t *testing.T) {
		p := run(t, grumpy, "rx", "-C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o", "KbdInteractiveAuthentication=no", "-o",
			"PreferredAuthentications=publickey", "-o", "PasswordAuthentication=no", "-o", "User=\"root\"", "-o", "ConnectTimeout=10", "-o",
			"ControlPath=\"/root/.ansible/cp/1\"", "doc", "/bin/sh -c 'echo ~root && sleep 0'")
		p.must(t, "/root\n", "", 0)
	})
	idle(t, l.Machines()...)
}

// needSFTP skips where there is no sftp-server for the far side.
func needSFTP(t *testing.T, m *lab.Machine) {
	t.Helper()
	const look = "test -x /usr/lib/openssh/sftp-server || test -x /usr/libexec/openssh/sftp-server || test -x /usr/lib/ssh/sftp-server"
	if p := run(t, m, "sh", "-c", look); p.err != nil {
		lab.Skip(t, "sftp-server", "not installed (apt-get install openssh-sftp-server)")
	}
}

// rsyncMany copies ten thousand files, and then nothing, as nothing has changed.
func rsyncMany(t *testing.T, grumpy, doc *lab.Machine) {
	need(t, grumpy, "rsync")
	sh(t, grumpy, `mkdir many && cd many && for d in $(seq 100); do mkdir $d && for f in $(seq 100); do echo $d/$f >$d/$f; done; done`)
	transferred := func(stats string) string {
		for line := range strings.Lines(stats) {
			if n, ok := strings.CutPrefix(line, "Number of regular files transferred: "); ok {
				return strings.TrimSpace(n)
			}
		}
		return stats
	}
	for i, want := range []string{"10,000", "0"} {
		if got := transferred(sh(t, grumpy, "RSYNC_RSH=rx rsync -a --stats many/ doc:many/")); got != want {
			t.Errorf("run %d transferred %s files, want %s", i+1, got, want)
		}
	}
	if got, want := list(t, doc, "many"), list(t, grumpy, "many"); got != want {
		t.Error("the trees differ")
	}
	if got := transferred(sh(t, grumpy, "rsync -a --stats -e 'rx -l root' doc:many/ many/")); got != "0" {
		t.Errorf("the other way %s files were transferred", got)
	}
}

// gitAsSSH clones, pushes and fetches with rx in the place of ssh, as git tells ssh to.
func gitAsSSH(t *testing.T, grumpy, doc *lab.Machine) {
	need(t, grumpy, "git")
	const who = "git config --global user.name a && git config --global user.email a@b && "
	sh(t, doc, who+"git init -q -b main work && cd work && head -c 300000 /dev/urandom >noise && git add . && git commit -q -m first && git clone -q --bare . /root/repo.git")
	for i, how := range []string{"GIT_SSH_COMMAND=rx", "GIT_SSH=rx", "GIT_SSH_COMMAND=rx GIT_SSH_VARIANT=ssh"} {
		for j, url := range []string{"doc:repo.git", "ssh://root@doc/root/repo.git"} {
			name := fmt.Sprintf("clone%d%d", i, j)
			sh(t, grumpy, who+"export "+how+"; git clone -q "+url+" "+name+" && cd "+name+" && echo "+name+" >"+name+
				" && git add . && git commit -q -m "+name+" && git push -q origin main && git fetch -q && git diff --quiet origin/main")
			if got, want := sh(t, doc, "git -C repo.git rev-parse main"), sh(t, grumpy, "git -C "+name+" rev-parse HEAD"); got != want {
				t.Errorf("%s git clone %s: doc has %s, grumpy %s", how, url, got, want)
			}
		}
	}
}

// One command on several machines: whole lines with their machine's name, the worst status.
func TestFanOut(t *testing.T) {
	l := network(t, lab.Config{Machines: []string{"grumpy", "web1", "web2", "db"}})
	grumpy := l.Machine("grumpy")
	p := run(t, grumpy, "rx", "web1,web2,db", "uname -n; cat")
	if got := sorted(p.stdout.String()); got != "db:   db\nweb1: web1\nweb2: web2\n" || p.status() != 0 {
		t.Errorf("a list: status %d, output %q, message %q", p.status(), got, &p.stderr)
	}
	p = run(t, grumpy, "rx", "web*", "uname -n")
	if got := sorted(p.stdout.String()); got != "web1: web1\nweb2: web2\n" || p.status() != 0 {
		t.Errorf("a pattern: status %d, output %q, message %q", p.status(), got, &p.stderr)
	}
	p = run(t, grumpy, "rx", "-a", "-P", "2", "uname -n")
	if got := sorted(p.stdout.String()); got != "db:     db\ngrumpy: grumpy\nweb1:   web1\nweb2:   web2\n" || p.status() != 0 {
		t.Errorf("all: status %d, output %q, message %q", p.status(), got, &p.stderr)
	}
	run(t, grumpy, "rx", "mars*", "true").must(t, "", "rx: mars*: no machine of that kind among those that netman knows (db grumpy web1 web2)\n", 255)
	p = run(t, grumpy, "rx", "db,web1", "test $(uname -n) = db && exit 3; exit 5")
	if p.status() != 5 || sorted(p.stderr.String()) != "rx: db: exit status 3\nrx: web1: exit status 5\n" {
		t.Errorf("the worst status is %d, message %q", p.status(), &p.stderr)
	}
	// Ten thousand lines of each machine, none broken.
	p = run(t, grumpy, "rx", "web*,db", "yes $(uname -n) is the name of this machine | head -10000")
	lines := strings.Split(strings.TrimSuffix(p.stdout.String(), "\n"), "\n")
	for _, line := range lines {
		label, text, _ := strings.Cut(line, ":")
		if strings.TrimSpace(text) != label+" is the name of this machine" {
			t.Fatalf("a line is %q", line)
		}
	}
	if len(lines) != 30000 {
		t.Errorf("there are %d lines", len(lines))
	}
	jsonFanOut(t, grumpy)
	// A signal ends them all.
	nap := nap()
	p = start(t, grumpy, nil, "rx", "web*,db", nap)
	eventually(t, "the commands run", func() bool { return processes(nap) == 3 })
	p.Process.Signal(unix.SIGINT)
	p.ends(t)
	eventually(t, "the commands have ended", func() bool { return processes(nap) == 0 })
	if p.status() != 130 {
		t.Errorf("interrupted: status %d", p.status())
	}
	idle(t, l.Machines()...)
}

// jsonFanOut asks for the objects that rx(1) promises.
func jsonFanOut(t *testing.T, grumpy *lab.Machine) {
	p := run(t, grumpy, "rx", "--json", "web1,nosuch", "echo out; echo err >&2; kill -TERM $$")
	ends, texts := map[string]row{}, map[string]string{}
	for line := range strings.Lines(p.stdout.String()) {
		r := row{}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		machine := r["machine"].(string)
		if text, ok := r["line"]; ok {
			texts[machine+" "+r["stream"].(string)] += text.(string)
		} else {
			ends[machine] = r
		}
	}
	if fmt.Sprint(texts) != "map[web1 stderr:err web1 stdout:out]" {
		t.Errorf("the lines are %v", texts)
	}
	if e := ends["web1"]; e["status"] != 143.0 || e["signal"] != "TERM" || e["error"] != nil {
		t.Errorf("web1 ended with %v", e)
	}
	if e := ends["nosuch"]; e["status"] != 255.0 || !strings.Contains(fmt.Sprint(e["error"]), "no such") {
		t.Errorf("nosuch ended with %v", e)
	}
	if p.status() != 255 || p.stderr.String() != "" {
		t.Errorf("status %d, message %q", p.status(), &p.stderr)
	}
}

// sorted is a text with its lines in order.
func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}
