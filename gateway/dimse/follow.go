package dimse

import (
	"context"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// followedMost is how many operations are in the trace of their association.
// Those that follow have a trace each, linked with it: a trace that grows for
// hours is of no use.
const followedMost = 500

// follow begins the association's span. From then on its log says in which
// trace it is.
func (a *association) follow(ctx context.Context, rq *pdu.AssociateRQ) context.Context {
	ctx, a.span = a.server.cfg.Tracer.Serve(ctx, "association")
	if !a.span.On() {
		return ctx
	}
	a.span.Text("association", a.id)
	a.span.Text("calling", rq.CallingAETitle)
	a.span.Text("called", rq.CalledAETitle)
	a.log = a.log.With("trace", trace.ID(ctx))
	return ctx
}

// followed begins the span of an operation.
func (a *association) followed(ctx context.Context, command string) (context.Context, trace.Span) {
	if !a.span.On() {
		return ctx, trace.Span{}
	}
	if a.spans++; a.spans <= followedMost {
		return trace.Start(ctx, command)
	}
	ctx, span := a.server.cfg.Tracer.Alone(ctx, command, *a.span.Place())
	span.Text("association", a.id)
	return ctx, span
}

// ended ends the span of an operation with what was answered.
func ended(span trace.Span, v verdict) {
	if !span.On() {
		return
	}
	span.Text("status", v.status.String())
	if v.status.Failed() {
		span.Fail(v.comment)
	}
	span.End()
}
