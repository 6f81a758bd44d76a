package index

import (
	"context"
	"database/sql"
	"fmt"
)

// Deletion is the record of a deletion; none of that ID is storage.ErrNotFound.
func (x *Index) Deletion(ctx context.Context, id string) (DeletionRecord, error) {
	all, err := x.deletionRecords(ctx, `WHERE name = ?`, id)
	if err != nil {
		return DeletionRecord{}, err
	}
	if len(all) == 0 {
		return DeletionRecord{}, unknown("deletion", id)
	}
	return all[0], nil
}

// Deletions lists at most limit deletions that changed after the revision, in
// the order of their last change.
func (x *Index) Deletions(ctx context.Context, after int64, limit int) ([]DeletionRecord, error) {
	return x.deletionRecords(ctx, `WHERE revision > ? ORDER BY revision LIMIT ?`, after, limit)
}

// DeletionsOf lists the deletions of a study and its series, oldest first.
func (x *Index) DeletionsOf(ctx context.Context, study string) ([]DeletionRecord, error) {
	return x.deletionRecords(ctx, `WHERE study = ? ORDER BY id`, study)
}

// DeletionsIn lists at most limit deletions in that state whose Due is not
// past the time, in the order in which they were asked for, and returns after
// what to ask for more.
func (x *Index) DeletionsIn(ctx context.Context, state DeletionState, due, after int64, limit int) (all []DeletionRecord, last int64, err error) {
	last = after
	err = each(ctx, x.read, `SELECT id, record FROM deletion WHERE state = ? AND due <= ? AND id > ? ORDER BY id LIMIT ?`,
		[]any{int(state), due, after, limit}, func(rows *sql.Rows) error {
			var record []byte
			var r DeletionRecord
			if err := rows.Scan(&last, &record); err != nil {
				return err
			}
			err := x.codec.decodeRow(record, &r)
			all = append(all, r)
			return err
		})
	return all, last, err
}

func (x *Index) deletionRecords(ctx context.Context, where string, args ...any) (all []DeletionRecord, err error) {
	err = each(ctx, x.read, `SELECT record FROM deletion `+where, args, func(rows *sql.Rows) error {
		var record []byte
		var r DeletionRecord
		if err := rows.Scan(&record); err != nil {
			return err
		}
		err := x.codec.decodeRow(record, &r)
		all = append(all, r)
		return err
	})
	return all, err
}

// Doomed is a pack that a decided deletion has to remove.
type Doomed struct {
	DeletedPack
	// Copies are where it is known to lie still.
	Copies []PackArchive
	// Shared is true while an instance that is kept aside lies in it: then it
	// stays.
	Shared bool
}

// Doomed lists what a deletion that is decided has yet to remove.
func (x *Index) Doomed(ctx context.Context, id string) ([]Doomed, error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	var doomed []Doomed
	at := map[int64]int{}
	err = each(ctx, tx, `SELECT o.id, o.series, o.name, EXISTS (SELECT 1 FROM pack p JOIN conflict c ON c.pack = p.id WHERE p.name = o.name)
		FROM deletion d JOIN deleted_pack o ON o.deletion = d.id WHERE d.name = ?1 AND d.state = ?2 ORDER BY o.id`,
		[]any{id, int(DeletionDecided)}, func(rows *sql.Rows) error {
			var d Doomed
			var row int64
			err := rows.Scan(&row, &d.SeriesInstanceUID, &d.PackID, &d.Shared)
			at[row] = len(doomed)
			doomed = append(doomed, d)
			return err
		})
	if err != nil {
		return nil, err
	}
	err = each(ctx, tx, `SELECT k.pack, k.archive, k.key, k.size, k.crc32c, k.at FROM deletion d JOIN deleted_pack o ON o.deletion = d.id
		JOIN deleted_copy k ON k.pack = o.id WHERE d.name = ? ORDER BY k.pack, k.archive`, []any{id}, func(rows *sql.Rows) error {
		var row int64
		var a PackArchive
		err := rows.Scan(&row, &a.Archive, &a.Key, &a.Size, &a.CRC32C, &a.At)
		if i, ok := at[row]; ok {
			a.PackID, doomed[i].Key = doomed[i].PackID, a.Key
			doomed[i].Copies = append(doomed[i].Copies, a)
		}
		return err
	})
	return doomed, err
}

// DeletionStats counts deletions by what is to be done for them.
type DeletionStats struct {
	Marked, Decided, Removed, Undone int64
	// Due is since when the marked one waits that waits for longest, and
	// Began since when the decided one; 0 for none.
	Due, Began int64
	// LiveInstances and LiveBytes still lie in a journal, although they are
	// marked as deleted.
	LiveInstances, LiveBytes int64
	Holds                    int64
}

// CountDeletions counts deletions by their state, what of those that are marked
// lies in journals, and holds.
func (x *Index) CountDeletions(ctx context.Context) (DeletionStats, error) {
	var s DeletionStats
	err := each(ctx, x.read, `SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2),
		count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4),
		coalesce(min(due) FILTER (WHERE state = 1), 0), coalesce(min(due) FILTER (WHERE state = 2), 0),
		(SELECT count(*) FROM deleted_instance), (SELECT coalesce(sum(size), 0) FROM deleted_instance),
		(SELECT count(*) FROM hold) FROM deletion`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&s.Marked, &s.Decided, &s.Removed, &s.Undone, &s.Due, &s.Began, &s.LiveInstances, &s.LiveBytes, &s.Holds)
	})
	return s, err
}

// IsPlanned tells whether a pack is planned and not archived, and not of
// something that was deleted.
func (x *Index) IsPlanned(ctx context.Context, packID string) (planned bool, err error) {
	err = each(ctx, x.read, `SELECT EXISTS (SELECT 1 FROM pack WHERE name = ? AND plan IS NOT NULL)`, []any{packID}, func(rows *sql.Rows) error {
		return rows.Scan(&planned)
	})
	return planned, err
}

// DeletedAt tells whether an instance that lies at a journal position is one
// that was deleted: such a record is to be left alone, whoever finds it.
func (x *Index) DeletedAt(ctx context.Context, study, series string, at Position) (bool, error) {
	all, err := x.DeletionsOf(ctx, study)
	for i := range all {
		if all[i].Covers(study, series, at) {
			return true, nil
		}
	}
	return false, err
}
