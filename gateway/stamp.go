package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/storage/index"
)

// Stamped is a Proposer that says of every batch who proposed it, and when.
type Stamped struct {
	Proposer
	// Node is the name of this node.
	Node string
	// Keep is how many events the feed keeps.
	Keep int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Propose implements Proposer.
func (s Stamped) Propose(ctx context.Context, b index.Batch) error {
	now := s.Now
	if now == nil {
		now = time.Now
	}
	stamp := index.Stamp{Node: s.Node, At: now().UnixNano(), Keep: s.Keep}
	if b.Stamp != nil {
		stamp.Durable = b.Stamp.Durable
	}
	if b.Stamp != nil && len(b.Received) > 0 && s.Node != "" {
		stamp.Holders = append([]string{s.Node}, b.Stamp.Holders...)
		slices.Sort(stamp.Holders)
	}
	b.Stamp = &stamp
	return s.Proposer.Propose(ctx, b)
}
