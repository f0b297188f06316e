package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"dnet/circuit"
	"dnet/session"

	"golang.org/x/sys/unix"
)

// server runs one command for one client.
type server struct {
	conn    *circuit.Conn
	process *session.Process
	audit   session.Audit
	stdin   *sink
	stdout  *source
	stderr  *source // nil with a terminal, which has one output
}

// lastWord is how long a client that broke the protocol has to take the reason.
const lastWord = time.Second

// serve is `rx -B`: one call, from netman. Its exit status is of no use to anybody.
func serve() int {
	conn, err := circuit.Inherited()
	if err != nil {
		say("-B", err)
		return exitFailure
	}
	s := &server{conn: conn, audit: session.Audit{Tool: "rx", Peer: conn.Peer, Began: time.Now()}}
	if err := s.run(); err != nil {
		conn.WriteDatagram(append(message(kindFailed), circuit.CutText(err.Error())...), circuit.Q)
		s.audit.Write(err.Error())
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
	s.audit.What = request.command + request.subsystem
	if err := session.CheckUser(request.User); err != nil {
		return err
	}
	if err := s.start(request); err != nil {
		return err
	}
	go s.receive(r)
	go s.passInterrupts()
	go s.hangUpOnSignals()
	var outputs sync.WaitGroup
	outputs.Go(func() { s.send(s.stdout) })
	if s.stderr != nil {
		outputs.Go(func() { s.send(s.stderr) })
	}
	outputs.Wait()
	<-s.process.Exited
	status, name := s.process.Status()
	if s.process.Ended() {
		select {} // hangUp is about to end this program: what it ended has no status of its own
	}
	s.audit.Write(session.Ended(status, name))
	return s.conn.WriteDatagram(append(message(kindStatus, status), name...), circuit.Q)
}

// start starts the login shell with the command, or the program of the subsystem.
func (s *server) start(r start) error {
	shell := session.LoginShell()
	c := session.Command{
		Path: shell,
		Args: []string{filepath.Base(shell), "-c", r.command},
		Env:  session.Environment(os.Environ(), shell, r.Variables),
		Dir:  session.Home(),
	}
	if r.subsystem != "" {
		path, err := findSubsystem(r.subsystem)
		if err != nil {
			return err
		}
		c.Path, c.Args = path, []string{filepath.Base(path)}
	}
	p, err := session.Start(c, r.Terminal)
	if err != nil {
		return err
	}
	s.process, s.audit.Line = p, p.Line
	if t := p.Terminal; t != nil {
		s.stdin, s.stdout = newSink(t, s.conn, 0), newSource(t, s.conn, kindData)
		s.stdout.read = p.ReadTerminal
	} else {
		s.stdin, s.stdout = newSink(p.Stdin, s.conn, 0), newSource(p.Stdout, s.conn, kindData)
		s.stderr = newSource(p.Stderr, s.conn, kindStderr)
	}
	go func() {
		s.stdin.run()
		p.EndOfInput(s.stdin.last != '\n')
	}()
	return nil
}

// subsystems are programs that are asked for by another name than their own, and where they are.
var subsystems = map[string][]string{
	"sftp": {
		"sftp-server", "/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
		"/usr/libexec/sftp-server", "/usr/lib/sftp-server", "/usr/libexec/ssh/sftp-server",
	},
}

func findSubsystem(name string) (string, error) {
	programs, ok := subsystems[name]
	if !ok {
		return "", fmt.Errorf("no subsystem %q there", name)
	}
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("subsystem %s: no %s there (on Debian it is in the package openssh-sftp-server)", name, programs[0])
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

// receive takes what the client sends. It never waits for the command, so that it sees the end of
// the circuit at once: then the command ends too.
func (s *server) receive(r *receiver) {
	for {
		k, value, err := r.receive()
		switch {
		case err != nil:
			s.hangUp(lost(err))
		case k == kindData:
			if !s.stdin.add(value) {
				s.conn.SetWriteDeadline(time.Now().Add(lastWord)) // output stands in a write, perhaps, that the client does not read
				s.conn.WriteDatagram(append(message(kindFailed), "more input than credit"...), circuit.Q)
				s.hangUp("more input than credit")
			}
		case k == kindEnd:
			s.stdin.end()
		case k == kindCredit:
			if number, octets, ok := parseCredit(value); ok && s.output(number) != nil {
				s.output(number).grant(octets)
			}
		case k == kindClosed && len(value) == 1 && s.output(value[0]) != nil:
			s.output(value[0]).close()
		case k == kindSize:
			if size, ok := session.ParseSize(value); ok {
				s.process.Resize(size)
			}
		}
	}
}

// lost says how a circuit ended, for the log.
func lost(err error) string {
	if err == io.EOF {
		return "ended by the client"
	}
	return fmt.Sprint("ended by the loss of the circuit: ", reason(err))
}

// passInterrupts gives the client's signals to the command's process group.
func (s *server) passInterrupts() {
	for name := range s.conn.Interrupts() {
		if number, ok := signals[string(name)]; ok {
			s.process.Signal(number)
		}
	}
}

func (s *server) hangUpOnSignals() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	s.hangUp(fmt.Sprint("the server was ended: ", <-caught))
}

// hangUp ends the command whose client has gone, and this program, unless the command has ended by
// itself.
func (s *server) hangUp(why string) {
	if s.process.End() {
		s.audit.Write(why)
		os.Exit(exitFailure) // netman tells the client, if there still is one, that its server died
	}
	select {} // run is about to end
}
