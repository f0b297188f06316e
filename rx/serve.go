package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"dnet/circuit"

	"golang.org/x/sys/unix"
)

// killDelay is what a command whose client has gone has between SIGHUP and SIGKILL.
const killDelay = time.Second

// server runs one command for one client.
type server struct {
	conn   *circuit.Conn
	stdin  *sink
	stdout *source
	stderr *source

	mu      sync.Mutex // guards the process group: it is not signalled once its number is given back
	process *os.Process
	reaped  bool
}

// serve is `rx -B`: one call, from netman. Its exit status is of no use to anybody.
func serve() int {
	conn, err := circuit.Inherited()
	if err != nil {
		say("-B", err)
		return exitFailure
	}
	s := &server{conn: conn}
	if err := s.run(); err != nil {
		conn.WriteDatagram(append(message(kindFailed), circuit.CutText(err.Error())...), circuit.Q)
	}
	conn.Close()
	return 0
}

// run runs the command and sends its exit status. An error is why there was none.
func (s *server) run() error {
	// Whoever runs commands is named on purpose, in servtab.toml.
	if os.Getenv("DNET_USER") == "" && os.Getenv("DNET_TRUST") == "none" {
		return fmt.Errorf("refused: no trust rule there makes %s@%s a user", os.Getenv("DNET_PEER_USER"), os.Getenv("DNET_PEER_MACHINE"))
	}
	if os.Getenv("DNET_USER") == "" {
		return fmt.Errorf("refused: servtab.toml there names no user for %s", s.conn.Service)
	}
	r := &receiver{next: s.conn.Next}
	k, value, err := r.receive()
	if err != nil {
		return err
	}
	if k != kindStart {
		return fmt.Errorf("the client's first message has type %d, not %d", k, kindStart)
	}
	request, err := parseStart(value)
	if err != nil {
		return err
	}
	exited, err := s.start(request)
	if err != nil {
		return err
	}
	go s.receive(r)
	go s.passInterrupts()
	go s.hangUpOnSignals()
	var outputs sync.WaitGroup
	outputs.Go(func() { s.send(s.stdout) })
	outputs.Go(func() { s.send(s.stderr) })
	outputs.Wait()
	<-exited
	return s.conn.WriteDatagram(message(kindStatus, s.status()...), circuit.Q)
}

// start starts the login shell with the command in a session and process group of its own. The channel
// is closed when it has exited; it is not waited for then, so that its number stays its own.
func (s *server) start(request start) (exited chan struct{}, err error) {
	shell := loginShell()
	attr := &os.ProcAttr{
		Dir: "/",
		Env: environment(os.Environ(), shell, request.variables),
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGHUP},
	}
	if home := os.Getenv("HOME"); isDirectory(home) {
		attr.Dir = home
	}
	var ours [3]*os.File
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			r, w = w, r
		}
		ours[i], attr.Files = r, append(attr.Files, w)
		defer w.Close()
	}
	s.stdin = newSink(ours[0], s.conn, 0)
	s.stdout, s.stderr = newSource(ours[1], s.conn, kindData), newSource(ours[2], s.conn, kindStderr)
	started := make(chan error)
	exited = make(chan struct{})
	go func() {
		// Pdeathsig is the death of this thread: it is locked, and ends with the program.
		runtime.LockOSThread()
		p, err := os.StartProcess(shell, []string{filepath.Base(shell), "-c", request.command}, attr)
		s.process = p
		started <- err
		if err == nil {
			for unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			}
			close(exited)
		}
		select {}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	go func() {
		s.stdin.run()
		ours[0].Close()
	}()
	return exited, nil
}

// send sends what the command writes on one output, until all have closed it who hold it, as sshd does,
// or nobody reads it any more.
func (s *server) send(output *source) {
	output.run()
	output.close()
}

// output is the source of output number, nil when there is none.
func (s *server) output(number byte) *source {
	switch number {
	case 1:
		return s.stdout
	case 2:
		return s.stderr
	}
	return nil
}

// status waits for the command, which has exited: its exit status, 128+n and the signal's name when
// signal n killed it.
func (s *server) status() []byte {
	s.mu.Lock()
	s.reaped = true
	s.mu.Unlock()
	state, err := s.process.Wait()
	if err != nil {
		return []byte{exitFailure}
	}
	w := state.Sys().(syscall.WaitStatus)
	if w.Signaled() {
		name := strings.TrimPrefix(unix.SignalName(w.Signal()), "SIG")
		return append([]byte{byte(128 + w.Signal())}, name...)
	}
	return []byte{byte(w.ExitStatus())}
}

// receive takes what the client sends. It never waits for the command, so that it sees the end of
// the circuit at once: then the command ends too.
func (s *server) receive(r *receiver) {
	for {
		k, value, err := r.receive()
		switch {
		case err != nil:
			s.hangUp()
		case k == kindData:
			if !s.stdin.add(value) {
				s.conn.WriteDatagram(append(message(kindFailed), "more input than credit"...), circuit.Q)
				s.hangUp()
			}
		case k == kindEnd:
			s.stdin.end()
		case k == kindCredit:
			if number, octets, ok := parseCredit(value); ok && s.output(number) != nil {
				s.output(number).grant(octets)
			}
		case k == kindClosed && len(value) == 1 && s.output(value[0]) != nil:
			s.output(value[0]).close()
		}
	}
}

// passInterrupts gives the client's signals to the command's process group.
func (s *server) passInterrupts() {
	for name := range s.conn.Interrupts() {
		if number, ok := signals[string(name)]; ok {
			s.kill(number)
		}
	}
}

func (s *server) hangUpOnSignals() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	<-caught
	s.hangUp()
}

func (s *server) kill(number syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.reaped && unix.Kill(-s.process.Pid, number) == nil
}

// hangUp ends the command whose client has gone, and this program, unless the command has ended by
// itself.
func (s *server) hangUp() {
	if s.kill(unix.SIGHUP) {
		s.kill(unix.SIGCONT) // a stopped process does not notice otherwise
		time.Sleep(killDelay)
		s.kill(unix.SIGKILL)
		os.Exit(exitFailure) // netman tells the client, if there still is one, that its server died
	}
	select {} // run is about to end
}
