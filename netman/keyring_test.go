package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"dnet/circuit"
)

// ring is a keyring in memory, whose keys begin with K.
type ring struct {
	mu  sync.Mutex
	all []pinRow
}

func (r *ring) own() string { return "Kown" }

func (r *ring) pins() []pinRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *ring) at(m string) int {
	return slices.IndexFunc(r.all, func(p pinRow) bool { return p.Machine == m })
}

func (r *ring) forget(m string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.all)
	r.all = slices.DeleteFunc(r.all, func(p pinRow) bool { return p.Machine == m })
	return len(r.all) < before
}

func (r *ring) pin(p pinRow) error {
	if !strings.HasPrefix(p.Key, "K") {
		return errors.New(p.Key + " is no key")
	}
	r.forget(p.Machine)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p)
	return nil
}

func TestChangeKeys(t *testing.T) {
	for _, row := range []struct {
		line  string
		moon  *pinRow // moon's, afterwards
		says  string
		fails bool
	}{
		{"accept moon", &pinRow{Machine: "moon", Key: "K1", Accepted: true, How: "met"}, "accepted moon with the key K1", false},
		{"accept moon K1", &pinRow{Machine: "moon", Key: "K1", Accepted: true, How: "met"}, "accepted moon", false},
		{"accept moon K2", nil, "known by another key, K1", true},
		{"accept mars", nil, "no machine mars is known", true},
		{"add moon K1", &pinRow{Machine: "moon", Key: "K1", Accepted: true, How: "added"}, "accepted moon", false},
		{"add moon K2", nil, "netman trust replace moon K2", true},
		{"add moon", nil, "key of moon is missing", true},
		{"add mars xyz", nil, "xyz is no key", true},
		{"forget moon", &pinRow{}, "forgot moon", false},
		{"forget mars", nil, "no machine mars", true},
		// What a machine came with is gone on with, and not trusted until that is said; a key that an administrator gives is as good as the old.
		{"replace moon", &pinRow{Machine: "moon", Key: "K9", How: "replaced"}, "not accepted until netman trust accept moon", false},
		{"replace moon K3", &pinRow{Machine: "moon", Key: "K3", How: "replaced"}, "by K3", false},
		{"replace sun K3", nil, "by K3", false},
		{"replace sun", nil, "has not come with another key", true},
		{"replace mars K3", nil, "no machine mars", true},
		{"become moon", nil, "unknown verb", true},
		{"accept wh_o", nil, "'_'", true},
		{"accept", nil, "empty", true},
	} {
		met := pinRow{Machine: "moon", Key: "K1", How: "met", Refused: "K9"}
		r := &ring{all: []pinRow{met, {Machine: "sun", Key: "K2", Accepted: true, How: "added"}}}
		words := append(strings.Fields(row.line), "", "")
		says, err := changeKeys(r, words[0], words[1], words[2])
		if err != nil {
			says = err.Error()
		}
		if (err != nil) != row.fails || !strings.Contains(says, row.says) {
			t.Errorf("%s: %q, %v; want %q", row.line, says, err, row.says)
		}
		want := row.moon
		if want == nil {
			want = &met
		}
		var moon pinRow
		if i := r.at("moon"); i >= 0 {
			moon = r.all[i]
		}
		if moon != *want {
			t.Errorf("%s: moon is %+v; want %+v", row.line, moon, *want)
		}
		if i := r.at("sun"); i < 0 || !r.all[i].Accepted {
			t.Errorf("%s: sun is accepted no more", row.line)
		}
	}
	if _, err := changeKeys(nil, "accept", "moon", ""); err != errNoKeys {
		t.Errorf("without keys: %v", err)
	}
}

// The verbs reach the keys through the keeper's door.
func TestKeyVerbs(t *testing.T) {
	var door string
	serve := func(keys keyring) {
		k := &keeper{setup: &setup{machine: "doc"}, keys: keys}
		door = filepath.Join(t.TempDir(), "door.trust")
		var err error
		if k.trustDoor, err = openTrustDoor(door); err != nil {
			t.Fatal(err)
		}
		go k.serveTrust()
		t.Cleanup(func() { k.trustDoor.close() })
	}
	serve(nil)
	ask := func(words ...string) (string, error) {
		line := circuit.Line{Verb: "trust", Words: words[:2]}
		if len(words) > 2 {
			line.Keys = []circuit.Key{{Key: "key", Value: words[2]}}
		}
		return askOnce(door, line)
	}
	show := func(what string) string {
		rows, err := askStatus(door, what)
		var text bytes.Buffer
		if err = errors.Join(err, printStatus(&text, rows)); err != nil {
			return err.Error()
		}
		return text.String()
	}
	if says := show("pins"); says != errNoKeys.Error() {
		t.Errorf("in mode open the machines known are %q", says)
	}
	if _, err := ask("accept", "moon"); err == nil || err.Error() != errNoKeys.Error() {
		t.Errorf("in mode open: %v", err)
	}
	serve(&ring{all: []pinRow{{Machine: "moon", Key: "K1", How: "met"}}})
	if says := show("identity"); says != "doc Kown\n" {
		t.Errorf("identity: %q", says)
	}
	if says, err := ask("accept", "MOON"); err != nil || says != "accepted moon with the key K1" {
		t.Errorf("%q, %v", says, err)
	}
	if says, err := ask("add", "sun", "K2"); err != nil || says != "accepted sun with the key K2" {
		t.Errorf("%q, %v", says, err)
	}
	want := [][]string{{"MACHINE", "KEY", "ACCEPTED", "HOW", "REFUSED"}, {"moon", "K1", "yes", "met"}, {"sun", "K2", "yes", "added"}}
	var got [][]string
	for line := range strings.Lines(show("pins")) {
		got = append(got, strings.Fields(line))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("list shows %q; want %q", got, want)
	}
}
