package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
)

// noteList is how many notes are looked up at once.
const noteList = 200

// noter brings to each archive the notes that it does not have. What it has is
// listed once; what changes afterwards the index tells by revision.
type noter struct {
	index    *index.Index
	archives []archive.Archive

	slot chan struct{} // capacity 1: one pass at a time
	of   map[string]*noted

	mu      sync.Mutex
	through map[string]int64 // by archive, the revision up to which it has those of deletions
}

// noted is what an archive has.
type noted struct {
	listed                 bool
	keys                   map[string][]string // of the revisions, by the name of the note
	deletions, protections int64               // the revisions up to which it has all
}

func newNoter(x *index.Index, archives []archive.Archive) *noter {
	n := &noter{index: x, archives: archives, slot: make(chan struct{}, 1), of: map[string]*noted{}, through: map[string]int64{}}
	for _, a := range archives {
		n.of[a.String()] = &noted{keys: map[string][]string{}}
	}
	return n
}

// pass brings what is missing to all archives at the same time, and returns
// what failed.
func (n *noter) pass(ctx context.Context) error {
	select {
	case n.slot <- struct{}{}:
		defer func() { <-n.slot }()
	case <-ctx.Done():
		return ctx.Err()
	}
	errs := make([]error, len(n.archives))
	var all sync.WaitGroup
	for i, a := range n.archives {
		all.Go(func() {
			if err := n.bring(ctx, a, n.of[a.String()]); err != nil {
				errs[i] = fmt.Errorf("notes in %s: %w", a, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// has tells whether an archive has the note of a deletion as it is now.
func (n *noter) has(archive string, r *index.DeletionRecord) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.through[archive] >= r.Revision
}

func (n *noter) bring(ctx context.Context, a archive.Archive, has *noted) error {
	if !has.listed {
		if err := has.list(ctx, a); err != nil {
			return err
		}
	}
	// Holds first: what must not be removed is told before what is.
	err := eachNote(ctx, n.index.Protections, noteOfProtection, has.protections, func(one *note) error {
		if err := has.put(ctx, a, one); err != nil {
			return err
		}
		has.protections = one.revision
		return nil
	})
	if err != nil {
		return err
	}
	return eachNote(ctx, n.index.Deletions, noteOfDeletion, has.deletions, func(one *note) error {
		if err := has.put(ctx, a, one); err != nil {
			return err
		}
		has.deletions = one.revision
		n.mu.Lock()
		defer n.mu.Unlock()
		n.through[a.String()] = one.revision
		return nil
	})
}

// eachNote gives the notes of all records after a revision to fn, in their
// order.
func eachNote[R any](
	ctx context.Context, list func(ctx context.Context, after int64, limit int) ([]R, error), noteOf func(*R) (*note, error), after int64, fn func(*note) error,
) error {
	for {
		records, err := list(ctx, after, noteList)
		if err != nil {
			return err
		}
		for i := range records {
			one, err := noteOf(&records[i])
			if err != nil {
				return err
			}
			if err := fn(one); err != nil {
				return err
			}
			after = one.revision
		}
		if len(records) < noteList {
			return nil
		}
	}
}

func (n *noted) list(ctx context.Context, a archive.Archive) error {
	n.keys = map[string][]string{}
	for _, prefix := range []string{deletedPrefix, protectedPrefix} {
		for st, err := range a.List(ctx, prefix) {
			if err != nil {
				return err
			}
			if name, _, ok := parseNoteKey(st.Key); ok {
				n.keys[name] = append(n.keys[name], st.Key)
			}
		}
	}
	n.listed = true
	return nil
}

// put brings one note to an archive, and removes the revisions before it.
func (n *noted) put(ctx context.Context, a archive.Archive, note *note) error {
	key := note.key()
	if !slices.Contains(n.keys[note.name], key) {
		if _, err := a.Put(ctx, key, noteSource(note.body)); err != nil {
			return err
		}
		n.keys[note.name] = append(n.keys[note.name], key)
	}
	left := []string{key}
	for _, old := range n.keys[note.name] {
		if _, revision, _ := parseNoteKey(old); old == key || revision > note.revision {
			if old != key {
				left = append(left, old)
			}
			continue
		}
		if err := a.Remove(ctx, old); err != nil {
			return err
		}
	}
	n.keys[note.name] = left
	return nil
}
