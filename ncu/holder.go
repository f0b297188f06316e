package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"dnet/circuit"
	"dnet/session"

	"golang.org/x/sys/unix"
)

// holder is one session: a program on a terminal, and the circuit to its client, if there is one at the time.
//
//	         client closes, SIGTERM
//	attached ----------------------> over
//	 |    ^                            ^
//	 |lost| taken up again             | the time is over
//	 v    |                            |
//	detached --------------------------+
type holder struct {
	process  *session.Process
	audit    session.Audit
	receiver receiver // of the first circuit
	token    token
	kept     time.Duration // how long without a circuit; 0: not at all

	typed   *inbox
	shown   *outbox
	over    chan string   // why the session is to end
	told    chan struct{} // closed when a client has all, and the exit status
	audited sync.Once

	mu     sync.Mutex
	conn   *circuit.Conn // nil while detached
	timer  *time.Timer   // of a detached session
	screen session.Screen
	final  []byte // the last message, once the program has ended
}

func newHolder(peer circuit.Peer) *holder {
	return &holder{
		audit: session.Audit{Tool: "ncu", Peer: peer, What: "login", Began: time.Now()},
		typed: newInbox(),
		shown: newOutbox(),
		over:  make(chan string, 1),
		told:  make(chan struct{}),
	}
}

// hold runs the session to its end, beginning with its first circuit.
func (h *holder) hold(conn *circuit.Conn) int {
	// netman's death is that of a circuit, no more.
	unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	runtime.UnlockOSThread()
	h.note(false)
	go h.endOnSignals()
	go h.show()
	go h.typed.drain(h.write, h.tellTaken)
	go func() {
		if h.serve(conn, h.receiver, 0, false) {
			close(h.told)
		}
	}()
	select {
	case <-h.told:
	case why := <-h.over:
		h.log(why)
		h.process.End()
		h.note(true)
	}
	return 0
}

// log says, once, how the session ended.
func (h *holder) log(how string) { h.audited.Do(func() { h.audit.Write(how) }) }

// end asks hold to end the session.
func (h *holder) end(why string) {
	select {
	case h.over <- why:
	default: // it is ending
	}
}

func (h *holder) endOnSignals() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	h.end(fmt.Sprint("the server was ended: ", <-caught))
}

// write gives the program what was typed.
func (h *holder) write(p []byte) error {
	_, err := h.process.Terminal.Write(p)
	return err
}

// show reads what the program shows until its terminal is nobody's any more.
func (h *holder) show() {
	p := make([]byte, maxPiece)
	for {
		n, err := h.process.ReadTerminal(p)
		if err != nil {
			break
		}
		h.mu.Lock()
		h.screen.Note(p[:n])
		h.mu.Unlock()
		h.shown.add(p[:n])
	}
	<-h.process.Exited
	status, name := h.process.Status()
	h.note(true)
	h.log(session.Ended(status, name))
	h.mu.Lock()
	h.final = append(message(kindStatus, status), name...)
	h.mu.Unlock()
	h.shown.end()
}

// serve serves a client, from octet next of what is shown, until its circuit is gone. True: the program has ended,
// and the client knows how.
func (h *holder) serve(conn *circuit.Conn, r receiver, next uint64, again bool) bool {
	h.mu.Lock()
	turn, from, ok := h.shown.attach(next)
	if !ok {
		h.mu.Unlock()
		fail(conn, errNumber)
		return false
	}
	before := h.conn
	h.conn = conn // from now on nothing is taken from the circuit before
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	if before != nil {
		go fail(before, errors.New("the session was taken up by another ncu"))
	}
	h.greet(conn, next, from, again)
	if again {
		h.process.Redraw()
	}
	go h.receive(conn, r)
	p := make([]byte, maxPiece)
	for {
		n := h.shown.next(turn, p)
		if n == 0 {
			break
		}
		if conn.WriteDatagram(p[:n], 0) != nil {
			return false // receive knows why
		}
	}
	h.mu.Lock()
	final, mine := h.final, h.conn == conn
	h.mu.Unlock()
	if !mine || final == nil || conn.WriteDatagram(final, circuit.Q) != nil {
		return false
	}
	h.mu.Lock()
	h.conn = nil // its end is not a loss
	h.mu.Unlock()
	conn.Close()
	return true
}

// greet sends what a client must know first.
func (h *holder) greet(conn *circuit.Conn, next, from uint64, again bool) {
	if again {
		conn.WriteDatagram(numbers(kindResumed, h.typed.number(), from), circuit.Q)
		conn.WriteDatagram(numbers(kindTaken, h.typed.written()), circuit.Q)
	}
	if h.kept > 0 {
		conn.WriteDatagram(h.sessionMessage(), circuit.Q)
	}
	if again && next == unseen {
		h.mu.Lock()
		b := append(message(kindDisplay), h.screen.Again()...)
		h.mu.Unlock()
		conn.WriteDatagram(b, circuit.Q)
	}
}

// fail tells a client why it gets no more.
func fail(conn *circuit.Conn, why error) {
	conn.WriteDatagram(append(message(kindFailed), circuit.CutText(why.Error())...), circuit.Q)
	conn.Close()
}

// receive takes what a client sends. It never waits for the program, so that it sees the end of the circuit at once.
func (h *holder) receive(conn *circuit.Conn, r receiver) {
	for {
		k, value, err := r.receive()
		if err != nil {
			h.lost(conn, err)
			return
		}
		switch k {
		case kindData:
			err = h.take(conn, value)
		case kindTaken:
			if n, ok := parseNumbers(value, 1); ok {
				err = h.shown.taken(n[0])
			}
		case kindSize:
			if size, ok := session.ParseSize(value); ok {
				h.process.Resize(size)
			}
		}
		if err != nil {
			fail(conn, err)
			h.end(err.Error())
			return
		}
	}
}

// take takes what was typed, unless another circuit has come: that brings it again.
func (h *holder) take(conn *circuit.Conn, typed []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == conn && !h.typed.add(typed) {
		return errNumber
	}
	return nil
}

// lost is the end of a circuit. A client that closes it, or dies, ends the session; when a machine or the link between
// them is gone the session waits for a while.
func (h *holder) lost(conn *circuit.Conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != conn {
		return // the client has come back by another circuit, or the session has ended
	}
	h.conn = nil
	h.shown.detach()
	var cleared *circuit.Cleared
	switch {
	case err == io.EOF:
		h.end("ended by the client")
	case h.kept == 0 || !errors.As(err, &cleared) || cleared.Cause == 0:
		h.end(fmt.Sprint("ended by the loss of the circuit: ", reason(err)))
	default:
		conn.Close()
		h.timer = time.AfterFunc(h.kept, func() { h.late(reason(err)) })
	}
}

// late ends a session that nobody has come back to.
func (h *holder) late(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		h.end(fmt.Sprintf("ended %v after the loss of the circuit: %v", h.kept, why))
	}
}

// tellTaken tells the client what it need not keep any more.
func (h *holder) tellTaken() {
	h.mu.Lock()
	conn := h.conn
	h.mu.Unlock()
	if conn != nil {
		conn.WriteDatagram(numbers(kindTaken, h.typed.written()), circuit.Q)
	}
}
