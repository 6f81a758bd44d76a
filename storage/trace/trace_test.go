package trace_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/esante-alsace/cigogne/storage/trace"
)

// TestNothingIsAllocated: what is not followed costs nothing, whatever is asked
// of it on the way.
func TestNothingIsAllocated(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, 1)
	var off *trace.Tracer
	header := http.Header{}
	failed := errors.New("failed")
	n := testing.AllocsPerRun(100, func() {
		ctx, root := off.Begin(ctx, "request")
		ctx, _ = trace.Incoming(ctx, header)
		ctx, span := trace.Start(ctx, "step")
		span.Number("bytes", 512)
		span.Text("outcome", "stored")
		if span.Place() != nil || span.On() {
			t.Error("something is followed")
		}
		off.Past(trace.Place{}, "later", time.Time{}, time.Time{})
		trace.Outgoing(ctx, header)
		trace.ID(ctx)
		trace.Of(ctx).Name("another")
		span.Done(failed)
		root.End()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOneTrace: what is begun in one node goes on in another, and what comes
// later hangs below.
func TestOneTrace(t *testing.T) {
	made := tracetest.NewInMemoryExporter()
	p := sdk.NewTracerProvider(sdk.WithSyncer(made))
	tracer := trace.New(p)
	header := http.Header{}
	ctx, root := tracer.Begin(t.Context(), "request")
	_, step := trace.Start(ctx, "step")
	trace.Outgoing(ctx, header)
	far, named := trace.Incoming(t.Context(), header)
	_, there := tracer.Begin(far, "at another node")
	there.Done(errors.New("of a patient"))
	step.End()
	root.End()
	tracer.Past(*root.Place(), "later", time.Unix(1, 0), time.Unix(2, 0), *step.Place())
	tracer.Past(trace.Place{}, "nowhere", time.Unix(1, 0), time.Unix(2, 0))

	spans := map[string]tracetest.SpanStub{}
	for _, s := range made.GetSpans() {
		spans[s.Name] = s
	}
	if len(spans) != 4 || !named {
		t.Fatalf("%d spans: %v", len(spans), spans)
	}
	for _, name := range []string{"step", "at another node", "later"} {
		s := spans[name]
		if s.SpanContext.TraceID() != root.Place().TraceID() || s.Parent.SpanID() != root.Place().SpanID() {
			t.Errorf("%s is not below the request", name)
		}
	}
	if s := spans["at another node"]; s.Status.Code == 0 || s.Status.Description != "" || len(s.Events) > 0 {
		t.Errorf("what failed says %+v, %v", s.Status, s.Events)
	}
	if s := spans["later"]; s.EndTime != time.Unix(2, 0) || len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != step.Place().SpanID() {
		t.Errorf("what came later: %+v", s)
	}
	for _, bad := range []string{"00-0-0-01", "00-00000000000000000000000000000000-0000000000000000-01", "x"} {
		header.Set("Traceparent", bad)
		if _, named := trace.Incoming(t.Context(), header); named {
			t.Errorf("%q names a place", bad)
		}
	}
}
