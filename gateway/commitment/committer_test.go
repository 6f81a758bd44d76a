package commitment_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/commitment"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// region is a Committer over a real index, in a time of its own. Its archives
// are "a" and "b", of which both must have an instance.
type region struct {
	t *testing.T
	x *index.Index
	c *commitment.Committer
	o commitment.Options

	mu       sync.Mutex
	now      time.Time
	all      map[string][]storage.Instance // by StudyInstanceUID
	away     error                         // what the archives answer
	told     chan commitment.Report
	refuses  error         // what the asker answers
	hold     chan struct{} // when set, CT1 answers once it is closed
	complete []string
	counts   map[commitment.Outcome]int
}

func newRegion(t *testing.T) *region {
	t.Helper()
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	r := &region{
		t: t, x: x, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), all: map[string][]storage.Instance{},
		told: make(chan commitment.Report, 100), counts: map[commitment.Outcome]int{},
	}
	sites, err := gateway.NewSites([]gateway.Site{site("HUS", "CT1"), site("HCC", "MR1")}, true)
	if err != nil {
		t.Fatal(err)
	}
	r.o = commitment.Options{
		Index: x, Proposer: r, Retrieve: r, Sites: sites, Reporter: r, Archives: []string{"a", "b"}, Copies: 2,
		Wait: 24 * time.Hour, Unknown: time.Minute, Tell: 7 * 24 * time.Hour,
		Complete: func(_ context.Context, study, by string) error {
			r.complete = append(r.complete, study+" by "+by)
			return nil
		},
		Count:  func(o commitment.Outcome) { r.mu.Lock(); defer r.mu.Unlock(); r.counts[o]++ },
		Logger: slog.New(slog.DiscardHandler), Now: r.clock,
	}
	r.c = commitment.New(r.o)
	return r
}

// site is one with one AE title, which listens.
func site(issuer, title string) gateway.Site {
	return gateway.Site{
		SenderInfo:      storage.SenderInfo{Name: "Site of " + title, Issuer: storage.Issuer{Name: issuer}},
		CallingAETitles: []string{title}, Addresses: map[string]string{title: title + ":104"},
	}
}

func (r *region) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// later lets time pass.
func (r *region) later(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// Propose implements gateway.Proposer.
func (r *region) Propose(ctx context.Context, b index.Batch) error {
	b.Stamp = &index.Stamp{Node: "n1", At: r.clock().UnixNano()}
	_, err := r.x.Apply(ctx, b)
	return err
}

// Instances implements commitment.Retriever, of what the index has.
func (r *region) Instances(ctx context.Context, sel gateway.Selector) (found []gateway.Instance, err error) {
	r.mu.Lock()
	all, away := r.all[sel.StudyInstanceUID], r.away
	r.mu.Unlock()
	packs, err := r.x.Packs(ctx, index.Selector(sel))
	if err != nil {
		return nil, err
	}
	if len(packs) > 0 && away != nil {
		return nil, away
	}
	live, err := r.x.Live(ctx, index.Selector(sel))
	for _, in := range live {
		found = append(found, instance{about: in.Instance.Instance})
	}
	for _, in := range all {
		for _, p := range packs {
			if p.Members.Holds(in.Key.SOPInstanceUID, in.Digest) {
				found = append(found, instance{about: in})
			}
		}
	}
	if len(found) == 0 && err == nil {
		err = storage.ErrNotFound
	}
	return found, err
}

type instance struct {
	gateway.Instance
	about storage.Instance
}

func (i instance) About() storage.Instance { return i.about }

// Report implements commitment.Reporter.
func (r *region) Report(ctx context.Context, to commitment.Peer, report commitment.Report) error {
	if to.Address != to.AETitle+":104" || to.CalledAETitle != "CIGOGNE" {
		r.t.Errorf("%+v is told", to)
	}
	r.mu.Lock()
	hold, refuses := r.hold, r.refuses
	r.mu.Unlock()
	if hold != nil && to.AETitle == "CT1" {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if refuses != nil {
		return refuses
	}
	r.told <- report
	return nil
}

func originOf(title string) storage.Origin {
	return storage.Origin{Transport: "dimse", CallingAETitle: title, CalledAETitle: "CIGOGNE", RemoteAddr: "192.0.2.1:5000", ID: "association"}
}

// study is one of three instances, of a series.
func study(number int) (of []index.Instance) {
	first := (indextest.Population{Seed: 11, MaxSeries: 1, MaxInstances: 1}).Study(number)[0]
	for i := range 3 {
		in := first
		in.Key.SOPInstanceUID, in.At = fmt.Sprintf("%s.%d", first.Key.SOPInstanceUID, i), index.Position{}
		in.Digest[0] = byte(i)
		of = append(of, in)
	}
	return of
}

// receive enters a study that an AE title sent.
func (r *region) receive(number int, title string) (of []storage.Instance) {
	r.t.Helper()
	var b index.Batch
	for _, in := range study(number) {
		in.Origin = originOf(title)
		b.Received = append(b.Received, in)
		of = append(of, in.Instance)
	}
	r.mustPropose(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := of[0].Key.StudyInstanceUID
	r.all[uid] = append(r.all[uid], of...)
	return of
}

func (r *region) mustPropose(b index.Batch) {
	r.t.Helper()
	if err := r.Propose(r.t.Context(), b); err != nil {
		r.t.Fatal(err)
	}
}

// archive puts instances of a series into archives.
func (r *region) archive(of []storage.Instance, archives ...string) {
	r.t.Helper()
	key := of[0].Key
	p := index.Plan{PackID: "pack of " + key.SOPInstanceUID, StudyInstanceUID: key.StudyInstanceUID, SeriesInstanceUID: key.SeriesInstanceUID}
	for _, in := range of {
		p.SOPs, p.Members = append(p.SOPs, in.Key.SOPInstanceUID), append(p.Members, in.Digest)
	}
	r.mustPropose(index.Batch{Planned: []index.Plan{p}})
	for _, a := range archives {
		r.mustPropose(index.Batch{Archived: []index.PackArchive{{PackID: p.PackID, Archive: a, Key: "k", Size: 1, CRC32C: 1, At: 1}}})
	}
}

func reference(in storage.Instance) commitment.Reference {
	return commitment.Reference{SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.Key.SOPInstanceUID}
}

func references(of ...storage.Instance) (all []commitment.Reference) {
	for _, in := range of {
		all = append(all, reference(in))
	}
	return all
}

var absent = commitment.Reference{SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID: "1.2.3.4.5"}

func (r *region) ask(transaction, title string, of ...commitment.Reference) error {
	return r.c.Ask(r.t.Context(), commitment.Request{TransactionUID: transaction, Origin: originOf(title), References: of})
}

func (r *region) mustAsk(transaction, title string, of ...commitment.Reference) {
	r.t.Helper()
	if err := r.ask(transaction, title, of...); err != nil {
		r.t.Fatal(err)
	}
}

// pass lets the Committer do what is due, and waits until it is done.
func (r *region) pass() {
	r.t.Helper()
	if err := r.c.Pass(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.c.Wait()
}

// report is the one report that was sent by now; the zero one for none.
func (r *region) report() commitment.Report {
	select {
	case report := <-r.told:
		return report
	default:
		return commitment.Report{}
	}
}

// reports holds the Committer to have told, after that time and not before.
func (r *region) reports(after time.Duration, committed []commitment.Reference, failed ...commitment.Failure) {
	r.t.Helper()
	r.pass()
	if got := r.report(); got.TransactionUID != "" {
		r.t.Fatalf("told before its time: %+v", got)
	}
	r.later(after)
	r.pass() // settled
	r.pass() // told
	got := r.report()
	if !reflect.DeepEqual(got.Committed, committed) || !reflect.DeepEqual(got.Failed, failed) {
		r.t.Fatalf("told %+v, not %+v and %+v", got, committed, failed)
	}
}

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
