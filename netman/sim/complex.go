package sim

import (
	"strconv"
	"strings"
	"time"

	"dnet/netman/node"
	"dnet/x25"
)

// line is what a program does with its end of a circuit: a node's circuit, or a channel of a complex server.
type line interface {
	Accept(now time.Time, out *node.Out) error
	Send(now time.Time, data []byte, q, more bool, out *node.Out) error
	Room() int
	Peek() (data []byte, q, more, ok bool)
	Next(now time.Time, out *node.Out)
	Interrupt(now time.Time, octets []byte, out *node.Out) error
	Reset(now time.Time, diag x25.Diag, out *node.Out) bool
	Close(now time.Time, cause x25.Cause, diag x25.Diag, text string, out *node.Out)
	Clear(now time.Time, cause x25.Cause, diag x25.Diag, text string, out *node.Out)
	Held() int
	LCI() uint16
}

// complexServer is the process behind a complex service: a packet level as the DTE, and the descriptor between it and its node, which
// holds a few packets each way, in order.
type complexServer struct {
	w     *World
	m     *Machine
	s     *service
	k     *node.Complex
	cfg   x25.Config
	level *x25.Level
	xout  x25.Out

	down, up    [][]byte // packets for the program, and from it
	room        int      // packets that each way holds
	lag         time.Duration
	reads, runs bool // the node, the program, will look at the descriptor
	alarm       time.Time
	dead        bool
}

// serve starts the process of a complex service.
func (m *Machine) serve(s *service) {
	w, now := m.w, m.w.time()
	cfg := x25.Config{Role: x25.DTE, MaxPacket: node.ComplexPacket}
	if w.chance(0.5) {
		cfg.Window, cfg.MaxUserData = 1+w.rng.IntN(8), 64+w.rng.IntN(4000)
	}
	if w.chance(0.3) {
		cfg.QueueLimit, cfg.ReceiveLimit = 1+w.rng.IntN(4000), 1+w.rng.IntN(4000)
	}
	srv := &complexServer{w: w, m: m, s: s, cfg: cfg, level: x25.NewLevel(cfg), room: 1 + w.rng.IntN(8), lag: w.pick(0, 10*time.Microsecond, time.Millisecond)}
	s.server = srv
	srv.k = m.n.NewComplex(now, s.name, &m.out)
	m.servers = append(m.servers, srv)
	srv.level.LinkUp(now, &srv.xout)
	srv.run(now)
}

// kill ends the process without a word. What it had written is still read.
func (srv *complexServer) kill(now time.Time) {
	if srv.dead {
		return
	}
	srv.w.tracef("the server of %s dies", srv.s.name)
	srv.die()
	for _, packet := range srv.up {
		srv.k.HandlePacket(now, packet, &srv.m.out)
	}
	srv.k.Close(now, &srv.m.out)
}

// die is the end of the process and its programs.
func (srv *complexServer) die() {
	srv.dead = true
	for i := len(srv.m.programs) - 1; i >= 0; i-- {
		if p := srv.m.programs[i]; p.service != nil && p.service.server == srv {
			p.killed = true
			p.release()
		}
	}
	for i, each := range srv.m.servers {
		if each == srv {
			srv.m.servers = append(srv.m.servers[:i], srv.m.servers[i+1:]...)
			break
		}
	}
	srv.s.server = nil
}

// pull moves packets from the node to the descriptor while it takes them.
func (srv *complexServer) pull(now time.Time) {
	for !srv.dead && len(srv.down) < srv.room {
		packet := srv.k.AppendNext(now, nil, &srv.m.out)
		if len(packet) == 0 {
			return
		}
		srv.down = append(srv.down, packet)
		srv.soon()
	}
}

// later has one of the two sides look at the descriptor soon.
func (srv *complexServer) later(flag *bool, do func(now time.Time)) {
	if *flag {
		return
	}
	*flag = true
	srv.m.after(srv.w.between(0, srv.lag), func(now time.Time) {
		*flag = false
		if !srv.dead {
			do(now)
		}
	})
}

// soon is when a program has done something: what comes of it is not seen within its call.
func (srv *complexServer) soon() { srv.later(&srv.runs, srv.run) }

// read is the node's turn: it takes what there is, always.
func (srv *complexServer) read(now time.Time) {
	packets := srv.up
	srv.up = nil
	for _, packet := range packets {
		srv.k.HandlePacket(now, packet, &srv.m.out)
	}
	srv.pull(now)
	srv.soon() // the descriptor takes packets again
}

// run is the program's turn.
func (srv *complexServer) run(now time.Time) {
	packets := srv.down
	srv.down = nil
	for _, packet := range packets {
		srv.level.HandlePacket(now, packet, &srv.xout)
		srv.handle(now)
	}
	srv.level.HandleTimeout(now, &srv.xout)
	srv.handle(now)
	srv.push(now)
	if len(packets) > 0 {
		srv.later(&srv.reads, srv.read) // which also pulls
	}
}

// push moves packets from the program to the descriptor while it takes them.
func (srv *complexServer) push(now time.Time) {
	for !srv.dead && len(srv.up) < srv.room && srv.level.Ready() {
		packet := srv.level.AppendNext(now, nil, &srv.xout)
		if len(packet) > 0 {
			srv.up = append(srv.up, packet)
			srv.later(&srv.reads, srv.read)
		}
		srv.handle(now)
	}
	if err := srv.level.Check(); err != nil {
		srv.w.failf("the server of %s: %v", srv.s.name, err)
	}
	if at := srv.level.Deadline(); !at.IsZero() && (srv.alarm.IsZero() || at.Before(srv.alarm)) {
		srv.alarm = at
		srv.m.after(max(at.Sub(now), 0), func(now time.Time) {
			srv.alarm = time.Time{}
			if !srv.dead {
				srv.run(now)
			}
		})
	}
}

// handle takes what the level reports, the moment it happens.
func (srv *complexServer) handle(now time.Time) {
	for i := 0; i < len(srv.xout.Events); i++ {
		ev := srv.xout.Events[i]
		if ev.Kind == x25.Incoming {
			srv.incoming(ev)
			continue
		}
		if ev.Circuit == nil {
			continue
		}
		p, ok := ev.Circuit.User.(*program)
		if !ok || p.gone {
			continue
		}
		nev := node.Event{Cause: ev.Cause, Diag: ev.Diag, Text: string(ev.UserData), Octets: ev.UserData}
		switch ev.Kind {
		case x25.Data:
			nev.Kind = node.Data
		case x25.Room:
			nev.Kind = node.Room
		case x25.Interrupt:
			nev.Kind = node.Interrupt
		case x25.InterruptConfirmed:
			nev.Kind = node.InterruptConfirmed
			p.markConfirmed()
		case x25.Reset:
			nev.Kind = node.Reset
			p.markReset()
		case x25.Drained:
			nev.Kind = node.Drained
		case x25.Cleared:
			nev.Kind = node.Cleared
		}
		p.handle(nev)
	}
	srv.xout.Reset()
}

// incoming takes a call as the program of a complex server does.
func (srv *complexServer) incoming(ev x25.Event) {
	w, s := srv.w, srv.s
	c := &channel{srv, ev.Circuit}
	r := w.requestOfUser(userOf(ev.UserData), s.name)
	if s.running >= s.max {
		ev.Circuit.Clear(w.time(), x25.CauseBusy, 0, []byte(s.name+" is busy"), &srv.xout)
		return
	}
	p := w.newProgram(srv.m, c, r, s)
	ev.Circuit.User = p
	srv.m.admit(p)
}

// userOf finds the calling user in the user data of a call at the door (protocol.md 5).
func userOf(data []byte) string {
	for data = data[min(4, len(data)):]; len(data) >= 2 && len(data) >= 2+int(data[1]); data = data[2+int(data[1]):] {
		if data[0] == 2 {
			return string(data[2 : 2+int(data[1])])
		}
	}
	return ""
}

// requestOfUser finds the request that a call is, by the user name it carries.
func (w *World) requestOfUser(user, service string) *request {
	id, err := strconv.Atoi(strings.TrimPrefix(user, "r"))
	if err == nil && id >= 0 && id < len(w.requests) {
		return w.requests[id]
	}
	if !w.Corrupt {
		w.failf("a call of user %q, who does not exist", user)
	}
	return &request{service: service}
}

// channel is a circuit of a complex server as its program has it.
type channel struct {
	srv *complexServer
	x   *x25.Circuit
}

func (c *channel) Accept(now time.Time, _ *node.Out) error {
	err := c.x.Accept(now, nil)
	c.srv.soon()
	return err
}

func (c *channel) Send(now time.Time, data []byte, q, more bool, _ *node.Out) error {
	err := c.x.Send(now, data, q, more)
	c.srv.soon()
	return err
}

func (c *channel) Room() int { return c.x.Room() }

func (c *channel) Peek() (data []byte, q, more, ok bool) { return c.x.Peek() }

func (c *channel) Next(now time.Time, _ *node.Out) {
	c.x.Next(now)
	c.srv.soon()
}

func (c *channel) Interrupt(now time.Time, octets []byte, _ *node.Out) error {
	err := c.x.Interrupt(now, octets)
	c.srv.soon()
	return err
}

func (c *channel) Reset(now time.Time, diag x25.Diag, _ *node.Out) bool {
	if c.x.State() != "p4/d1" {
		return false
	}
	c.x.Reset(now, x25.ResetDTE, diag)
	c.srv.soon()
	return true
}

func (c *channel) Close(now time.Time, cause x25.Cause, diag x25.Diag, text string, _ *node.Out) {
	c.x.Close(now, cause, diag, []byte(text))
	c.srv.soon()
}

func (c *channel) Clear(now time.Time, cause x25.Cause, diag x25.Diag, text string, _ *node.Out) {
	c.x.Clear(now, cause, diag, []byte(text), &c.srv.xout)
	c.srv.soon()
}

func (c *channel) Held() int { return c.x.Held() }

func (c *channel) LCI() uint16 { return c.x.LCI() }
