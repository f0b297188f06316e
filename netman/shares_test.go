package main

import "testing"

// Nobody has more than its part, all together no more than there is, and what is given back can be taken again.
func TestShares(t *testing.T) {
	s := newShares(8, 6)
	want := func(taken bool, who, why string) {
		t.Helper()
		if s.take(who) != taken {
			t.Errorf("%s takes one: %v, want %v: %s", who, !taken, taken, why)
		}
	}
	for range 6 {
		want(true, "a", "it has less than six")
	}
	want(false, "a", "it has six of eight")
	want(true, "b", "two are left")
	want(true, "c", "one is left")
	want(false, "d", "none is left")
	s.give("b")
	want(false, "a", "one is left, but not for it")
	want(true, "d", "one is left")
	for range 6 {
		s.give("a")
	}
	s.give("c")
	s.give("d")
	if s.all != 0 || len(s.held) != 0 {
		t.Errorf("all is given back, and %d are held, by %v", s.all, s.held)
	}
}
