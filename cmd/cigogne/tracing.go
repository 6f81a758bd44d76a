package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
	"github.com/esante-alsace/cigogne/cmd/cigogne/tracing"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// following says who is sent what happens to requests and instances.
type following struct {
	OTLP      string  `name:"otlp" placeholder:"URL" help:"Collector that OpenTelemetry traces are sent to by OTLP: http://HOST:4318 or https:// over HTTP, grpc://HOST:4317 or grpcs:// over gRPC; none by default."`
	OTLPRatio float64 `name:"otlp-ratio" default:"1" help:"The part of associations and requests that are traced, unless who asks has decided it (${default})."`
}

func (f *following) check() error {
	if err := tracing.Check(f.OTLP); err != nil {
		return fmt.Errorf("%w: --otlp: %w", errUsage, err)
	}
	if f.OTLPRatio < 0 || f.OTLPRatio > 1 {
		return fmt.Errorf("%w: --otlp-ratio %v: 0 to 1", errUsage, f.OTLPRatio)
	}
	return nil
}

func (f *following) openSpans(ctx context.Context, node string, log *slog.Logger) (*tracing.Spans, error) {
	spans, err := tracing.Open(ctx, tracing.Options{URL: f.OTLP, Ratio: f.OTLPRatio, Node: node, Version: version(), Log: log})
	if err != nil {
		return nil, fmt.Errorf("--otlp: %w", err)
	}
	return spans, nil
}

// follow begins the span of each request that stores, finds or gives
// something.
func (n *node) follow(next http.Handler) http.Handler {
	if n.spans.Tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/dicom-web") && !rpc.Handles(r) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, _ := trace.Incoming(r.Context(), r.Header)
		ctx, span := n.spans.Tracer.Serve(ctx, r.Method)
		defer span.End()
		span.Text("request", httpserver.RequestID(r))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// followPeers goes on here with traces that other nodes began.
func (n *node) followPeers(next http.Handler) http.Handler {
	if n.spans.Tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, named := trace.Incoming(r.Context(), r.Header)
		if !named {
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := n.spans.Tracer.Serve(ctx, "asked by a node")
		defer span.End()
		span.Text("path", r.URL.Path)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
