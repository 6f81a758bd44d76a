package set

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Result is where an object lies after a PutCopies or a Repair.
type Result struct {
	Size   int64
	CRC32C uint32
	// Archives are the URLs of those that confirmed that they have it.
	Archives []string
	// Missing are the others: what is to be repaired.
	Missing []Missing
}

// Missing is an archive on which an object does not lie as it should. Err is
// nil when it was not asked, because there were copies enough.
type Missing struct {
	Archive string
	Err     error
}

// Put implements archive.Archive. Success is Copies copies; see PutCopies.
func (s *Set) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	result, err := s.PutCopies(ctx, key, src)
	return result.CRC32C, err
}

// PutCopies puts an object on as many archives as Copies says, replacing those
// that fail by the next. The result says where it lies, also when that is on
// too few and an error is returned. One archive is asked before all others, so
// that of two contents put under one key at the same time one wins everywhere.
func (s *Set) PutCopies(ctx context.Context, key string, src archive.Source) (Result, error) {
	result := Result{Size: src.Size()}
	if err := accept(ctx, key); err != nil {
		return result, err
	}
	watched := &watched{Source: src}
	rest := s.order()
	for len(rest) > 0 && len(result.Archives) < s.o.Copies {
		batch := rest[:1]
		if len(result.Archives) > 0 {
			batch = rest[:min(len(rest), s.o.Copies-len(result.Archives))]
		}
		rest = rest[len(batch):]
		if err := s.putBatch(ctx, key, watched, batch, &result); err != nil {
			return result, err
		}
	}
	for _, m := range rest {
		result.Missing = append(result.Missing, Missing{Archive: m.String()})
	}
	if len(result.Archives) < s.o.Copies {
		return result, tooFew(key, result, s.o.Copies)
	}
	return result, nil
}

// putBatch puts to some members at the same time. It returns an error where
// no other member can help.
func (s *Set) putBatch(ctx context.Context, key string, src *watched, batch []*member, result *Result) error {
	sums, errs := make([]uint32, len(batch)), make([]error, len(batch))
	var all sync.WaitGroup
	for i, m := range batch {
		all.Go(func() {
			sums[i], errs[i] = m.Put(ctx, key, src)
			if !src.failed.Load() {
				s.note(ctx, m, errs[i])
			}
		})
	}
	all.Wait()
	for i, m := range batch {
		err := errs[i]
		first := len(result.Archives) == 0
		switch {
		case err == nil && (first || sums[i] == result.CRC32C):
			result.CRC32C = sums[i]
			result.Archives = append(result.Archives, m.String())
			continue
		case err == nil:
			err = fmt.Errorf("put %q: %w: %s stored other bytes than the archive before", key, storage.ErrCorrupt, m)
		case ctx.Err() != nil, src.failed.Load(), first && aboutObject(err):
			return err
		}
		result.Missing = append(result.Missing, Missing{Archive: m.String(), Err: err})
	}
	return nil
}

func tooFew(key string, result Result, copies int) error {
	var failures []error
	for _, m := range result.Missing {
		failures = append(failures, m.Err)
	}
	return fmt.Errorf("put %q: %d of %d copies: %w", key, len(result.Archives), copies, errors.Join(failures...))
}

// watched is a source that remembers whether it failed: what is wrong with it
// is wrong for every archive.
type watched struct {
	archive.Source
	failed atomic.Bool
}

// Open implements archive.Source.
func (w *watched) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	rc, err := w.Source.Open(ctx, r)
	if err != nil {
		if ctx.Err() == nil {
			w.failed.Store(true)
		}
		return nil, err
	}
	return &watchedReader{ReadCloser: rc, ctx: ctx, left: r.Length, failed: &w.failed}, nil
}

type watchedReader struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // the reader's own
	left   int64
	failed *atomic.Bool
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.left -= int64(n)
	// An attempt that an archive gave up is no failure of the source.
	if err != nil && w.left > 0 && w.ctx.Err() == nil {
		w.failed.Store(true)
	}
	return n, err
}

// Want is what an object must be.
type Want struct {
	Size   int64
	CRC32C uint32
}

// Copy is what was found of an object on one archive: sound when Err is nil;
// else storage.ErrNotFound, storage.ErrCorrupt or why it could not be read.
type Copy struct {
	Archive string
	Err     error
}

// Verify reads every copy of an object in full and holds it against what it
// must be.
func (s *Set) Verify(ctx context.Context, key string, want Want) []Copy {
	var copies []Copy
	for _, m := range s.members {
		copies = append(copies, Copy{Archive: m.String(), Err: s.verify(ctx, m, key, want)})
	}
	return copies
}

// Repair reads every copy, and brings those that are lost or damaged back from
// one that is sound. A damaged copy is removed first; nothing is touched as
// long as no sound copy was read to its end. The result says where the object
// lies now; the error is nil when that is everywhere.
func (s *Set) Repair(ctx context.Context, key string, want Want) (Result, error) {
	result := Result{Size: want.Size, CRC32C: want.CRC32C}
	if err := accept(ctx, key); err != nil {
		return result, err
	}
	var sound *member
	found := s.Verify(ctx, key, want)
	for i, c := range found {
		if c.Err == nil {
			result.Archives = append(result.Archives, c.Archive)
			sound = s.members[i]
		}
	}
	var failures []error
	for i, c := range found {
		err := c.Err
		if err == nil {
			continue
		}
		if sound != nil {
			err = s.bringBack(ctx, key, want, sound, s.members[i], err)
		}
		if err == nil {
			result.Archives = append(result.Archives, c.Archive)
			continue
		}
		failures = append(failures, err)
		result.Missing = append(result.Missing, Missing{Archive: c.Archive, Err: err})
	}
	slices.Sort(result.Archives)
	if failures == nil {
		return result, nil
	}
	return result, verdict("repair", key, failures)
}

// bringBack copies an object to a member whose own copy is as err says.
func (s *Set) bringBack(ctx context.Context, key string, want Want, from, to *member, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case errors.Is(err, storage.ErrCorrupt):
		s.o.Damaged(key, to.String(), err)
		if err := to.Remove(ctx, key); err != nil {
			return err
		}
	default: // it cannot be reached
		return err
	}
	sum, err := to.Put(ctx, key, copySource{from, key, want.Size})
	s.note(ctx, to, err)
	if err == nil && sum != want.CRC32C {
		err = fmt.Errorf("repair %q: %w: the copy on %s became another", key, storage.ErrCorrupt, to)
	}
	s.o.Repaired(key) // also when that failed: the damaged copy is gone
	return err
}

// copySource is an object of one archive as the source of another.
type copySource struct {
	from *member
	key  string
	size int64
}

func (c copySource) Size() int64 { return c.size }

func (c copySource) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	return c.from.Get(ctx, c.key, r)
}
