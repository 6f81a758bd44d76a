package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Apply applies a batch in one transaction: all of it or, with an error,
// nothing. What it does depends on nothing but the index and the batch. A
// batch that was applied before changes nothing. The result is visible at
// once, and durable after Sync.
//
// Within a batch the order is: journals, adopted packs, received instances, plans,
// archived packs, protections, deletions, what is decided about studies as
// wholes. An invalid batch is storage.ErrInvalid, no space
// storage.ErrFull. The index of a node of a cluster is changed by ApplyAt
// alone: here it is storage.ErrConflict.
func (x *Index) Apply(ctx context.Context, b Batch) (Applied, error) {
	return x.applyAt(ctx, 0, b)
}

// applyAt applies a batch; at is its place in the raft log, or 0 without one.
func (x *Index) applyAt(ctx context.Context, at uint64, b Batch) (Applied, error) {
	if err := ctx.Err(); err != nil {
		return Applied{}, err
	}
	if err := b.Validate(); err != nil {
		return Applied{}, err
	}
	if x.o.ReadOnly {
		return Applied{}, fmt.Errorf("%w: the index is open for reading only", storage.ErrUnsupported)
	}
	x.apply.Lock()
	defer x.apply.Unlock()
	if x.closed || x.conn == nil || x.live.Load() == nil { // nil after a Replace that failed
		return Applied{}, errClosed
	}
	if at == 0 && x.log.cluster != "" {
		return Applied{}, fmt.Errorf("%w: the index follows the log of a cluster, which alone may change it", storage.ErrConflict)
	}
	if at != 0 && at <= x.log.applied {
		return Applied{Skipped: true}, nil
	}
	// From here on it is done or it fails: an end of ctx would leave the
	// caller not knowing, and watching for it costs more than the statements.
	ctx = context.WithoutCancel(ctx)
	applied, err := x.transact(ctx, at, b)
	if err != nil {
		return Applied{}, fmt.Errorf("apply a batch: %w", failed(err))
	}
	x.log.applied = max(x.log.applied, at)
	x.wakeReaders()
	x.shorten(ctx)
	return applied, nil
}

// transact applies a batch in a transaction, and counts it.
func (x *Index) transact(ctx context.Context, at uint64, b Batch) (Applied, error) {
	if err := x.renewFilter(ctx); err != nil {
		return Applied{}, err
	}
	if _, err := x.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return Applied{}, err
	}
	defer x.versions.applied(b) // also when it failed: nothing is known of a commit that does not answer
	applied, err := newChange(x).apply(ctx, b)
	if err == nil && at != 0 {
		err = x.passed(ctx, at)
	}
	if err == nil {
		_, err = x.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		// A failed statement may have rolled back already.
		_, _ = x.conn.ExecContext(ctx, "ROLLBACK")
		clear(x.words)
	}
	return applied, err
}

// change is one batch being applied: the studies and series it touches are
// read once, changed in memory and written once.
type change struct {
	*statements
	conn    *sql.Conn // for statements that are too rare to be kept prepared
	live    *filter   // every name is entered that gets a row, before it can be read
	words   map[string]struct{}
	codec   codec
	studies map[string]*study
	series  map[[2]string]*series
	order   []*series // of creation, so that writing is deterministic
	touched []*study
	packed  map[string][]Members // by StudyInstanceUID
	picked  dicom.DataSet        // of one instance after the other
	events  happening
	lives   lives

	lastStudy, lastSeries int64
	noConflicts           bool // there are none at all, as in most regions on most days
	leaving               bool // rows lie in journals that were retired before this batch
}

func newChange(x *Index) *change {
	return &change{statements: x.stmts, conn: x.conn, codec: x.codec, live: x.live.Load(), words: x.words}
}

// begin empties the memory of a change, whose rows are written.
func (c *change) begin(ctx context.Context) error {
	c.studies, c.series = make(map[string]*study), make(map[[2]string]*series)
	c.packed = make(map[string][]Members)
	c.order, c.touched = nil, nil
	return errors.Join(
		c.maxStudy.QueryRowContext(ctx).Scan(&c.lastStudy),
		c.maxSeries.QueryRowContext(ctx).Scan(&c.lastSeries),
		c.emptyConflict.QueryRowContext(ctx).Scan(&c.noConflicts),
		c.anyLeaving.QueryRowContext(ctx).Scan(&c.leaving),
	)
}

// isOf tells whether the attribute is one that is taken from Data Sets, of
// that level.
func isOf(t dicom.Tag, l Level) bool {
	a, ok := dictionary()[t]
	return ok && a.role != computed && a.level == l
}

func (c *change) apply(ctx context.Context, b Batch) (Applied, error) {
	var a Applied
	if err := c.begin(ctx); err != nil {
		return a, err
	}
	for _, j := range b.Journals {
		if err := c.changeJournal(ctx, j); err != nil {
			return a, err
		}
	}
	if err := c.identities(ctx, b.Identities); err != nil {
		return a, err
	}
	skip, err := c.advance(ctx, b.Through)
	if err != nil {
		return a, err
	}
	for i := range b.Adopted {
		if err := c.adopt(ctx, &b.Adopted[i]); err != nil {
			return a, err
		}
	}
	if a.Skipped = skip; !skip {
		a.Outcomes = make([]Outcome, len(b.Received))
		for i := range b.Received {
			if a.Outcomes[i], err = c.receive(ctx, &b.Received[i]); err != nil {
				return a, err
			}
		}
	}
	if a.Refused, err = c.applyPacks(ctx, b); err != nil {
		return a, err
	}
	if err := c.flush(ctx); err != nil {
		return a, err
	}
	if err := c.applyDeletions(ctx, b); err != nil {
		return a, err
	}
	if err := errors.Join(c.life(ctx, b.Life, b.Stamp), c.outbox(ctx, b.Outbox, b.Stamp), c.commitments(ctx, b.Commitments, b.Stamp), c.refusals(ctx, b.Refusals)); err != nil {
		return a, err
	}
	return a, c.record(ctx, b)
}

func (c *change) applyPacks(ctx context.Context, b Batch) (refused []string, err error) {
	for i := range b.Planned {
		ok, err := c.plan(ctx, &b.Planned[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			refused = append(refused, b.Planned[i].PackID)
		}
	}
	for _, p := range b.Archived {
		ok, err := c.archive(ctx, p)
		if err != nil {
			return nil, err
		}
		if !ok {
			refused = append(refused, p.PackID)
		}
	}
	return refused, nil
}

// advance moves the watermark, and tells whether the batch is not past it, or
// of a journal that is retired.
func (c *change) advance(ctx context.Context, to Position) (skip bool, err error) {
	if to == (Position{}) {
		return false, nil
	}
	if retired, err := c.isRetired(ctx, to.Journal); err != nil || retired {
		return true, err
	}
	at := Position{Journal: to.Journal}
	err = c.watermark.QueryRowContext(ctx, string(to.Journal)).Scan(&at.Segment, &at.Offset)
	if err == nil && !to.after(at) {
		return true, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	_, err = c.setWatermark.ExecContext(ctx, string(to.Journal), int64(to.Segment), to.Offset)
	return false, err
}
