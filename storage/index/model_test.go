package index_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestAgainstTheModel applies the same random batches to two indexes, one of
// which gets everything through the wire and some of it twice, and to the
// model; then it asks all three the same random questions.
func TestAgainstTheModel(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine does it all: a race detector finds nothing here")
	}
	seen := map[string]int{}
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 99))
			x, y, model := open(t), open(t), indextest.NewModel()
			packs, deletions, known := 0, 0, memory{}
			for _, z := range []*index.Index{x, y} {
				apply(t, z, noRetention())
			}
			for _, b := range withRetirement(rng, seed, randomBatches(rng, seed)) {
				want := model.Receive(b)
				holdHas(t, x, b, want)
				known.look(t, x, rng, b)
				if got := apply(t, x, b); !reflect.DeepEqual(got.Outcomes, want) {
					t.Fatalf("outcomes: %v, want %v", got.Outcomes, want)
				}
				known.hold(t, x)
				wire, err := index.EncodeBatch(b)
				if err != nil {
					t.Fatal(err)
				}
				for range 1 + rng.IntN(2) {
					decoded, err := index.DecodeBatch(wire)
					if err != nil {
						t.Fatal(err)
					}
					apply(t, y, decoded)
				}
				if rng.IntN(3) == 0 {
					packs++
					for _, b := range archiving(t, x, rng, packs) {
						known.look(t, x, rng, b)
						apply(t, x, b)
						known.hold(t, x)
						apply(t, y, b)
						note(model, b)
					}
					compareLying(t, x, model)
				}
				for range rng.IntN(3) {
					deletions++
					b := deleting(t, x, model, rng, deletions)
					known.look(t, x, rng, b)
					apply(t, x, b)
					known.hold(t, x)
					apply(t, y, throughTheWire(t, b))
					apply(t, y, b)
					holdToModel(t, x, model, b, seen)
				}
			}
			sound(t, x)
			sound(t, y)
			compareCounts(t, x, y, model)
			compareLying(t, x, model)
			compareLying(t, y, model)
			compareIdentities(t, model, indextest.Population{Seed: seed}, x, y)
			for range 150 {
				q := randomQuery(rng, seed)
				want, err := model.Search(q)
				if err != nil {
					t.Fatal(err)
				}
				got := search(t, x, q)
				if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(jsons(got), jsons(want)) {
					t.Fatalf("%+v:\n got %v\nwant %v", q, jsons(got), jsons(want))
				}
				if other := search(t, y, q); !reflect.DeepEqual(got, other) {
					t.Fatalf("%+v: two indexes disagree", q)
				}
			}
		})
	}
	for _, what := range []struct {
		step  index.DeletionStep
		state index.DeletionState
	}{
		{index.UndoDeletion, index.DeletionUndone}, {index.UndoDeletion, index.DeletionMarked},
		{index.DecideDeletion, index.DeletionDecided}, {index.DecideDeletion, index.DeletionRemoved},
	} {
		if seen[fmt.Sprintf("%d %v", what.step, what.state)] == 0 {
			t.Errorf("step %d never came to %q: %v", what.step, what.state, seen)
		}
	}
}

// holdHas asks, before a batch is applied, what its first instance would be.
func holdHas(t *testing.T, x *index.Index, b index.Batch, want []index.Outcome) {
	t.Helper()
	if len(want) == 0 {
		return
	}
	if has, err := x.Has(t.Context(), b.Received[0]); err != nil || has != want[0].Standing {
		t.Fatalf("Has says %v of %v, which becomes %v: %v", has, b.Received[0].Key, want[0], err)
	}
}

func throughTheWire(t *testing.T, b index.Batch) index.Batch {
	t.Helper()
	wire, err := index.EncodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := index.DecodeBatch(wire)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// holdToModel does to the model what the index did, when it should have.
func holdToModel(t *testing.T, x *index.Index, m *indextest.Model, b index.Batch, seen map[string]int) {
	t.Helper()
	if len(b.Deletions) == 0 {
		return
	}
	d := b.Deletions[0]
	r, err := x.Deletion(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	seen[fmt.Sprintf("%d %v", d.Step, r.State)]++
	switch d.Step {
	case index.MarkDeletion:
		m.Delete(d.ID, d.StudyInstanceUID, d.SeriesInstanceUID)
	case index.UndoDeletion:
		if done := m.Undo(d.ID); done != (r.State == index.DeletionUndone) {
			t.Fatalf("undo of %s: the model did: %t, the index says %v", d.ID, done, r.State)
		}
	default:
		m.Remove(d.ID)
	}
}

// note tells the model what was archived: plans come one batch before.
func note(m *indextest.Model, b index.Batch) {
	for _, p := range b.Planned {
		m.Plan(p)
	}
	for _, a := range b.Archived {
		m.Archive(a.PackID)
	}
}

func compareLying(t *testing.T, x *index.Index, model *indextest.Model) {
	t.Helper()
	for _, id := range []index.JournalID{"node-1", "node-2"} {
		got := map[string]index.Position{}
		for in, err := range x.Lying(t.Context(), id) {
			if err != nil {
				t.Fatal(err)
			}
			got[in.Key.SOPInstanceUID+in.Digest.String()] = in.At
		}
		if want := model.Lying(id); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d instances lie in %s, the model has %d", len(got), id, len(want))
		}
		used := model.InUse(id)
		if segments, err := x.SegmentsInUse(t.Context(), id); err != nil || !reflect.DeepEqual(segments, used) {
			t.Fatalf("segments of %s in use: %v, want %v (%v)", id, segments, used, err)
		}
	}
}

func jsons(all []dicom.DataSet) []string {
	var out []string
	for _, ds := range all {
		out = append(out, string(ds.AppendJSON(nil)))
	}
	return out
}

func compareCounts(t *testing.T, x, y *index.Index, model *indextest.Model) {
	t.Helper()
	a, err := x.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := y.Counts(t.Context())
	if err != nil || a != b {
		t.Errorf("two indexes count %+v and %+v, %v", a, b, err)
	}
	if a.Conflicts != int64(model.Conflicts()) || a.Packs == 0 || a.Conflicts == 0 {
		t.Errorf("%+v, the model has %d conflicts", a, model.Conflicts())
	}
}
