package set

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// verify reads one copy in full.
func (s *Set) verify(ctx context.Context, m *member, key string, want Want) error {
	stat, err := m.Stat(ctx, key)
	s.note(ctx, m, err)
	if err != nil {
		return err
	}
	if stat.Size != want.Size {
		return fmt.Errorf("%w: %q on %s has %d bytes, not %d", storage.ErrCorrupt, key, m, stat.Size, want.Size)
	}
	r, err := m.Get(ctx, key, storage.Range{Length: want.Size})
	if err != nil {
		return err
	}
	defer r.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(sum, r)
	switch {
	case err != nil:
		return err
	case n != want.Size || sum.Sum32() != want.CRC32C:
		return fmt.Errorf("%w: %q on %s has the checksum %08x, not %08x", storage.ErrCorrupt, key, m, sum.Sum32(), want.CRC32C)
	}
	return nil
}

// List implements archive.Archive: what any archive has. When one cannot be
// listed, what the others have is yielded all the same, and its error last.
func (s *Set) List(ctx context.Context, prefix string) iter.Seq2[archive.Stat, error] {
	return func(yield func(archive.Stat, error) bool) {
		lists := make([]*listing, 0, len(s.members))
		for _, m := range s.members {
			next, stop := iter.Pull2(m.List(ctx, prefix))
			defer stop()
			l := &listing{next: next}
			l.step()
			lists = append(lists, l)
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(archive.Stat{}, err)
				return
			}
			first := least(lists)
			if first == nil {
				break
			}
			stat := first.now
			for _, l := range lists {
				if l.ok && l.now.Key == stat.Key {
					l.step()
				}
			}
			if !yield(stat, nil) {
				return
			}
		}
		var failures []error
		for _, l := range lists {
			if l.err != nil {
				failures = append(failures, l.err)
			}
		}
		if failures != nil {
			yield(archive.Stat{}, errors.Join(failures...))
		}
	}
}

// listing is one member's, at its current object.
type listing struct {
	next func() (archive.Stat, error, bool)
	now  archive.Stat
	ok   bool
	err  error
}

func (l *listing) step() {
	stat, err, ok := l.next()
	l.now, l.err, l.ok = stat, err, ok && err == nil
}

func least(lists []*listing) *listing {
	var first *listing
	for _, l := range lists {
		if l.ok && (first == nil || strings.Compare(l.now.Key, first.now.Key) < 0) {
			first = l
		}
	}
	return first
}
