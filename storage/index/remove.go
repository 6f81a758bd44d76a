package index

import (
	"context"
	"database/sql"
	"errors"
)

// decide ends the time in which a deletion can be undone, unless something
// keeps its study now.
func (c *change) decide(ctx context.Context, id int64, r *DeletionRecord, at int64) error {
	var date string
	var received int64
	err := c.conn.QueryRowContext(ctx, `SELECT date, received FROM deleted_study WHERE deletion = ?`, id).Scan(&date, &received)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil {
		kept, err := c.codec.keptBy(ctx, c.conn, r.StudyInstanceUID, date, received)
		if err != nil || kept.At(at) {
			return err
		}
	}
	if err := c.forget(ctx, id); err != nil {
		return err
	}
	r.State, r.Decided = DeletionDecided, at
	return c.settleDeletion(ctx, id, r, at)
}

// forget drops all that an undo would need.
func (c *change) forget(ctx context.Context, id int64) error {
	for _, table := range []string{"deleted_study", "deleted_series", "deleted_instance"} {
		if _, err := c.exec(ctx, `DELETE FROM `+table+` WHERE deletion = ?`, id); err != nil {
			return err
		}
	}
	_, err := c.exec(ctx, `UPDATE deleted_pack SET members = x'', plan = NULL WHERE deletion = ?`, id)
	return err
}

// settleDeletion writes a decided deletion, which is removed when it has no
// packs any more.
func (c *change) settleDeletion(ctx context.Context, id int64, r *DeletionRecord, at int64) error {
	var left bool
	if err := c.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM deleted_pack WHERE deletion = ?)`, id).Scan(&left); err != nil {
		return err
	}
	if !left {
		r.State, r.Removed = DeletionRemoved, at
	}
	c.deletionCame(r)
	return c.putDeletion(ctx, r)
}

// packGone notes which archives do not have a pack any more.
func (c *change) packGone(ctx context.Context, id int64, r *DeletionRecord, d *Deletion) error {
	for _, archive := range d.Archives {
		if _, err := c.exec(ctx, `DELETE FROM deleted_copy WHERE archive = ?1
			AND pack = (SELECT id FROM deleted_pack WHERE deletion = ?2 AND name = ?3)`, archive, id, d.PackID); err != nil {
			return err
		}
	}
	if !d.Last {
		return nil
	}
	gone, err := c.exec(ctx, `DELETE FROM deleted_pack WHERE deletion = ?1 AND name = ?2
		AND NOT EXISTS (SELECT 1 FROM deleted_copy k WHERE k.pack = deleted_pack.id)
		AND NOT EXISTS (SELECT 1 FROM pack p JOIN conflict c ON c.pack = p.id WHERE p.name = ?2)`, id, d.PackID)
	if err != nil || gone == 0 {
		return err
	}
	// What was kept for the sake of a conflict that is settled since.
	for _, drop := range []string{
		`DELETE FROM copy WHERE pack = (SELECT id FROM pack WHERE name = ? AND plan IS NULL AND members = x'')`,
		`DELETE FROM pack WHERE name = ? AND plan IS NULL AND members = x''`,
	} {
		if _, err := c.exec(ctx, drop, d.PackID); err != nil {
			return err
		}
	}
	return c.settleDeletion(ctx, id, r, d.Act.At)
}

// restoreDeletion enters a deletion that an archive tells of. What is there of
// one that is marked is taken out of sight; packs of one that is decided are
// to be looked for.
func (c *change) restoreDeletion(ctx context.Context, d *Deletion, known *DeletionRecord) error {
	if known != nil {
		return nil
	}
	r := d.Record
	if err := c.writeDeletion(ctx, r); err != nil {
		return err
	}
	for i := range d.Aside {
		if _, err := c.insertConflict(ctx, d.Aside[i].bounded(), WhyDigest, nil); err != nil {
			return err
		}
	}
	switch r.State {
	case DeletionMarked:
		s, err := c.known(ctx, r.StudyInstanceUID)
		if err != nil || s == nil {
			return err
		}
		series, err := c.seriesToDelete(ctx, s, r.SeriesInstanceUID)
		if err != nil || len(series) == 0 {
			return err
		}
		taken := *r // its counts and packs stay those of the record
		return c.take(ctx, s, series, &taken)
	case DeletionDecided:
		for _, p := range r.Packs {
			if _, err := c.exec(ctx, `INSERT INTO deleted_pack (deletion, name, series, instances, members)
				SELECT id, ?2, ?3, 0, x'' FROM deletion WHERE name = ?1 ON CONFLICT DO NOTHING`, r.ID, p.PackID, p.SeriesInstanceUID); err != nil {
				return err
			}
		}
	case DeletionRemoved, DeletionUndone:
	}
	return nil
}

// archiveDeleted records a copy of a pack that is marked as deleted, or takes
// it for written: its instances lose their rows. It is false when there is no
// such pack.
func (c *change) archiveDeleted(ctx context.Context, a PackArchive) (bool, error) {
	var id, deletion int64
	var encoded []byte
	err := c.conn.QueryRowContext(ctx, `SELECT id, deletion, plan FROM deleted_pack WHERE name = ?`, a.PackID).Scan(&id, &deletion, &encoded)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil && encoded != nil {
		err = c.settleDeleted(ctx, id, deletion, a.PackID, encoded)
	}
	if err == nil {
		_, err = c.exec(ctx, `INSERT INTO deleted_copy VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, id, a.Archive, a.Key, a.Size, int64(a.CRC32C), a.At)
	}
	return err == nil, err
}

// isDeleted tells whether a pack is one that a deletion has yet to remove.
func (c *change) isDeleted(ctx context.Context, packID string) (deleted bool, err error) {
	err = c.deletedPack.QueryRowContext(ctx, packID).Scan(&deleted)
	return deleted, err
}

func (c *change) settleDeleted(ctx context.Context, id, deletion int64, name string, encoded []byte) error {
	var plan Plan
	if err := c.codec.decodeRow(encoded, &plan); err != nil {
		return err
	}
	if _, err := c.exec(ctx, `DELETE FROM deleted_instance WHERE deletion = ? AND pack = ?`, deletion, name); err != nil {
		return err
	}
	_, err := c.exec(ctx, `UPDATE deleted_pack SET members = ?, plan = NULL WHERE id = ?`, []byte(membersOfPlan(&plan)), id)
	return err
}
