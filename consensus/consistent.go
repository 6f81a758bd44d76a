package consensus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

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

// Fresh is called before the index is read, and returns when it has what was
// decided before.
func (n *Node) Fresh(ctx context.Context) error {
	if ctx.Value(freshKey{}) != nil {
		return nil
	}
	_, err := n.Read(ctx, Fresh, 0)
	return err
}

// Strong is as Fresh, for what must not be told from an older index.
func (n *Node) Strong(ctx context.Context) error {
	_, err := n.Read(ctx, Strong, 0)
	return err
}

// Consistent makes sure of what a request to next reads, as it asks, and says so
// in the answer's header. What next asks of Fresh is sure already.
func (n *Node) Consistent(next http.Handler) http.Handler {
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
		got, err := n.Read(ctx, level, least)
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
		if got.Consistency == Bounded {
			said += fmt.Sprintf("; age=%dms", got.Age/time.Millisecond)
		}
		w.Header().Set(consistencyHeader, said)
		w.Header().Set(indexHeader, strconv.FormatUint(got.Applied, 10))
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), freshKey{}, true)))
	})
}

// asked is what a request must see.
func asked(r *http.Request) (level Consistency, least uint64, err error) {
	level = Fresh
	if v := r.Header.Get(consistencyHeader); v != "" {
		level = Consistency(v)
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
