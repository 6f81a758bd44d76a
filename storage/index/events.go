package index

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Feed tells the first event that is kept and the last there is; 0 and 0 when
// there was none yet.
func (x *Index) Feed(ctx context.Context) (first, last int64, err error) {
	err = each(ctx, x.read, `SELECT coalesce(min(sequence), 0), coalesce(max(sequence), 0) FROM event`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&first, &last)
	})
	return first, last, err
}

// Events lists at most limit events after the one numbered, or after all that
// are gone when it is 0; none when there are no more yet. A number that is not
// there yet is one that another node was ahead with. It is storage.ErrGone when
// events behind that number are not kept any more.
func (x *Index) Events(ctx context.Context, after int64, limit int) ([]Event, error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	var first int64
	err = each(ctx, tx, `SELECT coalesce(min(sequence), 0) FROM event`, nil, func(rows *sql.Rows) error { return rows.Scan(&first) })
	if err != nil {
		return nil, err
	}
	if after != 0 && after < first-1 {
		return nil, fmt.Errorf("%w: events are kept from %d on, and were asked for after %d", storage.ErrGone, first, after)
	}
	var out []Event
	err = each(ctx, tx, `SELECT sequence, record FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?`, []any{after, limit}, func(rows *sql.Rows) error {
		var e Event
		var record sql.RawBytes
		if err := rows.Scan(&e.Sequence, &record); err != nil {
			return err
		}
		sequence := e.Sequence
		err := x.codec.decodeRow(record, &e)
		e.Sequence = sequence
		out = append(out, e)
		return err
	})
	return out, err
}

// Happened is closed when events come after this call.
func (x *Index) Happened() <-chan struct{} {
	x.happened.mu.Lock()
	defer x.happened.mu.Unlock()
	if x.happened.next == nil {
		x.happened.next = make(chan struct{})
	}
	return x.happened.next
}

// wakeReaders lets those go on that wait for events.
func (x *Index) wakeReaders() {
	x.happened.mu.Lock()
	defer x.happened.mu.Unlock()
	if x.happened.next != nil {
		close(x.happened.next)
		x.happened.next = nil
	}
}

// SeriesHistory is what happened to a series. What happened to a study as a
// whole has no SeriesInstanceUID.
type SeriesHistory struct {
	SeriesInstanceUID string
	Steps             []Step
}

// History is what happened to the series of a study, in the order of
// SeriesInstanceUID; it is there also when the study was deleted.
func (x *Index) History(ctx context.Context, study string) (all []SeriesHistory, err error) {
	err = each(ctx, x.read, `SELECT series, steps FROM history WHERE study = ? ORDER BY series`, []any{study}, func(rows *sql.Rows) error {
		var h SeriesHistory
		var steps sql.RawBytes
		if err := rows.Scan(&h.SeriesInstanceUID, &steps); err != nil {
			return err
		}
		err := x.codec.decodeRow(steps, &h.Steps)
		all = append(all, h)
		return err
	})
	return all, err
}
