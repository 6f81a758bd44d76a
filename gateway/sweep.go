package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// sweep is one pass of removing.
type sweep struct {
	*Sweeper
	now       time.Time
	reachable map[string]error // by archive, once it was asked
}

// remove removes what is left of one deletion.
func (s *sweep) remove(ctx context.Context, r *index.DeletionRecord) error {
	doomed, err := s.o.Index.Doomed(ctx, r.ID)
	if err != nil {
		return err
	}
	last := s.now.UnixNano() >= r.Decided+min(r.Due-r.Marked.At, int64(s.o.Confirm))
	var steps []index.Deletion
	var failed error
	for i := range doomed {
		if doomed[i].Shared {
			continue // an instance that is kept aside lies in it
		}
		step, err := s.removePack(ctx, r, &doomed[i], last)
		if err != nil {
			failed = fmt.Errorf("pack %s: %w", doomed[i].PackID, err) // the last one tells enough
		}
		if len(step.Archives) > 0 {
			steps = append(steps, step)
		}
		if len(steps) == goneSteps || ctx.Err() != nil {
			break // the next pass goes on
		}
	}
	if len(steps) == 0 {
		return failed
	}
	if err := s.o.Proposer.Propose(ctx, index.Batch{Deletions: steps}); err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, s.ended(ctx, r))
}

// ended tells of a deletion of which nothing is left.
func (s *sweep) ended(ctx context.Context, r *index.DeletionRecord) error {
	done, err := s.o.Index.Deletion(ctx, r.ID)
	if err != nil || done.State != index.DeletionRemoved {
		return err
	}
	s.mu.Lock()
	for key := range s.swept {
		if strings.HasPrefix(key, r.ID+" ") {
			delete(s.swept, key)
		}
	}
	s.mu.Unlock()
	audit(s.o.Logger, "deletion ended", &done, done.Marked)
	return nil
}

// removePack removes a pack from every archive that can be asked, and returns
// what the index is to be told: nothing without Archives.
func (s *sweep) removePack(ctx context.Context, r *index.DeletionRecord, d *index.Doomed, last bool) (index.Deletion, error) {
	step := index.Deletion{ID: r.ID, Step: index.PackGone, PackID: d.PackID, Act: index.Act{At: s.now.UnixNano()}}
	keys := []string{pack.Key(r.StudyInstanceUID, d.SeriesInstanceUID, d.PackID, false)}
	known := map[string]bool{}
	for _, c := range d.Copies {
		if known[c.Archive] = true; c.Key != keys[0] {
			return step, fmt.Errorf("%w: it lies at %s, where no pack of this study should", storage.ErrCorrupt, c.Key)
		}
	}
	var failed error
	fresh := false // there is something to tell
	for _, a := range s.o.Archives {
		name := a.String()
		mark := r.ID + " " + d.PackID + " " + name
		if s.swept[mark] && !last {
			continue
		}
		if err := s.removeFrom(ctx, a, r, keys[0]); err != nil {
			failed = fmt.Errorf("archive %s: %w", name, err)
			continue
		}
		s.swept[mark] = true
		fresh = fresh || known[name]
		delete(known, name)
		step.Archives = append(step.Archives, name)
	}
	for name := range known {
		if !s.swept[r.ID+" "+d.PackID+" "+name] && failed == nil {
			failed = fmt.Errorf("%w: archive %s is not configured", storage.ErrUnavailable, name)
		}
	}
	s.o.Forget(keys...)
	if step.Last = last && failed == nil; !step.Last && !fresh {
		step.Archives = nil
	}
	return step, failed
}

// removeFrom removes an object from one archive, which must know by its notes
// that it was deleted.
func (s *sweep) removeFrom(ctx context.Context, a archive.Archive, r *index.DeletionRecord, key string) error {
	name := a.String()
	err, asked := s.reachable[name]
	if !asked {
		err = a.Check(ctx)
		s.reachable[name] = err
	}
	if err != nil {
		return err
	}
	if !s.notes.has(name, r) {
		return fmt.Errorf("%w: the note of the deletion is not there yet", storage.ErrUnavailable)
	}
	return a.Remove(ctx, key)
}

// audit writes the line of what was done, when, by whom and why. It names the
// study, and no patient.
func audit(log *slog.Logger, what string, r *index.DeletionRecord, a index.Act) {
	log.Info("audit", "what", what, "deletion", r.ID, "study", r.StudyInstanceUID, "series", r.SeriesInstanceUID,
		"instances", r.Instances, "by", a.By, "why", a.Why)
}
