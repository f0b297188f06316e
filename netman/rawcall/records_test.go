package rawcall

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is a connected pair of seqpacket sockets.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestRecordsKeepTheirBounds(t *testing.T) {
	a, b := pair(t)
	out, in := NewVector(8, 100), NewVector(4, 100)
	sent := [][]byte{{1}, bytes.Repeat([]byte{2}, 100), {3, 4}, {5}, {6}}
	out.Records = append(out.Records, sent...)
	if n, errno := out.Send(a); n != len(sent) || errno != 0 {
		t.Fatalf("Send: %d, %v", n, errno)
	}
	var got [][]byte
	for range 2 {
		if errno := in.Recv(b, 4); errno != 0 {
			t.Fatalf("Recv: %v", errno)
		}
		for _, r := range in.Records {
			got = append(got, bytes.Clone(r))
		}
	}
	if len(got) != len(sent) {
		t.Fatalf("received %d records of %d", len(got), len(sent))
	}
	for i := range got {
		if !bytes.Equal(got[i], sent[i]) {
			t.Errorf("record %d is %x, sent was %x", i, got[i], sent[i])
		}
	}
	if errno := in.Recv(b, 4); errno != unix.EAGAIN {
		t.Errorf("Recv of an empty socket: %v, want EAGAIN", errno)
	}
}

func TestEndOfFileFollowsWhatWasSent(t *testing.T) {
	a, b := pair(t)
	out, in := NewVector(2, 10), NewVector(4, 10)
	out.Records = append(out.Records, []byte("last"))
	out.Send(a)
	unix.Shutdown(a, unix.SHUT_WR)
	if errno := in.Recv(b, 4); errno != 0 || len(in.Records) != 1 || string(in.Records[0]) != "last" {
		t.Fatalf("Recv: %v, %q", errno, in.Records)
	}
	if errno := in.Recv(b, 4); errno != 0 || len(in.Records) != 0 {
		t.Errorf("Recv at the end: %v, %q; want no record and no error", errno, in.Records)
	}
}

func TestSendStopsWhereTheSocketIsFull(t *testing.T) {
	a, b := pair(t)
	out, in := NewVector(32, 60000), NewVector(32, 60000)
	for i := range 32 {
		record := out.Slot(i)
		record[0] = byte(i)
		out.Records = append(out.Records, record)
	}
	n, errno := out.Send(a)
	if errno != 0 || n == 0 || n == 32 {
		t.Fatalf("Send into a small socket: %d, %v; want some of 32", n, errno)
	}
	out.Records = out.Records[:copy(out.Records, out.Records[n:])]
	if m, errno := out.Send(a); m != 0 || errno != unix.EAGAIN {
		t.Fatalf("Send into a full socket: %d, %v; want EAGAIN", m, errno)
	}
	if errno := in.Recv(b, 32); errno != 0 || len(in.Records) != n || in.Records[n-1][0] != byte(n-1) {
		t.Errorf("Recv: %v, %d records; want %d", errno, len(in.Records), n)
	}
}

func TestAllocations(t *testing.T) {
	a, b := pair(t)
	out, in := NewVector(4, 100), NewVector(4, 100)
	if n := testing.AllocsPerRun(100, func() {
		out.Records = append(out.Records[:0], out.Slot(0)[:10])
		out.Send(a)
		in.Recv(b, 4)
	}); n != 0 {
		t.Errorf("%v allocations for each Send and Recv", n)
	}
}

// Linux may tell an end before the last record (protocol.md 5). A record without octets makes the same answers, and every time.
func TestEndToldTooEarly(t *testing.T) {
	for _, n := range []int{1, 4} {
		a, b := pair(t)
		unix.Sendto(a, nil, 0, nil)
		unix.Write(a, []byte("last"))
		unix.Shutdown(a, unix.SHUT_WR)
		in := NewVector(4, 10)
		if errno := in.Recv(b, n); errno != 0 || len(in.Records) != 1 || string(in.Records[0]) != "last" {
			t.Errorf("Recv of %d: %v, %q; want the record behind", n, errno, in.Records)
		}
		if errno := in.Recv(b, n); errno != 0 || len(in.Records) != 0 {
			t.Errorf("Recv of %d at the end: %v, %q; want no record and no error", n, errno, in.Records)
		}
	}
}
