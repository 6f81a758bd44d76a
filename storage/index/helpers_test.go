package index_test

import (
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

func open(t testing.TB) *index.Index {
	t.Helper()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func apply(t testing.TB, x *index.Index, b index.Batch) index.Applied {
	t.Helper()
	a, err := x.Apply(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func search(t testing.TB, x *index.Index, q index.Query) []dicom.DataSet {
	t.Helper()
	var out []dicom.DataSet
	for ds, err := range x.Search(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, ds)
	}
	return out
}

func sound(t testing.TB, x *index.Index) {
	t.Helper()
	for problem, err := range x.Check(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		t.Error(problem)
	}
}

func first(ds dicom.DataSet, tag dicom.Tag) string {
	for _, e := range ds {
		if e.Tag == tag && len(e.Values) > 0 {
			return e.Values[0]
		}
	}
	return ""
}

// planOf is a plan that holds the instances.
func planOf(id string, conflict bool, in ...index.Instance) index.Plan {
	p := index.Plan{PackID: id, StudyInstanceUID: in[0].Key.StudyInstanceUID, SeriesInstanceUID: in[0].Key.SeriesInstanceUID, Conflict: conflict}
	for _, i := range in {
		p.SOPs, p.Members = append(p.SOPs, i.Key.SOPInstanceUID), append(p.Members, i.Digest)
	}
	return p
}

func archived(id, archive string) index.PackArchive {
	return index.PackArchive{PackID: id, Archive: archive, Key: "studies/x/y/" + id + ".zip", Size: 1000, CRC32C: 7, At: 99}
}

// oneSeries is a series of five instances.
func oneSeries() []index.Instance {
	p := indextest.Population{Seed: 1, MaxSeries: 1, MaxInstances: 12}
	for n := 0; ; n++ {
		if in := p.Study(n); len(in) >= 5 {
			return in[:5]
		}
	}
}
