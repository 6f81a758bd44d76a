package index

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// Step is what happened to the instances of a series in one way: from one
// sender over one association, into one archive. What happens again is added
// to it.
type Step struct {
	Kind      EventKind      `cbor:"1,keyasint"`
	Origin    storage.Origin `cbor:"2,keyasint"`
	Archive   string         `cbor:"3,keyasint,omitempty"`
	Node      string         `cbor:"4,keyasint,omitempty"` // the last
	Instances int64          `cbor:"5,keyasint"`
	Bytes     int64          `cbor:"6,keyasint"`
	First     int64          `cbor:"7,keyasint"` // nanoseconds of Unix time
	Last      int64          `cbor:"8,keyasint"`
	// Durable and Indexed are when the last of them was; 0 where that is not
	// known.
	Durable int64 `cbor:"9,keyasint,omitempty"`
	Indexed int64 `cbor:"10,keyasint,omitempty"`
	// Others counts further ways that were added to this one, because there
	// were too many.
	Others int64 `cbor:"11,keyasint,omitempty"`
	// Version is of what the study was complete as.
	Version int64 `cbor:"12,keyasint,omitempty"`
	// Took is for how long bytes were moved, and Nodes those whose journals had
	// them: see Event.
	Took  int64    `cbor:"13,keyasint,omitempty"`
	Nodes []string `cbor:"14,keyasint,omitempty"`
}

// stepsMost bounds the steps of one kind that are kept apart for a series; its
// last takes what comes beyond.
const stepsMost = 16

// happening gathers what happens while a batch is applied, by what is told
// apart in the feed.
type happening struct {
	by    map[eventKey]*Event
	order []*Event
}

func (s *statements) ofEvents() []prepared {
	return []prepared{
		{&s.hasCopy, `SELECT EXISTS (SELECT 1 FROM copy WHERE pack = ? AND archive = ?)`},
		{&s.packInstances, `SELECT instances FROM pack WHERE id = ?`},
		{&s.lastEvent, `SELECT coalesce(max(sequence), 0) FROM event`},
		{&s.putEvent, `INSERT INTO event VALUES (?, ?)`},
		{&s.dropEvents, `DELETE FROM event WHERE sequence <= ?`},
		{&s.history, `SELECT steps FROM history WHERE study = ? AND series = ?`},
		{&s.putHistory, `INSERT INTO history VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET steps = ?3`},
	}
}

// happened notes something; it is written at the end of the batch.
func (c *change) happened(e Event) {
	of := e.key()
	known, ok := c.events.by[of]
	if !ok {
		if c.events.by == nil {
			c.events.by = make(map[eventKey]*Event)
		}
		c.events.by[of] = &e
		c.events.order = append(c.events.order, &e)
		return
	}
	known.Instances += e.Instances
	known.Bytes += e.Bytes
	known.Took += e.Took
	known.First, known.Last = min(known.First, e.First), max(known.Last, e.Last)
}

// cameIn notes that an instance was entered, in its place or aside.
func (c *change) cameIn(in *Instance, kind EventKind) {
	if kind == EventReceived && !in.isManifest() {
		c.livesOn(in.Key.StudyInstanceUID, in.Received)
	}
	c.happened(Event{
		Kind: kind, StudyInstanceUID: in.Key.StudyInstanceUID, SeriesInstanceUID: in.Key.SeriesInstanceUID,
		Instances: 1, Bytes: in.Size, First: in.Received - in.Took, Last: in.Received, Took: in.Took, Origin: in.Origin,
	})
}

// deletionCame notes that a deletion has come to its state.
func (c *change) deletionCame(r *DeletionRecord) {
	e := Event{StudyInstanceUID: r.StudyInstanceUID, SeriesInstanceUID: r.SeriesInstanceUID, Instances: r.Instances, DeletionID: r.ID}
	switch r.State {
	case DeletionMarked:
		e.Kind, e.First = EventDeleted, r.Marked.At
	case DeletionUndone:
		e.Kind, e.First = EventRestored, r.Undone.At
	case DeletionRemoved:
		e.Kind, e.First = EventRemoved, r.Removed
	default:
		return
	}
	if e.Last = e.First; e.Kind != EventRemoved {
		c.livesOn(r.StudyInstanceUID, 0)
	}
	c.happened(e)
}

// record writes what happened in the batch: into the history of the series
// and, when the batch is stamped, into the feed.
func (c *change) record(ctx context.Context, b Batch) error {
	for i := range b.Notes {
		c.happened(b.Notes[i])
	}
	if len(c.events.order) == 0 {
		return nil
	}
	if b.Stamp != nil {
		for _, e := range c.events.order {
			e.At, e.Node = b.Stamp.At, b.Stamp.Node
			if e.Kind == EventReceived || e.Kind == EventKeptAside {
				e.Durable, e.Nodes = b.Stamp.Durable, b.Stamp.Holders
			}
		}
		if err := c.feed(ctx, b.Stamp); err != nil {
			return err
		}
	}
	return c.remember(ctx)
}

// feed appends the events, and lets the oldest go.
func (c *change) feed(ctx context.Context, s *Stamp) error {
	var last int64
	if err := c.lastEvent.QueryRowContext(ctx).Scan(&last); err != nil {
		return err
	}
	if last == 0 {
		// A feed that begins anew, after a rebuild, goes on behind the one that
		// was: it had fewer events than microseconds.
		last = s.At / 1000
	}
	for _, e := range c.events.order {
		record, err := c.codec.enc.Marshal(e)
		if err != nil {
			return err
		}
		last++
		if _, err := c.putEvent.ExecContext(ctx, last, record); err != nil {
			return err
		}
	}
	if s.Keep > 0 {
		if _, err := c.dropEvents.ExecContext(ctx, last-s.Keep); err != nil {
			return err
		}
	}
	return nil
}

// remember adds the events to the histories of their series.
func (c *change) remember(ctx context.Context) error {
	bySeries := make(map[[2]string][]*Event, len(c.events.order))
	var order [][2]string
	for _, e := range c.events.order {
		if e.Kind == EventKeptAside || e.Kind == EventIdentity { // what they are of has a row of its own
			continue
		}
		key := [2]string{e.StudyInstanceUID, e.SeriesInstanceUID}
		if bySeries[key] == nil {
			order = append(order, key)
		}
		bySeries[key] = append(bySeries[key], e)
	}
	for _, key := range order {
		steps, err := c.stepsOf(ctx, key)
		if err != nil {
			return err
		}
		for _, e := range bySeries[key] {
			steps = addStep(steps, e)
		}
		encoded, err := c.codec.enc.Marshal(steps)
		if err != nil {
			return err
		}
		if _, err := c.putHistory.ExecContext(ctx, key[0], key[1], encoded); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) stepsOf(ctx context.Context, key [2]string) (steps []Step, err error) {
	var b []byte
	err = c.history.QueryRowContext(ctx, key[0], key[1]).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return steps, c.codec.decodeRow(b, &steps)
}

// addStep adds what happened to the step that it is of.
func addStep(steps []Step, e *Event) []Step {
	at, same := -1, 0
	for i := range steps {
		if s := &steps[i]; s.Kind == e.Kind {
			same++
			if s.Origin == e.Origin && s.Archive == e.Archive && s.Version == e.Version {
				at = i
				break
			}
		}
	}
	if at < 0 && same < stepsMost {
		return append(steps, Step{
			Kind: e.Kind, Origin: e.Origin, Archive: e.Archive, Node: e.Node, Instances: e.Instances, Bytes: e.Bytes,
			First: e.First, Last: e.Last, Durable: e.Durable, Indexed: e.At, Version: e.Version, Took: e.Took, Nodes: e.Nodes,
		})
	}
	if at < 0 {
		at = lastOf(steps, e.Kind)
		steps[at].Others++
	}
	s := &steps[at]
	s.Node = e.Node
	s.Instances += e.Instances
	s.Bytes += e.Bytes
	s.Took += e.Took
	s.Nodes = union(s.Nodes, e.Nodes)
	s.First, s.Last = min(s.First, e.First), max(s.Last, e.Last)
	s.Durable, s.Indexed = max(s.Durable, e.Durable), max(s.Indexed, e.At)
	return steps
}

// union are the nodes of both, in order, as far as there is room.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), holdersMost)]
}

func lastOf(steps []Step, kind EventKind) int {
	for i, s := range slices.Backward(steps) {
		if s.Kind == kind {
			return i
		}
	}
	return -1
}
