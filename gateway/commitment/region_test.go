package commitment_test

import (
	"context"
	"fmt"
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
