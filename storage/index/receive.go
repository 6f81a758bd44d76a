package index

import (
	"context"
	"database/sql"
	"errors"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// wireRecord is how a row keeps the instance it is of.
type wireRecord struct {
	Instance storage.Instance `cbor:"1,keyasint"`
	At       Position         `cbor:"2,keyasint"`
}

// receive enters one instance, keeps it aside, or finds it known.
func (c *change) receive(ctx context.Context, came *Instance) (Outcome, error) {
	in := came.bounded()
	if known, err := c.passes(ctx, in); err != nil || known {
		return Outcome{Standing: StandingDuplicate}, err
	}
	e, why, err := c.place(ctx, in)
	if err != nil {
		return Outcome{}, err
	}
	if why != WhyNone {
		return c.refuse(ctx, in, why)
	}
	if named, holds, err := c.inPack(ctx, in); err != nil || named {
		if err == nil && holds {
			return Outcome{Standing: StandingDuplicate}, nil
		}
		if err != nil {
			return Outcome{}, err
		}
		return c.setAside(ctx, in, WhyDigest)
	}
	fresh, err := c.insert(ctx, in, e)
	if err != nil {
		return Outcome{}, err
	}
	if fresh {
		e.count(in)
		e.unplanned++
		e.bytes += in.Size
		e.describe(in)
		c.cameIn(in, EventReceived)
		return Outcome{Standing: StandingNew}, nil
	}
	row, err := c.row(ctx, in.Key.SOPInstanceUID)
	if err != nil {
		return Outcome{}, err
	}
	if row.digest == in.Digest {
		return Outcome{Standing: StandingDuplicate}, nil
	}
	return c.setAside(ctx, in, WhyDigest)
}

// passes tells whether there is nothing to enter: what is known may have moved
// here, and a manifest may be of a study that was deleted meanwhile.
func (c *change) passes(ctx context.Context, in *Instance) (bool, error) {
	if known, err := c.moves(ctx, in); err != nil || known || !in.isManifest() {
		return known, err
	}
	s, err := c.loadStudy(ctx, in.Key.StudyInstanceUID)
	return err == nil && s.instances == 0, err
}

// moves tells whether an instance that is known has moved here, is kept aside
// already, or was deleted where it lay before.
func (c *change) moves(ctx context.Context, in *Instance) (known bool, err error) {
	if moved, err := c.move(ctx, in); err != nil || moved {
		return true, err
	}
	if aside, err := c.isAside(ctx, in); err != nil || aside {
		return aside, err
	}
	return c.wasDeleted(ctx, in)
}

// isAside tells whether the very instance is kept aside already.
func (c *change) isAside(ctx context.Context, in *Instance) (aside bool, err error) {
	if c.noConflicts {
		return false, nil
	}
	err = c.hasConflict.QueryRowContext(ctx, in.Key.SOPInstanceUID, in.Digest[:]).Scan(&aside)
	return aside, err
}

// place finds the series of an instance, or says why it may not go there.
func (c *change) place(ctx context.Context, in *Instance) (*series, Why, error) {
	s, err := c.loadStudy(ctx, in.Key.StudyInstanceUID)
	if err != nil {
		return nil, WhyNone, err
	}
	if s.instances > 0 && !in.isManifest() && len(s.attributes) > 0 && otherPatient(s.attributes, in.Attributes) {
		return nil, WhyPatient, nil
	}
	e, err := c.loadSeries(ctx, s, in.Key.SeriesInstanceUID)
	return e, WhyNone, err
}

// holds tells whether the very instance is in its study already.
func (c *change) holds(ctx context.Context, in *Instance) (bool, error) {
	if _, holds, err := c.inPack(ctx, in); err != nil || holds {
		return holds, err
	}
	row, err := c.row(ctx, in.Key.SOPInstanceUID)
	return row != nil && row.digest == in.Digest, err
}

// inPack tells whether an archived pack of the study has the SOPInstanceUID,
// and whether it has the very instance.
func (c *change) inPack(ctx context.Context, in *Instance) (named, holds bool, err error) {
	packs, err := c.loadMembers(ctx, in.Key.StudyInstanceUID)
	if err != nil {
		return false, false, err
	}
	for _, m := range packs {
		if m.Named(in.Key.SOPInstanceUID) {
			if m.Holds(in.Key.SOPInstanceUID, in.Digest) {
				return true, true, nil
			}
			named = true
		}
	}
	return named, false, nil
}

func (c *change) loadMembers(ctx context.Context, studyUID string) ([]Members, error) {
	if packs, ok := c.packed[studyUID]; ok {
		return packs, nil
	}
	packs := []Members{}
	rows, err := c.members.QueryContext(ctx, studyUID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m []byte
		if err := rows.Scan(&m); err != nil {
			return nil, err
		}
		packs = append(packs, m)
	}
	c.packed[studyUID] = packs
	return packs, rows.Err()
}

// insert enters the row of an instance; it is false when another row has its
// SOPInstanceUID.
func (c *change) insert(ctx context.Context, in *Instance, e *series) (bool, error) {
	record, err := c.codec.enc.Marshal(wireRecord{in.Instance, in.At})
	if err != nil {
		return false, err
	}
	c.picked = pick(c.picked[:0], in.Attributes, Image)
	attributes, err := c.codec.encodeSet(c.picked)
	if err != nil {
		return false, err
	}
	c.live.enter(in.Key.SOPInstanceUID)
	res, err := c.putInstance.ExecContext(ctx, in.Key.SOPInstanceUID, e.id, instanceNumber(in.Attributes),
		in.Digest[:], in.Size, string(in.At.Journal), int64(in.At.Segment), record, attributes)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// refuse sets an instance aside whose study is another patient's, unless it is
// there already: the same bytes can come from a site that knows no better
// whose they are.
func (c *change) refuse(ctx context.Context, in *Instance, why Why) (Outcome, error) {
	if same, err := c.holds(ctx, in); err != nil || same {
		return Outcome{Standing: StandingDuplicate}, err
	}
	return c.setAside(ctx, in, why)
}

// setAside enters an instance among the conflicts; one that is there already
// is a duplicate.
func (c *change) setAside(ctx context.Context, in *Instance, why Why) (Outcome, error) {
	fresh, err := c.insertConflict(ctx, in, why, nil)
	switch {
	case err != nil:
		return Outcome{}, err
	case !fresh:
		return Outcome{Standing: StandingDuplicate}, nil
	}
	return Outcome{Standing: StandingConflict, Why: why}, nil
}

// insertConflict enters a conflict; pack is the id of the archived pack it
// lies in, or nil.
func (c *change) insertConflict(ctx context.Context, in *Instance, why Why, pack any) (bool, error) {
	c.noConflicts = false
	c.live.enter(in.Key.SOPInstanceUID)
	record, err := c.codec.enc.Marshal(wireRecord{in.Instance, in.At})
	if err != nil {
		return false, err
	}
	attributes, err := c.codec.encodeSet(in.Attributes)
	if err != nil {
		return false, err
	}
	live := 1
	if pack != nil {
		live = 0
	}
	res, err := c.putConflict.ExecContext(ctx, in.Key.SOPInstanceUID, in.Key.StudyInstanceUID, in.Key.SeriesInstanceUID,
		instanceNumber(in.Attributes), in.Digest[:], int(why), in.Size, in.Received,
		string(in.At.Journal), int64(in.At.Segment), pack, live, record, attributes)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if n > 0 {
		c.cameIn(in, EventKeptAside)
	}
	return n > 0, err
}

// liveRow is what must be known of a row to change it.
type liveRow struct {
	id, series, size    int64
	digest              storage.Digest
	packID              string
	seriesUID, studyUID string
	record, attributes  []byte
}

// row finds the row of a SOPInstanceUID; it is nil when there is none.
func (c *change) row(ctx context.Context, sop string) (*liveRow, error) {
	var r liveRow
	var digest []byte
	var seriesUID, studyUID sql.NullString // their rows are written at the end
	err := c.instance.QueryRowContext(ctx, sop).Scan(&r.id, &digest, &r.series, &r.size, &r.packID,
		&seriesUID, &studyUID, &r.record, &r.attributes)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is no failure
	}
	copy(r.digest[:], digest)
	r.seriesUID, r.studyUID = seriesUID.String, studyUID.String
	if !seriesUID.Valid {
		for _, e := range c.order {
			if e.id == r.series {
				r.seriesUID, r.studyUID = e.uid, e.study.uid
			}
		}
	}
	return &r, err
}

// pick appends the part of a Data Set that is of one level.
func pick(out, ds dicom.DataSet, l Level) dicom.DataSet {
	for i := range ds {
		if isOf(ds[i].Tag, l) && ds[i].Bulk == nil {
			out = append(out, ds[i])
		}
	}
	return out
}
