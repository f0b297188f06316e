// Package fusedev is a FUSE mount at the level of its device: requests in, replies out, and the knocks that wake a poll. It keeps no
// files; netman does. The structures are those of go-fuse, which follow the kernel's <linux/fuse.h>; its server is not used, because
// it answers each request on a goroutine, and cannot poll.
//
//	        +----------+-----------+-----------+-----------+------------------+----------------------+
//	request | length 4 | opcode 4  | unique 8  | node 8    | uid gid pid pad  | of the opcode        |   read(2) takes one
//	        +----------+-----------+-----------+-----------+------------------+----------------------+
//	        +----------+-----------+-----------+----------------------+
//	reply   | length 4 | -errno 4  | unique 8  | of the opcode        |                                   one writev(2)
//	        +----------+-----------+-----------+----------------------+
//	knock   | length 4 | 1         | 0         | 8: the poll's key    |                                   one write(2)
//	        +----------+-----------+-----------+----------------------+
//
// Numbers are in the byte order of the machine. A request is answered once, at any time, in any order, by its unique number; Forget,
// BatchForget and Interrupt have no reply. A request that the kernel interrupts stays the daemon's to answer: the reply that says
// EINTR is the only way to let the program go. To answer Interrupt itself with EAGAIN would make the kernel repeat it at once.
package fusedev
