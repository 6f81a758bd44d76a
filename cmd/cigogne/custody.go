package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/custody"
	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/index"
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
	var forget func(...string)
	if c, ok := n.archives.read.(*cache.Cache); ok {
		forget = c.Drop
	}
	checkClock := func(context.Context) error { return nil }
	if n.cluster != nil {
		checkClock = n.cluster.CheckClock
	}
	n.sweeper = gateway.NewSweeper(gateway.SweeperOptions{
		Index: n.index, Proposer: n.proposer, Archives: n.archives.each, Forget: forget,
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

// custodyCollector counts deletions and holds when metrics are asked for.
type custodyCollector struct {
	index   *index.Index
	sweeper *gateway.Sweeper
}

func (custodyCollector) deletions() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_deletions", "Deletions by state.", []string{"state"}, nil)
}

func (custodyCollector) overdue() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_deletion_overdue_seconds", "Since when the deletion is due that is waited for longest: marked ones wait under a hold, removing ones for an archive.", []string{"state"}, nil)
}

func (custodyCollector) failing() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_deletions_failing", "Deletions that an archive keeps from their end.", nil, nil)
}

func (custodyCollector) failingFor() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_deletions_failing_seconds", "Since when the first of them is.", nil, nil)
}

func (custodyCollector) live() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_deletion_journal_bytes", "Bytes that marked deletions keep in journals.", nil, nil)
}

func (custodyCollector) holds() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_holds", "Holds that keep studies.", nil, nil)
}

// Describe implements prometheus.Collector.
func (c custodyCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.deletions(), c.overdue(), c.failing(), c.failingFor(), c.live(), c.holds()} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c custodyCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	s, err := c.index.CountDeletions(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.deletions(), err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for state, n := range map[index.DeletionState]int64{
		index.DeletionMarked: s.Marked, index.DeletionDecided: s.Decided, index.DeletionRemoved: s.Removed, index.DeletionUndone: s.Undone,
	} {
		gauge(c.deletions(), float64(n), state.String())
	}
	since := func(at int64) float64 {
		if at == 0 {
			return 0
		}
		return max(0, time.Since(time.Unix(0, at)).Seconds())
	}
	gauge(c.overdue(), since(s.Due), index.DeletionMarked.String())
	gauge(c.overdue(), since(s.Began), index.DeletionDecided.String())
	troubles, first := c.sweeper.Troubles()
	gauge(c.failing(), float64(troubles))
	if troubles == 0 {
		gauge(c.failingFor(), 0)
	} else {
		gauge(c.failingFor(), since(first.UnixNano()))
	}
	gauge(c.live(), float64(s.LiveBytes))
	gauge(c.holds(), float64(s.Holds))
}
