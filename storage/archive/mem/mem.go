// Package mem is an archive in memory, for tests. It keeps the contract of
// the others but for durability, and nothing bounds what it holds.
package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Archive is an archive.Archive in memory. It is made by New.
type Archive struct {
	mu      sync.RWMutex
	objects map[string]object
}

type object struct {
	data     []byte // never changed once it is here
	modified time.Time
}

// New returns an empty archive.
func New() *Archive { return &Archive{objects: map[string]object{}} }

// String is "mem:".
func (a *Archive) String() string { return "mem:" }

// Put implements archive.Archive.
func (a *Archive) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return 0, err
	}
	data, err := readAll(ctx, src)
	if err != nil {
		return 0, fmt.Errorf("put %q: %w", key, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if there, taken := a.objects[key]; !taken {
		a.objects[key] = object{data: data, modified: time.Now()}
	} else if !bytes.Equal(there.data, data) {
		return 0, fmt.Errorf("%w: %q holds other bytes", storage.ErrConflict, key)
	}
	return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)), nil
}

func readAll(ctx context.Context, src archive.Source) ([]byte, error) {
	r, err := src.Open(ctx, storage.Range{Length: src.Size()})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, src.Size())
	if _, err := io.ReadFull(r, data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: the source ends before its %d bytes", storage.ErrCorrupt, len(data))
	} else if err != nil {
		return nil, err
	}
	return data, ctx.Err()
}

// Get implements archive.Archive.
func (a *Archive) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	o, err := a.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if !r.Within(int64(len(o.data))) {
		return nil, fmt.Errorf("%w: %d bytes from %d of %q, which has %d", storage.ErrInvalid, r.Length, r.Offset, key, len(o.data))
	}
	return reader{bytes.NewReader(o.data[r.Offset:r.End()])}, nil
}

// reader keeps the io.WriterTo of bytes.Reader, which io.NopCloser hides
// behind a type of its own.
type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// Stat implements archive.Archive.
func (a *Archive) Stat(ctx context.Context, key string) (archive.Stat, error) {
	o, err := a.find(ctx, key)
	if err != nil {
		return archive.Stat{}, err
	}
	return archive.Stat{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

func (a *Archive) find(ctx context.Context, key string) (object, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return object{}, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	o, ok := a.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%w: %q", storage.ErrNotFound, key)
	}
	return o, nil
}

// List implements archive.Archive. It yields what is there when it begins.
func (a *Archive) List(ctx context.Context, prefix string) iter.Seq2[archive.Stat, error] {
	return func(yield func(archive.Stat, error) bool) {
		a.mu.RLock()
		objects := maps.Clone(a.objects)
		a.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(archive.Stat{}, err)
				return
			}
			o := objects[key]
			if !yield(archive.Stat{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil) {
				return
			}
		}
	}
}

// Remove implements archive.Archive.
func (a *Archive) Remove(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.objects, key)
	return nil
}

// Check implements archive.Archive: memory is always there.
func (a *Archive) Check(ctx context.Context) error { return ctx.Err() }
