package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/gateway/commitment"
)

// newCommitments counts what came of requests for storage commitment. All its
// series are there from the beginning.
func newCommitments() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cigogne_commitments_total", Help: "Requests for storage commitment: asked, then committed or failed in part, then reported or given up; each report that failed.",
	}, []string{"outcome"})
	for _, o := range []commitment.Outcome{
		commitment.Asked, commitment.AllCommitted, commitment.SomeFailed, commitment.Told, commitment.NotTold, commitment.GivenUp,
	} {
		c.WithLabelValues(string(o))
	}
	return c
}

// Committed is the Committer's Count hook.
func (m *Metrics) Committed(o commitment.Outcome) { m.commitments.WithLabelValues(string(o)).Inc() }

// commitmentCollector counts the requests that are open when metrics are asked
// for.
type commitmentCollector struct {
	Index
	open, oldest *prometheus.Desc
}

func newCommitmentCollector(x Index) *commitmentCollector {
	return &commitmentCollector{
		Index:  x,
		open:   prometheus.NewDesc("cigogne_commitments", "Requests for storage commitment that are open: they wait for the archives, or for who asked to take the report; of these, those that were tried in vain.", []string{"state"}, nil),
		oldest: prometheus.NewDesc("cigogne_commitment_oldest_seconds", "How long the oldest open request for storage commitment is there; 0 for none.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *commitmentCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.open
	to <- c.oldest
}

// Collect implements prometheus.Collector.
func (c *commitmentCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	n, err := c.CommitmentCounts(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.open, err)
		return
	}
	g := gathering(to)
	g.gauge(c.open, float64(n.Waiting), "waiting")
	g.gauge(c.open, float64(n.Reporting), "reporting")
	g.gauge(c.open, float64(n.Failing), "failing")
	g.gauge(c.oldest, since(n.Oldest))
}
