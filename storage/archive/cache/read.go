package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// fetch is a request to the archive for a run of blocks. Those who wait for
// one of them wait for its channel.
type fetch struct {
	first int64
	ready []chan struct{} // closed when the block was stored, or will not be
	last  []byte          // the block that could not be stored, which ends the fetch
	at    int64           // its number
	stale bool            // its object was dropped; guarded by the cache's mu
}

// reader reads a range block by block: from the disk, from a fetch that is
// under way, or past the cache where that does not work.
type reader struct {
	cache   *Cache
	ctx     context.Context //nolint:containedctx // Get's
	key     string
	size    int64
	at, end int64
	stream  bool // what is not here goes past the cache
	rest    []byte
	past    io.ReadCloser
	buf     []byte // of Next, past the cache
	raw     []byte // of the file whose block rest is
	closed  bool
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, fmt.Errorf("read %q: %w", r.key, context.Canceled)
	case r.at == r.end:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if len(r.rest) == 0 && r.past == nil {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if r.past != nil {
		n, err := r.past.Read(p)
		r.at += int64(n)
		return n, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.at += int64(n)
	return n, nil
}

// Next implements archive.Nexter: a block is given away as it is.
func (r *reader) Next(most int64) ([]byte, error) {
	switch {
	case r.closed:
		return nil, fmt.Errorf("read %q: %w", r.key, context.Canceled)
	case r.at == r.end:
		return nil, io.EOF
	}
	if len(r.rest) == 0 && r.past == nil {
		if err := r.next(); err != nil {
			return nil, err
		}
	}
	var given []byte
	if r.past != nil {
		var err error
		if given, err = archive.Next(r.past, most, &r.buf); err != nil {
			return nil, err
		}
	} else {
		given = r.rest[:min(most, int64(len(r.rest)))]
		r.rest = r.rest[len(given):]
	}
	r.at += int64(len(given))
	return given, nil
}

// next brings the block at r.at, or opens the way past the cache.
func (r *reader) next() error {
	if err := r.ctx.Err(); err != nil {
		return fmt.Errorf("read %q: %w", r.key, err)
	}
	data, err := r.cache.bring(r.ctx, blockID{r.key, r.at / r.cache.o.BlockBytes}, r.size, r.end, r.stream, &r.raw)
	if err != nil {
		return err
	}
	if data == nil {
		r.past, err = r.cache.Archive.Get(r.ctx, r.key, storage.Range{Offset: r.at, Length: r.end - r.at})
		return err
	}
	skip := r.at % r.cache.o.BlockBytes
	r.rest = data[skip:min(int64(len(data)), skip+r.end-r.at)]
	return nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.closed, r.rest = true, nil
	if r.past != nil {
		past := r.past
		r.past = nil
		return past.Close()
	}
	return nil
}

// bring returns a block; nil when it has to be read past the cache, as a
// stream does with all that is not here. It may lie in buf. An error is the
// caller's own end.
func (c *Cache) bring(ctx context.Context, id blockID, size, end int64, stream bool, buf *[]byte) ([]byte, error) {
	if data, ok := c.block(id, size, buf); ok {
		c.mu.Lock()
		c.stats.Hits++
		c.mu.Unlock()
		return data, nil
	}
	f := c.join(id, size, end, stream)
	if f == nil {
		return nil, nil
	}
	i := id.at - f.first
	select {
	case <-f.ready[i]:
		if f.last != nil && f.at == id.at {
			return f.last, nil
		}
		data, _ := c.block(id, size, buf) // unless it was dropped or damaged at once
		return data, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("read %q: %w", id.key, context.Cause(ctx))
	}
}

// join finds the fetch that brings a block, or begins one; nil when there are
// too many already, and for a stream.
func (c *Cache) join(id blockID, size, end int64, stream bool) *fetch {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Misses++
	if f := c.fetches[id]; f != nil {
		return f
	}
	if stream {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return nil
	}
	if c.ctx.Err() != nil {
		<-c.slots
		return nil
	}
	f := c.plan(id, size, end)
	for i := range f.ready {
		c.fetches[blockID{id.key, f.first + int64(i)}] = f
	}
	c.stats.Fetches++
	c.all.Go(func() {
		defer func() { <-c.slots }()
		c.run(f, id.key, size)
	})
	return f
}

// plan decides how far a fetch goes: as far as the reader wants, and, when it
// follows the last fetch of the object, twice as far as that one; never over
// a block that is there already. The caller holds mu.
func (c *Cache) plan(id blockID, size, end int64) *fetch {
	o, _ := c.sizes.Get(id.key)
	block := c.o.BlockBytes
	run := (end+block-1)/block - id.at
	if o.run > 0 && id.at >= o.next && id.at <= o.next+1 {
		run = max(run, 2*o.run)
	}
	run = min(run, c.o.AheadBytes/block, (size+block-1)/block-id.at)
	n := int64(1)
	for ; n < run; n++ {
		next := blockID{id.key, id.at + n}
		if c.fetches[next] != nil || c.blocks.Contains(next) {
			break
		}
	}
	c.sizes.Add(id.key, object{size: size, next: id.at + n, run: n, streamed: o.streamed})
	f := &fetch{first: id.at, ready: make([]chan struct{}, n)}
	for i := range f.ready {
		f.ready[i] = make(chan struct{})
	}
	return f
}

// run brings the blocks of a fetch in their order. One that could not be
// brought or stored is nil to those who wait, who then go past the cache.
func (c *Cache) run(f *fetch, key string, size int64) {
	at := f.first * c.o.BlockBytes
	length := min(int64(len(f.ready))*c.o.BlockBytes, size-at)
	in, err := c.Archive.Get(c.ctx, key, storage.Range{Offset: at, Length: length})
	if err == nil {
		defer in.Close()
	}
	for i := range f.ready {
		id := blockID{key, f.first + int64(i)}
		if err == nil {
			data := make([]byte, c.lengthOf(id.at, size))
			if _, err = io.ReadFull(in, data); err == nil {
				if err = c.store(f, id, size, data); err != nil { // a full disk is no reason to not hand it out
					f.last, f.at = data, id.at
				}
			}
		}
		c.mu.Lock()
		if c.fetches[id] == f {
			delete(c.fetches, id)
		}
		if errors.Is(err, storage.ErrNotFound) {
			c.sizes.Remove(key)
		}
		c.mu.Unlock()
		close(f.ready[i])
	}
}
