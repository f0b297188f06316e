package lab

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Shared is the directory of the world's temporary files ($TMPDIR of tests), seen at the same place by every machine.
const Shared = "/run/lab"

// lifelineFd is the descriptor, in pid 1 of the world, that reads end of file when the process that made the world has gone.
const lifelineFd = 3

// waitForIDs is the first stage inside: as soon as the ids are mapped, run again, as root of the user namespace.
func waitForIDs() {
	var b [1]byte
	if n, err := unix.Read(lifelineFd, b[:]); n != 1 {
		fmt.Fprintln(os.Stderr, "lab: the world was not wanted any more:", err)
		os.Exit(1)
	}
	env := append(os.Environ(), stageEnv+"=init")
	err := unix.Exec("/proc/self/exe", os.Args, env)
	fmt.Fprintln(os.Stderr, "lab: run again:", err)
	os.Exit(1)
}

// worldInit is pid 1 of the world: it mounts, runs the main stage, reaps, and exits as that exits.
func worldInit() {
	// The rights that running again gave have taken the death signal away (prctl(2)). Should the parent have gone before this
	// line, the lifeline tells.
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	unix.CloseOnExec(lifelineFd)
	go func() {
		var b [1]byte
		for {
			if n, err := unix.Read(lifelineFd, b[:]); n == 0 && err == nil {
				os.Exit(128 + int(unix.SIGKILL))
			}
		}
	}()
	if err := buildWorld(); err != nil {
		os.Exit(lacking("namespaces", whyNot(err, !sameUsers())))
	}
	os.Setenv("TMPDIR", Shared)
	os.Setenv("PATH", os.Getenv("PATH")+":"+strings.Join(sbin, ":"))
	cmd := again("main", os.Args)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: run again:", err)
		os.Exit(1)
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, unix.SIGQUIT)
	go func() {
		for sig := range quit {
			cmd.Process.Signal(sig)
		}
	}()
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR || err == nil && pid != cmd.Process.Pid:
		case err != nil:
			os.Exit(1)
		case ws.Signaled():
			os.Exit(128 + int(ws.Signal()))
		default:
			os.Exit(ws.ExitStatus())
		}
	}
}

// sameUsers reports whether this process is in the user namespace that the machine started with.
func sameUsers() bool {
	text, _ := os.ReadFile("/proc/self/uid_map")
	return strings.Join(strings.Fields(string(text)), " ") == "0 0 4294967295"
}

// buildWorld makes the mounts of the world.
func buildWorld() error {
	kept, err := keep(projectRoot(), workingDir())
	if err != nil {
		return err
	}
	if err := mountKernel(); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	if err := os.Mkdir(Shared, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(Shared, 0o777|os.ModeSticky); err != nil {
		return err
	}
	if err := kept.restore(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	return quietIPv6()
}

// mountKernel makes mounts private and mounts /proc and /sys anew: they show the namespaces of the process that mounts them.
func mountKernel() error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := mount("proc", "/proc", "proc", flags, ""); err != nil {
		return err
	}
	return mount("sysfs", "/sys", "sysfs", flags, "")
}

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, target, err)
	}
	return nil
}

// quietIPv6 keeps IPv6 off the interfaces of this net namespace, those that come later too: nobody but the tests talks on the wire.
func quietIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// kept are directories that mounts made after keep may hide; restore puts them back at their places.
type kept map[string]*os.File

func keep(paths ...string) (kept, error) {
	k := kept{}
	for _, path := range paths {
		if path == "" || path == "/" {
			continue
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		k[path] = os.NewFile(uintptr(fd), path)
	}
	return k, nil
}

func (k kept) restore() error {
	for path, dir := range k {
		defer dir.Close()
		var was, is unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &was); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if unix.Stat(path, &is) == nil && is.Dev == was.Dev && is.Ino == was.Ino {
			continue
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return nil
}

// workingDir is the directory that this process is in, or "".
func workingDir() string {
	dir, _ := os.Getwd()
	return dir
}

// projectRoot is the nearest directory, upwards from this one, that has a go.mod; or "".
func projectRoot() string {
	for dir := workingDir(); dir != ""; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) {
			return dir
		}
		if dir == "/" {
			break
		}
	}
	return ""
}
