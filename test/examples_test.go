package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"dnet/circuit"
)

// The examples of package circuit, at work on machines.

// echoServer is the server of ExampleListen: datagrams go back with their marks, interrupts too.
func echoServer(lis *circuit.Listener) {
	for {
		call, err := lis.Accept()
		if err != nil {
			return
		}
		if call.Stream {
			call.Refuse(1, "datagrams only")
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

func TestExampleEcho(t *testing.T) {
	noise := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		service := r.service()
		go echoServer(r.to.listen(t, service, circuit.Options{}))
		var all sync.WaitGroup
		for i := range 16 { // as many calls as may wait for the server
			all.Go(func() {
				c, err := r.from.dial(t.Context(), service, circuit.Options{})
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				defer c.Close()
				c.Interrupt([]byte{byte(i)})
				go func() {
					for _, m := range messages() {
						m.send(c, noise[i:])
					}
				}()
				for _, m := range messages() {
					if err := m.receive(c, noise[i:]); err != nil {
						t.Errorf("caller %d: %.20v: %v", i, m, err)
						return
					}
				}
				if got := <-c.Interrupts(); !bytes.Equal(got, []byte{byte(i)}) {
					t.Errorf("caller %d: interrupt %x", i, got)
				}
			})
		}
		all.Wait()
		_, err := r.from.dial(t.Context(), service, circuit.Options{Stream: true})
		wantCleared(t, "a stream", err, 0, 1, "datagrams only", unix.ECONNREFUSED)
	})
}

// webClient calls services by the host names of URLs, and counts its calls.
func (p place) webClient(t *testing.T) (client *http.Client, calls func() int) {
	var mu sync.Mutex
	n := 0
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		service, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		n++
		mu.Unlock()
		return circuit.Dial(ctx, service, circuit.Options{Stream: true, Door: p.door})
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: bound}, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// webServer serves until the test ends. /echo gives back what is posted, /who the caller, /wait nothing until the caller goes, which
// it then tells to left.
func (r route) webServer(t *testing.T, service string) (left <-chan struct{}) {
	gone := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, q *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, q.Body)
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, q *http.Request) { fmt.Fprint(w, q.Host, " called by ", q.RemoteAddr) })
	mux.HandleFunc("/wait", func(w http.ResponseWriter, q *http.Request) {
		w.(http.Flusher).Flush()
		<-q.Context().Done()
		gone <- struct{}{}
	})
	server := &http.Server{Handler: mux}
	lis := r.to.listen(t, service, circuit.Options{})
	lis.SetDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(lis.NetListener()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return gone
}

// fetch makes a request and reads the answer.
func fetch(client *http.Client, method, url string, body []byte) (string, error) {
	q, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := client.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(got), err
}

func TestExampleHTTP(t *testing.T) {
	data := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		service := r.service()
		left := r.webServer(t, service)
		client, calls := r.from.webClient(t)
		url := "http://" + service
		for range 5 {
			if got, err := fetch(client, "GET", url+"/who", nil); err != nil || got != service+" called by "+r.from.Name {
				t.Errorf("%q, %v", got, err)
			}
		}
		if n := calls(); n != 1 {
			t.Errorf("5 requests one after the other took %d circuits", n)
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 3 {
					if got, err := fetch(client, "POST", url+"/echo", data[i:]); err != nil || got != string(data[i:]) {
						t.Errorf("request %d: %d octets came back of %d, %v", i, len(got), len(data)-i, err)
					}
				}
			})
		}
		all.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		q, _ := http.NewRequestWithContext(ctx, "GET", url+"/wait", nil)
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case <-left:
		case <-time.After(bound):
			t.Error("the server is not told that the caller has gone")
		}
		answer.Body.Close()

		_, err = fetch(client, "GET", "http://nothing."+r.to.Name+"/", nil)
		if why, ok := cleared(err); !ok || !errors.Is(err, unix.ENOENT) {
			t.Errorf("no such service: %#v, %v", why, err)
		}
	})
}

// octetsCodec has messages that are octets already, so that a service needs no generated code.
type octetsCodec struct{}

func (octetsCodec) Name() string                  { return "octets" }
func (octetsCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (octetsCodec) Unmarshal(octets []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(octets)
	return nil
}

// mirror is a gRPC service: Turn gives a message back, Flow every message of a stream.
var mirror = grpc.ServiceDesc{
	ServiceName: "mirror",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Turn",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var message []byte
			if err := decode(&message); err != nil {
				return nil, err
			}
			if len(message) == 0 {
				return nil, status.Error(codes.InvalidArgument, "nothing to turn")
			}
			return &message, nil
		}}},
	Streams: []grpc.StreamDesc{{StreamName: "Flow", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error {
			for {
				var message []byte
				if err := s.RecvMsg(&message); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(&message); err != nil {
					return err
				}
			}
		}}},
}

// grpcServer serves mirror or, with the messages of protobuf, health until the test ends.
func (r route) grpcServer(t *testing.T, service string, o ...grpc.ServerOption) {
	server := grpc.NewServer(o...)
	if len(o) > 0 {
		server.RegisterService(&mirror, nil)
	} else {
		healthpb.RegisterHealthServer(server, health.NewServer())
	}
	lis := r.to.listen(t, service, circuit.Options{})
	lis.SetDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(lis.NetListener()) }()
	t.Cleanup(func() {
		server.GracefulStop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// grpcClient is a client of a service; its circuit is called when it is first used.
func (p place) grpcClient(t *testing.T, service string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+service, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, service string) (net.Conn, error) {
			return circuit.Dial(ctx, service, circuit.Options{Stream: true, Door: p.door})
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestExampleGRPC(t *testing.T) {
	data := octets(t, 1<<20)
	eachRoute(t, func(t *testing.T, r route) {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		turns, healthy := r.service(), r.service()
		r.grpcServer(t, turns, grpc.ForceServerCodec(octetsCodec{}))
		r.grpcServer(t, healthy)

		answer, err := healthpb.NewHealthClient(r.from.grpcClient(t, healthy)).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health: %v, %v", answer, err)
		}

		conn, octets := r.from.grpcClient(t, turns), grpc.ForceCodec(octetsCodec{})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				sent, got := data[i:1+i*50000], []byte(nil)
				if err := conn.Invoke(ctx, "/mirror/Turn", &sent, &got, octets); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("Turn %d: %d octets came back of %d, %v", i, len(got), len(sent), err)
				}
			})
		}
		all.Go(func() { flowMirror(t, ctx, conn, data) })
		all.Wait()

		var none, got []byte
		if err := conn.Invoke(ctx, "/mirror/Turn", &none, &got, octets); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a call that the server refuses: %v", err)
		}
		nobody := r.from.grpcClient(t, "nothing."+r.to.Name)
		if err := nobody.Invoke(ctx, "/mirror/Turn", &none, &got, octets); status.Code(err) != codes.Unavailable {
			t.Errorf("no such service: %v", err)
		}
	})
}

// flowMirror sends 100 messages on one stream while it reads them back.
func flowMirror(t *testing.T, ctx context.Context, conn *grpc.ClientConn, data []byte) {
	s, err := conn.NewStream(ctx, &mirror.Streams[0], "/mirror/Flow", grpc.ForceCodec(octetsCodec{}))
	if err != nil {
		t.Errorf("Flow: %v", err)
		return
	}
	const messages = 100
	go func() {
		for i := range messages {
			sent := data[i : i*1000]
			s.SendMsg(&sent)
		}
		s.CloseSend()
	}()
	for i := range messages + 1 {
		var got []byte
		err := s.RecvMsg(&got)
		switch {
		case i == messages && err != io.EOF:
			t.Errorf("Flow: after the last message: %v", err)
		case i < messages && (err != nil || !bytes.Equal(got, data[i:i*1000])):
			t.Errorf("Flow: message %d: %d octets of %d, %v", i, len(got), i*1000-i, err)
			return
		}
	}
}
