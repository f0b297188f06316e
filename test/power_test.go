package test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/test/lab"
)

// The process that reads the network has no right and nothing to read: whoever takes it over has what its descriptors are, no more.
func TestWireHasNoPower(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy"}})
	grumpy := l.Machine("grumpy")
	grumpy.Netman()
	wire := grumpy.NetmanWire()
	status := fields(t, wire)
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if status[set] != "0000000000000000" {
			t.Errorf("%s is %s, want none", set, status[set])
		}
	}
	if status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs is %s, want 1: it could run a program that has rights", status["NoNewPrivs"])
	}
	if status["Seccomp"] != "2" {
		t.Errorf("Seccomp is %s, want 2: a filter of system calls", status["Seccomp"])
	}
	if lab.ManyUsers() {
		for _, id := range []string{"Uid", "Gid"} {
			if strings.Contains(" "+status[id]+" ", " 0 ") {
				t.Errorf("%s is %s, want none of root's", id, status[id])
			}
		}
		if status["Groups"] != "" {
			t.Errorf("its groups are %q, want none", status["Groups"])
		}
	}
	// A directory without a name cannot even be read.
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", wire))
	if !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		t.Errorf("its root has %d entries (%v), want an empty one that is gone", len(entries), err)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/file", wire), nil, 0o644); err == nil {
		t.Error("a file can be made in its root")
	}
}

// fields are those of /proc/PID/status.
func fields(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			all[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return all
}

// Either process ends with the other, however that ended, and what they started with them.
func TestBothProcessesEnd(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Config{Machines: []string{"grumpy", "doc"}})
	grumpy, doc := l.Machine("grumpy"), l.Machine("doc")
	l.Netman()
	keeper, wire := grumpy.NetmanPid(), grumpy.NetmanWire()
	command := nap()
	p := start(t, doc, nil, "rx", "grumpy", "echo begun; exec "+command)
	p.says(t, &p.stdout, "begun\n")
	unix.Kill(wire, unix.SIGKILL)
	eventually(t, "the keeper ends when the wire has gone", func() bool { return unix.Kill(keeper, 0) == unix.ESRCH })
	grumpy.KillNetman(unix.SIGTERM) // it has ended; this says that it was to
	if log := grumpy.NetmanLog(); !strings.Contains(log, "netman: the process that reads the network ended: signal: killed") {
		t.Errorf("the keeper does not say why it has ended:\n%s", log)
	}
	p.ends(t)
	eventually(t, "the server ends with its netman", func() bool { return processes(command) == 0 })

	grumpy.Netman()
	wire = grumpy.NetmanWire()
	grumpy.KillNetman(unix.SIGKILL)
	eventually(t, "the wire ends when the keeper is killed", func() bool { return unix.Kill(wire, 0) == unix.ESRCH })
	grumpy.Netman() // the interface is free again
}
