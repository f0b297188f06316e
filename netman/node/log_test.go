package node

import (
	"fmt"
	"testing"
	"time"
)

// One line a minute for a reason and a source, and 256 for all of them, whatever anybody does.
func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	var l Limiter
	want := func(allowed bool, source, reason, why string) {
		t.Helper()
		if l.Allow(now, source, reason) != allowed {
			t.Errorf("after %v, %s of %s: allowed is %v, want %v: %s", now.Sub(time.Unix(1000, 0)), reason, source, !allowed, allowed, why)
		}
	}
	want(true, "a", "version", "it is the first")
	want(false, "a", "version", "it was said just now")
	want(true, "a", "clash", "another reason")
	want(true, "b", "version", "another source")
	now = now.Add(59 * time.Second)
	want(false, "a", "version", "it was said less than a minute ago")
	now = now.Add(time.Second)
	want(true, "a", "version", "a minute has passed")
	if l.Left != 2 {
		t.Errorf("%d lines were counted as left out, want 2", l.Left)
	}

	said := 0
	for i := range 10_000 {
		now = now.Add(time.Millisecond)
		if l.Allow(now, fmt.Sprint(i), "version") {
			said++
		}
	}
	if said > 256 || len(l.said) > 256 {
		t.Errorf("10,000 sources in 10 s filled the log with %d lines, and %d are remembered; want 256 at most", said, len(l.said))
	}
	now = now.Add(time.Minute)
	want(true, "c", "version", "the flood is over for a minute")
}
