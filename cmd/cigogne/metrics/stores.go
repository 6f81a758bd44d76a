package metrics

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// Index is what is counted of the index.
type Index interface {
	Counts(context.Context) (index.Stats, error)
	CountDeletions(context.Context) (index.DeletionStats, error)
	LifeCounts(context.Context) (index.LifeCounts, error)
	OutboxCounts(context.Context) (index.OutboxCounts, error)
	CommitmentCounts(context.Context) (index.CommitmentCounts, error)
	Unread(context.Context, index.JournalID) ([]index.Position, error)
}

// Journal is what is counted of the journal.
type Journal interface {
	ID() string
	Stats() journal.Stats
}

// Stores are those of a node, and who works between them.
type Stores struct {
	Index   Index
	Journal Journal
	// JournalMost is how many bytes the journal may take; 0 leaves it to the disk.
	JournalMost int64
	// IndexFailing is why the index takes nothing, or nil; ArchiveFailing why
	// what is due does not reach the archive.
	IndexFailing, ArchiveFailing func() error
	// Archives is, by the archive's name, how each fared when it was last asked.
	Archives func() map[string]error
	Sweeper  Sweeper
}

// Stores adds what the stores say of themselves when they are asked.
func (m *Metrics) Stores(s Stores) {
	m.gauge("cigogne_journal_bytes", "Bytes of the journal on disk.", func() float64 { return float64(s.Journal.Stats().Bytes) })
	m.gauge("cigogne_journal_limit_bytes", "Most bytes that the journal may take; 0 leaves it to the disk.", func() float64 { return float64(s.JournalMost) })
	m.gauge("cigogne_journal_segments", "Segments of the journal.", func() float64 { return float64(s.Journal.Stats().Segments) })
	m.gauge("cigogne_journal_unread", "Acknowledged instances that are damaged in the journal and lie nowhere else that is known; should be 0.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
		defer cancel()
		unread, err := s.Index.Unread(ctx, index.JournalID(s.Journal.ID()))
		if err != nil {
			return math.NaN()
		}
		return float64(len(unread))
	})
	m.failing("cigogne_index_failing", "1 while the index takes nothing.", s.IndexFailing)
	m.failing("cigogne_archive_failing", "1 while instances that are due do not reach the archive; the journal grows meanwhile.", s.ArchiveFailing)
	m.registry.MustRegister(indexCollector{s.Index}, custodyCollector{s.Index, s.Sweeper}, archiveCollector(s.Archives),
		newPublicationCollector(s.Index), newCommitmentCollector(s.Index))
}

// indexCollector counts the index when metrics are asked for.
type indexCollector struct{ Index }

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
