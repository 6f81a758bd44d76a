package gateway

import (
	"context"

	"github.com/esante-alsace/cigogne/storage/index"
)

// removedMeanwhile tells whether a pack that was just written is one that was
// deleted and is removed everywhere else. What was deleted and is still kept
// is not.
func removedMeanwhile(ctx context.Context, x *index.Index, packID, key string) (bool, error) {
	_, state, err := x.PackNamed(ctx, packID)
	if err != nil || state != index.PackUnknown {
		return false, err
	}
	deleted, err := deletedKeys(ctx, x)
	return err == nil && deleted[key] == index.DeletionRemoved, err
}

// deletedKeys are the keys of all packs that were deleted, with what is to
// become of them.
func deletedKeys(ctx context.Context, x *index.Index) (map[string]index.DeletionState, error) {
	keys := map[string]index.DeletionState{}
	for after := int64(0); ; {
		records, err := x.Deletions(ctx, after, sweepList)
		if err != nil || len(records) == 0 {
			return keys, err
		}
		for _, r := range records {
			for _, p := range r.Packs {
				if r.State != index.DeletionUndone {
					keys[packKey(r.StudyInstanceUID, p)] = r.State
				}
			}
			after = r.Revision
		}
	}
}
