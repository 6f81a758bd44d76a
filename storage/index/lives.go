package index

import (
	"context"
	"database/sql"
)

// lives gathers which studies a batch changes, and when they changed.
type lives struct {
	since map[string]int64
	order []string
}

// livesOn notes that what a study consists of has changed; since is 0 when
// nothing more is waited for.
func (c *change) livesOn(study string, since int64) {
	if c.lives.since == nil {
		c.lives.since = make(map[string]int64)
	}
	if _, known := c.lives.since[study]; !known {
		c.lives.order = append(c.lives.order, study)
	}
	c.lives.since[study] = since
}

func (s *statements) ofLives() []prepared {
	return []prepared{
		{&s.reopen, `INSERT INTO life (study, open, since, revision, owed, shared, due, record) VALUES (?1, 1, ?2, 1, 0, 0, -1, x'')
			ON CONFLICT DO UPDATE SET open = 1, since = ?2, revision = revision + 1, due = CASE WHEN shared = 1 AND ?2 = 0 THEN 0 ELSE due END`},
		{&s.reopenPatient, `UPDATE life SET since = CASE open WHEN 1 THEN since ELSE 0 END, open = 1, revision = revision + 1,
			due = CASE shared WHEN 1 THEN 0 ELSE due END WHERE study IN (SELECT uid FROM study WHERE patient = ? AND issuer = ?)`},
		{&s.complete, `UPDATE life SET open = 0, owed = ?2, due = CASE WHEN shared = 1 OR due = -2 THEN 0 ELSE due END, record = ?3, manifest = ?4 WHERE study = ?1`},
		{&s.made, `UPDATE life SET owed = 0, due = 0 WHERE study = ?`},
		{&s.dueOfPatient, `UPDATE life SET due = 0, since = CASE WHEN ?3 AND open = 0 THEN 0 ELSE since END,
			revision = revision + ?3, open = max(open, ?3) WHERE length(record) > 0 AND study IN (SELECT uid FROM study WHERE patient = ?1 AND issuer = ?2
			UNION SELECT s.uid FROM identity_link l JOIN study s ON s.patient = l.patient AND s.issuer = l.issuer WHERE l.number = ?1 AND l.authority = ?2)`},
		{&s.putPublication, `UPDATE life SET shared = ?2, due = ?3, record = ?4 WHERE study = ?1`},
		{&s.askPublication, `UPDATE life SET due = 0 WHERE study = ? AND due <> -1`},
		{&s.oppose, `INSERT INTO opposition VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET change = ?3`},
		{&s.unoppose, `DELETE FROM opposition WHERE patient = ? AND issuer = ?`},
	}
}

// reopenChanged writes which studies have changed.
func (c *change) reopenChanged(ctx context.Context, stamp *Stamp) error {
	for _, study := range c.lives.order {
		since := c.lives.since[study]
		if since != 0 && stamp != nil {
			since = max(since, stamp.At)
		}
		if _, err := c.reopen.ExecContext(ctx, study, since); err != nil {
			return err
		}
	}
	return nil
}

// life notes which studies have changed, then applies what was decided about
// studies as wholes.
func (c *change) life(ctx context.Context, l *Life, stamp *Stamp) error {
	if err := c.reopenChanged(ctx, stamp); err != nil || l == nil {
		return err
	}
	var at int64
	if stamp != nil {
		at = stamp.At
	}
	for i := range l.Completions {
		if err := c.completed(ctx, &l.Completions[i], at); err != nil {
			return err
		}
	}
	for _, m := range l.Made {
		life, err := c.loadLife(ctx, m.StudyInstanceUID)
		if err != nil {
			return err
		}
		if life == nil || life.Manifest == nil || life.Manifest.SOPInstanceUID != m.SOPInstanceUID || !life.Owed {
			continue
		}
		if _, err := c.made.ExecContext(ctx, m.StudyInstanceUID); err != nil {
			return err
		}
	}
	return nil
}

// completed closes a study, as a new version when it is different.
func (c *change) completed(ctx context.Context, d *Completion, at int64) error {
	life, err := c.loadLife(ctx, d.StudyInstanceUID)
	if err != nil || life == nil || !life.Open || life.Revision != d.Revision || d.Version < life.Version {
		return err
	}
	r, owed := life.LifeRecord, life.Owed
	if d.Version > life.Version {
		r = LifeRecord{
			Version: d.Version, Completed: at, Content: d.Content, Instances: d.Instances, Cause: d.Cause, By: d.By,
			Manifest: d.Manifest, Lack: d.Lack, Publication: r.Publication,
		}
		if owed = d.Manifest != nil; owed && r.Manifest.Created == 0 {
			r.Manifest.Created = at
		}
		c.happened(Event{
			Kind: EventComplete, StudyInstanceUID: d.StudyInstanceUID, Instances: d.Instances, First: at, Last: at, Version: d.Version,
		})
	}
	record, err := c.codec.enc.Marshal(r)
	if err != nil {
		return err
	}
	manifest := ""
	if r.Manifest != nil {
		manifest = r.Manifest.SOPInstanceUID
	}
	if _, err = c.complete.ExecContext(ctx, d.StudyInstanceUID, owed, record, manifest); err != nil || d.Found == nil {
		return err
	}
	life.LifeRecord = r
	return c.found(ctx, life, d.Found)
}

// found notes that the shared record may have a manifest, unless more is known.
func (c *change) found(ctx context.Context, life *StudyLife, m *Manifest) error {
	p := &life.Publication
	if p.Published != nil || p.inDoubt() != nil || p.Withdrawn != "" {
		return nil
	}
	p.Uncertain = m
	return c.writePublication(ctx, life, 0)
}

const lifeColumns = `study, open, since, revision, owed, due, record`

func (c *change) loadLife(ctx context.Context, study string) (life *StudyLife, err error) {
	all, err := livesOf(ctx, c.codec, c.conn, `WHERE study = ?`, study)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func livesOf(ctx context.Context, co codec, q querier, rest string, args ...any) (all []StudyLife, err error) {
	err = each(ctx, q, `SELECT `+lifeColumns+` FROM life `+rest, args, func(rows *sql.Rows) error {
		var l StudyLife
		var record []byte
		if err := rows.Scan(&l.StudyInstanceUID, &l.Open, &l.Since, &l.Revision, &l.Owed, &l.Due, &record); err != nil {
			return err
		}
		var err error
		if len(record) > 0 {
			err = co.decodeRow(record, &l.LifeRecord)
		}
		all = append(all, l)
		return err
	})
	return all, err
}

// StudyLife tells where a study is in its life; nil for one never heard of.
func (x *Index) StudyLife(ctx context.Context, study string) (*StudyLife, error) {
	all, err := livesOf(ctx, x.codec, x.read, `WHERE study = ?`, study)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// QuietStudies are those that have changed since they were complete, and not
// after that moment, in nanoseconds of Unix time: at most limit, the longest
// quiet first, and behind after when it is not nil.
func (x *Index) QuietStudies(ctx context.Context, until int64, after *StudyLife, limit int) ([]StudyLife, error) {
	if after == nil {
		after = &StudyLife{Since: -1}
	}
	return livesOf(ctx, x.codec, x.read, `WHERE open = 1 AND since <= ? AND (since, study) > (?, ?) ORDER BY since, study LIMIT ?`,
		until, after.Since, after.StudyInstanceUID, limit)
}

// OwedManifests are the complete studies whose manifest is not stored yet: at
// most limit, after a StudyInstanceUID and in the order of them.
func (x *Index) OwedManifests(ctx context.Context, after string, limit int) ([]StudyLife, error) {
	return livesOf(ctx, x.codec, x.read, `WHERE owed = 1 AND open = 0 AND study > ? ORDER BY study LIMIT ?`, after, limit)
}

// LifeCounts are of how many studies something is to be decided or made.
type LifeCounts struct {
	Open int64 // they have changed since they were complete
	Owed int64 // their manifest is not stored
}

// LifeCounts counts studies by what is still to come in their life.
func (x *Index) LifeCounts(ctx context.Context) (n LifeCounts, err error) {
	err = each(ctx, x.read, `SELECT (SELECT count(*) FROM life WHERE open = 1), (SELECT count(*) FROM life WHERE owed = 1)`, nil, func(rows *sql.Rows) error {
		return rows.Scan(&n.Open, &n.Owed)
	})
	return n, err
}
