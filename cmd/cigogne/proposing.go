package main

import (
	"context"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/index"
)

// alone proposes to the one node there is.
type alone struct{ *index.Index }

// Propose implements gateway.Proposer.
func (a alone) Propose(ctx context.Context, b index.Batch) error {
	_, err := a.Apply(ctx, b)
	return err
}

// stamped proposes to p in the name of this node.
func (n *node) stamped(p gateway.Proposer) gateway.Proposer {
	return gateway.Stamped{Proposer: p, Node: n.name(), Keep: n.config.FeedEvents}
}
