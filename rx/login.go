package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// loginShell is that of this user in /etc/passwd, else $SHELL, else /bin/sh.
func loginShell() string {
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

// defaultPath serves where netman has none.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// environment is all that the command gets: of the server's own what is listed, the shell, and the
// client's variables, which parseStart has sorted out. A later one wins.
func environment(own []string, shell string, client []string) []string {
	env := []string{"PATH=" + defaultPath}
	for _, v := range own {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "HOME", "USER", "LOGNAME", "PATH", "TZ", "DNET_DOOR", "DNET_SERVICE", "DNET_MACHINE",
			"DNET_PEER_MACHINE", "DNET_PEER_USER", "DNET_MODE":
			env = append(env, v)
		default:
			if passed(v) {
				env = append(env, v)
			}
		}
	}
	return lastOnes(append(append(env, "SHELL="+shell), client...))
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

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
