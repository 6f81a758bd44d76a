package index

import (
	"context"
	"database/sql"
	"fmt"
)

// PacksAfter lists at most limit archived packs in the order of coming, those
// of conflicts included, and returns after what to ask for more: a place that
// stays the same as long as the index is not rebuilt. 0 begins. Their Members
// are left out.
func (x *Index) PacksAfter(ctx context.Context, after int64, limit int) (packs []Pack, last int64, err error) {
	return x.packsAfter(ctx, after, limit, "")
}

// Incomplete is PacksAfter of those that lie on fewer archives than copies.
func (x *Index) Incomplete(ctx context.Context, copies int, after int64, limit int) (packs []Pack, last int64, err error) {
	return x.packsAfter(ctx, after, limit, `AND (SELECT count(*) FROM copy k WHERE k.pack = p.id) < ?`, copies)
}

func (x *Index) packsAfter(ctx context.Context, after int64, limit int, filter string, args ...any) (packs []Pack, last int64, err error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, after, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	last = after
	args = append(append([]any{after}, args...), limit)
	err = each(ctx, tx, `SELECT p.id, p.name, p.study, p.series, p.conflict, p.instances FROM pack p
		WHERE p.id > ? AND p.plan IS NULL `+filter+` ORDER BY p.id LIMIT ?`, args, func(rows *sql.Rows) error {
		var p Pack
		err := rows.Scan(&last, &p.PackID, &p.StudyInstanceUID, &p.SeriesInstanceUID, &p.Conflict, &p.Instances)
		packs = append(packs, p)
		return err
	})
	for i := range packs {
		if err == nil {
			packs[i].Copies, err = copiesOf(ctx, tx, packs[i].PackID)
		}
	}
	return packs, last, err
}

// copiesOf lists where a pack lies.
func copiesOf(ctx context.Context, q querier, packID string) (copies []PackArchive, err error) {
	err = each(ctx, q, `SELECT k.archive, k.key, k.size, k.crc32c, k.at FROM copy k JOIN pack p ON p.id = k.pack
		WHERE p.name = ? ORDER BY k.at, k.archive`, []any{packID}, func(rows *sql.Rows) error {
		a := PackArchive{PackID: packID}
		err := rows.Scan(&a.Archive, &a.Key, &a.Size, &a.CRC32C, &a.At)
		copies = append(copies, a)
		return err
	})
	return copies, err
}

// PackState is what the index knows of a pack.
type PackState int

const (
	// PackUnknown is none, or one that is not there any more.
	PackUnknown PackState = iota
	// PackPlanned is one that is going to be written, or has just been.
	PackPlanned
	// PackArchived is one that lies in an archive.
	PackArchived
)

// PackNamed looks up a pack by its PackID. Its Members are left out.
func (x *Index) PackNamed(ctx context.Context, packID string) (Pack, PackState, error) {
	p := Pack{PackID: packID}
	tx, err := x.read.begin(ctx)
	if err != nil {
		return p, PackUnknown, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	state := PackUnknown
	err = each(ctx, tx, `SELECT study, series, conflict, instances, plan IS NOT NULL FROM pack WHERE name = ?`, []any{packID},
		func(rows *sql.Rows) error {
			var planned bool
			err := rows.Scan(&p.StudyInstanceUID, &p.SeriesInstanceUID, &p.Conflict, &p.Instances, &planned)
			if state = PackArchived; planned {
				state = PackPlanned
			}
			return err
		})
	if err == nil {
		p.Copies, err = copiesOf(ctx, tx, packID)
	}
	return p, state, err
}

// Archived counts the packs that come after a place, as PacksAfter lists
// them, their copies, and the bytes of those. It reads a row for each.
func (x *Index) Archived(ctx context.Context, after int64) (packs, copies int, bytes int64, err error) {
	err = each(ctx, x.read, `SELECT count(DISTINCT p.id), count(k.pack), coalesce(sum(k.size), 0)
		FROM pack p LEFT JOIN copy k ON k.pack = p.id WHERE p.id > ? AND p.plan IS NULL`, []any{after}, func(rows *sql.Rows) error {
		return rows.Scan(&packs, &copies, &bytes)
	})
	return packs, copies, bytes, err
}
