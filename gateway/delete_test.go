package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestDelete: what is deleted is gone at once, can be put back, and is removed
// at the end from every archive, also from one that was away.
func TestDelete(t *testing.T) {
	first, second := openDir(t), &shut{away{Archive: openDir(t)}}
	all, err := set.New([]archive.Archive{first, second}, set.Options{Copies: 1})
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, open(t, t.TempDir(), all), first, second)
	packed, live, other := tiny(1, 3), tiny(2, 2), tiny(3, 2)
	k.mustStore(packed.Instances...)
	k.mustStore(other.Instances...)
	k.pass()
	k.mustStore(live.Instances...)

	a, b := k.delete(packed.StudyInstanceUID), k.delete(live.StudyInstanceUID)
	if a.Instances != 3 || a.Series != 1 || len(a.Packs) != 1 || b.Instances != 2 || len(b.Packs) != 0 {
		t.Errorf("deleted %+v and %+v", a, b)
	}
	if again := k.delete(packed.StudyInstanceUID); !again.Before || again.ID != a.ID {
		t.Errorf("deleted again: %+v", again)
	}
	k.expectNothing(packed.StudyInstanceUID)
	k.expectNothing(live.StudyInstanceUID)
	k.pass()
	if got := k.unreleased(); got < 2 {
		t.Errorf("the journal holds %d entries: what is marked was released", got)
	}
	for _, one := range k.each {
		if got := objects(t, one, "deleted/"); len(got) != 2 {
			t.Errorf("notes in %s: %v", one, got)
		}
	}
	k.undo(a.ID)
	k.undo(b.ID)
	k.undo(b.ID) // to say so again is no failure
	k.expect(packed.StudyInstanceUID, packed.Instances...)
	k.expect(live.StudyInstanceUID, live.Instances...)

	a, b = k.delete(packed.StudyInstanceUID), k.delete(live.StudyInstanceUID)
	k.at = k.at.Add(grace - 1)
	k.sweep()
	k.expectState(a.ID, index.DeletionMarked)
	second.gone = true
	k.at = k.at.Add(time.Hour)
	if err := k.sweeper.Pass(t.Context()); err == nil {
		t.Error("a pass while an archive is away did not fail")
	}
	s := k.expectState(a.ID, index.DeletionDecided)
	if s.Left != 1 || s.Trouble == nil || !k.forgotten[a.Packs[0].Key] {
		t.Errorf("status %+v", s)
	}
	if n, since := k.sweeper.Troubles(); n != 1 || !since.Equal(k.at) {
		t.Errorf("%d troubles since %v", n, since)
	}
	k.expectState(b.ID, index.DeletionRemoved)
	if got := objects(t, first, "studies/"+packed.StudyInstanceUID); len(got) != 0 {
		t.Errorf("still in the first archive: %v", got)
	}
	k.pass()
	if got := k.unreleased(); got != 0 {
		t.Errorf("the journal still holds %d entries", got)
	}
	k.restart()
	k.at = k.at.Add(time.Hour)
	if _, err := k.custodian.Undo(t.Context(), a.ID, "", ""); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("undone when it was too late: %v", err)
	}
	second.gone = false
	k.sweep()
	k.expectState(a.ID, index.DeletionRemoved)
	if got := objects(t, second, "studies/"+packed.StudyInstanceUID); len(got) != 0 {
		t.Errorf("still in the second archive: %v", got)
	}
	k.expect(other.StudyInstanceUID, other.Instances...)
	k.checked()
}

// shut is an archive that does nothing at all while it is told so.
type shut struct{ away }

func (s *shut) Remove(ctx context.Context, key string) error {
	if s.gone {
		return storage.ErrUnavailable
	}
	return s.away.Remove(ctx, key)
}

func (s *shut) Check(ctx context.Context) error {
	if s.gone {
		return storage.ErrUnavailable
	}
	return s.away.Check(ctx)
}

// TestDeleteAgain: what is pushed again after a deletion is new; neither the
// removal of what it was nor a rebuild touches it.
func TestDeleteAgain(t *testing.T) {
	for _, when := range []string{"in the journal", "in a pack"} {
		t.Run(when, func(t *testing.T) {
			a := mem.New()
			k := keep(t, open(t, t.TempDir(), a), a)
			study := tiny(1, 3)
			k.mustStore(study.Instances...)
			if when == "in a pack" {
				k.pass()
			}
			d := k.delete(study.StudyInstanceUID)
			k.mustStore(study.Instances...)
			k.expect(study.StudyInstanceUID, study.Instances...)
			k.pass()
			if _, err := k.custodian.Undo(t.Context(), d.ID, "", ""); !errors.Is(err, storage.ErrConflict) {
				t.Errorf("undone on top of what came again: %v", err)
			}
			k.rebuilt().expect(study.StudyInstanceUID, study.Instances...)
			k.end()
			k.expectState(d.ID, index.DeletionRemoved)
			k.expect(study.StudyInstanceUID, study.Instances...)
			k.rebuilt().expect(study.StudyInstanceUID, study.Instances...)
			if got := objects(t, a, "studies/"); len(got) != 1 {
				t.Errorf("packs %v", got)
			}
			k.checked()
		})
	}
}

// TestDeletedStaysDeleted: an index that is made anew from archives and
// journal shows nothing that was deleted, can undo what could be undone, and
// goes on removing.
func TestDeletedStaysDeleted(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	packed, live, removed, left := tiny(1, 3), tiny(2, 2), tiny(3, 4), tiny(4, 1)
	k.mustStore(removed.Instances...)
	k.mustStore(packed.Instances...)
	k.pass()
	k.mustStore(live.Instances...)
	k.mustStore(left.Instances...) // keeps the segment
	gone := k.delete(removed.StudyInstanceUID)
	k.end()
	k.expectState(gone.ID, index.DeletionRemoved)
	one, two := k.delete(packed.StudyInstanceUID), k.delete(live.StudyInstanceUID)

	k.checked()
	r := k.rebuilt()
	for _, study := range []string{packed.StudyInstanceUID, live.StudyInstanceUID, removed.StudyInstanceUID} {
		r.expectNothing(study)
	}
	r.expect(left.StudyInstanceUID, left.Instances...)
	for _, id := range []string{gone.ID, one.ID, two.ID} {
		was, err := k.index.Deletion(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		is, err := r.index.Deletion(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := asJSON(t, was), asJSON(t, is); a != b {
			t.Errorf("deletion %s\nwas %s\nis  %s", id, a, b)
		}
	}
	r.undo(one.ID)
	r.undo(two.ID)
	r.expect(packed.StudyInstanceUID, packed.Instances...)
	r.expect(live.StudyInstanceUID, live.Instances...)

	// Its notes say that it was undone: another rebuild shows it.
	r.rebuilt().expect(packed.StudyInstanceUID, packed.Instances...)
}

// TestRemovedComesBack: an archive that was away while a study was removed
// everywhere else, and an index that was lost, do not bring it back.
func TestRemovedComesBack(t *testing.T) {
	first, second := openDir(t), openDir(t)
	all, err := set.New([]archive.Archive{first, second}, set.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, open(t, t.TempDir(), all), first, second)
	study := tiny(1, 3)
	k.mustStore(study.Instances...)
	k.pass()
	k.each = k.each[:1] // nobody told of the second
	k.wire()
	d := k.delete(study.StudyInstanceUID)
	k.at = k.at.Add(2 * grace)
	if err := k.sweeper.Pass(t.Context()); err == nil || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("a copy in an archive that is not configured: %v", err)
	}
	k.expectState(d.ID, index.DeletionDecided)
	k.each = append(k.each, second)
	r := k.rebuilt()
	r.expectNothing(study.StudyInstanceUID)
	r.expectState(d.ID, index.DeletionDecided)
	r.at = r.at.Add(time.Hour)
	r.sweep()
	r.expectState(d.ID, index.DeletionRemoved)
	if got := objects(t, second, "studies/"); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
}
