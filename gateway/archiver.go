package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/pack"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// ArchiverOptions are the parts an Archiver works with.
type ArchiverOptions struct {
	Index    *index.Index
	Proposer Proposer
	Journal  *journal.Journal
	// Journals reads those of a cluster, in which each node plans and packs
	// what lies in its own; nil reads Journal alone, and takes all for its own.
	Journals Journals
	Indexer  *Indexer
	Archive  archive.Archive
	// SpoolDir takes what is compressed of the pack that is being written.
	SpoolDir string
	// Compression is that of packs which are planned from now on.
	Compression pack.Compression
	// Settle is how long a series must be quiet before it is packed.
	Settle time.Duration
	// Pressed tells whether the journal nears its limit: series are then
	// packed without waiting for them to be quiet. nil is never.
	Pressed func() bool
	// PackBytes and PackMembers bound one pack; 0 means 128 MiB and 4096.
	PackBytes   int64
	PackMembers int
	// Clock is told how long the steps took; it may be nil.
	Clock Clock
	// Tracer and Trails follow packs and their instances; they may be nil.
	Tracer *trace.Tracer
	Trails *Trails
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	defaultPackBytes   = 128 << 20
	defaultPackMembers = 4096
	// planBatch is how many packs one batch plans: of 4096 members with the
	// longest of names they take 7 MB of a log's entry.
	planBatch = 16
	// workList is how many series one pass takes up.
	workList = 100
	// passLeast and passMost bound the time between two passes, retryPass that
	// after a pass that failed.
	passLeast = 20 * time.Millisecond
	passMost  = 2 * time.Second
	retryPass = 10 * time.Second
	// toldFailures is how many of a pass's failures its error names.
	toldFailures = 5
)

// Archiver moves quiet series from the journal into packs, and packs into the
// archive. Every step is decided in the index before it is done and is the
// same when it is done again, so that a crash between any two of them loses
// nothing and makes nothing twice.
type Archiver struct {
	o    ArchiverOptions
	only index.JournalID // the journal whose instances it packs; "" is any
	// unripe are the series that go on growing and have full packs, all of them
	// of what came a moment ago: when the last of what fills one came, in
	// nanoseconds of Unix time. Only one goroutine calls Pass.
	unripe map[growing]int64

	mu      sync.Mutex
	failing error
	again   time.Time // when it is tried again
}

// growing names a series that is not quiet, or what is kept aside of it.
type growing struct {
	study, series string
	conflict      bool
}

// NewArchiver returns an Archiver; Run sets it to work.
func NewArchiver(o ArchiverOptions) *Archiver {
	if o.PackBytes <= 0 {
		o.PackBytes = defaultPackBytes
	}
	if o.PackMembers <= 0 {
		o.PackMembers = defaultPackMembers
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Clock = orNoClock(o.Clock)
	a := &Archiver{o: o}
	if o.Journals != nil {
		a.only = index.JournalID(o.Journal.ID())
	}
	a.o.Journals = orOwn(o.Journals, o.Journal)
	return a
}

// Run archives until ctx ends. What fails is tried again with growing pauses;
// the journal keeps it meanwhile.
func (a *Archiver) Run(ctx context.Context) error {
	beat := min(max(a.o.Settle/8, passLeast), passMost)
	wait := beat
	for {
		if err := pause(ctx, wait); err != nil {
			return err
		}
		err := a.Pass(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			a.note(nil, time.Time{})
			wait = beat
			continue
		}
		wait = min(2*wait, retryPass)
		// Nodes that an outage stopped together do not all come back at once.
		wait -= rand.N(wait/4 + 1)
		a.note(err, time.Now().Add(wait))
		a.o.Logger.Error("archiving failed, will try again", "archive", a.o.Archive.String(), "in", wait, "error", err)
	}
}

func (a *Archiver) note(err error, again time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing, a.again = err, again
}

// Retry is when it is tried again to archive what the last pass did not; zero
// while nothing fails.
func (a *Archiver) Retry() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.again
}

// Failing returns why the last pass of Run did not archive all that was due,
// or nil. What is not archived stays in the journal, which grows.
func (a *Archiver) Failing() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failing
}

// Pass archives once what is due now. It does what it can and returns what
// failed.
func (a *Archiver) Pass(ctx context.Context) error {
	return errors.Join(a.planAll(ctx), a.finishPlans(ctx), a.release(ctx))
}

func (a *Archiver) planAll(ctx context.Context) error {
	settle := a.o.Settle
	if a.o.Pressed != nil && a.o.Pressed() {
		settle = 0
	}
	now := a.o.Now()
	before, lull := now.Add(-settle).UnixNano(), now.Add(-settle/4).UnixNano()
	work, err := a.o.Index.QuietIn(ctx, a.only, before, a.o.PackBytes, workList)
	if err != nil || len(work) == 0 {
		return err
	}
	// While the archive is away series go on growing: plans would part them.
	if err := a.o.Archive.Check(ctx); err != nil {
		return err
	}
	unripe := make(map[growing]int64)
	for _, w := range work {
		name, quiet := growing{w.StudyInstanceUID, w.SeriesInstanceUID, w.Conflict}, w.Newest < before
		last := a.unripe[name]
		if quiet || last < lull { // else there is nothing to plan, whatever came since
			if last, err = a.plan(ctx, w, quiet, lull); err != nil {
				return err
			}
		}
		if last > 0 {
			unripe[name] = last
		}
	}
	a.unripe = unripe
	return nil
}

// plan decides which pack each of the series' instances will lie in. Of one
// that is not quiet only full packs are planned, of what came before lull: the
// rest grows on, and what is being received is not written twice meanwhile. It
// returns when the last came of what fills the first pack that is left because
// of that, or 0 for none.
func (a *Archiver) plan(ctx context.Context, w index.SeriesWork, quiet bool, lull int64) (unripe int64, err error) {
	live, err := a.o.Index.Where(ctx, index.Selector{
		StudyInstanceUID: w.StudyInstanceUID, SeriesInstanceUID: w.SeriesInstanceUID, Conflicts: w.Conflict,
	})
	if err != nil {
		return 0, err
	}
	var plans []index.Plan
	var members []memberID
	var bytes, newest int64
	flush := func() {
		switch {
		case len(members) == 0:
		case quiet || newest < lull:
			plans = append(plans, a.newPlan(w, members))
		case unripe == 0 || newest < unripe:
			unripe = newest
		}
		members, bytes, newest = nil, 0, 0
	}
	for _, in := range live {
		if in.PackID != "" || !a.ours(in.At) {
			continue
		}
		if len(members) == a.o.PackMembers || bytes+in.Size > a.o.PackBytes {
			flush()
		}
		members = append(members, idOf(in.Instance.Instance))
		bytes, newest = bytes+in.Size, max(newest, in.Received)
	}
	if quiet {
		flush()
	}
	for some := range slices.Chunk(plans, planBatch) {
		if err := a.o.Proposer.Propose(ctx, index.Batch{Planned: some}); err != nil {
			return 0, err
		}
	}
	return unripe, nil
}

// ours tells whether what lies there is this node's to pack.
func (a *Archiver) ours(at index.Position) bool { return a.only == "" || at.Journal == a.only }

// newPlan fixes what the pack's bytes follow from: also the compression, which
// may be another when the plan is finished after a restart.
func (a *Archiver) newPlan(w index.SeriesWork, members []memberID) index.Plan {
	p := index.Plan{
		PackID:            packID(w, members),
		StudyInstanceUID:  w.StudyInstanceUID,
		SeriesInstanceUID: w.SeriesInstanceUID,
		Conflict:          w.Conflict,
	}
	if a.o.Compression != pack.None {
		p.Compression = string(a.o.Compression)
	}
	for _, m := range members {
		p.SOPs = append(p.SOPs, m.sop)
		p.Members = append(p.Members, m.digest)
	}
	return p
}

// packID also depends on how often the series was deleted: the removal of what
// it was must not meet what it is.
func packID(w index.SeriesWork, members []memberID) string {
	return pack.ID(w.StudyInstanceUID, w.SeriesInstanceUID, w.Conflict, w.Generation, func(yield func(string, storage.Digest) bool) {
		for _, m := range members {
			if !yield(m.sop, m.digest) {
				return
			}
		}
	})
}

// memberID tells instances apart: several may be kept aside under one
// SOPInstanceUID.
type memberID struct {
	sop    string
	digest storage.Digest
}

func idOf(in storage.Instance) memberID { return memberID{in.Key.SOPInstanceUID, in.Digest} }

// finishPlans writes every pack that is planned and not archived yet: those
// of this pass, and those that a crash or an outage left behind.
func (a *Archiver) finishPlans(ctx context.Context) error {
	plans, err := a.o.Index.PlannedIn(ctx, a.only)
	if err != nil || len(plans) == 0 {
		return err
	}
	// A plan that a power cut undoes after its pack was put would be made
	// anew with other members, and the archive would hold them twice.
	if err := a.o.Index.Sync(ctx); err != nil {
		return err
	}
	var failed []error
	for i, p := range plans {
		err := a.write(ctx, p)
		if err == nil || errors.Is(err, errUnplanned) {
			continue
		}
		// One pack that cannot be written keeps no other back, an archive that
		// cannot be written to keeps back all.
		if len(failed) < toldFailures {
			failed = append(failed, fmt.Errorf("pack %s: %w", p.PackID, err))
		}
		if err := errors.Join(ctx.Err(), a.o.Archive.Check(ctx)); err != nil {
			failed = append(failed, fmt.Errorf("%d packs wait: %w", len(plans)-i, err))
			break
		}
	}
	return errors.Join(failed...)
}

// release gives back the journal's segments that nothing refers to. What the
// index says is made durable first: it is what allows the removal. One that is
// damaged is left to a person: what cannot be read may be all there is of an
// instance that was acknowledged.
func (a *Archiver) release(ctx context.Context) error {
	id := index.JournalID(a.o.Journal.ID())
	indexed := a.o.Indexer.Indexed() // read before the segments in use: later rows are past it
	used, err := a.o.Index.SegmentsInUse(ctx, id)
	if err != nil {
		return err
	}
	free := func(s journal.Segment) bool {
		return !s.Damaged && !used[s.Number] && s.Last.Compare(indexed) <= 0 && s.Last != journal.Position{}
	}
	var freed []uint64
	for _, s := range a.o.Journal.Segments() {
		if free(s) {
			freed = append(freed, s.Number)
		}
	}
	if len(freed) == 0 {
		return nil
	}
	if err := a.o.Index.Sync(ctx); err != nil {
		return err
	}
	return a.remove(ctx, freed, free)
}

func (a *Archiver) remove(ctx context.Context, freed []uint64, free func(journal.Segment) bool) error {
	wanted := make(map[uint64]bool, len(freed))
	for _, n := range freed {
		wanted[n] = true
	}
	for _, s := range a.o.Journal.Segments() {
		if wanted[s.Number] && !s.Sealed {
			if err := a.o.Journal.Seal(ctx); err != nil {
				return err
			}
		}
	}
	// An instance may have come into the active segment before it was sealed.
	for _, s := range a.o.Journal.Segments() {
		if wanted[s.Number] && s.Sealed && free(s) {
			if err := a.o.Journal.Remove(ctx, s.Number); err != nil {
				return err
			}
		}
	}
	return nil
}
