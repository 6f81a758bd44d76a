package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
)

// SweeperOptions are the parts a Sweeper works with.
type SweeperOptions struct {
	Index    *index.Index
	Proposer Proposer
	// Archives are all that may hold a pack, each by itself.
	Archives []archive.Archive
	// Forget drops objects from the node's caches; nil means that there are
	// none.
	Forget func(keys ...string)
	// Every is the time between two passes; 0 means 30 s.
	Every time.Duration
	// Confirm is how long after the decision a pack is removed once more, if the
	// deletion's own time of grace is not even shorter: who was writing it when
	// it was marked may finish after the first time.
	Confirm time.Duration
	Logger  *slog.Logger
	// Now is the clock; nil means time.Now. CheckClock tells whether what it
	// says is a reason to remove something for good; nil means that it is.
	Now        func() time.Time
	CheckClock func(ctx context.Context) error
}

const (
	defaultSweep = 30 * time.Second
	// sweepAgain is how soon a pass that failed is made again, at first: a node
	// that has just come to lead may not be able to yet.
	sweepAgain = time.Second
	// sweepList is how many deletions are taken up at once, and goneSteps how
	// many packs one batch tells of.
	sweepList = 100
	goneSteps = 500
)

// Sweeper removes what was deleted, once it can not be undone any more and
// nothing keeps it: from every archive, however often that takes. It writes
// notes into the archives first, so that they explain themselves. Every step
// is decided in the index before it is done, and can be done again.
type Sweeper struct {
	o     SweeperOptions
	notes *noter
	kick  chan struct{} // capacity 1

	mu        sync.Mutex
	forgotten int64               // the revision up to which caches were swept
	swept     map[string]bool     // deletion, pack and archive from which it was removed
	troubles  map[string]*Trouble // by deletion
	failing   error
}

// Trouble is why a deletion does not come to its end.
type Trouble struct {
	Since time.Time
	Err   error
}

// NewSweeper returns a Sweeper; Run sets it to work on one node of a cluster at
// a time, Watch on every node.
func NewSweeper(o SweeperOptions) *Sweeper {
	o.Every = cmp.Or(o.Every, defaultSweep)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CheckClock == nil {
		o.CheckClock = func(context.Context) error { return nil }
	}
	if o.Forget == nil {
		o.Forget = func(...string) {}
	}
	return &Sweeper{
		o: o, notes: newNoter(o.Index, o.Archives), kick: make(chan struct{}, 1),
		swept: map[string]bool{}, troubles: map[string]*Trouble{},
	}
}

// Run sweeps until ctx ends. What fails is tried again.
func (s *Sweeper) Run(ctx context.Context) error {
	again := sweepAgain
	for {
		wait := s.o.Every
		if err := s.Pass(ctx); err != nil && ctx.Err() == nil {
			wait = min(again, s.o.Every)
			again = min(2*again, s.o.Every)
			s.o.Logger.Warn("what was deleted is not all removed, will try again", "in", wait, "error", err)
		} else {
			again = sweepAgain
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		case <-s.kick:
			t.Stop()
		}
	}
}

// Watch sweeps the node's caches of what was deleted, until ctx ends. What
// fails is tried again.
func (s *Sweeper) Watch(ctx context.Context) error {
	for {
		if err := s.Forget(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.Warn("what was deleted may still lie in this node's caches, will try again", "error", err)
		}
		if err := pause(ctx, s.o.Every); err != nil {
			return err
		}
	}
}

// Note brings the notes of what was just changed to the archives. What fails
// is tried again by Run.
func (s *Sweeper) Note(ctx context.Context) error {
	signal(s.kick)
	return s.notes.pass(ctx)
}

// Pass does what is due now. It does what it can and returns what failed.
func (s *Sweeper) Pass(ctx context.Context) error {
	decided := s.decideAll(ctx)
	// The archives are told before the removal begins, and how it went.
	if err := s.notes.pass(ctx); err != nil && ctx.Err() == nil {
		s.o.Logger.Debug("notes before the removal", "error", err) // an archive without them is left alone
	}
	err := errors.Join(decided, s.removeAll(ctx), s.notes.pass(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
	return err
}

// Failing returns why the last pass did not do all that was due, or nil.
func (s *Sweeper) Failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// Trouble is what keeps a deletion from its end; nil when nothing does.
func (s *Sweeper) Trouble(id string) *Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.troubles[id]
}

// Troubles counts the deletions that do not come to their end, and tells since
// when the first does not.
func (s *Sweeper) Troubles() (n int, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.troubles {
		if since.IsZero() || t.Since.Before(since) {
			since = t.Since
		}
	}
	return len(s.troubles), since
}

// Forget sweeps the node's caches once of what was deleted, or went on to be
// removed, since the last time: whoever reads while it is marked may bring it
// back into them. One goroutine calls it.
func (s *Sweeper) Forget(ctx context.Context) error {
	for {
		records, err := s.o.Index.Deletions(ctx, s.forgotten, sweepList)
		if err != nil || len(records) == 0 {
			return err
		}
		var keys []string
		for _, r := range records {
			for _, p := range r.Packs {
				if r.State != index.DeletionUndone {
					keys = append(keys, packKey(r.StudyInstanceUID, p))
				}
			}
			s.forgotten = r.Revision
		}
		s.o.Forget(keys...)
	}
}

// decideAll ends the time of grace of what is due and not kept.
func (s *Sweeper) decideAll(ctx context.Context) error {
	now := s.o.Now().UnixNano()
	var failed error
	for after := int64(0); ; {
		due, last, err := s.o.Index.DeletionsIn(ctx, index.DeletionMarked, now, after, sweepList)
		if err != nil || len(due) == 0 {
			return errors.Join(failed, err)
		}
		if err := s.o.CheckClock(ctx); err != nil {
			return err
		}
		for i := range due {
			if err := s.decide(ctx, &due[i], now); err != nil {
				failed = fmt.Errorf("deletion %s: %w", due[i].ID, err) // the last one tells enough
			}
		}
		after = last
	}
}

func (s *Sweeper) decide(ctx context.Context, r *index.DeletionRecord, now int64) error {
	kept, err := s.o.Index.Kept(ctx, r.StudyInstanceUID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) || kept.At(now) {
		return err // it waits
	}
	step := index.Deletion{ID: r.ID, Step: index.DecideDeletion, Act: index.Act{At: now}}
	if err := s.o.Proposer.Propose(ctx, index.Batch{Deletions: []index.Deletion{step}}); err != nil {
		return err
	}
	done, err := s.o.Index.Deletion(ctx, r.ID)
	if err == nil && done.State != index.DeletionMarked {
		audit(s.o.Logger, "deletion decided", &done, done.Marked)
	}
	return err
}

// removeAll removes the packs of what is decided.
func (s *Sweeper) removeAll(ctx context.Context) error {
	sweep := &sweep{Sweeper: s, now: s.o.Now(), reachable: map[string]error{}}
	var failed error
	for after := int64(0); ; {
		decided, last, err := s.o.Index.DeletionsIn(ctx, index.DeletionDecided, math.MaxInt64, after, sweepList)
		if err != nil || len(decided) == 0 {
			return errors.Join(failed, err)
		}
		if after == 0 {
			// What the index says is what allows the removal.
			if err := s.o.Index.Sync(ctx); err != nil {
				return err
			}
		}
		for i := range decided {
			err := sweep.remove(ctx, &decided[i])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.trouble(decided[i].ID, err)
			if err != nil {
				failed = fmt.Errorf("deletion %s: %w", decided[i].ID, err)
			}
		}
		after = last
	}
}

func (s *Sweeper) trouble(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t := s.troubles[id]; {
	case err == nil:
		delete(s.troubles, id)
	case t == nil:
		s.troubles[id] = &Trouble{s.o.Now(), err}
	default:
		s.troubles[id] = &Trouble{t.Since, err}
	}
}
