package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// nobody is the user id that stands for "somebody else" (user_namespaces(7)); where it is mapped, so are the others.
const nobody = 65534

// mapIDs gives the user namespace of a process its ids: 0 is whoever runs this, 1.. are the subordinate ids of
// that user, where there are some and the tools that map them.
func mapIDs(pid int) error {
	if err := mapRange(pid, "uid", os.Getuid()); err != nil {
		return err
	}
	return mapRange(pid, "gid", os.Getgid())
}

// mapRange writes the uid or gid map.
func mapRange(pid int, kind string, own int) error {
	if tool, err := findTool("new" + kind + "map"); err == nil {
		if first, count, ok := subordinate("/etc/sub" + kind); ok {
			args := fmt.Sprintf("%d 0 %d 1 1 %d %d", pid, own, first, count)
			if exec.Command(tool, strings.Fields(args)...).Run() == nil {
				return nil
			}
		}
	}
	// One id. Groups must then stay as they are (user_namespaces(7)).
	if kind == "gid" {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/setgroups", pid), []byte("deny"), 0); err != nil {
			return err
		}
	}
	return os.WriteFile(fmt.Sprintf("/proc/%d/%s_map", pid, kind), []byte(fmt.Sprintf("0 %d 1", own)), 0)
}

// subordinate finds this user's range in /etc/subuid or /etc/subgid: lines of user:first:count, the user a name or a number.
func subordinate(path string) (first, count int, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, false
	}
	defer f.Close()
	uid := strconv.Itoa(os.Getuid())
	name := uid
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		part := strings.Split(lines.Text(), ":")
		if len(part) != 3 || part[0] != name && part[0] != uid {
			continue
		}
		first, err1 := strconv.Atoi(part[1])
		count, err2 := strconv.Atoi(part[2])
		if err1 == nil && err2 == nil && count > 0 {
			return first, min(count, 1<<16-1), true
		}
	}
	return 0, 0, false
}

// ManyUsers reports whether the world has users beside root. Where it has not, a service must name root as its user.
func ManyUsers() bool { return maps("/proc/self/uid_map") && maps("/proc/self/gid_map") }

// maps reports whether an id map has the id nobody.
func maps(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && inside <= nobody && nobody < inside+count {
			return true
		}
	}
	return false
}
