package index

import (
	"context"
	"database/sql"
)

// Backlog is what lies in journals and in no archive, in the whole cluster.
type Backlog struct {
	// Unplanned waits to be packed: Quiet is since when the series among it has
	// been quiet that has been so for longest.
	Unplanned      int64
	UnplannedBytes int64
	Quiet          int64 // nanoseconds of Unix time; 0 for none
	// Planned waits, in so many packs, to be archived: Oldest is when an
	// instance of the oldest of them was received.
	Packs        int64
	Planned      int64
	PlannedBytes int64
	Oldest       int64 // nanoseconds of Unix time; 0 for none
}

// Backlog tells what waits. It reads a row per series that waits and per
// instance that is planned: ask for it seldom.
func (x *Index) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := each(ctx, x.read, `WITH aside AS (SELECT count(*) AS n, coalesce(sum(size), 0) AS bytes, min(received) AS oldest FROM conflict WHERE live = 1 AND pack IS NULL),
		due AS (SELECT coalesce(sum(unplanned), 0) AS n, coalesce(sum(bytes), 0) AS bytes, min(newest) AS oldest FROM series WHERE unplanned > 0)
		SELECT aside.n + due.n, aside.bytes + due.bytes, coalesce(min(aside.oldest, due.oldest), aside.oldest, due.oldest, 0),
		(SELECT count(*) FROM pack WHERE plan IS NOT NULL),
		(SELECT count(*) FROM instance WHERE pack IS NOT NULL) + (SELECT count(*) FROM conflict WHERE live = 1 AND pack IS NOT NULL),
		(SELECT coalesce(sum(size), 0) FROM instance WHERE pack IS NOT NULL) + (SELECT coalesce(sum(size), 0) FROM conflict WHERE live = 1 AND pack IS NOT NULL)
		FROM aside, due`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&b.Unplanned, &b.UnplannedBytes, &b.Quiet, &b.Packs, &b.Planned, &b.PlannedBytes)
	})
	if err != nil || b.Packs == 0 {
		return b, err
	}
	err = each(ctx, x.read, `SELECT coalesce((SELECT i.record FROM instance i WHERE i.pack = p.id ORDER BY i.id LIMIT 1),
		(SELECT c.record FROM conflict c WHERE c.pack = p.id ORDER BY c.id LIMIT 1)) FROM pack p WHERE p.plan IS NOT NULL ORDER BY p.id LIMIT 1`,
		nil, func(rows *sql.Rows) error {
			var record sql.RawBytes
			var in wireRecord
			if err := rows.Scan(&record); err != nil || record == nil {
				return err
			}
			err := x.codec.decodeRow(record, &in)
			b.Oldest = in.Instance.Received
			return err
		})
	return b, err
}
