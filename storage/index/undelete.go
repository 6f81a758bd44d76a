package index

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// undo puts back what a deletion took, as it was. It does nothing when some of
// it has come again since, or when the study is another patient's by now:
// which of the two is meant is a person's to say.
func (c *change) undo(ctx context.Context, id int64, r *DeletionRecord, act Act) error {
	s, err := c.loadStudy(ctx, r.StudyInstanceUID)
	if err != nil {
		return err
	}
	was, err := c.deletedStudy(ctx, id)
	if err != nil {
		return err
	}
	if was != nil {
		clash, err := c.clashes(ctx, id, s, was)
		if err != nil || clash {
			return err
		}
		if err := c.putBack(ctx, id, s, was); err != nil {
			return err
		}
	}
	if err := c.forget(ctx, id); err != nil {
		return err
	}
	for _, drop := range []string{
		`DELETE FROM deleted_copy WHERE pack IN (SELECT id FROM deleted_pack WHERE deletion = ?)`,
		`DELETE FROM deleted_pack WHERE deletion = ?`,
	} {
		if _, err := c.exec(ctx, drop, id); err != nil {
			return err
		}
	}
	r.State, r.Undone = DeletionUndone, act
	c.deletionCame(r)
	return c.putDeletion(ctx, r)
}

// deletedStudy is the study of a deletion, without counts; nil for one of
// which nothing was found when it was restored.
func (c *change) deletedStudy(ctx context.Context, id int64) (*study, error) {
	var s *study
	err := each(ctx, c.conn, `SELECT received, classes, attributes FROM deleted_study WHERE deletion = ?`, []any{id}, func(rows *sql.Rows) error {
		s = &study{}
		var classes string
		var attributes []byte
		if err := rows.Scan(&s.received, &classes, &attributes); err != nil {
			return err
		}
		s.classes = splitList(classes)
		var err error
		s.attributes, err = decodeSet(attributes)
		return err
	})
	return s, err
}

// clashes tells whether something stands in the way of an undo.
func (c *change) clashes(ctx context.Context, id int64, s, was *study) (clash bool, err error) {
	if s.instances > 0 && len(s.attributes) > 0 && otherPatient(s.attributes, was.attributes) {
		return true, nil
	}
	err = c.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM deleted_series d JOIN series e ON e.study = ?2 AND e.uid = d.uid WHERE d.deletion = ?1)
		OR EXISTS (SELECT 1 FROM deleted_instance d JOIN instance i ON i.sop = d.sop WHERE d.deletion = ?1)
		OR EXISTS (SELECT 1 FROM deleted_instance d JOIN conflict c ON c.sop = d.sop AND c.digest = d.digest WHERE d.deletion = ?1)`, id, s.id).Scan(&clash)
	if err != nil || clash {
		return clash, err
	}
	if clash, err = c.keptAside(ctx, id, s.uid); err != nil || clash || s.instances == 0 {
		return clash, err
	}
	// A SOPInstanceUID may have come back under another series of the study.
	there, err := c.keysOf(ctx, `SELECT members FROM pack WHERE study = ?1 AND conflict = 0 AND plan IS NULL`,
		`SELECT i.sop FROM instance i JOIN series e ON e.id = i.series JOIN study s ON s.id = e.study WHERE s.uid = ?1`, s.uid)
	if err != nil {
		return false, err
	}
	back, err := c.keysOf(ctx, `SELECT members FROM deleted_pack WHERE deletion = ?1`, `SELECT sop FROM deleted_instance WHERE deletion = ?1`, id)
	for key := range back {
		clash = clash || there[key]
	}
	return clash, err
}

// keptAside tells whether an instance in a pack of the deletion has come again
// and is kept aside.
func (c *change) keptAside(ctx context.Context, id int64, study string) (aside bool, err error) {
	var packs []Members
	err = each(ctx, c.conn, `SELECT members FROM deleted_pack WHERE deletion = ?`, []any{id}, func(rows *sql.Rows) error {
		var m []byte
		err := rows.Scan(&m)
		packs = append(packs, m)
		return err
	})
	if err != nil {
		return false, err
	}
	err = each(ctx, c.conn, `SELECT sop, digest FROM conflict WHERE study = ?`, []any{study}, func(rows *sql.Rows) error {
		var sop string
		var b []byte
		err := rows.Scan(&sop, &b)
		var digest storage.Digest
		copy(digest[:], b)
		aside = aside || slices.ContainsFunc(packs, func(m Members) bool { return m.Holds(sop, digest) })
		return err
	})
	return aside, err
}

// keysOf gathers by which 8 bytes the SOPInstanceUIDs of members, and of rows,
// are known.
func (c *change) keysOf(ctx context.Context, members, sops string, of any) (map[[memberKey]byte]bool, error) {
	keys := map[[memberKey]byte]bool{}
	err := each(ctx, c.conn, members, []any{of}, func(rows *sql.Rows) error {
		var m []byte
		err := rows.Scan(&m)
		for i := range Members(m).Len() {
			keys[[memberKey]byte(Members(m).at(i)[:memberKey])] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, c.conn, sops, []any{of}, func(rows *sql.Rows) error {
		var sop string
		err := rows.Scan(&sop)
		m := member(sop, storage.Digest{})
		keys[[memberKey]byte(m[:memberKey])] = true
		return err
	})
	return keys, err
}

// putBack moves the rows of a deletion back, under a study that may be there
// or not.
func (c *change) putBack(ctx context.Context, id int64, s, was *study) error {
	from := s.takeIssuer(was.attributes)
	s.attributes, _ = fill(s.attributes, from, Study)
	p := PatientOf(s.attributes)
	s.patient, s.issuer = p.PatientID, p.Issuer
	s.date = columnDate(value(s.attributes, tagStudyDate))
	s.dirty = true
	if was.received > 0 && (s.received == 0 || was.received < s.received) {
		s.received = was.received
	}
	fresh := s.instances == 0
	back, err := c.deletedSeries(ctx, id, s)
	if err != nil {
		return err
	}
	for _, e := range back {
		if err := c.putSeriesBack(ctx, id, e); err != nil {
			return err
		}
		s.series++
		s.instances += e.instances
		s.manifests += e.manifests
		s.modalities = addTo(s.modalities, e.modality)
		for _, class := range e.classes {
			s.classes = addTo(s.classes, class)
		}
	}
	if fresh {
		for _, class := range was.classes {
			s.classes = addTo(s.classes, class)
		}
	}
	return nil
}

// deletedSeries are the series of a deletion, entered under the study.
func (c *change) deletedSeries(ctx context.Context, id int64, s *study) (back []*series, err error) {
	err = each(ctx, c.conn, `SELECT uid, modality, instances, newest, classes, attributes, manifests FROM deleted_series WHERE deletion = ? ORDER BY uid`,
		[]any{id}, func(rows *sql.Rows) error {
			c.lastSeries++
			e := &series{id: c.lastSeries, study: s, dirty: true}
			var classes string
			var attributes []byte
			if err := rows.Scan(&e.uid, &e.modality, &e.instances, &e.newest, &classes, &attributes, &e.manifests); err != nil {
				return err
			}
			e.classes = splitList(classes)
			back = append(back, e)
			var err error
			e.attributes, err = decodeSet(attributes)
			return err
		})
	for _, e := range back {
		c.series[[2]string{s.uid, e.uid}] = e
		c.order = append(c.order, e)
	}
	return back, err
}

func (c *change) putSeriesBack(ctx context.Context, id int64, e *series) error {
	if err := c.enterBack(ctx, id, e.uid); err != nil {
		return err
	}
	for _, move := range []string{
		`UPDATE pack SET members = (SELECT o.members FROM deleted_pack o WHERE o.name = pack.name)
			WHERE name IN (SELECT name FROM deleted_pack WHERE deletion = ?1 AND series = ?3)`, // kept for a conflict
		`INSERT INTO pack (name, study, series, conflict, instances, members, plan)
			SELECT o.name, ?4, o.series, 0, o.instances, o.members, o.plan FROM deleted_pack o
			WHERE o.deletion = ?1 AND o.series = ?3 AND NOT EXISTS (SELECT 1 FROM pack p WHERE p.name = o.name) ORDER BY o.id`,
		`INSERT INTO copy (pack, archive, key, size, crc32c, at)
			SELECT p.id, k.archive, k.key, k.size, k.crc32c, k.at FROM deleted_pack o JOIN deleted_copy k ON k.pack = o.id JOIN pack p ON p.name = o.name
			WHERE o.deletion = ?1 AND o.series = ?3 ON CONFLICT DO NOTHING`,
		`INSERT INTO instance (sop, series, number, digest, size, journal, segment, pack, record, attributes)
			SELECT i.sop, ?2, i.number, i.digest, i.size, i.journal, i.segment, (SELECT p.id FROM pack p WHERE p.name = i.pack), i.record, i.attributes
			FROM deleted_instance i WHERE i.deletion = ?1 AND i.series = ?3 ORDER BY i.id`,
	} {
		if _, err := c.conn.ExecContext(ctx, move, id, e.id, e.uid, e.study.uid); err != nil {
			return fmt.Errorf("put series %s back: %w", e.uid, err)
		}
	}
	return c.conn.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM instance WHERE series = ? AND pack IS NULL`, e.id).
		Scan(&e.unplanned, &e.bytes)
}

// enterBack enters the names of the instances that come back.
func (c *change) enterBack(ctx context.Context, id int64, series string) error {
	return each(ctx, c.conn, `SELECT sop FROM deleted_instance WHERE deletion = ? AND series = ?`, []any{id, series}, func(rows *sql.Rows) error {
		var sop string
		err := rows.Scan(&sop)
		c.live.enter(sop)
		return err
	})
}
