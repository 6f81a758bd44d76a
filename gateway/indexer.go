package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/failpoint"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// Proposer brings a batch into the index, on one node or, through consensus,
// on all. When Propose returns nil the batch is applied here.
type Proposer interface {
	Propose(ctx context.Context, b index.Batch) error
}

// Journal is what the use cases ask of the node's journal.
type Journal interface {
	ID() string
	Replay(ctx context.Context, after journal.Position, fn func(journal.Entry) error) error
	Header(ctx context.Context, at journal.Position) (journal.Entry, error)
	Read(ctx context.Context, at journal.Position, part storage.Range) (io.ReadCloser, error)
}

const (
	// batchRows bounds the instances of one batch, queueRows and queueBytes
	// those that wait in memory and the JSON form of their attributes; what
	// does not fit is read back from the journal.
	batchRows  = 500
	queueRows  = 2000
	queueBytes = 8 << 20
	// gatherTime is how long a batch waits for company.
	gatherTime = 100 * time.Millisecond
	// retryLeast and retryMost bound the wait between two proposals when the
	// index does not take them.
	retryLeast = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// Indexer carries what the journal made durable into the index, in order and
// in batches. It never makes an acknowledgement wait: when it falls behind, it
// reads the journal instead of holding instances in memory.
type Indexer struct {
	id       index.JournalID
	journal  Journal
	proposer Proposer
	fresh    func(context.Context) error // see ReadThrough, as strong
	strong   func(context.Context) error
	applied  func(context.Context, index.JournalID) (index.Position, error)
	again    rereader // see Reread
	clock    Clock
	trails   *Trails
	copies   Copies // nil for none
	log      *slog.Logger

	mu       sync.Mutex
	queue    []queued
	bytes    int              // of the queue's attributes
	taken    []taken          // of the batch that is being proposed
	behind   bool             // the journal holds more than the queue
	fell     time.Time        // since when
	durable  journal.Position // the last that is durable
	indexed  journal.Position // the last that is in the index
	failing  error            // why the index takes nothing, or nil
	wake     chan struct{}    // capacity 1: there is work
	hurry    chan struct{}    // capacity 1: it is waited for
	advanced chan struct{}    // closed and replaced when indexed or failing changes
}

type queued struct {
	index.Instance
	bytes   int
	durable int64        // since when it is
	place   *trace.Place // nil when it is not followed
}

// taken is what is remembered of an instance that is being proposed.
type taken struct {
	at      index.Position
	durable int64
	place   *trace.Place
}

// NewIndexer returns an Indexer that proposes to p. Attach must be called
// before it indexes or answers anything.
func NewIndexer(p Proposer, log *slog.Logger) *Indexer {
	return &Indexer{
		proposer: p,
		clock:    noClock{},
		log:      log,
		behind:   true,
		wake:     make(chan struct{}, 1),
		hurry:    make(chan struct{}, 1),
		advanced: make(chan struct{}),
	}
}

// Attach tells which journal is indexed, up to which position it is in the
// index already, and which position is the last that is durable, here and
// wherever else it must be. What lies behind that is not indexed before
// Durable tells of it.
func (x *Indexer) Attach(j Journal, indexed, durable journal.Position) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.id, x.journal = index.JournalID(j.ID()), j
	x.indexed, x.durable = indexed, durable
	if indexed.Compare(durable) > 0 { // the journal's files were taken away
		x.durable = indexed
	}
	// With nothing to read from the journal, what comes before Run is queued.
	x.behind, x.fell = x.durable.Compare(x.indexed) > 0, time.Now()
}

// Durable takes entries that became durable, in order of position. It is the
// journal's Durable hook, and does not block.
func (x *Indexer) Durable(entries []journal.Entry) {
	for _, e := range entries {
		if r, ok := e.Value.(*record); ok {
			r.instance() // its Digest takes less than the fsync did
		}
	}
	now := time.Now().UnixNano()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		x.durable = e.Position
		r, ok := e.Value.(*record)
		if !ok || x.behind || len(x.queue) >= queueRows || x.bytes >= queueBytes {
			if !x.behind {
				x.behind, x.fell = true, time.Unix(0, now)
			}
			continue
		}
		x.queue = append(x.queue, queued{r.indexed(x.id, e.Position), r.bytes, now, r.place})
		x.bytes += r.bytes
	}
	signal(x.wake)
	if len(x.queue) >= batchRows || x.bytes >= queueBytes/2 {
		signal(x.hurry)
	}
}

// signal puts a token into a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is there already
	}
}

// Run brings what becomes durable into the index, in the journal's order, until
// ctx ends, whose error it returns. What the index does not take now is tried
// again for ever.
func (x *Indexer) Run(ctx context.Context) error {
	if x.again.known != nil {
		x.reread(ctx, math.MaxInt)
		var beside sync.WaitGroup
		defer beside.Wait() // Run ends with ctx
		beside.Go(func() { x.rereading(ctx) })
	}
	for {
		if err := x.drain(ctx); err != nil {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-x.wake:
			x.gather()
		}
	}
}

// gather waits a moment for more to become durable, for a batch costs about
// the same whatever it holds; not when somebody waits for it.
func (x *Indexer) gather() {
	t := time.NewTimer(gatherTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.hurry:
	}
}

// drain indexes all that is durable; it fails only when ctx ends.
func (x *Indexer) drain(ctx context.Context) error {
	for {
		batch, durable, behind := x.take()
		switch {
		case len(batch) > 0:
			if err := x.propose(ctx, index.Batch{Received: batch}, journalPosition(batch[len(batch)-1].At), durable); err != nil {
				return err
			}
			x.proposed()
		case behind:
			if err := x.catchUp(ctx); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take takes a batch out of the queue, with the time since when all of it is
// durable.
func (x *Indexer) take() (batch []index.Instance, durable int64, behind bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := min(len(x.queue), batchRows)
	batch = make([]index.Instance, 0, n)
	for _, q := range x.queue[:n] {
		batch, durable = append(batch, q.Instance), q.durable
		x.taken = append(x.taken, taken{q.At, q.durable, q.place})
		x.bytes -= q.bytes
	}
	x.queue = slices.Delete(x.queue, 0, n)
	return batch, durable, x.behind
}

// proposed tells how long those took that take gave.
func (x *Indexer) proposed() {
	now := time.Now()
	for _, one := range x.taken { // nobody else changes it
		durable := time.Unix(0, one.durable)
		x.clock.Took(StepIndex, now.Sub(durable))
		x.trails.indexed(one.at, one.place, durable, now)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.taken = x.taken[:0]
}

// Oldest is since when what waits to be indexed is durable, or since when this
// node has been too far behind to know; zero when nothing waits.
func (x *Indexer) Oldest() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.durable.Compare(x.indexed) <= 0:
		return time.Time{}
	case len(x.taken) > 0:
		return time.Unix(0, x.taken[0].durable)
	case len(x.queue) > 0:
		return time.Unix(0, x.queue[0].durable)
	}
	return x.fell
}

// Held is what of that is in memory, and how many bytes its attributes take.
func (x *Indexer) Held() (instances, bytes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.queue), x.bytes
}

// HeldMost is the most that is Held; what comes beyond it is read from the
// journal when its turn comes.
func (x *Indexer) HeldMost() (instances, bytes int) { return queueRows, queueBytes }

// Copied lets the index tell on which nodes an instance was durable; nil knows
// of no other. It must be called before Run.
func (x *Indexer) Copied(to Copies) { x.copies = to }

// Tell lets a clock know how long indexing takes, and trails which instances
// were indexed; they may be nil. It must be called before Run.
func (x *Indexer) Tell(c Clock, t *Trails) { x.clock, x.trails = orNoClock(c), t }

// propose brings the batch into the index, however often that takes. It says
// since when it is durable, or 0 where that is not known any more.
func (x *Indexer) propose(ctx context.Context, batch index.Batch, through journal.Position, durable int64) error {
	batch.Through = indexPosition(x.id, through)
	for wait := retryLeast; ; wait = min(2*wait, retryMost) {
		batch.Stamp = &index.Stamp{Durable: durable, Holders: x.holders(through)}
		err := x.proposer.Propose(ctx, batch)
		if err == nil {
			err = x.confirm(ctx, through)
		}
		if err == nil {
			failpoint.Pass(failpoint.Committed)
			x.advance(through)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.fail(err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// Confirm has the Indexer look up to where the index has the journal: of one
// that was retired it takes nothing, and a proposal does not tell. It must be
// called before Run.
func (x *Indexer) Confirm(applied func(context.Context, index.JournalID) (index.Position, error)) {
	x.applied = applied
}

// confirm fails with journal.ErrRetired when the index did not take what it was
// brought.
func (x *Indexer) confirm(ctx context.Context, through journal.Position) error {
	if x.applied == nil {
		return nil
	}
	at, err := x.applied(ctx, x.id)
	if err == nil && journalPosition(at).Compare(through) < 0 {
		err = journal.ErrRetired
	}
	return err
}

// holders are the other nodes on which an entry lies.
func (x *Indexer) holders(at journal.Position) []string {
	if x.copies == nil {
		return nil
	}
	return x.copies.Holders(at)
}

func (x *Indexer) advance(to journal.Position) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failing = nil
	if to.Compare(x.indexed) > 0 { // the queue may repeat what a replay ran ahead with
		x.indexed = to
	}
	x.wakeWaiting()
}

// wakeWaiting lets those who wait in Await look again; mu is held.
func (x *Indexer) wakeWaiting() {
	close(x.advanced)
	x.advanced = make(chan struct{})
}

func (x *Indexer) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil && x.failing == nil {
		x.log.Error("index takes nothing, will try again", "error", err)
	}
	x.failing = err
	x.wakeWaiting()
}

// Failing returns why the index takes nothing now, or nil. While it fails
// nothing should be acknowledged: the error is what the sender is told.
func (x *Indexer) Failing() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failing == nil || errors.Is(x.failing, storage.ErrFull) {
		return x.failing
	}
	return fmt.Errorf("%w: index: %w", storage.ErrUnavailable, x.failing)
}

// Lag tells whether anything durable is not in the index yet.
func (x *Indexer) Lag() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.durable.Compare(x.indexed) > 0
}

// Indexed is the position up to which the index has the journal.
func (x *Indexer) Indexed() journal.Position {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.indexed
}

// pause waits for d, or fails with ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
