package circuit

import (
	"sync"
	"time"
)

// deadline is one that can be set anew while others wait for it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // closes c
	c     chan struct{} // closed when the deadline has passed
}

func (d *deadline) init() { d.c = make(chan struct{}) }

// passed is closed when the deadline has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c
}

func (d *deadline) expired() bool {
	select {
	case <-d.passed():
		return true
	default:
		return false
	}
}

// set moves it; zero is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.c // it is being closed
	}
	d.timer = nil
	closed := false
	select {
	case <-d.c:
		closed = true
	default:
	}
	left := time.Until(t)
	switch {
	case !t.IsZero() && left <= 0:
		if !closed {
			close(d.c)
		}
		return
	case closed:
		d.c = make(chan struct{})
	}
	if !t.IsZero() {
		c := d.c
		d.timer = time.AfterFunc(left, func() { close(c) })
	}
}
