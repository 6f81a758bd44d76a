package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

func stranger(name string) storage.Sender {
	return storage.NewSender(storage.SenderInfo{Issuer: storage.Issuer{Name: storage.AssumedIssuer + name}})
}

// TestArrivals: sites of the configuration are there from the start, others
// are told apart up to a bound.
func TestArrivals(t *testing.T) {
	t.Parallel()
	hus := storage.SenderInfo{Name: "Hautepierre", Issuer: storage.Issuer{Name: "HUS"}}
	sites, err := NewSites([]Site{{SenderInfo: hus, CallingAETitles: []string{"HTP"}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	a := NewArrivals(sites)
	if got := a.List(); len(got) != 1 || got[0] != (Arrival{Site: "Hautepierre", Known: true}) {
		t.Fatalf("at first: %+v", got)
	}
	noon := time.Unix(1_800_000_000, 0)
	for i := range 3 * strangersMost {
		a.came(stranger(fmt.Sprintf("AE%03d", i)), 10, noon)
	}
	a.came(storage.NewSender(hus), 7, noon)
	a.came(storage.NewSender(hus), 8, noon.Add(-time.Hour)) // late word of what was earlier
	by := map[string]Arrival{}
	for _, one := range a.List() {
		by[one.Site] = one
	}
	if len(by) != strangersMost+2 {
		t.Errorf("%d sites are told apart", len(by))
	}
	if got, want := by["Hautepierre"], (Arrival{"Hautepierre", true, noon, 2, 15}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got, want := by["AE000"], (Arrival{"AE000", false, noon, 1, 10}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := by[OtherSites]; got.Instances != 2*strangersMost || got.Known {
		t.Errorf("others: %+v", got)
	}
	var none *Arrivals
	none.came(stranger("X"), 1, noon)
}

// pastEvents is a feed whose first event has the number first.
type pastEvents struct {
	first  int64
	events []index.Event
	asked  *int // how many were asked for; nil is not counted
}

func (p pastEvents) Feed(context.Context) (first, last int64, err error) {
	return p.first, p.first + int64(len(p.events)) - 1, nil
}

func (p pastEvents) Events(_ context.Context, after int64, limit int) ([]index.Event, error) {
	if after < p.first-1 {
		return nil, storage.ErrGone
	}
	if p.asked != nil {
		*p.asked += int(p.first + int64(len(p.events)) - 1 - after)
	}
	return p.events[after-p.first+1:][:min(int64(limit), p.first+int64(len(p.events))-1-after)], nil
}

// TestArrivalsRecall: after a start the feed tells who was heard of, and when;
// it counts for nothing that came.
func TestArrivalsRecall(t *testing.T) {
	t.Parallel()
	p := pastEvents{first: 41}
	for i := range int64(3 * recallAtOnce) {
		p.events = append(p.events, index.Event{
			Sequence: p.first + i, Kind: index.EventReceived, Last: i, Origin: storage.Origin{Sender: stranger(fmt.Sprint("AE", i%2))},
		}, index.Event{Sequence: p.first + i, Kind: index.EventRetrieved, Last: 1 << 40, Origin: storage.Origin{Sender: stranger("VIEWER")}})
	}
	for i := range p.events {
		p.events[i].Sequence = p.first + int64(i)
	}
	a := NewArrivals(nil)
	if err := a.Recall(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	got := a.List()
	want := []Arrival{
		{Site: "AE0", Last: time.Unix(0, 3*recallAtOnce-2)}, {Site: "AE1", Last: time.Unix(0, 3*recallAtOnce-1)},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, not %v", got, want)
	}
	p.events = append(p.events, index.Event{
		Sequence: p.first + int64(len(p.events)), Kind: index.EventReceived, Last: 1 << 40, Origin: storage.Origin{Sender: stranger("AE0")},
	})
	p.asked = new(int)
	if err := a.Recall(t.Context(), p); err != nil || *p.asked != 1 {
		t.Fatalf("%v, asked for %d events", err, *p.asked)
	}
	if got := a.List()[0]; got.Last != time.Unix(0, 1<<40) {
		t.Errorf("what came at another node: %v", got)
	}
}

func TestRefusalOf(t *testing.T) {
	t.Parallel()
	for want, err := range map[Refusal]error{
		RefusedInvalid:     storage.ErrInvalid,
		RefusedFull:        fmt.Errorf("%w: %w: the journal is full", storage.ErrFull, storage.ErrUnavailable),
		RefusedUnavailable: storage.ErrUnavailable,
		RefusedCut:         fmt.Errorf("body: %w", context.Canceled),
		RefusedFailed:      errors.New("something else"),
	} {
		if got := RefusalOf(err); got != want {
			t.Errorf("%v is %q, not %q", err, got, want)
		}
	}
}
