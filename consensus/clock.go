package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// MaxSkew is how far the clocks of two nodes may be apart to agree.
const MaxSkew = 2 * time.Minute

// CheckClock tells whether this node's clock may be believed for what cannot
// be undone: more than half of the nodes, this one among them, must answer now
// and agree. Otherwise the error wraps storage.ErrUnavailable and names who
// does not.
//
// Nothing else in a cluster depends on what the clocks say: elections, leases
// and the bounds of staleness count the time that passes.
func (n *Node) CheckClock(ctx context.Context) error {
	return agreed(n.o.ID, n.Overview(ctx), n.o.Now())
}

// agreed compares what the nodes said a moment ago, at most lookTimeout, with
// this node's clock.
func agreed(self string, all []Status, now time.Time) error {
	agree, said := 0, ""
	for _, s := range all {
		switch skew := s.Now.Sub(now); {
		case s.ID == self:
			agree++
		case s.Now.IsZero():
			said += fmt.Sprintf("; %s does not answer", s.ID)
		case skew.Abs() > MaxSkew:
			said += fmt.Sprintf("; that of %s is %s ahead", s.ID, skew.Round(time.Second))
		default:
			agree++
		}
	}
	if 2*agree > len(all) {
		return nil
	}
	return fmt.Errorf("%w: the clock of node %s is not confirmed by others%s", storage.ErrUnavailable, self, said)
}
