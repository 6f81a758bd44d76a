package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

// Live lists the selected instances that still lie in a journal, in the order
// of SeriesInstanceUID, InstanceNumber and SOPInstanceUID. With Conflicts it
// lists those that are kept aside. None is an empty list.
//
// The list is bounded by what journals hold of one study; an instance has its
// Attributes of the Image level only.
func (x *Index) Live(ctx context.Context, sel Selector) ([]LiveInstance, error) {
	if sel.Conflicts {
		return x.liveConflicts(ctx, sel)
	}
	return x.liveRows(ctx, x.read, `SELECT 0, coalesce(p.name, ''), i.record, i.attributes
		FROM study s JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id LEFT JOIN pack p ON p.id = i.pack
		WHERE s.uid = ?1 AND (?2 = '' OR e.uid = ?2) AND (?3 = '' OR i.sop = ?3)
		ORDER BY e.uid, i.number, i.sop`, sel.StudyInstanceUID, sel.SeriesInstanceUID, sel.SOPInstanceUID)
}

func (x *Index) liveConflicts(ctx context.Context, sel Selector) ([]LiveInstance, error) {
	return x.liveRows(ctx, x.read, `SELECT c.why, coalesce(p.name, ''), c.record, c.attributes
		FROM conflict c LEFT JOIN pack p ON p.id = c.pack
		WHERE c.live = 1 AND c.study = ?1 AND (?2 = '' OR c.series = ?2) AND (?3 = '' OR c.sop = ?3)
		ORDER BY c.series, c.number, c.sop, c.digest`, sel.StudyInstanceUID, sel.SeriesInstanceUID, sel.SOPInstanceUID)
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// each runs fn for every row of a query.
func each(ctx context.Context, q querier, query string, args []any, fn func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("index: %w", failed(err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return fmt.Errorf("index: %w", failed(err))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("index: %w", failed(err))
	}
	return nil
}

// liveRows reads rows of why, plan, record and attributes.
func (x *Index) liveRows(ctx context.Context, q querier, query string, args ...any) ([]LiveInstance, error) {
	var out []LiveInstance
	err := each(ctx, q, query, args, func(rows *sql.Rows) error {
		var in LiveInstance
		var record, attributes []byte
		if err := rows.Scan(&in.Why, &in.PackID, &record, &attributes); err != nil {
			return err
		}
		err := x.unpack(&in.Instance, record, attributes)
		out = append(out, in)
		return err
	})
	return out, err
}

func (x *Index) unpack(in *Instance, record, attributes []byte) (err error) {
	var r wireRecord
	if err := x.codec.decodeRow(record, &r); err != nil {
		return err
	}
	in.Instance, in.At = r.Instance, r.At
	in.Attributes, err = x.codec.decodeSet(attributes)
	return err
}

// Packs lists the archived packs that hold a part of what is selected, in the
// order of SeriesInstanceUID and of coming. A selected SOPInstanceUID leaves
// the packs that hold it. None is an empty list.
func (x *Index) Packs(ctx context.Context, sel Selector) ([]Pack, error) {
	tx, err := x.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	packs, err := x.packs(ctx, tx, sel)
	if err != nil || sel.SOPInstanceUID == "" {
		return packs, err
	}
	var holding []Pack
	for _, p := range packs {
		if p.Members.Named(sel.SOPInstanceUID) {
			holding = append(holding, p)
		}
	}
	return holding, nil
}

func (x *Index) packs(ctx context.Context, q querier, sel Selector) ([]Pack, error) {
	filter := `p.conflict = 0 AND length(p.members) > 0`
	if sel.Conflicts {
		filter = `EXISTS (SELECT 1 FROM conflict c WHERE c.pack = p.id)`
	}
	var packs []Pack
	at := make(map[int64]int)
	err := each(ctx, q, `SELECT p.id, p.name, p.study, p.series, p.conflict, p.instances, p.members FROM pack p
		WHERE p.study = ?1 AND (?2 = '' OR p.series = ?2) AND p.plan IS NULL AND `+filter+` ORDER BY p.series, p.id`,
		[]any{sel.StudyInstanceUID, sel.SeriesInstanceUID}, func(rows *sql.Rows) error {
			var p Pack
			var id int64
			err := rows.Scan(&id, &p.PackID, &p.StudyInstanceUID, &p.SeriesInstanceUID, &p.Conflict, &p.Instances, (*[]byte)(&p.Members))
			at[id] = len(packs)
			packs = append(packs, p)
			return err
		})
	if err != nil {
		return nil, err
	}
	err = each(ctx, q, `SELECT k.pack, k.archive, k.key, k.size, k.crc32c, k.at FROM copy k JOIN pack p ON p.id = k.pack
		WHERE p.study = ?1 AND (?2 = '' OR p.series = ?2) ORDER BY k.pack, k.at, k.archive`,
		[]any{sel.StudyInstanceUID, sel.SeriesInstanceUID}, func(rows *sql.Rows) error {
			var a PackArchive
			var id int64
			err := rows.Scan(&id, &a.Archive, &a.Key, &a.Size, &a.CRC32C, &a.At)
			if i, ok := at[id]; ok {
				a.PackID = packs[i].PackID
				packs[i].Copies = append(packs[i].Copies, a)
			}
			return err
		})
	if err == nil && sel.Conflicts {
		err = x.conflictMembers(ctx, q, packs, at)
	}
	return packs, err
}

// conflictMembers says which instances in the packs are kept aside.
func (x *Index) conflictMembers(ctx context.Context, q querier, packs []Pack, at map[int64]int) error {
	for id, i := range at {
		var entries [][memberBytes]byte
		err := each(ctx, q, `SELECT sop, digest FROM conflict WHERE pack = ?`, []any{id}, func(rows *sql.Rows) error {
			var sop string
			var b []byte
			err := rows.Scan(&sop, &b)
			var d storage.Digest
			copy(d[:], b)
			entries = append(entries, member(sop, d))
			return err
		})
		if err != nil {
			return err
		}
		packs[i].Members = membersOf(entries)
	}
	return nil
}

// Has tells what the instance would be if it were received now, without its
// attributes' being compared unless its study is known. It is meant to answer
// for a duplicate before it costs anything; Apply decides.
func (x *Index) Has(ctx context.Context, in Instance) (Standing, error) {
	tx, err := x.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	var aside bool
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM conflict WHERE sop = ? AND digest = ?)`,
		in.Key.SOPInstanceUID, in.Digest[:]).Scan(&aside)
	if err != nil {
		return 0, fmt.Errorf("index: %w", failed(err))
	}
	if aside {
		return StandingDuplicate, nil
	}
	return x.standing(ctx, tx, in)
}

func (x *Index) standing(ctx context.Context, q querier, in Instance) (Standing, error) {
	s := study{}
	err := q.QueryRowContext(ctx, `SELECT patient, issuer FROM study WHERE uid = ? AND instances > 0`, in.Key.StudyInstanceUID).
		Scan(&s.patient, &s.issuer)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return 0, fmt.Errorf("index: %w", failed(err))
	case s.otherPatient(in.Attributes):
		return StandingConflict, nil
	}
	found := StandingNew
	compare := func(same bool) {
		if same {
			found = StandingDuplicate
		} else if found == StandingNew {
			found = StandingConflict
		}
	}
	err = each(ctx, q, `SELECT digest = ?2 FROM instance WHERE sop = ?1`,
		[]any{in.Key.SOPInstanceUID, in.Digest[:]}, func(rows *sql.Rows) error {
			var same bool
			err := rows.Scan(&same)
			compare(same)
			return err
		})
	if err != nil || found != StandingNew {
		return found, err
	}
	err = each(ctx, q, `SELECT members FROM pack WHERE study = ? AND conflict = 0 AND plan IS NULL`,
		[]any{in.Key.StudyInstanceUID}, func(rows *sql.Rows) error {
			var m sql.RawBytes
			err := rows.Scan(&m)
			if Members(m).Named(in.Key.SOPInstanceUID) {
				compare(Members(m).Holds(in.Key.SOPInstanceUID, in.Digest))
			}
			return err
		})
	return found, err
}
