package names

import (
	"strings"
	"testing"
	"time"
)

// A hello may say the witness of its machine: 32 octets, in a hello alone.
func TestWitness(t *testing.T) {
	m := Message{
		Type: Hello, BootID: 1, Machine: "grumpy", VersionMin: 1, VersionMax: 1, Instance: 1, N1: 1473, RW: 63, Tolerance: time.Second, Mode: 1,
		Witness: strings.Repeat("w", 32),
	}
	octets := m.Append(nil)
	if got, err := Parse(octets); err != nil || got != m || !strings.Contains(got.String(), " witness 7777") {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Parse(append(octets[:len(octets)-33], append([]byte{31}, octets[len(octets)-31:]...)...)); err == nil {
		t.Error("a witness of 31 octets is taken")
	}
	q := Message{Type: Query, BootID: 1, Machine: "grumpy", Service: "rx", Hops: 8}
	if got, err := Parse(append(q.Append(nil), append([]byte{TLVWitness, 1}, 'x')...)); err != nil || got != q {
		t.Errorf("in a query it is skipped: %v, %v", got, err)
	}
}
