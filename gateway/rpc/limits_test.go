package rpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/esante-alsace/cigogne/gateway/access"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

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
