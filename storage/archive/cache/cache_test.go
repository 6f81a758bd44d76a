package cache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
)

func open(t testing.TB, folder string, of archive.Archive, o cache.Options) *cache.Cache {
	t.Helper()
	c, err := cache.Open(folder, of, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestArchive(t *testing.T) {
	for name, o := range map[string]cache.Options{
		"defaults":   {},
		"small":      {MaxBytes: 3 << 20, AheadBytes: 2 << 20},
		"one fetch":  {Fetches: 1},
		"odd blocks": {BlockBytes: 1<<20 + 4099},
	} {
		t.Run(name, func(t *testing.T) {
			archivetest.Run(t, func(t testing.TB) archive.Archive { return open(t, t.TempDir(), mem.New(), o) })
		})
	}
}

// counted counts the requests that reach the archive.
type counted struct {
	archive.Archive
	gets, stats atomic.Int64
	down        atomic.Bool
}

func (c *counted) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	c.gets.Add(1)
	if c.down.Load() {
		return nil, storage.ErrUnavailable
	}
	return c.Archive.Get(ctx, key, r)
}

func (c *counted) Stat(ctx context.Context, key string) (archive.Stat, error) {
	c.stats.Add(1)
	if c.down.Load() {
		return archive.Stat{}, storage.ErrUnavailable
	}
	return c.Archive.Stat(ctx, key)
}

const size = 300<<10 + 17

// small is a cache of blocks of 4 KiB in front of one object.
func small(t *testing.T, folder string, most int64) (*cache.Cache, *counted, archivetest.Bytes) {
	t.Helper()
	of, data := &counted{Archive: mem.New()}, archivetest.Random(1, size)
	if _, err := of.Put(t.Context(), "a/b", data); err != nil {
		t.Fatal(err)
	}
	return open(t, folder, of, cache.Options{MaxBytes: most, BlockBytes: 4 << 10, AheadBytes: 64 << 10}), of, data
}

func expect(t *testing.T, c *cache.Cache, data archivetest.Bytes, r storage.Range) {
	t.Helper()
	in, err := c.Get(t.Context(), "a/b", r)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, data[r.Offset:r.End()]) {
		t.Errorf("%+v: %d bytes, %v", r, len(got), err)
	}
}

// TestReadsAhead: reading in many small steps costs few requests, and reading
// again none, also after a restart and while the archive is down.
func TestReadsAhead(t *testing.T) {
	folder := t.TempDir()
	c, of, data := small(t, folder, 1<<20)
	for at := int64(0); at < size; at += 1000 {
		expect(t, c, data, storage.Range{Offset: at, Length: min(1000, size-at)})
	}
	if gets := of.gets.Load(); gets > 10 { // 1, 2, 4, 8, 16, 16, ... of 76 blocks
		t.Errorf("%d requests for an object read in order", gets)
	}
	of.down.Store(true)
	expect(t, c, data, storage.Range{Length: size})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, folder, of, cache.Options{MaxBytes: 1 << 20, BlockBytes: 4 << 10})
	before := of.gets.Load()
	expect(t, c, data, storage.Range{Length: size})
	if of.gets.Load() != before {
		t.Error("the archive was asked for what is on the disk")
	}
}

// TestTogether: many who read the same object at once cost as much as one.
func TestTogether(t *testing.T) {
	c, of, data := small(t, t.TempDir(), 1<<20)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { expect(t, c, data, storage.Range{Length: size}) })
	}
	all.Wait()
	if gets := of.gets.Load(); gets > 8 {
		t.Errorf("16 readers made %d requests", gets)
	}
}

func TestBounded(t *testing.T) {
	folder := t.TempDir()
	c, _, data := small(t, folder, 50<<10)
	for range 3 {
		expect(t, c, data, storage.Range{Length: size})
	}
	c.Close() // waits for what is read ahead
	onDisk := int64(0)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if onDisk > 50<<10 || onDisk == 0 || onDisk != c.Stats().Bytes {
		t.Errorf("%d bytes on the disk, %d by its own count", onDisk, c.Stats().Bytes)
	}
}

// TestDamage: files that are deleted, cut, or changed under the cache are read
// from the archive again.
func TestDamage(t *testing.T) {
	for _, harm := range map[string]func(string) error{
		"deleted": os.Remove,
		"cut":     func(f string) error { return os.Truncate(f, 100) },
		"empty":   func(f string) error { return os.Truncate(f, 0) },
		"flipped": func(f string) error {
			b, err := os.ReadFile(f)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(f, b, 0o600)
			}
			return err
		},
	} {
		folder := t.TempDir()
		c, of, data := small(t, folder, 1<<20)
		expect(t, c, data, storage.Range{Length: size})
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil || len(files) < 70 {
			t.Fatal(len(files), err)
		}
		for _, f := range files {
			if err := harm(f); err != nil {
				t.Fatal(err)
			}
		}
		expect(t, c, data, storage.Range{Length: size})
		c.Close()
		again := open(t, folder, of, cache.Options{BlockBytes: 4 << 10})
		expect(t, again, data, storage.Range{Length: size})
	}
}

// TestDropped: after a Drop the archive is asked again.
func TestDropped(t *testing.T) {
	c, of, data := small(t, t.TempDir(), 1<<20)
	expect(t, c, data, storage.Range{Length: size})
	if err := of.Remove(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	c.Drop("a/b")
	if _, err := c.Get(t.Context(), "a/b", storage.Range{Length: 1}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a dropped object: %v", err)
	}
	if b := c.Stats().Bytes; b != 0 {
		t.Errorf("%d bytes are left of it", b)
	}
}
