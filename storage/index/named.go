package index

import (
	"bytes"
	"context"
	"database/sql"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// namedAtOnce is how many instances, and packs, are asked about in one
// statement.
const namedAtOnce = 500

// NamedStudies finds the studies in which instances lie of which nothing but
// the SOPInstanceUID is known: those that lie in a journal by their row, the
// others in the archived packs of the studies that were found so or are given,
// and then in up to most packs, the newest first. No row is kept of what is
// archived, so this reads 16 bytes of each instance in those packs. It returns
// the study of each that was found; who uses that looks there for the very
// instance.
func (x *Index) NamedStudies(ctx context.Context, sops, studies []string, most int) (map[string]string, error) {
	found := make(map[string]string, len(sops))
	left := make(map[nameKey]string, len(sops))
	for _, sop := range sops {
		left[nameKeyOf(sop)] = sop
	}
	take := func(sop, study string) {
		delete(left, nameKeyOf(sop))
		found[sop] = study
	}
	for part := range slices.Chunk(sops, namedAtOnce) {
		err := x.eachNamed(ctx, `SELECT i.sop, s.uid FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study
			WHERE i.sop IN (SELECT value FROM json_each(?))`, part, func(rows *sql.Rows) error {
			var sop, study string
			err := rows.Scan(&sop, &study)
			take(sop, study)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	seen := make(map[string]bool)
	for _, study := range found {
		studies = append(studies, study)
	}
	for _, study := range studies {
		if err := x.namedIn(ctx, study, seen, left, take); err != nil {
			return nil, err
		}
	}
	return found, x.namedAnywhere(ctx, most, seen, left, take)
}

// namedIn looks in the packs of one study, once.
func (x *Index) namedIn(ctx context.Context, study string, seen map[string]bool, left map[nameKey]string, take func(sop, study string)) error {
	if seen[study] || len(left) == 0 {
		return nil
	}
	seen[study] = true
	packs, err := membersIn(ctx, x.read, study)
	for _, m := range packs {
		for _, sop := range m.namedOf(left) {
			take(sop, study)
		}
	}
	return err
}

// namedAnywhere looks in the newest packs: what is found in one makes its study
// be looked at, as the others are likely to be there, too.
func (x *Index) namedAnywhere(ctx context.Context, most int, seen map[string]bool, left map[nameKey]string, take func(sop, study string)) error {
	before := int64(1<<63 - 1)
	for ; most > 0 && len(left) > 0; most -= namedAtOnce {
		last, holding := before, []string(nil)
		err := each(ctx, x.read, `SELECT id, study, members FROM pack WHERE id < ? AND conflict = 0 AND plan IS NULL ORDER BY id DESC LIMIT ?`,
			[]any{before, min(most, namedAtOnce)}, func(rows *sql.Rows) error {
				var study string
				var m sql.RawBytes
				if err := rows.Scan(&before, &study, &m); err != nil {
					return err
				}
				if len(Members(m).namedOf(left)) > 0 {
					holding = append(holding, study)
				}
				return nil
			})
		if err != nil || before == last {
			return err
		}
		for _, study := range holding {
			if err := x.namedIn(ctx, study, seen, left, take); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameKey is what members have of a SOPInstanceUID.
type nameKey [memberKey]byte

func nameKeyOf(sop string) nameKey {
	m := member(sop, storage.Digest{})
	return nameKey(m[:memberKey])
}

// namedOf are those of the names that members have, whichever of the two is
// the less to go through.
func (m Members) namedOf(names map[nameKey]string) (found []string) {
	if len(names)*searchCost < m.Len() {
		for h, sop := range names {
			if i := m.search(h[:]); i < m.Len() && bytes.HasPrefix(m.at(i), h[:]) {
				found = append(found, sop)
			}
		}
		return found
	}
	for i := range m.Len() {
		if sop, ok := names[nameKey(m.at(i)[:memberKey])]; ok {
			found = append(found, sop)
		}
	}
	return found
}

// searchCost is how many members are gone through in the time of one search.
const searchCost = 8

// AsideNamed lists what is kept aside under the SOPInstanceUIDs, archived or
// not.
func (x *Index) AsideNamed(ctx context.Context, sops []string) (aside []storage.Instance, err error) {
	for part := range slices.Chunk(sops, namedAtOnce) {
		err := x.eachNamed(ctx, `SELECT record FROM conflict WHERE sop IN (SELECT value FROM json_each(?))`, part, func(rows *sql.Rows) error {
			var record sql.RawBytes
			var r wireRecord
			if err := rows.Scan(&record); err != nil {
				return err
			}
			err := x.codec.decodeRow(record, &r)
			aside = append(aside, r.Instance)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return aside, nil
}

func (x *Index) eachNamed(ctx context.Context, query string, names []string, fn func(*sql.Rows) error) error {
	return each(ctx, x.read, query, []any{jsonList(names)}, fn)
}
