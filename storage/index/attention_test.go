package index_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestOverdue: a study is overdue from when its newest instance is older than
// the time given until all of it is archived.
func TestOverdue(t *testing.T) {
	x := open(t)
	in := oneSeries()
	var newest int64
	for i := range in {
		newest = max(newest, in[i].Received)
	}
	overdue := func(before int64, want ...index.OverdueStudy) {
		t.Helper()
		got, err := x.Overdue(t.Context(), before, 10)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%+v, %v, want %+v", got, err, want)
		}
		for i := range want {
			want[i].StudyInstanceUID, want[i].Received = in[0].Key.StudyInstanceUID, newest
			if got[i] != want[i] {
				t.Errorf("%+v, want %+v", got[i], want[i])
			}
		}
	}
	apply(t, x, index.Batch{Received: in})
	overdue(newest)
	overdue(newest+1, index.OverdueStudy{Instances: 5})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p", false, in[:3]...)}})
	overdue(newest+1, index.OverdueStudy{Instances: 5})
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p", "dir:///a")}})
	overdue(newest+1, index.OverdueStudy{Instances: 2})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("q", false, in[3:]...)}})
	overdue(newest+1, index.OverdueStudy{Instances: 2, Planned: true})
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("q", "dir:///a")}})
	overdue(newest + 1)
}

// TestNewestConflicts: the last come first, in their journal and in a pack, and
// all are counted.
func TestNewestConflicts(t *testing.T) {
	x := open(t)
	in := oneSeries()
	apply(t, x, index.Batch{Received: in[:4]})
	if list, n, err := x.NewestConflicts(t.Context(), 10); err != nil || n != 0 || list != nil {
		t.Fatalf("%v, %d, %v", list, n, err)
	}
	other := []index.Instance{indextest.Altered(in[0], 1), indextest.Altered(in[1], 2), indextest.With(in[4], indextest.Text(0x00100020, "LO", "SOMEBODY ELSE"))}
	apply(t, x, index.Batch{Received: other})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("c", true, other[0])}, Archived: []index.PackArchive{archived("c", "dir:///a")}})
	list, n, err := x.NewestConflicts(t.Context(), 2)
	if err != nil || n != 3 || len(list) != 2 {
		t.Fatalf("%+v, %d, %v", list, n, err)
	}
	if list[0].Key != other[2].Key || list[0].Why != index.WhyPatient || list[1].Digest != other[1].Digest || list[1].Why != index.WhyDigest {
		t.Errorf("%+v", list)
	}
}
