package index_test

import (
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestHeld: an instance is known by its names and its bytes, in the journal, in
// a pack and kept aside.
func TestHeld(t *testing.T) {
	x := open(t)
	in := oneSeries()
	aside := in[1]
	aside.Digest[0]++
	other := storage.Digest{1}
	ask := []index.Named{
		{Key: in[0].Key, Digest: in[0].Digest}, {Key: in[4].Key, Digest: in[4].Digest}, {Key: in[0].Key, Digest: other},
		{Key: in[4].Key, Digest: other}, {Key: aside.Key, Digest: aside.Digest},
		{Key: storage.InstanceKey{StudyInstanceUID: in[0].Key.StudyInstanceUID, SeriesInstanceUID: "1.2", SOPInstanceUID: "1.2.3"}},
	}
	const new, same, conflict = index.StandingNew, index.StandingDuplicate, index.StandingConflict
	expect := func(when string, want ...index.Standing) {
		t.Helper()
		if got, err := x.Held(t.Context(), ask); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v (%v)", when, got, want, err)
		}
	}
	expect("before", new, new, new, new, new, new)
	apply(t, x, index.Batch{Through: in[4].At, Received: append(in, aside)})
	expect("in the journal", same, same, conflict, conflict, same, new)
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in[:3]...)}, Archived: []index.PackArchive{archived("p1", "dir:a")}})
	expect("partly in a pack", same, same, conflict, conflict, same, new)
}

// TestPages: a page that begins behind the last answer of another repeats none
// and leaves none out, whatever came in between.
func TestPages(t *testing.T) {
	x := open(t)
	batches(indextest.Population{Seed: 5}, 60, 100, func(b index.Batch) { apply(t, x, b) })
	for _, q := range []index.Query{
		{Level: index.Study}, {Level: index.Series},
		{Level: index.Study, Match: []index.Condition{{Path: []dicom.Tag{0x00100010}, Value: "*A*"}}},
	} {
		whole := jsons(search(t, x, q))
		var paged []string
		for q.Limit = 7; ; {
			page := search(t, x, q)
			paged = append(paged, jsons(page)...)
			if len(page) < q.Limit {
				break
			}
			place := index.PlaceOf(page[len(page)-1])
			if q.Level == index.Study {
				place.SeriesInstanceUID = ""
			}
			q.After = &place
		}
		if len(whole) < 10 || !slices.Equal(whole, paged) {
			t.Errorf("level %d: %d answers by pages, %d at once", q.Level, len(paged), len(whole))
		}
	}
}
