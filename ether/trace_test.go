package ether

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// brokenWriter fails from the call after the first ones on.
type brokenWriter struct {
	left int
	bytes.Buffer
}

var errDiskFull = errors.New("disk full")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errDiskFull
	}
	return w.Buffer.Write(b)
}

// stubPort takes the first frames of each Send, and says err of the next one.
type stubPort struct {
	BusPort
	takes int
	err   error
	sent  [][]byte
}

func (p *stubPort) MTU() int { return 1500 }
func (p *stubPort) Send(frames [][]byte) (int, error) {
	n := min(p.takes, len(frames))
	for _, f := range frames[:n] {
		p.sent = append(p.sent, bytes.Clone(f))
	}
	if n < len(frames) {
		return n, p.err
	}
	return n, nil
}
func (p *stubPort) Recv(*Batch) (int, error) { return 0, p.err }

func TestTrace(t *testing.T) {
	bus := NewBus(1500)
	var lines bytes.Buffer
	traced := Trace(bus.Port(stationA), &lines, func(f []byte) string {
		return fmt.Sprintf("%v %s", Addr(f), bytes.TrimRight(f[HeaderLen:], "\x00"))
	}).(*tracePort)
	traced.now = func() time.Time { return time.Date(2026, 11, 20, 13, 4, 5, 6_007_000, time.UTC) }
	b := bus.Port(stationB)

	mustSend(t, traced, frameOf(stationB, stationA, testType, "one"), frameOf(testGroup, stationA, testType, "two"))
	mustSend(t, b, frameOf(stationA, stationB, testType, "three"))
	wantFrames(t, traced, "a traced port is the port", "three")
	wantFrames(t, b, "and on the other side", "one", "two")
	want := "13:04:05.006007 > 02:00:00:00:00:0b one\n" +
		"13:04:05.006007 > 03:44:4e:45:54:00 two\n" +
		"13:04:05.006007 < 02:00:00:00:00:0a three\n"
	if lines.String() != want {
		t.Errorf("trace:\n%swant:\n%s", lines.String(), want)
	}
	if traced.Addr() != stationA || traced.Fd() != -1 || traced.MTU() != 1500 || !traced.Deadline().IsZero() {
		t.Error("address, descriptor, MTU and deadline are the wrapped port's")
	}
	if err := traced.HandleTimeout(time.Time{}); err != nil {
		t.Error(err)
	}
	if err := traced.Close(); err != nil {
		t.Error(err)
	}
}

func TestTraceShowsWhatTheWireTook(t *testing.T) {
	var lines bytes.Buffer
	stub := &stubPort{takes: 2, err: ErrTooLong}
	p := Trace(stub, &lines, func([]byte) string { return "frame" })
	if n, err := p.Send(testFrames(5, 100)); n != 2 || err != ErrTooLong {
		t.Errorf("Send = %d, %v", n, err)
	}
	if got := strings.Count(lines.String(), "> frame\n"); got != 2 {
		t.Errorf("%d lines, want 2", got)
	}
}

func TestTraceOutlivesItsWriter(t *testing.T) {
	bus := NewBus(1500)
	w := &brokenWriter{left: 1}
	p, b := Trace(bus.Port(stationA), w, func([]byte) string { return "frame" }), bus.Port(stationB)
	for range 3 {
		mustSend(t, p, frameOf(stationB, stationA, testType, "x"))
	}
	wantFrames(t, b, "the traffic goes on", "x", "x", "x")
	if got := strings.Count(w.String(), "\n"); got != 1 {
		t.Errorf("%d lines, want 1", got)
	}
	if err := p.Close(); !errors.Is(err, errDiskFull) {
		t.Errorf("Close = %v, want what ended the trace", err)
	}
}
