package rpc

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // for clients that ask for it
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Searcher answers what there is.
type Searcher interface {
	// Find yields answers in a stable order; an error is the last thing.
	Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error]
	// Held tells of each instance, in their order, whether it is held.
	Held(ctx context.Context, asked []index.Named) ([]index.Standing, error)
}

// Retriever locates instances.
type Retriever interface {
	// Instances returns what is selected, in the order in which it is to be
	// served, or an error that wraps storage.ErrNotFound when that is nothing.
	Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error)
}

// Metrics is told of every call, after its last message.
type Metrics interface {
	// Called names the method, such as "/cigogne.v1.Studies/Search", and the
	// code of google.rpc.
	Called(method, code string, took time.Duration)
}

// Options are the parts and the settings of the API.
type Options struct {
	Search   Searcher
	Retrieve Retriever
	// Gatekeeper is asked about every request, after it was read.
	Gatekeeper access.Gatekeeper
	Limits     Limits
	// RequestID names a request in the log and in errors; nil means no name.
	RequestID func(*http.Request) string
	Logger    *slog.Logger
	Metrics   Metrics // may be nil
}

// Server is the API. It is an http.Handler for what Handles names: gRPC,
// whose requests are known by their content type and need HTTP/2, REST below
// /v1/, its description at /openapi.json and the page at /api.
type Server struct {
	Options
	throttle   *throttle
	operations map[string]access.Operation
	draining   context.Context //nolint:containedctx // ends when the node stops
	drain      context.CancelFunc
	health     *health.Server
	grpc       *grpc.Server
	local      *local
	rest       http.Handler
}

// New returns a Server; Close ends it.
func New(o Options) (*Server, error) {
	if o.RequestID == nil {
		o.RequestID = func(*http.Request) string { return "" }
	}
	o.Limits = o.Limits.withDefaults()
	s := &Server{Options: o, throttle: newThrottle(o.Limits), operations: operations(), health: health.NewServer()}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(o.Limits.MaxRequest),
	)
	s.local = &local{unary: s.unary, stream: s.stream, methods: map[string]localMethod{}}
	for _, r := range []grpc.ServiceRegistrar{s.grpc, s.local} {
		pb.RegisterStudiesServer(r, &studies{server: s})
	}
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	var err error
	s.rest, err = s.newREST(s.draining)
	return s, err
}

// operations says what the methods are to the gatekeeper. What is not listed
// is access.Observe.
func operations() map[string]access.Operation {
	return map[string]access.Operation{
		pb.Studies_Search_FullMethodName:        access.Search,
		pb.Studies_Get_FullMethodName:           access.Search,
		pb.Studies_ListInstances_FullMethodName: access.Search,
		pb.Studies_Have_FullMethodName:          access.Search,
		pb.Studies_Retrieve_FullMethodName:      access.Retrieve,
	}
}

// Drain ends the streams with UNAVAILABLE and lets health say NOT_SERVING. It
// does not wait, and requests under way go on.
func (s *Server) Drain() {
	s.health.Shutdown()
	s.drain()
}

// Close drains, and waits for what was begun for requests. It is called when
// no request is served any more.
func (s *Server) Close() {
	s.Drain()
	s.local.calls.Wait()
}

// Handles tells whether a request is the API's.
func Handles(r *http.Request) bool {
	path := r.URL.Path
	return isGRPC(r) || strings.HasPrefix(path, "/v1/") || path == "/openapi.json" || path == "/api" || strings.HasPrefix(path, "/api/")
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What is sent at once must be read in time, whatever it belongs to; and
	// a request must come in time, and be no larger than a message may be.
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(s.Limits.Timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return // the connection is gone
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.Limits.MaxRequest)+frameBytes)
	w = &pressed{ResponseWriter: w, control: control, stall: s.Limits.Stall}
	id := s.RequestID(r)
	if !isGRPC(r) {
		s.rest.ServeHTTP(w, withCaller(r, "http", id))
		return
	}
	if s.draining.Err() != nil {
		refuseGRPC(w, codes.Unavailable, errDraining.Error())
		return
	}
	s.grpc.ServeHTTP(w, withCaller(r, "grpc", id))
}

// frameBytes is what gRPC puts around a message.
const frameBytes = 5

// isGRPC tells whether a request is of gRPC.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// refuseGRPC answers without a message.
func refuseGRPC(w http.ResponseWriter, code codes.Code, text string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	h.Set("Grpc-Message", text)
	w.WriteHeader(http.StatusOK)
}

// pressed is an answer whose reader must keep up: a Write that is not taken
// within stall ends the request, and nothing but that.
type pressed struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

// Write implements http.ResponseWriter.
func (p *pressed) Write(b []byte) (int, error) {
	if err := p.press(); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (p *pressed) Flush() {
	if p.press() == nil {
		_ = p.control.Flush() // the next Write tells
	}
}

func (p *pressed) press() error {
	err := p.control.SetWriteDeadline(time.Now().Add(p.stall))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// Unwrap is for http.ResponseController.
func (p *pressed) Unwrap() http.ResponseWriter { return p.ResponseWriter }
