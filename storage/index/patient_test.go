package index_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// set returns the attributes with one in place of what was there.
func set(ds dicom.DataSet, e dicom.Element) dicom.DataSet {
	out := slices.DeleteFunc(slices.Clone(ds), func(o dicom.Element) bool { return o.Tag == e.Tag })
	i, _ := slices.BinarySearchFunc(out, e.Tag, func(o dicom.Element, t dicom.Tag) int { return int(o.Tag) - int(t) })
	return slices.Insert(out, i, e)
}

// A PatientID with a backslash in it is not that of the patient whose ID
// stands in front of the backslash.
func TestPatientIDIsOneValue(t *testing.T) {
	x := open(t)
	in := oneSeries()[:2]
	in[0].Attributes = set(in[0].Attributes, dicom.Element{Tag: 0x00100020, VR: "LO", Values: []string{"A"}})
	in[1].Attributes = set(in[1].Attributes, dicom.Element{Tag: 0x00100020, VR: "LO", Values: []string{"A", "B"}})
	if a := apply(t, x, index.Batch{Received: in}); a.Outcomes[1].Why != index.WhyPatient {
		t.Errorf("A\\B in a study of A: %+v", a.Outcomes[1])
	}
	y := open(t)
	apply(t, y, index.Batch{Received: in[1:]})
	for value, found := range map[string]int{"A": 0, "B": 0, "A*": 1} {
		q := index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100020}, Value: value}}}
		if got := search(t, y, q); len(got) != found {
			t.Errorf("%s finds %d studies, want %d", value, len(got), found)
		}
	}
}

// However much an instance says before it, whose it is is not left out.
func TestPatientIDIsKeptBeforeOthers(t *testing.T) {
	x := open(t)
	in := oneSeries()[:2]
	for _, tag := range []dicom.Tag{0x00080070, 0x00080080, 0x00081010, 0x00081030, 0x0008103E, 0x00081040, 0x00081080, 0x00081090, 0x00100010} {
		in[0].Attributes = set(in[0].Attributes, dicom.Element{Tag: tag, VR: "LO", Values: []string{strings.Repeat("x", 8000)}})
	}
	id := first(in[0].Attributes, 0x00100020)
	a := apply(t, x, index.Batch{Received: in})
	if a.Outcomes[1].Standing != index.StandingNew {
		t.Errorf("the next instance of the same patient: %+v", a.Outcomes[1])
	}
	if got := search(t, x, index.Query{Level: index.Study}); len(got) != 1 || first(got[0], 0x00100020) != id {
		t.Errorf("studies: %v", got)
	}
}

// DICOMweb clients ask for several modalities with a comma, DIMSE ones with a
// backslash.
func TestModalitiesPartedByCommas(t *testing.T) {
	x := open(t)
	batches(indextest.Population{Seed: 6, MaxSeries: 2, MaxInstances: 1}, 300, 300, func(b index.Batch) { apply(t, x, b) })
	count := func(value string) int {
		return len(search(t, x, index.Query{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00080061}, Value: value}}}))
	}
	if n := count(`CT\MR`); n == 0 || count("CT,MR") != n || count("CT") >= n {
		t.Errorf("CT\\MR %d, CT,MR %d, CT %d", n, count("CT,MR"), count("CT"))
	}
}

func TestSearchIsBoundedInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path, MaxSearch: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	apply(t, x, index.Batch{Received: oneSeries()})
	for _, err := range x.Search(t.Context(), index.Query{Level: index.Study}) {
		if !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("studies: %v", err)
		}
	}
	for _, err := range x.Images(t.Context(), index.Query{Level: index.Image}) {
		if !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("images: %v", err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range x.Search(gone, index.Query{Level: index.Study}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a client that is gone: %v", err)
		}
	}
}

// TestAnImageThatIsNowhere: one whose study is not known is looked for in every
// series, which is bounded in time together with finding them.
func TestAnImageThatIsNowhere(t *testing.T) {
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db"), MaxSearch: 60 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	batches(indextest.Population{Seed: 6, MaxSeries: 1, MaxInstances: 1}, 3000, 3000, func(b index.Batch) { apply(t, x, b) })
	var last error
	for _, err := range x.Images(t.Context(), index.Query{Level: index.Image, Match: []index.Condition{{Path: []dicom.Tag{0x00080018}, Value: "9.9"}}}) {
		last = err
	}
	if !errors.Is(last, storage.ErrTooLarge) {
		t.Errorf("%v", last)
	}
}
