package gateway

import (
	"context"
	"fmt"
	"io"
	"strings"

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
	// Progress, when set, is told of every pack and every batch.
	Progress func(Rebuilt)
	// Problem is told, in plain words, what could not be read. The rebuild
	// goes on without it.
	Problem func(string)
}

// Rebuilt counts what a rebuild entered.
type Rebuilt struct {
	Packs, Packed, Journaled, Problems int
	// Deletions are those that the archives tell of; what they cover is not
	// among the packs and journal records, unless it can be undone.
	Deletions int
}

// Rebuild makes the index anew from the archive's packs and notes and the
// journal alone. What was deleted does not come back.
func Rebuild(ctx context.Context, o RebuildOptions) (Rebuilt, error) {
	b := &rebuild{RebuildOptions: o, seen: map[string]bool{}}
	if err := b.notes(ctx); err != nil {
		return b.done, err
	}
	if err := b.restoreMarked(ctx); err != nil {
		return b.done, err
	}
	for _, prefix := range []string{pack.StudiesPrefix, pack.ConflictsPrefix} {
		for _, a := range o.Archives {
			if err := b.packs(ctx, a, prefix); err != nil {
				return b.done, err
			}
		}
	}
	if err := b.restoreOthers(ctx); err != nil {
		return b.done, err
	}
	if err := b.journal(ctx); err != nil {
		return b.done, err
	}
	return b.done, o.Index.Sync(ctx)
}

type rebuild struct {
	RebuildOptions
	done Rebuilt
	seen map[string]bool // keys of the packs that were entered
	told restored
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
// so that a conflict is one again.
func (b *rebuild) packs(ctx context.Context, a archive.Archive, prefix string) error {
	for st, err := range a.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(st.Key, pack.Suffix) {
			b.problem("%s: not a pack", st.Key)
			continue
		}
		deleted, err := b.deletedPack(ctx, a, st)
		if !deleted && err == nil {
			err = b.pack(ctx, a, st)
		}
		if err := b.leaveOut(ctx, a, st.Key, err); err != nil {
			return err
		}
	}
	return nil
}

// pack enters one pack, or another copy of it.
func (b *rebuild) pack(ctx context.Context, a archive.Archive, st archive.Stat) error {
	adopted, err := b.read(ctx, a, st)
	if err != nil {
		return err
	}
	batch := index.Batch{Adopted: []index.AdoptedPack{*adopted}}
	if b.seen[st.Key] {
		batch = index.Batch{Archived: []index.PackArchive{adopted.Pack}}
	}
	if _, err := b.Index.Apply(ctx, batch); err != nil {
		return err
	}
	if !b.seen[st.Key] {
		b.seen[st.Key] = true
		b.done.Packs++
		b.done.Packed += len(adopted.Instances)
	}
	return nil
}

func (b *rebuild) read(ctx context.Context, a archive.Archive, st archive.Stat) (*index.AdoptedPack, error) {
	blob := &packBlob{archive: a, key: st.Key, size: st.Size}
	directory, err := pack.ReadDirectory(ctx, blob)
	if err != nil {
		return nil, err
	}
	adopted := &index.AdoptedPack{
		Pack: index.PackArchive{
			PackID: packIDOf(st.Key), Archive: a.String(), Key: st.Key,
			Size: st.Size, At: st.Modified.UnixNano(),
		},
		Conflict: directory.Conflict,
	}
	err = directory.Details(ctx, blob, 0, len(directory.Entries), func(i int, _ *dicom.Layout, metadata io.Reader) error {
		ds, err := decodeMetadata(metadata)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		in := directory.Entries[i].Instance
		adopted.Instances = append(adopted.Instances, index.Instance{
			Instance: in, Attributes: overlay(ds.Select(index.Indexed()), in.Origin.Sender),
		})
		return nil
	})
	return adopted, err
}

func (b *rebuild) journal(ctx context.Context) error {
	id := index.JournalID(b.Journal.ID())
	var batch []index.Instance
	var through index.Position
	apply := func() error {
		_, err := b.Index.Apply(ctx, index.Batch{Through: through, Received: batch})
		b.done.Journaled += len(batch)
		batch = batch[:0]
		b.progress()
		return err
	}
	err := b.Journal.Replay(ctx, journal.Position{}, func(e journal.Entry) error {
		through = indexPosition(id, e.Position)
		r, err := readRecord(ctx, b.Journal, e)
		if err != nil {
			b.problem("journal at %v: %v", e.Position, err)
			return nil
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
