package index_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
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

// noRetention lets everything be deleted.
func noRetention() index.Batch {
	return index.Batch{Protections: []index.Protection{{Step: index.SetRetention, Years: 0}}}
}

// deleting is a step of some deletion: a new one, or one of those before.
func deleting(t *testing.T, x *index.Index, m *indextest.Model, rng *rand.Rand, number int) index.Batch {
	t.Helper()
	d := index.Deletion{ID: fmt.Sprintf("D%d", number), Step: index.MarkDeletion, Act: index.Act{At: int64(number)}}
	if marked, _, err := x.DeletionsIn(t.Context(), index.DeletionMarked, 1<<62, 0, 100); err != nil {
		t.Fatal(err)
	} else if len(marked) > 0 && rng.IntN(2) == 0 {
		d.ID, d.Step = marked[rng.IntN(len(marked))].ID, index.UndoDeletion
		if rng.IntN(3) == 0 {
			d.Step = index.DecideDeletion
		}
		return index.Batch{Deletions: []index.Deletion{d}}
	}
	studies, err := m.Search(index.Query{Level: index.Series})
	if err != nil {
		t.Fatal(err)
	}
	if len(studies) == 0 {
		return index.Batch{}
	}
	some := studies[rng.IntN(len(studies))]
	if d.StudyInstanceUID = first(some, 0x0020000D); rng.IntN(2) == 0 {
		d.SeriesInstanceUID = first(some, 0x0020000E)
	}
	return index.Batch{Deletions: []index.Deletion{d}}
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

// withRetirement lets the journal of the batches be retired somewhere among
// them. Some of what is in it, and of what came too late for it, comes again
// in another, in several turns, and other files of the same Data Sets, too.
func withRetirement(rng *rand.Rand, seed uint64, batches []index.Batch) []index.Batch {
	const other = index.JournalID("node-2")
	at := len(batches) / 3
	retire := index.Batch{Journals: []index.JournalChange{{Journal: "node-1", Retired: true}}}
	if seed%2 == 0 { // the node has a new one
		retire.Journals = []index.JournalChange{{Journal: "node-3", Node: "n1"}}
	}
	out := append([]index.Batch{{Journals: []index.JournalChange{{Journal: "node-1", Node: "n1"}}}}, batches[:at]...)
	out = append(out, retire)
	var again []index.Instance
	for _, b := range batches {
		again = append(again, b.Received...)
	}
	rng.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	segment := uint64(0)
	for _, b := range batches[at:] {
		out = append(out, b)
		n := min(len(again), rng.IntN(60))
		segment++
		b = index.Batch{Through: index.Position{Journal: other, Segment: segment, Offset: 1 << 20}}
		for i, in := range again[:n] {
			if rng.IntN(8) == 0 {
				in.Size, in.Prefix, in.CRC32 = in.Size+2, in.Prefix+2, in.CRC32+1
			}
			in.At = index.Position{Journal: other, Segment: segment, Offset: int64(64 + 8*i)}
			b.Received = append(b.Received, in)
		}
		again = again[n:]
		out = append(out, b)
	}
	return out
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

// randomBatches holds a population, with duplicates and conflicts among it.
func randomBatches(rng *rand.Rand, seed uint64) []index.Batch {
	p := indextest.Population{Seed: seed}
	var batches []index.Batch
	decisions := 0
	for n := 0; n < 120; {
		var b index.Batch
		for range 1 + rng.IntN(10) {
			b.Received = append(b.Received, p.Study(n)...)
			n++
		}
		b.Through = b.Received[len(b.Received)-1].At
		for _, in := range b.Received {
			switch rng.IntN(24) {
			case 3, 4, 5, 6: // a part of the study from elsewhere
				issuer := []string{"", "unknown:X", "unknown:Y", "HUS", "GHR", "CHH"}[rng.IntN(6)]
				late := indextest.With(in, indextest.Text(0x00100021, "LO", issuer))
				late.Key.SOPInstanceUID += ".7"
				late.Digest[1] ^= 7
				b.Received = append(b.Received, late)
			case 0:
				b.Received = append(b.Received, in)
			case 1:
				b.Received = append(b.Received, indextest.Altered(in, byte(rng.IntN(4))))
			case 2:
				b.Received = append(b.Received, indextest.With(indextest.Altered(in, 77), indextest.Text(0x00100020, "LO", "OTHER")))
			}
		}
		if rng.IntN(4) == 0 { // late instances of before
			b.Received = append(b.Received, p.Study(rng.IntN(n))...)
		}
		if rng.IntN(3) > 0 {
			b.Identities = randomIdentities(rng, p, &decisions)
		}
		batches = append(batches, b)
		if rng.IntN(5) == 0 {
			batches = append(batches, b)
		}
	}
	return batches
}

// archiving plans and archives some of the series that have work.
func archiving(t *testing.T, x *index.Index, rng *rand.Rand, number int) (batches []index.Batch) {
	work, err := x.Quiet(t.Context(), 1<<62, 0, 40)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range work {
		if rng.IntN(2) == 0 {
			continue
		}
		live, err := x.Live(t.Context(), index.Selector{StudyInstanceUID: w.StudyInstanceUID, SeriesInstanceUID: w.SeriesInstanceUID, Conflicts: w.Conflict})
		if err != nil {
			t.Fatal(err)
		}
		live = slices.DeleteFunc(live, func(in index.LiveInstance) bool { return in.PackID != "" })
		if len(live) != w.Instances {
			t.Fatalf("%+v, but %d are live", w, len(live))
		}
		var members []index.Instance
		for _, in := range live[:1+rng.IntN(len(live))] {
			members = append(members, in.Instance)
		}
		id := fmt.Sprintf("pack-%d-%d", number, i)
		batches = append(batches, index.Batch{Planned: []index.Plan{planOf(id, w.Conflict, members...)}})
		if rng.IntN(4) > 0 {
			batches = append(batches, index.Batch{Archived: []index.PackArchive{archived(id, "dir:///a")}})
		}
	}
	return batches
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

// before is the part of a name before a character.
func before(name []rune, c rune) []rune {
	if i := slices.Index(name, c); i >= 0 {
		return name[:i]
	}
	return name
}

func randomQuery(rng *rand.Rand, seed uint64) index.Query {
	p := indextest.Population{Seed: seed}
	some := p.Study(rng.IntN(125))[0]
	q := index.Query{Level: index.Study + index.Level(rng.IntN(2)), Fuzzy: rng.IntN(4) == 0, IncludeAll: rng.IntN(3) == 0}
	if rng.IntN(2) == 0 {
		q.Limit, q.Offset = 1+rng.IntN(20), rng.IntN(10)
	}
	if rng.IntN(10) == 0 {
		q.StudyInstanceUID = some.Key.StudyInstanceUID
	}
	if rng.IntN(4) == 0 {
		for range rng.IntN(5) {
			p := index.PatientOf(p.Study(rng.IntN(125))[0].Attributes)
			if q.Patients = append(q.Patients, p); rng.IntN(3) == 0 {
				q.Patients[0].Issuer = "HUS"
			}
		}
	}
	name := []rune(first(some.Attributes, 0x00100010))
	date := first(some.Attributes, 0x00080020)
	all := []index.Condition{
		{Path: []dicom.Tag{0x00100010}, Value: string(name[:1+rng.IntN(len(name))]) + "*"},
		{Path: []dicom.Tag{0x00100010}, Value: string(name)},
		{Path: []dicom.Tag{0x00100010}, Value: string(before(name, '^')) + "^*"},
		{Path: []dicom.Tag{0x00100010}, Value: string(before(name, '^')) + "^" + string(name[len(before(name, '^')):][:1]) + "*"},
		{Path: []dicom.Tag{0x00100010}, Value: string(before(name, '=')) + "*=*"},
		{Path: []dicom.Tag{0x00100010}, Value: "*" + string(name[rng.IntN(len(name)):])},
		{Path: []dicom.Tag{0x00100010}, Value: "?" + string(name[1:1+rng.IntN(len(name))]) + "*"},
		{Path: []dicom.Tag{0x00100010}, Value: "*" + string(name[rng.IntN(len(name)):][:1]) + "*"},
		{Path: []dicom.Tag{0x00080090}, Value: first(some.Attributes, 0x00080090)},
		{Path: []dicom.Tag{0x00080090}, Value: []string{"*e*", "we*", "*^Eug?ne*", "Dr"}[rng.IntN(4)]},
		{Path: []dicom.Tag{0x00100020}, Value: first(some.Attributes, 0x00100020)},
		{Path: []dicom.Tag{0x00100020}, Value: first(some.Attributes, 0x00100020)[:2] + "*"},
		{Path: []dicom.Tag{0x00100021}, Value: []string{"HUS", "GHR", "unknown:*"}[rng.IntN(3)]},
		{Path: []dicom.Tag{0x00101002, 0x00100020}, Value: fmt.Sprint("N", rng.IntN(5))},
		{Path: []dicom.Tag{0x00101002, 0x00100024, 0x00400032}, Value: "1.2.250.1.213.1.4.10"},
		{Path: []dicom.Tag{0x00080020}, Value: date + "-"},
		{Path: []dicom.Tag{0x00080020}, Value: "-" + date},
		{Path: []dicom.Tag{0x00080020}, Value: "20160101-20180101"},
		{Path: []dicom.Tag{0x00080030}, Value: "08-1159"},
		{Path: []dicom.Tag{0x00080050}, Value: first(some.Attributes, 0x00080050)},
		{Path: []dicom.Tag{0x00080061}, Value: first(some.Attributes, 0x00080060)},
		{Path: []dicom.Tag{0x00080061}, Value: `CT\MR`},
		{Path: []dicom.Tag{0x00080060}, Value: "MG"},
		{Path: []dicom.Tag{0x0020000D}, Value: some.Key.StudyInstanceUID + ",1.2.3"},
		{Path: []dicom.Tag{0x0020000E}, Value: some.Key.SeriesInstanceUID},
		{Path: []dicom.Tag{0x00400275, 0x00400009}, Value: "SPS1*"},
		{Path: []dicom.Tag{0x00081030}, Value: "TDM*"},
		{Path: []dicom.Tag{0x00201208}, Value: "3"},
	}
	for range rng.IntN(3) {
		q.Match = append(q.Match, all[rng.IntN(len(all))])
	}
	return q
}
