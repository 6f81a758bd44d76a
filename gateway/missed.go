package gateway

import (
	"context"
	"slices"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/storage/index"
)

// missed tells what the index before had that is found nowhere now: an archive
// that is not mounted is an empty folder, and what an archive never got is
// decided in the old index alone. That one may be the reason for the rebuild:
// where it cannot be read this is told, and does not end it.
func (b *rebuild) missed(ctx context.Context) error {
	if b.Before == nil {
		return nil
	}
	for _, look := range []func(context.Context) error{b.missedPacks, b.missedDeletions, b.missedProtections, b.missedIdentities} {
		if err := look(ctx); err != nil {
			if ctx.Err() != nil {
				return err
			}
			b.problem("what the index before had was not looked at to its end: %v", err)
		}
	}
	return nil
}

func (b *rebuild) missedPacks(ctx context.Context) error {
	for after := int64(0); ; {
		packs, last, err := b.Before.PacksAfter(ctx, after, verifyList)
		if err != nil || len(packs) == 0 {
			return err
		}
		for _, p := range packs {
			if err := b.missedPack(ctx, p); err != nil {
				return err
			}
		}
		after = last
	}
}

func (b *rebuild) missedPack(ctx context.Context, p index.Pack) error {
	_, state, err := b.Index.PackNamed(ctx, p.PackID)
	if err != nil || state != index.PackUnknown {
		return err
	}
	for _, c := range p.Copies {
		if b.left[c.Key] || b.told.byPack[c.Key] != nil {
			return nil
		}
	}
	key := packKey(p.StudyInstanceUID, index.DeletedPack{SeriesInstanceUID: p.SeriesInstanceUID, PackID: p.PackID})
	if len(p.Copies) > 0 {
		key = p.Copies[0].Key
	}
	b.problem("%s: no archive has it, and the index before did, with %s in it", key, english.Plural(p.Instances, "instance", ""))
	return nil
}

func (b *rebuild) missedDeletions(ctx context.Context) error {
	for after := int64(0); ; {
		records, err := b.Before.Deletions(ctx, after, sweepList)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			after = r.Revision
			known := b.told.deletions[r.ID]
			undone := r.State == index.DeletionUndone
			switch {
			case known == nil && !undone:
				b.problem("deletion %s of study %s: no archive tells of it, and what it took may be shown again", r.ID, r.StudyInstanceUID)
			case known != nil && undone && known.State != index.DeletionUndone:
				b.problem("deletion %s of study %s: it was undone, and no archive tells of that", r.ID, r.StudyInstanceUID)
			}
		}
	}
}

func (b *rebuild) missedProtections(ctx context.Context) error {
	for after := int64(0); ; {
		records, err := b.Before.Protections(ctx, after, noteList)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			after = r.Revision
			if sameProtection(b.told.protections[r.StudyInstanceUID], &r) {
				continue
			}
			of := "all studies"
			if r.StudyInstanceUID != "" {
				of = "study " + r.StudyInstanceUID
			}
			b.problem("holds and retention of %s: no archive tells of them as they were set last", of)
		}
	}
}

// sameProtection compares what is set, where nothing is as good as no record.
func sameProtection(known, r *index.ProtectionRecord) bool {
	if known == nil {
		known = &index.ProtectionRecord{}
	}
	if known.Retention != nil && r.Retention != nil && *known.Retention != *r.Retention {
		return false
	}
	return (known.Retention == nil) == (r.Retention == nil) && slices.Equal(known.Holds, r.Holds)
}

func (b *rebuild) missedIdentities(ctx context.Context) error {
	changes, err := b.Before.UnkeptIdentities(ctx, identitiesMost)
	if err != nil {
		return err
	}
	for _, c := range changes {
		known, err := b.Index.IdentityChange(ctx, c.Name)
		if err != nil {
			return err
		}
		if known == nil {
			b.problem("decision %s about an identity (%s): no archive has it", c.Name, c.Kind)
		}
	}
	return nil
}
