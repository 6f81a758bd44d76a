package set_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

func newSet(t testing.TB, o set.Options, archives ...archive.Archive) *set.Set {
	t.Helper()
	s, err := set.New(archives, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openDir(t testing.TB) archive.Archive {
	t.Helper()
	a, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

var errDown = fmt.Errorf("%w: on purpose", storage.ErrUnavailable)

// faulty is an archive in memory whose calls fail.
type faulty struct {
	archive.Archive
	name  string
	calls atomic.Pointer[error]
	reads atomic.Pointer[readFault]
	gets  atomic.Int64
}

// readFault ends a read after some bytes: with err, or in silence until the
// reader's context ends.
type readFault struct {
	after int64
	err   error
}

func (f *faulty) String() string { return f.name + f.Archive.String() }

func (f *faulty) down() error {
	if err := f.calls.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *faulty) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if err := f.down(); err != nil {
		return 0, err
	}
	return f.Archive.Put(ctx, key, src)
}

func (f *faulty) Check(ctx context.Context) error {
	return errors.Join(f.down(), f.Archive.Check(ctx))
}

func (f *faulty) Stat(ctx context.Context, key string) (archive.Stat, error) {
	if err := f.down(); err != nil {
		return archive.Stat{}, err
	}
	return f.Archive.Stat(ctx, key)
}

func (f *faulty) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	f.gets.Add(1)
	if err := f.down(); err != nil {
		return nil, err
	}
	rc, err := f.Archive.Get(ctx, key, r)
	if fault := f.reads.Load(); err == nil && fault != nil && r.Length > 0 {
		return &faultyReader{ReadCloser: rc, ctx: ctx, left: fault.after, err: fault.err}, nil
	}
	return rc, err
}

type faultyReader struct {
	io.ReadCloser
	ctx  context.Context
	left int64
	err  error
}

func (f *faultyReader) Read(p []byte) (int, error) {
	if f.left > 0 {
		n, err := f.ReadCloser.Read(p[:min(int64(len(p)), f.left)])
		f.left -= int64(n)
		return n, err
	}
	if f.err != nil {
		return 0, f.err
	}
	<-f.ctx.Done()
	return 0, f.ctx.Err()
}

// two is a set of two faulty archives with an object on both.
func two(t *testing.T, o set.Options, data archivetest.Bytes) (s *set.Set, a, b *faulty) {
	t.Helper()
	a, b = &faulty{Archive: mem.New(), name: "a-"}, &faulty{Archive: mem.New(), name: "b-"}
	s = newSet(t, o, a, b)
	if _, err := s.Put(t.Context(), "k", data); err != nil {
		t.Fatal(err)
	}
	return s, a, b
}
