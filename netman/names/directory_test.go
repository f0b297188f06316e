package names

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestQueryAnswered(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.ask("x.b")
	k.want("asks the group", "to all: query x.b")
	k.at(3)
	k.answer(on(2), "b", "x.b", Free)
	k.want("the first free answer is told at once", "Answered")
	k.next("b 0/2", "it gets the call")
	k.at(5000)
	k.want("no further try is made while the call goes on")
	k.d.Done(k.id)
	k.take()
	k.answer(on(3), "b", "x.b", Free)
	k.want("after Done an answer counts for nothing")
	k.counted("answer to no query", 1)
	k.next("none", "a forgotten query has no answers")
}

func TestQueryFails(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.ask("x.b")
	first := k.txid
	k.want("the first try at 0", "to all: query x.b")
	k.at(39.9)
	k.next("more", "tries are left")
	k.want("asking early changes nothing")
	k.at(40)
	k.want("the second at 40 ms", "to all: query x.b")
	k.at(159.9)
	k.want("")
	k.at(160)
	k.want("the third at 160 ms", "to all: query x.b")
	k.at(519.9)
	k.want("the last wait is 360 ms")
	k.now = k.start.Add(520 * time.Millisecond)
	k.next("more", "its timer was not run yet: the event still follows")
	k.at(520)
	k.want("the end", "Failed")
	k.next("none", "nobody answered")
	k.at(530)
	k.answer(on(2), "b", "x.b", Free)
	k.want("an answer after the end raises nothing")
	k.next("b 0/2", "but whoever still asks may have it")
	k.at(5000)
	k.want("no timer goes on")
	if k.txid != first || first != k.id {
		t.Error("the tries bear one txid")
	}
}

// A server is called one after the other; later answers stay there for it (protocol.md 2).
func TestNextServers(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.ask("dmap")
	k.at(1)
	k.answer(on(2), "b", "dmap", Free)
	k.want("first answer", "to all: query dmap", "Answered")
	k.next("b 0/2", "the first to answer gets the call")
	k.answer(on(3), "c", "dmap", Free)
	k.at(2)
	k.answer(on(4), "d", "dmap", Busy)
	k.answer(on(5), "e", "dmap", Free)
	k.answer(on(2), "b", "dmap", Free)
	k.want("later answers are kept without a word")
	k.counted("answer repeated", 1)
	k.next("c 0/3", "in the order they came")
	k.next("e 0/5", "free ones before busy ones")
	k.next("more", "the busy one must wait: the try is not over, a free one may come")
	k.at(39.9)
	k.want("wait")
	k.at(40)
	k.want("no free one came: the busy one is better than nothing", "Answered")
	k.next("d 0/4 busy", "it gets the call now")
	k.next("more", "all are used: the next try")
	k.want("at once, since its time has come", "to all: query dmap")
	k.at(41)
	k.answer(on(2), "b", "dmap", Free)
	k.answer(on(4), "d", "dmap", Free)
	k.want("those that had their chance do not get another")
	k.at(159)
	k.answer(on(6), "f", "dmap", Free)
	k.want("a new one does", "Answered")
	k.next("f 0/6", "")
	k.at(2000)
	k.want("the call takes its time")
	k.next("more", "one try is left")
	k.want("and is made", "to all: query dmap")
	k.at(2360)
	k.want("its wait ends without a new answer", "Failed")
	k.next("none", "nothing more")
}

func TestQueryBusy(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.ask("x.b")
	k.at(1)
	k.answer(on(2), "b", "x.b", Busy)
	k.want("a busy answer waits for the end of the try", "to all: query x.b")
	k.next("more", "not yet")
	k.at(40)
	k.want("nothing else answered", "Answered")
	k.at(41)
	k.answer(on(3), "b", "x.b", Free)
	k.next("b 0/3", "a free one that came in between goes first")
	k.next("b 0/2 busy", "then the busy one")

	k = claimedDesk(t, Limits{})
	k.ask("dmap")
	k.answer(on(2), "b", "dmap", Busy)
	k.now = k.start.Add(40 * time.Millisecond)
	k.next("b 0/2 busy", "the try is over, though its timer was not run yet")
	k.at(5000)
	k.want("so nothing is left to be told", "to all: query dmap")

	k = claimedDesk(t, Limits{})
	k.ask("dmap")
	k.answer(on(2), "b", "dmap", Busy)
	k.at(10)
	k.answer(on(2), "b", "dmap", Free)
	k.want("a busy one that has become free is told at once", "to all: query dmap", "Answered")
	k.answer(on(2), "b", "dmap", Busy)
	k.next("more", "and counts as busy again if it says so before it is called")
	k.at(40)
	k.want("at the end of the try", "Answered")
	k.next("b 0/2 busy", "")
}

func TestAnswersThatDoNotFit(t *testing.T) {
	k := claimedDesk(t, Limits{Answers: 2})
	k.ask("x.b")
	k.seen = nil
	fit := Message{Type: Answer, BootID: 102, TxID: k.txid, Machine: "b", Service: "x.b"}
	for name, change := range map[string]func(*Message){
		"answer to no query":        func(m *Message) { m.TxID++ },
		"answer of another machine": func(m *Message) { m.Machine = "c" },
		"own echo":                  func(m *Message) { m.BootID = 1 },
	} {
		m := fit
		change(&m)
		k.hear(on(2), m, false)
		k.counted(name, 1)
	}
	other := fit
	other.Service = "y.b"
	k.hear(on(2), other, false)
	k.counted("answer to no query", 2)
	k.hear(on(2), fit, true)
	k.counted("answer to the group", 1)
	k.hear(on(8), fit, false)
	k.counted("own address", 1)
	k.want("none of these is an answer")
	for n := byte(2); n < 7; n++ {
		k.answer(on(n), "b", "x.b", Busy)
	}
	k.counted("answers full", 3)
	k.at(40)
	k.want("two are kept", "Answered")
	k.next("b 0/2 busy", "the first")
	k.next("b 0/3 busy", "and the second")
	k.next("more", "no others")
}

func TestQueryLate(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.ask("x.b")
	k.at(160)
	k.seen = nil
	k.now = k.now.Add(5 * time.Second)
	k.d.HandleTimeout(k.now, &k.out)
	k.take()
	k.want("we slept through the last wait: answers may lie unread, so it is not judged yet")
	k.answer(on(2), "b", "x.b", Free)
	k.want("there is one", "Answered")
}

func TestQueryRefused(t *testing.T) {
	k := claimedDesk(t, Limits{Queries: 2})
	if _, err := k.d.Query(k.now, "x_y", &k.out); err == nil || !strings.Contains(err.Error(), "'_'") {
		t.Errorf("a bad name is asked for: %v", err)
	}
	a, err1 := k.d.Query(k.now, "x.b", &k.out)
	b, err2 := k.d.Query(k.now, "x.b", &k.out)
	_, err3 := k.d.Query(k.now, "x.c", &k.out)
	if err1 != nil || err2 != nil || a == b || a == 0 || b == 0 {
		t.Errorf("two queries: %d %v, %d %v", a, err1, b, err2)
	}
	if !errors.Is(err3, ErrQueries) {
		t.Errorf("a third at the limit: %v", err3)
	}
	k.d.Done(a)
	k.d.Done(a)
	if _, err := k.d.Query(k.now, "x.c", &k.out); err != nil {
		t.Errorf("room again after Done: %v", err)
	}
}

func TestNewTxID(t *testing.T) {
	k := claimedDesk(t, Limits{})
	k.d.txid = 1<<32 - 3
	var ids []uint32
	for range 3 {
		k.ask("x.b")
		ids = append(ids, k.id)
	}
	k.d.txid = 1<<32 - 3
	k.ask("x.b")
	if ids = append(ids, k.id); fmt.Sprint(ids) != "[4294967294 4294967295 1 2]" {
		t.Errorf("ids %v: never 0, none twice", ids)
	}
	k.d.Claim(k.now, &k.out)
	k.take()
	k.d.txid = k.d.claim.txid - 1
	if k.ask("x.b"); k.id == k.d.claim.txid {
		t.Error("a query has the txid of the claim")
	}
	other := New(Config{Machine: "a", BootID: 2, Seed: 42})
	if other.txid == New(Config{Machine: "a", BootID: 1, Seed: 42}).txid {
		t.Error("the txids of the next start begin where those of this one did")
	}
}

func TestServices(t *testing.T) {
	k := claimedDesk(t, Limits{Services: 3}, "x.a", "y.a.lab")
	for service, want := range map[string]string{
		"x.b":      "not a service name of this machine: the machine is a",
		"netman.a": "netman holds it",
		"X.a":      "'X'",
	} {
		if err := k.d.Register(service); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Register(%s) = %v, want %s", service, err, want)
		}
	}
	if k.d.Register("dmap") != nil || k.d.Register("x.a") != nil || k.d.Register("z.a") == nil {
		t.Error("three services, and no fourth")
	}
	if got := fmt.Sprint(k.d.Services()); got != "[dmap x.a y.a.lab]" {
		t.Error(got)
	}
	k.query(on(2), "b", "x.a", 1)
	k.query(on(2), "b", "y.a.lab", 2)
	k.want("answers for its own", "to 0/2: answer 1 x.a free", "to 0/2: answer 2 y.a.lab free")
	for _, service := range []string{"y.a", "x", "x.b", "dmap.a", "netman.b", "netman"} {
		k.query(on(2), "b", service, 3)
	}
	k.at(100)
	k.want("and for nothing else")
	k.d.SetBusy("x.a", true)
	k.d.SetBusy("unknown", true)
	k.query(on(2), "b", "x.a", 4)
	k.want("as busy while it is", "to 0/2: answer 4 x.a busy")
	k.d.SetBusy("x.a", false)
	k.query(on(2), "b", "x.a", 4)
	k.want("the same query again is answered again", "to 0/2: answer 4 x.a free")
	k.d.Unregister("x.a")
	k.query(on(2), "b", "x.a", 5)
	k.want("not any more")
	if k.d.Has("x.a") || !k.d.Has("dmap") || k.d.Busy("dmap") || k.d.Has("unknown") {
		t.Error("Has, Busy")
	}
}

// Answers to installation-wide names are held back by up to min(20 ms, 0.05 ms for each station known).
func TestJitter(t *testing.T) {
	k := claimedDesk(t, Limits{}, "dmap")
	most, total := time.Duration(0), time.Duration(0)
	const rounds = 400
	for i := range rounds {
		asked := k.now
		k.query(on(2), "b", "dmap", uint32(i))
		for len(k.seen) == 0 {
			k.now = k.d.Deadline()
			k.d.HandleTimeout(k.now, &k.out)
			k.take()
		}
		k.want("one answer", fmt.Sprintf("to 0/2: answer %d dmap free", i))
		most, total = max(most, k.now.Sub(asked)), total+k.now.Sub(asked)
		k.now = k.now.Add(10 * time.Millisecond)
	}
	if most > 50*time.Microsecond || most < 40*time.Microsecond || total/rounds < 20*time.Microsecond || total/rounds > 30*time.Microsecond {
		t.Errorf("with one station known: up to %v, mean %v; want 50 and 25 us", most, total/rounds)
	}
	for n := range 1000 {
		k.query(Station{1, [6]byte{2, 0, 0, 1, byte(n >> 8), byte(n)}}, "b", "x.b", 1)
	}
	most = 0
	for range rounds {
		most = max(most, k.d.jitter())
	}
	if most > 20*time.Millisecond || most < 19*time.Millisecond {
		t.Errorf("with 1001 stations known: up to %v, want 20 ms", most)
	}
}

func TestHeldAnswers(t *testing.T) {
	k := claimedDesk(t, Limits{Held: 2}, "dmap", "date")
	for n := range 400 {
		k.query(Station{1, [6]byte{2, 0, 0, 1, byte(n >> 8), byte(n)}}, "b", "x.b", 1)
	}
	k.query(on(2), "b", "dmap", 1)
	k.query(on(2), "b", "dmap", 1)
	k.want("the answer waits, and a repeated query does not bring a second")
	k.counted("query repeated before its answer", 1)
	k.query(on(3), "c", "date", 1)
	k.query(on(4), "d", "dmap", 1)
	k.want("when too many wait, the next goes at once", "to 0/4: answer 1 dmap free")
	k.d.Unregister("date")
	k.d.SetBusy("dmap", true)
	k.at(20)
	k.want("what is said is what holds when it is said", "to 0/2: answer 1 dmap busy")
	k.counted("held answer withdrawn", 1)

	k = claimedDesk(t, Limits{}, "dmap")
	m := Message{Type: Query, BootID: 5, TxID: 1, Machine: "b", Service: "dmap"}
	k.hear(on(2), m, true)
	m.BootID = 6
	k.hear(on(2), m, true)
	k.at(1)
	k.want("two starts of a machine may use one txid", "to 0/2: answer 1 dmap free", "to 0/2: answer 1 dmap free")
	k.hear(on(2), m, true)
	k.d.Claim(k.now, &k.out)
	k.take()
	k.at(39)
	k.want("a machine that claims its name again has none meanwhile", "to all: query netman.a")
}

// A station that asks without end is answered 1000 times a second, after 4096 at once.
func TestAnswerLimit(t *testing.T) {
	k := claimedDesk(t, Limits{}, "x.a", "dmap")
	for i := range 5000 {
		k.query(on(2), "b", "x.a", uint32(i))
	}
	if len(k.seen) != 4096 {
		t.Errorf("%d answers at once", len(k.seen))
	}
	k.counted("answers to one station limited", 904)
	k.seen = nil
	k.query(on(3), "c", "x.a", 1)
	k.want("another station does not suffer", "to 0/3: answer 1 x.a free")
	for ms := range 1000 {
		k.at(float64(ms + 1))
		k.query(on(2), "b", "x.a", 1)
		k.query(on(2), "b", "dmap", uint32(ms))
	}
	if len(k.seen) != 1000 {
		t.Errorf("%d answers in the next second", len(k.seen))
	}
	k.seen = nil
	k.at(10000)
	for i := range 5000 {
		k.query(on(2), "b", "x.a", uint32(i))
	}
	if len(k.seen) != 4096 {
		t.Errorf("%d answers after a rest", len(k.seen))
	}
}

func TestKnown(t *testing.T) {
	k := claimedDesk(t, Limits{Stations: 3}, "x.a")
	k.query(on(5), "e", "x.a", 1)
	k.at(10)
	k.query(Station{1, addr(2)}, "b", "x.z", 1)
	k.at(20)
	k.hear(on(2), Message{Type: Answer, BootID: 102, TxID: 9, Machine: "b", Domain: "lab", Service: "x.b"}, false)
	k.query(on(8), "b", "x.z", 1)
	list := func() (text string) {
		for _, e := range k.d.Known() {
			text += fmt.Sprintf("%s.%s %d/%d boot %d at %v; ", e.Machine, e.Domain, e.Station.Port, e.Station.Addr[5], e.BootID, e.Heard.Sub(k.start))
		}
		return text
	}
	if got := list(); got != "b.lab 0/2 boot 102 at 20ms; b. 1/2 boot 102 at 10ms; e. 0/5 boot 105 at 0s; " {
		t.Errorf("known: %s", got)
	}
	k.at(30)
	k.query(on(5), "e", "x.z", 1)
	k.query(on(6), "f", "x.z", 1)
	if got := list(); got != "b.lab 0/2 boot 102 at 20ms; e. 0/5 boot 105 at 30ms; f. 0/6 boot 106 at 30ms; " {
		t.Errorf("the one not heard for longest makes room: %s", got)
	}
	k.counted("stations full", 1)
	k.query(on(6), "a", "netman.a", 1)
	if got := list(); strings.Contains(got, "f.") || strings.Contains(got, "a.") {
		t.Errorf("a station under our own name is no other machine: %s", got)
	}
}

// Of stations heard at the same time the first makes room, so that a seed gives one trace.
func TestKnownSame(t *testing.T) {
	for range 20 {
		k := claimedDesk(t, Limits{Stations: 4})
		for _, n := range []byte{6, 3, 5, 4, 2} {
			k.query(on(n), "b", "x.z", 1)
		}
		if known := k.d.Known(); len(known) != 4 || known[0].Station != on(2) || known[1].Station != on(3) || known[3].Station != on(5) {
			t.Fatalf("known: %v", known)
		}
	}
}

func TestEventKindString(t *testing.T) {
	if got := fmt.Sprint(Claimed, Clash, Answered, Failed, EventKind(9), Query, Answer, Hello, Type(9)); got !=
		"Claimed Clash Answered Failed EventKind 9 QUERY ANSWER HELLO TYPE 9" {
		t.Error(got)
	}
}
