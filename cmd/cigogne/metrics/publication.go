package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
	"github.com/esante-alsace/cigogne/storage/index"
)

// newDeliveries counts what was brought to the shared record. All its series
// are there from the beginning.
func newDeliveries() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cigogne_publication_deliveries_total", Help: "Deliveries to the shared record, by what was done and what came of it.",
	}, []string{"act", "result"})
	for act := index.Publish; act <= index.Withdraw; act++ {
		for result := index.Delivered; result <= index.DeliveryRefused; result++ {
			c.WithLabelValues(act.String(), resultName(result))
		}
	}
	return c
}

// newUnmanifested counts versions of studies that have no manifest. All its
// series are there from the beginning.
func newUnmanifested() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cigogne_study_versions_without_manifest_total", Help: "Complete versions of studies of which this node decided that they have no manifest, by what is lacking.",
	}, []string{"lacks"})
	for _, l := range []publication.Lack{publication.LackIdentity, publication.LackAgreement, publication.LackStructure, publication.LackRoom, publication.LackInstances} {
		c.WithLabelValues(string(l))
	}
	return c
}

// Lacking is the Publisher's hook.
func (m *Metrics) Lacking(l publication.Lack) { m.unmanifested.WithLabelValues(string(l)).Inc() }

func resultName(r index.DeliveryResult) string {
	switch r {
	case index.Delivered:
		return "delivered"
	case index.MaybeDelivered:
		return "unanswered"
	case index.DeliveryRefused:
		return "refused"
	case index.NotDelivered:
	}
	return "failed"
}

// Delivered is the Sender's Sent hook.
func (m *Metrics) Delivered(act index.DeliveryAct, result index.DeliveryResult, _ time.Duration) {
	m.deliveries.WithLabelValues(act.String(), resultName(result)).Inc()
}

// publicationCollector counts studies and the outbox when metrics are asked
// for.
type publicationCollector struct {
	Index
	lives, outbox, trouble *prometheus.Desc
}

func newPublicationCollector(x Index) *publicationCollector {
	return &publicationCollector{
		Index:   x,
		lives:   prometheus.NewDesc("cigogne_study_lives", "Studies that are open, as they have changed since they were complete, and those whose manifest is owed.", []string{"state"}, nil),
		outbox:  prometheus.NewDesc("cigogne_publications", "Studies that are to be published, replaced or withdrawn; of very many, only some are counted.", []string{"state"}, nil),
		trouble: prometheus.NewDesc("cigogne_publication_trouble_seconds", "How long the shared record has not taken what it is given: the oldest trouble; 0 for none.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *publicationCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.lives, c.outbox, c.trouble} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *publicationCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	lives, err := c.LifeCounts(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.lives, err)
		return
	}
	outbox, err := c.OutboxCounts(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.outbox, err)
		return
	}
	g := gathering(to)
	g.gauge(c.lives, float64(lives.Open), "open")
	g.gauge(c.lives, float64(lives.Owed), "owed")
	g.gauge(c.outbox, float64(outbox.Waiting), "waiting")
	g.gauge(c.outbox, float64(outbox.Failing), "failing")
	g.gauge(c.outbox, float64(outbox.Refused), "refused")
	g.gauge(c.trouble, since(outbox.Oldest))
}
