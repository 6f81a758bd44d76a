package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
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
	c := p.Copies[0]
	want := set.Want{Size: c.Size, CRC32C: c.CRC32C}
	if want.CRC32C == 0 { // entered by a rebuild, which does not read it all
		from, ok := r.each[c.Archive]
		if !ok {
			return fmt.Errorf("archive %s is not configured", c.Archive)
		}
		var err error
		if want.CRC32C, err = soundChecksum(ctx, &packBlob{archive: from, key: c.Key, size: c.Size}); err != nil {
			return err
		}
	}
	done, err := r.archive.Repair(ctx, c.Key, want)
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
