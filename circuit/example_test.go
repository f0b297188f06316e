package circuit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"dnet/circuit"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// A client asks a service for the date, and says why if there is none.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := circuit.Dial(ctx, "date.moon", circuit.Options{})
	var cleared *circuit.Cleared
	switch {
	case errors.Is(err, syscall.ENOENT):
		log.Fatal("nobody offers the date on moon")
	case errors.As(err, &cleared):
		log.Fatalf("cause %02x, diagnostic %d: %v", uint8(cleared.Cause), cleared.Diag, cleared)
	case err != nil:
		log.Fatal(err)
	}
	defer c.Close()
	io.Copy(os.Stdout, c)
}

// An echo server: each datagram goes back with its marks, and so does each interrupt.
func ExampleListen() {
	l, err := circuit.Listen(context.Background(), "echo", circuit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		call, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		if call.User == "mallory" {
			call.Refuse(1, "not for you")
			continue
		}
		c, err := call.Accept()
		if err != nil {
			continue
		}
		go func() {
			for octets := range c.Interrupts() {
				c.Interrupt(octets)
			}
		}()
		go func() {
			defer c.Close()
			for {
				octets, bits, err := c.Next()
				if err != nil || c.WriteDatagram(octets, bits) != nil {
					return
				}
			}
		}()
	}
}

// A web server, which other machines reach as http://web.moon/.
func ExampleListener_NetListener_http() {
	l, err := circuit.Listen(context.Background(), "web.moon", circuit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello,", r.RemoteAddr) }
	log.Fatal(http.Serve(l.NetListener(), http.HandlerFunc(handler)))
}

// A web client: the host of a URL is a service.
func ExampleDial_http() {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			service, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return circuit.Dial(ctx, service, circuit.Options{Stream: true})
		},
	}}
	answer, err := client.Get("http://web.moon/")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	io.Copy(os.Stdout, answer.Body)
}

// A gRPC server.
func ExampleListener_NetListener_grpc() {
	l, err := circuit.Listen(context.Background(), "health.moon", circuit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	log.Fatal(server.Serve(l.NetListener()))
}

// A gRPC client: passthrough hands the name to the dialer as it is.
func ExampleDial_grpc() {
	conn, err := grpc.NewClient("passthrough:///health.moon",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, service string) (net.Conn, error) {
			return circuit.Dial(ctx, service, circuit.Options{Stream: true})
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status)
}
