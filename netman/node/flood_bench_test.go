package node

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"dnet/netman/hdlc"
	"dnet/netman/names"
)

// flooded is a machine with a name and a service, and links to a few stations, that is about to be flooded.
func flooded(stations int) (*Node, *Out, time.Time) {
	now := time.Unix(1000, 0)
	n, out := New(Config{Machine: "here", BootID: 1, Seed: 1}), &Out{}
	n.AddPort(0, Addr{2, 0, 0, 0, 0, 1}, 1500, 127)
	n.Register("common")
	n.Start(now, out)
	for range 10 {
		now = now.Add(200 * time.Millisecond)
		n.HandleTimeout(now, out)
		out.Reset()
	}
	for i := range stations {
		from := Addr{2, 1, 0, 0, byte(i >> 8), byte(i)}
		n.HandleFrame(now, 0, helloFrom(from, uint64(i+10), 1), out)
		n.HandleFrame(now, 0, frameFrom(from, hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.SABME, PF: true}), out)
		out.Reset()
	}
	return n, out, now
}

func frameFrom(from Addr, f hdlc.Frame) []byte {
	b := f.Append(make([]byte, Headroom))
	to := Addr{2, 0, 0, 0, 0, 1}
	if f.DSAP&1 != 0 {
		to = Group
	}
	putHeader(b, to, from, Ethertype)
	return b
}

func helloFrom(from Addr, boot uint64, instance uint32) []byte {
	m := names.Message{Type: names.Hello, BootID: boot, TxID: 1, Machine: "other", VersionMin: 1, VersionMax: 1, Instance: instance, N1: 1497, RW: 63,
		Tolerance: time.Second}
	return frameFrom(from, hdlc.Frame{DSAP: hdlc.SAPControl, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Info: m.Append(nil)})
}

func queryFrom(from Addr, boot uint64, service string) []byte {
	m := names.Message{Type: names.Query, BootID: boot, TxID: 1, Machine: "other", Service: service, Hops: 8}
	return frameFrom(from, hdlc.Frame{DSAP: hdlc.SAPControl | 1, SSAP: hdlc.SAPControl, Kind: hdlc.UI, Info: m.Append(nil)})
}

// What one frame of a flood costs, of one station or of 10,000 forged ones, while there are ten links or a thousand.
func BenchmarkFlood(b *testing.B) {
	addr := func(i, of int) (a Addr) {
		a[0], a[1] = 2, 0xfe
		binary.BigEndian.PutUint32(a[2:], uint32(i%of))
		return a
	}
	for _, stations := range []int{10, 1000} {
		for _, sources := range []int{1, 10_000} {
			for name, make := range map[string]func(i int) []byte{
				"hello": func(i int) []byte { return helloFrom(addr(i, sources), uint64(i%sources+10_000), uint32(i+1)) },
				"query": func(i int) []byte { return queryFrom(addr(i, sources), uint64(i%sources+10_000), "common") },
				"SABME": func(i int) []byte {
					return frameFrom(addr(i, sources), hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.SABME, PF: true})
				},
			} {
				b.Run(fmt.Sprintf("%s/%d links/%d sources", name, stations, sources), func(b *testing.B) {
					n, out, now := flooded(stations)
					frames := [][]byte{}
					for i := range 20_000 {
						frames = append(frames, make(i))
					}
					b.ReportAllocs()
					b.ResetTimer()
					for i := range b.N {
						now = now.Add(5 * time.Microsecond)
						n.HandleFrame(now, 0, frames[i%len(frames)], out)
						if i%64 == 63 {
							n.HandleTimeout(now, out)
							out.Reset()
						}
					}
				})
			}
		}
	}
}
