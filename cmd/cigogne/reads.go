package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// The headers of a read in a cluster: what was asked for, and what it saw.
const (
	consistencyHeader = "Cigogne-Consistency" // strong, fresh or bounded; answered: strong, or bounded with an age
	indexHeader       = "Cigogne-Index"       // up to which entry of the cluster's log
	minIndexHeader    = "Cigogne-Min-Index"   // what it must see at least
)

// freshKey marks the context of a request whose read was made sure of.
type freshKey struct{}

// fresh lets a read see what it must in a cluster; it is the Indexer's hook, as
// is strong.
func (n *node) fresh(ctx context.Context) error {
	if ctx.Value(freshKey{}) != nil {
		return nil
	}
	_, err := n.cluster.Read(ctx, consensus.Fresh, 0)
	return err
}

func (n *node) strong(ctx context.Context) error {
	_, err := n.cluster.Read(ctx, consensus.Strong, 0)
	return err
}

// consistent makes sure of what a request reads, as it asks, and says so in
// the answer's header. A node alone always reads what it has.
func (n *node) consistent(next http.Handler) http.Handler {
	if n.cluster == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		level, least, err := asked(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, span := trace.Start(r.Context(), "read index")
		got, err := n.cluster.Read(ctx, level, least)
		span.Done(err)
		if err != nil {
			code := http.StatusServiceUnavailable
			if errors.Is(err, storage.ErrFull) {
				code = http.StatusInsufficientStorage
			}
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), code)
			return
		}
		said := string(got.Consistency)
		if got.Consistency == consensus.Bounded {
			said += fmt.Sprintf("; age=%dms", got.Age/time.Millisecond)
		}
		w.Header().Set(consistencyHeader, said)
		w.Header().Set(indexHeader, strconv.FormatUint(got.Applied, 10))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), freshKey{}, true)))
	})
}

// asked is what a request must see.
func asked(r *http.Request) (level consensus.Consistency, least uint64, err error) {
	level = consensus.Fresh
	if v := r.Header.Get(consistencyHeader); v != "" {
		level = consensus.Consistency(v)
	}
	if !level.Valid() {
		return "", 0, fmt.Errorf("%w: %s: strong, fresh or bounded", storage.ErrInvalid, consistencyHeader)
	}
	if v := r.Header.Get(minIndexHeader); v != "" {
		if least, err = strconv.ParseUint(v, 10, 64); err != nil {
			return "", 0, fmt.Errorf("%w: %s: a number", storage.ErrInvalid, minIndexHeader)
		}
	}
	return level, least, nil
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
