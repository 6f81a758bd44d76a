package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/storage/index"
)

// Sweeper tells how many deletions an archive keeps from their end, and since
// when the first of them.
type Sweeper interface {
	Troubles() (n int, since time.Time)
}

// custodyCollector counts deletions and holds when metrics are asked for.
type custodyCollector struct {
	index   Index
	sweeper Sweeper
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
	g := gathering(to)
	for state, n := range map[index.DeletionState]int64{
		index.DeletionMarked: s.Marked, index.DeletionDecided: s.Decided, index.DeletionRemoved: s.Removed, index.DeletionUndone: s.Undone,
	} {
		g.gauge(c.deletions(), float64(n), state.String())
	}
	g.gauge(c.overdue(), since(s.Due), index.DeletionMarked.String())
	g.gauge(c.overdue(), since(s.Began), index.DeletionDecided.String())
	troubles, first := c.sweeper.Troubles()
	g.gauge(c.failing(), float64(troubles))
	if troubles == 0 {
		g.gauge(c.failingFor(), 0)
	} else {
		g.gauge(c.failingFor(), since(first.UnixNano()))
	}
	g.gauge(c.live(), float64(s.LiveBytes))
	g.gauge(c.holds(), float64(s.Holds))
}
