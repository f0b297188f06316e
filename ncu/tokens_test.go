package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTokens: what an ncu has is not found, what it leaves is, the latest first; what is over or old is gone.
func TestTokens(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir := filepath.Join(state, "dnet", "ncu")
	if _, _, err := findTokens("moon"); !errors.Is(err, errNoToken) {
		t.Errorf("with no file at all: %v", err)
	}
	var files []*tokenFile
	for i := range 3 {
		f, err := saveToken("moon", token{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	other, err := saveToken("moonlight", token{9})
	if err != nil {
		t.Fatal(err)
	}
	other.f.Close()
	if _, _, err := findTokens("moon"); !errors.Is(err, errNoToken) || err.Error() != "there is no session to take up again: 3 of yours are in use" {
		t.Errorf("with three in use: %v", err)
	}
	for i, age := range []time.Duration{time.Minute, time.Second, time.Hour} {
		os.Chtimes(files[i].f.Name(), time.Time{}, time.Now().Add(-age))
		files[i].f.Close() // as by the end of its ncu
	}
	found, tokens, err := findTokens("moon")
	if err != nil || len(tokens) != 3 || tokens[0] != (token{1}) || tokens[1] != (token{0}) || tokens[2] != (token{2}) {
		t.Fatalf("found %v, %v", tokens, err)
	}
	for _, f := range found {
		if info, err := f.f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s may be read by others: %v, %v", f.f.Name(), info.Mode(), err)
		}
	}
	found[0].forget()
	found[1].f.Close()
	os.Chtimes(found[1].f.Name(), time.Time{}, time.Now().Add(-maxKeep-time.Hour))
	os.Chtimes(found[2].f.Name(), time.Time{}, time.Now().Add(-maxKeep-time.Hour)) // in use
	if _, err := saveToken("mars", token{}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/moon.*"); len(left) != 1 || left[0] != found[2].f.Name() {
		t.Errorf("left are %v", left)
	}
	if err := os.WriteFile(dir+"/mars.x", []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := findTokens("mars"); err == nil || errors.Is(err, errNoToken) {
		t.Errorf("garbage is taken for a token: %v", err)
	}
}
