package gateway_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestDeleteWhatIsNotShown: of a study whose series were deleted, the manifests
// that stand no more can be deleted, though nothing lists them.
func TestDeleteWhatIsNotShown(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	image := indextest.Population{Seed: 9, MaxSeries: 1, MaxInstances: 1}.Study(1)[0]
	image.At = index.Position{}
	manifest := image
	manifest.Key.SeriesInstanceUID, manifest.Key.SOPInstanceUID = "9.9", "9.9.1"
	manifest.Origin, manifest.Digest = storage.Origin{Transport: storage.TransportManifest}, storage.Digest{9}
	if _, err := k.index.Apply(t.Context(), index.Batch{Received: []index.Instance{image, manifest}}); err != nil {
		t.Fatal(err)
	}
	study := image.Key.StudyInstanceUID
	if _, err := k.custodian.Delete(t.Context(), gateway.Request{StudyInstanceUID: study, SeriesInstanceUID: image.Key.SeriesInstanceUID}); err != nil {
		t.Fatal(err)
	}
	k.expectNothing(study)
	if d := k.delete(study); d.Before || d.Instances != 1 || d.Series != 1 {
		t.Errorf("deleted %+v", d)
	}
	if d := k.delete(study); !d.Before {
		t.Errorf("deleted again: %+v", d)
	}
}
