package index

import (
	"context"
	"database/sql"
	"fmt"
)

// keyNames makes the keys of the names in an index of schema version 1, or
// those that an earlier version 2 lacks, in a transaction with what is given
// before and after. The keys are sorted first: entered in the order of studies
// they would write most pages of the table many times.
func (x *Index) keyNames(ctx context.Context, before, table, after string) error {
	_, err := x.conn.ExecContext(ctx, "BEGIN IMMEDIATE;\n"+before+";CREATE TEMP TABLE keyed (folded TEXT, date TEXT, study INTEGER)")
	if err == nil {
		err = x.keyAll(ctx)
	}
	if err == nil {
		_, err = x.conn.ExecContext(ctx, `INSERT INTO `+table+` SELECT * FROM temp.keyed WHERE 1 ORDER BY folded, date DESC, study ON CONFLICT DO NOTHING;
			DROP TABLE temp.keyed;`+after+`; COMMIT`)
	}
	if err != nil {
		_, _ = x.conn.ExecContext(ctx, "ROLLBACK") // when it was not rolled back already
		return fmt.Errorf("names: %w", failed(err))
	}
	return nil
}

func (x *Index) keyAll(ctx context.Context) error {
	put, err := x.conn.PrepareContext(ctx, `INSERT INTO temp.keyed VALUES (?, ?, ?)`)
	if err != nil {
		return err
	}
	defer put.Close()
	for last := int64(0); ; {
		var keys [][3]any
		studies := 0
		err := each(ctx, x.conn, `SELECT id, date, attributes FROM study WHERE id > ? ORDER BY id LIMIT 1000`, []any{last}, func(rows *sql.Rows) error {
			var date string
			var blob []byte
			studies++
			if err := rows.Scan(&last, &date, &blob); err != nil {
				return err
			}
			ds, err := decodeSet(blob)
			for _, key := range namesOf(ds).keys() {
				keys = append(keys, [3]any{key, date, last})
			}
			return err
		})
		if err != nil || studies == 0 {
			return err
		}
		for _, k := range keys {
			if _, err := put.ExecContext(ctx, k[0], k[1], k[2]); err != nil {
				return err
			}
		}
	}
}

// keyWords brings an index up to date that an earlier version 2 wrote, without
// the table of words.
func (x *Index) keyWords(ctx context.Context) error {
	if has, err := hasWords(ctx, x.conn); err != nil || has {
		return err
	}
	if err := x.keyNames(ctx, "", "name", schema2words); err != nil {
		return err
	}
	return x.syncHeld(ctx)
}

// countManifests brings an index up to date that an earlier version 2 wrote,
// which did not count manifests.
func (x *Index) countManifests(ctx context.Context) error {
	if has, err := hasManifests(ctx, x.conn); err != nil || has {
		return err
	}
	return x.change(ctx, schema2manifests)
}

// isCurrent tells whether an index of version 2 has all that this program knows.
func isCurrent(ctx context.Context, q querier) (bool, error) {
	if has, err := hasWords(ctx, q); err != nil || !has {
		return false, err
	}
	return hasManifests(ctx, q)
}

// hasManifests tells whether an index of version 2 counts manifests.
func hasManifests(ctx context.Context, q querier) (has bool, err error) {
	err = each(ctx, q, `SELECT EXISTS (SELECT 1 FROM pragma_table_info('life') WHERE name = 'manifest')`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&has)
	})
	return has, err
}

// hasWords tells whether an index of version 2 has the table of words.
func hasWords(ctx context.Context, q querier) (has bool, err error) {
	err = each(ctx, q, `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'word')`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&has)
	})
	return has, err
}
