package set_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

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
				synctest.Test(t, func(t *testing.T) { replaced(t, data, way, after, err) })
			}
		}
	}
}

// replaced reads what is broken by err, or silenced by nil, after some bytes. By
// the clock of the bubble nobody is silent who is merely not given a processor.
func replaced(t *testing.T, data []byte, way func(io.Writer, io.Reader) error, after int64, err error) {
	damaged := 0
	s, a, b := two(t, set.Options{
		Hedge: time.Minute, Stall: time.Minute,
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
