package gateway

import (
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// trailsMost is how many instances are followed at a time on their way to the
// archive; of more the oldest are lost sight of.
const trailsMost = 10_000

// Trails know in which traces the instances are that wait to be archived here,
// so that their archiving is in the trace in which they were received. They
// are not kept over a restart. A nil Trails follows nothing.
type Trails struct {
	tracer *trace.Tracer

	mu    sync.Mutex
	of    map[index.Position]trace.Place
	order []index.Position // a ring, when it has its length
	next  int
}

// NewTrails returns Trails in the traces of t; nil for none.
func NewTrails(t *trace.Tracer) *Trails {
	if t == nil {
		return nil
	}
	return &Trails{tracer: t, of: map[index.Position]trace.Place{}}
}

// indexed tells that an instance was in the index some time after it was
// durable, and follows it from there.
func (t *Trails) indexed(at index.Position, place *trace.Place, durable, now time.Time) {
	if t == nil || place == nil {
		return
	}
	t.tracer.Past(*place, StepIndex.String(), durable, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) < trailsMost {
		t.order = append(t.order, at)
	} else {
		delete(t.of, t.order[t.next])
		t.order[t.next] = at
		t.next = (t.next + 1) % trailsMost
	}
	t.of[at] = *place
}

// at are the places of those instances that are followed.
func (t *Trails) at(positions []index.Position) (places []trace.Place) {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range positions {
		if place, ok := t.of[p]; ok {
			places = append(places, place)
		}
	}
	return places
}

// archived ends the trails of a pack's instances, linked with the span in
// which it was put.
func (t *Trails) archived(positions []index.Position, received []time.Time, put *trace.Place) {
	if t == nil || put == nil {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range positions {
		if place, ok := t.of[p]; ok {
			t.tracer.Past(place, StepArchive.String(), received[i], now, *put)
			delete(t.of, p) // its place in order is taken when it is its turn
		}
	}
}
