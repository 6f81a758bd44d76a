package index_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const ctClass = "1.2.840.10008.5.1.4.1.1.2"

// asker is who asks for storage commitment of an index.
type asker struct {
	t  *testing.T
	x  *index.Index
	at int64
}

func (a *asker) step(c index.Commitment) {
	a.t.Helper()
	a.at++
	b := index.Batch{Commitments: []index.Commitment{c}, Stamp: lifeTime(a.at)}
	decoded := throughTheWire(a.t, b)
	if !reflect.DeepEqual(decoded.Commitments, b.Commitments) {
		a.t.Fatalf("%+v became %+v", b, decoded)
	}
	apply(a.t, a.x, decoded)
}

func transaction(n int) index.CommitmentID {
	return index.CommitmentID{CallingAETitle: "CT1", TransactionUID: fmt.Sprintf("1.2.3.%d", n)}
}

func asked(sops ...string) []index.ClassInstances {
	return []index.ClassInstances{{SOPClassUID: ctClass, SOPs: sops}}
}

// entry is what the index has of a request.
func (a *asker) entry(n int) index.CommitmentEntry {
	a.t.Helper()
	e, err := a.x.Commitment(a.t.Context(), transaction(n))
	if err != nil {
		a.t.Fatal(err)
	}
	if e == nil {
		return index.CommitmentEntry{State: -1}
	}
	return *e
}

// TestCommitmentSteps: a request waits, is settled, and ends when its asker
// knows; steps that come twice, or too late, do nothing.
func TestCommitmentSteps(t *testing.T) {
	a := &asker{t: t, x: open(t)}
	id, list := transaction(1), asked("1.2", "1.3", "1.4")
	ask := index.Commitment{ID: id, Step: index.AskCommitment, Origin: storage.Origin{Transport: "dimse", CallingAETitle: "CT1"}, Asked: list}
	for range 2 {
		a.step(ask)
		if e := a.entry(1); e.State != index.CommitmentWaiting || e.References != 3 || e.At != 1e9 || e.Digest != index.AskedDigest(list) {
			t.Fatalf("%+v", e)
		}
	}
	a.step(index.Commitment{ID: id, Step: index.EndCommitment}) // nobody can be told yet
	a.step(index.Commitment{ID: id, Step: index.DelayCommitment, Due: 9})
	if e := a.entry(1); e.State != index.CommitmentWaiting || e.Attempts != 0 {
		t.Fatalf("%+v", e)
	}
	a.step(index.Commitment{
		ID: id, Step: index.SettleCommitment, Failed: []index.FailedReference{{Reference: 1, Reason: 0x0112}},
		Committed: []index.CommittedSeries{{StudyInstanceUID: "9.1", SeriesInstanceUID: "9.1.1", Instances: 2, Bytes: 20}},
	})
	a.step(index.Commitment{ID: id, Step: index.SettleCommitment})
	a.step(index.Commitment{ID: id, Step: index.DelayCommitment, Due: 99, Why: "it does not answer"})
	if e := a.entry(1); e.State != index.CommitmentSettled || e.Failed != 1 || e.Attempts != 1 || e.Trouble == "" || e.Due != 99 {
		t.Fatalf("%+v", e)
	}
	got, failed, err := a.x.CommitmentLists(t.Context(), id)
	if err != nil || !reflect.DeepEqual(got, list) || len(failed) != 1 || failed[0].Reason != 0x0112 || failed[0].Reference != 1 {
		t.Errorf("%+v, %+v, %v", got, failed, err)
	}
	if n, err := a.x.CommitmentCounts(t.Context()); err != nil || n != (index.CommitmentCounts{Reporting: 1, Failing: 1, Oldest: 1e9}) {
		t.Errorf("%+v, %v", n, err)
	}
	h, err := a.x.History(t.Context(), "9.1")
	if err != nil || len(h) != 1 || h[0].Steps[0].Kind != index.EventCommitted || h[0].Steps[0].Instances != 2 || h[0].Steps[0].First != 1e9 {
		t.Errorf("%+v, %v", h, err)
	}
	for range 2 {
		a.step(index.Commitment{ID: id, Step: index.EndCommitment})
	}
	if e := a.entry(1); e.State != index.CommitmentEnded {
		t.Errorf("%+v", e)
	}
	if open, err := a.x.Commitments(t.Context(), 0, 10); err != nil || len(open) != 0 {
		t.Errorf("%+v, %v", open, err)
	}
	a.step(ask) // anew
	if e := a.entry(1); e.State != index.CommitmentWaiting || e.Attempts != 0 || e.Failed != 0 {
		t.Errorf("%+v", e)
	}
}

// TestCommitmentBounds: one AE title has no more open than it may; others go on.
func TestCommitmentBounds(t *testing.T) {
	a := &asker{t: t, x: open(t)}
	var b index.Batch
	for i := range index.CommitmentsOfOne + 1 {
		b.Commitments = append(b.Commitments, index.Commitment{ID: transaction(i), Step: index.AskCommitment, Asked: asked("1.2")})
	}
	other := index.CommitmentID{CallingAETitle: "MR1", TransactionUID: "1.2.3"}
	b.Commitments = append(b.Commitments, index.Commitment{ID: other, Step: index.AskCommitment, Asked: asked("1.2")})
	apply(t, a.x, b)
	if e := a.entry(index.CommitmentsOfOne); e.State != -1 {
		t.Errorf("one too many is entered: %+v", e)
	}
	if e, err := a.x.Commitment(t.Context(), other); err != nil || e == nil {
		t.Errorf("another's is not entered: %v", err)
	}
	for _, c := range []index.Commitment{
		{},
		{ID: transaction(1), Step: index.AskCommitment},
		{ID: transaction(1), Step: index.AskCommitment, Asked: asked()},
		{ID: transaction(1), Step: index.AskCommitment, Asked: asked("no UID")},
		{ID: index.CommitmentID{CallingAETitle: "SEVENTEEN LETTERS", TransactionUID: "1.2"}, Step: index.EndCommitment},
		{ID: transaction(1), Step: index.EndCommitment, Failed: []index.FailedReference{{}}},
		{ID: transaction(1), Step: index.SettleCommitment, Failed: []index.FailedReference{{Reference: 2}, {Reference: 1}}},
		{ID: transaction(1), Step: index.SettleCommitment, Committed: []index.CommittedSeries{{StudyInstanceUID: "1", SeriesInstanceUID: "1"}}},
	} {
		if err := (index.Batch{Commitments: []index.Commitment{c}}).Validate(); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestNamedStudies finds instances of which the SOPInstanceUID alone is known,
// in journals and in packs.
func TestNamedStudies(t *testing.T) {
	x := open(t)
	want := map[string]string{}
	var sops, packed []string
	for i, b := range population(30) {
		apply(t, x, b)
		for _, in := range b.Received {
			want[in.Key.SOPInstanceUID] = in.Key.StudyInstanceUID
			sops = append(sops, in.Key.SOPInstanceUID)
		}
		if i%2 == 0 {
			archiveAll(t, x, b.Received)
			for _, in := range b.Received {
				packed = append(packed, in.Key.SOPInstanceUID)
			}
		}
	}
	got, err := x.NamedStudies(t.Context(), append(sops, "1.9.9.9"), nil, 1000)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("found %d of %d, %v", len(got), len(want), err)
	}
	one := packed[:1]
	if got, err := x.NamedStudies(t.Context(), one, nil, 0); err != nil || len(got) != 0 {
		t.Errorf("without looking through packs: %v, %v", got, err)
	}
	for _, studies := range [][]string{{want[one[0]]}, {"1.2.3", want[one[0]]}} {
		if got, err := x.NamedStudies(t.Context(), one, studies, 0); err != nil || got[one[0]] != want[one[0]] {
			t.Errorf("in a study that is named: %v, %v", got, err)
		}
	}
	if got, err := x.NamedStudies(t.Context(), packed[len(packed)-1:], nil, 2); err != nil || len(got) != 1 {
		t.Errorf("the newest is not found in two packs: %v, %v", got, err)
	}
}

// archiveAll archives the instances of a study, a pack for each series.
func archiveAll(t *testing.T, x *index.Index, all []index.Instance) {
	t.Helper()
	bySeries := map[string][]index.Instance{}
	for _, in := range all {
		bySeries[in.Key.SeriesInstanceUID] = append(bySeries[in.Key.SeriesInstanceUID], in)
	}
	for series, of := range bySeries {
		apply(t, x, index.Batch{Planned: []index.Plan{planOf(series, false, of...)}, Archived: []index.PackArchive{archived(series, "dir:///a")}})
	}
}
