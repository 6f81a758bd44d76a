package commitment_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestCommittedWhenArchived: not while one of two archives has it, and not
// while the archive that has it does not answer.
func TestCommittedWhenArchived(t *testing.T) {
	r := newRegion(t)
	of := r.receive(1, "CT1")
	r.mustAsk("1.2.1", "CT1", references(of...)...)
	for range 3 {
		r.pass()
		r.later(10 * time.Minute)
	}
	r.archive(of, "a")
	r.later(time.Hour)
	r.pass()
	r.mu.Lock()
	r.away = storage.ErrUnavailable
	r.mu.Unlock()
	r.mustPropose(index.Batch{Archived: []index.PackArchive{{PackID: "pack of " + of[0].Key.SOPInstanceUID, Archive: "b", Key: "k", Size: 1, CRC32C: 1, At: 1}}})
	r.later(time.Hour)
	r.pass()
	if got := r.report(); got.TransactionUID != "" || len(r.complete) > 0 {
		t.Fatalf("%+v, %v", got, r.complete)
	}
	r.mu.Lock()
	r.away = nil
	r.mu.Unlock()
	r.reports(5*time.Minute, references(of...))
	uid := of[0].Key.StudyInstanceUID
	if want := []string{uid + " by CT1"}; !reflect.DeepEqual(r.complete, want) {
		t.Errorf("complete are %v, want %v", r.complete, want)
	}
	h, err := r.x.History(t.Context(), uid)
	steps := 0
	for _, series := range h {
		for _, s := range series.Steps {
			if s.Kind == index.EventCommitted && s.Instances == int64(len(of)) && s.Origin.CallingAETitle == "CT1" {
				steps++
			}
		}
	}
	if err != nil || steps != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if want := map[commitment.Outcome]int{commitment.Asked: 1, commitment.AllCommitted: 1, commitment.Told: 1}; !reflect.DeepEqual(r.counts, want) {
		t.Errorf("counted %v", r.counts)
	}
}

// TestNotArchivedInTime: the time that instances may take is bounded.
func TestNotArchivedInTime(t *testing.T) {
	r := newRegion(t)
	of := r.receive(1, "CT1")
	r.archive(of[:1], "a", "b")
	r.mustAsk("1.2.1", "CT1", append(references(of...), absent)...)
	r.pass()
	r.later(23 * time.Hour)
	failed := []commitment.Failure{}
	for _, in := range of[1:] {
		failed = append(failed, commitment.Failure{Reference: reference(in), Reason: commitment.ProcessingFailure})
	}
	failed = append(failed, commitment.Failure{Reference: absent, Reason: commitment.NoSuchInstance})
	r.pass()
	r.reports(time.Hour, references(of[0]), failed...)
	if len(r.complete) > 0 {
		t.Errorf("complete are %v", r.complete)
	}
}

// TestWhatFails: instances that are not there, not any more, of another class,
// another site's, and those of whose name another is kept aside. What may still
// come is waited for; another site's is no different from what is not there.
func TestWhatFails(t *testing.T) {
	r := newRegion(t)
	of, theirs := r.receive(1, "CT1"), r.receive(2, "MR1")
	r.archive(of, "a", "b")
	r.archive(theirs, "a", "b")
	gone := r.receive(3, "CT1")
	r.mustPropose(index.Batch{Protections: []index.Protection{{Step: index.SetRetention, Years: 0}}})
	r.mustPropose(index.Batch{Deletions: []index.Deletion{{ID: "d", Step: index.MarkDeletion, StudyInstanceUID: gone[0].Key.StudyInstanceUID}}})
	failure := func(f commitment.Reference, why commitment.Reason) commitment.Failure {
		return commitment.Failure{Reference: f, Reason: why}
	}
	other := commitment.Reference{SOPClassUID: "1.2.3.4", SOPInstanceUID: of[0].Key.SOPInstanceUID}
	for i, c := range []struct {
		name  string
		asked commitment.Reference
		why   commitment.Reason
		after time.Duration
	}{
		{"not there", absent, commitment.NoSuchInstance, time.Minute},
		{"another site's", reference(theirs[0]), commitment.NoSuchInstance, time.Minute},
		{"deleted", reference(gone[0]), commitment.NoSuchInstance, time.Minute},
	} {
		r.mustAsk(fmt.Sprintf("1.2.%d", i), "CT1", c.asked)
		r.pass()
		r.later(c.after - 2*time.Second)
		r.reports(2*time.Second, nil, failure(c.asked, c.why))
	}
	r.mustAsk("1.3", "CT1", other, reference(of[0]))
	r.pass()
	r.pass()
	if got := r.report(); !reflect.DeepEqual(got.Failed, []commitment.Failure{failure(other, commitment.ClassConflict)}) || len(got.Committed) != 1 {
		t.Errorf("of another class: %+v", got)
	}
	aside := study(1)[0]
	aside.Digest, aside.Origin = storage.Digest{7}, originOf("CT1")
	r.mustPropose(index.Batch{Received: []index.Instance{aside}})
	r.mustAsk("1.4", "CT1", reference(of[0]))
	r.pass()
	r.pass()
	if got := r.report(); !reflect.DeepEqual(got.Failed, []commitment.Failure{failure(reference(of[0]), commitment.ProcessingFailure)}) {
		t.Errorf("kept aside: %+v", got)
	}
}

// TestStillOnItsWay: an instance may come after the request.
func TestStillOnItsWay(t *testing.T) {
	r := newRegion(t)
	of := study(1)[0].Instance
	r.mustAsk("1.2.1", "CT1", reference(of))
	r.pass()
	r.later(30 * time.Second)
	r.archive(r.receive(1, "CT1"), "a", "b")
	r.pass()
	r.pass()
	if got := r.report(); len(got.Committed) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestIndexIsBehind: what was acknowledged is not called unknown because the
// index does not have it yet.
func TestIndexIsBehind(t *testing.T) {
	r := newRegion(t)
	r.mustAsk("1.2.1", "CT1", absent)
	lag := storage.ErrUnavailable
	r.o.Indexed = func(context.Context) error { return lag }
	r.c = commitment.New(r.o)
	r.pass()
	r.later(time.Hour)
	r.pass()
	r.pass()
	if got := r.report(); got.TransactionUID != "" {
		t.Fatalf("told %+v", got)
	}
	lag = nil
	r.reports(time.Second, nil, commitment.Failure{Reference: absent, Reason: commitment.NoSuchInstance})
}

// TestAsk: who may ask, and for what; the same again is no failure.
func TestAsk(t *testing.T) {
	r := newRegion(t)
	of := r.receive(1, "CT1")
	for _, c := range []struct {
		name, transaction, title string
		of                       []commitment.Reference
		want                     error
	}{
		{"taken", "1.2.1", "CT1", references(of...), nil},
		{"the same again", "1.2.1", "CT1", references(of...), nil},
		{"twice in one", "1.2.1", "CT1", append(references(of...), reference(of[0])), nil},
		{"another of that name", "1.2.1", "CT1", []commitment.Reference{absent}, storage.ErrConflict},
		{"another's of that name", "1.2.1", "MR1", []commitment.Reference{absent}, nil},
		{"of no site", "1.2.2", "NOBODY", references(of...), storage.ErrForbidden},
		{"nothing", "1.2.2", "CT1", nil, storage.ErrInvalid},
		{"no UID", "1.2.2", "CT1", []commitment.Reference{{SOPClassUID: "1.2", SOPInstanceUID: "x"}}, storage.ErrInvalid},
		{"no transaction", "x", "CT1", references(of...), storage.ErrInvalid},
	} {
		if err := r.ask(c.transaction, c.title, c.of...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	silent, err := gateway.NewSites([]gateway.Site{{SenderInfo: storage.SenderInfo{Name: "S", Issuer: storage.Issuer{Name: "I"}}, CallingAETitles: []string{"CT1"}}}, true)
	if err != nil {
		t.Fatal(err)
	}
	o := r.o
	o.Sites = silent
	err = commitment.New(o).Ask(t.Context(), commitment.Request{TransactionUID: "1.2.9", Origin: originOf("CT1"), References: references(of...)})
	if !errors.Is(err, storage.ErrUnsupported) {
		t.Errorf("without an address: %v", err)
	}
	o = r.o
	o.Indexed = func(context.Context) error { return storage.ErrUnavailable }
	err = commitment.New(o).Ask(t.Context(), commitment.Request{TransactionUID: "1.2.9", Origin: originOf("CT1"), References: references(of...)})
	if e, ierr := r.x.Commitment(t.Context(), index.CommitmentID{CallingAETitle: "CT1", TransactionUID: "1.2.9"}); !errors.Is(err, storage.ErrUnavailable) || e != nil || ierr != nil {
		t.Errorf("while what it sent is not indexed: %v, %+v, %v", err, e, ierr)
	}
	r.mustAsk("1.4", "CT1", absent)
	ended := index.CommitmentID{CallingAETitle: "CT1", TransactionUID: "1.4"}
	r.mustPropose(index.Batch{Commitments: []index.Commitment{{ID: ended, Step: index.SettleCommitment, Failed: []index.FailedReference{{Reason: uint16(commitment.NoSuchInstance)}}}}})
	r.mustPropose(index.Batch{Commitments: []index.Commitment{{ID: ended, Step: index.EndCommitment}}})
	var b index.Batch
	for i := range index.CommitmentsOfOne {
		b.Commitments = append(b.Commitments, index.Commitment{
			ID:   index.CommitmentID{CallingAETitle: "CT1", TransactionUID: fmt.Sprintf("1.5.%d", i)},
			Step: index.AskCommitment, Asked: []index.ClassInstances{{SOPClassUID: absent.SOPClassUID, SOPs: []string{absent.SOPInstanceUID}}},
		})
	}
	r.mustPropose(b)
	if err := r.ask("1.6", "CT1", absent); !errors.Is(err, storage.ErrFull) {
		t.Errorf("too many: %v", err)
	}
	if err := r.ask("1.4", "CT1", absent); !errors.Is(err, storage.ErrFull) {
		t.Errorf("too many, with one that has ended: %v", err)
	}
}

// TestTellAgain: an asker that does not take its report is told again, ever
// more seldom, also by who works on it next, and given up after a time.
func TestTellAgain(t *testing.T) {
	r := newRegion(t)
	of := r.receive(1, "CT1")
	r.archive(of, "a", "b")
	r.refuses = io.ErrUnexpectedEOF
	r.mustAsk("1.2.1", "CT1", references(of...)...)
	r.mustAsk("1.2.2", "MR1", references(of...)...)
	for range 5 {
		r.pass()
		r.pass() // nothing is due
		r.later(10 * time.Minute)
	}
	e, err := r.x.Commitment(t.Context(), index.CommitmentID{CallingAETitle: "CT1", TransactionUID: "1.2.1"})
	if err != nil || e == nil || e.State != index.CommitmentSettled || e.Attempts < 3 || e.Trouble == "" {
		t.Fatalf("%+v, %v", e, err)
	}
	r.mu.Lock()
	r.refuses = nil
	r.mu.Unlock()
	r.c = commitment.New(r.o)
	r.pass()
	for range 2 {
		if got := r.report(); got.TransactionUID != "1.2.1" && got.TransactionUID != "1.2.2" {
			t.Errorf("told %+v", got)
		}
	}
	r.refuses = io.ErrUnexpectedEOF
	r.mustAsk("1.2.3", "CT1", references(of...)...)
	r.pass()
	r.pass()
	r.later(8 * 24 * time.Hour)
	r.pass()
	if n, err := r.x.CommitmentCounts(t.Context()); err != nil || n != (index.CommitmentCounts{}) || r.counts[commitment.GivenUp] != 1 {
		t.Errorf("%+v are open, %v counted, %v", n, r.counts, err)
	}
}

// TestOneDoesNotDelayOthers: a peer that does not answer takes one place,
// however much it is to be told.
func TestOneDoesNotDelayOthers(t *testing.T) {
	r := newRegion(t)
	of, theirs := r.receive(1, "CT1"), r.receive(2, "MR1")
	r.archive(of, "a", "b")
	r.archive(theirs, "a", "b")
	r.hold = make(chan struct{})
	for i := range 10 {
		r.mustAsk(fmt.Sprintf("1.2.%d", i), "CT1", references(of...)...)
	}
	r.mustAsk("1.3", "MR1", references(theirs...)...)
	for range 2 {
		if err := r.c.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case got := <-r.told:
		if got.TransactionUID != "1.3" {
			t.Errorf("told %+v", got)
		}
	case <-time.After(time.Minute):
		t.Error("the other is not told")
	}
	close(r.hold)
	r.c.Wait()
	for range 20 {
		r.pass()
	}
	if len(r.told) != 10 {
		t.Errorf("%d were told", len(r.told))
	}
}
