package main

// mutants are the deliberate bugs, by room. A change of the code may make one harmless: then another is to be found.
var mutants = concat(linkMutants, packetMutants, nameMutants, nodeMutants, spliceMutants, trustMutants, sealMutants, witnessMutants)

func concat(all ...[]mutant) (sum []mutant) {
	for _, each := range all {
		sum = append(sum, each...)
	}
	return sum
}

var linkMutants = []mutant{
	{
		"N(S)", "netman/hdlc/in.go", "\tcase d == 0:\n", "\tcase d <= 1:\n",
		"An I frame after a gap of one is taken as the next one.",
	}, {
		"N(R) sent", "netman/hdlc/out.go", "PF: pf, NR: l.recv.vr}", "PF: pf, NR: next(l.recv.vr)}",
		"An acknowledgement covers a frame that has not come.",
	}, {
		"stale N(R)", "netman/hdlc/in.go", "\tcase d >= staleAt:\n\t\treturn stale\n", "\tcase d > modulus:\n\t\treturn stale\n",
		"A late acknowledgement is taken for one of a frame never sent, and ends the link.",
	}, {
		"stale N(S)", "netman/hdlc/in.go", "d >= l.cfg.RW && d < staleAt:", "d >= l.cfg.RW:",
		"A frame that comes twice is taken for one outside the window, and ends the link.",
	}, {
		"REJ repeated", "netman/hdlc/in.go", "if !l.recv.reject || anew {", "if anew = true; anew {",
		"Each frame after a gap brings a REJ, not the first one only.",
	}, {
		"REJ heeded", "netman/hdlc/in.go", "\tl.send.vs = l.send.va\n\tl.send.backAt = now\n", "\tl.send.vs = next(l.send.va)\n\tl.send.backAt = now\n",
		"The sender goes back to the frame after the one that is missing.",
	}, {
		"window", "netman/hdlc/out.go", "max(l.pace.ww-ahead(l.send.va, l.send.vs), 0)", "max(l.pace.ww+1-ahead(l.send.va, l.send.vs), 0)",
		"One frame more than the window is outstanding.",
	}, {
		"working window", "netman/hdlc/in.go", "min(l.pace.ww+1, l.cfg.K), 0", "l.pace.ww+1, 0",
		"The working window grows above k.",
	}, {
		"T1", "netman/hdlc/timer.go", "\tcase normal:\n\t\tl.sendPoll(now, out)\n", "\tcase normal:\n\t\tl.time.t1 = time.Time{}\n",
		"When T1 runs out nobody is asked what arrived.",
	}, {
		"T2", "netman/hdlc/in.go", "\tcase l.recv.unacked > 0 && l.time.t2.IsZero():\n\t\tl.time.t2 = now.Add(t2Delay)\n",
		"\tcase l.recv.unacked > 0 && l.time.t2.IsZero():\n\t\tl.time.t2 = now.Add(l.cfg.Tolerance)\n",
		"An acknowledgement is held back for as long as silence is tolerated.",
	}, {
		"tolerance", "netman/hdlc/timer.go", "judge := l.time.heard.Add(l.cfg.Tolerance)", "judge := l.time.heard.Add(l.cfg.Tolerance / 4)",
		"A peer is given up after a quarter of the tolerance.",
	}, {
		"own lateness", "netman/hdlc/timer.go", "now.Sub(due) > l.cfg.Tolerance/4", "false",
		"A peer is judged silent though it was this process that slept.",
	}, {
		"silence", "netman/hdlc/timer.go", "l.emit(Frame{Kind: DM, Response: true}, out)\n\t\tl.down(Silent, out)", "l.sendPoll(now, out)\n\t\tl.postpone(now)",
		"A silent peer is polled for ever.",
	}, {
		"SABME without hello", "netman/hdlc/in.go", "case f.Kind == SABME && l.expect:", "case f.Kind == SABME:",
		"A SABME that no hello announced begins a link.",
	}, {
		"loose DM", "netman/hdlc/in.go", "\tcase f.PF && l.poll.await:\n", "\tcase true:\n",
		"A DM that answers nothing ends the link.",
	}, {
		"echo", "netman/hdlc/in.go", "f.PF && l.isEcho(f.Info):", "f.PF:",
		"Any TEST response proves N1, whatever came back.",
	}, {
		"buffers", "netman/hdlc/slab.go", "o.past = append(o.past, pastBuffer{s, b})", "s.Put(b)",
		"The buffer of a frame that is still shown to the caller is used again.",
	},
}

var packetMutants = []mutant{
	{
		"P(R) credit", "x25/in.go", "if rx.pr != rx.vr && (rx.q.empty() || rx.q.size() < l.cfg.ReceiveLimit && !l.cfg.Budget.short()) {", "if rx.pr != rx.vr {",
		"A circuit whose program does not read goes on inviting data.",
	}, {
		"P(R) checked", "x25/in.go", "if moved > (c.tx.vs-c.tx.lwe)&127 {", "if moved > 127 {",
		"A P(R) beyond what was sent is taken.",
	}, {
		"M", "x25/out.go", "data, end = data[:c.tx.size], false", "data = data[:c.tx.size]",
		"A datagram that needs several packets comes as several datagrams.",
	}, {
		"Q", "x25/out.go", "\tif q {\n", "\tif q && end {\n",
		"Only the last packet of a sequence bears Q.",
	}, {
		"window", "x25/circuit.go", "(c.tx.vs-c.tx.lwe)&127 >= c.tx.w {", "(c.tx.vs-c.tx.lwe)&127 > c.tx.w {",
		"One packet more than the window is sent.",
	}, {
		"window edge", "x25/in.go", "(p.PS-rx.said)&127 >= rx.w:", "(p.PS-rx.said)&127 >= rx.w-1:",
		"The last packet of a window is refused.",
	}, {
		"interrupt slot", "x25/circuit.go", "case c.interrupt.i2 || c.interrupt.n > 0:", "case c.interrupt.n > 0:",
		"A second interrupt goes out before the first is confirmed.",
	}, {
		"interrupt confirmed", "x25/in.go", "\t\tc.interrupt.j2 = true\n", "\t\tc.interrupt.j2 = !c.closing.on && len(p.UserData) < 4\n",
		"Some interrupts are never confirmed.",
	}, {
		"LCI choice", "x25/level.go", "if l.cfg.Role == DTE {\n\t\treturn l.table.highest", "if l.cfg.Role == DTE && l.table.n > 0 {\n\t\treturn l.table.highest",
		"The DTE takes its first channel from the bottom, where the DCE takes its own.",
	}, {
		"collision", "x25/in.go", "if l.cfg.Role == DTE {\n\t\tc.state = p5", "if l.cfg.Role == DCE {\n\t\tc.state = p5",
		"When calls collide the DTE yields and the DCE does not.",
	}, {
		"drain", "x25/out.go", "c.tx.q.empty() && c.tx.vs == c.tx.lwe && ", "",
		"A Close clears at once, and drops what was queued.",
	}, {
		"drain until P(R)", "x25/out.go", "c.tx.vs == c.tx.lwe && ", "",
		"A Close clears before the other end has said that it took all of it.",
	}, {
		"restart", "x25/in.go", "l.clearAll(clearCause(p.Cause), p.Diag, out)\n", "",
		"The peer's restart leaves the circuits standing.",
	}, {
		"reset", "x25/out.go", "rx.vr, rx.pr, rx.said, rx.due, rx.open = 0, 0, 0, false, false", "rx.pr, rx.said, rx.due, rx.open = rx.vr, rx.vr, false, false",
		"V(R) is not 0 after a reset.",
	}, {
		"rotation", "x25/out.go", "\tl.stats[PacketsOut]++\n\tl.data.put(c, false)\n", "\tl.stats[PacketsOut]++\n",
		"The circuit that sends goes on sending; the others wait until it is done.",
	}, {
		"T23", "x25/timer.go", "case c.state == p7 && (c.answered || !again): // T23", "case c.state == p7: // T23",
		"A clear that was not confirmed is not sent again.",
	},
}

var nameMutants = []mutant{
	{
		"first answer", "netman/names/in.go", "q.answers = append(q.answers, answer{Server: a})", "q.answers = slices.Insert(q.answers, 0, answer{Server: a})",
		"The last answer gets the call, not the first.",
	}, {
		"busy said", "netman/names/out.go", "if d.services[service] {", "if d.services[service] && to.Port > 0 {",
		"A busy service says that it is free.",
	}, {
		"busy last", "netman/names/out.go", "\t\tif !a.Busy {\n\t\t\treturn a\n", "\t\tif true {\n\t\t\treturn a\n",
		"A busy station gets the call though a free one has answered.",
	}, {
		"claim order", "netman/names/claim.go", "return less(r.theirs, r.own)", "return less(r.own, r.theirs)",
		"Of two that claim one name the higher address has it.",
	}, {
		"claim lost", "netman/names/claim.go", "\t\tif r.lower() {\n", "\t\tif r.lower() && len(d.claim.rivals) > 9 {\n",
		"Two that claim one name both have it.",
	}, {
		"claim first", "netman/names/in.go", "return d.claim.state == claimed && (", "return (",
		"A machine answers for names before its own is its own.",
	}, {
		"handed out once", "netman/names/out.go", "best.given, q.waiting = true, false", "q.waiting = false",
		"A station that refused the call gets it again, and again.",
	}, {
		"tries", "netman/names/out.go", "return a.tries == len(waits)", "return a.tries >= 1",
		"A name is asked for once, not three times.",
	},
}

var nodeMutants = []mutant{
	{
		"one call", "netman/node/station.go", "\t\tn.place(now, c, s, out)\n\t}\n}\n\n// linkDown", "\t\tn.place(now, c, s, out)\n\t\tn.place(now, c, s, out)\n\t}\n}\n\n// linkDown",
		"A call that waited for its link is placed twice.",
	}, {
		"retry", "netman/node/in.go", "case ev.Cause == x25.CauseBusy || ev.Cause == x25.CauseNotObtainable:", "case true:",
		"A call goes to the next server after any Clear, though the first may have begun to serve it.",
	}, {
		"retry after 01", "netman/node/in.go", "case ev.Cause == x25.CauseBusy || ev.Cause == x25.CauseNotObtainable:", "case ev.Cause == x25.CauseNotObtainable:",
		"A call is not given to the next server when the first is busy.",
	}, {
		"crossed", "netman/node/in.go", "case disc && c.crossed:", "case disc:",
		"A call is placed once more after any DISC, though the server may have begun to serve it.",
	}, {
		"closed call", "netman/node/circuit.go", "\tc.node.finishLook(c)\n\tc.crossed = false\n\tc.x.Close", "\tc.x.Close",
		"A call that was closed before its answer goes on to the next server.",
	}, {
		"boot id", "netman/node/station.go", "if s.state != idle && s.state != greeting {\n\t\t\tn.endLink", "if s.state != idle && s.state != greeting && s.state != up {\n\t\t\tn.endLink",
		"A netman that has started anew is not noticed while the old link is up.",
	}, {
		"hello while closing", "netman/node/station.go", "\t\tif s.state == closing {\n", "\t\tif false {\n",
		"A hello that meets our DISC leaves a station that never opens again.",
	}, {
		"earlier boot", "netman/node/station.go", "if boot == h.boot && boot != s.peer.boot {", "if boot == h.boot && boot == s.peer.boot {",
		"A late hello of a dead netman ends the link with the one that lives.",
	}, {
		"instance", "netman/node/station.go", "int32(h.instance-s.peer.instance) <= 0:", "int32(h.instance-s.peer.instance) < 0:",
		"A hello that comes twice announces two links.",
	}, {
		"new instance", "netman/node/station.go", "\tn.instance++\n", "",
		"Each link begins with the instance of the one before.",
	}, {
		"begun anew", "netman/node/in.go", "if f.Kind == hdlc.SABME && s.next != nil && s.state == up {", "if false {",
		"A peer that begins its link anew is not heard.",
	}, {
		"MTU proof", "netman/node/station.go", "N1: n1, SafeN1: n.safeN1(), K:", "N1: n1, SafeN1: n1, K:",
		"Large frames are used though nothing proved that the path carries them.",
	}, {
		"N1 agreed", "netman/node/station.go", "n1 := min(n.largestN1(p), h.n1)", "n1 := n.largestN1(p)",
		"Frames are larger than the peer takes.",
	}, {
		"tolerance agreed", "netman/node/station.go", "max(n.cfg.Tolerance, h.tolerance)", "min(n.cfg.Tolerance, h.tolerance)",
		"A link is down after the shorter of the two tolerances.",
	}, {
		"idle link", "netman/node/timer.go", "if s.level.Len() > 0 {\n\t\ts.empty = now\n", "if s.level.Len() > 1 {\n\t\ts.empty = now\n",
		"A link with one circuit counts as idle, and is disconnected.",
	}, {
		"deadline", "netman/node/timer.go", "\tif s.level != nil {\n\t\tn.note(s.level.Deadline())\n", "\tif s.level != nil && s.link == nil {\n\t\tn.note(s.level.Deadline())\n",
		"The timers of layer 3 run late.",
	}, {
		"calls that wait", "netman/node/seal.go", "\t\tc.wait = nil\n\t\tn.nextServer(now, c, cause, 0, text, out)\n", "\t\tc.wait = nil\n\t\tn.look(now, c, out)\n",
		"A call to a station that does not answer asks again for ever.",
	}, {
		"answer by REJ", "netman/hdlc/in.go", "if l.send.va == l.send.vm || l.send.busy {", "if l.send.va == l.send.vs || l.send.busy {",
		"Two ends that each hold a frame that the path eats say REJ to each other for ever.",
	}, {
		"reset, unread", "x25/out.go", " + rx.q.trim(l.cfg.Pool, l.cfg.ReceiveLimit))", ")",
		"A peer that sends a window and a reset in turn fills the memory.",
	}, {
		"hello limit", "netman/node/station.go", "> time.Duration(burst-1)*helloInterval", "> time.Duration(burst)*time.Hour",
		"One station may send any number of hellos.",
	}, {
		"hello without link", "netman/node/station.go", "s.peer, s.next, s.hailed = h, nil, true", "n.newLink(s, h, out)",
		"Each hello makes a link, also one of a station that is not there.",
	}, {
		"half-open links", "netman/node/station.go", "s.state == up && s.link.Fresh() && s.level.Len() == 0", "false",
		"Links of stations that are not there keep others out.",
	}, {
		"links that live", "netman/node/station.go", "s.state == up && s.link.Fresh() && s.level.Len() == 0", "s.state == up",
		"A link that is in use makes room for one of a station that is not there.",
	}, {
		"trace without data", "netman/node/frame.go", "case p.Kind == x25.KindData || p.Kind == x25.KindInterrupt:", "case p.Kind == x25.KindData:",
		"A trace shows interrupts to whoever may not see them.",
	}, {
		"log limit", "netman/node/log.go", "!known && len(l.said) >= l.most() && !l.forget(now)", "false",
		"Forged addresses fill the log.",
	},
}

// spliceMutants are those of complex servers.
var spliceMutants = []mutant{
	{
		"splice: close drains", "netman/node/splice.go", "if from.over && from.x.Held() == 0 {", "if from.over {",
		"The end of one circuit is passed on before what came on it.",
	}, {
		"splice: reset", "netman/node/splice.go", "\t\tsp.ends[i].discard(now)\n\t\tsp.ends[i].waiting = nil\n", "\t\tsp.ends[i].waiting = nil\n",
		"What came before a reset is passed on after it.",
	}, {
		"splice: nobody reads", "netman/node/splice.go", "\t\t\tfrom.discard(now)\n\t\t\tcontinue\n", "\t\t\tcontinue\n",
		"What comes for an end that is over is kept, and its window shut.",
	}, {
		"splice: died", "netman/node/splice.go", "failure{x25.CauseDTE, x25.DiagProgramDied,", "failure{x25.CauseDTE, x25.DiagNone,",
		"A program that died has closed its circuits in the ordinary way.",
	}, {
		"splice: interrupt waits", "netman/node/splice.go", "\t\te.waiting = append([]byte(nil), octets...)\n", "",
		"An interrupt that comes before the last one is confirmed is lost.",
	}, {
		"complex: told", "netman/node/complex.go", "\tk.told = len(dst) > 0\n", "",
		"The owner hears of packets once, and never again.",
	},
}

var sealMutants = []mutant{
	{
		"replay", "netman/seal/session.go", "\tcase w.bits>>(w.top-1-counter)&1 != 0:\n\t\treturn ErrReplayed\n", "",
		"A frame within the window is taken again.",
	}, {
		"replay window", "netman/seal/session.go", "w.top-counter > windowLen:", "w.top-counter > windowLen+1:",
		"A frame of which the window knows nothing is taken.",
	}, {
		"header sealed", "netman/seal/session.go", "setNonce(&s.nonce, counter), frame[body:], frame[:body])", "setNonce(&s.nonce, counter), frame[body:], frame[HeaderLen:body])",
		"The header is not authenticated by the receiver.",
	}, {
		"newest", "netman/seal/session.go", "\tw.top = counter + 1\n\treturn true\n", "\tw.top = counter + 1\n\treturn false\n",
		"Every frame counts as overtaken.",
	}, {
		"first frame decides", "netman/seal/in.go", "\t\ts.reply = h.value\n\t\tp.pend(now, s)\n", "\t\ts.reply = h.value\n\t\tp.establish(now, s, out)\n",
		"A first message, which may be a recording, puts its key into use.",
	}, {
		"old key", "netman/seal/in.go", "\tif p.cur != nil {\n\t\tp.prev = p.cur\n\t}\n\tp.cur = s\n", "\tp.cur = s\n",
		"The key before is dropped at once.",
	}, {
		"third message", "netman/seal/in.go", "\t\ts.third = third\n", "",
		"The third message of XX is never sent.",
	}, {
		"forged answer", "netman/seal/in.go", "\t\th.state = nil // a forged message spoils it\n\t\treturn ErrHandshake\n", "\t\treturn ErrHandshake\n",
		"After a forged answer the true one is not understood.",
	}, {
		"one owner", "netman/node/seal.go", "\t\ts.peer.Only = &key\n", "\t\t_ = key\n",
		"While a link is up another key takes the station's place.",
	}, {
		"pin held", "netman/seal/pins.go", "\tcase known && pin.Key == key:\n", "\tcase known:\n",
		"A pinned machine may have any key.",
	}, {
		"answers are hints", "netman/node/pins.go", "if machine != \"\" && machine != s.peer.machine {", "if false {",
		"A machine may answer for another's name.",
	}, {
		"unsealed frames", "netman/node/sealed.go", "\tif f.SSAP != hdlc.SAPControl || f.DSAP&^1 != hdlc.SAPControl || f.Kind != hdlc.UI {\n\t\tn.drop(\"unsealed frame\")\n\t\treturn\n\t}\n",
		"\tif f.SSAP == hdlc.SAPX25 {\n\t\tn.handleLLC(now, key, f, false, out)\n\t\treturn\n\t}\n",
		"Frames of layer 2 are taken unsealed.",
	}, {
		"held back", "netman/seal/in.go", "if p.overtaken(s) && p.behind(s, frame) > windowLen {", "if false {",
		"A frame that was held back over a change of keys gets a number of layer 2 that is long in use again.",
	}, {
		"group counter", "netman/seal/group.go", "\tst.next = counter + 1\n", "\tst.next = counter\n",
		"A group frame is taken twice.",
	}, {
		"unknown key", "netman/node/seal.go", "\tif s.sealed.peer.Unknown(now) {\n", "\tif false {\n",
		"A station that started anew does not tell so to those that think they have a link with it.",
	}, {
		"strangers rationed", "netman/seal/peer.go", "func (d *Desk) AdmitGuest(now time.Time) bool { return d.guests", "func (d *Desk) AdmitGuest(now time.Time) bool { return true || d.guests",
		"Handshakes of invented stations cost what they like.",
	}, {
		"same machine", "netman/node/pins.go", "if s.sealed.key == key && s.peer.machine == machine {", "if true {",
		"What a station said with another key passes for the present one's.",
	}, {
		"answers beside", "netman/node/circuit.go", "\t\t\tc.spare = append(c.spare, w.key)\n", "\t\t\t_ = w.key\n",
		"A server that was tried beside another is lost to the call when that is busy.",
	}, {
		"answers staggered", "netman/node/stagger.go", "\tc.another = now.Add(besideWait)\n", "\tc.another = now.Add(time.Second)\n",
		"A station that answers and then is silent keeps the call from the others.",
	}, {
		"claims", "netman/node/sealed.go", "if m.Machine == n.cfg.Machine && !n.claimed {", "if false {",
		"Whoever says so in the clear has a machine's name.",
	},
}

var witnessMutants = []mutant{
	{
		"credential MAC", "netman/seal/witness.go", "if !hmac.Equal(c.sum(nil, key), credential[16:]) {", "if !hmac.Equal(c.sum(nil, key), credential[16:]) && len(key) == 0 {",
		"Whoever carries a call says who calls.",
	}, {
		"credential once", "netman/seal/witness.go", "\t*word |= bit\n", "\t_ = bit\n",
		"A call that was recorded can be placed again.",
	}, {
		"credential of a boot", "netman/seal/witness.go", "binary.BigEndian.AppendUint64(said, c.Boot)", "binary.BigEndian.AppendUint64(said, 0)",
		"What was recorded before a restart counts after it.",
	}, {
		"witness of the site", "netman/seal/witness.go", "\tif site != nil {\n", "\tif false {\n",
		"A machine that does not know the site secret has a say in secret mode.",
	}, {
		"witness pinned", "netman/seal/pins.go", " && pin.Witness == witness:", ":",
		"A machine whose wire was taken over has another keeper.",
	}, {
		"credential awaited", "netman/node/vouch.go", "c.vouch == s {", "true {",
		"Calls are placed without a credential.",
	},
}
