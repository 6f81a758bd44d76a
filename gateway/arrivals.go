package gateway

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Arrival is what came from one site, as far as this node knows.
type Arrival struct {
	// Site is the name in the configuration; for a sender of no site its
	// calling AE title or address, and OtherSites for those beyond the bound.
	Site string
	// Known tells that it is configured.
	Known bool
	// Last is when an instance of it was received last, at any node as far as
	// the feed tells; zero for never.
	Last time.Time
	// Instances and Bytes are what this node made durable since it started.
	Instances, Bytes int64
}

const (
	// OtherSites are the senders of no site that are not told apart.
	OtherSites = "other"
	// strangersMost is how many senders of no site are told apart.
	strangersMost = 50
	// recalled is how many events of the feed are looked through at the most,
	// and recallAtOnce how many at a time.
	recalled     = 10_000
	recallAtOnce = 500
)

// Arrivals tells when each site was last heard of. However many senders there
// are, it tells apart those of the configuration and the first few others.
type Arrivals struct {
	mu        sync.Mutex
	by        map[storage.Sender]*Arrival
	strangers int
	other     *Arrival // nil while nobody is
	recalled  int64    // the last event that was recalled
}

// NewArrivals returns the Arrivals of sites of which nothing has come yet.
func NewArrivals(sites *Sites) *Arrivals {
	a := &Arrivals{by: map[storage.Sender]*Arrival{}}
	if sites != nil {
		for _, s := range sites.senders {
			a.by[s] = &Arrival{Site: s.Info().Name, Known: true}
		}
	}
	return a
}

// came notes an instance that is durable. Nothing is noted by a nil Arrivals,
// nor of what the gateway made itself, which has no sender.
func (a *Arrivals) came(from storage.Sender, bytes int64, at time.Time) {
	if a == nil || from == (storage.Sender{}) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.of(from)
	one.Instances++
	one.Bytes += bytes
	if at.After(one.Last) {
		one.Last = at
	}
}

// of is where a sender's arrivals are noted; mu is held.
func (a *Arrivals) of(from storage.Sender) *Arrival {
	one, ok := a.by[from]
	switch {
	case ok:
		return one
	case a.strangers < strangersMost:
		a.strangers++
		one = &Arrival{Site: nameOf(from)}
		a.by[from] = one
		return one
	case a.other == nil:
		a.other = &Arrival{Site: OtherSites}
	}
	return a.other
}

// nameOf is what a sender is called that is of no site now. One that was of a
// site when it sent keeps the name.
func nameOf(s storage.Sender) string {
	is := s.Info()
	return cmp.Or(is.Name, strings.TrimPrefix(is.Issuer.Name, storage.AssumedIssuer), OtherSites)
}

// List are the sites in the order of their names. Senders of one name are one.
func (a *Arrivals) List() []Arrival {
	a.mu.Lock()
	all := make([]Arrival, 0, len(a.by)+1)
	for _, one := range a.by {
		all = append(all, *one)
	}
	if a.other != nil {
		all = append(all, *a.other)
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y Arrival) int { return cmp.Compare(x.Site, y.Site) })
	merged := all[:0]
	for _, one := range all {
		n := len(merged)
		if n == 0 || merged[n-1].Site != one.Site {
			merged = append(merged, one)
			continue
		}
		same := &merged[n-1]
		same.Known = same.Known || one.Known
		same.Instances += one.Instances
		same.Bytes += one.Bytes
		if one.Last.After(same.Last) {
			same.Last = one.Last
		}
	}
	return merged
}

// Feed is what Arrivals recalls from: an *index.Index.
type Feed interface {
	Feed(ctx context.Context) (first, last int64, err error)
	Events(ctx context.Context, after int64, limit int) ([]index.Event, error)
}

// Recall looks through the end of the feed, at what it has not seen of it, so
// that a node knows who was heard of before it started, and at other nodes.
// One goroutine calls it.
func (a *Arrivals) Recall(ctx context.Context, from Feed) error {
	first, last, err := from.Feed(ctx)
	if err != nil || last == 0 {
		return err
	}
	for after := max(first-1, last-recalled, a.recalled); after < last; {
		events, err := from.Events(ctx, after, recallAtOnce)
		if err != nil || len(events) == 0 {
			return err
		}
		a.recall(events)
		after = events[len(events)-1].Sequence
		a.recalled = after
	}
	return nil
}

func (a *Arrivals) recall(events []index.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		e := &events[i]
		if e.Kind != index.EventReceived && e.Kind != index.EventKeptAside || e.Origin.Sender == (storage.Sender{}) {
			continue
		}
		if at := time.Unix(0, e.Last); at.After(a.of(e.Origin.Sender).Last) {
			a.of(e.Origin.Sender).Last = at
		}
	}
}
