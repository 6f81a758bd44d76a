package index

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Named names an instance and, by their Digest, its bytes.
type Named struct {
	Key    storage.InstanceKey
	Digest storage.Digest
}

// Held tells of each instance, in their order and at one moment, whether it is
// held: StandingDuplicate is the very same Data Set, in its place or kept
// aside, and StandingConflict another one of its SOPInstanceUID. As with Apply,
// what is archived is known by its study. Unlike Has it looks at no patient.
func (x *Index) Held(ctx context.Context, asked []Named) ([]Standing, error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	packed := map[string][]Members{}
	out := make([]Standing, len(asked))
	for i, a := range asked {
		study := a.Key.StudyInstanceUID
		if _, known := packed[study]; !known {
			if packed[study], err = membersIn(ctx, tx, study); err != nil {
				return nil, err
			}
		}
		if out[i], err = held(ctx, tx, a, packed[study]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func held(ctx context.Context, q querier, a Named, packs []Members) (Standing, error) {
	found, err := namedLive(ctx, q, a)
	if err != nil || found == StandingDuplicate {
		return found, err
	}
	for _, m := range packs {
		found = m.compare(a, found)
	}
	return found, nil
}

// namedLive compares the instance with those of its SOPInstanceUID that lie in
// a journal or are kept aside.
func namedLive(ctx context.Context, q querier, a Named) (Standing, error) {
	found := StandingNew
	err := each(ctx, q, `SELECT digest = ?2 FROM instance WHERE sop = ?1
		UNION ALL SELECT 1 FROM conflict WHERE sop = ?1 AND digest = ?2`,
		[]any{a.Key.SOPInstanceUID, a.Digest[:]}, func(rows *sql.Rows) error {
			var same bool
			err := rows.Scan(&same)
			found = found.and(same)
			return err
		})
	return found, err
}

// membersIn are the members of a study's packs.
func membersIn(ctx context.Context, q querier, study string) (packs []Members, err error) {
	err = each(ctx, q, `SELECT members FROM pack WHERE study = ? AND conflict = 0 AND plan IS NULL`,
		[]any{study}, func(rows *sql.Rows) error {
			var m []byte
			err := rows.Scan(&m)
			packs = append(packs, m)
			return err
		})
	return packs, err
}
