package set_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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

func TestArchive(t *testing.T) {
	t.Run("mem", func(t *testing.T) {
		archivetest.Run(t, func(t testing.TB) archive.Archive {
			return newSet(t, set.Options{}, mem.New(), mem.New(), mem.New())
		})
	})
	t.Run("dir", func(t *testing.T) {
		archivetest.Run(t, func(t testing.TB) archive.Archive {
			return newSet(t, set.Options{}, openDir(t), openDir(t))
		})
	})
	t.Run("one is down", func(t *testing.T) {
		archivetest.Run(t, func(t testing.TB) archive.Archive {
			down := &faulty{Archive: mem.New()}
			down.reads.Store(&readFault{err: errDown})
			return newSet(t, set.Options{Copies: 2}, down, mem.New())
		})
	})
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

func byRead(w io.Writer, r io.Reader) error { return byWriteTo(w, struct{ io.Reader }{r}) }

func byWriteTo(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	return err
}

func byNext(w io.Writer, r io.Reader) error {
	var buf []byte
	for {
		b, err := archive.Next(r, 100_000, &buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
}

// TestReplacedMidStream breaks or silences the first archive at every kind of
// place, and expects every byte, by Read, by WriteTo, and by Next.
func TestReplacedMidStream(t *testing.T) {
	data := archivetest.Random(1, 3<<20)
	for _, err := range []error{errDown, nil, io.EOF, storage.ErrCorrupt} {
		for _, after := range []int64{0, 1, 32 << 10, 32<<10 + 1, 1 << 20, 3<<20 - 11} {
			for _, way := range []func(io.Writer, io.Reader) error{byRead, byWriteTo, byNext} {
				damaged, patience := 0, time.Minute
				if err == nil {
					patience = 5 * time.Millisecond
				}
				s, a, b := two(t, set.Options{
					Hedge: patience, Stall: patience,
					Damaged: func(string, string, error) { damaged++ },
				}, data)
				a.reads.Store(&readFault{after: after, err: err})
				r, openErr := s.Get(t.Context(), "k", storage.Range{Offset: 5, Length: 3<<20 - 5})
				if openErr != nil {
					t.Fatal(openErr)
				}
				got := new(bytes.Buffer)
				if err := way(got, r); err != nil || !bytes.Equal(got.Bytes(), data[5:]) {
					t.Errorf("broken by %v after %d: %d bytes, %v", err, after, got.Len(), err)
				}
				if closeErr := r.Close(); closeErr != nil {
					t.Error(closeErr)
				}
				if a.gets.Load() != 1 || b.gets.Load() < 1 || b.gets.Load() > 2 {
					t.Errorf("broken by %v after %d: asked %d and %d times", err, after, a.gets.Load(), b.gets.Load())
				}
				if isDamage := errors.Is(err, storage.ErrCorrupt) || errors.Is(err, io.EOF); isDamage != (damaged == 1) {
					t.Errorf("broken by %v after %d: damage was told %d times", err, after, damaged)
				}
			}
		}
	}
}

// TestResting: an archive that failed is asked last until it has rested.
func TestResting(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, a, b := two(t, set.Options{Now: func() time.Time { return now }}, archivetest.Random(2, 100))
	a.calls.Store(&errDown)
	read := func() {
		t.Helper()
		r, err := s.Get(t.Context(), "k", storage.Range{Length: 100})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	for range 3 {
		read()
	}
	if a.gets.Load() != 1 || b.gets.Load() != 3 {
		t.Errorf("asked %d and %d times, want 1 and 3", a.gets.Load(), b.gets.Load())
	}
	if h := s.Health(); h[0].Failures != 1 || !errors.Is(h[0].Err, storage.ErrUnavailable) || h[1].Failures != 0 {
		t.Errorf("health %+v", h)
	}
	a.calls.Store(nil)
	now = now.Add(2 * time.Second)
	read()
	if h := s.Health(); a.gets.Load() != 2 || h[0].Failures != 0 {
		t.Errorf("asked %d times after its rest; health %+v", a.gets.Load(), h)
	}
}

// TestLostFolder: an archive whose own folder is gone does not work, although
// that is something that was not found.
func TestLostFolder(t *testing.T) {
	path := t.TempDir()
	lost, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close()
	s := newSet(t, set.Options{Copies: 1}, lost, mem.New())
	if err := os.RemoveAll(filepath.Join(path, ".staging")); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("the other is enough: %v", err)
	}
	if h := s.Health(); h[0].Failures != 1 || !errors.Is(h[0].Err, storage.ErrUnavailable) || h[1].Failures != 0 {
		t.Errorf("health %+v", h)
	}
}

// TestVerdict: 'not found' is only said when every archive said so.
func TestVerdict(t *testing.T) {
	s, a, b := two(t, set.Options{}, archivetest.Random(3, 100))
	if err := b.Remove(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	a.calls.Store(&errDown)
	_, err := s.Get(t.Context(), "k", storage.Range{Length: 100})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v, want storage.ErrUnavailable", err)
	}
	if _, err = s.Stat(t.Context(), "k"); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Stat: %v, want storage.ErrUnavailable", err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Check with one of two archives: %v", err)
	}
}

func TestPutCopies(t *testing.T) {
	data := archivetest.Random(4, 1000)
	a, b, c := &faulty{Archive: mem.New(), name: "a-"}, &faulty{Archive: mem.New(), name: "b-"}, &faulty{Archive: mem.New(), name: "c-"}
	s := newSet(t, set.Options{}, a, b, c)
	result, err := s.PutCopies(t.Context(), "one", data)
	if err != nil || !slices.Equal(result.Archives, []string{"a-mem:", "b-mem:"}) || len(result.Missing) != 1 || result.Missing[0].Err != nil {
		t.Errorf("all well: %+v, %v", result, err)
	}
	b.calls.Store(&errDown)
	result, err = s.PutCopies(t.Context(), "two", data)
	if err != nil || !slices.Equal(result.Archives, []string{"a-mem:", "c-mem:"}) || !errors.Is(result.Missing[0].Err, storage.ErrUnavailable) {
		t.Errorf("one down: %+v, %v", result, err)
	}
	a.calls.Store(&errDown)
	result, err = s.PutCopies(t.Context(), "three", data)
	if !errors.Is(err, storage.ErrUnavailable) || !slices.Equal(result.Archives, []string{"c-mem:"}) || len(result.Missing) != 2 {
		t.Errorf("two down: %+v, %v", result, err)
	}
	a.calls.Store(nil)
	b.calls.Store(nil)
	if result, err = s.PutCopies(t.Context(), "three", data); err != nil || len(result.Archives) != 2 {
		t.Errorf("put again: %+v, %v", result, err)
	}
}

// TestSourceFails: a source that fails is no reason to try another archive,
// nor to think ill of one.
func TestSourceFails(t *testing.T) {
	a, b := &faulty{Archive: mem.New(), name: "a-"}, &faulty{Archive: mem.New(), name: "b-"}
	s := newSet(t, set.Options{}, a, b)
	for _, err := range []error{storage.ErrUnavailable, storage.ErrCorrupt, io.EOF} {
		result, got := s.PutCopies(t.Context(), "k", archivetest.Failing{Source: archivetest.Random(5, 100), After: 50, Err: err})
		if got == nil || len(result.Missing) != 0 || s.Health()[0].Failures != 0 {
			t.Errorf("source fails with %v: %+v, %v", err, result, got)
		}
	}
}

func TestRepair(t *testing.T) {
	data, other := archivetest.Random(6, 100_000), archivetest.Random(7, 100_000)
	want := set.Want{Size: 100_000, CRC32C: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))}
	for name, c := range map[string]struct {
		a, b  archivetest.Bytes
		down  bool
		sound int
		err   error
	}{
		"sound":             {a: data, b: data, sound: 2},
		"lost":              {b: data, sound: 2},
		"damaged":           {a: other, b: data, sound: 2},
		"cut short":         {a: data, b: data[:99_999], sound: 2},
		"all lost":          {err: storage.ErrNotFound},
		"all damaged":       {a: other, b: other, err: storage.ErrCorrupt},
		"one away":          {a: data, b: other, down: true, sound: 1, err: storage.ErrUnavailable},
		"damaged and lost":  {a: other, err: storage.ErrCorrupt},
		"lost and one away": {down: true, err: storage.ErrUnavailable},
	} {
		a, b := &faulty{Archive: mem.New(), name: "a-"}, &faulty{Archive: mem.New(), name: "b-"}
		for archive, data := range map[*faulty]archivetest.Bytes{a: c.a, b: c.b} {
			if data == nil {
				continue
			}
			if _, err := archive.Put(t.Context(), "k", data); err != nil {
				t.Fatal(err)
			}
		}
		if c.down {
			b.calls.Store(&errDown)
		}
		s := newSet(t, set.Options{}, a, b)
		result, err := s.Repair(t.Context(), "k", want)
		if !errors.Is(err, c.err) || len(result.Archives) != c.sound {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		for _, found := range s.Verify(t.Context(), "k", want) {
			if c.err == nil && found.Err != nil {
				t.Errorf("%s: after the repair %+v", name, found)
			}
		}
		if name == "all damaged" {
			if _, err := a.Stat(t.Context(), "k"); err != nil {
				t.Errorf("a damaged copy was removed although there is no other: %v", err)
			}
		}
	}
}

// TestListMerges yields what any archive has, once.
func TestListMerges(t *testing.T) {
	a, b := mem.New(), mem.New()
	for key, on := range map[string][]archive.Archive{"a": {a}, "b": {a, b}, "c": {b}, "d": {a, b}} {
		for _, to := range on {
			if _, err := to.Put(t.Context(), key, archivetest.Bytes("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	var keys []string
	for stat, err := range newSet(t, set.Options{}, a, b).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, stat.Key)
	}
	if !slices.Equal(keys, []string{"a", "b", "c", "d"}) {
		t.Errorf("List: %q", keys)
	}
}

func TestNew(t *testing.T) {
	a := &faulty{Archive: mem.New(), name: "a-"}
	for name, c := range map[string]struct {
		archives []archive.Archive
		copies   int
	}{
		"none": {}, "too many copies": {[]archive.Archive{a}, 2}, "negative": {[]archive.Archive{a}, -1},
		"twice": {[]archive.Archive{a, a}, 1},
	} {
		if _, err := set.New(c.archives, set.Options{Copies: c.copies}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v, want storage.ErrInvalid", name, err)
		}
	}
}
