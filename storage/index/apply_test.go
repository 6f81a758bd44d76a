package index_test

import (
	"errors"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

func TestTheWayOfAnInstance(t *testing.T) {
	x := open(t)
	in := oneSeries()
	a := apply(t, x, index.Batch{Through: in[4].At, Received: in})
	for i, o := range a.Outcomes {
		if o.Standing != index.StandingNew {
			t.Fatalf("instance %d: %+v", i, o)
		}
	}
	sel := index.Selector{StudyInstanceUID: in[0].Key.StudyInstanceUID}
	live, err := x.Live(t.Context(), sel)
	if err != nil || len(live) != 5 || live[0].Key != in[0].Key || live[4].At != in[4].At {
		t.Fatalf("live: %v, %v", live, err)
	}
	if got := search(t, x, index.Query{Level: index.Study}); len(got) != 1 || first(got[0], 0x00201208) != "5" {
		t.Fatalf("studies: %v", got)
	}
	work, err := x.Quiet(t.Context(), 1<<62, 0, 10)
	if err != nil || len(work) != 1 || work[0].Instances != 5 {
		t.Fatalf("work: %v, %v", work, err)
	}

	plan := planOf("p1", false, in[:3]...)
	if a := apply(t, x, index.Batch{Planned: []index.Plan{plan, plan}}); a.Refused != nil {
		t.Fatalf("refused: %v", a.Refused)
	}
	if a := apply(t, x, index.Batch{Planned: []index.Plan{planOf("p2", false, in[2:4]...)}}); len(a.Refused) != 1 {
		t.Fatal("an instance is in two plans")
	}
	if plans, err := x.Planned(t.Context()); err != nil || len(plans) != 1 || plans[0].PackID != "p1" || plans[0].Members[2] != in[2].Digest {
		t.Fatalf("planned: %v, %v", plans, err)
	}
	sound(t, x)
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:///a"), archived("p1", "dir:///b"), archived("p1", "dir:///a")}})
	packs, err := x.Packs(t.Context(), sel)
	if err != nil || len(packs) != 1 || len(packs[0].Copies) != 2 || packs[0].Instances != 3 || !packs[0].Members.Holds(in[1].Key.SOPInstanceUID, in[1].Digest) {
		t.Fatalf("packs: %+v, %v", packs, err)
	}
	if live, _ := x.Live(t.Context(), sel); len(live) != 2 {
		t.Fatalf("%d live", len(live))
	}
	if got := search(t, x, index.Query{Level: index.Series}); len(got) != 1 || first(got[0], 0x00201209) != "5" {
		t.Fatalf("series: %v", got)
	}

	again := apply(t, x, index.Batch{Received: in})
	for i, o := range again.Outcomes {
		if o.Standing != index.StandingDuplicate {
			t.Errorf("instance %d again: %+v", i, o)
		}
	}
	if used, err := x.SegmentsInUse(t.Context(), "node-1"); err != nil || len(used) != 1 {
		t.Errorf("segments: %v, %v", used, err)
	}
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p3", false, in[3:]...)}, Archived: []index.PackArchive{archived("p3", "dir:///a")}})
	if used, err := x.SegmentsInUse(t.Context(), "node-1"); err != nil || len(used) != 0 {
		t.Errorf("segments after archiving: %v, %v", used, err)
	}
	if err := x.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	sound(t, x)
}

func TestConflicts(t *testing.T) {
	x := open(t)
	in := oneSeries()
	apply(t, x, index.Batch{Received: in[:3]})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p", false, in[0])}, Archived: []index.PackArchive{archived("p", "dir:///a")}})

	elsewhere := indextest.Altered(in[1], 9)
	elsewhere.Key.StudyInstanceUID = "1.2.3"
	wrongPatient := indextest.With(in[3], indextest.Text(0x00100020, "LO", "SOMEBODY ELSE"))
	noPatient := indextest.With(in[4], indextest.Text(0x00100020, "LO", ""))
	for _, c := range []struct {
		name string
		in   index.Instance
		want index.Outcome
	}{
		{"other digest, archived", indextest.Altered(in[0], 1), index.Outcome{Standing: index.StandingConflict, Why: index.WhyDigest}},
		{"the same conflict again", indextest.Altered(in[0], 1), index.Outcome{Standing: index.StandingDuplicate}},
		{"other digest, live", indextest.Altered(in[1], 3), index.Outcome{Standing: index.StandingConflict, Why: index.WhyDigest}},
		{"a third Data Set", indextest.Altered(in[1], 5), index.Outcome{Standing: index.StandingConflict, Why: index.WhyDigest}},
		{"under another study", elsewhere, index.Outcome{Standing: index.StandingConflict, Why: index.WhyDigest}},
		{"another patient", wrongPatient, index.Outcome{Standing: index.StandingConflict, Why: index.WhyPatient}},
		{"no patient", noPatient, index.Outcome{Standing: index.StandingConflict, Why: index.WhyPatient}},
		{"spaces around PatientID", indextest.With(in[3], indextest.Text(0x00100020, "LO", first(in[3].Attributes, 0x00100020)+" ")),
			index.Outcome{Standing: index.StandingDuplicate}}, // the digest is that of the conflict
	} {
		has, err := x.Has(t.Context(), c.in)
		if err != nil || has != c.want.Standing {
			t.Errorf("%s: Has says %v, %v", c.name, has, err)
		}
		if got := apply(t, x, index.Batch{Received: []index.Instance{c.in}}).Outcomes[0]; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	sound(t, x)
	if got := search(t, x, index.Query{Level: index.Study}); len(got) != 1 || first(got[0], 0x00201208) != "3" {
		t.Fatalf("conflicts are counted: %v", got)
	}

	sel := index.Selector{StudyInstanceUID: in[0].Key.StudyInstanceUID, Conflicts: true}
	live, err := x.Live(t.Context(), sel)
	if err != nil || len(live) != 5 {
		t.Fatalf("%d live conflicts, %v", len(live), err)
	}
	work, err := x.Quiet(t.Context(), 1<<62, 0, 10)
	if err != nil || len(work) != 3 || !work[1].Conflict || !work[2].Conflict {
		t.Fatalf("work: %+v, %v", work, err)
	}
	plan := planOf("c", true, live[0].Instance, live[1].Instance)
	if a := apply(t, x, index.Batch{Planned: []index.Plan{plan}, Archived: []index.PackArchive{archived("c", "dir:///a")}}); a.Refused != nil {
		t.Fatal("the conflicts were not packed")
	}
	packs, err := x.Packs(t.Context(), sel)
	if err != nil || len(packs) != 1 || !packs[0].Conflict || !packs[0].Members.Holds(live[0].Key.SOPInstanceUID, live[0].Digest) {
		t.Fatalf("packs of conflicts: %+v, %v", packs, err)
	}
	n := 0
	for c, err := range x.Conflicts(t.Context(), index.Query{}) {
		if err != nil || c.Why == index.WhyNone {
			t.Errorf("conflict: %+v, %v", c, err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d conflicts are shown, want 6", n)
	}
	sound(t, x)
}

func TestFirstComeStandsAndMissingIsFilled(t *testing.T) {
	x := open(t)
	in := oneSeries()
	a := indextest.With(in[0], indextest.Text(0x00081030, "LO", "first"), indextest.Text(0x00100010, "PN", ""), indextest.Text(0x00080020, "DA", ""))
	b := indextest.With(in[1], indextest.Text(0x00081030, "LO", "second"), indextest.Text(0x00100010, "PN", "Späth^Inès"))
	apply(t, x, index.Batch{Received: []index.Instance{a}})
	apply(t, x, index.Batch{Received: []index.Instance{b}})
	got := search(t, x, index.Query{Level: index.Study, Include: []dicom.Tag{0x00081030}, Match: []index.Condition{
		{Path: []dicom.Tag{0x00100010}, Value: "spath*"},
		{Path: []dicom.Tag{0x00080020}, Value: "19000101-"},
		{Path: []dicom.Tag{0x00080061}, Value: first(in[0].Attributes, 0x00080060)},
	}})
	if len(got) != 1 || first(got[0], 0x00081030) != "first" || first(got[0], 0x00100010) != "Späth^Inès" {
		t.Fatalf("%v", got)
	}
	sound(t, x)
}

func TestAdoption(t *testing.T) {
	in := oneSeries()
	adopted := index.AdoptedPack{Pack: archived("p", "dir:///a"), Instances: append([]index.Instance(nil), in[:3]...)}
	for i := range adopted.Instances {
		adopted.Instances[i].At = index.Position{}
	}
	replay := index.Batch{Through: in[4].At, Received: in}
	pack := index.Batch{Adopted: []index.AdoptedPack{adopted}}
	for name, order := range map[string][]index.Batch{
		"pack then journal":         {pack, replay},
		"journal then pack":         {replay, pack},
		"everything twice":          {pack, pack, replay, replay, pack},
		"journal, plan, then pack":  {replay, {Planned: []index.Plan{planOf("p", false, in[:3]...)}}, pack},
		"found in a second archive": {pack, replay, {Adopted: []index.AdoptedPack{{Pack: archived("p", "dir:///b"), Instances: adopted.Instances}}}},
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t)
			for _, b := range order {
				apply(t, x, b)
			}
			sound(t, x)
			c, err := x.Counts(t.Context())
			if err != nil || c.Instances != 5 || c.Live != 2 || c.Packs != 1 || c.Conflicts != 0 || c.Studies != 1 {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
	t.Run("planned in another pack", func(t *testing.T) {
		x := open(t)
		for _, b := range []index.Batch{replay, {Planned: []index.Plan{planOf("q", false, in[1:]...)}}, pack} {
			apply(t, x, b)
		}
		sound(t, x)
		apply(t, x, index.Batch{Archived: []index.PackArchive{archived("q", "dir:///a")}})
		sound(t, x)
		if c, err := x.Counts(t.Context()); err != nil || c.Instances != 5 || c.Live != 0 || c.Packs != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("other bytes in the journal", func(t *testing.T) {
		x := open(t)
		apply(t, x, pack)
		apply(t, x, index.Batch{Received: []index.Instance{indextest.Altered(in[0], 1)}})
		apply(t, x, index.Batch{Adopted: []index.AdoptedPack{{Pack: archived("c", "dir:///a"), Conflict: true,
			Instances: []index.Instance{indextest.Altered(in[0], 1), indextest.Altered(in[1], 1)}}}})
		sound(t, x)
		if c, err := x.Counts(t.Context()); err != nil || c.Instances != 3 || c.Live != 0 || c.Conflicts != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

func TestWatermark(t *testing.T) {
	x := open(t)
	in := oneSeries()
	if p, err := x.Applied(t.Context(), "node-1"); err != nil || p != (index.Position{}) {
		t.Fatalf("%v, %v", p, err)
	}
	apply(t, x, index.Batch{Through: in[2].At, Received: in[:3]})
	if a := apply(t, x, index.Batch{Through: in[1].At, Received: in[3:]}); !a.Skipped || a.Outcomes != nil {
		t.Errorf("a batch before the watermark was applied: %+v", a)
	}
	if p, err := x.Applied(t.Context(), "node-1"); err != nil || p != in[2].At {
		t.Errorf("%v, %v", p, err)
	}
}

func TestABatchIsAppliedWholeOrNotAtAll(t *testing.T) {
	x := open(t)
	in := oneSeries()
	bad := in[4]
	bad.Key.SOPInstanceUID = "../../x"
	if _, err := x.Apply(t.Context(), index.Batch{Through: in[4].At, Received: append(in[:4:4], bad)}); !errors.Is(err, storage.ErrInvalid) {
		t.Fatalf("%v", err)
	}
	if c, err := x.Counts(t.Context()); err != nil || c != (index.Stats{}) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestCheckOfOddModalities: whatever a sender writes as a Modality, an index
// that is sound is said to be.
func TestCheckOfOddModalities(t *testing.T) {
	x := open(t)
	p := indextest.Population{Seed: 17, MaxSeries: 1, MaxInstances: 1}
	for n, modality := range []string{`A"B`, "A\x00B", "A\x01B", "'", `["`, "é", ""} {
		in := indextest.With(p.Study(n)[0], indextest.Text(0x00080060, "CS", modality))
		apply(t, x, index.Batch{Received: []index.Instance{in}, Through: in.At})
	}
	sound(t, x)
}
