package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

const (
	// repairEvery is the time between two looks for packs with too few
	// copies, and repairList how many are taken up at once.
	repairEvery = 30 * time.Second
	repairList  = 64
)

// Repairer brings packs to the archives that do not have them: those that
// were away when the packs were written. Which have is known to the index.
type Repairer struct {
	index    *index.Index
	proposer Proposer
	archive  Copier
	each     map[string]archive.Archive
	log      *slog.Logger
	now      func() time.Time
}

// NewRepairer returns a Repairer of the set that archives make.
func NewRepairer(x *index.Index, p Proposer, all Copier, archives []archive.Archive, log *slog.Logger) *Repairer {
	r := &Repairer{index: x, proposer: p, archive: all, each: map[string]archive.Archive{}, log: log, now: time.Now}
	for _, a := range archives {
		r.each[a.String()] = a
	}
	return r
}

// Run repairs until ctx ends. What fails is tried again at the next look.
func (r *Repairer) Run(ctx context.Context) error {
	for {
		if err := r.Pass(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("packs lie on too few archives, will try again", "error", err)
		}
		if err := pause(ctx, repairEvery); err != nil {
			return err
		}
	}
}

// Pass repairs what lies on too few archives now, oldest first.
func (r *Repairer) Pass(ctx context.Context) error {
	var failed error
	for after := int64(0); ; {
		packs, last, err := r.index.Incomplete(ctx, len(r.each), after, repairList)
		if err != nil || len(packs) == 0 {
			return errors.Join(failed, err)
		}
		for _, p := range packs {
			if err := r.repair(ctx, p); err != nil {
				failed = fmt.Errorf("pack %s: %w", p.PackID, err) // the last one tells enough
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		after = last
	}
}

func (r *Repairer) repair(ctx context.Context, p index.Pack) error {
	if len(p.Copies) == 0 {
		return errors.New("the index names no copy")
	}
	c, err := r.known(ctx, p)
	if err != nil {
		return err
	}
	done, err := r.archive.Repair(ctx, c.Key, set.Want{Size: c.Size, CRC32C: c.CRC32C})
	switch removed, rerr := removedMeanwhile(ctx, r.index, p.PackID, c.Key); {
	case rerr != nil:
		return errors.Join(err, rerr)
	case removed:
		return r.archive.Remove(ctx, c.Key)
	}
	had := map[string]bool{}
	for _, c := range p.Copies {
		had[c.Archive] = true
	}
	var fresh []index.PackArchive
	for _, c := range copiesOf(p.PackID, c.Key, done, r.now()) {
		if !had[c.Archive] {
			fresh = append(fresh, c)
		}
	}
	if len(fresh) == 0 {
		return err
	}
	r.log.Info("repaired", "pack", p.PackID, "copies", len(p.Copies)+len(fresh))
	return errors.Join(err, r.proposer.Propose(ctx, index.Batch{Archived: fresh}))
}

// known is a copy of which it is known what it must be. A rebuild does not read
// packs: then it is one that is sound and holds what the index says, for others
// are made like it.
func (r *Repairer) known(ctx context.Context, p index.Pack) (index.PackArchive, error) {
	for _, c := range p.Copies {
		if c.CRC32C != 0 {
			return c, nil
		}
	}
	var failed []error
	for _, c := range p.Copies {
		from, ok := r.each[c.Archive]
		if !ok {
			failed = append(failed, fmt.Errorf("archive %s is not configured", c.Archive))
			continue
		}
		blob := &packBlob{archive: from, key: c.Key, size: c.Size}
		sum, err := soundChecksum(ctx, blob)
		if err == nil {
			err = holds(ctx, r.index, p, blob)
		}
		if c.CRC32C = sum; err == nil {
			return c, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", c.Archive, err))
	}
	return index.PackArchive{}, errors.Join(failed...)
}

// holds fails with storage.ErrCorrupt for a pack that is not what the index says
// of it, sound or not: an archive may have another under its key.
func holds(ctx context.Context, x *index.Index, p index.Pack, blob *packBlob) error {
	d, err := pack.ReadDirectory(ctx, blob)
	if err != nil {
		return err
	}
	members, err := membersOf(ctx, x, p)
	if err != nil {
		return err
	}
	found := 0
	for i := range d.Entries {
		in := &d.Entries[i].Instance
		has := index.StandingConflict
		switch {
		case in.Key.StudyInstanceUID != p.StudyInstanceUID || in.Key.SeriesInstanceUID != p.SeriesInstanceUID:
		case members.Holds(in.Key.SOPInstanceUID, in.Digest):
			found++
			continue
		default: // it may be kept aside
			if has, err = x.Has(ctx, index.Instance{Instance: *in}); err != nil {
				return err
			}
		}
		if has != index.StandingDuplicate {
			return fmt.Errorf("%w: it holds instance %s, which the index does not have there", storage.ErrCorrupt, in.Key.SOPInstanceUID)
		}
	}
	if len(d.Entries) != p.Instances || found != members.Len() {
		return fmt.Errorf("%w: it holds %d instances, of which %d are among the %d of the index", storage.ErrCorrupt, len(d.Entries), found, p.Instances)
	}
	return nil
}

// membersOf are those that the index knows of a pack; none of one of conflicts.
func membersOf(ctx context.Context, x *index.Index, p index.Pack) (index.Members, error) {
	if p.Conflict {
		return nil, nil
	}
	packs, err := x.Packs(ctx, index.Selector{StudyInstanceUID: p.StudyInstanceUID, SeriesInstanceUID: p.SeriesInstanceUID})
	if err != nil {
		return nil, err
	}
	for _, known := range packs {
		if known.PackID == p.PackID {
			return known.Members, nil
		}
	}
	return nil, nil
}
