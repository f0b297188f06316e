package names

import (
	"strings"
	"testing"
	"time"
)

// What Parse takes, Append writes in its own form, which Parse takes as the same.
func FuzzParse(f *testing.F) {
	for _, row := range goldenMessages {
		f.Add(octetsOf(f, clean(row.octets)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			if Reason(err) == "other" || err.Error() == "" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		again, err := Parse(m.Append(nil))
		if err != nil || again != m {
			t.Fatalf("%v\nis written as %x, which is\n%v, %v", m, m.Append(nil), again, err)
		}
		if len(m.Append(nil)) > len(b) || strings.ContainsAny(m.String(), "\n\x00") {
			t.Fatalf("%q is longer than what came", m.String())
		}
	})
}

func FuzzParseCall(f *testing.F) {
	for _, row := range goldenCalls {
		f.Add(octetsOf(f, row.octets))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCall(b)
		if err != nil {
			if Reason(err) == "other" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		octets := c.Append(nil)
		again, err := ParseCall(octets)
		if err != nil || again != c || len(octets) > 128 {
			t.Fatalf("%v is written as %x, which is %v, %v", c, octets, again, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("rx.sneezy.lab")
	f.Add("RX..\xff")
	f.Fuzz(func(t *testing.T, name string) {
		folded := FoldService(name)
		if FoldService(folded) != folded || len(folded) != len(name) {
			t.Fatalf("%q folds to %q", name, folded)
		}
		if err := CheckService(folded); err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("the error has %d octets", len(err.Error()))
			}
			return
		}
		s, m, d := SplitService(folded)
		joined := s
		for _, part := range []string{m, d} {
			if part != "" {
				joined += "." + part
			}
		}
		if joined != folded || CheckLabel(s) != nil || len(folded) > 80 {
			t.Fatalf("%q splits into %q %q %q", folded, s, m, d)
		}
		CheckUser(name)
	})
}

// Any messages, at any times, between any uses: the directory stays as it must, and its limits hold.
func FuzzDirectory(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19})
	f.Add(uint64(7), []byte("\x08\x00\x00\x01\x02\x03\x05\x05\x05\x06\x06\x04\x02\x03\x00\x00\x05\x05\x06"))
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		limits := Limits{Queries: 2, Answers: 2, Stations: 3, Services: 2, Held: 1, Rivals: 1, Clashes: 1}
		d := New(Config{Machine: "a", BootID: 1, Seed: seed, Limits: limits})
		d.SetAddr(0, [6]byte{2, 0, 0, 0, 0, 8})
		drive(t, d, script)
	})
}

// drive lets a script of octets choose what happens to a directory.
func drive(t *testing.T, d *Directory, script []byte) {
	now := time.Unix(1000, 0)
	var out Out
	var ids []uint32
	take := func(n int) int {
		if len(script) == 0 {
			return 0
		}
		v := int(script[0]) % n
		script = script[1:]
		return v
	}
	services := []string{"s", "t", "x.a", "x.b", "netman.a", "netman.b"}
	machines := []string{"a", "b", "c"}
	for len(script) > 0 {
		switch take(10) {
		case 0:
			d.Claim(now, &out)
		case 1:
			d.Register(services[take(6)])
		case 2:
			if id, err := d.Query(now, services[take(6)], &out); err == nil {
				ids = append(ids, id)
			}
		case 3:
			if len(ids) > 0 {
				d.Next(now, ids[take(len(ids))], &out)
			}
		case 4:
			if len(ids) > 0 {
				d.Done(ids[take(len(ids))])
			}
		case 5:
			now = now.Add(time.Duration(take(256)) * time.Millisecond)
		case 6:
			d.HandleTimeout(now, &out)
		case 7:
			s := services[take(6)]
			d.SetBusy(s, take(2) == 0)
			if take(4) == 0 {
				d.Unregister(s)
			}
		default:
			from := Station{Port: take(2), Addr: [6]byte{2, 0, 0, 0, 0, byte(take(16))}}
			m := Message{
				Type: Type(1 + take(3)), BootID: uint64(1 + take(4)), Service: services[take(6)], Machine: machines[take(3)],
				State: uint8(take(2)), TxID: d.txid - uint32(take(3)),
			}
			d.Handle(now, from, m, take(2) == 0, &out)
		}
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		if len(out.Messages)+len(out.Events) > 1+4+2 {
			t.Fatalf("one step led to %d messages and %d events", len(out.Messages), len(out.Events))
		}
		if next := d.Deadline(); next.IsZero() && len(d.held) > 0 {
			t.Fatal("answers are held, and no timer is set")
		}
		out.Reset()
	}
}
