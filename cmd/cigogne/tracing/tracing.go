// Package tracing sends what happens to requests and instances to a collector of
// OpenTelemetry, and says in the log in which trace a line is.
package tracing

import (
	"context"
	"errors"
	"log/slog"
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

	"github.com/esante-alsace/cigogne/storage/trace"
)

// CloseTime bounds what Close takes.
const CloseTime = 3 * time.Second

const (
	// tracesPath is where a collector takes traces when nothing else is said.
	tracesPath = "/v1/traces"
	// spansMost bounds the spans that wait to be sent; others are left out.
	spansMost = 8192
	// spansEvery is how long they wait at most.
	spansEvery = 2 * time.Second
	// complainEvery is how often it is logged that traces cannot be sent.
	complainEvery = time.Minute
)

var errURL = errors.New("write http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT")

// Check tells why a URL is none of a collector; an empty one is that of none.
func Check(at string) error {
	if at == "" {
		return nil
	}
	_, err := newExporter(at)
	return err
}

// newExporter makes what sends traces, by the scheme of the URL.
func newExporter(at string) (*otlptrace.Exporter, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errURL
	}
	switch u.Scheme {
	case "http", "https":
		if strings.Trim(u.Path, "/") == "" {
			u.Path = tracesPath
		}
		return otlptracehttp.NewUnstarted(otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)), nil
	case "grpc", "grpcs":
		if u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, errURL
		}
		o := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host), otlptracegrpc.WithCompressor("gzip")}
		if u.Scheme == "grpc" {
			o = append(o, otlptracegrpc.WithInsecure())
		}
		return otlptracegrpc.NewUnstarted(o...), nil
	}
	return nil, errURL
}

// Options say what is sent, and where.
type Options struct {
	URL           string  // of the collector; without it nothing is traced
	Ratio         float64 // the part of what begins here that is traced
	Node, Version string
	Log           *slog.Logger // told when traces cannot be sent
}

// Spans are the traces of a node on their way to the collector.
type Spans struct {
	Tracer *trace.Tracer // nil when nothing is traced
	close  func() error
}

// Open does not ask whether the collector is there: it is no reason not to run.
func Open(ctx context.Context, o Options) (*Spans, error) {
	if o.URL == "" {
		return &Spans{close: func() error { return nil }}, nil
	}
	exporter, err := newExporter(o.URL)
	if err != nil {
		return nil, err
	}
	if err := exporter.Start(ctx); err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&unsent{log: o.Log})
	p := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(spansMost), sdk.WithBatchTimeout(spansEvery)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Ratio))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "cigogne"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Node),
		)),
	)
	return &Spans{trace.New(p), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseTime)
		defer cancel()
		return p.Shutdown(ctx)
	}}, nil
}

// Close sends what is left, for CloseTime at most.
func (s *Spans) Close() error { return s.close() }

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

// Log returns a slog.Handler that hands on to h, and says in which trace a line
// is.
func Log(h slog.Handler) slog.Handler { return traced{h} }

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
