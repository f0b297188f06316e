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

// answers are the frames to an address, as text, and forgets all.
func answers(out *Out, to Addr) (texts []string) {
	for _, f := range out.Frames {
		if Addr(f.Octets[:6]) == to {
			texts = append(texts, FormatFrame(f.Octets))
		}
	}
	out.Reset()
	return texts
}

func sabmeFrom(from Addr) []byte {
	return frameFrom(from, hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.SABME, PF: true})
}

func checked(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Check(); err != nil {
		t.Fatal(err)
	}
}

// One station may send 64 hellos at once and 32 a second from then on; others are not concerned.
func TestHelloLimit(t *testing.T) {
	n, out, now := flooded(0)
	eager, other := Addr{2, 0, 0, 0, 0, 7}, Addr{2, 0, 0, 0, 0, 9}
	sent := uint32(0)
	hellos := func(count int) (answered int) {
		for range count {
			sent++
			n.HandleFrame(now, 0, helloFrom(eager, 7, sent), out)
		}
		return len(answers(out, eager))
	}
	if got := hellos(1000); got != 64 {
		t.Errorf("of 1000 hellos at once %d are answered, want 64", got)
	}
	n.HandleFrame(now, 0, helloFrom(other, 9, 1), out)
	if got := answers(out, other); len(got) != 1 {
		t.Errorf("another station's hello is answered by %q", got)
	}
	now = now.Add(time.Second)
	if got := hellos(1000); got != 32 {
		t.Errorf("a second later %d are answered, want 32", got)
	}
	if got := n.Counters()["hellos of one station limited"]; got != 936+968 {
		t.Errorf("%d were counted as dropped, want %d", got, 936+968)
	}
	checked(t, n)
}

// A hello costs no link; its SABME makes one, and without a hello it is answered by DM.
func TestHelloMakesNoLink(t *testing.T) {
	n, out, now := flooded(0)
	from := Addr{2, 0, 0, 0, 0, 7}
	n.HandleFrame(now, 0, sabmeFrom(from), out)
	if got := answers(out, from); len(got) != 1 || got[0] != "02:00:00:00:00:01 > 02:00:00:00:00:07 DM F" {
		t.Errorf("a SABME without a hello is answered by %q, want DM", got)
	}
	n.HandleFrame(now, 0, helloFrom(from, 7, 1), out)
	if s := n.stations[stationKey{0, from}]; s == nil || s.link != nil || s.state != idle {
		t.Errorf("after a hello the station is %+v, want one without a link", s)
	}
	answers(out, from)
	checked(t, n)
	n.HandleFrame(now, 0, sabmeFrom(from), out)
	if got := answers(out, from); len(got) == 0 || got[0] != "02:00:00:00:00:01 > 02:00:00:00:00:07 UA F" || n.Links()[0].State != "up" {
		t.Errorf("the SABME that it announced is answered by %q, and the link is %s; want UA, and up", got, n.Links()[0].State)
	}
	checked(t, n)
}

// Ten thousand invented stations set up links of which nothing is heard again. Memory stays within the table, a link that lives stays, and a
// station that comes then has its link too.
func TestHalfOpenLinks(t *testing.T) {
	n, out, now := flooded(0)
	lives, late := Addr{2, 0, 0, 0, 0, 7}, Addr{2, 0, 0, 0, 0, 9}
	rr := func(from Addr) []byte {
		return frameFrom(from, hdlc.Frame{DSAP: hdlc.SAPX25, SSAP: hdlc.SAPX25, Kind: hdlc.RR})
	}
	begin := func(from Addr, boot uint64) {
		n.HandleFrame(now, 0, helloFrom(from, boot, 1), out)
		n.HandleFrame(now, 0, sabmeFrom(from), out)
	}
	begin(lives, 7)
	n.HandleFrame(now, 0, rr(lives), out)
	for i := range 10_000 {
		now = now.Add(10 * time.Microsecond)
		begin(Addr{2, 0xfe, 0, 0, byte(i >> 8), byte(i)}, uint64(10_000+i))
		if i%1000 == 0 {
			n.HandleFrame(now, 0, rr(lives), out)
			checked(t, n)
		}
		out.Reset()
	}
	if len(n.order) > n.cfg.Limits.Stations {
		t.Errorf("%d stations are kept, want %d at most", len(n.order), n.cfg.Limits.Stations)
	}
	begin(late, 9)
	if got := answers(out, late); len(got) < 2 {
		t.Errorf("a station that comes then is answered by %q, want a hello and UA", got)
	}
	n.HandleFrame(now, 0, rr(late), out)
	for _, want := range []Addr{lives, late} {
		if s := n.stations[stationKey{0, want}]; s == nil || s.state != up {
			t.Errorf("the link of %s is not up", FormatAddr(want))
		}
	}
	counted := n.Counters()
	if counted["half-open link given up for another station"] == 0 || counted["stations full"] != 0 {
		t.Errorf("it counted %v", counted)
	}
	checked(t, n)
}

// Whoever asks under ten thousand addresses is answered, and what is remembered of them stays within the table.
func TestForgedQueries(t *testing.T) {
	n, out, now := flooded(0)
	answered := 0
	for i := range 10_000 {
		from := Addr{2, 0xfe, 0, 0, byte(i >> 8), byte(i)}
		n.HandleFrame(now, 0, queryFrom(from, uint64(10_000+i), "netman.here"), out)
		answered += len(answers(out, from))
	}
	if answered != 10_000 || len(n.Heard()) != 1024 {
		t.Errorf("%d were answered, want all; and %d are remembered, want 1024", answered, len(n.Heard()))
	}
	checked(t, n)
}
