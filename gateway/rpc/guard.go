package rpc

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// unary stands in front of every request that does not stream, whichever way
// it came: limits, the gatekeeper, the time, and what is told of it.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	began := time.Now()
	defer func() { err = s.answered(ctx, info.FullMethod, began, err) }()
	defer s.recover(info.FullMethod, &err)
	done, err := s.bounds.admit(callerOf(ctx), info.FullMethod, false)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Timeout)
	defer cancel()
	if err := s.permit(ctx, info.FullMethod, req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// stream does the same for those that stream. The gatekeeper is asked when the
// request has come.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer func() { err = s.answered(ctx, info.FullMethod, began, err) }()
	defer s.recover(info.FullMethod, &err)
	done, err := s.bounds.admit(callerOf(ctx), info.FullMethod, true)
	if err != nil {
		return err
	}
	defer done()
	stop := context.AfterFunc(s.draining, cancel)
	defer stop()
	err = next(srv, &guarded{ServerStream: ss, ctx: ctx, server: s, method: info.FullMethod})
	if s.draining.Err() != nil && err != nil && ss.Context().Err() == nil {
		return errDraining
	}
	return err
}

// guarded is a stream whose requests pass the gatekeeper.
type guarded struct {
	grpc.ServerStream
	ctx    context.Context //nolint:containedctx // it is what grpc.ServerStream is asked for
	server *Server
	method string
}

// Context implements grpc.ServerStream.
func (g *guarded) Context() context.Context { return g.ctx }

// RecvMsg implements grpc.ServerStream.
func (g *guarded) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return g.server.permit(g.ctx, g.method, m)
}

// permit asks the gatekeeper about a request that was read.
func (s *Server) permit(ctx context.Context, method string, req any) error {
	return s.Gatekeeper.Permit(ctx, callerOf(ctx).Caller, s.operation(method), resource(req))
}

// operation is what a method does: Observe for what tells no patient data.
func (s *Server) operation(method string) access.Operation {
	if op, ok := s.operations[method]; ok {
		return op
	}
	return access.Observe
}

// resource is the path of what a request names.
func resource(req any) string {
	m, ok := req.(proto.Message)
	if !ok {
		return ""
	}
	var path []string
	for _, level := range []struct{ field, of string }{
		{"study_instance_uid", "studies"}, {"series_instance_uid", "series"}, {"sop_instance_uid", "instances"},
	} {
		r := m.ProtoReflect()
		f := r.Descriptor().Fields().ByName(protoreflect.Name(level.field))
		if f == nil || f.Kind() != protoreflect.StringKind || f.IsList() || r.Get(f).String() == "" {
			break
		}
		path = append(path, level.of, r.Get(f).String())
	}
	return strings.Join(path, "/")
}

// recover turns a panic of a handler into an error; net/http's would end the
// process, as it is not one of its goroutines that panics.
func (s *Server) recover(method string, err *error) {
	if p := recover(); p != nil {
		s.Logger.Error("rpc handler panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// answered logs and counts an answer, and turns its error into a status.
func (s *Server) answered(ctx context.Context, method string, began time.Time, err error) error {
	code := codes.OK
	var st *status.Status
	if err != nil {
		st = failure(ctx, err)
		code = st.Code()
	}
	took := time.Since(began)
	if s.Metrics != nil {
		s.Metrics.Called(method, code.String(), took)
	}
	if span := trace.Of(ctx); span.On() {
		span.Name(method)
		span.Text("rpc.status", code.String())
	}
	level := slog.LevelDebug
	if code == codes.Internal || code == codes.DataLoss {
		level = slog.LevelError
	}
	who := callerOf(ctx)
	attrs := []slog.Attr{
		slog.String("request", who.requestID), slog.String("method", method), slog.String("transport", who.Transport),
		slog.String("code", code.String()), slog.Duration("took", took),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	s.Logger.LogAttrs(ctx, level, "rpc answered", attrs...)
	if err == nil {
		return nil
	}
	return st.Err()
}
