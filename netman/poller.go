package main

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// desc is a descriptor in the epoll set and who is told of it.
type desc struct {
	fd    int
	mask  uint32
	ready func(events uint32)
	in    bool // the set
}

// poller is the loop's epoll set, level-triggered.
type poller struct {
	epfd   int
	descs  []*desc     // by descriptor
	failed func(error) // is told of a descriptor that the kernel does not watch
}

func (p *poller) open() (err error) {
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// watch adds a descriptor, or changes what it waits for. With mask 0 it leaves the set (the kernel would go on to report a
// hang-up) and wait brings it back.
func (p *poller) watch(d *desc) {
	for len(p.descs) <= d.fd {
		p.descs = append(p.descs, nil)
	}
	p.descs[d.fd] = d
	if d.mask == 0 {
		if d.in {
			unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, d.fd, nil)
		}
		d.in = false
		return
	}
	op := unix.EPOLL_CTL_MOD
	if !d.in {
		op = unix.EPOLL_CTL_ADD
	}
	ev := unix.EpollEvent{Events: d.mask, Fd: int32(d.fd)}
	if err := unix.EpollCtl(p.epfd, op, d.fd, &ev); err != nil {
		p.failed(fmt.Errorf("epoll: %w", err))
		return
	}
	d.in = true
}

// wait sets what a watched descriptor waits for, if that differs from what it waits for now.
func (p *poller) wait(d *desc, mask uint32) {
	if d.fd >= 0 && d.mask != mask {
		d.mask = mask
		p.watch(d)
	}
}

// forget takes a descriptor out of the set and closes it.
func (p *poller) forget(d *desc) {
	if d == nil || d.fd < 0 {
		return
	}
	if d.fd < len(p.descs) && p.descs[d.fd] == d {
		p.descs[d.fd] = nil
	}
	unix.Close(d.fd) // which takes it out of the epoll set: netman keeps no second reference to it
	d.fd = -1
}

// poll waits for events, at most ms milliseconds (-1: as long as it takes). The wait is an ordinary system call, so that the scheduler
// and the collector know of it.
func (p *poller) poll(events []unix.EpollEvent, ms int) (int, error) {
	n, err := unix.EpollWait(p.epfd, events, ms)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("epoll: %w", err)
	}
	return n, nil
}

// inbox is where other goroutines leave work for the loop.
type inbox struct {
	wake int // eventfd, readable when there is some
	mu   sync.Mutex
	jobs []func() // under mu
}

func (b *inbox) open() (err error) {
	if b.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	return nil
}

// post has the loop do something soon. It may be called by any goroutine.
func (b *inbox) post(job func()) {
	b.mu.Lock()
	b.jobs = append(b.jobs, job)
	b.mu.Unlock()
	one := [8]byte{7: 1}
	unix.Write(b.wake, one[:])
}

// after has the loop do something when d has passed, unless the timer is stopped before.
func (b *inbox) after(d time.Duration, job func()) *time.Timer {
	return time.AfterFunc(d, func() { b.post(job) })
}

// take empties the inbox.
func (b *inbox) take() []func() {
	var count [8]byte
	unix.Read(b.wake, count[:])
	b.mu.Lock()
	defer b.mu.Unlock()
	jobs := b.jobs
	b.jobs = nil
	return jobs
}
