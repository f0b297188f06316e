// Package rawcall moves many records through a Unix seqpacket socket in one system call: recvmmsg(2) and sendmmsg(2), which
// golang.org/x/sys has the structures for and not the calls.
//
// The calls never block (MSG_DONTWAIT), so they are raw: Go's scheduler is not told of them, which netman's loop gains by. The memory
// that the kernel reads and writes is on the heap and stays where it is.
package rawcall
