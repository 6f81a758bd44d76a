package index

import (
	"context"

	"github.com/esante-alsace/cigogne/storage"
)

// adopt enters a pack that was found in an archive. One that is known, planned
// or deleted only gains a copy.
func (c *change) adopt(ctx context.Context, a *AdoptedPack) error {
	known, err := c.isDeleted(ctx, a.Pack.PackID)
	if err != nil {
		return err
	}
	known = known && !a.Conflict // those that are kept aside in it are not deleted
	if !known {
		p, err := c.packRow(ctx, a.Pack.PackID)
		if err != nil {
			return err
		}
		known = p != nil
	}
	if known {
		_, err := c.archive(ctx, a.Pack)
		return err
	}
	return c.adoptFresh(ctx, a)
}

func (c *change) adoptFresh(ctx context.Context, a *AdoptedPack) error {
	of := a.Instances[0].Key
	id, err := c.insertPack(ctx, a.Pack.PackID, of.StudyInstanceUID, of.SeriesInstanceUID, a.Conflict, len(a.Instances), nil)
	if err != nil {
		return err
	}
	var entries [][memberBytes]byte
	seen := make(map[string]storage.Digest, len(a.Instances))
	for i := range a.Instances {
		in := a.Instances[i].bounded()
		first, twice := seen[in.Key.SOPInstanceUID]
		if twice && first == in.Digest {
			continue
		}
		why := WhyNone
		switch {
		case a.Conflict:
			err = c.adoptAside(ctx, in, id)
		case twice:
			why = WhyDigest
		default:
			seen[in.Key.SOPInstanceUID] = in.Digest
			why, err = c.adoptMember(ctx, in)
		}
		if err == nil && why != WhyNone {
			err = c.asideInPack(ctx, in, why, id)
		}
		if err != nil {
			return err
		}
		if why == WhyNone {
			entries = append(entries, member(in.Key.SOPInstanceUID, in.Digest))
		}
	}
	if _, err := c.archivePack.ExecContext(ctx, []byte(membersOf(entries)), len(a.Instances), id); err != nil {
		return err
	}
	delete(c.packed, of.StudyInstanceUID) // to be read again
	return c.addCopy(ctx, &packRow{id: id, study: of.StudyInstanceUID, series: of.SeriesInstanceUID, conflict: a.Conflict}, a.Pack)
}

// adoptMember counts one instance of an adopted pack, unless it is known; it
// tells why it may not be a member of the series.
func (c *change) adoptMember(ctx context.Context, in *Instance) (Why, error) {
	e, why, err := c.place(ctx, in)
	if err != nil {
		return why, err
	}
	if why != WhyNone {
		if same, err := c.holds(ctx, in); err != nil || same {
			return WhyNone, err
		}
		return why, nil
	}
	named, holds, err := c.inPack(ctx, in)
	switch {
	case err != nil:
		return WhyNone, err
	case named && !holds:
		return WhyDigest, nil
	case named: // another pack holds it too
		return WhyNone, nil
	}
	row, err := c.row(ctx, in.Key.SOPInstanceUID)
	switch {
	case err != nil:
		return WhyNone, err
	case row == nil:
		e.count(in)
		e.describe(in)
		c.cameIn(in, EventReceived)
		return WhyNone, nil
	case row.digest != in.Digest || row.series != e.id:
		return WhyDigest, nil
	case row.packID != "": // it leaves with the pack that is planned
		return WhyNone, nil
	}
	e.planned(row.size)
	_, err = c.dropInstance.ExecContext(ctx, row.id)
	return WhyNone, err
}

// adoptAside enters one instance of an adopted pack of conflicts, unless it is
// an instance of its series by now.
func (c *change) adoptAside(ctx context.Context, in *Instance, pack int64) error {
	_, why, err := c.place(ctx, in)
	if err != nil {
		return err
	}
	if why == WhyNone {
		why = WhyDigest
		if _, holds, err := c.inPack(ctx, in); err != nil || holds {
			return err
		}
		if row, err := c.row(ctx, in.Key.SOPInstanceUID); err != nil || row != nil && row.digest == in.Digest {
			return err
		}
	}
	return c.asideInPack(ctx, in, why, pack)
}

// asideInPack enters a conflict that lies in an archived pack; one that was
// still in a journal, and in no plan, lies there from now on.
func (c *change) asideInPack(ctx context.Context, in *Instance, why Why, pack int64) error {
	fresh, err := c.insertConflict(ctx, in, why, pack)
	if err != nil || fresh {
		return err
	}
	row, err := c.conflictRow(ctx, in.Key.SOPInstanceUID, in.Digest)
	if err != nil || row == nil || row.packID != "" {
		return err
	}
	_, err = c.moveConflict.ExecContext(ctx, pack, row.id)
	return err
}
