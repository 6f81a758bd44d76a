package consensus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Refusals knows which nodes' certificates are revoked: what the index said a
// moment ago, or last when it says nothing now.
type Refusals struct {
	index *index.Index

	mu     sync.Mutex
	before map[string]int64
	looked time.Time
}

const (
	// refusalsAge is how long a revocation may go unnoticed.
	refusalsAge = 500 * time.Millisecond
	// refusalsLook bounds the look into the index.
	refusalsLook = time.Second
)

// NewRefusals returns the Refusals of a node's index.
func NewRefusals(x *index.Index) *Refusals { return &Refusals{index: x} }

// Check is the peer port's Refuses.
func (r *Refusals) Check(id peer.Identity, made time.Time) error {
	if before := r.of(id.Name); made.Unix() < before {
		return fmt.Errorf("%w: the certificates of node %s that were made before %s are revoked: make another, or 'cigogne cluster add %s'",
			storage.ErrForbidden, id.Name, time.Unix(before, 0).UTC().Format(time.RFC3339), id.Name)
	}
	return nil
}

func (r *Refusals) of(node string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) > refusalsAge {
		ctx, cancel := context.WithTimeout(context.Background(), refusalsLook)
		defer cancel()
		if all, err := r.index.Refusals(ctx); err == nil {
			r.before = all
		}
		r.looked = time.Now()
	}
	return r.before[node]
}
