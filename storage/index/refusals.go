package index

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Refusal tells from when on a node's certificates must be: older ones are not
// let in by any node.
type Refusal struct {
	Node string `cbor:"1,keyasint"`
	// Before is a moment, Unix time in seconds; 0 ends the refusal.
	Before int64 `cbor:"2,keyasint"`
}

func (r Refusal) validate() error {
	if r.Node == "" || len(r.Node) > nameBytes || r.Before < 0 {
		return fmt.Errorf("%w: a refusal of node %q", storage.ErrInvalid, r.Node)
	}
	return nil
}

// refusals enters refusals; a later moment stays.
func (c *change) refusals(ctx context.Context, list []Refusal) error {
	for _, r := range list {
		text, args := `INSERT INTO refusal VALUES (?, ?) ON CONFLICT DO UPDATE SET before = max(before, excluded.before)`, []any{r.Node, r.Before}
		if r.Before == 0 {
			text, args = `DELETE FROM refusal WHERE node = ?`, []any{r.Node}
		}
		if _, err := c.conn.ExecContext(ctx, text, args...); err != nil {
			return err
		}
	}
	return nil
}

// Refusals are the moments before which certificates of nodes are refused, by
// the nodes' names.
func (x *Index) Refusals(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	// Not behind slow searches: every call between nodes waits for it.
	err := each(ctx, x.ask, `SELECT node, before FROM refusal`, nil, func(rows *sql.Rows) error {
		var r Refusal
		err := rows.Scan(&r.Node, &r.Before)
		all[r.Node] = r.Before
		return err
	})
	return all, err
}
