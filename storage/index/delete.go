package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// applyDeletions applies what comes after all else in a batch. The studies and
// series in memory are written by then; a deletion changes their rows.
func (c *change) applyDeletions(ctx context.Context, b Batch) error {
	for i := range b.Protections {
		if err := c.protect(ctx, &b.Protections[i]); err != nil {
			return err
		}
	}
	for i := range b.Deletions {
		if err := c.begin(ctx); err != nil {
			return err
		}
		if err := c.deletion(ctx, &b.Deletions[i]); err != nil {
			return err
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) deletion(ctx context.Context, d *Deletion) error {
	id, r, err := c.loadDeletion(ctx, d.ID)
	switch {
	case err != nil:
		return err
	case r == nil && d.Step == MarkDeletion:
		return c.mark(ctx, d)
	case d.Step == RestoreDeletion:
		return c.restoreDeletion(ctx, d, r)
	case r == nil:
		return nil
	case d.Step == UndoDeletion && r.State == DeletionMarked:
		return c.undo(ctx, id, r, d.Act)
	case d.Step == DecideDeletion && r.State == DeletionMarked && d.Act.At >= r.Due:
		return c.decide(ctx, id, r, d.Act.At)
	case d.Step == PackGone && r.State == DeletionDecided:
		return c.packGone(ctx, id, r, d)
	}
	return nil
}

// loadDeletion finds a deletion; it is nil when there is none.
func (c *change) loadDeletion(ctx context.Context, name string) (id int64, r *DeletionRecord, err error) {
	var record []byte
	err = c.conn.QueryRowContext(ctx, `SELECT id, record FROM deletion WHERE name = ?`, name).Scan(&id, &record)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	}
	if err == nil {
		r = new(DeletionRecord)
		err = c.codec.decodeRow(record, r)
	}
	return id, r, err
}

// putDeletion writes a deletion as of a new revision.
func (c *change) putDeletion(ctx context.Context, r *DeletionRecord) (err error) {
	if r.Revision, err = c.nextRevision(ctx); err != nil {
		return err
	}
	return c.writeDeletion(ctx, r)
}

func (c *change) writeDeletion(ctx context.Context, r *DeletionRecord) error {
	record, err := c.codec.enc.Marshal(r)
	if err != nil {
		return err
	}
	_, err = c.exec(ctx, `INSERT INTO deletion (name, study, series, state, due, revision, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (name) DO UPDATE SET state = ?4, due = ?5, revision = ?6, record = ?7`,
		r.ID, r.StudyInstanceUID, r.SeriesInstanceUID, int(r.State), r.Due, r.Revision, record)
	return err
}

// mark takes a study or a series out of sight, unless something keeps it.
func (c *change) mark(ctx context.Context, d *Deletion) error {
	s, err := c.known(ctx, d.StudyInstanceUID)
	if err != nil || s == nil {
		return err
	}
	kept, err := c.codec.keptBy(ctx, c.conn, s.uid, s.date, s.received)
	if err != nil || kept.At(d.Act.At) {
		return err
	}
	r := &DeletionRecord{
		ID: d.ID, StudyInstanceUID: d.StudyInstanceUID, SeriesInstanceUID: d.SeriesInstanceUID,
		State: DeletionMarked, Marked: d.Act, Due: d.Due,
	}
	if err := c.bound(ctx, r); err != nil {
		return err
	}
	series, err := c.seriesToDelete(ctx, s, d.SeriesInstanceUID)
	if err != nil || len(series) == 0 {
		return err
	}
	if err := c.putDeletion(ctx, r); err != nil { // for its id; it is complete below
		return err
	}
	if err := c.take(ctx, s, series, r); err != nil {
		return err
	}
	c.deletionCame(r)
	return c.writeDeletion(ctx, r)
}

// bound notes what of its study a deletion does not take: what comes later,
// and what is kept aside.
func (c *change) bound(ctx context.Context, r *DeletionRecord) error {
	err := each(ctx, c.conn, `SELECT name, segment, position FROM journal ORDER BY name`, nil, func(rows *sql.Rows) error {
		var p Position
		err := rows.Scan(&p.Journal, &p.Segment, &p.Offset)
		r.Through = append(r.Through, p)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, c.conn, `SELECT digest FROM conflict WHERE study = ?1 AND (?2 = '' OR series = ?2) ORDER BY id LIMIT ?3`,
		[]any{r.StudyInstanceUID, r.SeriesInstanceUID, BatchRows}, func(rows *sql.Rows) error {
			var b []byte
			err := rows.Scan(&b)
			var digest storage.Digest
			copy(digest[:], b)
			r.Aside = append(r.Aside, digest)
			return err
		})
}

// known is the study as it stands, or nil.
func (c *change) known(ctx context.Context, uid string) (*study, error) {
	s, err := c.loadStudy(ctx, uid)
	if err != nil || s.instances == 0 {
		return nil, err
	}
	return s, nil
}

func (c *change) seriesToDelete(ctx context.Context, s *study, uid string) (series []*series, err error) {
	var uids []string
	err = each(ctx, c.conn, `SELECT uid FROM series WHERE study = ?1 AND (?2 = '' OR uid = ?2) ORDER BY uid`, []any{s.id, uid}, func(rows *sql.Rows) error {
		var uid string
		err := rows.Scan(&uid)
		uids = append(uids, uid)
		return err
	})
	for _, uid := range uids {
		if err != nil {
			return nil, err
		}
		var e, lerr = c.loadSeries(ctx, s, uid)
		series, err = append(series, e), lerr
	}
	return series, err
}

// take moves the series' rows into those of the deletion, and counts them in
// its record.
func (c *change) take(ctx context.Context, s *study, series []*series, r *DeletionRecord) error {
	attributes, err := c.codec.encodeSet(s.attributes)
	if err != nil {
		return err
	}
	if _, err := c.exec(ctx, `INSERT INTO deleted_study (deletion, date, received, classes, attributes) SELECT id, ?2, ?3, ?4, ?5 FROM deletion WHERE name = ?1`,
		r.ID, s.date, s.received, strings.Join(s.classes, `\`), attributes); err != nil {
		return err
	}
	for _, e := range series {
		if err := c.takeSeries(ctx, e, r.ID); err != nil {
			return err
		}
		r.Series++
		r.Instances += e.instances
		s.series--
		s.instances -= e.instances
		s.manifests -= e.manifests
	}
	if r.Packs, err = c.deletedPacks(ctx, r.ID); err != nil {
		return err
	}
	return c.shrink(ctx, s)
}

// takeSeries moves the rows of one series. The row of a pack in which an
// instance lies that is kept aside stays, without members.
func (c *change) takeSeries(ctx context.Context, e *series, name string) error {
	e.dirty = false
	for _, move := range []string{
		`INSERT INTO deleted_series (deletion, uid, modality, instances, newest, classes, attributes, manifests)
			SELECT d.id, e.uid, e.modality, e.instances, e.newest, e.classes, e.attributes, e.manifests FROM series e, deletion d WHERE e.id = ?1 AND d.name = ?2`,
		`INSERT INTO deleted_instance (deletion, series, sop, number, digest, size, journal, segment, pack, record, attributes)
			SELECT d.id, ?4, i.sop, i.number, i.digest, i.size, i.journal, i.segment, coalesce(p.name, ''), i.record, i.attributes
			FROM deletion d JOIN instance i ON i.series = ?1 LEFT JOIN pack p ON p.id = i.pack WHERE d.name = ?2 ORDER BY i.id`,
		`INSERT INTO deleted_pack (deletion, name, series, instances, members, plan)
			SELECT d.id, p.name, p.series, p.instances, p.members, p.plan FROM deletion d JOIN pack p ON p.study = ?3 AND p.series = ?4
			WHERE d.name = ?2 AND p.conflict = 0 AND (p.plan IS NOT NULL OR length(p.members) > 0) ORDER BY p.id`,
		`INSERT INTO deleted_copy (pack, archive, key, size, crc32c, at)
			SELECT o.id, k.archive, k.key, k.size, k.crc32c, k.at FROM deletion d JOIN deleted_pack o ON o.deletion = d.id AND o.series = ?4
			JOIN pack p ON p.name = o.name JOIN copy k ON k.pack = p.id WHERE d.name = ?2 ORDER BY o.id, k.archive`,
		`DELETE FROM instance WHERE series = ?1`,
		`UPDATE pack SET members = x'' WHERE study = ?3 AND series = ?4 AND conflict = 0`,
		`DELETE FROM copy WHERE pack IN (SELECT p.id FROM pack p WHERE p.study = ?3 AND p.series = ?4 AND p.conflict = 0
			AND NOT EXISTS (SELECT 1 FROM conflict c WHERE c.pack = p.id))`,
		`DELETE FROM pack WHERE study = ?3 AND series = ?4 AND conflict = 0 AND NOT EXISTS (SELECT 1 FROM conflict c WHERE c.pack = pack.id)`,
		`DELETE FROM series WHERE id = ?1`,
	} {
		if _, err := c.conn.ExecContext(ctx, move, e.id, name, e.study.uid, e.uid); err != nil {
			return fmt.Errorf("take series %s: %w", e.uid, err)
		}
	}
	return nil
}

// deletedPacks lists what a deletion has to remove from the archives.
func (c *change) deletedPacks(ctx context.Context, name string) (packs []DeletedPack, err error) {
	err = each(ctx, c.conn, `SELECT o.series, o.name, coalesce((SELECT min(k.key) FROM deleted_copy k WHERE k.pack = o.id), '')
		FROM deletion d JOIN deleted_pack o ON o.deletion = d.id WHERE d.name = ? ORDER BY o.id`, []any{name}, func(rows *sql.Rows) error {
		var p DeletedPack
		err := rows.Scan(&p.SeriesInstanceUID, &p.PackID, &p.Key)
		packs = append(packs, p)
		return err
	})
	return packs, err
}

// shrink writes what is left of a study, which may be nothing.
func (c *change) shrink(ctx context.Context, s *study) error {
	for _, m := range s.stored.modalities {
		if _, err := c.dropModality.ExecContext(ctx, m, s.stored.date, s.id); err != nil {
			return err
		}
	}
	s.stored.modalities = nil
	if s.instances <= 0 {
		s.dirty = false
		if err := c.dropNames(ctx, s); err != nil {
			return err
		}
		_, err := c.exec(ctx, `DELETE FROM study WHERE id = ?`, s.id)
		return err
	}
	s.modalities, s.classes, s.dirty = nil, nil, true
	return each(ctx, c.conn, `SELECT modality, classes FROM series WHERE study = ? ORDER BY uid`, []any{s.id}, func(rows *sql.Rows) error {
		var modality, classes string
		if err := rows.Scan(&modality, &classes); err != nil {
			return err
		}
		s.modalities = addTo(s.modalities, modality)
		for _, class := range splitList(classes) {
			s.classes = addTo(s.classes, class)
		}
		return nil
	})
}

// unknown is what there is none of.
func unknown(what, name string) error {
	return fmt.Errorf("%w: %s %s", storage.ErrNotFound, what, name)
}
