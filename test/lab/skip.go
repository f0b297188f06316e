package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// T is what the lab needs of a *testing.T or *testing.B; the demo has its own.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// Skipper is a T that can be skipped.
type Skipper interface {
	T
	Skipf(format string, args ...any)
}

// Skip ends a test that cannot be run here because the machine lacks something: what, and why that stops the test (or what to
// do about it). Every test of the project that skips does it by this function, so that no skip is overlooked: `make test`
// names a file in $DNET_SKIPS, to which each skip adds a line "what: why", and prints it as the last line of its output. With CI
// set a skip is a failure.
func Skip(t Skipper, what, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s: %s (CI is set, so nothing may be skipped)", what, why)
	}
	if err := noteSkip(what, why); err != nil {
		t.Fatalf("%v", err)
	}
	t.Skipf("%s: %s", what, why)
}

// Absent ends a test of something that this kernel or processor has not and nobody can install: it is named like a skip, but is no
// failure where CI is set.
func Absent(t Skipper, what, why string) {
	t.Helper()
	if err := noteSkip(what, why); err != nil {
		t.Fatalf("%v", err)
	}
	t.Skipf("%s: %s", what, why)
}

// Need skips a test unless all the named programs are installed.
func Need(t Skipper, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := findTool(tool); err != nil {
			Skip(t, tool, "not installed")
		}
	}
}

// FUSE says why circuits cannot be files here; nil: they can.
func FUSE() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// NeedFUSE skips a test of circuits as files where they cannot be.
func NeedFUSE(t Skipper) {
	t.Helper()
	if err := FUSE(); err != nil {
		Skip(t, "/dev/fuse", "circuits as files: "+err.Error())
	}
}

// noteSkip adds a line to the file named by $DNET_SKIPS, if it is set.
func noteSkip(what, why string) error {
	name := os.Getenv("DNET_SKIPS")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) { // only then: to "create" another user's file in /tmp is forbidden (proc_sys_fs(5))
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	}
	if err != nil {
		return fmt.Errorf("the list of skips: %w", err)
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s: %s\n", what, strings.ReplaceAll(why, "\n", " "))
	return err
}

// lacking says why there can be no world, and returns the exit status: 0 where that is a skip that make test collects.
func lacking(what, why string) int {
	fmt.Fprintf(os.Stderr, "lab: no machines here: %s: %s\n", what, why)
	if os.Getenv("DNET_SKIPS") == "" || os.Getenv("CI") != "" {
		return 1
	}
	if err := noteSkip("machines", what+": "+why); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// whyNot explains an error of making namespaces or mounts, and says what to do.
func whyNot(err error, ordinary bool) string {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case ordinary && sysctl("kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are forbidden here; as root: sysctl kernel.unprivileged_userns_clone=1, or run this as root"
	case ordinary && sysctl("user/max_user_namespaces") == "0":
		return "user namespaces are forbidden here; as root: sysctl user.max_user_namespaces=10000, or run this as root"
	case ordinary && denied && sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor keeps rights from user namespaces here (" + err.Error() +
			"); as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run this as root"
	case ordinary && errors.Is(err, unix.ENOSPC):
		return "there are too many user namespaces (" + err.Error() + "); as root: raise sysctl user.max_user_namespaces"
	case ordinary && denied:
		return "user namespaces are not allowed here (" + err.Error() + "); run this as root, and in a container one started with --privileged"
	case denied:
		return "root lacks rights here (" + err.Error() + "); a container must be started with --privileged"
	}
	return err.Error()
}

// sysctl reads a kernel setting; "" where there is no such setting.
func sysctl(name string) string {
	text, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(text))
}
