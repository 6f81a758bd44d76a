package index_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

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
