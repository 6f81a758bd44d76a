package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// rowQuerier is a connection or a transaction.
type rowQuerier interface {
	querier
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// protect applies one change of what keeps studies.
func (c *change) protect(ctx context.Context, p *Protection) error {
	act, err := c.codec.enc.Marshal(p.Act)
	if err != nil {
		return err
	}
	var changed int64
	study := p.StudyInstanceUID
	switch p.Step {
	case SetHold:
		changed, err = c.exec(ctx, `INSERT INTO hold SELECT ?, ?, ? WHERE (SELECT count(*) FROM hold WHERE study = ?1) < ?4 ON CONFLICT DO NOTHING`,
			study, p.Hold, act, HoldsMost)
	case ClearHold:
		changed, err = c.exec(ctx, `DELETE FROM hold WHERE study = ? AND name = ?`, study, p.Hold)
	case SetRetention:
		changed, err = c.exec(ctx, `INSERT INTO retention VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET years = ?2, act = ?3 WHERE years <> ?2`,
			study, p.Years, act)
	case ClearRetention:
		changed, err = c.exec(ctx, `DELETE FROM retention WHERE study = ?`, study)
	case RestoreProtection:
		return c.restoreProtection(ctx, p.Record)
	}
	if err != nil || changed == 0 {
		return err
	}
	revision, err := c.nextRevision(ctx)
	if err != nil {
		return err
	}
	return c.setRevision(ctx, study, revision)
}

func (c *change) setRevision(ctx context.Context, study string, revision int64) error {
	_, err := c.exec(ctx, `INSERT INTO protection VALUES (?1, ?2) ON CONFLICT DO UPDATE SET revision = ?2`, study, revision)
	return err
}

// restoreProtection makes what is set for a study what the record says.
func (c *change) restoreProtection(ctx context.Context, r *ProtectionRecord) error {
	var known int64
	err := c.conn.QueryRowContext(ctx, `SELECT revision FROM protection WHERE study = ?`, r.StudyInstanceUID).Scan(&known)
	if err == nil && known >= r.Revision {
		return nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	for _, table := range []string{"hold", "retention"} {
		if _, err := c.exec(ctx, `DELETE FROM `+table+` WHERE study = ?`, r.StudyInstanceUID); err != nil {
			return err
		}
	}
	for _, h := range r.Holds {
		act, err := c.codec.enc.Marshal(h.Act)
		if err != nil {
			return err
		}
		if _, err := c.exec(ctx, `INSERT INTO hold VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, r.StudyInstanceUID, h.Name, act); err != nil {
			return err
		}
	}
	if r.Retention != nil {
		act, err := c.codec.enc.Marshal(r.Retention.Act)
		if err != nil {
			return err
		}
		if _, err := c.exec(ctx, `INSERT INTO retention VALUES (?, ?, ?)`, r.StudyInstanceUID, r.Retention.Years, act); err != nil {
			return err
		}
	}
	return c.setRevision(ctx, r.StudyInstanceUID, r.Revision)
}

// exec runs a statement that is too rare to be kept prepared, and tells how
// many rows it changed.
func (c *change) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := c.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// nextRevision is the revision after all that were.
func (c *change) nextRevision(ctx context.Context) (next int64, err error) {
	err = c.conn.QueryRowContext(ctx, `SELECT 1 + max((SELECT coalesce(max(revision), 0) FROM deletion),
		(SELECT coalesce(max(revision), 0) FROM protection))`).Scan(&next)
	return next, err
}

// keptBy reads what keeps a study of that date and first receipt.
func (k codec) keptBy(ctx context.Context, q rowQuerier, study, date string, received int64) (Kept, error) {
	kept := Kept{StudyInstanceUID: study, Years: DefaultRetention}
	var own sql.NullInt64
	var all sql.NullInt64
	if err := q.QueryRowContext(ctx, `SELECT (SELECT years FROM retention WHERE study = ?), (SELECT years FROM retention WHERE study = '')`,
		study).Scan(&own, &all); err != nil {
		return kept, fmt.Errorf("index: %w", failed(err))
	}
	switch {
	case own.Valid:
		kept.Years, kept.Own = int(own.Int64), true
	case all.Valid:
		kept.Years = int(all.Int64)
	}
	kept.retain(date, received)
	var err error
	kept.Holds, err = k.holds(ctx, q, study)
	return kept, err
}

func (k codec) holds(ctx context.Context, q querier, study string) (holds []Hold, err error) {
	err = each(ctx, q, `SELECT name, act FROM hold WHERE study = ? ORDER BY name`, []any{study}, func(rows *sql.Rows) error {
		var h Hold
		var act []byte
		if err := rows.Scan(&h.Name, &act); err != nil {
			return err
		}
		err := k.decodeRow(act, &h.Act)
		holds = append(holds, h)
		return err
	})
	return holds, err
}

// Kept tells what keeps a study, one that is marked as deleted included. One
// of which the index knows no study is storage.ErrNotFound together with the
// holds that stand for it.
func (x *Index) Kept(ctx context.Context, study string) (Kept, error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return Kept{}, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	var date string
	var received int64
	err = tx.tx.QueryRowContext(ctx, `SELECT date, received FROM study WHERE uid = ?1 UNION ALL
		SELECT s.date, s.received FROM deletion d JOIN deleted_study s ON s.deletion = d.id WHERE d.study = ?1 LIMIT 1`, study).Scan(&date, &received)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Kept{}, fmt.Errorf("index: %w", failed(err))
	}
	kept, kerr := x.codec.keptBy(ctx, tx.tx, study, date, received)
	if kerr == nil && err != nil {
		kept.Until = 0 // nothing is there to be kept
		kerr = unknown("study", study)
	}
	return kept, kerr
}

// Protection is what is set for a study, or for all with no study; nothing set
// is an empty record.
func (x *Index) Protection(ctx context.Context, study string) (ProtectionRecord, error) {
	records, err := x.protections(ctx, `WHERE p.study = ?`, study)
	if err != nil || len(records) == 0 {
		return ProtectionRecord{StudyInstanceUID: study}, err
	}
	return records[0], nil
}

// Protections lists at most limit records that changed after the revision, in
// the order of their change, those of which nothing is left included.
func (x *Index) Protections(ctx context.Context, after int64, limit int) ([]ProtectionRecord, error) {
	return x.protections(ctx, `WHERE p.revision > ? ORDER BY p.revision LIMIT ?`, after, limit)
}

// OnHold lists at most limit studies on which holds stand, by their UID, from
// the one after.
func (x *Index) OnHold(ctx context.Context, after string, limit int) ([]ProtectionRecord, error) {
	return x.protections(ctx, `WHERE p.study > ? AND EXISTS (SELECT 1 FROM hold h WHERE h.study = p.study) ORDER BY p.study LIMIT ?`, after, limit)
}

func (x *Index) protections(ctx context.Context, where string, args ...any) (records []ProtectionRecord, err error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	err = each(ctx, tx, `SELECT p.study, p.revision, r.years, r.act FROM protection p LEFT JOIN retention r ON r.study = p.study `+where, args,
		func(rows *sql.Rows) error {
			var r ProtectionRecord
			var years sql.NullInt64
			var act []byte
			if err := rows.Scan(&r.StudyInstanceUID, &r.Revision, &years, &act); err != nil {
				return err
			}
			if years.Valid {
				r.Retention = &Retention{Years: int(years.Int64)}
				if err := x.codec.decodeRow(act, &r.Retention.Act); err != nil {
					return err
				}
			}
			records = append(records, r)
			return nil
		})
	for i := range records {
		if err == nil {
			records[i].Holds, err = x.codec.holds(ctx, tx, records[i].StudyInstanceUID)
		}
	}
	return records, err
}
