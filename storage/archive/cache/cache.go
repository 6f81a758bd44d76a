// Package cache keeps what was read from an archive on the node's own disk,
// by blocks, and reads ahead of those who read in order. See DESIGN.md.
package cache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math"
	"os"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Options bound a cache.
type Options struct {
	// MaxBytes is how much of the disk the blocks may take (8 GiB).
	MaxBytes int64
	// BlockBytes is the length of what is kept and dropped at once (1 MiB).
	BlockBytes int64
	// AheadBytes is the most that one request to the archive reads (64 MiB).
	// One of several objects read in order grows up to that.
	AheadBytes int64
	// Fetches is how many requests to the archive are under way at once (16);
	// reads beyond that go past the cache.
	Fetches int
	// HeldBytes is how much of what was compared (GetSound) is in memory at once
	// until its readers are closed (256 MiB).
	HeldBytes int64
}

// Cache is an archive.Archive in front of another. It is made by Open.
type Cache struct {
	archive.Archive
	o    Options
	root *os.Root

	ctx    context.Context //nolint:containedctx // of the fetches, which outlive a reader
	cancel context.CancelFunc
	all    sync.WaitGroup
	slots  chan struct{}

	mu      sync.Mutex
	blocks  *simplelru.LRU[blockID, int64] // bytes on disk
	bytes   int64
	sizes   *simplelru.LRU[string, object]
	fetches map[blockID]*fetch // by each of the blocks that they will bring
	stats   Stats
	held    int64 // by readers of what was compared
}

// blockID is a block of an object.
type blockID struct {
	key string
	at  int64 // its number
}

// object is what is remembered of an object that was read.
type object struct {
	size int64
	next int64 // the block that follows the last fetch
	run  int64 // how many blocks that had
	// streamed tells that it was streamed before.
	streamed bool
}

// Stats are counts since the cache was opened, and what it holds now.
type Stats struct {
	Hits, Misses int64 // blocks
	Fetches      int64 // requests to the archive
	Damaged      int64 // blocks that were found damaged on the disk
	Bytes        int64
	// Fetching is how many requests to the archive are under way, and
	// FetchingMost how many may be.
	Fetching, FetchingMost int
}

// Open opens a cache in a folder of its own, which is created when it is
// missing and whose files may be deleted at any time. What a cache of before
// kept is kept. Close must be called; the archive stays its owner's.
func Open(folder string, of archive.Archive, o Options) (*Cache, error) {
	o.MaxBytes = cmp.Or(o.MaxBytes, 8<<30)
	o.BlockBytes = cmp.Or(o.BlockBytes, 1<<20)
	o.AheadBytes = max(cmp.Or(o.AheadBytes, 64<<20), o.BlockBytes)
	o.Fetches = cmp.Or(o.Fetches, 16)
	o.HeldBytes = cmp.Or(o.HeldBytes, 256<<20)
	if o.MaxBytes < o.BlockBytes || o.BlockBytes < 1 || o.Fetches < 1 {
		return nil, fmt.Errorf("%w: a cache of %d bytes in blocks of %d, %d fetches", storage.ErrInvalid, o.MaxBytes, o.BlockBytes, o.Fetches)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("open the cache in %q: %w", folder, err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open the cache in %q: %w", folder, err)
	}
	c := &Cache{
		Archive: of, o: o, root: root, fetches: map[blockID]*fetch{},
		slots: make(chan struct{}, o.Fetches),
	}
	c.blocks, err = simplelru.NewLRU[blockID, int64](math.MaxInt, nil) // bytes bound it, not a number
	if err == nil {
		c.sizes, err = simplelru.NewLRU[string, object](16384, nil)
	}
	if err == nil {
		err = c.load()
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("open the cache in %q: %w", folder, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends what is being fetched. Readers that are open go on without it.
func (c *Cache) Close() error {
	c.cancel()
	c.all.Wait()
	return c.root.Close()
}

// Stats are the counters since the cache was opened, and what it holds now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Bytes = c.bytes
	s.Fetching, s.FetchingMost = len(c.slots), cap(c.slots)
	return s
}

// Remove implements archive.Archive.
func (c *Cache) Remove(ctx context.Context, key string) error {
	err := c.Archive.Remove(ctx, key)
	c.Drop(key)
	return err
}

// Drop forgets objects: for when they were removed from the archive by another
// node.
func (c *Cache) Drop(keys ...string) {
	if len(keys) == 0 {
		return
	}
	dropped := make(map[string]bool, len(keys))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		dropped[key] = true
		c.sizes.Remove(key)
	}
	for id, f := range c.fetches {
		if dropped[id.key] {
			f.stale = true
			delete(c.fetches, id)
		}
	}
	for _, id := range c.blocks.Keys() {
		if dropped[id.key] {
			c.evict(id)
		}
	}
}

// Get implements archive.Archive.
func (c *Cache) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	return c.get(ctx, key, r, false)
}

// Stream is Get of a long range that is read once, from its first byte to its
// last: what is here is used, and the rest goes past the cache, so that it
// takes no place from what is read more than once. When the object was
// streamed before, it is kept like any other.
func (c *Cache) Stream(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	return c.get(ctx, key, r, c.first(key))
}

// first tells whether the object is streamed for the first time.
func (c *Cache) first(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.sizes.Get(key)
	if !ok || o.streamed {
		return !ok
	}
	o.streamed = true
	c.sizes.Add(key, o)
	return true
}

// Compares implements archive.Comparer.
func (c *Cache) Compares() bool { return archive.Compares(c.Archive) }

// soundMost is the longest range that is compared here: it is read for each of
// its parts.
const soundMost = 8 << 20

// GetSound implements archive.Comparer. What does not match is dropped, and
// read from the archive. A longer range than 8 MiB is read past the cache when
// all of it is wanted, and a part of one is not compared. What HeldBytes has no
// room for is read past the cache, too.
func (c *Cache) GetSound(ctx context.Context, key string, r storage.Range, sum archive.Sum) (io.ReadCloser, error) {
	switch {
	case !c.Compares(), r.Length == 0, sum.Length > soundMost && r != sum.Range:
		return c.Get(ctx, key, r)
	case sum.Length > soundMost, !c.reserve(r.Length):
		return archive.GetSound(ctx, c.Archive, key, r, sum)
	}
	b, crc, err := c.hold(ctx, key, r, sum.Range)
	if err == nil && crc == sum.CRC32 {
		return &held{Reader: bytes.NewReader(b), cache: c, bytes: r.Length}, nil
	}
	c.reserve(-r.Length)
	if err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrInvalid) {
		return nil, err
	}
	c.Drop(key)
	return archive.GetSound(ctx, c.Archive, key, r, sum)
}

// reserve counts bytes that are held, and tells whether there is room.
func (c *Cache) reserve(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held+n > c.o.HeldBytes {
		return false
	}
	c.held += n
	return true
}

// hold reads a range into memory, and tells what the one around it adds up to,
// of which a block is in memory at a time.
func (c *Cache) hold(ctx context.Context, key string, r, around storage.Range) (b []byte, crc uint32, err error) {
	in, err := c.Get(ctx, key, around)
	if err != nil {
		return nil, 0, err
	}
	defer in.Close()
	b = make([]byte, 0, r.Length)
	var buf []byte
	for at := around.Offset; at < around.End(); {
		piece, err := archive.Next(in, around.End()-at, &buf)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, 0, err
		}
		crc = crc32.Update(crc, crc32.IEEETable, piece)
		end := at + int64(len(piece))
		if from, to := max(at, r.Offset), min(end, r.End()); from < to {
			b = append(b, piece[from-at:to-at]...)
		}
		at = end
	}
	return b, crc, nil
}

// held is what was found sound, in memory until Close.
type held struct {
	*bytes.Reader
	cache *Cache
	bytes int64
}

// Close implements io.Closer.
func (h *held) Close() error {
	h.cache.reserve(-h.bytes)
	h.bytes = 0
	return nil
}

// Expect tells how long an object is, which spares the cache to ask.
func (c *Cache) Expect(key string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.sizes.Peek(key); !ok {
		c.sizes.Add(key, object{size: size})
	}
}

func (c *Cache) get(ctx context.Context, key string, r storage.Range, past bool) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return nil, err
	}
	size, err := c.size(ctx, key)
	if err != nil {
		return nil, err
	}
	if !r.Within(size) {
		c.Drop(key)
		return c.Archive.Get(ctx, key, r) // which says what is wrong, or knows better
	}
	if r.Length == 0 {
		return io.NopCloser(eof{}), nil
	}
	return &reader{cache: c, ctx: ctx, key: key, size: size, at: r.Offset, end: r.End(), stream: past}, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func (c *Cache) size(ctx context.Context, key string) (int64, error) {
	c.mu.Lock()
	o, ok := c.sizes.Get(key)
	c.mu.Unlock()
	if ok {
		return o.size, nil
	}
	stat, err := c.Archive.Stat(ctx, key)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.sizes.Peek(key); !ok {
		c.sizes.Add(key, object{size: stat.Size})
	}
	return stat.Size, nil
}

// Stat implements archive.Archive, from the archive itself: it tells what is.
func (c *Cache) Stat(ctx context.Context, key string) (archive.Stat, error) {
	return c.Archive.Stat(ctx, key)
}

// List implements archive.Archive, from the archive itself.
func (c *Cache) List(ctx context.Context, prefix string) iter.Seq2[archive.Stat, error] {
	return c.Archive.List(ctx, prefix)
}
