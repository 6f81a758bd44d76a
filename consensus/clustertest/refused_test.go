package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/clustertest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestANodeThatTheLeaderRefuses: who sends to it is not told to be forbidden that.
// It is the node's certificate that the leader does not take.
func TestANodeThatTheLeaderRefuses(t *testing.T) {
	c := clustertest.Of(t, 3)
	w := &writer{t: t}
	w.write(c.Node("n1"), 2)
	leader := c.Leader()
	n := c.Others(leader.ID)[0]
	propose(t, leader, index.Batch{Refusals: []index.Refusal{{Node: n.ID, Before: time.Now().Add(time.Minute).Unix()}}})
	c.Eventually("what it proposes is refused", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := n.Propose(ctx, w.batch(0))
		if err != nil && (errors.Is(err, storage.ErrForbidden) || !errors.Is(err, storage.ErrUnavailable)) {
			t.Error(err)
		}
		return err != nil
	})
}
