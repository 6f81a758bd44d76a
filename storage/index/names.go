package index

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// flushName keeps the keys of a study's name, which stand with its date.
func (c *change) flushName(ctx context.Context, s *study) error {
	name := value(s.attributes, tagPatientName)
	if name == s.stored.name && s.date == s.stored.date {
		return nil
	}
	if err := c.dropNames(ctx, s); err != nil {
		return err
	}
	for _, folded := range nameKeys(name) {
		if _, err := c.putName.ExecContext(ctx, folded, s.date, s.id); err != nil {
			return err
		}
	}
	s.stored.name = name
	return nil
}

// dropNames removes the keys of a study's name as it is stored.
func (c *change) dropNames(ctx context.Context, s *study) error {
	for _, folded := range nameKeys(s.stored.name) {
		if _, err := c.dropName.ExecContext(ctx, folded, s.stored.date, s.id); err != nil {
			return err
		}
	}
	s.stored.name = ""
	return nil
}

// maxNameKeys bounds the rows that one name takes.
const maxNameKeys = 24

// nameKeys are the folded texts by which a name is found: its component
// groups, the family name of each, and each word that begins no group. The
// words beyond the bound are not found by fuzzy matching.
func nameKeys(pn string) []string {
	folded := fold(pn)
	var keys []string
	add := func(key string) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, group := range nameGroups(folded) {
		if group != "" {
			family, _, _ := strings.Cut(group, "^")
			add(group)
			add(familyKey(family))
		}
	}
	for _, word := range nameWords(folded) {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, word) }) {
			keys = append(keys, word)
		}
	}
	return keys[:min(len(keys), maxNameKeys)]
}

// familyKey is the key for a family name, or for what it begins with: these
// keys lie apart from nearly all others, so that there are few to look through.
func familyKey(family string) string { return "^" + family }

// mostFamilies is how many family names are walked beside each other.
const mostFamilies = 16

// families looks up the family names that are to be walked. Where they are too
// many, the studies of all are found first and sorted then.
func (x *Index) families(ctx context.Context, n *narrow) error {
	if n.family == "" {
		return nil
	}
	from, below := familyKey(n.family), familyKey(n.family)+beyond
	n.family = ""
	err := each(ctx, x.read, `WITH RECURSIVE f(key) AS (SELECT min(folded) FROM name WHERE folded >= ?1 AND folded < ?2
		UNION ALL SELECT (SELECT min(o.folded) FROM name o WHERE o.folded > f.key AND o.folded < ?2) FROM f WHERE f.key IS NOT NULL)
		SELECT key FROM f WHERE key IS NOT NULL LIMIT ?3`, []any{from, below, mostFamilies + 1}, func(rows *sql.Rows) error {
		var key string
		err := rows.Scan(&key)
		n.names = append(n.names, key)
		return err
	})
	if len(n.names) == 0 || len(n.names) > mostFamilies {
		n.names = nil
		n.span(keySpan{from: from, below: below})
	}
	return err
}

// keyNames makes the keys of the names in an index of schema version 1.
func (x *Index) keyNames(ctx context.Context) error {
	if _, err := x.conn.ExecContext(ctx, "BEGIN IMMEDIATE;\n"+schema2names+"DELETE FROM name2"); err != nil { // of an upgrade that was not finished
		return failed(err)
	}
	err := x.keyAll(ctx)
	if err == nil {
		_, err = x.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = x.conn.ExecContext(ctx, "ROLLBACK") // when it was not rolled back already
		return fmt.Errorf("names: %w", failed(err))
	}
	return nil
}

func (x *Index) keyAll(ctx context.Context) error {
	put, err := x.conn.PrepareContext(ctx, `INSERT INTO name2 VALUES (?, ?, ?) ON CONFLICT DO NOTHING`)
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
			ds, err := x.codec.decodeSet(blob)
			for _, key := range nameKeys(value(ds, tagPatientName)) {
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
