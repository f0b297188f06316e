package session

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// LoginShell is that of this user in /etc/passwd, else $SHELL, else /bin/sh.
func LoginShell() string {
	shell := os.Getenv("SHELL")
	if f, err := os.Open("/etc/passwd"); err == nil {
		defer f.Close()
		if s := passwdShell(f, os.Getuid(), os.Getenv("DNET_USER")); s != "" {
			shell = s
		}
	}
	if !filepath.IsAbs(shell) {
		return "/bin/sh"
	}
	return shell
}

// passwdShell is the shell of uid, of the entry with this name if there are several.
func passwdShell(passwd io.Reader, uid int, name string) (shell string) {
	for lines := bufio.NewScanner(passwd); lines.Scan(); {
		f := strings.Split(lines.Text(), ":")
		if len(f) != 7 || f[2] != strconv.Itoa(uid) {
			continue
		}
		if f[0] == name {
			return f[6]
		}
		if shell == "" {
			shell = f[6]
		}
	}
	return shell
}

// Home is where a session begins.
func Home() string {
	home := os.Getenv("HOME")
	if info, err := os.Stat(home); err != nil || !info.IsDir() {
		return "/"
	}
	return home
}

// Limits of what a caller adds to the environment.
const (
	MaxVariables = 64   // further ones are dropped
	MaxVariable  = 4096 // octets of one, with its name; longer ones are dropped
)

// Passed tells whether a caller's variable, NAME=VALUE, goes into the environment of the session: the
// language, the kind of terminal, and what git asks for. Both ends keep to the list.
func Passed(variable string) bool {
	name, value, ok := strings.Cut(variable, "=")
	if !ok || len(variable) > MaxVariable || strings.Contains(value, "\x00") {
		return false
	}
	if category, isLC := strings.CutPrefix(name, "LC_"); isLC {
		return category != "" && strings.Trim(category, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
	}
	if ofTerminal(name) {
		// Programs with rights look for files of this name.
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		return value != "" && strings.Trim(value, letters+"+-_.") == "" && !strings.HasPrefix(value, ".")
	}
	return slices.Contains([]string{"LANG", "LANGUAGE", "GIT_PROTOCOL"}, name)
}

// ofTerminal tells a variable that means nothing without a terminal.
func ofTerminal(name string) bool { return name == "TERM" || name == "COLORTERM" }

// Variables are those of this process's environment that are passed to the other end; those of the
// terminal only where there is one.
func Variables(terminal bool) (list []string) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if Passed(v) && (terminal || !ofTerminal(name)) && len(list) < MaxVariables {
			list = append(list, v)
		}
	}
	return list
}

// defaultPath serves where netman has none.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// Environment is all that a session gets: of the server's own what is listed, the shell, and the caller's
// variables, of which only those that Passed lets through may be given. A later one wins.
func Environment(own []string, shell string, caller []string) []string {
	env := []string{"PATH=" + defaultPath}
	for _, v := range own {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "HOME", "USER", "LOGNAME", "PATH", "TZ", "DNET_DOOR", "DNET_SERVICE", "DNET_MACHINE",
			"DNET_PEER_MACHINE", "DNET_PEER_USER", "DNET_MODE":
			env = append(env, v)
		default:
			if Passed(v) && !ofTerminal(name) {
				env = append(env, v)
			}
		}
	}
	return lastOnes(append(append(env, "SHELL="+shell), caller...))
}

// lastOnes keeps the last variable of each name, for programs that take the first.
func lastOnes(env []string) []string {
	at := map[string]int{}
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			kept[i] = v
			continue
		}
		at[name] = len(kept)
		kept = append(kept, v)
	}
	return kept
}

// CheckUser tells why this server does not run sessions as the user whom the caller wants; empty is whoever
// it is. Servtab says whom it serves as.
func CheckUser(wanted string) error {
	mine := os.Getenv("DNET_USER")
	if wanted == "" || wanted == mine {
		return nil
	}
	return &userError{wanted, mine}
}

type userError struct{ wanted, mine string }

func (e *userError) Error() string {
	return "refused: sessions there are " + e.mine + "'s: " + e.wanted + " cannot be had in this version"
}
