package set_test

import (
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

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
