package cache_test

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// rotten is a cache of two archives that has read an object whose copy in the
// folder, which is asked first, is damaged.
type rotten struct {
	*cache.Cache
	set  *set.Set
	want []byte
	sum  uint32 // as Put told it
}

const key = "packs/a"

func newRotten(t *testing.T) *rotten {
	t.Helper()
	folder := t.TempDir()
	d, err := dir.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	r := &rotten{want: bytes.Repeat([]byte("image"), 1000)}
	if r.set, err = set.New([]archive.Archive{d, mem.New()}, set.Options{Repaired: func(key string) { r.Drop(key) }}); err != nil {
		t.Fatal(err)
	}
	if r.sum, err = r.set.Put(t.Context(), key, archivetest.Bytes(r.want)); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(folder, "packs", "a")
	if err := errors.Join(os.Chmod(at, 0o600), os.WriteFile(at, bytes.Repeat([]byte("rotXX"), 1000), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.Cache = open(t, t.TempDir(), r.set, cache.Options{})
	if bytes.Equal(r.read(t, r.Get), r.want) {
		t.Fatal("it is not damaged")
	}
	return r
}

func (r *rotten) all() storage.Range { return storage.Range{Length: int64(len(r.want))} }

func (r *rotten) read(t *testing.T, get func(context.Context, string, storage.Range) (io.ReadCloser, error)) []byte {
	t.Helper()
	in, err := get(t.Context(), key, r.all())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRepaired: an object that was repaired is read as it should be, also where
// the damaged bytes were read before.
func TestRepaired(t *testing.T) {
	r := newRotten(t)
	if _, err := r.set.Repair(t.Context(), key, set.Want{Size: r.all().Length, CRC32C: r.sum}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.read(t, r.Get), r.want) {
		t.Error("the damaged bytes are read though every archive has the right ones")
	}
}

// TestSound: whoever knows what the bytes add up to gets them from the archive
// that has them, all or a part, whatever the cache holds.
func TestSound(t *testing.T) {
	r := newRotten(t)
	sum := archive.Sum{Range: r.all(), CRC32: crc32.ChecksumIEEE(r.want)}
	for _, part := range []storage.Range{{Offset: 7, Length: 11}, r.all()} {
		in, err := r.GetSound(t.Context(), key, part, sum)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		in.Close()
		if err != nil || !bytes.Equal(got, r.want[part.Offset:part.End()]) {
			t.Errorf("%+v: not what was put: %v", part, err)
		}
	}
}

// TestFramesAreSmall: who waits with a frame holds no more than that.
func TestFramesAreSmall(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	c, sum := newSound(t, body, cache.Options{})
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var all []io.ReadCloser
	for range 32 {
		r, err := c.GetSound(t.Context(), key, storage.Range{Offset: 4096, Length: 1024}, sum)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if took := heap() - before; took > 32<<20 {
		t.Errorf("32 readers of 1 KiB hold %d MiB", took>>20)
	}
	for _, r := range all {
		r.Close()
	}
}

// TestHeldBytes: readers that have no room in memory read past the cache, and
// there is room again when others are closed.
func TestHeldBytes(t *testing.T) {
	body := bytes.Repeat([]byte("image"), 1000)
	c, sum := newSound(t, body, cache.Options{HeldBytes: int64(len(body)) * 3 / 2})
	blocks := func() int64 { s := c.Stats(); return s.Hits + s.Misses }
	for range 2 {
		var all []io.ReadCloser
		for i, cached := range []bool{true, false} {
			before := blocks()
			r, err := c.GetSound(t.Context(), key, sum.Range, sum)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
			if (blocks() > before) != cached {
				t.Errorf("reader %d: by the cache, want %v", i, cached)
			}
		}
		for _, r := range all {
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			for range 2 { // the second does nothing
				r.Close()
			}
		}
	}
}

// newSound is a cache of a folder in which body lies.
func newSound(t *testing.T, body []byte, o cache.Options) (*cache.Cache, archive.Sum) {
	t.Helper()
	d, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if _, err := d.Put(t.Context(), key, archivetest.Bytes(body)); err != nil {
		t.Fatal(err)
	}
	sum := archive.Sum{Range: storage.Range{Length: int64(len(body))}, CRC32: crc32.ChecksumIEEE(body)}
	return open(t, t.TempDir(), d, o), sum
}
