package index_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

func step(s index.DeletionStep, id string, at int64) index.Batch {
	return index.Batch{Deletions: []index.Deletion{{ID: id, Step: s, Act: index.Act{At: at, By: "test"}}}}
}

func mark(id, study string, at int64) index.Batch {
	b := step(index.MarkDeletion, id, at)
	b.Deletions[0].StudyInstanceUID = study
	return b
}

func hold(s index.ProtectionStep, study, name string) index.Batch {
	return index.Batch{Protections: []index.Protection{{Step: s, StudyInstanceUID: study, Hold: name}}}
}

func state(t *testing.T, x *index.Index, id string) string {
	t.Helper()
	r, err := x.Deletion(t.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.State.String()
}

func expectState(t *testing.T, x *index.Index, id, want string) {
	t.Helper()
	if got := state(t, x, id); got != want {
		t.Fatalf("deletion %s is %q, want %q", id, got, want)
	}
}

// TestRetention: years are counted from the date of the study, else from its
// first receipt, and the whole day of the anniversary counts.
func TestRetention(t *testing.T) {
	day := func(s string) int64 {
		d, err := time.Parse("2006-01-02", s)
		if err != nil {
			t.Fatal(err)
		}
		return d.UnixNano()
	}
	received := day("2026-03-04") + int64(15*time.Hour)
	for _, c := range []struct {
		name, date string
		years      int
		until      int64
	}{
		{"plain", "20101231", 20, day("2031-01-01")},
		{"leap day to leap day", "20040229", 20, day("2024-03-01")},
		{"leap day to a year without one", "20040229", 21, day("2025-03-02")},
		{"day before 1 March", "20030228", 21, day("2024-02-29")},
		{"1900 is no leap year", "18990228", 1, day("1900-03-01")},
		{"no date", "", 20, day("2046-03-05")},
		{"no such date", "20230230", 20, day("2046-03-05")},
		{"no X-rays yet", "18950101", 20, day("2046-03-05")},
		{"old form", "2010.12.31", 20, day("2031-01-01")},
		{"none", "20101231", 0, 0},
		{"beyond the clock", "20101231", 1000, math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := open(t)
			in := oneSeries()[:2]
			for i := range in {
				in[i] = indextest.With(in[i], indextest.Text(0x00080020, "DA", c.date))
				in[i].Received = received + int64(i)*int64(48*time.Hour)
			}
			in[0], in[1] = in[1], in[0] // the earliest comes last
			study := in[0].Key.StudyInstanceUID
			apply(t, x, index.Batch{Received: in})
			apply(t, x, index.Batch{Protections: []index.Protection{{Step: index.SetRetention, StudyInstanceUID: study, Years: c.years}}})
			kept, err := x.Kept(t.Context(), study)
			if err != nil || kept.Until != c.until {
				t.Fatalf("kept until %v, want %v (%v)", time.Unix(0, kept.Until).UTC(), time.Unix(0, c.until).UTC(), err)
			}
			if c.until > 0 {
				apply(t, x, mark("early", study, c.until-1))
				expectState(t, x, "early", "")
			}
			if c.until < math.MaxInt64 {
				apply(t, x, mark("then", study, max(c.until, 0)))
				expectState(t, x, "then", "marked")
			}
		})
	}
}

// TestRetentionRules: a study's own years come before those of all, and those
// before the default.
func TestRetentionRules(t *testing.T) {
	x := open(t)
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	apply(t, x, index.Batch{Received: in})
	expect := func(years int, own bool) {
		t.Helper()
		if k, err := x.Kept(t.Context(), study); err != nil || k.Years != years || k.Own != own {
			t.Errorf("%+v, %v; want %d years", k, err, years)
		}
	}
	set := func(s index.ProtectionStep, of string, years int) {
		apply(t, x, index.Batch{Protections: []index.Protection{{Step: s, StudyInstanceUID: of, Years: years}}})
	}
	expect(index.DefaultRetention, false)
	set(index.SetRetention, "", 30)
	expect(30, false)
	set(index.SetRetention, study, 5)
	expect(5, true)
	set(index.ClearRetention, study, 0)
	expect(30, false)
	set(index.ClearRetention, "", 0)
	expect(index.DefaultRetention, false)
}

// TestHoldWins: a hold that is set after a deletion was marked keeps it from
// being decided, until it is cleared; one that comes later is too late.
func TestHoldWins(t *testing.T) {
	x := open(t)
	apply(t, x, noRetention())
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	apply(t, x, index.Batch{Received: in})
	apply(t, x, hold(index.SetHold, study, "case 7"))
	apply(t, x, mark("D1", study, 1))
	expectState(t, x, "D1", "")
	apply(t, x, hold(index.ClearHold, study, "case 7"))
	apply(t, x, mark("D1", study, 2))
	expectState(t, x, "D1", "marked")

	apply(t, x, hold(index.SetHold, study, "case 8"))
	apply(t, x, step(index.DecideDeletion, "D1", 10))
	expectState(t, x, "D1", "marked")
	if k, err := x.Kept(t.Context(), study); err != nil || len(k.Holds) != 1 || !k.At(10) {
		t.Errorf("kept %+v, %v", k, err)
	}
	both := step(index.DecideDeletion, "D1", 10)
	both.Protections = append(hold(index.ClearHold, study, "case 8").Protections, hold(index.SetHold, study, "case 9").Protections...)
	apply(t, x, both) // in one batch the protections come first
	expectState(t, x, "D1", "marked")
	apply(t, x, hold(index.ClearHold, study, "case 9"))
	apply(t, x, step(index.DecideDeletion, "D1", 11))
	expectState(t, x, "D1", "removed") // it was in no pack
	apply(t, x, step(index.UndoDeletion, "D1", 12))
	expectState(t, x, "D1", "removed")
	sound(t, x)
}

// TestDeletedJournalSpace: what is marked still needs its place in the
// journal; what is decided does not, nor what is put into a pack meanwhile.
func TestDeletedJournalSpace(t *testing.T) {
	x := open(t)
	apply(t, x, noRetention())
	in := oneSeries()
	study, journal := in[0].Key.StudyInstanceUID, in[0].At.Journal
	apply(t, x, index.Batch{Through: in[4].At, Received: in})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in[:3]...)}})
	apply(t, x, mark("D1", study, 1))
	inUse := func(want bool) {
		t.Helper()
		used, err := x.SegmentsInUse(t.Context(), journal)
		if err != nil || used[in[0].At.Segment] != want {
			t.Errorf("segments in use: %v, %v", used, err)
		}
	}
	inUse(true)
	if planned, err := x.IsPlanned(t.Context(), "p1"); err != nil || planned {
		t.Errorf("a pack of what is deleted is planned: %v", err)
	}
	// Its writer had begun before, and tells that it is there.
	if a := apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:///a")}}); a.Refused != nil {
		t.Errorf("refused: %v", a.Refused)
	}
	for _, at := range []index.Position{in[0].At, in[4].At} {
		if deleted, err := x.DeletedAt(t.Context(), study, in[0].Key.SeriesInstanceUID, at); err != nil || !deleted {
			t.Errorf("%v is not deleted (%v)", at, err)
		}
	}
	later := in[4].At
	later.Offset++
	if deleted, err := x.DeletedAt(t.Context(), study, in[0].Key.SeriesInstanceUID, later); err != nil || deleted {
		t.Errorf("what comes later is deleted (%v)", err)
	}

	apply(t, x, step(index.UndoDeletion, "D1", 2))
	sound(t, x)
	if packs, err := x.Packs(t.Context(), index.Selector{}); err != nil || len(packs) != 1 || packs[0].Members.Len() != 3 || len(packs[0].Copies) != 1 {
		t.Errorf("packs after the undo: %+v, %v", packs, err)
	}
	if live, err := x.Live(t.Context(), index.Selector{}); err != nil || len(live) != 2 {
		t.Errorf("live after the undo: %v, %v", live, err)
	}

	apply(t, x, mark("D2", study, 3))
	apply(t, x, step(index.DecideDeletion, "D2", 4))
	inUse(false)
	expectState(t, x, "D2", "removing")
	sound(t, x)
}

// TestComesAgain: what is pushed again after a deletion is new, is packed
// under another name, and survives the removal; the undo leaves it alone.
func TestComesAgain(t *testing.T) {
	x := open(t)
	apply(t, x, noRetention())
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	apply(t, x, index.Batch{Received: in})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in...)}})
	apply(t, x, index.Batch{Archived: []index.PackArchive{archived("p1", "dir:///a"), archived("p1", "dir:///b")}})
	apply(t, x, mark("D1", study, 1))
	if got := search(t, x, index.Query{Level: index.Study}); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	if a := apply(t, x, index.Batch{Received: in[:2]}); a.Outcomes[0].Standing != index.StandingNew {
		t.Errorf("came again as %v", a.Outcomes)
	}
	work, err := x.Quiet(t.Context(), 1<<62, 0, 10)
	if err != nil || len(work) != 1 || work[0].Generation != 1 {
		t.Errorf("work %+v, %v", work, err)
	}
	if a := apply(t, x, index.Batch{Planned: []index.Plan{planOf("p1", false, in[:2]...)}}); len(a.Refused) != 1 {
		t.Error("a pack is planned under the name of one that is going to be removed")
	}
	apply(t, x, step(index.UndoDeletion, "D1", 2))
	expectState(t, x, "D1", "marked")
	apply(t, x, step(index.DecideDeletion, "D1", 3))
	expectState(t, x, "D1", "removing")

	gone := step(index.PackGone, "D1", 4)
	gone.Deletions[0].PackID, gone.Deletions[0].Archives, gone.Deletions[0].Last = "p1", []string{"dir:///a"}, true
	apply(t, x, gone)
	if doomed, err := x.Doomed(t.Context(), "D1"); err != nil || len(doomed) != 1 || len(doomed[0].Copies) != 1 || doomed[0].Copies[0].Archive != "dir:///b" {
		t.Errorf("doomed %+v, %v", doomed, err)
	}
	gone.Deletions[0].Archives = []string{"dir:///b", "dir:///c"}
	apply(t, x, gone)
	expectState(t, x, "D1", "removed")
	sound(t, x)
	if got := search(t, x, index.Query{Level: index.Study}); len(got) != 1 || first(got[0], 0x00201208) != "2" {
		t.Errorf("found %v", got)
	}
}

// TestSharedPack: a pack in which an instance lies that is kept aside stays
// for its sake, and is the study's again after an undo.
func TestSharedPack(t *testing.T) {
	x := open(t)
	apply(t, x, noRetention())
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	aside := indextest.Altered(in[1], 3)
	apply(t, x, index.Batch{Adopted: []index.AdoptedPack{{Pack: archived("p1", "dir:///a"), Instances: []index.Instance{in[0], in[1], aside}}}})
	sound(t, x)
	conflicts := func() {
		t.Helper()
		packs, err := x.Packs(t.Context(), index.Selector{StudyInstanceUID: study, Conflicts: true})
		if err != nil || len(packs) != 1 || len(packs[0].Copies) != 1 || !packs[0].Members.Holds(aside.Key.SOPInstanceUID, aside.Digest) || packs[0].Members.Len() != 1 {
			t.Errorf("conflicts lie in %+v, %v", packs, err)
		}
	}
	conflicts()
	for i, end := range []index.DeletionStep{index.UndoDeletion, index.DecideDeletion} {
		id := []string{"D1", "D2"}[i]
		apply(t, x, mark(id, study, 1))
		conflicts()
		sound(t, x)
		if packs, err := x.Packs(t.Context(), index.Selector{StudyInstanceUID: study}); err != nil || len(packs) != 0 {
			t.Errorf("packs %+v, %v", packs, err)
		}
		apply(t, x, step(end, id, 2))
		conflicts()
		sound(t, x)
		if packs, err := x.Packs(t.Context(), index.Selector{StudyInstanceUID: study}); err != nil || len(packs) != 1-i {
			t.Errorf("packs %+v, %v", packs, err)
		}
	}
	gone := step(index.PackGone, "D2", 4)
	gone.Deletions[0].PackID, gone.Deletions[0].Archives, gone.Deletions[0].Last = "p1", []string{"dir:///a"}, true
	apply(t, x, gone) // nobody should say so
	conflicts()
	if doomed, err := x.Doomed(t.Context(), "D2"); err != nil || len(doomed) != 1 || !doomed[0].Shared {
		t.Errorf("doomed %+v, %v", doomed, err)
	}
	if r, err := x.Deletion(t.Context(), "D2"); err != nil || !reflect.DeepEqual(r.Aside, []storage.Digest{aside.Digest}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRestore: a record that an archive kept makes the same deletion again.
func TestRestore(t *testing.T) {
	in := oneSeries()
	study := in[0].Key.StudyInstanceUID
	x := open(t)
	apply(t, x, noRetention())
	apply(t, x, index.Batch{Through: in[4].At, Received: in})
	apply(t, x, mark("D1", study, 1))
	r, err := x.Deletion(t.Context(), "D1")
	if err != nil {
		t.Fatal(err)
	}
	y := open(t)
	apply(t, y, index.Batch{Received: in})
	apply(t, y, index.Batch{Deletions: []index.Deletion{{ID: "D1", Step: index.RestoreDeletion, Record: &r}}})
	again, err := y.Deletion(t.Context(), "D1")
	if err != nil || !reflect.DeepEqual(r, again) {
		t.Fatalf("%+v, want %+v (%v)", again, r, err)
	}
	if got := search(t, y, index.Query{Level: index.Study}); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	apply(t, y, step(index.UndoDeletion, "D1", 2))
	if live, err := y.Live(t.Context(), index.Selector{}); err != nil || len(live) != 5 {
		t.Errorf("live after the undo: %v, %v", live, err)
	}
	sound(t, y)
}

// TestDeletedOnItsWay: what is received again out of a retired journal is not
// put back when it was deleted meanwhile, and moves while that can be undone.
func TestDeletedOnItsWay(t *testing.T) {
	for _, last := range []index.DeletionStep{index.UndoDeletion, index.DecideDeletion} {
		x := open(t)
		apply(t, x, noRetention())
		in := oneSeries()
		study, old := in[0].Key.StudyInstanceUID, in[0].At.Journal
		apply(t, x, index.Batch{Through: in[4].At, Received: in})
		apply(t, x, index.Batch{Journals: []index.JournalChange{{Journal: old, Retired: true}}})
		apply(t, x, mark("D1", study, 1))
		again := slices.Clone(in)
		for i := range again {
			again[i].From = []index.Position{in[i].At}
			again[i].At = index.Position{Journal: "node-9", Segment: 1, Offset: int64(i+1) * 64}
		}
		if last == index.DecideDeletion {
			apply(t, x, step(last, "D1", 2))
		}
		apply(t, x, index.Batch{Through: again[4].At, Received: again})
		if found, err := x.Where(t.Context(), index.Selector{StudyInstanceUID: study}); err != nil || len(found) > 0 {
			t.Fatalf("%d instances of a deleted study are there (%v)", len(found), err)
		}
		if lies, err := x.Lies(t.Context(), old); err != nil || lies {
			t.Errorf("some of it lies in the retired journal (%v)", err)
		}
		if last == index.UndoDeletion {
			apply(t, x, step(last, "D1", 2))
			if found, err := x.Where(t.Context(), index.Selector{StudyInstanceUID: study}); err != nil || len(found) != len(in) {
				t.Errorf("%d instances are put back, want %d (%v)", len(found), len(in), err)
			}
		}
		used, err := x.SegmentsInUse(t.Context(), "node-9")
		if want := last == index.UndoDeletion; err != nil || used[1] != want {
			t.Errorf("segments in use: %v, %v; want it to be %v", used, err, want)
		}
		sound(t, x)
	}
}
