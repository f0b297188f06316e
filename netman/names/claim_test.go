package names

import (
	"testing"
	"time"
)

func TestClaim(t *testing.T) {
	k := newDesk(t, Limits{})
	k.d.Register("x.a")
	k.d.Claim(k.now, &k.out)
	k.take()
	k.want("the first try goes out at once", "to all: query netman.a")
	first := k.txid
	k.query(on(3), "c", "x.a", 5)
	k.query(on(3), "c", "netman.a", 6)
	k.want("a machine that has not its name answers for nothing")
	k.at(39.9)
	k.want("the first try waits 40 ms")
	k.at(40)
	k.want("then comes the second", "to all: query netman.a")
	k.at(159.9)
	k.want("which waits 120 ms")
	k.at(160)
	k.want("then the third", "to all: query netman.a")
	if k.txid != first {
		t.Error("the tries of one question bear one txid, so that a late answer counts")
	}
	k.at(519.9)
	k.want("which waits 360 ms")
	k.at(520)
	k.want("nobody answered: the name is ours", "Claimed")
	k.query(on(3), "c", "x.a", 5)
	k.query(on(3), "c", "netman.a", 6)
	k.want("and we answer for it, and our services", "to 0/3: answer 5 x.a free", "to 0/3: answer 6 netman.a free")
	k.at(10000)
	k.want("no timer goes on")
	if !k.d.Deadline().IsZero() {
		t.Error("a timer is set")
	}
}

func TestClaimHeld(t *testing.T) {
	k := newDesk(t, Limits{})
	k.d.Register("x.a")
	k.d.Claim(k.now, &k.out)
	k.take()
	k.at(1)
	k.want("asks", "to all: query netman.a")
	k.answer(on(9), "a", "netman.a", Free)
	k.want("a holder answers, though with a higher address: the name is lost at once", "Clash 0/9 a")
	k.answer(on(9), "a", "netman.a", Free)
	k.query(on(3), "c", "netman.a", 6)
	k.query(on(3), "c", "x.a", 6)
	k.at(2000)
	k.want("who lost the name stays silent, and says so once")
	k.d.Claim(k.now, &k.out)
	k.take()
	k.want("but may claim again", "to all: query netman.a")
	k.at(2520)
	k.want("and get it when it has become free", "to all: query netman.a", "to all: query netman.a", "Claimed")
}

// A station that uses our name for anything else than a claim holds it, even if its answer to us was lost.
func TestClaimHolderHeard(t *testing.T) {
	k := newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.seen = nil
	k.query(on(9), "a", "x.c", 4)
	k.want("it asks under our name: it holds it", "Clash 0/9 a")
}

// Of two that claim at once the lower address wins (protocol.md 2). Ours is 8.
func TestClaimRivals(t *testing.T) {
	k := newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.seen = nil
	k.at(10)
	k.query(on(9), "a", "netman.a", 7)
	k.query(on(9), "a", "netman.a", 7)
	k.want("a rival is weighed when the try ends")
	k.at(40)
	k.want("this one has the higher address: it is told, once, that it loses", "to 0/9: answer 7 netman.a free", "to all: query netman.a")
	k.at(50)
	k.answer(on(9), "a", "netman.a", Free)
	k.want("should it answer us too, it does not know better yet")
	k.at(170)
	k.query(on(9), "a", "netman.a", 7)
	k.want("it claims again: our answer was lost", "to all: query netman.a")
	k.at(520)
	k.want("so it is answered again; the name is ours", "to 0/9: answer 7 netman.a free", "Claimed")

	k = newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.seen = nil
	k.at(10)
	k.query(on(7), "a", "netman.a", 7)
	k.want("a rival with a lower address is not answered")
	k.at(39)
	k.want("it is weighed when the try ends")
	k.at(40)
	k.want("and has the name", "Clash 0/7 a")
	k.at(1000)
	k.want("for good")

	k = newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.at(519)
	k.seen = nil
	k.query(on(7), "a", "netman.a", 7)
	k.at(520)
	k.want("a rival that begins when we are nearly done, and has heard none of our queries, wins too", "Clash 0/7 a")
}

// Two machines with our name that meet on two Ethernets come to the same end, whichever they hear first: 1 and 4 against 2 and 3.
func TestClaimTwoPorts(t *testing.T) {
	left, right := func(n byte) Station { return Station{0, addr(n)} }, func(n byte) Station { return Station{1, addr(n)} }
	build := func(own0, own1 byte) *desk {
		k := newDesk(t, Limits{})
		k.d.SetAddr(0, addr(own0))
		k.d.SetAddr(1, addr(own1))
		k.d.Claim(k.now, &k.out)
		k.take()
		k.seen = nil
		return k
	}
	claim := Message{Type: Query, BootID: 200, TxID: 7, Machine: "a", Service: "netman.a", Hops: 8}
	answer := Message{Type: Answer, BootID: 200, Machine: "a", Service: "netman.a"}

	k := build(1, 4)
	k.hear(right(3), claim, true)
	answer.TxID = k.txid
	k.hear(right(3), answer, false)
	k.at(30)
	k.hear(left(2), claim, true)
	k.want("on the second Ethernet the rival is lower, and answers us; on the first we are, and lowest of all")
	k.at(40)
	k.want("so the rival loses, and is told at its lowest address", "to 0/2: answer 7 netman.a free", "to all: query netman.a")
	k.at(520)
	k.want("and the name is ours", "to all: query netman.a", "Claimed")

	k = build(2, 3)
	k.hear(right(4), claim, true)
	k.hear(left(1), claim, true)
	k.at(40)
	k.want("the other end hears first where it is lower, but gives way", "Clash 0/1 a")

	k = build(2, 3)
	k.hear(right(4), claim, true)
	k.at(40)
	k.want("or, not knowing better, answers", "to 1/4: answer 7 netman.a free", "to all: query netman.a")
	answer.TxID = k.txid
	k.hear(left(1), answer, false)
	k.at(160)
	k.want("until it is told from the lowest address", "Clash 0/1 a")

	k = build(2, 3)
	k.d.Handle(k.now, Station{2, addr(1)}, claim, true, &k.out)
	k.take()
	k.want("on a port of unknown address nothing can be compared")
	k.counted("port without an address", 1)
}

// A clash found while running is told once per station; nobody is cut off.
func TestClashWhileRunning(t *testing.T) {
	k := claimedDesk(t, Limits{Clashes: 2}, "x.a")
	k.query(on(7), "a", "netman.a", 7)
	k.want("a newcomer is answered, whatever its address, and refuses to start", "to 0/7: answer 7 netman.a free")
	k.query(on(7), "a", "x.b", 7)
	k.want("but this one runs", "Clash 0/7 a")
	k.query(on(7), "a", "x.a", 8)
	k.answer(on(7), "a", "netman.a", Free)
	k.want("which is told once")
	k.hear(on(6), Message{
		Type: Hello, BootID: 106, Machine: "a", VersionMin: 1, VersionMax: 1, N1: 1497, RW: 8, Tolerance: time.Second,
	}, false)
	k.want("a hello tells it too", "Clash 0/6 a")
	k.query(on(5), "a", "x.b", 7)
	k.want("the list of clashes has its limit")
	k.counted("clashes full", 1)
	k.query(on(3), "c", "x.a", 9)
	k.want("and all the while the machine works", "to 0/3: answer 9 x.a free")
}

func TestClaimLimits(t *testing.T) {
	k := newDesk(t, Limits{Rivals: 1})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.seen = nil
	k.query(on(9), "a", "netman.a", 1)
	k.query(on(10), "a", "netman.a", 2)
	k.at(40)
	k.want("of too many rivals only the first are weighed", "to 0/9: answer 1 netman.a free", "to all: query netman.a")
	k.counted("rivals full", 1)
	k.at(160)
	k.want("who is silent gets no further answer", "to all: query netman.a")
}

// A process that slept through the last wait has not read the answers yet: it must not take the name.
func TestClaimLate(t *testing.T) {
	k := newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.at(160)
	k.seen = nil
	k.now = k.now.Add(3 * time.Second)
	k.d.HandleTimeout(k.now, &k.out)
	k.take()
	k.want("the end of the wait is noticed 2.6 s late: it is not judged yet")
	k.answer(on(9), "a", "netman.a", Free)
	k.want("the answer is read", "Clash 0/9 a")

	k = newDesk(t, Limits{})
	k.d.Claim(k.now, &k.out)
	k.take()
	k.at(160)
	k.seen = nil
	k.now = k.now.Add(3 * time.Second)
	k.d.HandleTimeout(k.now, &k.out)
	k.take()
	k.now = k.now.Add(3 * time.Second)
	k.d.HandleTimeout(k.now, &k.out)
	k.take()
	k.want("it is put off only once", "Claimed")
}
