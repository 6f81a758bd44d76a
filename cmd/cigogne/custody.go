package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/custody"
)

// deletion says what may be deleted, and how.
type deletion struct {
	AllowDelete bool          `help:"Let callers delete studies and series, and lift what protects them. Nobody proves who they are yet."`
	DeleteGrace time.Duration `default:"168h" help:"How long a deletion can be undone before it is removed for good (${default})."`
}

func (d *deletion) check() error {
	if d.DeleteGrace < 0 {
		return fmt.Errorf("%w: --delete-grace %s: 0 or more", errUsage, d.DeleteGrace)
	}
	return nil
}

// gatekeeper is who says what callers may do.
func (d *deletion) gatekeeper() access.Gatekeeper {
	if d.AllowDelete {
		return access.Open{}
	}
	const why = "not allowed on this node, see 'cigogne serve --allow-delete'"
	return access.Except{Gatekeeper: access.Open{}, Refused: map[access.Operation]string{
		access.Delete: "deletion is " + why, access.Release: "lifting what protects studies is " + why,
	}}
}

const (
	// sweepMost bounds the time between two sweeps; a short time of grace is
	// swept more often.
	sweepMost, sweepLeast = 30 * time.Second, 50 * time.Millisecond
	// confirm is how long after the decision packs are removed once more.
	confirm = 10 * time.Minute
)

func (n *node) wireCustody() {
	grace := n.config.DeleteGrace
	checkClock := func(context.Context) error { return nil }
	if n.cluster != nil {
		checkClock = n.cluster.CheckClock
	}
	n.sweeper = gateway.NewSweeper(gateway.SweeperOptions{
		Index: n.index, Proposer: n.proposer, Archives: n.archives.Each, Forget: n.archives.Forget,
		Every: min(max(grace/8, sweepLeast), sweepMost), Confirm: confirm, CheckClock: checkClock, Logger: n.log,
	})
	n.custodian = gateway.NewCustodian(gateway.CustodianOptions{
		Index: n.index, Proposer: n.proposer, Indexer: n.indexer, Sweeper: n.sweeper, Grace: grace, CheckClock: checkClock, Logger: n.log,
	})
}

// custodyRoot is the path of deletions, holds and retention.
const custodyRoot = "/custody"

func (n *node) custody() http.Handler {
	return http.StripPrefix(custodyRoot, custody.New(n.custodian, n.answers("custody")))
}
