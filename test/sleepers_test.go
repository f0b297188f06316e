package test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dnet/circuit"
)

const (
	sleepers    = 10
	sleeperSize = 4 << 20  // more than all queues on the way to one
	netmanLimit = 64 << 20 // of a netman in RAM, all of it; programs could make it hold as much in unread octets alone
)

// fastSize is what the fast reader gets: 1 GiB in a soak.
func fastSize() int64 {
	if os.Getenv("DNET_SOAK") != "" {
		return 1 << 30
	}
	return 256 << 20
}

// peak is the most that a process has had in RAM, in octets (VmHWM).
func peak(t *testing.T, pid int) (octets int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	octets, _ = strconv.Atoi(kib)
	if err != nil || octets == 0 {
		t.Fatalf("memory of process %d: %d, %v", pid, octets, err)
	}
	return octets << 10
}

// move carries so many octets over a circuit, compares, and gives the rate in MB/s.
func move(t *testing.T, from, to *circuit.Conn, size int64) float64 {
	t.Helper()
	for _, c := range []*circuit.Conn{from, to} {
		c.SetDeadline(time.Now().Add(4 * bound))
	}
	data := octets(t, 1<<20)
	var writer sync.WaitGroup
	var sent uint32
	began := time.Now()
	writer.Go(func() {
		for n := int64(0); n < size; n += 1 << 16 {
			piece := data[n%(1<<20):][:1<<16]
			if err := from.WriteDatagram(piece, 0); err != nil {
				t.Errorf("after %d octets: write: %v", n, err)
				return
			}
			sent = crc32.Update(sent, crc32.IEEETable, piece)
		}
	})
	var got uint32
	n := int64(0)
	for n < size {
		piece, _, err := to.Next()
		if err != nil {
			t.Fatalf("after %d octets: read: %v", n, err)
		}
		got = crc32.Update(got, crc32.IEEETable, piece)
		n += int64(len(piece))
	}
	rate := float64(n) / 1e6 / time.Since(began).Seconds()
	if writer.Wait(); n != size || got != sent {
		t.Errorf("%d octets arrived of %d, or others", n, size)
	}
	return rate
}

// One server writes to a fast reader while ten others sleep: the fast one gets all of it, netman holds no more than it may, and the
// sleepers find all that is theirs when they wake up.
func TestFastReaderBesideSleepers(t *testing.T) {
	data := octets(t, sleeperSize)
	eachRoute(t, func(t *testing.T, r route) {
		fast, server := r.connect(t, circuit.Options{})
		alone := move(t, server, fast, fastSize()/4)
		var sleeping []*circuit.Conn
		var writers sync.WaitGroup
		for range sleepers {
			caller, server := r.connect(t, circuit.Options{})
			sleeping = append(sleeping, caller)
			for _, c := range []*circuit.Conn{caller, server} {
				c.SetDeadline(time.Now().Add(8 * bound))
			}
			writers.Go(func() {
				if err := server.WriteDatagram(data, circuit.Q); err != nil {
					t.Errorf("to a sleeper: %v", err)
				}
			})
		}
		eventually(t, "the sleepers hold what fits", func() bool {
			full := 0
			for _, c := range rows(t, r.from.Machine, "circuits") {
				if c["side"] == "caller" && c["held"].(float64) > 100<<10 {
					full++
				}
			}
			return full >= sleepers
		})
		beside := move(t, server, fast, fastSize())
		t.Logf("%.0f MB/s alone, %.0f beside %d sleepers: %.2f", alone, beside, sleepers, beside/alone)
		for _, m := range []place{r.from, r.to} {
			most := peak(t, m.pid)
			t.Logf("netman of %s had %d MiB at most", m.Name, most>>20)
			if most > netmanLimit {
				t.Errorf("netman of %s had %d octets, want at most %d", m.Name, most, netmanLimit)
			}
		}
		for i, c := range sleeping {
			if got, q, err := whole(c); err != nil || q != circuit.Q || !bytes.Equal(got, data) {
				t.Errorf("sleeper %d read %d octets of %d, %v", i, len(got), len(data), err)
			}
		}
		writers.Wait()
	})
}
