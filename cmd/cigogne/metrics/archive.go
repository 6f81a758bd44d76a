package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/gateway"
)

// archiveCollector tells of each archive when metrics are asked for.
type archiveCollector func() map[string]error

func (archiveCollector) up() *prometheus.Desc {
	return prometheus.NewDesc("cigogne_archive_up", "1 while what an archive was asked last was done.", []string{"archive"}, nil)
}

// Describe implements prometheus.Collector.
func (c archiveCollector) Describe(to chan<- *prometheus.Desc) { to <- c.up() }

// Collect implements prometheus.Collector.
func (c archiveCollector) Collect(to chan<- prometheus.Metric) {
	for name, err := range c() {
		to <- prometheus.MustNewConstMetric(c.up(), prometheus.GaugeValue, truth(err == nil), name)
	}
}

// Scrubber tells what it has done.
type Scrubber interface {
	State() (gateway.ScrubState, gateway.ScrubTotals)
}

// Scrubber adds what the scrubber says of itself when it is asked.
func (m *Metrics) Scrubber(s Scrubber) { m.registry.MustRegister(scrubCollector{s}) }

// scrubCollector tells what the scrubber has done when metrics are asked for.
type scrubCollector struct{ Scrubber }

// Describe implements prometheus.Collector: what there is, Collect says.
func (scrubCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c scrubCollector) Collect(to chan<- prometheus.Metric) {
	round, all := c.State()
	metric := func(kind prometheus.ValueType, name, help string, value float64) {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc("cigogne_scrub_"+name, help, nil, nil), kind, value)
	}
	metric(prometheus.CounterValue, "packs_total", "Packs verified in the background.", float64(all.Packs))
	metric(prometheus.CounterValue, "bytes_total", "Bytes of packs verified in the background.", float64(all.Bytes))
	metric(prometheus.CounterValue, "lost_total", "Copies of packs that were found missing.", float64(all.Lost))
	metric(prometheus.CounterValue, "damaged_total", "Copies of packs that were found damaged.", float64(all.Damaged))
	metric(prometheus.CounterValue, "repaired_total", "Copies of packs that were brought back from another.", float64(all.Repaired))
	metric(prometheus.GaugeValue, "unrepaired", "Copies of packs that this round found lost or damaged and could not bring back; should be 0.", float64(round.Lost+round.Damaged-round.Repaired))
	metric(prometheus.GaugeValue, "round_packs", "Packs that this round has verified.", float64(round.Packs))
	metric(prometheus.GaugeValue, "round_began_timestamp_seconds", "When this round over all packs began.", seconds(round.Began))
	metric(prometheus.GaugeValue, "round_ended_timestamp_seconds", "When the last round over all packs ended; 0 before the first.", seconds(round.Ended))
}

// seconds is a time as Prometheus has it.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
