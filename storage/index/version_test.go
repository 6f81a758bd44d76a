package index_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// read is what the index said of where instances lie, as of a version.
type read struct {
	of      index.Selector
	version uint64
	live    []index.LiveInstance
	packs   []index.Pack
}

func readPlaces(t testing.TB, x *index.Index, sel index.Selector) (r read) {
	t.Helper()
	r.of = sel
	var counted bool
	if r.version, counted = x.Version(sel.StudyInstanceUID); !counted {
		t.Fatal("an index that others change")
	}
	var err error
	if r.live, err = x.Live(t.Context(), sel); err != nil {
		t.Fatal(err)
	}
	if r.packs, err = x.Packs(t.Context(), sel); err != nil {
		t.Fatal(err)
	}
	where, err := x.Where(t.Context(), sel)
	if err != nil || len(where) != len(r.live) {
		t.Fatalf("%d instances lie somewhere, %d are live: %v", len(where), len(r.live), err)
	}
	for i, in := range r.live {
		if in.Attributes = nil; !reflect.DeepEqual(where[i], in) {
			t.Fatalf("it lies %+v, and lives %+v", where[i], in)
		}
	}
	return r
}

// memory is one of those who remember where instances lie as long as the
// version of their study is the same.
type memory []read

// remembered is how many it remembers.
const remembered = 12

// look remembers some of the series that a batch touches, and some others.
func (m *memory) look(t *testing.T, x *index.Index, rng *rand.Rand, b index.Batch) {
	t.Helper()
	add := func(study, series string) {
		sel := index.Selector{StudyInstanceUID: study, SeriesInstanceUID: series, Conflicts: rng.IntN(4) == 0}
		*m = append(*m, readPlaces(t, x, sel))
	}
	for range min(len(b.Received), 3) {
		key := b.Received[rng.IntN(len(b.Received))].Key
		add(key.StudyInstanceUID, key.SeriesInstanceUID)
	}
	for _, p := range b.Planned {
		add(p.StudyInstanceUID, p.SeriesInstanceUID)
	}
	for _, d := range b.Deletions {
		study := d.StudyInstanceUID
		if study == "" {
			r, err := x.Deletion(t.Context(), d.ID)
			if err != nil {
				t.Fatal(err)
			}
			study = r.StudyInstanceUID
		}
		add(study, "")
	}
	*m = slices.Delete(*m, 0, max(0, len(*m)-remembered))
}

// hold fails when what is remembered is not so any more.
func (m memory) hold(t *testing.T, x *index.Index) {
	t.Helper()
	for i, r := range m {
		now := readPlaces(t, x, r.of)
		if now.version == r.version && !reflect.DeepEqual(now, r) {
			t.Fatalf("%+v has changed, and its version has not: %d live instances and %d packs were %d and %d",
				r.of, len(now.live), len(now.packs), len(r.live), len(r.packs))
		}
		m[i] = now
	}
}

// A version is counted when the batch can be read, not before: who reads
// beside it remembers nothing old as new.
func TestVersionCountsAfterTheCommit(t *testing.T) {
	x := open(t)
	in := indextest.Population{Seed: 9, MaxSeries: 1, MaxInstances: 1}.Study(0)[0]
	sel := index.Selector{StudyInstanceUID: in.Key.StudyInstanceUID}
	var last atomic.Pointer[read]
	var done atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !done.Load() {
			version, _ := x.Version(sel.StudyInstanceUID)
			live, err := x.Live(t.Context(), sel)
			if err != nil {
				t.Error(err)
				return
			}
			last.Store(&read{version: version, live: live})
		}
	})
	for n := range 300 {
		in.Key.SOPInstanceUID = fmt.Sprintf("1.2.3.%d", n)
		apply(t, x, index.Batch{Received: []index.Instance{in}})
		version, _ := x.Version(sel.StudyInstanceUID)
		if r := last.Load(); r != nil && r.version == version && len(r.live) != n+1 {
			t.Errorf("%d instances were remembered as of a version with %d", len(r.live), n+1)
			break
		}
	}
	done.Store(true)
	reader.Wait()
}

func TestVersionOfWhatIsReplacedOrOnlyNoted(t *testing.T) {
	x, other := open(t), open(t)
	for _, z := range []*index.Index{x, other} {
		if err := z.Follow(t.Context(), "region"); err != nil {
			t.Fatal(err)
		}
	}
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	before, _ := x.Version(study)
	if _, err := x.ApplyAt(t.Context(), 1, index.Batch{Received: in}); err != nil {
		t.Fatal(err)
	}
	received, _ := x.Version(study)
	if received == before {
		t.Error("instances were received, and the version is the same")
	}
	note := index.Event{Kind: index.EventRetrieved, StudyInstanceUID: study, Instances: 1}
	if _, err := x.ApplyAt(t.Context(), 2, index.Batch{Stamp: &index.Stamp{At: 1, Keep: 10}, Notes: []index.Event{note}}); err != nil {
		t.Fatal(err)
	}
	if noted, _ := x.Version(study); noted != received {
		t.Error("a retrieval that is noted has moved instances")
	}
	path := filepath.Join(t.TempDir(), "copy")
	if _, err := other.CopyTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := x.Replace(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if replaced, _ := x.Version(study); replaced == received {
		t.Error("the index was replaced, and the version is the same")
	}
}
