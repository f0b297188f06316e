package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a user reads where user namespaces are forbidden, and what comes of it.
func TestNoWorldHere(t *testing.T) {
	Need(t, "unshare", "setpriv")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	skips := filepath.Join(t.TempDir(), "skips")
	for _, c := range []struct {
		what   string
		env    []string
		path   string
		status int
		skips  string
		says   string
	}{
		{"by hand", nil, "", 1, "", "user namespaces are forbidden here; as root: sysctl user.max_user_namespaces=10000, or run this as root"},
		{"make test", []string{"DNET_SKIPS=" + skips}, "", 0, "machines: namespaces: user namespaces are forbidden", "no machines here"},
		{"CI", []string{"DNET_SKIPS=" + skips, "CI=1"}, "", 1, "", "no machines here"},
	} {
		os.Remove(skips)
		cmd := exec.Command("unshare", "-Ur", "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces; "+
			`exec setpriv --bounding-set=-sys_admin --inh-caps=-all "$0" -test.run=TestVictim`, self)
		cmd.Env = append(without(os.Environ(), "CI", "DNET_SKIPS"), c.env...)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: status %d, want %d; it says %s", c.what, status, c.status, out)
		}
		if text, err := os.ReadFile(skips); string(text) != "" != (c.skips != "") || !strings.HasPrefix(string(text), c.skips) {
			t.Errorf("%s: skips: %q, %v; want %q", c.what, text, err, c.skips)
		}
	}
}

// without leaves variables out of an environment.
func without(env []string, names ...string) (rest []string) {
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+name+" ") {
			rest = append(rest, e)
		}
	}
	return rest
}

// skipper is a witness that can be skipped.
type skipper struct {
	*witness
	skipped bool
}

func (s *skipper) Skipf(format string, args ...any) {
	s.skipped = true
	s.Logf(format, args...)
	panic(fatal{})
}

func TestSkip(t *testing.T) {
	for _, ci := range []string{"", "1"} {
		skips := filepath.Join(t.TempDir(), "skips")
		t.Setenv("DNET_SKIPS", skips)
		t.Setenv("CI", ci)
		s := &skipper{}
		s.witness = testify(t, func(w *witness) {
			s.witness = w
			Need(s, "sh", "no-such-tool")
		})
		text, err := os.ReadFile(skips)
		switch {
		case ci == "" && (!s.skipped || s.failed || string(text) != "no-such-tool: not installed\n"):
			t.Errorf("skipped %v, failed %v, list %q, %v", s.skipped, s.failed, text, err)
		case ci != "" && (s.skipped || !s.failed || !errors.Is(err, os.ErrNotExist)):
			t.Errorf("with CI: skipped %v, failed %v, list %q, %v", s.skipped, s.failed, text, err)
		}
	}
}

func TestMissingIP(t *testing.T) {
	// In a machine, whose mounts are its own.
	m := New(t, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	program := forOthers(t)
	m.Sh(`for f in $(which -a ip); do mount --bind /dev/null "$f" || exit; done`)
	out, err := m.Command(program, "-test.run=TestVictim").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "apt-get install iproute2") {
		t.Errorf("without ip: %v: %s", err, out)
	}
}
