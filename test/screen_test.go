package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dnet/test/lab"
)

// screen is a real terminal on a machine, tmux's, with a shell in it: keys are typed, and what it shows is read back.
type screen struct {
	t *testing.T
	m *lab.Machine
}

// newScreen opens a terminal of 80 by 24 whose shell has the prompt "here$ ".
func newScreen(t *testing.T, m *lab.Machine) *screen {
	t.Helper()
	lab.Need(t, "tmux")
	s := &screen{t, m}
	write(t, m, "/root/.tmux.conf", "set -g default-terminal screen-256color\nset -g status off\nset -g escape-time 0\n")
	s.tmux("new-session", "-d", "-x", "80", "-y", "24", "env", "-i", "PATH="+m.Command("true").Env[0][len("PATH="):], "HOME=/root", "TERM=screen-256color",
		"PS1=here$ ", "LANG=C.UTF-8", "/bin/sh")
	s.shows("here$")
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	c := s.m.Command("tmux", append([]string{"-u"}, args...)...)
	c.Env = append(c.Env, "LC_ALL=C.UTF-8", "TERM=screen-256color")
	p := launch(s.t, c, nil).ends(s.t)
	if p.err != nil {
		s.t.Fatalf("%s: %v\n%s%s", p, p.err, &p.stdout, &p.stderr)
	}
	return p.stdout.String()
}

// types types a line and the Enter key.
func (s *screen) types(line string) {
	s.t.Helper()
	s.tmux("send-keys", "-l", line)
	s.keys("Enter")
}

// keys presses keys by tmux's names: Enter, Escape, C-c.
func (s *screen) keys(names ...string) {
	s.t.Helper()
	s.tmux(append([]string{"send-keys"}, names...)...)
}

// text is what the terminal shows.
func (s *screen) text() string {
	s.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s.tmux("capture-pane", "-p", "-J")) { // -J: lines that wrap are one
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// shows waits until the terminal shows all these texts.
func (s *screen) shows(texts ...string) {
	s.t.Helper()
	s.comes(fmt.Sprintf("the terminal shows %q", texts), func(text string) bool {
		for _, want := range texts {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
}

// ends waits until the last line that is not empty is this one.
func (s *screen) ends(line string) {
	s.t.Helper()
	s.comes(fmt.Sprintf("the last line is %q", line), func(text string) bool {
		lines := strings.Split(strings.TrimRight(text, " \n"), "\n")
		return strings.TrimRight(lines[len(lines)-1], " ") == line
	})
}

// clears empties the screen but for the prompt, so that what is shown next is new.
func (s *screen) clears(prompt string) {
	s.t.Helper()
	s.types("clear")
	s.comes("the screen is clear", func(text string) bool { return strings.TrimSpace(text) == prompt })
}

func (s *screen) comes(what string, is func(text string) bool) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the terminal shows\n%s", s.text())
		}
	}()
	within(s.t, slack*2*time.Second, what, func() bool { return is(s.text()) })
}

// state is what tmux knows of the terminal: its modes, as programs have set them.
func (s *screen) state() string {
	s.t.Helper()
	return strings.TrimSpace(s.tmux("display-message", "-p",
		"alternate #{alternate_on} mouse #{mouse_any_flag} cursor #{cursor_flag} keypad #{keypad_flag} keys #{keypad_cursor_flag} region #{scroll_region_upper}-#{scroll_region_lower}"))
}

// fresh is the state of a terminal in which nothing has been switched on.
const fresh = "alternate 0 mouse 0 cursor 1 keypad 0 keys 0 region 0-23"

// modes are those of the terminal's line, as the programs in it have set them.
func (s *screen) modes() string {
	s.t.Helper()
	tty := strings.TrimSpace(s.tmux("display-message", "-p", "#{pane_tty}"))
	return sh(s.t, s.m, "stty -a <"+tty)
}
