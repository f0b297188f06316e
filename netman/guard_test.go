package main

import (
	"strings"
	"testing"

	"dnet/netman/trust"
)

// Names of dnet's own commands are root's to offer, and netman's own user's; those of resident servers of servtab their users'.
func TestMayListen(t *testing.T) {
	l := &loop{owner: 4003, offers: map[string]*service{
		"kept.doc": {name: "kept.doc", as: "kim", uid: 4001},
		"date.doc": {name: "date.doc", transient: true, uid: 4002},
	}}
	for _, row := range []struct {
		name string
		uid  uint32
		says string
	}{
		{"talk.doc", 4001, ""}, {"date", 4001, ""},
		{"rx.doc", 0, ""}, {"rx.doc", 4003, ""},
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
	var files trustFiles
	if f := files.read("nosuchuser"); !strings.Contains(f.Unread, "no user") || len(files.reading) != 0 {
		t.Errorf("%+v; %d are still being read", f, len(files.reading))
	}
	shared := &reading{done: make(chan struct{})}
	files.reading["slow"] = shared
	got := make(chan *trust.File)
	for range 2 {
		go func() { got <- files.read("slow") }()
	}
	f := unreadFile("slow", "it is not")
	shared.file = f
	close(shared.done)
	if <-got != f || <-got != f {
		t.Error("those who wait do not get what was read")
	}
	files.reading["slow"] = &reading{done: make(chan struct{})}
	if f := files.read("slow"); !strings.Contains(f.Unread, "could not be read within") {
		t.Errorf("a home that does not answer: %+v", f)
	}
	for i := range maxReading {
		files.reading[strings.Repeat("x", i)] = &reading{done: make(chan struct{})}
	}
	if f := files.read("more"); !strings.Contains(f.Unread, "too many") {
		t.Errorf("with %d being read: %+v", len(files.reading), f)
	}
}
