package gateway_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestManyHolds: no more holds stand on a study than its note can have: one that
// is too long would end a rebuild.
func TestManyHolds(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	study := tiny(1, 1)
	k.mustStore(study.Instances...)
	k.pass()
	q := gateway.Request{StudyInstanceUID: study.StudyInstanceUID, By: "judge"}
	var all []index.Protection
	for i := range 1500 {
		all = append(all, index.Protection{
			Step: index.SetHold, StudyInstanceUID: q.StudyInstanceUID, Hold: strconv.Itoa(i), Act: index.Act{At: 1, By: strings.Repeat("\x01", 2048), Why: strings.Repeat("\x01", 2048)},
		})
	}
	if err := k.proposer.Propose(t.Context(), index.Batch{Protections: all}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.custodian.Hold(t.Context(), "one more", q); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("one more hold: %v", err)
	}
	if _, err := k.custodian.Hold(t.Context(), "7", q); err != nil {
		t.Errorf("one that stands: %v", err)
	}
	k.sweep()
	kept, err := k.rebuilt().custodian.Kept(t.Context(), q.StudyInstanceUID)
	if err != nil || len(kept.Holds) != index.HoldsMost {
		t.Errorf("%d holds after a rebuild: %v", len(kept.Holds), err)
	}
}

// TestHeld: a hold keeps a study from being deleted, and one that is marked
// already from being removed; it survives a rebuild.
func TestHeld(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	study := tiny(1, 3)
	q := gateway.Request{StudyInstanceUID: study.StudyInstanceUID, By: "judge", Why: "case 7"}
	if _, err := k.custodian.Hold(t.Context(), "case 7", q); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("held what is not there: %v", err)
	}
	k.mustStore(study.Instances...)
	k.pass()
	if _, err := k.custodian.Hold(t.Context(), "case 7", q); err != nil {
		t.Fatal(err)
	}
	var protected *gateway.ProtectedError
	if _, err := k.custodian.Delete(t.Context(), q); !errors.As(err, &protected) || len(protected.Kept.Holds) != 1 || !strings.Contains(err.Error(), `hold "case 7"`) {
		t.Errorf("deleted what is held: %v", err)
	}
	if _, err := k.custodian.Release(t.Context(), "case 7", q); err != nil {
		t.Fatal(err)
	}
	d := k.delete(study.StudyInstanceUID)
	if _, err := k.custodian.Hold(t.Context(), "case 8", q); err != nil {
		t.Fatal(err)
	}
	k.at = k.at.Add(10 * grace)
	k.sweep()
	if s := k.expectState(d.ID, index.DeletionMarked); s.Kept == nil || s.Kept.Holds[0].Name != "case 8" {
		t.Errorf("status %+v", s)
	}
	r := k.rebuilt()
	r.sweep()
	r.expectState(d.ID, index.DeletionMarked)
	if _, err := k.custodian.Release(t.Context(), "case 8", q); err != nil {
		t.Fatal(err)
	}
	if _, err := k.custodian.Release(t.Context(), "case 8", q); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("released twice: %v", err)
	}
	k.end()
	k.expectState(d.ID, index.DeletionRemoved)
	if _, err := k.custodian.Hold(t.Context(), "case 9", q); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("held what was removed: %v", err)
	}
}

// TestHoldRace: a hold that is proposed at the very moment of the decision
// either keeps the study or says that it came too late.
func TestHoldRace(t *testing.T) {
	for seed := range uint64(20) {
		a := mem.New()
		k := keep(t, open(t, t.TempDir(), a), a)
		study := tiny(seed+1, 1)
		k.mustStore(study.Instances...)
		k.pass()
		d := k.delete(study.StudyInstanceUID)
		k.at = k.at.Add(grace)
		held := make(chan error)
		go func() {
			_, err := k.custodian.Hold(context.WithoutCancel(t.Context()), "now", gateway.Request{StudyInstanceUID: study.StudyInstanceUID})
			held <- err
		}()
		k.sweep()
		err := <-held
		k.at = k.at.Add(2 * time.Hour)
		k.sweep()
		s, serr := k.custodian.Deletion(t.Context(), d.ID)
		if serr != nil {
			t.Fatal(serr)
		}
		if late := err != nil; late != (s.State == index.DeletionRemoved) {
			t.Fatalf("the hold ended with %v, the deletion is %v", err, s.State)
		}
		if err == nil {
			k.undo(d.ID)
			k.expect(study.StudyInstanceUID, study.Instances...)
		}
		k.stop()
	}
}

// TestRetained: without another rule nothing is deleted for twenty years.
func TestRetained(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	if _, err := k.custodian.Retain(t.Context(), nil, gateway.Request{}); err != nil {
		t.Fatal(err)
	}
	study := tiny(1, 1)
	k.mustStore(study.Instances...)
	q := gateway.Request{StudyInstanceUID: study.StudyInstanceUID}
	_, err := k.custodian.Delete(t.Context(), q)
	var protected *gateway.ProtectedError
	if !errors.As(err, &protected) || protected.Kept.Years != 20 || !errors.Is(err, storage.ErrProtected) {
		t.Fatalf("deleted what is retained: %v", err)
	}
	until := time.Unix(0, protected.Kept.Until)
	if !strings.Contains(err.Error(), until.UTC().Format(time.DateOnly)) {
		t.Errorf("%q does not say until when", err)
	}
	k.at = until
	d := k.delete(study.StudyInstanceUID)
	years := 40
	if _, err := k.custodian.Retain(t.Context(), &years, q); err != nil {
		t.Fatal(err)
	}
	k.at = k.at.Add(2 * grace)
	k.sweep()
	k.expectState(d.ID, index.DeletionMarked) // the new rule came before the decision
	r := k.rebuilt()
	if kept, err := r.custodian.Kept(t.Context(), study.StudyInstanceUID); err != nil || kept.Years != 40 || !kept.Own {
		t.Errorf("rebuilt: %+v, %v", kept, err)
	}
}
