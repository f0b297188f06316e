package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
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
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], plain(err))
			}
			return join(ctx, c)
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

// join copies both ways until both directions have ended, or the other end closes.
func join(ctx context.Context, c *circuit.Conn) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.Copy(c, os.Stdin); err == nil {
			c.CloseWrite()
		}
	}()
	_, err := io.Copy(os.Stdout, c)
	if err == nil {
		select {
		case <-sent:
		case <-c.Done():
		}
		err = c.Close()
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return plain(err)
}

// plain takes the wrapping of package net off an error: netman's messages name the service themselves.
func plain(err error) error {
	var cleared *circuit.Cleared
	if errors.As(err, &cleared) {
		return cleared
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
					return err
				}
				select {
				case <-ctx.Done():
					if errors.Is(ctx.Err(), context.DeadlineExceeded) {
						return fmt.Errorf("%s: nobody offered it within %v", args[0], limit)
					}
					return errors.New("interrupted")
				case <-time.After(500 * time.Millisecond):
				}
			}
		},
	}
	cmd.Flags().DurationVarP(&limit, "timeout", "w", 0, "give up after this `TIME`, such as 30s (default: never)")
	return cmd
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
