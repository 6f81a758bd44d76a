package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// RebuildOptions are the parts that an index is rebuilt from.
type RebuildOptions struct {
	// Index is the new, empty one.
	Index    *index.Index
	Archives []archive.Archive
	Journal  *journal.Journal
	// Before, when set, is the index that is replaced: nothing of it is entered,
	// but what it has and is found nowhere is told to Problem.
	Before *index.Index
	// Progress, when set, is told of every pack and every batch.
	Progress func(Rebuilt)
	// Problem is told, in plain words, what could not be read or is missing. The
	// rebuild goes on without it.
	Problem func(string)
}

// Rebuilt counts what a rebuild entered.
type Rebuilt struct {
	Packs, Packed, Journaled, Problems int
	// Copies are those of the packs, on all archives.
	Copies int
	// Deletions are those that the archives tell of; what they cover is not
	// among the packs and journal records, unless it can be undone.
	Deletions int
}

// Rebuild makes the index anew from the archives' objects and the journal
// alone. What was deleted does not come back.
func Rebuild(ctx context.Context, o RebuildOptions) (Rebuilt, error) {
	b := &rebuild{RebuildOptions: o, seen: map[string]bool{}, left: map[string]bool{}}
	if err := b.notes(ctx); err != nil {
		return b.done, err
	}
	if err := b.restoreMarked(ctx); err != nil {
		return b.done, err
	}
	for _, prefix := range []string{pack.StudiesPrefix, pack.ConflictsPrefix} {
		for _, a := range o.Archives {
			b.earlier = maps.Clone(b.seen)
			if err := b.packs(ctx, a, prefix); err != nil {
				return b.done, err
			}
		}
	}
	if err := b.restoreOthers(ctx); err != nil {
		return b.done, err
	}
	if err := b.identities(ctx); err != nil {
		return b.done, err
	}
	if err := b.journal(ctx); err != nil {
		return b.done, err
	}
	if err := b.missed(ctx); err != nil {
		return b.done, err
	}
	return b.done, o.Index.Sync(ctx)
}

type rebuild struct {
	RebuildOptions
	done Rebuilt
	seen map[string]bool // keys of the packs that were entered
	// earlier are those that were entered from the archives before this one:
	// unlike seen it does not change while an archive is read.
	earlier map[string]bool
	told    restored
	left    map[string]bool // keys of packs that were left out, and told of
}

func (b *rebuild) problem(format string, args ...any) {
	b.done.Problems++
	if b.Problem != nil {
		b.Problem(fmt.Sprintf(format, args...))
	}
}

func (b *rebuild) progress() {
	if b.Progress != nil {
		b.Progress(b.done)
	}
}

// packs enters an archive's packs. Those that are not kept aside come first,
// so that a conflict is one again. Some are read ahead at the same time, and
// entered in the order of their keys.
func (b *rebuild) packs(ctx context.Context, a archive.Archive, prefix string) error {
	ahead, stop := b.ahead(ctx, a, prefix)
	defer stop()
	for r := range ahead {
		<-r.ready
		if r.failed != nil {
			return r.failed
		}
		if !isPack(r.Key) {
			b.problem("%s: not a pack", r.Key)
			continue
		}
		deleted, err := b.deletedPack(ctx, a, r.Stat)
		if !deleted && err == nil {
			err = r.err
			if err == nil {
				err = b.enter(ctx, a, r.Stat, r.adopted)
			}
		}
		if err := b.leaveOut(ctx, a, r.Key, err); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pack enters one pack, or another copy of it.
func (b *rebuild) pack(ctx context.Context, a archive.Archive, st archive.Stat) error {
	if b.seen[st.Key] {
		return b.enter(ctx, a, st, nil)
	}
	adopted, err := b.read(ctx, a, st)
	if err != nil {
		return err
	}
	return b.enter(ctx, a, st, adopted)
}

// enter enters a pack that was read. Of another copy no more is looked at than
// that it is there: verifying is to be done anyway.
func (b *rebuild) enter(ctx context.Context, a archive.Archive, st archive.Stat, adopted *index.AdoptedPack) error {
	b.done.Copies++
	if b.seen[st.Key] {
		_, err := b.Index.Apply(ctx, index.Batch{Archived: []index.PackArchive{copyAt(a, st)}})
		return err
	}
	if _, err := b.Index.Apply(ctx, index.Batch{Adopted: []index.AdoptedPack{*adopted}}); err != nil {
		return err
	}
	b.seen[st.Key] = true
	b.done.Packs++
	b.done.Packed += len(adopted.Instances)
	return nil
}

// atItsPlace is storage.ErrCorrupt for a pack under a key that is not its own,
// where somebody copied it: what is deleted is removed from its place, and no
// note of a deletion names another.
func atItsPlace(d *pack.Directory, key string) error {
	if place := pack.Key(d.StudyInstanceUID, d.SeriesInstanceUID, packIDOf(key), d.Conflict); place != key {
		return fmt.Errorf("%w: it is a pack whose place is %s", storage.ErrCorrupt, place)
	}
	return nil
}

func copyAt(a archive.Archive, st archive.Stat) index.PackArchive {
	return index.PackArchive{
		PackID: packIDOf(st.Key), Archive: a.String(), Key: st.Key, Size: st.Size, At: st.Modified.UnixNano(),
	}
}

// readAhead is how many packs are read at the same time.
const readAhead = 8

// reading is a pack that is read ahead. What stands in it may be looked at
// when ready is closed.
type reading struct {
	archive.Stat
	ready   chan struct{}
	adopted *index.AdoptedPack // nil for one that was entered before, or deleted
	err     error              // why it cannot be read
	failed  error              // of the listing: the last
}

// ahead lists an archive and begins to read what is not entered yet. stop
// must be called.
func (b *rebuild) ahead(ctx context.Context, a archive.Archive, prefix string) (_ <-chan *reading, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	listed := make(chan *reading, readAhead)
	var all sync.WaitGroup
	all.Go(func() {
		defer close(listed)
		for st, err := range a.List(ctx, prefix) {
			r := &reading{Stat: st, ready: make(chan struct{}), failed: err}
			select {
			case listed <- r: // at most so many are under way
			case <-ctx.Done():
				return
			}
			if err != nil || !isPack(st.Key) || b.earlier[st.Key] || b.told.byPack[st.Key] != nil {
				close(r.ready)
				continue
			}
			all.Go(func() {
				defer close(r.ready)
				r.adopted, r.err = b.read(ctx, a, st)
			})
		}
	})
	return listed, func() {
		cancel()
		all.Wait()
	}
}

func (b *rebuild) read(ctx context.Context, a archive.Archive, st archive.Stat) (*index.AdoptedPack, error) {
	blob := &packBlob{archive: a, key: st.Key, size: st.Size}
	directory, err := pack.ReadDirectory(ctx, blob)
	if err == nil {
		err = atItsPlace(directory, st.Key)
	}
	if err != nil {
		return nil, err
	}
	adopted := &index.AdoptedPack{
		Pack:     copyAt(a, st),
		Conflict: directory.Conflict,
	}
	err = directory.Details(ctx, blob, 0, len(directory.Entries), func(i int, _ *dicom.Layout, metadata io.Reader) error {
		ds, err := decodeMetadata(metadata)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		in := directory.Entries[i].Instance
		adopted.Instances = append(adopted.Instances, index.Instance{
			Instance: in, Attributes: overlay(ds, in.Origin.Sender),
		})
		return nil
	})
	return adopted, err
}

func (b *rebuild) journal(ctx context.Context) error {
	id := index.JournalID(b.Journal.ID())
	var batch []index.Instance
	var unread []journal.Position
	var through index.Position
	apply := func() error {
		_, err := b.Index.Apply(ctx, index.Batch{Through: through, Received: batch, Journals: passedOver(id, unread)})
		b.done.Journaled += len(batch)
		batch, unread = batch[:0], unread[:0]
		b.progress()
		return err
	}
	err := b.Journal.Replay(ctx, journal.Position{}, func(e journal.Entry) error {
		through = indexPosition(id, e.Position)
		r, err := readRecord(ctx, b.Journal, e)
		if errors.Is(err, storage.ErrEarlierDigest) { // the index would lack what is not damaged
			return fmt.Errorf("journal at %v: %w", e.Position, err)
		}
		if err != nil {
			b.problem("journal at %v: %v", e.Position, err)
			if unread = append(unread, e.Position); len(unread) < batchRows {
				return nil
			}
			return apply()
		}
		in := r.indexed(id, e.Position)
		if b.covers(&in) != nil {
			return nil // it was deleted, and entered before when that can be undone
		}
		batch = append(batch, in)
		if len(batch) < batchRows {
			return nil
		}
		return apply()
	})
	if err != nil {
		return err
	}
	return apply()
}
