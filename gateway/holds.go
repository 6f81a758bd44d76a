package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Hold keeps a study, whatever its age, until the hold of that name is
// released. A study that is not there, or is being removed already, is
// storage.ErrNotFound; when that is decided at this moment, it is
// storage.ErrConflict, as is one hold more than index.HoldsMost. A study that is
// marked as deleted is kept, though not put back.
func (c *Custodian) Hold(ctx context.Context, name string, q Request) (index.Kept, error) {
	if err := c.o.Indexer.surely(ctx); err != nil {
		return index.Kept{}, err
	}
	// In this order: what is decided from here on is among those.
	before, err := c.marked(ctx, q.StudyInstanceUID)
	if err != nil {
		return index.Kept{}, err
	}
	now, err := c.o.Index.Kept(ctx, q.StudyInstanceUID)
	if err != nil {
		return index.Kept{}, err
	}
	if len(now.Holds) >= index.HoldsMost && !stands(now.Holds, name) {
		return index.Kept{}, fmt.Errorf("%w: %d holds stand on the study, and no more can", storage.ErrConflict, len(now.Holds))
	}
	kept, err := c.protect(ctx, "held", index.Protection{Step: index.SetHold, Hold: name}, q)
	if err == nil && !stands(kept.Holds, name) {
		err = fmt.Errorf("%w: hold %q was released at once, or came too late to be one of %d", storage.ErrConflict, name, index.HoldsMost)
	}
	if err != nil || len(before) == 0 {
		return kept, err
	}
	still, err := c.marked(ctx, q.StudyInstanceUID)
	for id := range before {
		if r, gerr := c.o.Index.Deletion(ctx, id); err == nil && gerr == nil && !still[id] && r.State != index.DeletionUndone {
			return kept, fmt.Errorf("%w: the hold came too late for what deletion %s took: it is %s", storage.ErrConflict, id, r.State)
		}
	}
	return kept, err
}

// marked are the deletions of a study that can be undone.
func (c *Custodian) marked(ctx context.Context, study string) (map[string]bool, error) {
	all, err := c.o.Index.DeletionsOf(ctx, study)
	marked := map[string]bool{}
	for _, r := range all {
		if r.State == index.DeletionMarked {
			marked[r.ID] = true
		}
	}
	return marked, err
}

// Release ends a hold; one that does not stand is storage.ErrNotFound.
func (c *Custodian) Release(ctx context.Context, name string, q Request) (index.Kept, error) {
	if err := c.o.Indexer.surely(ctx); err != nil {
		return index.Kept{}, err
	}
	p, err := c.o.Index.Protection(ctx, q.StudyInstanceUID)
	if err != nil {
		return index.Kept{}, err
	}
	if stands(p.Holds, name) {
		return c.protect(ctx, "hold released", index.Protection{Step: index.ClearHold, Hold: name}, q)
	}
	return index.Kept{}, fmt.Errorf("%w: hold %q", storage.ErrNotFound, name)
}

func stands(holds []index.Hold, name string) bool {
	return slices.ContainsFunc(holds, func(h index.Hold) bool { return h.Name == name })
}
