package index

import (
	"context"
	"database/sql"
	"errors"
)

// wasDeleted tells whether an instance that was received again had been deleted
// where it lay before: the deletion came while it was on its way. While that can
// be undone, what it took moves here.
func (c *change) wasDeleted(ctx context.Context, in *Instance) (bool, error) {
	if len(in.From) == 0 {
		return false, nil
	}
	id, err := c.deletionOf(ctx, in)
	if err != nil || id == 0 {
		return false, err
	}
	return true, c.moveDeleted(ctx, id, in)
}

// deletionOf is the id of the deletion that took an instance; 0 for none.
func (c *change) deletionOf(ctx context.Context, in *Instance) (id int64, err error) {
	err = each(ctx, c.conn, `SELECT id, record FROM deletion WHERE study = ? ORDER BY id`, []any{in.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
		var one int64
		var record []byte
		if err := rows.Scan(&one, &record); err != nil {
			return err
		}
		var r DeletionRecord
		if err := c.codec.decodeRow(record, &r); err != nil {
			return err
		}
		for _, at := range in.From {
			if r.Covers(in.Key.StudyInstanceUID, in.Key.SeriesInstanceUID, at) {
				id = one
			}
		}
		return nil
	})
	return id, err
}

func (c *change) moveDeleted(ctx context.Context, deletion int64, in *Instance) error {
	var id int64
	var record []byte
	err := c.conn.QueryRowContext(ctx, `SELECT t.id, t.record FROM deleted_instance t JOIN owner o ON o.journal = t.journal
		WHERE t.deletion = ? AND t.sop = ? AND t.digest = ? AND o.retired = 1`, deletion, in.Key.SOPInstanceUID, in.Digest[:]).Scan(&id, &record)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var r wireRecord
	if err := c.codec.decodeRow(record, &r); err != nil {
		return err
	}
	if !sameFile(&r, in) {
		return nil
	}
	r.At = in.At
	if record, err = c.codec.enc.Marshal(r); err != nil {
		return err
	}
	_, err = c.exec(ctx, `UPDATE deleted_instance SET journal = ?, segment = ?, record = ? WHERE id = ?`,
		string(in.At.Journal), int64(in.At.Segment), record, id)
	return err
}

// sameFile tells whether an instance is what a row is of, byte for byte. The
// same Data Set in another file is a duplicate, but no substitute: a pack that
// is planned would be another.
func sameFile(r *wireRecord, in *Instance) bool {
	return r.Instance.Size == in.Size && r.Instance.Prefix == in.Prefix && r.Instance.CRC32 == in.CRC32
}
