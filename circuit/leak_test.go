package circuit

import (
	"os"
	"testing"
	"time"
)

func openFds(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// checkFds counts descriptors now and when the function it returns is called. Goroutines that are just
// ending may still close theirs, for at most two seconds.
func checkFds(t testing.TB) func() {
	before := openFds(t)
	return func() {
		t.Helper()
		after := openFds(t)
		for deadline := time.Now().Add(2 * time.Second); after > before && time.Now().Before(deadline); after = openFds(t) {
			<-time.After(time.Millisecond)
		}
		if after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	}
}
