package index_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestHasFromMemory asks an index that remembers, and one that others change
// and that therefore looks each time, the same questions while instances are
// received, packed, deleted, put back and moved.
func TestHasFromMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine does it all: a race detector finds nothing here")
	}
	var fromMemory, duplicates int
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		path := filepath.Join(t.TempDir(), "index.db")
		x, err := index.Open(t.Context(), index.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		looks, err := index.Open(t.Context(), index.Options{Path: path, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer looks.Close()
		if seed%2 == 1 {
			x.RenewFilterAfter(20)
		}
		apply(t, x, noRetention())
		batches := withRetirement(rng, seed, randomBatches(rng, seed))
		var all []index.Instance
		for _, b := range batches {
			all = append(all, b.Received...)
		}
		hold := func(asked ...index.Instance) {
			t.Helper()
			for range 12 {
				asked = append(asked, all[rng.IntN(len(all))])
			}
			for _, in := range asked {
				for range 2 {
					if x.Remembers(in) {
						fromMemory++
					}
					got, err := x.Has(t.Context(), in)
					if err != nil {
						t.Fatal(err)
					}
					want, err := looks.Has(t.Context(), in)
					if err != nil {
						t.Fatal(err)
					}
					if want == index.StandingDuplicate {
						duplicates++
					}
					if got != want {
						t.Fatalf("%v is %v, and %v to who looks", in.Key, got, want)
					}
				}
			}
		}
		var marked []index.Deletion
		var taken []index.Instance
		for n, b := range batches {
			hold(b.Received...)
			apply(t, x, b)
			hold(b.Received...)
			if rng.IntN(3) == 0 {
				for _, b := range archiving(t, x, rng, n) {
					apply(t, x, b)
					hold()
				}
			}
			if in := all[rng.IntN(len(all))]; rng.IntN(2) == 0 {
				d := index.Deletion{ID: fmt.Sprint("D", n), Step: index.MarkDeletion, StudyInstanceUID: in.Key.StudyInstanceUID, Act: index.Act{At: 1}}
				apply(t, x, index.Batch{Deletions: []index.Deletion{d}})
				marked, taken = append(marked, d), append(taken, in)
				hold(in)
			}
			if len(marked) > 0 && rng.IntN(2) == 0 {
				i := rng.IntN(len(marked))
				d := marked[i]
				d.Step = index.UndoDeletion
				apply(t, x, index.Batch{Deletions: []index.Deletion{d}})
				hold(taken[i])
			}
		}
	}
	if fromMemory < 100 || duplicates < 100 {
		t.Errorf("%d answers were from memory, %d of duplicates", fromMemory, duplicates)
	}
}

// What was applied is known at once, also beside who asks and while filters
// are made anew.
func TestHasWhatWasApplied(t *testing.T) {
	x := open(t)
	x.RenewFilterAfter(50)
	p := indextest.Population{Seed: 12, MaxSeries: 1, MaxInstances: 3}
	var last atomic.Pointer[index.Instance]
	var done atomic.Bool
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for !done.Load() {
				in := last.Load()
				if in == nil {
					continue
				}
				if has, err := x.Has(t.Context(), *in); err != nil || has != index.StandingDuplicate {
					t.Errorf("%v is %v, though it was applied (%v)", in.Key, has, err)
					return
				}
			}
		})
	}
	for n := range 400 {
		for _, in := range p.Study(n) {
			if _, err := x.Has(t.Context(), in); err != nil {
				t.Error(err)
			}
			apply(t, x, index.Batch{Received: []index.Instance{in}})
			last.Store(&in)
			if n%5 == 0 {
				id := in.Key.SOPInstanceUID
				apply(t, x, index.Batch{Planned: []index.Plan{planOf(id, false, in)}, Archived: []index.PackArchive{archived(id, "dir:///a")}})
			}
		}
	}
	done.Store(true)
	asking.Wait()
}
