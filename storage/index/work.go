package index

import (
	"context"
	"database/sql"
)

// Applied is the watermark of a journal: the position up to and including
// which it is in the index. It is the zero Position for one never heard of.
func (x *Index) Applied(ctx context.Context, id JournalID) (Position, error) {
	p := Position{Journal: id}
	known := false
	err := each(ctx, x.read, `SELECT segment, position FROM journal WHERE name = ?`, []any{string(id)}, func(rows *sql.Rows) error {
		known = true
		return rows.Scan(&p.Segment, &p.Offset)
	})
	if err != nil || !known {
		return Position{}, err
	}
	return p, nil
}

// Quiet lists at most limit series that have live instances in no plan and
// whose newest instance was received before the time given in nanoseconds of
// Unix time, or that have at least packBytes of such instances (0 leaves that
// out). Those that have been quiet for longest come first, series whose
// instances are kept aside after the others.
func (x *Index) Quiet(ctx context.Context, before, packBytes int64, limit int) ([]SeriesWork, error) {
	return x.QuietIn(ctx, "", before, packBytes, limit)
}

// QuietIn is Quiet of the series of which such an instance lies in a journal;
// "" is any. What it counts is all of the series.
func (x *Index) QuietIn(ctx context.Context, in JournalID, before, packBytes int64, limit int) ([]SeriesWork, error) {
	if packBytes <= 0 {
		packBytes = 1<<63 - 1
	}
	var work []SeriesWork
	read := func(conflict bool) func(*sql.Rows) error {
		return func(rows *sql.Rows) error {
			w := SeriesWork{Conflict: conflict}
			err := rows.Scan(&w.StudyInstanceUID, &w.SeriesInstanceUID, &w.Instances, &w.Bytes, &w.Newest, &w.Generation)
			work = append(work, w)
			return err
		}
	}
	err := each(ctx, x.read, `SELECT s.uid, e.uid, e.unplanned, e.bytes, e.newest,
		(SELECT count(*) FROM deletion d WHERE d.study = s.uid AND d.series IN ('', e.uid)) FROM series e JOIN study s ON s.id = e.study
		WHERE e.unplanned > 0 AND (e.newest < ?1 OR e.bytes >= ?2)
		AND (?4 = '' OR EXISTS (SELECT 1 FROM instance i WHERE i.series = e.id AND i.pack IS NULL AND i.journal = ?4))
		ORDER BY e.newest, e.id LIMIT ?3`,
		[]any{before, packBytes, limit, string(in)}, read(false))
	if err != nil || len(work) >= limit {
		return work, err
	}
	err = each(ctx, x.read, `SELECT study, series, count(*), sum(size), max(received) AS newest, 0 FROM conflict
		WHERE live = 1 AND pack IS NULL GROUP BY study, series HAVING (newest < ?1 OR sum(size) >= ?2)
		AND (?4 = '' OR max(journal = ?4)) ORDER BY newest, study, series LIMIT ?3`,
		[]any{before, packBytes, limit - len(work), string(in)}, read(true))
	return work, err
}

// Planned lists the plans whose packs are not archived yet: those first whose
// instances lie in the oldest segments, which give space back first.
func (x *Index) Planned(ctx context.Context) ([]Plan, error) { return x.PlannedIn(ctx, "") }

// PlannedIn is Planned of the plans whose first instance lies in a journal, so
// that each is one node's to finish, also after instances have moved; "" is
// any.
func (x *Index) PlannedIn(ctx context.Context, in JournalID) ([]Plan, error) {
	var plans []Plan
	err := each(ctx, x.read, `SELECT plan FROM pack p WHERE plan IS NOT NULL AND (?1 = '' OR ?1 = coalesce(
		(SELECT i.journal FROM instance i WHERE i.pack = p.id ORDER BY i.id LIMIT 1),
		(SELECT c.journal FROM conflict c WHERE c.pack = p.id ORDER BY c.id LIMIT 1))) ORDER BY id`, []any{string(in)}, func(rows *sql.Rows) error {
		var b []byte
		var p Plan
		if err := rows.Scan(&b); err != nil {
			return err
		}
		err := x.codec.decodeRow(b, &p)
		plans = append(plans, p)
		return err
	})
	return plans, err
}

// SegmentsInUse is the set of a journal's segments in which instances lie that
// are in no archived pack, those that are marked as deleted included, or which
// have entries that are Unread. A segment that is not in it, and not past
// Applied, may be removed after Sync.
func (x *Index) SegmentsInUse(ctx context.Context, id JournalID) (map[uint64]bool, error) {
	used := make(map[uint64]bool)
	err := each(ctx, x.read, `SELECT DISTINCT segment FROM instance WHERE journal = ?1
		UNION SELECT DISTINCT segment FROM conflict WHERE journal = ?1 AND live = 1
		UNION SELECT DISTINCT segment FROM deleted_instance WHERE journal = ?1
		UNION SELECT DISTINCT segment FROM unread WHERE journal = ?1`, []any{string(id)}, func(rows *sql.Rows) error {
		var segment int64
		err := rows.Scan(&segment)
		used[uint64(segment)] = true
		return err
	})
	return used, err
}

// Lies tells whether an instance lies in a journal and in no archived pack, one
// that is marked as deleted included.
func (x *Index) Lies(ctx context.Context, id JournalID) (lies bool, err error) {
	err = each(ctx, x.read, `SELECT EXISTS (SELECT 1 FROM instance WHERE journal = ?1)
		OR EXISTS (SELECT 1 FROM conflict WHERE journal = ?1 AND live = 1)
		OR EXISTS (SELECT 1 FROM deleted_instance WHERE journal = ?1)`, []any{string(id)}, func(rows *sql.Rows) error {
		return rows.Scan(&lies)
	})
	return lies, err
}

// Counts counts what the index holds. It reads a row per study and per live
// instance: ask for it seldom.
func (x *Index) Counts(ctx context.Context) (Stats, error) {
	var s Stats
	err := each(ctx, x.read, `SELECT
		(SELECT count(*) FROM study),
		(SELECT count(*) FROM series),
		(SELECT coalesce(sum(instances), 0) FROM study),
		(SELECT count(*) FROM instance) + (SELECT count(*) FROM conflict WHERE live = 1),
		(SELECT coalesce(sum(size), 0) FROM instance) + (SELECT coalesce(sum(size), 0) FROM conflict WHERE live = 1),
		(SELECT count(*) FROM pack WHERE plan IS NOT NULL),
		(SELECT count(*) FROM pack WHERE plan IS NULL),
		(SELECT count(*) FROM conflict)`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&s.Studies, &s.Series, &s.Instances, &s.Live, &s.LiveBytes, &s.Planned, &s.Packs, &s.Conflicts)
	})
	return s, err
}
