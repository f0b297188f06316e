package ether

import (
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// drainBatch receives what there is, and returns how many frames that were.
func drainBatch(b *testing.B, p Port, room *Batch) int {
	total := 0
	for {
		n, err := p.Recv(room)
		if err != nil {
			b.Fatal(err)
		}
		if total += n; n < len(room.Frames) {
			return total
		}
	}
}

// BenchmarkRaw sends full frames one way over a veth pair, and receives them, on one thread: what the system calls, the kernel and
// the filter cost. batch is the number of frames a call carries; bypass is PACKET_QDISC_BYPASS, which a Raw does not use.
func BenchmarkRaw(b *testing.B) {
	for _, mtu := range []int{1500, 9000} {
		for _, batch := range []int{1, 64} {
			for _, bypass := range []int{0, 1} {
				b.Run(fmt.Sprintf("mtu=%d/batch=%d/bypass=%d", mtu, batch, bypass), func(b *testing.B) {
					benchmarkOneWay(b, mtu, batch, bypass)
				})
			}
		}
	}
}

func benchmarkOneWay(b *testing.B, mtu, batch, bypass int) {
	vethPair(b, mtu)
	from, to := mustOpen(b, "left", RawConfig{}), mustOpen(b, "right", RawConfig{})
	if err := unix.SetsockoptInt(from.Fd(), unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, bypass); err != nil {
		b.Fatal(err)
	}
	frames, room := testFrames(64, HeaderLen+mtu), NewBatch(batch, HeaderLen+mtu)
	b.SetBytes(int64(HeaderLen + mtu))
	b.ReportAllocs()
	b.ResetTimer()
	came := 0
	for sent := 0; sent < b.N; {
		for i := 0; i < 64; i += batch {
			n, err := from.Send(frames[i : i+batch])
			if err != nil {
				b.Fatal(err)
			}
			sent += n
		}
		came += drainBatch(b, to, room)
	}
	b.StopTimer()
	if drops := to.Drops(); came == 0 || drops > 0 {
		b.Fatalf("%d frames came, %d were dropped", came, drops)
	}
}

// BenchmarkRawRoundTrip is a short frame there and back between two goroutines that wait as a loop does: in an epoll set of their
// own.
func BenchmarkRawRoundTrip(b *testing.B) {
	vethPair(b, 1500)
	here, there := mustOpen(b, "left", RawConfig{}), mustOpen(b, "right", RawConfig{})
	var stop atomic.Bool
	ended := make(chan error)
	go func() {
		pong := [][]byte{frameOf(stationA, stationB, testType, "pong")}
		ended <- answer(there, pong, &stop)
	}()
	epfd := epollOf(b, here.Fd())
	ping, room := [][]byte{frameOf(stationB, stationA, testType, "ping")}, NewBatch(64, 1514)
	events := make([]unix.EpollEvent, 1)
	b.ResetTimer()
	for range b.N {
		mustSend(b, here, ping...)
		for n := 0; n == 0; n, _ = here.Recv(room) {
			unix.EpollWait(epfd, events, 1000)
		}
	}
	b.StopTimer()
	stop.Store(true)
	mustSend(b, here, ping...)
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// answer sends pong for each frame that comes.
func answer(p Port, pong [][]byte, stop *atomic.Bool) error {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(epfd)
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, p.Fd(), &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return err
	}
	room, events := NewBatch(64, 1514), make([]unix.EpollEvent, 1)
	for !stop.Load() {
		unix.EpollWait(epfd, events, 1000)
		n, err := p.Recv(room)
		if err != nil {
			return err
		}
		for range n {
			if _, err := p.Send(pong); err != nil {
				return err
			}
		}
	}
	return nil
}

func epollOf(b *testing.B, fd int) int {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(epfd) })
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		b.Fatal(err)
	}
	return epfd
}

// BenchmarkBus is the same as BenchmarkRaw in memory.
func BenchmarkBus(b *testing.B) {
	bus := NewBus(1500)
	from, to := bus.Port(stationA), bus.Port(stationB)
	frames, room := testFrames(64, 1514), NewBatch(64, 1514)
	b.SetBytes(1514)
	b.ReportAllocs()
	for sent := 0; sent < b.N; sent += 64 {
		mustSend(b, from, frames...)
		drainBatch(b, to, room)
	}
}
