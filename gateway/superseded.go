package gateway

import (
	"context"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// standing leaves out the manifests of a study that stand no more. One may name
// somebody else, for whom the patient was taken then: who wants the study must
// not get it under two names. By its own name each is still given, and searches
// list and count what is given (index.Query).
func (r *Retriever) standing(ctx context.Context, study string, found []Instance) ([]Instance, error) {
	if !slices.ContainsFunc(found, isManifest) {
		return found, nil
	}
	life, err := r.o.Index.StudyLife(ctx, study)
	if err != nil {
		return nil, err
	}
	stands := life.Stands()
	return slices.DeleteFunc(found, func(in Instance) bool {
		return isManifest(in) && in.About().Key.SOPInstanceUID != stands
	}), nil
}

func isManifest(in Instance) bool { return in.About().Origin.Transport == storage.TransportManifest }
