package index

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// Live lists the selected instances that still lie in a journal, in the order
// of SeriesInstanceUID, InstanceNumber and SOPInstanceUID. With Conflicts it
// lists those that are kept aside. None is an empty list; a Selector without
// UIDs selects all there are.
//
// The list is bounded by what journals hold; an instance has its Attributes of
// the Image level only, one that is kept aside those of all levels.
func (x *Index) Live(ctx context.Context, sel Selector) ([]LiveInstance, error) {
	return x.liveOf(ctx, sel, true)
}

// Where is Live without Attributes, in less time: it tells where the instances
// lie.
func (x *Index) Where(ctx context.Context, sel Selector) ([]LiveInstance, error) {
	return x.liveOf(ctx, sel, false)
}

func (x *Index) liveOf(ctx context.Context, sel Selector, attributes bool) ([]LiveInstance, error) {
	conflict, instance := "NULL", "NULL"
	if attributes {
		conflict, instance = "c.attributes", "i.attributes"
	}
	if sel.Conflicts {
		where, args := sel.where("c.study", "c.series", "c.sop")
		return x.liveRows(ctx, x.read, `SELECT c.why, coalesce(p.name, ''), c.record, `+conflict+`
			FROM conflict c LEFT JOIN pack p ON p.id = c.pack
			WHERE c.live = 1`+where+` ORDER BY c.series, c.number, c.sop, c.digest`, args...)
	}
	where, args := sel.where("s.uid", "e.uid", "i.sop")
	return x.liveRows(ctx, x.read, `SELECT 0, coalesce(p.name, ''), i.record, `+instance+`
		FROM study s JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id LEFT JOIN pack p ON p.id = i.pack
		WHERE 1`+where+` ORDER BY e.uid, i.number, i.sop`, args...)
}

// where is the selector as SQL conditions on the columns given; "" is none.
func (s Selector) where(study, series, sop string) (sql string, args []any) {
	var b strings.Builder
	for _, c := range []struct{ column, uid string }{
		{study, s.StudyInstanceUID}, {series, s.SeriesInstanceUID}, {sop, s.SOPInstanceUID},
	} {
		if c.column != "" && c.uid != "" {
			b.WriteString(" AND " + c.column + " = ?")
			args = append(args, c.uid)
		}
	}
	return b.String(), args
}

// Issuer is who assigned the PatientID of a study, as its answers say it; the
// zero Issuer where nobody said, and for a study that is not known.
func (x *Index) Issuer(ctx context.Context, studyInstanceUID string) (is storage.Issuer, err error) {
	err = each(ctx, x.read, `SELECT attributes FROM study WHERE uid = ?`, []any{studyInstanceUID}, func(rows *sql.Rows) error {
		var blob []byte
		if err := rows.Scan(&blob); err != nil {
			return err
		}
		ds, err := decodeSet(blob)
		is = IssuerOf(ds)
		return err
	})
	return is, err
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
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
	if attributes != nil { // otherwise they were not asked for
		in.Attributes, err = decodeSet(attributes)
	}
	return err
}

// Packs lists the archived packs that hold a part of what is selected, in the
// order of SeriesInstanceUID and of coming. A selected SOPInstanceUID leaves
// the packs that hold it. None is an empty list; a Selector without UIDs
// selects all there are.
func (x *Index) Packs(ctx context.Context, sel Selector) ([]Pack, error) {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
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
	where, args := sel.where("p.study", "p.series", "")
	var packs []Pack
	at := make(map[int64]int)
	err := each(ctx, q, `SELECT p.id, p.name, p.study, p.series, p.conflict, p.instances, p.members FROM pack p
		WHERE p.plan IS NULL AND `+filter+where+` ORDER BY p.series, p.id`, args, func(rows *sql.Rows) error {
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
		WHERE 1`+where+` ORDER BY k.pack, k.at, k.archive`, args, func(rows *sql.Rows) error {
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
