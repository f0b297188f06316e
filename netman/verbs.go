package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/names"
)

// ncCommand joins standard input and output to a service, or to the first caller of one.
func ncCommand(opt *options) *cobra.Command {
	var listen bool
	cmd := &cobra.Command{
		Use: "nc SERVICE", Short: "join standard input and output to a service, or with -l serve one call of it",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			c, err := ncCircuit(ctx, args[0], listen, opt.door)
			if err == nil {
				err = join(ctx, c, !listen)
			}
			switch {
			case ctx.Err() != nil:
				return errInterrupted
			case err != nil:
				return named(args[0], plain(err))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "register the service and take one call")
	return cmd
}

// ncCircuit dials, or waits to be called once.
func ncCircuit(ctx context.Context, name string, listen bool, door string) (*circuit.Conn, error) {
	opt := circuit.Options{Stream: true, Door: door}
	if !listen {
		return circuit.Dial(ctx, name, opt)
	}
	lis, err := circuit.Listen(ctx, name, opt)
	if err != nil {
		return nil, err
	}
	defer lis.Close()
	defer context.AfterFunc(ctx, func() { lis.Close() })()
	call, err := lis.Accept()
	if err != nil {
		return nil, err
	}
	return call.Accept()
}

// lastWord is how long the caller waits, after both directions have ended, to hear how the other end fared.
const lastWord = time.Second

// join copies both ways until both directions have ended, or the other end closes. Whoever has called waits to be told how it ended.
func join(ctx context.Context, c *circuit.Conn, called bool) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	sent := make(chan error, 1)
	go func() {
		in := &input{}
		if _, err := io.Copy(c, in); in.err != nil {
			sent <- fmt.Errorf("standard input: %w", in.err)
			c.Abort(0, "")
		} else if sent <- nil; err == nil {
			c.CloseWrite()
		}
	}()
	_, err := io.Copy(os.Stdout, c)
	var wrong error
	if err == nil {
		select {
		case wrong = <-sent:
		case <-c.Done():
		}
		if called && wrong == nil {
			select {
			case <-c.Done():
				_, err = c.Read(make([]byte, 1))
			case <-time.After(lastWord):
			}
			if err == io.EOF {
				err = nil
			}
		}
		if end := c.Close(); err == nil {
			err = end
		}
	} else {
		select {
		case wrong = <-sent:
		default:
		}
	}
	switch {
	case wrong != nil:
		return wrong
	case ctx.Err() != nil:
		return errInterrupted
	}
	return plain(err)
}

// input is standard input, which keeps its own errors apart from those of the circuit.
type input struct{ err error }

func (in *input) Read(p []byte) (int, error) {
	n, err := os.Stdin.Read(p)
	if err != nil && err != io.EOF {
		in.err = errors.Unwrap(err)
	}
	return n, err
}

var errInterrupted = errors.New("interrupted")

// plain takes the wrapping of package net off an error: netman's messages name the service themselves.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// waitCommand waits until somebody offers a service.
func waitCommand(opt *options) *cobra.Command {
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "wait SERVICE", Short: "wait until a machine on the network offers the service, and print its name",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if limit < 0 {
				return fmt.Errorf("--timeout: %v is less than no time", limit)
			}
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			for {
				machine, err := findService(opt.door, args[0])
				if err == nil {
					fmt.Println(machine)
					return nil
				}
				if !errors.Is(err, errNobody) {
					return named(args[0], err)
				}
				select {
				case <-ctx.Done():
					if errors.Is(ctx.Err(), context.DeadlineExceeded) {
						return fmt.Errorf("%s: nobody offered it within %v", args[0], limit)
					}
					return errInterrupted
				case <-time.After(500 * time.Millisecond):
				}
			}
		},
	}
	cmd.Flags().DurationVarP(&limit, "timeout", "w", 0, "give up after this `TIME`, such as 30s (default: never)")
	return cmd
}

// named puts what was asked for before an error, unless that names it itself.
func named(service string, err error) error {
	switch {
	case service != "" && strings.HasPrefix(err.Error(), service):
		return err
	case names.CheckService(names.FoldService(service)) != nil:
		return fmt.Errorf("%q: %w", service, err)
	}
	return fmt.Errorf("%s: %w", service, err)
}

// errNobody is when no machine offers a name.
var errNobody = errors.New("nobody offers it")

// findService asks the door which machine offers a name.
func findService(door, name string) (machine string, err error) {
	fd, err := visit(door, circuit.Line{Verb: "find", Words: []string{name}})
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(fd, buf)
	circuit.CloseFds(fds)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return "", errGone
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", door, err)
	}
	line, err := circuit.ParseLine(buf[:n])
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", door, err)
	case line.Verb == "ok":
		return line.Get("machine"), nil
	case line.Get("e") != "":
		return "", errors.New(line.Text(0))
	}
	return "", errNobody
}

// errGone is a netman that ended while it was asked.
var errGone = errors.New("netman has gone while it was asked")

// visit knocks at the door with a first line.
func visit(door string, line circuit.Line) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: door}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w: is netman running?", door, err)
	}
	if err := circuit.SendFds(fd, line.AppendRequest(nil)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", door, err)
	}
	return fd, nil
}
