package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// JournalChange tells whose a journal is, that it is retired, or what of it
// could not be read.
type JournalChange struct {
	Journal JournalID `cbor:"1,keyasint"`
	// Node is whose the journal is; the earlier ones of that node are retired
	// with it. "" leaves that as it is.
	Node string `cbor:"2,keyasint,omitempty"`
	// Retired: the journal takes nothing any more, for ever. What lies in it
	// moves to where it is received again, bit for bit.
	Retired bool `cbor:"3,keyasint,omitempty"`
	// Unread are entries that were passed over because they are damaged where
	// they were to be read: their segments stay in use until they are Settled.
	// With either of them nothing else is changed.
	Unread  []Position `cbor:"4,keyasint,omitempty"`
	Settled []Position `cbor:"5,keyasint,omitempty"`
}

func (j JournalChange) validate() error {
	if !validName(string(j.Journal)) || len(j.Node) > nameBytes {
		return fmt.Errorf("%w: a journal's name", storage.ErrInvalid)
	}
	if len(j.Unread) > BatchRows || len(j.Settled) > BatchRows {
		return fmt.Errorf("%w: more than %d entries of a journal", storage.ErrInvalid, BatchRows)
	}
	for _, p := range slices.Concat(j.Unread, j.Settled) {
		if p.Journal != j.Journal {
			return fmt.Errorf("%w: an entry of another journal", storage.ErrInvalid)
		}
		if err := p.validate(); err != nil {
			return err
		}
	}
	return nil
}

// JournalState is what the index knows of a node's journal.
type JournalState struct {
	Journal JournalID
	Node    string
	Retired bool
	// Applied is the watermark.
	Applied Position
}

// changeJournal enters a JournalChange.
func (c *change) changeJournal(ctx context.Context, j JournalChange) error {
	if len(j.Unread)+len(j.Settled) > 0 {
		return c.passOver(ctx, j)
	}
	if j.Node != "" {
		if _, err := c.retireOthers.ExecContext(ctx, j.Node, string(j.Journal)); err != nil {
			return err
		}
	}
	_, err := c.putOwner.ExecContext(ctx, string(j.Journal), j.Node, j.Retired)
	return err
}

// isRetired tells whether a journal takes nothing any more.
func (c *change) isRetired(ctx context.Context, id JournalID) (retired bool, err error) {
	err = c.owner.QueryRowContext(ctx, string(id)).Scan(&retired)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return retired, err
}

// move brings the row of an instance that lies in a retired journal to where
// the very same bytes came again. It tells whether there was such a row.
func (c *change) move(ctx context.Context, in *Instance) (moved bool, err error) {
	if !c.leaving || in.At == (Position{}) {
		return false, nil
	}
	for _, kind := range []struct{ find, set *sql.Stmt }{
		{c.leavingInstance, c.moveInstance}, {c.leavingConflict, c.moveConflictRow},
	} {
		var id int64
		var record []byte
		err := kind.find.QueryRowContext(ctx, in.Key.SOPInstanceUID, in.Digest[:]).Scan(&id, &record)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return false, err
		}
		var r wireRecord
		if err := c.codec.decodeRow(record, &r); err != nil {
			return false, err
		}
		if !sameFile(&r, in) {
			return false, nil
		}
		r.At = in.At
		if record, err = c.codec.enc.Marshal(r); err != nil {
			return false, err
		}
		_, err = kind.set.ExecContext(ctx, string(in.At.Journal), int64(in.At.Segment), record, id)
		return err == nil, err
	}
	return false, nil
}

// Journals lists the journals that are known to be some node's, or retired, in
// the order of their names.
func (x *Index) Journals(ctx context.Context) ([]JournalState, error) {
	var list []JournalState
	err := each(ctx, x.read, `SELECT o.journal, o.node, o.retired, coalesce(j.segment, 0), coalesce(j.position, 0)
		FROM owner o LEFT JOIN journal j ON j.name = o.journal ORDER BY o.journal`, nil, func(rows *sql.Rows) error {
		var s JournalState
		err := rows.Scan(&s.Journal, &s.Node, &s.Retired, &s.Applied.Segment, &s.Applied.Offset)
		s.Applied.Journal = s.Journal
		list = append(list, s)
		return err
	})
	return list, err
}

// lyingChunk is how many rows Lying reads at once.
const lyingChunk = 200

// Lying yields the instances that lie in a journal, those that are kept aside
// after the others, without their Attributes. What moves away or is archived
// meanwhile may be yielded or not. An error ends it.
func (x *Index) Lying(ctx context.Context, id JournalID) iter.Seq2[LiveInstance, error] {
	return func(yield func(LiveInstance, error) bool) {
		for _, rows := range []string{
			`SELECT t.id, 0, coalesce(p.name, ''), t.record FROM instance t LEFT JOIN pack p ON p.id = t.pack
			 WHERE t.journal = ?1 AND t.id > ?2 ORDER BY t.id LIMIT ?3`,
			`SELECT t.id, t.why, coalesce(p.name, ''), t.record FROM conflict t LEFT JOIN pack p ON p.id = t.pack
			 WHERE t.live = 1 AND t.journal = ?1 AND t.id > ?2 ORDER BY t.id LIMIT ?3`,
		} {
			for after, more := int64(0), true; more; {
				chunk, last, err := x.lying(ctx, rows, id, after)
				if err != nil {
					yield(LiveInstance{}, err)
					return
				}
				for _, in := range chunk {
					if !yield(in, nil) {
						return
					}
				}
				after, more = last, len(chunk) == lyingChunk
			}
		}
	}
}

func (x *Index) lying(ctx context.Context, query string, id JournalID, after int64) (chunk []LiveInstance, last int64, err error) {
	err = each(ctx, x.read, query, []any{string(id), after, lyingChunk}, func(rows *sql.Rows) error {
		var in LiveInstance
		var record []byte
		if err := rows.Scan(&last, &in.Why, &in.PackID, &record); err != nil {
			return err
		}
		var r wireRecord
		err := x.codec.decodeRow(record, &r)
		in.Instance.Instance, in.At = r.Instance, r.At
		chunk = append(chunk, in)
		return err
	})
	return chunk, last, err
}
