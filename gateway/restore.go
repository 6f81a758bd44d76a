package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// restored is what a rebuild knows of deletions and holds from the archives'
// notes.
type restored struct {
	deletions   map[string]*deletedBefore // by ID
	byStudy     map[string][]*deletedBefore
	byPack      map[string]*deletedBefore // by the key of a pack that must not be shown
	protections map[string]*index.ProtectionRecord
	read        map[string]bool  // keys of the notes
	unread      map[string]error // why one could not be
}

// deletedBefore is a deletion of before, and what of it is found.
type deletedBefore struct {
	index.DeletionRecord
	live, aside []index.Instance // in the journal
	found       bool             // a pack that should be removed
}

// notes reads the archives' notes. Of each the highest revision counts: an
// archive may have been away.
func (b *rebuild) notes(ctx context.Context) error {
	b.told = restored{
		deletions: map[string]*deletedBefore{}, byStudy: map[string][]*deletedBefore{},
		byPack: map[string]*deletedBefore{}, protections: map[string]*index.ProtectionRecord{},
		read: map[string]bool{}, unread: map[string]error{},
	}
	for _, a := range b.Archives {
		for prefix, take := range map[string]func([]byte) error{deletedPrefix: b.tellDeletion, protectedPrefix: b.tellProtection} {
			if err := b.notesIn(ctx, a, prefix, take); err != nil {
				return err
			}
		}
	}
	// One that no archive can give ends the rebuild: what it says must not be
	// shown would be.
	for key, err := range b.told.unread {
		if !b.told.read[key] {
			return err
		}
		b.problem("%v; another archive has it", err)
	}
	for _, d := range b.inOrder() {
		b.told.byStudy[d.StudyInstanceUID] = append(b.told.byStudy[d.StudyInstanceUID], d)
		for _, p := range d.Packs {
			if d.State != index.DeletionUndone {
				b.told.byPack[packKey(d.StudyInstanceUID, p)] = d
			}
		}
	}
	return b.restoreProtections(ctx)
}

// notesIn reads those of one archive.
func (b *rebuild) notesIn(ctx context.Context, a archive.Archive, prefix string, take func([]byte) error) error {
	for st, err := range a.List(ctx, prefix) {
		if err != nil {
			return err
		}
		body, err := readNote(ctx, a, st)
		if err == nil {
			err = take(body)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.told.unread[st.Key] = fmt.Errorf("%s in %s: %w", st.Key, a, err)
		} else {
			b.told.read[st.Key] = true
		}
	}
	return nil
}

func (b *rebuild) tellDeletion(body []byte) error {
	r, err := decodeDeletion(body)
	if err != nil {
		return err
	}
	if known := b.told.deletions[r.ID]; known == nil || known.Revision < r.Revision {
		b.told.deletions[r.ID] = &deletedBefore{DeletionRecord: *r}
	}
	return nil
}

func (b *rebuild) tellProtection(body []byte) error {
	r, err := decodeProtection(body)
	if err != nil {
		return err
	}
	if known := b.told.protections[r.StudyInstanceUID]; known == nil || known.Revision < r.Revision {
		b.told.protections[r.StudyInstanceUID] = r
	}
	return nil
}

// inOrder are the deletions as they were asked for.
func (b *rebuild) inOrder() []*deletedBefore {
	var all []*deletedBefore
	for _, d := range b.told.deletions {
		all = append(all, d)
	}
	slices.SortFunc(all, func(x, y *deletedBefore) int {
		return cmp.Or(cmp.Compare(x.Marked.At, y.Marked.At), strings.Compare(x.ID, y.ID))
	})
	return all
}

func (b *rebuild) restoreProtections(ctx context.Context) error {
	var steps []index.Protection
	for study, r := range b.told.protections {
		steps = append(steps, index.Protection{Step: index.RestoreProtection, StudyInstanceUID: study, Record: r})
	}
	slices.SortFunc(steps, func(x, y index.Protection) int { return strings.Compare(x.StudyInstanceUID, y.StudyInstanceUID) })
	for some := range slices.Chunk(steps, batchRows) {
		if _, err := b.Index.Apply(ctx, index.Batch{Protections: some}); err != nil {
			return err
		}
	}
	return nil
}

// covers finds the deletion that took an instance at its place in the journal.
func (b *rebuild) covers(in *index.Instance) *deletedBefore {
	for _, d := range b.told.byStudy[in.Key.StudyInstanceUID] {
		for _, at := range append([]index.Position{in.At}, in.From...) {
			if d.Covers(in.Key.StudyInstanceUID, in.Key.SeriesInstanceUID, at) {
				return d
			}
		}
	}
	return nil
}

// findDeleted looks through the journal for what deletions took.
func (b *rebuild) findDeleted(ctx context.Context) error {
	if len(b.told.byStudy) == 0 {
		return nil
	}
	id := index.JournalID(b.Journal.ID())
	return b.Journal.Replay(ctx, journal.Position{}, func(e journal.Entry) error {
		r, err := decodeRecord(e.Header)
		if err != nil || b.told.byStudy[r.Instance.Key.StudyInstanceUID] == nil {
			return nil //nolint:nilerr // told of when the journal is entered
		}
		if r, err = readRecord(ctx, b.Journal, e); err != nil {
			return nil //nolint:nilerr // likewise
		}
		in := r.indexed(id, e.Position)
		d := b.covers(&in)
		switch {
		case d == nil:
		case slices.Contains(d.Aside, in.Digest):
			d.aside = append(d.aside, in)
		case d.State == index.DeletionMarked:
			d.live = append(d.live, in)
		}
		return nil
	})
}

// restoreMarked enters what is marked as deleted, and takes it out of sight
// again, one after the other as it was.
func (b *rebuild) restoreMarked(ctx context.Context) error {
	if err := b.findDeleted(ctx); err != nil {
		return err
	}
	for _, d := range b.inOrder() {
		if d.State != index.DeletionMarked {
			continue
		}
		for _, a := range b.Archives {
			for _, p := range d.Packs {
				if err := b.markedPack(ctx, a, packKey(d.StudyInstanceUID, p)); err != nil {
					return err
				}
			}
		}
		for some := range slices.Chunk(d.live, batchRows) {
			if _, err := b.Index.Apply(ctx, index.Batch{Received: some}); err != nil {
				return err
			}
		}
		if err := b.restore(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (b *rebuild) markedPack(ctx context.Context, a archive.Archive, key string) error {
	st, err := a.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) { // it was planned, or the archive was away
		return nil
	}
	if err == nil {
		err = b.pack(ctx, a, st)
	}
	return b.leaveOut(ctx, a, key, err)
}

func (b *rebuild) restore(ctx context.Context, d *deletedBefore) error {
	_, err := b.Index.Apply(ctx, index.Batch{Deletions: []index.Deletion{{
		ID: d.ID, Step: index.RestoreDeletion, Record: &d.DeletionRecord, Aside: d.aside,
	}}})
	b.done.Deletions++
	return err
}

// restoreOthers enters the deletions that can not be undone, or were. What was
// removed, and is found in an archive that was away, is to be removed again.
func (b *rebuild) restoreOthers(ctx context.Context) error {
	for _, d := range b.inOrder() {
		if d.State == index.DeletionMarked {
			continue
		}
		if d.State == index.DeletionRemoved && d.found {
			d.State, d.Removed = index.DeletionDecided, 0
		}
		if err := b.restore(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// deletedPack tells whether a pack is of a deletion, and so is not entered:
// but for instances in it that are kept aside.
func (b *rebuild) deletedPack(ctx context.Context, a archive.Archive, st archive.Stat) (bool, error) {
	d := b.told.byPack[st.Key]
	if d == nil {
		return false, nil
	}
	if d.found = true; d.State == index.DeletionMarked || len(d.Aside) == 0 {
		return true, nil
	}
	adopted, err := b.read(ctx, a, st)
	if err != nil {
		return true, err
	}
	adopted.Conflict = true
	adopted.Instances = slices.DeleteFunc(adopted.Instances, func(in index.Instance) bool { return !slices.Contains(d.Aside, in.Digest) })
	if len(adopted.Instances) > 0 {
		_, err = b.Index.Apply(ctx, index.Batch{Adopted: []index.AdoptedPack{*adopted}})
	}
	return true, err
}

// leaveOut tells of a pack that cannot be entered. One may be left out, an
// archive or an index that fails may not.
func (b *rebuild) leaveOut(ctx context.Context, a archive.Archive, key string, err error) error {
	if err == nil {
		b.progress()
		return nil
	}
	if cerr := a.Check(ctx); cerr != nil || !errors.Is(err, storage.ErrCorrupt) {
		return fmt.Errorf("%s: %w", key, errors.Join(err, cerr))
	}
	b.left[key] = true
	b.problem("%s: %v", key, err)
	return nil
}

// isPack tells a pack by its key.
func isPack(key string) bool { return strings.HasSuffix(key, pack.Suffix) }
