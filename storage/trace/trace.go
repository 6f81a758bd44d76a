// Package trace follows one instance or request through the parts of the node,
// and from one node to the next, as OpenTelemetry has it. Nothing is followed,
// and nothing is allocated, unless a Tracer began it.
//
// What is said of a span must not be about a patient: no attribute of a Data
// Set, no UID, no query.
package trace

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	otel "go.opentelemetry.io/otel/trace"
)

// scope names what makes the spans.
const scope = "github.com/esante-alsace/cigogne"

// Tracer begins traces. A nil Tracer begins none.
type Tracer struct{ otel otel.Tracer }

// New returns a Tracer whose spans go to a provider.
func New(p otel.TracerProvider) *Tracer { return &Tracer{p.Tracer(scope)} }

// Place is a place in a trace, for a step that comes later.
type Place = otel.SpanContext

// linksMost bounds the places that a span is linked with.
const linksMost = 128

// Begin begins a span: below that of ctx, below the one that a request named
// (see Incoming), or a trace of its own; it is linked with the places. End or
// Done must be called.
func (t *Tracer) Begin(ctx context.Context, name string, links ...Place) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.otel.Start(ctx, name, otel.WithLinks(linked(links)...))
	return ctx, recorded(s)
}

// Serve is Begin for what was asked from outside the node.
func (t *Tracer) Serve(ctx context.Context, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.otel.Start(ctx, name, otel.WithSpanKind(otel.SpanKindServer))
	return ctx, recorded(s)
}

// Alone begins a span in a trace of its own, whatever ctx is in, linked with
// the places.
func (t *Tracer) Alone(ctx context.Context, name string, links ...Place) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.otel.Start(ctx, name, otel.WithNewRoot(), otel.WithLinks(linked(links)...))
	return ctx, recorded(s)
}

// recorded is a span that is, and the zero Span for one that is not.
func recorded(s otel.Span) Span {
	if !s.IsRecording() {
		return Span{}
	}
	return Span{s}
}

// Past tells of a step that is over: it hangs below the place. A place that is
// not recorded is passed over.
func (t *Tracer) Past(below Place, name string, from, to time.Time, links ...Place) {
	if t == nil || !below.IsSampled() {
		return
	}
	_, s := t.otel.Start(otel.ContextWithSpanContext(context.Background(), below), name,
		otel.WithTimestamp(from), otel.WithLinks(linked(links)...))
	s.End(otel.WithTimestamp(to))
}

func linked(places []Place) []otel.Link {
	var links []otel.Link
	for _, p := range places {
		if p.IsValid() && len(links) < linksMost {
			links = append(links, otel.Link{SpanContext: p})
		}
	}
	return links
}

// Start begins a span below that of ctx, if there is one that is recorded. End
// must be called.
func Start(ctx context.Context, name string) (context.Context, Span) {
	above := otel.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := above.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, recorded(s)
}

// Of is the span of ctx; nothing is said of one that is not there.
func Of(ctx context.Context) Span {
	return recorded(otel.SpanFromContext(ctx))
}

// Unfollowed is ctx without a span: what begins in it is below nothing.
func Unfollowed(ctx context.Context) context.Context {
	if !otel.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return otel.ContextWithSpan(ctx, nil)
}

// ID is the id of the trace that ctx is in, or "".
func ID(ctx context.Context) string {
	if c := otel.SpanContextFromContext(ctx); c.IsValid() {
		return c.TraceID().String()
	}
	return ""
}

// Span is a step while it goes on. The zero Span is of nothing.
type Span struct{ otel otel.Span }

// On tells whether the span is recorded.
func (s Span) On() bool { return s.otel != nil }

// Place is where the span is in its trace, or nil for the zero Span.
func (s Span) Place() *Place {
	if s.otel == nil {
		return nil
	}
	p := s.otel.SpanContext()
	return &p
}

// Name gives the span another name.
func (s Span) Name(name string) {
	if s.otel != nil {
		s.otel.SetName(name)
	}
}

// Text says something of the span.
func (s Span) Text(key, value string) {
	if s.otel != nil {
		s.otel.SetAttributes(attribute.String(key, value))
	}
}

// Number says a number of the span.
func (s Span) Number(key string, value int64) {
	if s.otel != nil {
		s.otel.SetAttributes(attribute.Int64(key, value))
	}
}

// Fail tells that the step failed. Why is one of a few words: the text of an
// error may be about a patient.
func (s Span) Fail(why string) {
	if s.otel != nil {
		s.otel.SetStatus(codes.Error, why)
	}
}

// Done ends the span; one that ends with an error failed.
func (s Span) Done(err error) {
	if err != nil {
		s.Fail("")
	}
	s.End()
}

// End ends the span.
func (s Span) End() {
	if s.otel != nil {
		s.otel.End()
	}
}

// Incoming is ctx with the place in a trace that a request names (W3C Trace
// Context); named tells whether it does.
func Incoming(ctx context.Context, h http.Header) (_ context.Context, named bool) {
	if h.Get("Traceparent") == "" {
		return ctx, false
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(h))
	return ctx, otel.SpanContextFromContext(ctx).IsValid()
}

// Outgoing names in the header of a request the place of the span that ctx is
// in.
func Outgoing(ctx context.Context, h http.Header) {
	if otel.SpanFromContext(ctx).IsRecording() {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
}
