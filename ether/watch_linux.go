package ether

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// LinkEvent tells that a link has come, changed in something a Link shows, or gone.
type LinkEvent struct {
	Link
	Removed bool
}

// Watcher follows the links of this network namespace by rtnetlink.
type Watcher struct {
	fd    int
	known map[int]Link // by index
	buf   []byte
}

// Watch begins to follow the links. What there is when it is called is not an event: ask Links or Interfaces after it, and no
// change is missed between the two.
func Watch() (*Watcher, error) {
	fd, err := netlinkSocket(unix.RTMGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	w := &Watcher{fd: fd, known: map[int]Link{}, buf: make([]byte, netlinkBuffer)}
	if _, err := w.compare(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return w, nil
}

// Fd is the descriptor to poll for reading.
func (w *Watcher) Fd() int { return w.fd }

// Close ends the watch.
func (w *Watcher) Close() error {
	if w.fd < 0 {
		return nil
	}
	fd := w.fd
	w.fd = -1
	return unix.Close(fd)
}

// Read returns what has changed since the last Read, in order; it does not wait for a change. Changes that undo each other may be
// left out. After an error the watch is of no use: begin another.
func (w *Watcher) Read() ([]LinkEvent, error) {
	if w.fd < 0 {
		return nil, ErrClosed
	}
	var events []LinkEvent
	lost := false // changes came faster than they were read, and the kernel dropped some
	for i := 0; i < watchMessages || lost; i++ {
		n, from, err := unix.Recvfrom(w.fd, w.buf, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.EAGAIN:
			if !lost {
				return events, nil
			}
			// What was waiting is older than what was dropped, and is gone now: what there is counts.
			more, err := w.compare()
			return append(events, more...), err
		case unix.EINTR:
			continue
		case unix.ENOBUFS:
			lost = true
			continue
		default:
			return events, fmt.Errorf("rtnetlink: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 && !lost { // 0: from the kernel
			events = w.take(w.buf[:n], events)
		}
	}
	return events, nil
}

// take reads the messages in b.
func (w *Watcher) take(b []byte, events []LinkEvent) []LinkEvent {
	for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
		l, ok := parseLink(m.body)
		if !ok {
			continue
		}
		switch m.kind {
		case unix.RTM_NEWLINK:
			events = w.noteLink(l, events)
		case unix.RTM_DELLINK:
			events = w.noteGone(l.Index, events)
		}
	}
	return events
}

// noteLink adds an event unless the link is known to be just so: the kernel also tells of much that does not matter here.
func (w *Watcher) noteLink(l Link, events []LinkEvent) []LinkEvent {
	l.received = 0
	if old, ok := w.known[l.Index]; ok && old == l {
		return events
	}
	w.known[l.Index] = l
	return append(events, LinkEvent{Link: l})
}

func (w *Watcher) noteGone(index int, events []LinkEvent) []LinkEvent {
	old, ok := w.known[index]
	if !ok {
		return events
	}
	delete(w.known, index)
	old.Up, old.adminUp = false, false
	return append(events, LinkEvent{Link: old, Removed: true})
}

// compare asks for all links and returns how they differ from the known ones.
func (w *Watcher) compare() ([]LinkEvent, error) {
	links, err := Links()
	if err != nil {
		return nil, err
	}
	var events []LinkEvent
	for index := range w.known {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Index == index }) {
			events = w.noteGone(index, events)
		}
	}
	slices.SortFunc(events, func(a, b LinkEvent) int { return cmp.Compare(a.Index, b.Index) })
	for _, l := range links {
		events = w.noteLink(l, events)
	}
	return events, nil
}
