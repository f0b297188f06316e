package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
)

// memo is what netman's two processes say to each other: one JSON object per record of a seqpacket socket, with at most three
// descriptors. The keeper trusts none that it gets.
//
//	keeper to wire   setup      once, first: Setup
//	                 service    one of servtab, to be offered by the next `services`
//	                 services   those since the last one are what this machine offers
//	                 port       Link is open, or Error says why not; the packet sockets, and what holds the interface for this netman
//	                 mount      circuits are files in the directory Name; the FUSE device
//	                 pin, unpin Machine is known by Key, Accepted, or not any more
//	                 secrets    Seal has those of the site, anew
//	                 begin      claim the name
//	                 visitor    at the door: UID, User, Admin, Pass; the connection
//	                 admitted   ID: the call is let in, or Barred
//	                 started    ID: the server is PID and runs As, or Error, Barred, Scarce; circuit mode: data, the server's end of it, control; bytes mode: its output, its input
//	                 vouched    ID: the call is User's, by Credential; or Error says why it has none
//	                 signalled  ID: the signal is sent, or the server has gone
//	                 exited     ID: the server has ended; Failed
//	                 user       UID is User; Admin
//	                 stop       go: Text says why
//	wire to keeper   open       the interface Name
//	                 start      ID: a server of Service for a call of User on Machine; Stream, Local, Pass, Credential
//	                 vouch      ID: the credential of a call of Service on Machine, which was started as Boot; Stream, Pass
//	                 met        Machine, with Key, for the first time
//	                 refused    Machine came with Key, which is not its own
//	                 who        the name of UID is wanted
//	                 may        ID: may User on Machine call Service? Stream, Local, Pass, Credential
//	                 signal     ID: send the server's process group Signal
type memo struct {
	Kind     string    `json:"kind"`
	ID       uint64    `json:"id,omitempty"`
	Name     string    `json:"name,omitempty"`
	Service  string    `json:"service,omitempty"`
	Machine  string    `json:"machine,omitempty"`
	User     string    `json:"user,omitempty"`
	UID      uint32    `json:"uid,omitempty"`
	Pass     uint64    `json:"pass,omitempty"`   // by which the keeper knows a visitor again
	Local    bool      `json:"local,omitempty"`  // the call is of this machine
	Barred   bool      `json:"barred,omitempty"` // the Error is that the caller is not let in
	As       string    `json:"as,omitempty"`     // the user that the server runs as
	Key      string    `json:"key,omitempty"`    // of Machine
	Accepted bool      `json:"accepted,omitempty"`
	How      string    `json:"how,omitempty"`
	Seal     *wireSeal `json:"seal,omitempty"`
	Admin    bool      `json:"admin,omitempty"` // may do what only the administrator may
	Stream   bool      `json:"stream,omitempty"`
	Signal   int       `json:"signal,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Failed   bool      `json:"failed,omitempty"`
	Boot     uint64    `json:"boot,omitempty"`
	Unproven bool      `json:"unproven,omitempty"` // the Error is that the credential does not hold

	Credential []byte       `json:"credential,omitempty"`
	Text       string       `json:"text,omitempty"`
	Error      string       `json:"error,omitempty"`
	Scarce     bool         `json:"scarce,omitempty"` // the Error is that of descriptors, memory or processes that are used up
	Link       ether.Link   `json:"link,omitzero"`
	Offer      serviceOffer `json:"offer,omitzero"`
	Setup      *wireSetup   `json:"setup,omitempty"`
}

// wireSetup is what the wire is told at its start.
type wireSetup struct {
	Machine   string        `json:"machine"`
	Boot      uint64        `json:"boot"`
	Door      string        `json:"door"`
	Tolerance time.Duration `json:"tolerance"`
	Ethertype uint16        `json:"ethertype"`
	Ifaces    []string      `json:"ifaces"`
	Faults    string        `json:"faults"`
	Trace     bool          `json:"trace"`
	Owner     uint32        `json:"owner"`   // netman's user
	Seal      *wireSeal     `json:"seal"`    // nil in mode open
	Capture   bool          `json:"capture"` // the memo brings the file
	Root      bool          `json:"root"`    // netman is root: live in the empty directory at rootFd
	UID       int           `json:"uid"`     // to become, with Root
	GID       int           `json:"gid"`
}

// serviceOffer is what the wire knows of a service of servtab.
type serviceOffer struct {
	Name  string   `json:"name"`
	Argv  []string `json:"argv"`
	Bytes bool     `json:"bytes"`
	As    string   `json:"as"`
	Max   int      `json:"max"`

	UID      uint32 `json:"uid"`                // of As
	Guarded  bool   `json:"guarded,omitempty"`  // not everybody may call it
	Resident bool   `json:"resident,omitempty"` // its server registers it at the door
	Indirect bool   `json:"indirect,omitempty"` // circuits within this machine go through netman too
}

// maxMemo is the longest memo, in octets.
const maxMemo = 64 << 10

// encode is the record of a memo.
func (m *memo) encode() ([]byte, error) {
	record, err := json.Marshal(m)
	if err == nil && len(record) > maxMemo {
		err = fmt.Errorf("a memo of %d octets: %s", len(record), m.Kind)
	}
	return record, err
}

// memoLine is the keeper's end: it may be written by any goroutine, and blocks while the wire does not read.
type memoLine struct {
	file *os.File
	mu   sync.Mutex // of writing
	buf  []byte     // of reading, which one goroutine does
}

func newMemoLine(fd int) *memoLine {
	return &memoLine{file: os.NewFile(uintptr(fd), "wire"), buf: make([]byte, maxMemo)}
}

// send sends a memo with descriptors, which stay the caller's.
func (l *memoLine) send(m *memo, fds ...int) error {
	record, err := m.encode()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err = circuit.SendFds(int(l.file.Fd()), record, fds...)
	if err == unix.EAGAIN {
		unix.Shutdown(int(l.file.Fd()), unix.SHUT_RDWR) // which the reader takes for the wire's end
	}
	return err
}

// receive waits for a memo; io.EOF when the wire has gone. No memo to the keeper brings descriptors: any that come are closed.
func (l *memoLine) receive() (*memo, error) {
	n, fds, err := circuit.RecvFds(int(l.file.Fd()), l.buf)
	circuit.CloseFds(fds)
	if err != nil {
		return nil, err
	}
	return decodeMemo(l.buf[:n])
}

func decodeMemo(record []byte) (*memo, error) {
	m := &memo{}
	if err := json.Unmarshal(record, m); err != nil {
		return nil, fmt.Errorf("a memo that is none: %w", err)
	}
	return m, nil
}

// receiveMemo reads one memo of the keeper with its descriptors, or without any if there are none left: unix.EAGAIN if there is none now, io.EOF when the keeper has gone.
func receiveMemo(fd int, buf []byte) (*memo, []int, error) {
	n, fds, err := circuit.RecvFds(fd, buf)
	switch err {
	case unix.ECONNRESET:
		err = io.EOF
	case circuit.ErrTruncated:
		err = nil // there were no descriptors left for those that came, and whoever they are for is told
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := decodeMemo(buf[:n])
	if err != nil {
		circuit.CloseFds(fds)
	}
	return m, fds, err
}
