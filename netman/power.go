package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// dropPower leaves nothing to whoever takes this process over but the descriptors that it has and gets. Without root, as little as
// the kernel lets an ordinary user give up.
func (s *wireSetup) dropPower() error {
	time.Now().Zone() // which reads a file, the first time
	if s.Root {
		if err := errors.Join(unix.Fchdir(rootFd), unix.Chroot("."), unix.Close(rootFd)); err != nil {
			return fmt.Errorf("going into an empty directory: %w", err)
		}
		// In a user namespace that maps one user there is no other to become, and no list of groups to give up.
		err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(s.GID, s.GID, s.GID), syscall.Setresuid(s.UID, s.UID, s.UID))
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("becoming user %d: %w", s.UID, err)
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	// On all threads; not in a program with C in it, which make does not build.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 && !(errno == unix.ENOTSUP && s.Root) { // another user has none anyway
		return fmt.Errorf("giving up capabilities: %w (build netman by make, without cgo)", errno)
	}
	// To become another user has cleared what the keeper asked of the kernel: that this process dies with it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	return forbid()
}

// forbidden are the system calls that the wire has no use for and an intruder would: to open files, to run programs, to look into
// other processes, to change what is mounted and what is allowed. A filter that lists what is allowed instead would break with each
// new Go and each new kernel.
var forbidden = []string{
	"open", "openat", "openat2", "creat", "open_by_handle_at", "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv",
	"process_vm_writev", "kill", "tkill", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "mount", "umount2", "move_mount", "open_tree", "fsopen",
	"pivot_root", "chroot", "setns", "unshare", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key",
	"request_key", "init_module", "finit_module", "kexec_load", "reboot", "swapon", "swapoff", "link", "linkat", "symlink", "symlinkat",
	"unlink", "unlinkat", "rename", "renameat", "renameat2", "mknod", "mknodat", "mkdir", "mkdirat", "chmod", "fchmodat", "chown", "lchown",
	"fchownat", "setuid", "setgid", "setresuid", "setresgid", "setgroups",
}

// forbid has the kernel refuse them to every thread, for good (seccomp(2)); it also bars new privileges.
func forbid() error {
	if !seccomp.Supported() {
		return nil
	}
	err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, Names: forbidden}},
		},
	})
	if err != nil {
		return fmt.Errorf("system call filter: %w", err)
	}
	return nil
}
