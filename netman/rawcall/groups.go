package rawcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxGroups is the most supplementary groups that a process may have (NGROUPS_MAX).
const maxGroups = 65536

// PeerGroups are the supplementary groups that the process at the other end of a Unix socket had when it connected (SO_PEERGROUPS).
func PeerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && len(groups) < maxGroups: // size is now what is needed
			groups = make([]uint32, min(max(int(size)/4, 2*len(groups)), maxGroups))
		default:
			return nil, errno
		}
	}
}
