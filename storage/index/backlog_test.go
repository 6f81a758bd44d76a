package index_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
)

// TestBacklog: what waits to be packed, then to be archived, and since when.
func TestBacklog(t *testing.T) {
	x := open(t)
	want := func(what string, want index.Backlog) {
		t.Helper()
		if got, err := x.Backlog(t.Context()); err != nil || got != want {
			t.Errorf("%s: %+v, %v, not %+v", what, got, err, want)
		}
	}
	want("empty", index.Backlog{})
	in := oneSeries()
	size := in[0].Size
	for i := range in {
		in[i].Received, in[i].Size = int64(1000+i), size
	}
	apply(t, x, index.Batch{Through: in[4].At, Received: in})
	want("received", index.Backlog{Unplanned: 5, UnplannedBytes: 5 * size, Quiet: 1004})

	aside := in[1]
	aside.Digest[0]++
	aside.Received = 900
	apply(t, x, index.Batch{Received: []index.Instance{aside}})
	want("with a conflict", index.Backlog{Unplanned: 6, UnplannedBytes: 6 * size, Quiet: 900})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("c", true, aside)}, Archived: []index.PackArchive{archived("c", "dir:///a")}})

	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in[1:3]...), planOf("p2", false, in[0])}})
	want("planned", index.Backlog{Unplanned: 2, UnplannedBytes: 2 * size, Quiet: 1004, Packs: 2, Planned: 3, PlannedBytes: 3 * size, Oldest: 1001})
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:///a")}})
	want("one archived", index.Backlog{Unplanned: 2, UnplannedBytes: 2 * size, Quiet: 1004, Packs: 1, Planned: 1, PlannedBytes: size, Oldest: 1000})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p3", false, in[3:]...)}, Archived: []index.PackArchive{archived("p2", "dir:///a"), archived("p3", "dir:///a")}})
	want("all archived", index.Backlog{})
}
