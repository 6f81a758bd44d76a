package index

import (
	"context"
	"database/sql"
)

// passOver enters which entries of a journal could not be read, and drops those
// that are settled.
func (c *change) passOver(ctx context.Context, j JournalChange) error {
	for _, p := range j.Unread {
		if _, err := c.exec(ctx, `INSERT OR IGNORE INTO unread VALUES (?, ?, ?)`, string(p.Journal), int64(p.Segment), p.Offset); err != nil {
			return err
		}
	}
	for _, p := range j.Settled {
		if _, err := c.exec(ctx, `DELETE FROM unread WHERE journal = ? AND segment = ? AND position = ?`, string(p.Journal), int64(p.Segment), p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// Unread lists the entries of a journal that were acknowledged, passed over
// because they are damaged, and not settled since, in their order; of all
// journals for "".
func (x *Index) Unread(ctx context.Context, id JournalID) ([]Position, error) {
	var all []Position
	err := each(ctx, x.read, `SELECT journal, segment, position FROM unread WHERE ?1 = '' OR journal = ?1
		ORDER BY journal, segment, position`, []any{string(id)}, func(rows *sql.Rows) error {
		var p Position
		err := rows.Scan(&p.Journal, &p.Segment, &p.Offset)
		all = append(all, p)
		return err
	})
	return all, err
}
