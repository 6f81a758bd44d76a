// Package access stands in the way of every association and every request
// and says who may do what. Until callers can prove who they are it knows one
// policy, Open; the seam is in place so that no transport has a way around it.
package access

import (
	"context"
	"net/http"

	"github.com/esante-alsace/cigogne/storage"
)

// Operation is what a caller wants to do.
type Operation string

// The operations that a Gatekeeper is asked about.
const (
	Associate Operation = "associate" // open an association
	Echo      Operation = "echo"
	Store     Operation = "store"
	Search    Operation = "search"
	Retrieve  Operation = "retrieve"
	Observe   Operation = "observe" // health, readiness, metrics, pages
)

// Caller is who asks, as far as the transport knows.
type Caller struct {
	Transport      string // "dimse", "http" or "grpc"
	CallingAETitle string
	CalledAETitle  string
	RemoteAddr     string
}

// Gatekeeper decides. Implementations are safe for use by many goroutines.
type Gatekeeper interface {
	// Permit returns nil, or an error wrapping storage.ErrForbidden whose
	// text may be shown to the caller. The selected resource is a path such
	// as "studies/1.2.3", or empty when the operation has none.
	Permit(ctx context.Context, who Caller, op Operation, resource string) error
}

// Open permits everything: the policy of a node that listens on the loopback
// interface alone, or whose operator said --open.
type Open struct{}

var _ Gatekeeper = Open{}

// Permit implements Gatekeeper.
func (Open) Permit(context.Context, Caller, Operation, string) error { return nil }

// Guard lets a request pass to next when keeper permits the operation that
// classify reads from it; otherwise it answers 403.
func Guard(keeper Gatekeeper, classify func(*http.Request) Operation, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := Caller{Transport: "http", RemoteAddr: r.RemoteAddr}
		if err := keeper.Permit(r.Context(), who, classify(r), r.URL.Path); err != nil {
			http.Error(w, storage.ErrForbidden.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
