package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// tracing says who is sent what happens to requests and instances.
type tracing struct {
	OTLP      string  `name:"otlp" placeholder:"URL" help:"Collector that OpenTelemetry traces are sent to by OTLP: http://HOST:4318 or https:// over HTTP, grpc://HOST:4317 or grpcs:// over gRPC; none by default."`
	OTLPRatio float64 `name:"otlp-ratio" default:"1" help:"The part of associations and requests that are traced, unless who asks has decided it (${default})."`
}

func (t *tracing) check() error {
	if _, err := t.exporter(); err != nil {
		return err
	}
	if t.OTLPRatio < 0 || t.OTLPRatio > 1 {
		return fmt.Errorf("%w: --otlp-ratio %v: 0 to 1", errUsage, t.OTLPRatio)
	}
	return nil
}

// exporter makes what sends traces, by the scheme of --otlp; nil for none.
func (t *tracing) exporter() (*otlptrace.Exporter, error) {
	if t.OTLP == "" {
		return nil, nil //nolint:nilnil // there is nothing to send
	}
	u, err := url.Parse(t.OTLP)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errOTLP()
	}
	switch u.Scheme {
	case "http", "https":
		if strings.Trim(u.Path, "/") == "" {
			u.Path = tracesPath
		}
		return otlptracehttp.NewUnstarted(otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)), nil
	case "grpc", "grpcs":
		if u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, errOTLP()
		}
		o := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host), otlptracegrpc.WithCompressor("gzip")}
		if u.Scheme == "grpc" {
			o = append(o, otlptracegrpc.WithInsecure())
		}
		return otlptracegrpc.NewUnstarted(o...), nil
	}
	return nil, errOTLP()
}

func errOTLP() error {
	return fmt.Errorf("%w: --otlp: write http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT", errUsage)
}

const (
	// tracesPath is where a collector takes traces when nothing else is said.
	tracesPath = "/v1/traces"
	// spansMost bounds the spans that wait to be sent; others are left out.
	spansMost = 8192
	// spansEvery is how long they wait at most.
	spansEvery = 2 * time.Second
	// lastSpans bounds the sending when the node stops.
	lastSpans = 3 * time.Second
	// complainEvery is how often it is logged that traces cannot be sent.
	complainEvery = time.Minute
)

// spans are the traces of this node on their way to the collector.
type spans struct {
	tracer *trace.Tracer // nil when nothing is traced
	close  func() error  // sends what is left, for a while
}

// openSpans does not ask whether the collector is there: it is no reason not
// to run.
func (t *tracing) openSpans(ctx context.Context, node string, log *slog.Logger) (spans, error) {
	if t.OTLP == "" {
		return spans{close: func() error { return nil }}, nil
	}
	exporter, err := t.exporter()
	if err != nil {
		return spans{}, err
	}
	if err := exporter.Start(ctx); err != nil {
		return spans{}, fmt.Errorf("--otlp: %w", err)
	}
	otel.SetErrorHandler(&unsent{log: log})
	p := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(spansMost), sdk.WithBatchTimeout(spansEvery)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(t.OTLPRatio))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "cigogne"), attribute.String("service.version", version()),
			attribute.String("service.instance.id", node),
		)),
	)
	return spans{trace.New(p), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		return p.Shutdown(ctx)
	}}, nil
}

// unsent logs, now and then, why traces are not sent.
type unsent struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (c *unsent) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < complainEvery {
		return
	}
	c.last = time.Now()
	c.log.Warn("traces are not sent", "error", err)
}

// follow begins the span of each request that stores, finds or gives
// something.
func (n *node) follow(next http.Handler) http.Handler {
	if n.spans.tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/dicom-web") && !rpc.Handles(r) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, _ := trace.Incoming(r.Context(), r.Header)
		ctx, span := n.spans.tracer.Serve(ctx, r.Method)
		defer span.End()
		span.Text("request", requestID(r))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// followPeers goes on here with traces that other nodes began.
func (n *node) followPeers(next http.Handler) http.Handler {
	if n.spans.tracer == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, named := trace.Incoming(r.Context(), r.Header)
		if !named {
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := n.spans.tracer.Serve(ctx, "asked by a node")
		defer span.End()
		span.Text("path", r.URL.Path)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// traced is a slog.Handler that says in which trace a line is.
type traced struct{ slog.Handler }

// Handle implements slog.Handler.
func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if id := trace.ID(ctx); id != "" {
		r.AddAttrs(slog.String("trace", id))
	}
	return t.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (t traced) WithAttrs(a []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (t traced) WithGroup(name string) slog.Handler { return traced{t.Handler.WithGroup(name)} }
