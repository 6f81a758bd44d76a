package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// parts stand in for the use cases, where a test must decide how long they
// take; cmd/cigogne tests the API over the real ones.
type parts struct {
	find     func(ctx context.Context) error
	events   func(after int64) []index.Event
	happened chan struct{}
	refuse   func(who access.Caller, op access.Operation, resource string) error
}

func (p *parts) Find(ctx context.Context, _ index.Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		if p.find != nil {
			if err := p.find(ctx); err != nil {
				yield(nil, err)
			}
		}
	}
}

func (p *parts) Held(_ context.Context, asked []index.Named) ([]index.Standing, error) {
	return make([]index.Standing, len(asked)), nil
}

func (p *parts) Instances(context.Context, gateway.Selector) ([]gateway.Instance, error) {
	return nil, storage.ErrNotFound
}

func (p *parts) Study(context.Context, string) ([]index.SeriesHistory, error) {
	return nil, storage.ErrNotFound
}

func (p *parts) Instance(context.Context, gateway.Selector) (gateway.InstanceHistory, error) {
	return gateway.InstanceHistory{}, storage.ErrNotFound
}

func (p *parts) Events(_ context.Context, after int64, _ int) ([]index.Event, error) {
	if p.events == nil {
		return nil, nil
	}
	return p.events(after), nil
}

func (p *parts) Feed(context.Context) (first, last int64, err error) { return 0, 0, nil }
func (p *parts) Happened() <-chan struct{}                           { return p.happened }

func (p *parts) Permit(_ context.Context, who access.Caller, op access.Operation, resource string) error {
	if p.refuse == nil {
		return nil
	}
	return p.refuse(who, op, resource)
}

// backing is all that a Server asks.
type backing interface {
	Searcher
	Retriever
	Historian
	access.Gatekeeper
}

// served is a Server over HTTP, as a node serves it.
type served struct {
	*Server
	addr string
}

func serve(t testing.TB, p backing, l Limits) *served {
	t.Helper()
	s, err := New(Options{Search: p, Retrieve: p, History: p, Gatekeeper: p, Limits: l, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		s.Drain()
		server.Close()
		<-done
		s.Close()
	})
	return &served{s, listener.Addr().String()}
}

func (s *served) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get asks REST, and returns the code of google.rpc as well.
func (s *served) get(t *testing.T, path string) (httpStatus int, code codes.Code) {
	t.Helper()
	r, err := http.Get("http://" + s.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var st struct{ Code codes.Code }
	json.NewDecoder(r.Body).Decode(&st)
	return r.StatusCode, st.Code
}

// TestRequestsAtATime: beyond the limit a request is refused at once, with word
// of when to try again; those under way are not touched.
func TestRequestsAtATime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, &parts{find: func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}}, Limits{MaxRequests: 2})
	c := pb.NewStudiesClient(s.dial(t))
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := c.Search(t.Context(), &pb.StudiesSearchRequest{})
			results <- err
		}()
		<-entered
	}
	_, err := c.Search(t.Context(), &pb.StudiesSearchRequest{})
	if status.Code(err) != codes.ResourceExhausted || retryOf(err) == 0 {
		t.Errorf("a third request: %v", err)
	}
	if got, code := s.get(t, "/v1/studies"); got != http.StatusTooManyRequests || code != codes.ResourceExhausted {
		t.Errorf("over REST: %d, %v", got, code)
	}
	close(leave)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	go func() { <-entered }()
	if _, err := c.Search(t.Context(), &pb.StudiesSearchRequest{}); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

func retryOf(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.RetryDelay.AsDuration()
		}
	}
	return 0
}

// TestTimeout: a request that takes too long ends, over gRPC and REST.
func TestTimeout(t *testing.T) {
	s := serve(t, &parts{find: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}, Limits{Timeout: 20 * time.Millisecond})
	if _, err := pb.NewStudiesClient(s.dial(t)).Search(t.Context(), &pb.StudiesSearchRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("gRPC: %v", err)
	}
	if got, code := s.get(t, "/v1/studies"); got != http.StatusGatewayTimeout || code != codes.DeadlineExceeded {
		t.Errorf("REST: %d, %v", got, code)
	}
}

// TestRequestSize: a request that is too large is refused, however it comes,
// and so is one of more entries than a method takes.
func TestRequestSize(t *testing.T) {
	s := serve(t, &parts{}, Limits{MaxRequest: 64 << 10})
	c := pb.NewStudiesClient(s.dial(t))
	long := strings.Repeat("A", 65<<10)
	if _, err := c.Search(t.Context(), &pb.StudiesSearchRequest{PatientName: long}); err == nil || status.Code(err) == codes.Unavailable {
		t.Errorf("gRPC: %v", err)
	}
	if _, err := c.Search(t.Context(), &pb.StudiesSearchRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	r, err := http.Post("http://"+s.addr+"/v1/studies:search", "application/json", strings.NewReader(`{"patientName":"`+long+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("REST: %s", r.Status)
	}
	many := &pb.StudiesHaveRequest{Instances: make([]*pb.InstanceName, haveMost+1)}
	for i := range many.Instances {
		many.Instances[i] = &pb.InstanceName{}
	}
	if _, err := c.Have(t.Context(), many); status.Code(err) != codes.InvalidArgument {
		t.Errorf("Have of %d: %v", len(many.Instances), err)
	}
}

// TestSlowWriter: a request that does not come in time ends.
func TestSlowWriter(t *testing.T) {
	s := serve(t, &parts{}, Limits{Timeout: 50 * time.Millisecond})
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/studies:search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	conn.SetDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 4")) {
		t.Errorf("%q, %v", b, err)
	}
}

// endless makes events as fast as they are asked for.
func endless(after int64) []index.Event {
	list := make([]index.Event, watchEvents)
	for i := range list {
		list[i] = index.Event{Sequence: after + 1 + int64(i), StudyInstanceUID: strings.Repeat("1", 64)}
	}
	return list
}

// TestSlowReader: a reader of a stream that does not keep up loses its stream,
// and keeps nothing from others, on the same connection or another.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	p := &parts{events: endless}
	s := serve(t, p, Limits{Stall: time.Second, MaxStreams: 1})
	conn := s.dial(t)
	slow, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Recv(); err != nil { // and then no more: the window fills
		t.Fatal(err)
	}
	if _, err := pb.NewStudiesClient(conn).Search(t.Context(), &pb.StudiesSearchRequest{}); err != nil {
		t.Errorf("beside it: %v", err)
	}
	go func() { // the one stream there may be is free when the slow one has ended
		for {
			other, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
			if err == nil {
				_, err = other.Recv()
			}
			if status.Code(err) != codes.ResourceExhausted {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the slow reader has its stream for ever")
	}
}

// TestIdleStream: a stream that has nothing to say stays, however short a time
// its reader has to take what is written.
func TestIdleStream(t *testing.T) {
	happened := make(chan struct{})
	var ready atomic.Bool
	s := serve(t, &parts{happened: happened, events: func(after int64) []index.Event {
		if !ready.Load() || after > 0 {
			return nil
		}
		return endless(after)[:1]
	}}, Limits{Stall: 50 * time.Millisecond})
	watch, err := pb.NewEventsClient(s.dial(t)).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	idle := time.NewTimer(300 * time.Millisecond)
	<-idle.C
	ready.Store(true)
	close(happened)
	if m, err := watch.Recv(); err != nil || len(m.Events) != 1 {
		t.Errorf("after a while without events: %v, %v", m, err)
	}
}

// TestStreamsOfACaller: one caller has some streams of a kind, not all.
func TestStreamsOfACaller(t *testing.T) {
	s := serve(t, &parts{events: func(after int64) []index.Event {
		if after > 0 {
			return nil
		}
		return endless(after)[:1]
	}}, Limits{MaxCallerStreams: 2})
	c := pb.NewEventsClient(s.dial(t))
	open := func() error {
		w, err := c.Watch(t.Context(), &pb.EventsWatchRequest{})
		if err == nil {
			_, err = w.Recv()
		}
		return err
	}
	for range 2 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third stream: %v", err)
	}
}

// TestDrain: streams end with UNAVAILABLE, over gRPC and REST, health says so,
// and a request that is under way is answered.
func TestDrain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, &parts{find: func(context.Context) error {
		close(entered)
		<-leave
		return nil
	}}, Limits{Beat: time.Millisecond})
	conn := s.dial(t)
	watch, err := pb.NewEventsClient(conn).Watch(t.Context(), &pb.EventsWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + s.addr + "/v1/events:watch")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := pb.NewStudiesClient(conn).Search(t.Context(), &pb.StudiesSearchRequest{})
		answered <- err
	}()
	<-entered
	for range 3 { // nothing happens, and it says so
		if m, err := watch.Recv(); err != nil || len(m.Events) > 0 {
			t.Fatalf("%v, %v", m, err)
		}
	}
	s.Drain()
	for err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
	if b, err := io.ReadAll(r.Body); err != nil || !bytes.Contains(b, []byte(`"code":14`)) {
		t.Errorf("the stream of REST ends with %q, %v", b, err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a new call: %v", err)
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
}

// TestGatekeeper: every request passes it once, with who asks, what for and
// about what; a refusal is PERMISSION_DENIED and tells nothing more.
func TestGatekeeper(t *testing.T) {
	type ask struct {
		transport, resource string
		op                  access.Operation
	}
	var asked []ask
	s := serve(t, &parts{refuse: func(who access.Caller, op access.Operation, resource string) error {
		asked = append(asked, ask{who.Transport, resource, op})
		return fmt.Errorf("%w: not you", storage.ErrForbidden)
	}}, Limits{})
	conn := s.dial(t)
	c := pb.NewStudiesClient(conn)
	_, err := c.Get(t.Context(), &pb.StudiesGetRequest{StudyInstanceUid: "1.2"})
	codesOf := []codes.Code{status.Code(err)}
	stream, err := c.Retrieve(t.Context(), &pb.StudiesRetrieveRequest{StudyInstanceUid: "1.2", SeriesInstanceUid: "1.3"})
	if err == nil {
		_, err = stream.Recv()
	}
	codesOf = append(codesOf, status.Code(err))
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	codesOf = append(codesOf, status.Code(err))
	for _, path := range []string{"/v1/studies/1.2", "/api", "/openapi.json"} {
		got, _ := s.get(t, path)
		if got != http.StatusForbidden {
			t.Errorf("%s: %d", path, got)
		}
	}
	for i, code := range codesOf {
		if code != codes.PermissionDenied {
			t.Errorf("call %d: %v", i, code)
		}
	}
	want := []ask{
		{"grpc", "studies/1.2", access.Search}, {"grpc", "studies/1.2/series/1.3", access.Retrieve}, {"grpc", "", access.Observe},
		{"http", "studies/1.2", access.Search}, {"http", "/api", access.Observe}, {"http", "/openapi.json", access.Observe},
	}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

// TestPanics: a handler that panics costs one request, and its text is not told.
func TestPanics(t *testing.T) {
	s := serve(t, &parts{find: func(context.Context) error { panic("secret") }}, Limits{})
	_, err := pb.NewStudiesClient(s.dial(t)).Search(t.Context(), &pb.StudiesSearchRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("gRPC: %v", err)
	}
	if got, _ := s.get(t, "/v1/studies"); got != http.StatusInternalServerError {
		t.Errorf("REST: %d", got)
	}
}
