package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/netman/trust"
)

// Names of dnet's own commands are root's to offer, and netman's own user's; those of resident servers of servtab their users'.
func TestMayListen(t *testing.T) {
	l := &loop{}
	l.guardServices(map[string]*service{
		"kept.doc": {name: "kept.doc", resident: true, as: identity{uid: 4001}},
		"date.doc": {name: "date.doc", as: identity{uid: 4002}},
	})
	for _, row := range []struct {
		name string
		uid  uint32
		says string
	}{
		{"talk.doc", 4001, ""}, {"date", 4001, ""},
		{"rx.doc", 0, ""}, {"rx.doc", uint32(os.Getuid()), ""},
		{"rx.doc", 4001, "only root"}, {"rx", 4001, "only root"}, {"ncu.doc", 4001, "only root"}, {"raccess.doc", 4001, "only root"},
		{"netman.doc", 4001, "only root"}, {"dmap", 4001, "only root"}, {"dmap.doc", 4001, "only root"},
		{"kept.doc", 4001, ""}, {"kept.doc", 0, ""}, {"kept.doc", 4002, "servtab keeps kept.doc"}, {"kept", 4002, ""},
	} {
		why := l.mayListen(row.name, row.uid)
		if (why == "") != (row.says == "") || !strings.Contains(why, row.says) {
			t.Errorf("%s, user %d: %q; want %q", row.name, row.uid, why, row.says)
		}
	}
}

// One reading of a file serves all calls that come meanwhile; one that does not end holds up nobody after its time, and no other file.
func TestTrustFileIsReadOnce(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	var got []*trust.File
	then := func(f *trust.File) { got = append(got, f) }
	l.trustFile("nosuchuser", then)
	l.trustFile("nosuchuser", then)
	for len(got) < 2 {
		for _, job := range waitForJobs(l) {
			job()
		}
	}
	if got[0] != got[1] || !strings.Contains(got[0].Unread, "no user") || len(l.reading) != 0 {
		t.Errorf("%+v and %+v; %d are still being read", got[0], got[1], len(l.reading))
	}

	l.reading["slow"] = &reading{late: true}
	got = nil
	l.trustFile("slow", then)
	if len(got) != 1 || !strings.Contains(got[0].Unread, "has not ended") || len(l.reading) != 1 {
		t.Errorf("after a reading that was late: %+v", got)
	}
	for i := range maxReading {
		l.reading[strings.Repeat("x", i)] = &reading{}
	}
	l.trustFile("more", then)
	if len(got) != 2 || !strings.Contains(got[1].Unread, "too many") {
		t.Errorf("with %d being read: %+v", len(l.reading), got)
	}
}

// waitForJobs waits until something was posted to the loop.
func waitForJobs(l *loop) []func() {
	for {
		if jobs := l.take(); len(jobs) > 0 {
			return jobs
		}
		events := make([]unix.EpollEvent, 1)
		l.poll(events, 1000)
	}
}
