package index

import (
	"context"
	"database/sql"
	"fmt"
)

// Has tells what the instance would be if it were received now. It is meant to
// answer for a duplicate before it costs anything; Apply decides. A duplicate
// is known by its names and Digest alone; Attributes are looked at to tell
// whether its study belongs to another patient.
func (x *Index) Has(ctx context.Context, in Instance) (Standing, error) {
	tx, err := x.ask.begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	standing, err := named(ctx, tx, in)
	if err != nil || standing != StandingNew {
		return standing, err
	}
	var s study
	known := false
	err = each(ctx, tx, `SELECT patient, issuer FROM study WHERE uid = ?`, []any{in.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
		known = true
		return rows.Scan(&s.patient, &s.issuer)
	})
	if err != nil {
		return 0, err
	}
	if known && s.otherPatient(in.Attributes) {
		return StandingConflict, nil
	}
	return StandingNew, nil
}

// named compares the instance with those of its SOPInstanceUID: in journals
// everywhere, in packs of its study.
func named(ctx context.Context, q querier, in Instance) (Standing, error) {
	found := StandingNew
	meet := func(same bool) {
		if same {
			found = StandingDuplicate
		} else if found == StandingNew {
			found = StandingConflict
		}
	}
	sop := in.Key.SOPInstanceUID
	err := each(ctx, q, `SELECT digest = ?2 FROM instance WHERE sop = ?1
		UNION ALL SELECT 1 FROM conflict WHERE sop = ?1 AND digest = ?2`, []any{sop, in.Digest[:]}, func(rows *sql.Rows) error {
		var same bool
		err := rows.Scan(&same)
		meet(same)
		return err
	})
	if err != nil || found == StandingDuplicate {
		return found, err
	}
	err = each(ctx, q, `SELECT members FROM pack WHERE study = ? AND conflict = 0 AND plan IS NULL`,
		[]any{in.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
			var m sql.RawBytes
			err := rows.Scan(&m)
			if Members(m).Named(sop) {
				meet(Members(m).Holds(sop, in.Digest))
			}
			return err
		})
	return found, err
}
