package session

import (
	"slices"
	"strings"
	"testing"
)

func TestPassed(t *testing.T) {
	for v, want := range map[string]bool{
		"LANG=C": true, "LANGUAGE=de:en": true, "LC_ALL=C": true, "LC_TIME=": true, "GIT_PROTOCOL=version=2": true,
		"LANG": false, "PATH=/tmp": false, "LD_PRELOAD=/tmp/x.so": false, "LC_=x": false, "LC_A B=x": false, "LC_all=x": false,
		"LANG=a\x00b": false, "": false, "=": false, "LANG=" + strings.Repeat("x", MaxVariable): false, "BASH_ENV=x": false,
		"TERM=xterm-256color": true, "COLORTERM=truecolor": true, "TERM=": false, "TERM=../x": false, "TERM=a/b": false, "TERMCAP=x": false,
	} {
		if got := Passed(v); got != want {
			t.Errorf("%.20q: passed on %v", v, got)
		}
	}
}

func TestPasswdShell(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/zsh\n" +
		"short:x:1000\nalso:x:1000:1000::/home/also:/bin/fish\n"
	for _, want := range []struct {
		uid         int
		name, shell string
	}{{0, "root", "/bin/bash"}, {1000, "alice", "/bin/zsh"}, {1000, "also", "/bin/fish"}, {1000, "nobody", "/bin/zsh"}, {7, "x", ""}} {
		if got := passwdShell(strings.NewReader(passwd), want.uid, want.name); got != want.shell {
			t.Errorf("uid %d, name %s: %q, want %q", want.uid, want.name, got, want.shell)
		}
	}
}

func TestEnvironment(t *testing.T) {
	own := []string{"HOME=/h", "PATH=/p", "SECRET=x", "DNET_USER=u", "LANG=C", "DNET_DOOR=/d", "NOTIFY_SOCKET=/n", "TERM=dumb"}
	got := Environment(own, "/bin/sh", []string{"LANG=de_DE", "TERM=vt100"})
	want := []string{"PATH=/p", "HOME=/h", "LANG=de_DE", "DNET_DOOR=/d", "SHELL=/bin/sh", "TERM=vt100"}
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	if got := Environment(nil, "/bin/sh", nil); !slices.Equal(got, []string{"PATH=" + defaultPath, "SHELL=/bin/sh"}) {
		t.Errorf("with nothing of its own: %q", got)
	}
}
