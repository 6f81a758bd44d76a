package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// CustodianOptions are the parts a Custodian works with.
type CustodianOptions struct {
	Index    *index.Index
	Proposer Proposer
	Indexer  *Indexer
	Sweeper  *Sweeper
	// Grace is for how long a deletion can be undone.
	Grace  time.Duration
	Logger *slog.Logger
	// Now is the clock; nil means time.Now. CheckClock tells whether a time of
	// grace may begin by it; nil means that it may.
	Now        func() time.Time
	CheckClock func(ctx context.Context) error
}

// noteWait bounds how long an answer waits for the archives to be told. What
// they are not told by then is told later.
const noteWait = 3 * time.Second

// Custodian is the use case of what must be kept and what may be deleted.
// Whether who asks may do so is asked above.
type Custodian struct{ o CustodianOptions }

// NewCustodian returns a Custodian.
func NewCustodian(o CustodianOptions) *Custodian {
	if o.CheckClock == nil {
		o.CheckClock = func(context.Context) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Custodian{o}
}

// Request is what somebody asks of a Custodian.
type Request struct {
	StudyInstanceUID  string
	SeriesInstanceUID string // of Delete; empty for the whole study
	By, Why           string // for the record; no names of patients
}

func (c *Custodian) act(q Request) index.Act {
	return index.Act{At: c.o.Now().UnixNano(), By: q.By, Why: q.Why}
}

// ProtectedError is why a study is not deleted. It wraps storage.ErrProtected.
type ProtectedError struct{ Kept index.Kept }

// Error says what keeps the study, and until when.
func (e *ProtectedError) Error() string {
	var why []string
	for _, h := range e.Kept.Holds {
		why = append(why, fmt.Sprintf("hold %q since %s", h.Name, time.Unix(0, h.Act.At).UTC().Format(time.DateOnly)))
	}
	if e.Kept.Until > 0 {
		why = append(why, fmt.Sprintf("retention of %d years until %s", e.Kept.Years, time.Unix(0, e.Kept.Until).UTC().Format(time.DateOnly)))
	}
	return storage.ErrProtected.Error() + ": " + strings.Join(why, ", ")
}

// Unwrap implements errors.Is.
func (e *ProtectedError) Unwrap() error { return storage.ErrProtected }

// Deleted is what became of a request to delete.
type Deleted struct {
	index.DeletionRecord
	// Before is true when it had been deleted before, and is not removed yet.
	Before bool
}

// Delete takes a study, or a series of it, out of sight; from then on nothing
// finds, counts or gives it. It can be undone until Due at least; afterwards it
// is removed. What was acknowledged on this node before the call is part of it,
// what comes later is not. A *ProtectedError tells what keeps the study; one
// that is not there is storage.ErrNotFound.
func (c *Custodian) Delete(ctx context.Context, q Request) (Deleted, error) {
	if !storage.ValidUID(q.StudyInstanceUID) || q.SeriesInstanceUID != "" && !storage.ValidUID(q.SeriesInstanceUID) {
		return Deleted{}, fmt.Errorf("%w: not a UID", storage.ErrInvalid)
	}
	if err := c.o.Indexer.through(ctx, c.o.Indexer.strong); err != nil {
		return Deleted{}, err
	}
	act := c.act(q)
	// Studies are seldom deleted: what cannot be is not proposed, so that a
	// refusal costs no one anything.
	if err := c.refused(ctx, q, act.At); err != nil {
		return c.before(ctx, q, err)
	}
	if err := c.o.CheckClock(ctx); err != nil {
		return Deleted{}, err
	}
	id := rand.Text()[:16]
	err := c.propose(ctx, index.Batch{Deletions: []index.Deletion{{
		ID: id, Step: index.MarkDeletion, Act: act,
		StudyInstanceUID: q.StudyInstanceUID, SeriesInstanceUID: q.SeriesInstanceUID, Due: act.At + int64(c.o.Grace),
	}}})
	if err != nil {
		return Deleted{}, err
	}
	r, err := c.o.Index.Deletion(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		// The index did not take it: a hold, or another deletion, was faster.
		if err = c.refused(ctx, q, act.At); err == nil {
			err = missing(q)
		}
		return c.before(ctx, q, err)
	}
	if err != nil {
		return Deleted{}, err
	}
	audit(c.o.Logger, "deleted", &r, r.Marked)
	c.note(ctx)
	return Deleted{DeletionRecord: r}, nil
}

// refused tells why the index would not take a deletion, or nil.
func (c *Custodian) refused(ctx context.Context, q Request, at int64) error {
	known := false
	for _, err := range c.o.Index.Search(ctx, index.Query{Level: index.Series, StudyInstanceUID: q.StudyInstanceUID, SeriesInstanceUID: q.SeriesInstanceUID, Superseded: true}) {
		if err != nil {
			return err
		}
		known = true
		break
	}
	if !known {
		return missing(q)
	}
	kept, err := c.o.Index.Kept(ctx, q.StudyInstanceUID)
	if err == nil && kept.At(at) {
		err = &ProtectedError{kept}
		c.o.Logger.Info("audit", "what", "deletion refused", "study", q.StudyInstanceUID, "series", q.SeriesInstanceUID,
			"by", q.By, "why", q.Why, "kept by", err)
	}
	return err
}

func missing(q Request) error {
	return fmt.Errorf("%w: %s", storage.ErrNotFound, Selector{StudyInstanceUID: q.StudyInstanceUID, SeriesInstanceUID: q.SeriesInstanceUID})
}

// before finds the deletion that took what is not there any more.
func (c *Custodian) before(ctx context.Context, q Request, why error) (Deleted, error) {
	if !errors.Is(why, storage.ErrNotFound) {
		return Deleted{}, why
	}
	all, err := c.o.Index.DeletionsOf(ctx, q.StudyInstanceUID)
	if err != nil {
		return Deleted{}, err
	}
	for _, r := range all {
		of := r.SeriesInstanceUID == "" || r.SeriesInstanceUID == q.SeriesInstanceUID
		if of && (r.State == index.DeletionMarked || r.State == index.DeletionDecided) {
			return Deleted{r, true}, nil
		}
	}
	return Deleted{}, why
}

// propose brings a change into the index, durably.
func (c *Custodian) propose(ctx context.Context, b index.Batch) error {
	if err := b.Validate(); err != nil {
		return err
	}
	if err := c.o.Proposer.Propose(ctx, b); err != nil {
		return err
	}
	return c.o.Index.Sync(ctx)
}

// note tells the archives; what fails is tried again by the Sweeper.
func (c *Custodian) note(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, noteWait)
	defer cancel()
	if err := c.o.Sweeper.Note(bounded); err != nil {
		c.o.Logger.Warn("archives are not told yet of what is deleted or held, will try again", "error", err)
	}
}

// Undo puts back what a deletion took. Once it is decided, or when some of it
// has come again, it is storage.ErrConflict and says why; an unknown ID is
// storage.ErrNotFound. To undo again is no failure.
func (c *Custodian) Undo(ctx context.Context, id, by, why string) (index.DeletionRecord, error) {
	if err := c.o.Indexer.surely(ctx); err != nil {
		return index.DeletionRecord{}, err
	}
	r, err := c.o.Index.Deletion(ctx, id)
	if err != nil || r.State == index.DeletionUndone {
		return r, err
	}
	step := index.Deletion{ID: id, Step: index.UndoDeletion, Act: c.act(Request{By: by, Why: why})}
	if err := c.propose(ctx, index.Batch{Deletions: []index.Deletion{step}}); err != nil {
		return r, err
	}
	if r, err = c.o.Index.Deletion(ctx, id); err != nil {
		return r, err
	}
	switch r.State {
	case index.DeletionUndone:
		audit(c.o.Logger, "deletion undone", &r, r.Undone)
		c.note(ctx)
		return r, nil
	case index.DeletionMarked:
		return r, fmt.Errorf("%w: some of it has come again since, or its SOPInstanceUIDs are in use elsewhere: delete what came first, then undo", storage.ErrConflict)
	default:
		return r, fmt.Errorf("%w: it is too late: the deletion is %s since %s", storage.ErrConflict, r.State, time.Unix(0, r.Decided).UTC().Format(time.RFC3339))
	}
}

// DeletionStatus is a deletion and what it waits for.
type DeletionStatus struct {
	index.DeletionRecord
	// Kept is what keeps a marked one from being removed when it is due.
	Kept *index.Kept
	// Shared counts the packs that stay because an instance that is kept aside
	// lies in them, and Left all that are not removed yet.
	Shared, Left int
	Trouble      *Trouble
}

// Deletion is one deletion with what it waits for.
func (c *Custodian) Deletion(ctx context.Context, id string) (DeletionStatus, error) {
	if err := c.o.Indexer.see(ctx); err != nil {
		return DeletionStatus{}, err
	}
	r, err := c.o.Index.Deletion(ctx, id)
	if err != nil {
		return DeletionStatus{}, err
	}
	return c.status(ctx, r)
}

// Deletions lists at most limit deletions that changed after the revision, in
// the order of their last change.
func (c *Custodian) Deletions(ctx context.Context, after int64, limit int) ([]DeletionStatus, error) {
	if err := c.o.Indexer.see(ctx); err != nil {
		return nil, err
	}
	records, err := c.o.Index.Deletions(ctx, after, limit)
	all := make([]DeletionStatus, len(records))
	for i, r := range records {
		if err == nil {
			all[i], err = c.status(ctx, r)
		}
	}
	return all, err
}

func (c *Custodian) status(ctx context.Context, r index.DeletionRecord) (DeletionStatus, error) {
	s := DeletionStatus{DeletionRecord: r, Trouble: c.o.Sweeper.Trouble(r.ID)}
	switch r.State {
	case index.DeletionMarked:
		kept, err := c.o.Index.Kept(ctx, r.StudyInstanceUID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return s, err
		}
		if kept.At(max(r.Due, c.o.Now().UnixNano())) {
			s.Kept = &kept
		}
	case index.DeletionDecided:
		doomed, err := c.o.Index.Doomed(ctx, r.ID)
		if err != nil {
			return s, err
		}
		s.Left = len(doomed)
		for _, d := range doomed {
			if d.Shared {
				s.Shared++
			}
		}
	}
	return s, nil
}

// Kept tells what keeps a study. One that is not there, and not marked as
// deleted either, is storage.ErrNotFound.
func (c *Custodian) Kept(ctx context.Context, study string) (index.Kept, error) {
	if err := c.o.Indexer.see(ctx); err != nil {
		return index.Kept{}, err
	}
	return c.o.Index.Kept(ctx, study)
}

// OnHold lists at most limit studies on which holds stand, by their UID, from
// the one after.
func (c *Custodian) OnHold(ctx context.Context, after string, limit int) ([]index.ProtectionRecord, error) {
	if err := c.o.Indexer.see(ctx); err != nil {
		return nil, err
	}
	return c.o.Index.OnHold(ctx, after, limit)
}

// Retain sets for how many years a study is kept; without one, all studies
// that have no years of their own. Nil years leave a study to the years of
// all, and those to index.DefaultRetention.
func (c *Custodian) Retain(ctx context.Context, years *int, q Request) (index.Kept, error) {
	p := index.Protection{Step: index.ClearRetention}
	if years != nil {
		p.Step, p.Years = index.SetRetention, *years
	}
	if q.StudyInstanceUID != "" {
		if err := c.o.Indexer.surely(ctx); err != nil {
			return index.Kept{}, err
		}
		if _, err := c.o.Index.Kept(ctx, q.StudyInstanceUID); err != nil {
			return index.Kept{}, err
		}
	}
	return c.protect(ctx, "retention set", p, q)
}

// Retention is for how many years studies are kept for which nothing else is
// set.
func (c *Custodian) Retention(ctx context.Context) (years int, err error) {
	if err := c.o.Indexer.see(ctx); err != nil {
		return 0, err
	}
	p, err := c.o.Index.Protection(ctx, "")
	if err != nil || p.Retention == nil {
		return index.DefaultRetention, err
	}
	return p.Retention.Years, nil
}

func (c *Custodian) protect(ctx context.Context, what string, p index.Protection, q Request) (index.Kept, error) {
	p.StudyInstanceUID, p.Act = q.StudyInstanceUID, c.act(q)
	if err := c.propose(ctx, index.Batch{Protections: []index.Protection{p}}); err != nil {
		return index.Kept{}, err
	}
	c.o.Logger.Info("audit", "what", what, "study", q.StudyInstanceUID, "hold", p.Hold, "years", p.Years, "by", q.By, "why", q.Why)
	c.note(ctx)
	if q.StudyInstanceUID == "" {
		return index.Kept{}, nil
	}
	kept, err := c.o.Index.Kept(ctx, q.StudyInstanceUID)
	if errors.Is(err, storage.ErrNotFound) { // a hold outlives its study
		err = nil
	}
	return kept, err
}
