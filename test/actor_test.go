package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dnet/circuit"
	"dnet/test/lab"
)

// An actor is this test binary as a program in a machine, which can be killed:
//
//	actor call SERVICE PART     calls, and plays its part
//	actor listen SERVICE        registers, and plays the parts that its callers ask for
//	actor serve -B              a transient server, which does likewise
//
// A caller's first datagram is the server's part. Then both say `ready`. The parts, after `hear` once the other end has said something:
//
//	wait            until the circuit ends
//	close, exit N, clear DD TEXT, abort DD TEXT
//	traffic SEED    datagrams both ways, until the circuit ends
//
// At the end an actor prints how its circuit ended.
func act(args []string) int {
	var err error
	switch args[0] {
	case "call":
		var c *circuit.Conn
		if c, err = circuit.Dial(context.Background(), args[1], circuit.Options{}); err == nil {
			err = perform(c, strings.Join(args[2:], " "))
		}
	case "listen":
		var lis *circuit.Listener
		if lis, err = circuit.Listen(context.Background(), args[1], circuit.Options{}); err == nil {
			fmt.Println("listening")
			err = serveCalls(lis)
		}
	case "serve":
		var c *circuit.Conn
		if c, err = circuit.Inherited(); err == nil {
			err = serveCall(c)
		}
	}
	fmt.Println("told:", err)
	return 0
}

// actors is the path of the actor's program, which netman can start too.
var actors = sync.OnceValues(func() (string, error) {
	path := filepath.Join(lab.Shared, "actor")
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return path, errors.Join(err, to.Close())
})

func actorPath(t *testing.T) string {
	t.Helper()
	path, err := actors()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// actorService is an entry of servtab for transient actors.
func actorService(t *testing.T, name, more string) string {
	t.Helper()
	return fmt.Sprintf("[[service]]\nname = %q\nexec = [%q, \"actor\", \"serve\"]\nuser = \"root\"\n%s\n", name, actorPath(t), more)
}

// startActor starts an actor, and waits until a listening one listens.
func startActor(t *testing.T, m *lab.Machine, args ...string) *program {
	t.Helper()
	p := start(t, m, nil, actorPath(t), append([]string{"actor"}, args...)...)
	if args[0] == "listen" {
		p.says(t, &p.stdout, "listening\n")
	}
	return p
}

func serveCalls(lis *circuit.Listener) error {
	for {
		call, err := lis.Accept()
		if err != nil {
			return err
		}
		c, err := call.Accept()
		if err != nil {
			return err
		}
		go func() {
			fmt.Println("told:", serveCall(c))
		}()
	}
}

func serveCall(c *circuit.Conn) error {
	part, _, err := c.Next()
	if err != nil {
		return err
	}
	return perform(c, string(part))
}

var errLeft = errors.New("this end has closed the circuit")

// perform plays a part to the end of the circuit.
func perform(c *circuit.Conn, part string) error {
	if after, ok := strings.CutPrefix(part, "hear "); ok {
		if _, _, err := c.Next(); err != nil {
			return err
		}
		fmt.Println("heard")
		part = after
	}
	verb, rest, _ := strings.Cut(part, " ")
	if err := c.WriteDatagram([]byte("ready"), 0); err != nil {
		return err
	}
	number, text, _ := strings.Cut(rest, " ")
	switch verb {
	case "close":
		c.Close()
	case "exit":
		status, _ := strconv.Atoi(number)
		os.Exit(status)
	case "clear", "abort":
		diag, _ := strconv.ParseUint(number, 16, 8)
		end := c.Clear
		if verb == "abort" {
			end = c.Abort
		}
		end(circuit.Diag(diag), text)
	case "traffic":
		seed, _ := strconv.ParseUint(number, 10, 64)
		return newTraffic(c, seed).run()
	default:
		for {
			if _, _, err := c.Next(); err != nil {
				return err
			}
		}
	}
	return errLeft
}

// traffic is datagrams both ways without end. Each has its number first, a checksum last, any length between, and is cut into pieces
// anywhere.
type traffic struct {
	c       *circuit.Conn
	seed    uint64
	going   chan struct{} // closed when the first one has come whole
	arrived int
}

func newTraffic(c *circuit.Conn, seed uint64) *traffic {
	return &traffic{c: c, seed: seed, going: make(chan struct{})}
}

// errTorn is a datagram that looks whole and is not as it was sent.
var errTorn = errors.New("a torn datagram")

// run sends and receives until the circuit ends, and says how it ended.
func (f *traffic) run() error {
	var sender sync.WaitGroup
	sender.Go(func() { f.send() })
	err := f.receive()
	if errors.Is(err, errTorn) {
		f.c.Abort(1, err.Error())
	}
	sender.Wait()
	f.c.Close()
	return err
}

func (f *traffic) send() {
	random := rand.New(rand.NewPCG(f.seed, 1))
	for n := uint64(0); ; n++ {
		size := random.IntN(5000)
		if random.IntN(8) == 0 {
			size = random.IntN(200_000)
		}
		octets := make([]byte, 8+size)
		binary.BigEndian.PutUint64(octets, n)
		for i := 8; i < len(octets); i += 512 {
			octets[i] = byte(random.Uint32())
		}
		octets = binary.BigEndian.AppendUint32(octets, crc32.ChecksumIEEE(octets))
		q := circuit.Q * circuit.Bits(random.IntN(2))
		for len(octets) > 0 {
			cut := octets[:1+random.IntN(len(octets))]
			octets = octets[len(cut):]
			bits := q
			if len(octets) > 0 {
				bits |= circuit.M
			}
			if f.c.WriteDatagram(cut, bits) != nil {
				return
			}
		}
	}
}

func (f *traffic) receive() error {
	for {
		octets, _, err := whole(f.c)
		if err != nil {
			return err
		}
		if f.arrived == 0 && bytes.Equal(octets, []byte("ready")) {
			continue
		}
		n := len(octets) - 4
		if n < 8 || binary.BigEndian.Uint32(octets[n:]) != crc32.ChecksumIEEE(octets[:n]) || binary.BigEndian.Uint64(octets) != uint64(f.arrived) {
			return fmt.Errorf("%w: number %d, %d octets, starting %.16x", errTorn, f.arrived, len(octets), octets)
		}
		if f.arrived++; f.arrived == 1 {
			close(f.going)
		}
	}
}

// ending is what a program learns of how its circuit ended, or of why there is none.
type ending struct {
	cause, diag int // -1: it cannot tell
	errno       syscall.Errno
	text        string // how the message begins; "": it has none
}

// noErrno is that of what is no ending of a circuit at all.
const noErrno = syscall.Errno(0xffff)

// endingOf finds that in an error of package circuit. An ordinary end is errno 0.
func endingOf(err error) ending {
	why, ok := cleared(err)
	switch {
	case errors.Is(err, io.EOF):
		return ending{0, 0, 0, ""}
	case !ok:
		return ending{-1, -1, noErrno, fmt.Sprint(err)}
	}
	return ending{int(why.Cause), int(why.Diag), why.Errno(), why.Error()}
}

// is says whether one is told what is wanted, as far as it is told.
func (got ending) is(want ending) bool {
	return (got.cause < 0 || got.cause == want.cause && got.diag == want.diag) && got.errno == want.errno &&
		(got.text == "" || strings.HasPrefix(got.text, want.text))
}

func (got ending) String() string {
	return fmt.Sprintf("cause %02x diagnostic %02x errno %d (%v) %q", got.cause, got.diag, int(got.errno), got.errno, got.text)
}
