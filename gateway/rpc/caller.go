package rpc

import (
	"context"
	"net"
	"net/http"

	"github.com/esante-alsace/cigogne/gateway/access"
)

// caller is who a request is from. Both ways in put it into the context of the
// request; nothing that the caller sends does.
type caller struct {
	access.Caller
	requestID string
}

type callerKey struct{}

func withCaller(r *http.Request, transport, requestID string) *http.Request {
	c := caller{access.Caller{Transport: transport, RemoteAddr: r.RemoteAddr}, requestID}
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// forTheRecord is who asks, as far as they say so themselves and the transport
// knows.
func forTheRecord(ctx context.Context, claimed string) string {
	return access.Claimed(claimed, callerOf(ctx).RemoteAddr)
}

// callerHost is where a request is from, without the port.
func callerHost(ctx context.Context) string {
	addr := callerOf(ctx).RemoteAddr
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
