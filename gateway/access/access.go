// Package access stands in the way of every association and every request
// and says who may do what. Until callers can prove who they are it knows one
// policy, Open; the seam is in place so that no transport has a way around it.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode"

	"github.com/esante-alsace/cigogne/storage"
)

// Operation is what a caller wants to do.
type Operation string

// The operations that a Gatekeeper is asked about.
const (
	Associate Operation = "associate" // open an association
	Echo      Operation = "echo"
	Store     Operation = "store"
	Commit    Operation = "commit" // ask for storage commitment
	Search    Operation = "search"
	Retrieve  Operation = "retrieve"
	Observe   Operation = "observe" // health, readiness, metrics, pages
	// Delete takes a study or a series out of sight, Undelete puts it back.
	Delete   Operation = "delete"
	Undelete Operation = "undelete"
	// Hold keeps a study from being deleted; Release takes away what keeps it,
	// and changes for how long studies are kept.
	Hold    Operation = "hold"
	Release Operation = "release"
	// Identify says whose an identity is, and settles what is in doubt.
	Identify Operation = "identify"
	// Operate changes how nodes work together: drains one, moves the lead.
	Operate Operation = "operate"
	// Oversee looks at deletions, holds and retention, and at identities.
	Oversee Operation = "oversee"
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

// Except is a Gatekeeper that refuses some operations, whoever asks, and says
// why; it leaves the others to another one.
type Except struct {
	Gatekeeper
	Refused map[Operation]string
}

// Permit implements Gatekeeper.
func (e Except) Permit(ctx context.Context, who Caller, op Operation, resource string) error {
	if why, ok := e.Refused[op]; ok {
		return fmt.Errorf("%w: %s", storage.ErrForbidden, why)
	}
	return e.Gatekeeper.Permit(ctx, who, op, resource)
}

// Audited is a Gatekeeper that writes down what another one refuses: who tries
// is of as much interest as who does.
type Audited struct {
	Gatekeeper
	Log *slog.Logger
}

// Permit implements Gatekeeper. The resource is not written down where it may
// name a patient.
func (a Audited) Permit(ctx context.Context, who Caller, op Operation, resource string) error {
	err := a.Gatekeeper.Permit(ctx, who, op, resource)
	if !errors.Is(err, storage.ErrForbidden) {
		return err
	}
	if op == Identify || op == Oversee {
		resource = ""
	}
	a.Log.LogAttrs(ctx, slog.LevelInfo, "audit", slog.String("what", "refused"), slog.String("operation", string(op)),
		slog.String("resource", resource), slog.String("by", who.RemoteAddr), slog.String("aet", who.CallingAETitle),
		slog.String("transport", who.Transport), slog.Any("why", err))
	return err
}

// whoBytes bounds a name that a caller gives itself.
const whoBytes = 200

// Who says for the record who makes a request: where it comes from and, as
// nobody proves it, who it says it is for by its From field (RFC 9110
// §10.1.2).
func Who(r *http.Request) string { return Claimed(r.Header.Get("From"), r.RemoteAddr) }

// Claimed is Who for somebody who names themselves so, and asks from there.
func Claimed(name, remoteAddr string) string {
	claimed := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(name, ""))
	if claimed == "" {
		return remoteAddr
	}
	return strings.ToValidUTF8(claimed[:min(len(claimed), whoBytes)], "") + " (unproven), from " + remoteAddr
}

// Guard lets a request pass to next when keeper permits the operation that
// classify reads from it; otherwise it answers 403.
func Guard(keeper Gatekeeper, classify func(*http.Request) Operation, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := Caller{Transport: "http", RemoteAddr: r.RemoteAddr}
		if err := keeper.Permit(r.Context(), who, classify(r), r.URL.Path); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
