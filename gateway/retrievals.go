package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	// noteEvery is how long retrievals are gathered before they are noted, and
	// noteMost how many series and receivers are told apart meanwhile.
	noteEvery = 10 * time.Second
	noteMost  = 4096
	// lastNotes bounds the noting when the node stops.
	lastNotes = 2 * time.Second
)

// Retrievals notes what was sent to whom, for feed and history. It costs a
// retrieval nothing that it would notice, and a busy node one batch in some
// seconds; what was not noted when the node was killed is lost.
type Retrievals struct {
	proposer Proposer
	log      *slog.Logger
	every    time.Duration

	mu   sync.Mutex
	by   map[retrieval]*index.Event
	lost int64
}

// retrieval is what is told apart.
type retrieval struct {
	study, series string
	to            storage.Origin
	cut           bool
}

// Sending is what was sent of a series, or, when it was cut, of a study.
type Sending struct {
	To            storage.Origin
	Study, Series string
	// Instances were sent whole, and Bytes went out, since Began.
	Instances int
	Bytes     int64
	Began     time.Time
	// Cut tells that it ended before all was sent; Instances is 0 then.
	Cut bool
}

// NewRetrievals returns Retrievals that propose to p.
func NewRetrievals(p Proposer, log *slog.Logger) *Retrievals {
	return &Retrievals{proposer: p, log: log, every: noteEvery, by: map[retrieval]*index.Event{}}
}

// Sent notes what was sent, or cut. It does not block, and fails nobody: what is
// told faster than it can be proposed is only counted.
func (r *Retrievals) Sent(s Sending) {
	now := time.Now()
	kind := index.EventRetrieved
	if s.Cut {
		kind = index.EventCut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	of := retrieval{s.Study, s.Series, s.To, s.Cut}
	e, ok := r.by[of]
	if !ok {
		if len(r.by) >= noteMost {
			r.lost++
			return
		}
		e = &index.Event{Kind: kind, StudyInstanceUID: s.Study, SeriesInstanceUID: s.Series, Origin: s.To, First: s.Began.UnixNano()}
		r.by[of] = e
	}
	e.Instances += int64(s.Instances)
	e.Bytes += s.Bytes
	e.Took += int64(now.Sub(s.Began))
	e.First = min(e.First, s.Began.UnixNano())
	e.Last = now.UnixNano()
}

// Run notes until ctx ends, and then what is left.
func (r *Retrievals) Run(ctx context.Context) error {
	for {
		err := pause(ctx, r.every)
		if err != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastNotes)
			defer cancel()
			r.flush(last)
			return err
		}
		r.flush(ctx)
	}
}

// flush brings what was gathered into the index. What cannot be brought is
// lost: it is no reason to hold more and more.
func (r *Retrievals) flush(ctx context.Context) {
	r.mu.Lock()
	notes := make([]index.Event, 0, len(r.by))
	for _, e := range r.by {
		notes = append(notes, *e)
	}
	lost := r.lost
	clear(r.by)
	r.lost = 0
	r.mu.Unlock()
	slices.SortFunc(notes, func(a, b index.Event) int { return cmp.Compare(a.First, b.First) })
	if len(notes) > 0 {
		if err := r.proposer.Propose(ctx, index.Batch{Notes: notes}); err != nil {
			lost += int64(len(notes))
			r.log.Warn("retrievals are not noted", "error", err)
		}
	}
	if lost > 0 {
		r.log.Warn("retrievals were left out of the history", "series", lost)
	}
}
