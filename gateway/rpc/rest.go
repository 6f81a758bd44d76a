package rpc

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esante-alsace/cigogne/gateway/access"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

//go:embed assets
var assets embed.FS

// newREST returns what is not gRPC.
func (s *Server) newREST(ctx context.Context) (http.Handler, error) {
	gw := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler()),
		runtime.WithErrorHandler(s.refuse),
		runtime.WithStreamErrorHandler(func(ctx context.Context, err error) *status.Status { return failure(ctx, err) }),
		runtime.WithRoutingErrorHandler(s.misrouted),
		// Nothing of the HTTP header becomes metadata: no method asks for any.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
	)
	if err := errors.Join(
		pb.RegisterStudiesHandlerClient(ctx, gw, pb.NewStudiesClient(s.local)),
		pb.RegisterCustodyHandlerClient(ctx, gw, pb.NewCustodyClient(s.local)),
		pb.RegisterPatientsHandlerClient(ctx, gw, pb.NewPatientsClient(s.local)),
		pb.RegisterPublicationsHandlerClient(ctx, gw, pb.NewPublicationsClient(s.local)),
		pb.RegisterNodesHandlerClient(ctx, gw, pb.NewNodesClient(s.local)),
		pb.RegisterArchivesHandlerClient(ctx, gw, pb.NewArchivesClient(s.local)),
		pb.RegisterEventsHandlerClient(ctx, gw, pb.NewEventsClient(s.local)),
	); err != nil {
		return nil, err
	}
	page, err := newPage()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store") // patients' data
		gw.ServeHTTP(w, r)
	})
	mux.Handle("GET /openapi.json", s.bounded(s.observed(page.description)))
	mux.Handle("GET /api/style.css", s.bounded(s.observed(page.style)))
	mux.Handle("GET /api", s.bounded(s.observed(page.readable)))
	return mux, nil
}

// marshaler leaves out what is not set, as a field mask does. Fields that are
// not known are refused: a condition that is mistyped must not find everything.
func marshaler() runtime.Marshaler {
	return &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{}, UnmarshalOptions: protojson.UnmarshalOptions{}}
}

// observed asks the gatekeeper before something is shown that tells nothing of
// any patient.
func (s *Server) observed(show http.HandlerFunc) http.Handler {
	return access.Guard(s.Gatekeeper, func(*http.Request) access.Operation { return access.Observe }, show)
}

// refuse answers REST with an error: a google.rpc.Status in JSON.
func (s *Server) refuse(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	st := failure(ctx, err)
	if c := st.Code(); c == codes.ResourceExhausted || c == codes.Unavailable {
		w.Header().Set("Retry-After", "1")
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, st.Err())
}

// misrouted answers where no method is bound.
func (s *Server) misrouted(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	text := "no such resource: see /api"
	switch code {
	case http.StatusMethodNotAllowed:
		text = "this resource does not know the method " + strings.ToUpper(r.Method)
	case http.StatusBadRequest:
		text = "the path cannot be read"
	}
	st := status.New(codeOf(code), text)
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, &runtime.HTTPStatusError{HTTPStatus: code, Err: st.Err()})
}

func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusMethodNotAllowed:
		return codes.Unimplemented
	}
	return codes.InvalidArgument
}
