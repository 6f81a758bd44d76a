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
	standing, err := named(ctx, tx, Named{in.Key, in.Digest})
	if err != nil || standing != StandingNew {
		return standing, err
	}
	err = each(ctx, tx, `SELECT attributes FROM study WHERE uid = ?`, []any{in.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
		var blob sql.RawBytes
		if err := rows.Scan(&blob); err != nil {
			return err
		}
		study, err := x.codec.decodeSet(blob)
		if err == nil && otherPatient(study, in.Attributes) {
			standing = StandingConflict
		}
		return err
	})
	return standing, err
}

// named compares the instance with those of its SOPInstanceUID: in journals
// everywhere, in packs of its study. A pack's members are not copied for it.
func named(ctx context.Context, q querier, a Named) (Standing, error) {
	found, err := namedLive(ctx, q, a)
	if err != nil || found == StandingDuplicate {
		return found, err
	}
	err = each(ctx, q, `SELECT members FROM pack WHERE study = ? AND conflict = 0 AND plan IS NULL`,
		[]any{a.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
			var m sql.RawBytes
			err := rows.Scan(&m)
			found = Members(m).compare(a, found)
			return err
		})
	return found, err
}

// compare is what the instance is, given what it was found to be before and
// the members of a pack of its study.
func (m Members) compare(a Named, found Standing) Standing {
	switch sop := a.Key.SOPInstanceUID; {
	case found == StandingDuplicate || m.Holds(sop, a.Digest):
		return StandingDuplicate
	case m.Named(sop):
		return StandingConflict
	}
	return found
}
