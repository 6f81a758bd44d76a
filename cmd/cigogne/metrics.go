package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage/index"
)

// metrics are what the node counts of itself. Labels have few values: no UID,
// no path, and of those who send the configured ones and a few others.
type metrics struct {
	registry      *prometheus.Registry
	associations  *prometheus.CounterVec
	operations    *prometheus.HistogramVec
	requests      *prometheus.HistogramVec
	deliveries    *prometheus.CounterVec
	commitments   *prometheus.CounterVec
	calls         *prometheus.HistogramVec
	received      prometheus.Counter
	suboperations *prometheus.CounterVec
	sent          atomic.Int64 // by DICOMweb
	given         atomic.Int64 // by C-GET and C-MOVE
	durable       prometheus.Counter
	fsync         prometheus.Histogram
	s3Answers     *prometheus.HistogramVec
	steps         *prometheus.HistogramVec
	step          [gateway.Steps]prometheus.Observer // of steps, looked up
	refused       *prometheus.CounterVec
	applies       prometheus.Histogram

	refusedRequests, unmanifested *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	latency := prometheus.ExponentialBuckets(0.0005, 4, 10)
	m := &metrics{
		registry: prometheus.NewRegistry(), deliveries: newDeliveries(), commitments: newCommitments(), refusedRequests: newTurnedAway(), unmanifested: newUnmanifested(),
		associations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cigogne_dimse_associations_total", Help: "Associations by what became of them.",
		}, []string{"outcome"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cigogne_dimse_operation_duration_seconds", Help: "Time from a DIMSE command to its response.", Buckets: latency,
		}, []string{"command", "status"}),
		suboperations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cigogne_dimse_suboperations_total", Help: "Instances that a C-GET or C-MOVE was to send, by what became of them.",
		}, []string{"command", "outcome"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cigogne_dicomweb_request_duration_seconds", Help: "Time from a DICOMweb request to the end of its answer.", Buckets: latency,
		}, []string{"route", "code"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cigogne_rpc_call_duration_seconds", Help: "Time from a call of the API to the end of its answer.", Buckets: latency,
		}, []string{"method", "code"}),
		received: counter("cigogne_dimse_received_bytes_total", "Bytes of data sets received by C-STORE."),
		s3Answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cigogne_s3_request_duration_seconds", Help: "Time from a request to an S3 archive until its answer began.", Buckets: latency,
		}, []string{"operation", "outcome"}),
		durable: counter("cigogne_journal_durable_instances_total", "Instances made durable."),
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cigogne_journal_fsync_duration_seconds", Help: "Time of one group fsync of the journal.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cigogne_step_duration_seconds",
			Help: "How long the steps of an instance's way took: receive, journal, copies and index for each instance, put and archive for each pack; archive begins with the receipt of its last instance.",
			// From less than a fsync to what a series is quiet for, and an outage lasts.
			Buckets: prometheus.ExponentialBuckets(0.0002, 3, 16),
		}, []string{"step"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cigogne_refused_instances_total", Help: "Instances that were sent and not stored, by transport and reason.",
		}, []string{"transport", "reason"}),
		applies: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cigogne_cluster_apply_duration_seconds", Help: "Time to apply one entry of the cluster's log to the index.", Buckets: latency,
		}),
	}
	for s := range m.step {
		m.step[s] = m.steps.WithLabelValues(gateway.Step(s).String())
	}
	m.registry.MustRegister(m.associations, m.operations, m.suboperations, m.requests, m.calls, m.received, m.durable, m.fsync, m.s3Answers, m.steps, m.refused, m.refusedRequests, m.unmanifested,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "cigogne_dicomweb_sent_bytes_total", Help: "Bytes of DICOMweb answers.",
	}, func() float64 { return float64(m.sent.Load()) }))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "cigogne_dimse_sent_bytes_total", Help: "Bytes of data sets sent by C-GET and C-MOVE.",
	}, func() float64 { return float64(m.given.Load()) }))
	return m
}

// stores adds what the stores say of themselves when they are asked.
func (m *metrics) stores(n *node) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("cigogne_journal_bytes", "Bytes of the journal on disk.", func() float64 { return float64(n.journal.Stats().Bytes) })
	gauge("cigogne_journal_limit_bytes", "Most bytes that the journal may take; 0 leaves it to the disk.", func() float64 { return float64(n.config.JournalMax) })
	gauge("cigogne_journal_segments", "Segments of the journal.", func() float64 { return float64(n.journal.Stats().Segments) })
	gauge("cigogne_journal_unread", "Acknowledged instances that are damaged in the journal and lie nowhere else that is known; should be 0.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		unread, err := n.index.Unread(ctx, index.JournalID(n.journal.ID()))
		if err != nil {
			return math.NaN()
		}
		return float64(len(unread))
	})
	if n.cluster != nil {
		m.registry.MustRegister(m.applies)
		m.cluster(n.cluster, gauge)
		m.copying(n.copying, n.writeCopies, gauge)
	}
	failing := func(name, help string, why func() error) {
		gauge(name, help, func() float64 {
			if why() != nil {
				return 1
			}
			return 0
		})
	}
	failing("cigogne_index_failing", "1 while the index takes nothing.", n.indexer.Failing)
	failing("cigogne_archive_failing", "1 while instances that are due do not reach the archive; the journal grows meanwhile.", n.archiver.Failing)
	m.registry.MustRegister(indexCollector{n.index}, custodyCollector{n.index, n.sweeper}, archiveCollector{n}, newFactCollector(n), newPublicationCollector(n.index), m.deliveries,
		newCommitmentCollector(n.index), m.commitments)
	if n.scrubber != nil {
		m.registry.MustRegister(scrubCollector{n.scrubber})
	}
}

// indexCollector counts the index when metrics are asked for.
type indexCollector struct{ *index.Index }

func (indexCollector) held() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_index_held", "What the index holds, by kind.", []string{"kind"}, nil)
}

// Describe implements prometheus.Collector.
func (c indexCollector) Describe(to chan<- *prometheus.Desc) { to <- c.held() }

// countTimeout bounds the counting of the index for one scrape.
const countTimeout = 5 * time.Second

// Collect implements prometheus.Collector.
func (c indexCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	s, err := c.Counts(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.held(), err)
		return
	}
	for _, k := range []struct {
		kind  string
		value int64
	}{
		{"studies", s.Studies}, {"series", s.Series}, {"instances", s.Instances}, {"live", s.Live},
		{"planned", s.Planned}, {"packs", s.Packs}, {"conflicts", s.Conflicts},
	} {
		to <- prometheus.MustNewConstMetric(c.held(), prometheus.GaugeValue, float64(k.value), k.kind)
	}
}

// cluster adds what the node knows of its cluster.
func (m *metrics) cluster(c *cluster, gauge func(name, help string, value func() float64)) {
	gauge("cigogne_cluster_leads", "1 while this node leads.", func() float64 {
		if c.Leads() {
			return 1
		}
		return 0
	})
	gauge("cigogne_cluster_term", "Number of the election that was last.", func() float64 { return float64(c.Status().Term) })
	gauge("cigogne_cluster_members", "Nodes that belong to the cluster.", func() float64 { return float64(len(c.Members())) })
	gauge("cigogne_cluster_committed", "Last entry of the log that this node knows to be committed.", func() float64 { return float64(c.Status().Commit) })
	gauge("cigogne_cluster_applied", "Last entry of the log that the index has.", func() float64 { return float64(c.Status().Applied) })
	gauge("cigogne_cluster_log_entries", "Entries in the log on disk.", func() float64 {
		s := c.Status()
		return float64(s.LastLog - min(s.FirstLog, s.LastLog))
	})
	gauge("cigogne_cluster_age_seconds", "How far the index may be behind the cluster.", func() float64 { return c.Age().Seconds() })
	gauge("cigogne_cluster_failing", "1 while the index does not take what the cluster decides.", func() float64 {
		if c.Failing() != nil {
			return 1
		}
		return 0
	})
	gauge("cigogne_cluster_draining", "1 while the node takes nothing new.", func() float64 {
		if c.Draining() {
			return 1
		}
		return 0
	})
}

// copying adds how the copies of the node's journal are.
func (m *metrics) copying(c *copying, writeCopies func() int, gauge func(name, help string, value func() float64)) {
	gauge("cigogne_copies_wanted", "On how many nodes an instance must lie before its sender is told.", func() float64 { return float64(writeCopies()) })
	gauge("cigogne_copies_live", "Other nodes to which the journal is copied as it is written.", func() float64 {
		live := 0
		for _, t := range c.keeper.Status().Targets {
			if t.Live {
				live++
			}
		}
		return float64(live)
	})
	gauge("cigogne_copies_waiting", "Instances that are durable here and have not all their copies.", func() float64 { return float64(c.keeper.Status().Waiting) })
	gauge("cigogne_copies_lacking_bytes", "Bytes of the journal that have yet to come to other nodes until it lies on as many as it must: at 0 this node may be lost.", func() float64 {
		return float64(c.keeper.Status().LackingBytes)
	})
	counter := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	counter("cigogne_copies_filled_bytes_total", "Bytes that were sent to nodes which lacked them.", func() float64 { return float64(c.keeper.Status().Filled) })
	counter("cigogne_copies_switches_total", "How often a node that took copies did so no more.", func() float64 { return float64(c.keeper.Status().Switches) })
	gauge("cigogne_copies_held", "Other nodes' journals of which a copy lies here.", func() float64 { return float64(len(c.holder.Journals())) })
	gauge("cigogne_retired_journals", "Retired journals that are not emptied here yet.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		left, err := c.evacuator.Left(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(len(left))
	})
	gauge("cigogne_copies_failing", "1 while too few nodes take copies for anything to be acknowledged.", func() float64 {
		if c.keeper.Failing() != nil {
			return 1
		}
		return 0
	})
}

// synced is the journal's Synced hook.
func (m *metrics) synced(entries int, took time.Duration) {
	m.fsync.Observe(took.Seconds())
	m.durable.Add(float64(entries))
}

// applied is the cluster's Applied hook.
func (m *metrics) applied(took time.Duration) { m.applies.Observe(took.Seconds()) }

// Took implements gateway.Clock.
func (m *metrics) Took(s gateway.Step, d time.Duration) { m.step[s].Observe(d.Seconds()) }

// Refused implements dimse.Metrics and dicomweb.Metrics.
func (m *metrics) Refused(transport string, why gateway.Refusal) {
	m.refused.WithLabelValues(transport, string(why)).Inc()
}

// s3Answered is s3's Observe hook.
func (m *metrics) s3Answered(operation string, took time.Duration, err error) {
	outcome := "answered"
	if err != nil {
		outcome = "failed"
	}
	m.s3Answers.WithLabelValues(operation, outcome).Observe(took.Seconds())
}

// Association implements dimse.Metrics.
func (m *metrics) Association(outcome string) { m.associations.WithLabelValues(outcome).Inc() }

// Operation implements dimse.Metrics.
func (m *metrics) Operation(command string, status dimse.Status, bytes int64, took time.Duration) {
	m.operations.WithLabelValues(command, fmt.Sprintf("%04X", uint16(status))).Observe(took.Seconds())
	m.received.Add(float64(bytes))
}

// Suboperation implements dimse.Metrics.
func (m *metrics) Suboperation(command string, failed bool, bytes int64) {
	if failed {
		m.suboperations.WithLabelValues(command, "failed").Inc()
		return
	}
	m.suboperations.WithLabelValues(command, "sent").Inc()
	m.given.Add(bytes)
}

// Sending implements dicomweb.Metrics.
func (m *metrics) Sending(n int64) { m.sent.Add(n) }

// Answered implements dicomweb.Metrics.
func (m *metrics) Answered(route string, status int, _ int64, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Called implements rpc.Metrics.
func (m *metrics) Called(method, code string, took time.Duration) {
	m.calls.WithLabelValues(method, code).Observe(took.Seconds())
}
