package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traces is what a lab could leave behind in the world where these tests run.
type traces struct {
	processes, mounts, interfaces, files []string
	namespaces                           map[string]bool
}

func footprint(t *testing.T) traces {
	t.Helper()
	var f traces
	f.namespaces = map[string]bool{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		f.processes = append(f.processes, filepath.Base(dir)+" "+strings.TrimSpace(string(name)))
		for _, kind := range []string{"net", "mnt", "pid", "uts", "user"} {
			for _, task := range []string{"ns", "task/" + filepath.Base(dir) + "/ns"} {
				if ns, err := os.Readlink(filepath.Join(dir, task, kind)); err == nil {
					f.namespaces[ns] = true
				}
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	f.mounts = strings.Split(string(mounts), "\n")
	f.interfaces, _ = filepath.Glob("/sys/class/net/*")
	for _, dir := range []string{Shared, "/tmp", "/run", "/etc/dnet"} {
		entries, _ := filepath.Glob(dir + "/*")
		for _, e := range entries {
			// Other programs of the host use /tmp too.
			if dir != "/tmp" || strings.Contains(e, "lab") || strings.Contains(e, "dnet") || strings.Contains(e, "Test") {
				f.files = append(f.files, e)
			}
		}
	}
	return f
}

// sameFootprint fails the test unless everything is as it was; processes that were killed may take a moment.
func sameFootprint(t *testing.T, before traces) {
	t.Helper()
	var after traces
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		after = footprint(t)
		if slices.Equal(before.processes, after.processes) && slices.Equal(before.interfaces, after.interfaces) {
			break
		}
	}
	for _, kind := range []struct {
		name    string
		was, is []string
	}{
		{"processes", before.processes, after.processes},
		{"mounts", before.mounts, after.mounts},
		{"interfaces", before.interfaces, after.interfaces},
		{"files", before.files, after.files},
	} {
		if !slices.Equal(kind.was, kind.is) {
			t.Errorf("%s before:\n%s\nafter:\n%s", kind.name, strings.Join(kind.was, "\n"), strings.Join(kind.is, "\n"))
		}
	}
	if len(before.namespaces) != len(after.namespaces) {
		t.Errorf("namespaces before: %v\nafter: %v", before.namespaces, after.namespaces)
	}
}

// victimEnv says to TestVictim in what way to end.
const victimEnv = "DNET_LAB_VICTIM"

// TestVictim is run by other tests, in a process of its own, so in a world of its own within the world.
func TestVictim(t *testing.T) {
	way := os.Getenv(victimEnv)
	if way == "" {
		return
	}
	l := New(t, Config{})
	for _, m := range l.Machines() {
		m.Start("sleep", "1000")
		m.Sh("setsid sleep 1000 >/dev/null 2>&1 &")
		m.Sh("echo x >/tmp/file; echo x >/run/file")
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "dnet-victim"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nvictim is ready")
	switch way {
	case "wait":
		select {}
	case "fail":
		t.Fatal("as wished")
	case "panic":
		panic("as wished")
	case "exit":
		os.Exit(7)
	}
}

// victim starts TestVictim by a command, and returns when its lab stands.
func victim(t *testing.T, way string, cmd *exec.Cmd) *bytes.Buffer {
	t.Helper()
	cmd.Env = append(os.Environ(), victimEnv+"="+way)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	lines := bufio.NewReader(io.TeeReader(out, &said))
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the victim ended before it was ready:\n%s", said.String())
		}
		if line == "victim is ready\n" {
			return &said
		}
	}
}

func victimCommand() *exec.Cmd {
	return exec.Command("/proc/self/exe", "-test.run=^TestVictim$")
}

func TestNothingIsLeftAfterASignal(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		before := footprint(t)
		cmd := victimCommand()
		victim(t, "wait", cmd)
		if len(footprint(t).processes) < len(before.processes)+12 {
			t.Errorf("the victim's processes are not seen: %v", footprint(t).processes)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("after %v the victim exits with status 0", sig)
		}
		sameFootprint(t, before)
	}
}

// A test binary that is late is asked by SIGQUIT for its stacks.
func TestQuitShowsStacks(t *testing.T) {
	before := footprint(t)
	cmd := victimCommand()
	cmd.Env = append(os.Environ(), victimEnv+"=wait")
	cmd.Stdout = nil
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewReader(r)
	for line := ""; line != "victim is ready\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(unix.SIGQUIT)
	text, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err == nil || !bytes.Contains(text, []byte("lab.TestVictim")) {
		t.Errorf("SIGQUIT: %v; the stacks are not shown:\n%s", err, text)
	}
	sameFootprint(t, before)
}

func TestNothingIsLeftWhenTheGoCommandIsKilled(t *testing.T) {
	before := footprint(t)
	dir := t.TempDir()
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), shell, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "go"), "-c", self+" -test.run='^TestVictim$' & wait")
	victim(t, "wait", cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	os.RemoveAll(filepath.Dir(dir))
	sameFootprint(t, before)
}

func TestStatusAndOutputComeThrough(t *testing.T) {
	for way, status := range map[string]int{"pass": 0, "fail": 1, "panic": 2, "exit": 7} {
		before := footprint(t)
		cmd := victimCommand()
		cmd.Env = append(os.Environ(), victimEnv+"="+way)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("%s: exit status %d, want %d:\n%s", way, got, status, out)
		}
		if status == 1 && !strings.Contains(string(out), "as wished") {
			t.Errorf("%s: the output is %s", way, out)
		}
		sameFootprint(t, before)
	}
}

// forOthers copies this program to where any user may run it.
func forOthers(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for d := dir; d != Shared; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "lab.test")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// The tests that an ordinary user repeats, and what they need.
const repeated = "-test.run=^(TestEveryMachineHasItsOwn|TestCommand|TestMachinesHear.*|TestLink|TestTCP|TestUsers|TestNothingIsLeftAfterASignal|TestNetman.*)$"

// usersEnv says to TestUsers what the world should have.
const usersEnv = "DNET_LAB_USERS"

func TestUsers(t *testing.T) {
	switch want := os.Getenv(usersEnv); {
	case want == "":
	case want == "one" && ManyUsers(), want == "many" && !ManyUsers():
		t.Errorf("ManyUsers is %v here, where there should be %s", ManyUsers(), want)
	}
	if m := New(t, Config{Machines: []string{"grumpy"}}).Machine("grumpy"); ManyUsers() {
		c := m.Command("id", "-u")
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := c.Output(); err != nil || string(out) != "65534\n" {
			t.Errorf("id -u as nobody: %q, %v", out, err)
		}
	}
}

func TestAsAnOrdinaryUser(t *testing.T) {
	if !sameUsers() {
		return // this test is being run by an ordinary user
	}
	before := footprint(t)
	dir := filepath.Dir(t.TempDir())
	cmd := exec.Command(forOthers(t), repeated, "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME=/", usersEnv+"=one")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nPASS\n") {
		t.Errorf("as uid %d: %v\n%s", nobody, err, out)
	}
	os.RemoveAll(dir)
	sameFootprint(t, before)
}

// In a machine, where /etc/subuid is our own.
func TestAsAUserWithSubordinateIDs(t *testing.T) {
	if !sameUsers() {
		return
	}
	Need(t, "newuidmap", "newgidmap")
	m := New(t, Config{Machines: []string{"grumpy"}}).Machine("grumpy")
	m.Sh("echo nobody:200000:65536 | tee /etc/subuid >/etc/subgid")
	c := m.Command(forOthers(t), repeated, "-test.v")
	c.Dir = "/"
	c.Env = append(c.Env, usersEnv+"=many")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "\nPASS\n") {
		t.Errorf("as a user with subordinate ids: %v\n%s", err, out)
	}
}
