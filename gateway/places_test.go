package gateway_test

import (
	"errors"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
	"github.com/esante-alsace/cigogne/storage/index"
)

// What is remembered of where instances lie does not outlive their archiving,
// their deletion or its undoing.
func TestInstancesAreLookedForWhereTheyAre(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	study, other := tiny(1, 6), tiny(2, 6)
	whole := func(series string) gateway.Selector {
		return gateway.Selector{StudyInstanceUID: study.StudyInstanceUID, SeriesInstanceUID: series}
	}
	hidden := func() {
		t.Helper()
		for _, series := range []string{"", study.Instances[0].SeriesInstanceUID} {
			if found, err := k.reader.Instances(t.Context(), whole(series)); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%d instances of series %q are retrieved that are deleted (%v)", len(found), series, err)
			}
		}
		for _, in := range study.Instances {
			if found, err := k.reader.Instances(t.Context(), nameOf(in)); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%d instances are retrieved that are deleted (%v)", len(found), err)
			}
		}
	}
	shown := func(instances ...dicomtest.Instance) {
		t.Helper()
		for range 2 {
			for _, in := range instances {
				k.compare(k.alone(in), []dicomtest.Instance{in})
			}
			if instances[0].StudyInstanceUID != study.StudyInstanceUID {
				continue
			}
			for _, series := range []string{"", instances[0].SeriesInstanceUID} {
				found, err := k.reader.Instances(t.Context(), whole(series))
				if err != nil {
					t.Fatal(err)
				}
				k.compare(found, instances)
			}
		}
	}
	k.mustStore(other.Instances...)
	k.mustStore(study.Instances[:4]...)
	shown(study.Instances[:4]...)
	if _, err := k.reader.Instances(t.Context(), nameOf(study.Instances[5])); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an instance is found that was never stored: %v", err)
	}
	k.mustStore(study.Instances[4:]...)
	shown(study.Instances...)
	lying := k.delete(study.StudyInstanceUID)
	hidden()
	k.undo(lying.ID)
	shown(study.Instances...)
	k.pass()
	shown(study.Instances...)
	packed := k.delete(study.StudyInstanceUID)
	hidden()
	k.undo(packed.ID)
	shown(study.Instances...)
	gone := k.delete(study.StudyInstanceUID)
	k.end()
	hidden()
	k.expectState(gone.ID, index.DeletionRemoved)
	shown(other.Instances...)
}
