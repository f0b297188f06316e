package fusedev

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// message puts a request together as <linux/fuse.h> has it: the header, then numbers of 4 and 8 octets, and octets as they are.
func message(op Op, parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch v := part.(type) {
		case uint32:
			b = binary.NativeEndian.AppendUint32(b, v)
		case uint64:
			b = binary.NativeEndian.AppendUint64(b, v)
		case string:
			b = append(b, v...)
		}
	}
	var h []byte
	h = binary.NativeEndian.AppendUint32(h, uint32(40+len(b)))
	h = binary.NativeEndian.AppendUint32(h, uint32(op))
	h = binary.NativeEndian.AppendUint64(h, 0x1122334455667788) // unique
	h = binary.NativeEndian.AppendUint64(h, 99)                 // node
	for _, id := range []uint32{1000, 100, 4242, 0} {           // uid, gid, pid, padding
		h = binary.NativeEndian.AppendUint32(h, id)
	}
	return append(h, b...)
}

const u32, u64 = uint32(0), uint64(0) // zeros

// requests are one of each kind that has something to be read, and what it says.
var requests = map[string]struct {
	octets []byte
	want   Request
}{
	"lookup":     {message(Lookup, "echo.moon\x00"), Request{Op: Lookup, Name: []byte("echo.moon")}},
	"open":       {message(Open, uint32(unix.O_RDWR|unix.O_NONBLOCK), u32), Request{Op: Open, Flags: unix.O_RDWR | unix.O_NONBLOCK}},
	"read":       {message(Read, uint64(7), uint64(512), uint32(4096), u32, u64, uint32(unix.O_NONBLOCK), u32), Request{Op: Read, Handle: 7, Offset: 512, Size: 4096, Flags: unix.O_NONBLOCK}},
	"write":      {message(Write, uint64(7), uint64(3), uint32(5), u32, u64, uint32(unix.O_APPEND), u32, "\x80abcd"), Request{Op: Write, Handle: 7, Offset: 3, Size: 5, Flags: unix.O_APPEND, Data: []byte("\x80abcd")}},
	"release":    {message(Release, uint64(7), u32, u32, u64), Request{Op: Release, Handle: 7}},
	"poll":       {message(Poll, uint64(7), uint64(0xabc), uint32(1), uint32(unix.POLLIN)), Request{Op: Poll, Handle: 7, Key: 0xabc, Armed: true, Events: unix.POLLIN}},
	"poll once":  {message(Poll, uint64(7), uint64(0xabc), u32, uint32(unix.POLLOUT)), Request{Op: Poll, Handle: 7, Key: 0xabc, Events: unix.POLLOUT}},
	"ioctl":      {message(Ioctl, uint64(7), u32, uint32(0x40214e01), uint64(0x7fff0000), uint32(3), u32, "abc"), Request{Op: Ioctl, Handle: 7, Command: 0x40214e01, Data: []byte("abc")}},
	"ioctl out":  {message(Ioctl, uint64(7), u32, uint32(0x80214e02), u64, u32, uint32(33)), Request{Op: Ioctl, Handle: 7, Command: 0x80214e02, Data: []byte{}, Room: 33}},
	"getxattr":   {message(GetXattr, uint32(64), u32, "user.dnet.user\x00"), Request{Op: GetXattr, Size: 64, Name: []byte("user.dnet.user")}},
	"listxattr":  {message(ListXattr, uint32(64), u32), Request{Op: ListXattr, Size: 64}},
	"interrupt":  {message(Interrupt, uint64(12)), Request{Op: Interrupt, Target: 12}},
	"forget":     {message(Forget, uint64(3)), Request{Op: Forget, Forgotten: []Forgotten{{99, 3}}}},
	"forget two": {message(BatchForget, uint32(2), u32, uint64(5), uint64(1), uint64(6), uint64(2)), Request{Op: BatchForget, Forgotten: []Forgotten{{5, 1}, {6, 2}}}},
	"readdir":    {message(ReadDir, uint64(8), uint64(2), uint32(1000), u32, u64, u32, u32), Request{Op: ReadDir, Handle: 8, Offset: 2, Size: 1000}},
	"unknown":    {message(4711, "anything"), Request{Op: 4711}},
}

func TestParse(t *testing.T) {
	for name, c := range requests {
		var r Request
		if err := r.Parse(c.octets); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := c.want
		want.Unique, want.Node, want.UID, want.GID, want.PID = 0x1122334455667788, 99, 1000, 100, 4242
		if !same(r, want) {
			t.Errorf("%s says %+v, want %+v", name, r, want)
		}
	}
}

func same(a, b Request) bool {
	if !bytes.Equal(a.Name, b.Name) || !bytes.Equal(a.Data, b.Data) || len(a.Forgotten) != len(b.Forgotten) {
		return false
	}
	for i := range a.Forgotten {
		if a.Forgotten[i] != b.Forgotten[i] {
			return false
		}
	}
	return a.Op == b.Op && a.Unique == b.Unique && a.Node == b.Node && a.UID == b.UID && a.GID == b.GID && a.PID == b.PID &&
		a.Handle == b.Handle && a.Flags == b.Flags && a.Offset == b.Offset && a.Size == b.Size && a.Events == b.Events &&
		a.Key == b.Key && a.Armed == b.Armed && a.Command == b.Command && a.Room == b.Room && a.Target == b.Target
}

// What is cut short, or says another length than it has, is an error, and no more.
func TestParseRefuses(t *testing.T) {
	for name, c := range requests {
		for n := range len(c.octets) {
			var r Request
			if r.Parse(c.octets[:n]) == nil {
				t.Errorf("%s: %d of %d octets were taken", name, n, len(c.octets))
			}
		}
	}
	for name, b := range map[string][]byte{
		"a name without an end":            message(Lookup, "echo"),
		"a write longer than its data":     message(Write, uint64(7), u64, uint32(6), u32, u64, u32, u32, "abcde"),
		"a write shorter than its data":    message(Write, uint64(7), u64, uint32(4), u32, u64, u32, u32, "abcde"),
		"an ioctl longer than its data":    message(Ioctl, uint64(7), u32, u32, u64, uint32(4), u32, "abc"),
		"more to forget than there is":     message(BatchForget, uint32(3), u32, uint64(5), uint64(1), uint64(6), uint64(2)),
		"far more to forget than there is": message(BatchForget, uint32(0xffffffff), u32, uint64(5), uint64(1)),
	} {
		var r Request
		if r.Parse(b) == nil {
			t.Errorf("%s was taken: %+v", name, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range requests {
		f.Add(c.octets)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if r.Parse(b) != nil {
			return
		}
		if len(r.Name) > len(b) || len(r.Data) > len(b) || 16*len(r.Forgotten) > len(b) {
			t.Errorf("more came out than went in: %+v", r)
		}
		_ = r.Op.String()
	})
}

func TestParseAllocatesNothing(t *testing.T) {
	var r Request
	for _, name := range []string{"read", "write", "poll", "lookup"} {
		octets := requests[name].octets
		if n := testing.AllocsPerRun(100, func() { r.Parse(octets) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// device is one whose kernel is the test.
func device(t *testing.T) (*Device, func() []byte, func([]byte)) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	buf := make([]byte, MaxRequest)
	says := func() []byte {
		n, err := unix.Read(pair[1], buf)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		return buf[:n]
	}
	return New(pair[0], ""), says, func(b []byte) { unix.Write(pair[1], b) }
}

// answer is a reply as fuse.h has it: length, -errno, unique, then what is said.
func answer(errno int32, unique uint64, parts ...any) []byte {
	body := message(0, parts...)[40:]
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.NativeEndian.AppendUint32(b, uint32(errno))
	return append(binary.NativeEndian.AppendUint64(b, unique), body...)
}

func TestReplies(t *testing.T) {
	d, says, _ := device(t)
	dir := NewDir(80)
	if !dir.Add("echo", 9, 1, unix.S_IFREG) || !dir.Add("plain", 2, 2, unix.S_IFDIR) || dir.Add("x", 3, 3, unix.S_IFREG) {
		t.Error("80 octets are room for two entries of 32, not for three")
	}
	for _, c := range []struct {
		name string
		do   func()
		want []byte
	}{
		{"an error", func() { d.Fail(5, unix.ENOENT) }, answer(-2, 5)},
		{"data in two parts", func() { d.Reply(5, []byte("\x10"), []byte("abc")) }, answer(0, 5, "\x10abc")},
		{"the end of a file", func() { d.Reply(5) }, answer(0, 5)},
		{"open: direct, no flush, no position", func() { d.Opened(5, 7) }, answer(0, 5, uint64(7), uint32(1|4|16|32), u32)},
		{"written", func() { d.Written(5, 300) }, answer(0, 5, uint32(300), u32)},
		{"poll", func() { d.Ready(5, unix.POLLIN|unix.POLLHUP) }, answer(0, 5, uint32(0x11), u32)},
		{"a knock: unique 0, code 1", func() { d.Knock(0xabc) }, answer(1, 0, uint64(0xabc))},
		{"ioctl", func() { d.Result(5, 2, []byte("\x02ab")) }, answer(0, 5, uint32(2), u32, u32, u32, "\x02ab")},
		{"how long an attribute is", func() { d.Xattr(5, []byte("alice"), 0) }, answer(0, 5, uint32(5), u32)},
		{"an attribute", func() { d.Xattr(5, []byte("alice"), 5) }, answer(0, 5, "alice")},
		{"an attribute without room", func() { d.Xattr(5, []byte("alice"), 4) }, answer(-int32(unix.ERANGE), 5)},
		{"a listing", func() { d.Listing(5, dir) }, answer(0, 5, uint64(9), uint64(1), uint32(4), uint32(8), "echo\x00\x00\x00\x00",
			uint64(2), uint64(2), uint32(5), uint32(4), "plain\x00\x00\x00")},
	} {
		c.do()
		if got := says(); !bytes.Equal(got, c.want) {
			t.Errorf("%s:\n% x, want\n% x", c.name, got, c.want)
		}
	}
}

// The first request is answered by the device itself; one that is not understood is refused, and told.
func TestNext(t *testing.T) {
	d, says, ask := device(t)
	ask(message(Init, uint32(7), uint32(38), uint32(131072), uint32(0xffffffff)))
	ask(message(Read, uint64(7)))
	ask(requests["read"].octets)
	var r Request
	if err := d.Next(&r); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("a read that is too short: %v", err)
	}
	got := says()
	const wanted = 1<<3 | 1<<5 | 1<<18 | 1<<22 // atomic O_TRUNC, big writes, parallel directory operations, pages
	if len(got) != 16+64 || !bytes.HasPrefix(got[16:], message(0, uint32(7), uint32(38), u32, uint32(wanted))[40:]) ||
		binary.NativeEndian.Uint32(got[16+20:]) != MaxWrite {
		t.Errorf("the greeting is % x", got)
	}
	if got := says(); !bytes.Equal(got, answer(-int32(unix.EIO), 0x1122334455667788)) {
		t.Errorf("what was not understood is answered by % x", got)
	}
	if err := d.Next(&r); err != nil || r.Op != Read || r.Size != 4096 {
		t.Errorf("the next request is %+v, %v", r, err)
	}
	if err := d.Next(&r); err != unix.EAGAIN {
		t.Errorf("without a request: %v", err)
	}
}

// The replies of the data path allocate nothing.
func TestRepliesAllocateNothing(t *testing.T) {
	d, says, _ := device(t)
	control, data := []byte{0}, make([]byte, 1000)
	for name, do := range map[string]func(){
		"read": func() { d.Reply(5, control, data) }, "write": func() { d.Written(5, 300) }, "an error": func() { d.Fail(5, unix.EAGAIN) },
		"poll": func() { d.Ready(5, unix.POLLIN) }, "knock": func() { d.Knock(7) },
	} {
		if n := testing.AllocsPerRun(100, func() { do(); says() }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
