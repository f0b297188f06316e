package session

import (
	"encoding/binary"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Utmp is a record of utmp(5), as Linux has it on 64-bit machines: 384 octets.
//
//	type 2, 2 of padding | pid 4 | line 32 | id 4 | user 32 | host 256 | exit 4 | session 4 | time 4+4 | address 16 | 20
type Utmp struct {
	Type utmpType
	Pid  int
	Line string // "pts/3"
	User string
	Host string // the calling machine
	Time time.Time
	id   string // tells one line from another; "" is what login(1) makes of the line
}

type utmpType uint16

// UserProcess is a session that lives, DeadProcess one that is over.
const (
	UserProcess utmpType = 7
	DeadProcess utmpType = 8
)

const utmpLength = 384

// append writes the record in the machine's order of octets.
func (u Utmp) append(dst []byte) []byte {
	order := binary.NativeEndian
	r := make([]byte, utmpLength)
	order.PutUint16(r, uint16(u.Type))
	order.PutUint32(r[4:], uint32(u.Pid))
	copy(r[8:40], u.Line)
	copy(r[40:44], u.id)
	copy(r[44:76], u.User)
	copy(r[76:332], u.Host)
	order.PutUint32(r[336:], uint32(u.Pid))
	order.PutUint32(r[340:], uint32(u.Time.Unix()))
	order.PutUint32(r[344:], uint32(u.Time.Nanosecond()/1000))
	return append(dst, r...)
}

// Write notes the session in utmp and wtmp, where these files are and this process may write them.
func (u Utmp) Write() {
	u.id = u.Line[min(3, len(u.Line)):]
	if f, err := os.OpenFile("/run/utmp", os.O_RDWR, 0); err == nil {
		defer f.Close()
		// The lock that libc takes too.
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		unix.FcntlFlock(f.Fd(), unix.F_SETLKW, &lock)
		at := u.place(f)
		f.WriteAt(u.append(nil), at)
	}
	if f, err := os.OpenFile("/var/log/wtmp", os.O_WRONLY|os.O_APPEND, 0); err == nil {
		defer f.Close()
		f.Write(u.append(nil))
	}
}

// place is where the record of this line is, whose id u takes then; else the end.
func (u *Utmp) place(f *os.File) (at int64) {
	r := make([]byte, utmpLength)
	for ; ; at += utmpLength {
		if n, _ := f.ReadAt(r, at); n < utmpLength {
			return at
		}
		if line, _, _ := strings.Cut(string(r[8:40]), "\x00"); line == u.Line {
			u.id = string(r[40:44])
			return at
		}
	}
}
