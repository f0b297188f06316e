package ether

import (
	"errors"
	"io"
	"time"
)

// tracePort is the Port that Trace returns.
type tracePort struct {
	wrapper
	w      io.Writer
	format func(frame []byte) string
	now    func() time.Time
	line   []byte
	err    error // what ended the trace
}

// Trace returns p with a line of text to w for every frame the wire took (>) or gave (<): the time of day, the direction, and what
// format makes of the frame. The first error of w ends the trace, not the traffic; Close returns it.
func Trace(p Port, w io.Writer, format func(frame []byte) string) Port {
	return &tracePort{wrapper: wrapper{p}, w: w, format: format, now: time.Now}
}

// Send implements Port.
func (t *tracePort) Send(frames [][]byte) (int, error) {
	n, err := t.Port.Send(frames)
	t.write(" > ", frames[:n])
	return n, err
}

// Recv implements Port.
func (t *tracePort) Recv(b *Batch) (int, error) {
	n, err := t.Port.Recv(b)
	t.write(" < ", b.Frames[:n])
	return n, err
}

// Close implements Port.
func (t *tracePort) Close() error { return errors.Join(t.Port.Close(), t.err) }

// write puts a line for each frame, all with one call of w.
func (t *tracePort) write(direction string, frames [][]byte) {
	if len(frames) == 0 || t.err != nil {
		return
	}
	now := t.now()
	t.line = t.line[:0]
	for _, frame := range frames {
		t.line = now.AppendFormat(t.line, "15:04:05.000000")
		t.line = append(t.line, direction...)
		t.line = append(t.line, t.format(frame)...)
		t.line = append(t.line, '\n')
	}
	_, t.err = t.w.Write(t.line)
}
