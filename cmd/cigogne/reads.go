package main

import (
	"context"
	"net/http"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
)

// consistent makes sure of what a request reads. A node alone always reads what
// it has.
func (n *node) consistent(next http.Handler) http.Handler {
	if n.cluster == nil {
		return next
	}
	return n.cluster.Consistent(next)
}

// visibleTimeout is how long an answer to STOW-RS waits for what it tells of to
// be found everywhere. It is safe already, and said to be safe in any case.
const visibleTimeout = 2 * time.Second

// visible returns when what was stored here is found by a query at any node.
func (n *node) visible(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	err := n.indexer.AwaitOwn(ctx)
	if err != nil {
		n.log.WarnContext(ctx, "what was stored is safe, but not found everywhere yet", "request", httpserver.IDOf(ctx), "error", err)
	}
	return err
}
