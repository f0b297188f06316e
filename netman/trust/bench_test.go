package trust

import "testing"

// BenchmarkDecide is what a call costs the loop: with one rule, and with as many as servtab may have, of which the last one matches.
func BenchmarkDecide(b *testing.B) {
	for name, n := range map[string]int{"1 rule": 1, "1024 rules": 1024} {
		rules := make([]Rule, n)
		for i := range rules {
			rules[i] = rule("servtab.toml:1", "lab-?? *.x", "bob c*l")
		}
		rules[n-1] = moon
		c := Call{Machine: "moon", User: "alice", Service: "rx.doc", Authority: Accepted}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if Decide(rules, c).User != "alice" {
					b.Fatal("not alice")
				}
			}
		})
	}
}
