package index

import (
	"context"
	"database/sql"
	"errors"

	"github.com/esante-alsace/cigogne/storage"
)

// packRow is a row of pack while a batch is applied.
type packRow struct {
	id            int64
	study, series string
	conflict      bool
	plan          []byte // nil once it is archived
}

// packRow finds a pack by its id; it is nil when there is none.
func (c *change) packRow(ctx context.Context, name string) (*packRow, error) {
	var p packRow
	err := c.pack.QueryRowContext(ctx, name).Scan(&p.id, &p.study, &p.series, &p.conflict, &p.plan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is no failure
	}
	return &p, err
}

// plan marks the members of a pack that is going to be written; it refuses,
// and changes nothing, when one of them has no row or another plan holds it.
func (c *change) plan(ctx context.Context, p *Plan) (bool, error) {
	if known, err := c.packRow(ctx, p.PackID); err != nil || known != nil {
		return known != nil, err
	}
	if doomed, err := c.isDeleted(ctx, p.PackID); err != nil || doomed {
		return false, err
	}
	rows, err := c.plannable(ctx, p)
	if err != nil || rows == nil {
		return false, err
	}
	encoded, err := c.codec.enc.Marshal(p)
	if err != nil {
		return false, err
	}
	id, err := c.insertPack(ctx, p.PackID, p.StudyInstanceUID, p.SeriesInstanceUID, p.Conflict, len(p.SOPs), encoded)
	if err != nil {
		return false, err
	}
	if p.Conflict {
		for i, sop := range p.SOPs {
			if _, err := c.planConflict.ExecContext(ctx, id, sop, p.Members[i][:]); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	e, err := c.seriesOf(ctx, p.StudyInstanceUID, p.SeriesInstanceUID)
	if err != nil {
		return false, err
	}
	for i, sop := range p.SOPs {
		if _, err := c.planInstance.ExecContext(ctx, id, sop); err != nil {
			return false, err
		}
		e.planned(rows[i].size)
	}
	return true, nil
}

// planned takes an instance of that size out of what is to be packed.
func (e *series) planned(size int64) {
	e.unplanned--
	e.bytes -= size
	e.dirty = true
}

func (c *change) seriesOf(ctx context.Context, studyUID, seriesUID string) (*series, error) {
	s, err := c.loadStudy(ctx, studyUID)
	if err != nil {
		return nil, err
	}
	return c.loadSeries(ctx, s, seriesUID)
}

// plannable reads the rows of the plan's members; it is nil when not all may
// be planned.
func (c *change) plannable(ctx context.Context, p *Plan) ([]*liveRow, error) {
	rows := make([]*liveRow, len(p.SOPs))
	twice := make(map[string]bool, len(p.SOPs))
	for i, sop := range p.SOPs {
		var err error
		if p.Conflict {
			rows[i], err = c.conflictRow(ctx, sop, p.Members[i])
		} else {
			rows[i], err = c.row(ctx, sop)
		}
		if err != nil {
			return nil, err
		}
		member := sop + "/" + string(p.Members[i][:])
		r := rows[i]
		if r == nil || r.digest != p.Members[i] || r.packID != "" || twice[member] ||
			r.studyUID != p.StudyInstanceUID || r.seriesUID != p.SeriesInstanceUID {
			return nil, nil
		}
		twice[member] = true
	}
	return rows, nil
}

// conflictRow finds a conflict that lies in a journal.
func (c *change) conflictRow(ctx context.Context, sop string, digest storage.Digest) (*liveRow, error) {
	r := &liveRow{digest: digest}
	var live bool
	err := c.conflict.QueryRowContext(ctx, sop, digest[:]).Scan(&r.id, &r.studyUID, &r.seriesUID, &live, &r.packID)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !live {
		return nil, nil //nolint:nilnil // none is no failure
	}
	return r, err
}

func (c *change) insertPack(ctx context.Context, name, study, series string, conflict bool, n int, plan []byte) (int64, error) {
	var encoded any // NULL for none
	if plan != nil {
		encoded = plan
	}
	res, err := c.putPack.ExecContext(ctx, name, study, series, conflict, n, []byte{}, encoded)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// archive records a copy of a planned pack; with the first, its instances lose
// their rows. It refuses a pack that was never planned.
func (c *change) archive(ctx context.Context, a PackArchive) (bool, error) {
	p, err := c.packRow(ctx, a.PackID)
	if err != nil {
		return false, err
	}
	if p == nil {
		return c.archiveDeleted(ctx, a)
	}
	if p.plan != nil {
		if err := c.settle(ctx, p); err != nil {
			return false, err
		}
	}
	return true, c.addCopy(ctx, p, a)
}

func (c *change) addCopy(ctx context.Context, p *packRow, a PackArchive) error {
	var known bool
	if err := c.hasCopy.QueryRowContext(ctx, p.id, a.Archive).Scan(&known); err != nil {
		return err
	}
	if _, err := c.putCopy.ExecContext(ctx, p.id, a.Archive, a.Key, a.Size, int64(a.CRC32C), a.At); err != nil || known {
		return err
	}
	e := Event{
		Kind: EventArchived, StudyInstanceUID: p.study, SeriesInstanceUID: p.series,
		Bytes: a.Size, First: a.At - a.Took, Last: a.At, Took: a.Took, Archive: a.Archive, PackID: a.PackID,
	}
	err := c.packInstances.QueryRowContext(ctx, p.id).Scan(&e.Instances)
	c.happened(e)
	return err
}

// settle turns a plan into a pack.
func (c *change) settle(ctx context.Context, p *packRow) error {
	var plan Plan
	if err := c.codec.decodeRow(p.plan, &plan); err != nil {
		return err
	}
	drop := c.dropPlanned
	if p.conflict {
		drop = c.archiveConflicts
	}
	if _, err := drop.ExecContext(ctx, p.id); err != nil {
		return err
	}
	delete(c.packed, p.study) // to be read again
	_, err := c.archivePack.ExecContext(ctx, []byte(membersOfPlan(&plan)), len(plan.SOPs), p.id)
	return err
}

func membersOfPlan(p *Plan) Members {
	entries := make([][memberBytes]byte, len(p.SOPs))
	for i, sop := range p.SOPs {
		entries[i] = member(sop, p.Members[i])
	}
	return membersOf(entries)
}
