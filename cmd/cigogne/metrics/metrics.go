// Package metrics is what a node counts of itself, as Prometheus asks for it.
// What happens is told to the hooks of Metrics; what is, is asked for with each
// scrape, through the small interfaces and functions here.
package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// Metrics counts what happens at a node. Labels have few values: no UID,
// no path, and of those who send the configured ones and a few others.
type Metrics struct {
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

// New returns Metrics of which nothing has happened yet.
func New() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	latency := prometheus.ExponentialBuckets(0.0005, 4, 10)
	m := &Metrics{
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
	m.registry.MustRegister(m.associations, m.operations, m.suboperations, m.requests, m.calls, m.received, m.durable, m.fsync, m.s3Answers, m.steps, m.refused, m.refusedRequests, m.unmanifested, m.deliveries, m.commitments,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "cigogne_dicomweb_sent_bytes_total", Help: "Bytes of DICOMweb answers.",
	}, func() float64 { return float64(m.sent.Load()) }))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "cigogne_dimse_sent_bytes_total", Help: "Bytes of data sets sent by C-GET and C-MOVE.",
	}, func() float64 { return float64(m.given.Load()) }))
	return m
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Sent is how many bytes DICOMweb, C-GET and C-MOVE have sent.
func (m *Metrics) Sent() int64 { return m.sent.Load() + m.given.Load() }

// gauge adds what is asked for with each scrape.
func (m *Metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// failing adds a gauge that is 1 while there is an error.
func (m *Metrics) failing(name, help string, why func() error) {
	m.gauge(name, help, func() float64 { return truth(why() != nil) })
}

// truth is 1 or 0.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Synced is the journal's Synced hook.
func (m *Metrics) Synced(entries int, took time.Duration) {
	m.fsync.Observe(took.Seconds())
	m.durable.Add(float64(entries))
}

// Applied is the cluster's Applied hook.
func (m *Metrics) Applied(took time.Duration) { m.applies.Observe(took.Seconds()) }

// Took implements gateway.Clock.
func (m *Metrics) Took(s gateway.Step, d time.Duration) { m.step[s].Observe(d.Seconds()) }

// Refused implements dimse.Metrics and dicomweb.Metrics.
func (m *Metrics) Refused(transport string, why gateway.Refusal) {
	m.refused.WithLabelValues(transport, string(why)).Inc()
}

// S3Answered is s3's Observe hook.
func (m *Metrics) S3Answered(operation string, took time.Duration, err error) {
	outcome := "answered"
	if err != nil {
		outcome = "failed"
	}
	m.s3Answers.WithLabelValues(operation, outcome).Observe(took.Seconds())
}

// Association implements dimse.Metrics.
func (m *Metrics) Association(outcome string) { m.associations.WithLabelValues(outcome).Inc() }

// Operation implements dimse.Metrics.
func (m *Metrics) Operation(command string, status dimse.Status, bytes int64, took time.Duration) {
	m.operations.WithLabelValues(command, fmt.Sprintf("%04X", uint16(status))).Observe(took.Seconds())
	m.received.Add(float64(bytes))
}

// Suboperation implements dimse.Metrics.
func (m *Metrics) Suboperation(command string, failed bool, bytes int64) {
	if failed {
		m.suboperations.WithLabelValues(command, "failed").Inc()
		return
	}
	m.suboperations.WithLabelValues(command, "sent").Inc()
	m.given.Add(bytes)
}

// Sending implements dicomweb.Metrics.
func (m *Metrics) Sending(n int64) { m.sent.Add(n) }

// Answered implements dicomweb.Metrics.
func (m *Metrics) Answered(route string, status int, _ int64, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Called implements rpc.Metrics.
func (m *Metrics) Called(method, code string, took time.Duration) {
	m.calls.WithLabelValues(method, code).Observe(took.Seconds())
}

// newTurnedAway counts requests that met a bound.
func newTurnedAway() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cigogne_http_refused_requests_total", Help: "HTTP requests that met a bound on their kind: of their caller, or of all. Those of gRPC and /v1/ are among its calls.",
	}, []string{"kind", "bound"})
}

// TurnedAway counts a request of a kind that met a bound: its caller's with
// throttle.ErrTooMany, else that of all.
func (m *Metrics) TurnedAway(kind string, err error) {
	bound := "all"
	if errors.Is(err, throttle.ErrTooMany) {
		bound = "caller"
	}
	m.refusedRequests.WithLabelValues(kind, bound).Inc()
}
