package index

import (
	"context"
	"iter"
	"log/slog"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Options say where an index lies and how much it may take.
type Options struct {
	// Path is the database file; beside it lie its -wal and -shm.
	Path string
	// ReadConns bounds the queries that run at the same time; 0 means 4.
	ReadConns int
	// MaxResults is the most results of a query without a limit, and of any
	// query; 0 means 100,000.
	MaxResults int
	// Logger takes what is worth knowing; nil discards it.
	Logger *slog.Logger
}

// Index is the index.
type Index struct{}

// Open opens or creates the index.
func Open(ctx context.Context, o Options) (*Index, error) { return nil, storage.ErrUnsupported }

// Close ends it.
func (x *Index) Close() error { return nil }

// Apply applies a batch in one transaction.
func (x *Index) Apply(ctx context.Context, b Batch) (Applied, error) { return Applied{}, nil }

// Sync makes all that was applied durable.
func (x *Index) Sync(ctx context.Context) error { return nil }

// Applied is the watermark of a journal.
func (x *Index) Applied(ctx context.Context, id JournalID) (Position, error) { return Position{}, nil }

// Search answers at the Study and Series levels.
func (x *Index) Search(ctx context.Context, q Query) iter.Seq2[dicom.DataSet, error] { return nil }

// Images yields the series that may hold answers at the Image level.
func (x *Index) Images(ctx context.Context, q Query) iter.Seq2[ImageSeries, error] { return nil }

// Conflicts yields the instances that are kept aside.
func (x *Index) Conflicts(ctx context.Context, q Query) iter.Seq2[LiveInstance, error] { return nil }

// Live lists instances in a journal.
func (x *Index) Live(ctx context.Context, sel Selector) ([]LiveInstance, error) { return nil, nil }

// Packs lists packs.
func (x *Index) Packs(ctx context.Context, sel Selector) ([]Pack, error) { return nil, nil }

// Has tells what an instance would be.
func (x *Index) Has(ctx context.Context, in Instance) (Standing, error) { return 0, nil }

// Quiet is the archiver's work list.
func (x *Index) Quiet(ctx context.Context, before, packBytes int64, limit int) ([]SeriesWork, error) {
	return nil, nil
}

// Planned lists plans that are not archived yet.
func (x *Index) Planned(ctx context.Context) ([]Plan, error) { return nil, nil }

// SegmentsInUse is the set of segments that live rows refer to.
func (x *Index) SegmentsInUse(ctx context.Context, id JournalID) (map[uint64]bool, error) {
	return nil, nil
}

// Counts counts.
func (x *Index) Counts(ctx context.Context) (Stats, error) { return Stats{}, nil }

// Check yields what is wrong in plain words.
func (x *Index) Check(ctx context.Context) iter.Seq2[string, error] { return nil }

// EncodeBatch encodes.
func EncodeBatch(b Batch) ([]byte, error) { return nil, nil }

// DecodeBatch decodes.
func DecodeBatch(p []byte) (Batch, error) { return Batch{}, nil }

// Matcher decides whether a Data Set is an answer to a query.
type Matcher struct{}

// Compile compiles; nonsense is storage.ErrInvalid.
func Compile(q Query) (*Matcher, error) { return nil, nil }

// Matches decides.
func (m *Matcher) Matches(ds dicom.DataSet) bool { return false }

// Ignored lists conditions on attributes that are not known at the level.
func (m *Matcher) Ignored() []Condition { return nil }

// Answers are the answers that one series holds, in order; packed are the
// instances in its Packs, each as it lies in the pack's metadata.
func (m *Matcher) Answers(s ImageSeries, packed []PackedInstance) []dicom.DataSet { return nil }

// PackedInstance is an instance as a pack's metadata describes it.
type PackedInstance struct {
	storage.Instance
	Attributes dicom.DataSet
}
