package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/cmd/cigogne/disk"
	"github.com/esante-alsace/cigogne/gateway"
)

// Facts are what a node knows of itself.
type Facts struct {
	// Queues are what waits, and how many packs are written or wait for it.
	Queues       func(context.Context) (all []Queue, packs int64, err error)
	Arrivals     func() []gateway.Arrival
	Disk         func() disk.State
	Certificates func() []Certificate
	Budgets      func() []Budget
	Caches       func() []Cache
}

// Facts adds what the node knows of itself.
func (m *Metrics) Facts(f Facts) { m.registry.MustRegister(newFactCollector(f)) }

// Queue is work that waits.
type Queue struct {
	Name string
	// Instances and Bytes are how much; Bytes is 0 where that is not counted.
	Instances, Bytes int64
	// Oldest is since when the first of it waits; zero for none.
	Oldest time.Time
}

// The queues. What waits for copies and for the index is this node's; what
// waits to be packed and to be archived is the cluster's.
const (
	QueueCopies  = "copies"
	QueueIndex   = "index"
	QueuePack    = "pack"    // Oldest: since when the series is quiet
	QueueArchive = "archive" // Oldest: when the instance was received
)

// Certificate is one that the node shows.
type Certificate struct {
	Name   string
	Expiry time.Time
}

// AuthorityCertificate is the name of the CA's.
const AuthorityCertificate = "authority"

// Budget is something that is bounded: how much of it is in use, and the bound.
type Budget struct {
	Name        string
	Bytes       bool // they are bytes
	Used, Limit int64
}

// Cache is something that is remembered: how often it was of use.
type Cache struct {
	Name         string
	Hits, Misses int64
}

// factCollector tells what the node knows of itself when metrics are asked
// for.
type factCollector struct {
	Facts
	queued, queuedBytes, queueAge, packs *prometheus.Desc
	siteLast, siteInstances, siteBytes   *prometheus.Desc
	diskSize, diskFree, expires          *prometheus.Desc
	used, limit, usedBytes, limitBytes   *prometheus.Desc
	cacheHits, cacheMisses               *prometheus.Desc
}

func newFactCollector(f Facts) *factCollector {
	return &factCollector{
		Facts:         f,
		queued:        desc("queue_instances", "Instances that wait: for copies, for the index (those that are in memory), to be packed, to be archived. The last two are the cluster's.", "queue"),
		queuedBytes:   desc("queue_bytes", "Bytes of the instances that wait, where they are counted.", "queue"),
		queueAge:      desc("queue_age_seconds", "How long the first of a queue has waited; 0 when nothing waits. Of pack: how long its series has been quiet.", "queue"),
		packs:         desc("packs_pending", "Packs that are planned, and not in an archive yet."),
		siteLast:      desc("site_last_received_timestamp_seconds", "When an instance of the site was received last; not there for one never heard of. Senders of no site are told apart up to a bound, then they are 'other'.", "site"),
		siteInstances: desc("site_received_instances_total", "Instances of the site that were made durable.", "site"),
		siteBytes:     desc("site_received_bytes_total", "Bytes of them.", "site"),
		diskSize:      desc("disk_size_bytes", "Size of the disk on which the journal lies."),
		diskFree:      desc("disk_free_bytes", "What the node may still write to it."),
		expires:       desc("certificate_expiry_timestamp_seconds", "When a certificate that the node shows is valid no longer.", "certificate"),
		used:          desc("budget_used", "How much of something bounded is in use.", "budget"),
		limit:         desc("budget_limit", "The bound of it.", "budget"),
		usedBytes:     desc("budget_used_bytes", "How many bytes of something bounded are in use.", "budget"),
		limitBytes:    desc("budget_limit_bytes", "The bound of them.", "budget"),
		cacheHits:     desc("cache_hits_total", "What was found in a cache: blocks of packs on disk, directories of packs in memory.", "cache"),
		cacheMisses:   desc("cache_misses_total", "What was not.", "cache"),
	}
}

// Describe implements prometheus.Collector.
func (c *factCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.queued, c.queuedBytes, c.queueAge, c.packs, c.siteLast, c.siteInstances, c.siteBytes, c.diskSize, c.diskFree, c.expires,
		c.used, c.limit, c.usedBytes, c.limitBytes, c.cacheHits, c.cacheMisses,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *factCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	g := gathering(to)
	c.collectQueues(ctx, g)
	c.collectSites(g)
	c.collectBounds(g)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cigogne_"+name, help, labels, nil)
}

// gathering is where the metrics of one scrape go.
type gathering chan<- prometheus.Metric

func (g gathering) gauge(d *prometheus.Desc, v float64, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// since is for how many seconds something is so that began then, in nanoseconds
// of Unix time; 0 for what did not begin.
func since(at int64) float64 {
	if at <= 0 {
		return 0
	}
	return max(0, time.Since(time.Unix(0, at)).Seconds())
}

func (g gathering) counter(d *prometheus.Desc, v int64, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (c *factCollector) collectQueues(ctx context.Context, g gathering) {
	queues, packs, err := c.Queues(ctx)
	if err != nil {
		g <- prometheus.NewInvalidMetric(c.queued, err)
		return
	}
	g.gauge(c.packs, float64(packs))
	for _, q := range queues {
		g.gauge(c.queued, float64(q.Instances), q.Name)
		if q.Name == QueuePack || q.Name == QueueArchive {
			g.gauge(c.queuedBytes, float64(q.Bytes), q.Name)
		}
		age := 0.0
		if !q.Oldest.IsZero() {
			age = max(0, time.Since(q.Oldest).Seconds())
		}
		g.gauge(c.queueAge, age, q.Name)
	}
}

func (c *factCollector) collectSites(g gathering) {
	for _, a := range c.Arrivals() {
		if !a.Last.IsZero() {
			g.gauge(c.siteLast, seconds(a.Last), a.Site)
		}
		g.counter(c.siteInstances, a.Instances, a.Site)
		g.counter(c.siteBytes, a.Bytes, a.Site)
	}
}

func (c *factCollector) collectBounds(g gathering) {
	if d := c.Disk(); d.Size > 0 {
		g.gauge(c.diskSize, float64(d.Size))
		g.gauge(c.diskFree, float64(d.Free))
	}
	for _, one := range c.Certificates() {
		g.gauge(c.expires, seconds(one.Expiry), one.Name)
	}
	for _, b := range c.Budgets() {
		used, limit := c.used, c.limit
		if b.Bytes {
			used, limit = c.usedBytes, c.limitBytes
		}
		g.gauge(used, float64(b.Used), b.Name)
		g.gauge(limit, float64(b.Limit), b.Name)
	}
	for _, one := range c.Caches() {
		g.counter(c.cacheHits, one.Hits, one.Name)
		g.counter(c.cacheMisses, one.Misses, one.Name)
	}
}
