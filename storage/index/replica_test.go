package index_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// population yields one batch for each study.
func population(n int) []index.Batch {
	p := indextest.Population{Seed: 3, MaxSeries: 2, MaxInstances: 4}
	var out []index.Batch
	for i := range n {
		in := p.Study(i)
		out = append(out, index.Batch{Received: in})
	}
	return out
}

func TestTheLogMovesWithItsBatches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	batches := population(3)
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.ApplyAt(t.Context(), 1, batches[0]); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("an index that follows no log took an entry of one: %v", err)
	}
	if c, err := x.Counts(t.Context()); err != nil || c.Instances != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := x.Follow(t.Context(), "region"); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Apply(t.Context(), batches[0]); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("a batch that is in no log was applied: %v", err)
	}
	bad := index.Batch{Received: []index.Instance{{}}}
	for _, c := range []struct {
		at      uint64
		b       index.Batch
		skipped bool
		err     error
	}{
		{2, batches[0], false, nil}, {2, batches[1], true, nil}, {1, batches[1], true, nil},
		{7, batches[1], false, nil}, {8, bad, false, storage.ErrInvalid}, {8, batches[2], true, nil},
	} {
		a, err := x.ApplyAt(t.Context(), c.at, c.b)
		if a.Skipped != c.skipped || !errors.Is(err, c.err) {
			t.Errorf("entry %d: %+v, %v", c.at, a, err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if cluster, applied, err := index.Peek(t.Context(), path); cluster != "region" || applied != 8 || err != nil {
		t.Errorf("%q, %d, %v", cluster, applied, err)
	}
	if x, err = index.Open(t.Context(), index.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if cluster, applied := x.Log(); cluster != "region" || applied != 8 {
		t.Errorf("%q, %d", cluster, applied)
	}
	sound(t, x)
}

// A copy is made and put in the place of another index while both are at work.
func TestCopyAndReplace(t *testing.T) {
	dir := t.TempDir()
	from, to := open(t), open(t)
	for _, x := range []*index.Index{from, to} {
		if err := x.Follow(t.Context(), "region"); err != nil {
			t.Fatal(err)
		}
	}
	batches := population(60)
	for i, b := range batches[:30] {
		if _, err := from.ApplyAt(t.Context(), uint64(i+1), b); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() {
		for i, b := range batches[30:] {
			if _, err := from.ApplyAt(t.Context(), uint64(i+31), b); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				for _, err := range to.Search(ctx, index.Query{Level: index.Study}) {
					if err != nil && !errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var last uint64
	for _, name := range []string{"a", "b", "c"} {
		path := filepath.Join(dir, name)
		applied, err := from.CopyTo(t.Context(), path)
		if err != nil || applied < 30 || applied < last {
			t.Fatalf("%d, %v", applied, err)
		}
		if _, err := from.CopyTo(t.Context(), path); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("a copy over another: %v", err)
		}
		if err := to.Replace(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if _, at := to.Log(); at != applied {
			t.Errorf("%d, want %d", at, applied)
		}
		last = applied
	}
	for i, b := range batches { // what the copy has is skipped, the rest follows
		if _, err := to.ApplyAt(t.Context(), uint64(i+1), b); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	work.Wait()
	same(t, from, to)
	sound(t, to)
}

// same fails unless both answer alike.
func same(t *testing.T, a, b *index.Index) {
	t.Helper()
	for _, level := range []index.Level{index.Study, index.Series} {
		x, y := search(t, a, index.Query{Level: level}), search(t, b, index.Query{Level: level})
		if len(x) != len(y) || len(x) == 0 {
			t.Fatalf("%d and %d answers", len(x), len(y))
		}
		for i := range x {
			if string(x[i].AppendJSON(nil)) != string(y[i].AppendJSON(nil)) {
				t.Errorf("answer %d differs", i)
			}
		}
	}
}

// What is no index replaces nothing.
func TestReplaceByWhatIsNoIndex(t *testing.T) {
	x := open(t)
	in := oneSeries()
	apply(t, x, index.Batch{Received: in})
	path := filepath.Join(t.TempDir(), "torn")
	if _, err := x.CopyTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	if err := x.Replace(t.Context(), path); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if err := x.Replace(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if c, err := x.Counts(t.Context()); err != nil || c.Instances != int64(len(in)) {
		t.Errorf("%+v, %v", c, err)
	}
}

// A damaged index is replaced while it is open.
func TestReplaceADamagedIndex(t *testing.T) {
	good := open(t)
	apply(t, good, index.Batch{Received: oneSeries()})
	copied := filepath.Join(t.TempDir(), "copy")
	if _, err := good.CopyTo(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.db")
	x, err := index.Open(t.Context(), index.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, b := range population(20) {
		apply(t, x, b)
	}
	for _, name := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0x5A
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Replace(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	same(t, good, x)
	sound(t, x)
}
