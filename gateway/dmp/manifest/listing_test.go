package manifest_test

import (
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
)

// TestListingsAreReadBack: what either form of a manifest lists is what went
// into it.
func TestListingsAreReadBack(t *testing.T) {
	m := sample(2000)
	kos, err := os.ReadFile(file(t, m))
	if err != nil {
		t.Fatal(err)
	}
	study, err := m.ImagingStudy()
	if err != nil {
		t.Fatal(err)
	}
	want := &manifest.Listing{SOPInstanceUID: m.SOPInstanceUID(), Version: 1, Matricule: m.Patient.Matricule, StudyInstanceUID: m.Study.StudyInstanceUID}
	for _, s := range m.Study.Series {
		listed := manifest.ListedSeries{SeriesInstanceUID: s.SeriesInstanceUID, RetrieveURL: m.Retrieve + "/studies/2.25.1/series/" + s.SeriesInstanceUID}
		for _, in := range s.Instances {
			listed.SOPs = append(listed.SOPs, in.SOPInstanceUID)
		}
		want.Series = append(want.Series, listed)
	}
	if got, err := manifest.ReadKOS(kos); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("KOS: %+v, %v", got, err)
	}
	want.SOPInstanceUID, want.Version = "", 0
	if got, err := manifest.ReadImagingStudy(study); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ImagingStudy: %v", err)
	}
	bundled := append(append([]byte(`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"List"}},{"resource":`), study...), `}]}`...)
	if got, err := manifest.ReadImagingStudy(bundled); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ImagingStudy in a Bundle: %v", err)
	}
	for what, err := range map[string]error{
		"an ImagingStudy": second(manifest.ReadKOS(study)), "a KOS": second(manifest.ReadImagingStudy(kos)), "nothing": second(manifest.ReadKOS(nil)),
	} {
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s in the other's place: %v", what, err)
		}
	}
}

func second(_ *manifest.Listing, err error) error { return err }

// FuzzReadKOS: no file panics, and what is taken is within the bounds.
func FuzzReadKOS(f *testing.F) {
	m := sample(2)
	kos, err := m.DataSet()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kos)
	f.Add([]byte("DICM"))
	f.Fuzz(func(t *testing.T, file []byte) { checkListing(t)(manifest.ReadKOS(file)) })
}

// FuzzReadImagingStudy is the same for JSON.
func FuzzReadImagingStudy(f *testing.F) {
	study, err := sample(1).ImagingStudy()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(study)
	f.Add([]byte(`{"resourceType":"Bundle","entry":[{"resource":1}]}`))
	f.Fuzz(func(t *testing.T, text []byte) { checkListing(t)(manifest.ReadImagingStudy(text)) })
}

func checkListing(t *testing.T) func(*manifest.Listing, error) {
	return func(l *manifest.Listing, err error) {
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) && !errors.Is(err, storage.ErrTooLarge) {
				t.Errorf("%v", err)
			}
			return
		}
		if !storage.ValidUID(l.StudyInstanceUID) || len(l.Series) == 0 {
			t.Errorf("%+v", l)
		}
	}
}
