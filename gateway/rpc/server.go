package rpc

import (
	"context"
	"errors"
	"io"
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
	"github.com/esante-alsace/cigogne/gateway/throttle"
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

// Historian tells what happened.
type Historian interface {
	// Study tells of the series of a study, Instance of one instance.
	Study(ctx context.Context, study string) ([]index.SeriesHistory, error)
	Instance(ctx context.Context, sel gateway.Selector) (gateway.InstanceHistory, error)
	// Events lists at most limit events after the one numbered, or from the
	// oldest when it is 0; storage.ErrGone when they cannot be told.
	Events(ctx context.Context, after int64, limit int) ([]index.Event, error)
	// Feed tells the first event that is kept and the last there is.
	Feed(ctx context.Context) (first, last int64, err error)
	// Happened is closed when events come after the call.
	Happened() <-chan struct{}
}

// Sent is told of instances of a series that were sent whole, and of those at
// which a retrieval was cut.
type Sent interface {
	Sent(s gateway.Sending)
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
	History  Historian
	Lives    Lives
	Custody  Custodian
	Patients Patients
	// Publications is what became of manifests.
	Publications Publications
	Node         Node
	Sent         Sent // may be nil
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
	bounds     *bounds
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
	s := &Server{Options: o, bounds: newBounds(o.Limits), operations: operations(), health: health.NewServer()}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(o.Limits.MaxRequest),
	)
	s.local = &local{unary: s.unary, stream: s.stream, methods: map[string]localMethod{}}
	newest := &tail{history: o.History}
	for _, r := range []grpc.ServiceRegistrar{s.grpc, s.local} {
		pb.RegisterStudiesServer(r, &studies{server: s})
		pb.RegisterCustodyServer(r, &custody{custodian: o.Custody})
		pb.RegisterPatientsServer(r, &patients{patients: o.Patients})
		pb.RegisterPublicationsServer(r, &publications{publications: o.Publications})
		pb.RegisterNodesServer(r, &nodes{node: o.Node})
		pb.RegisterArchivesServer(r, &archives{node: o.Node})
		pb.RegisterEventsServer(r, &events{server: s, tail: newest})
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
		pb.Studies_Search_FullMethodName:           access.Search,
		pb.Studies_Get_FullMethodName:              access.Search,
		pb.Studies_ListInstances_FullMethodName:    access.Search,
		pb.Studies_Have_FullMethodName:             access.Search,
		pb.Studies_Timeline_FullMethodName:         access.Search,
		pb.Studies_InstanceTimeline_FullMethodName: access.Search,
		pb.Studies_Retrieve_FullMethodName:         access.Retrieve,
		pb.Studies_GetLife_FullMethodName:          access.Search,
		pb.Studies_Complete_FullMethodName:         access.Store,
		pb.Patients_GetLink_FullMethodName:         access.Oversee,
		pb.Patients_ListIdentities_FullMethodName:  access.Oversee,
		pb.Patients_ListChanges_FullMethodName:     access.Oversee,
		pb.Patients_ListQueue_FullMethodName:       access.Oversee,
		pb.Patients_Settle_FullMethodName:          access.Identify,
		pb.Patients_Unlink_FullMethodName:          access.Identify,
		pb.Publications_List_FullMethodName:        access.Oversee,
		pb.Publications_Get_FullMethodName:         access.Oversee,
		pb.Publications_Retry_FullMethodName:       access.Operate,
		pb.Archives_Verify_FullMethodName:          access.Oversee,
		pb.Archives_Repair_FullMethodName:          access.Operate,
		pb.Nodes_Drain_FullMethodName:              access.Operate,
		pb.Nodes_TransferLeadership_FullMethodName: access.Operate,
		pb.Custody_Delete_FullMethodName:           access.Delete,
		pb.Custody_Undo_FullMethodName:             access.Undelete,
		pb.Custody_Hold_FullMethodName:             access.Hold,
		pb.Custody_Release_FullMethodName:          access.Release,
		pb.Custody_GetDeletion_FullMethodName:      access.Oversee,
		pb.Custody_ListDeletions_FullMethodName:    access.Oversee,
		pb.Custody_SetRetention_FullMethodName:     access.Release,
		pb.Custody_GetRetention_FullMethodName:     access.Oversee,
		pb.Custody_GetKept_FullMethodName:          access.Oversee,
		pb.Custody_ListHolds_FullMethodName:        access.Oversee,
		pb.Events_Watch_FullMethodName:             access.Search,
		pb.Events_List_FullMethodName:              access.Search,
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
	control := http.NewResponseController(w)
	if r.Body != http.NoBody {
		if err := control.SetReadDeadline(time.Now().Add(s.Limits.Timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return // the connection is gone
		}
		r.Body = &timedBody{http.MaxBytesReader(w, r.Body, int64(s.Limits.MaxRequest)+frameBytes), control}
	}
	w = throttle.Press(w, s.Limits.Stall)
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

// timedBody is a request that must come in time. When all of it has come the
// time is not counted any more: on HTTP/1 its end would end the answer, too.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{}) // a connection that is gone says so when it is written to
	}
	return n, err
}

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
