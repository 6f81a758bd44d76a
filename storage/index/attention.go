package index

import (
	"context"
	"database/sql"
)

// OverdueStudy is a study of which something was received long ago and lies in
// no archive.
type OverdueStudy struct {
	StudyInstanceUID string
	// Instances are those that lie in no archive; the earliest of their series
	// has been quiet since Received, in nanoseconds of Unix time.
	Instances int64
	Received  int64
	// Planned tells that it is decided in which packs they will lie.
	Planned bool
}

// Overdue lists at most limit studies with instances in no archive whose series
// received nothing since before, in nanoseconds of Unix time. Those that have
// waited for longest come first. It reads a row per series that waits.
func (x *Index) Overdue(ctx context.Context, before int64, limit int) (late []OverdueStudy, err error) {
	err = each(ctx, x.read, `WITH late AS (
		SELECT study, unplanned AS n, newest, 0 AS planned FROM series WHERE unplanned > 0 AND newest < ?1
		UNION ALL SELECT s.id, p.instances, e.newest, 1 FROM pack p JOIN study s ON s.uid = p.study
			JOIN series e ON e.study = s.id AND e.uid = p.series WHERE p.plan IS NOT NULL AND p.conflict = 0 AND e.newest < ?1)
		SELECT s.uid, sum(late.n), min(late.newest), min(late.planned) FROM late JOIN study s ON s.id = late.study
		GROUP BY s.id ORDER BY min(late.newest), s.id LIMIT ?2`, []any{before, limit}, func(rows *sql.Rows) error {
		var s OverdueStudy
		err := rows.Scan(&s.StudyInstanceUID, &s.Instances, &s.Received, &s.Planned)
		late = append(late, s)
		return err
	})
	return late, err
}

// NewestConflicts lists the last of the instances that were kept aside, without
// their Attributes, and counts all.
func (x *Index) NewestConflicts(ctx context.Context, limit int) (newest []LiveInstance, all int64, err error) {
	err = each(ctx, x.read, `SELECT count(*) FROM conflict`, nil, func(rows *sql.Rows) error { return rows.Scan(&all) })
	if err != nil || all == 0 {
		return nil, all, err
	}
	err = each(ctx, x.read, `SELECT why, record FROM conflict ORDER BY id DESC LIMIT ?`, []any{limit}, func(rows *sql.Rows) error {
		var in LiveInstance
		var record sql.RawBytes
		var r wireRecord
		if err := rows.Scan(&in.Why, &record); err != nil {
			return err
		}
		err := x.codec.decodeRow(record, &r)
		in.Instance.Instance, in.At = r.Instance, r.At
		newest = append(newest, in)
		return err
	})
	return newest, all, err
}

// CountOwed is how many complete studies have no manifest yet: LifeCounts has
// it, too, and reads a row per study.
func (x *Index) CountOwed(ctx context.Context) (n int64, err error) {
	err = each(ctx, x.read, `SELECT count(*) FROM life WHERE owed = 1`, nil, func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, err
}
