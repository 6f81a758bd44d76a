package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// take returns what is known of a large file that came before its record, which
// is there now, or never will be.
func (c *Copy) take(id uint64) (stray, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forget(id)
}

// forget is take; mu is held.
func (c *Copy) forget(id uint64) (stray, bool) {
	s, ok := c.strays[id]
	delete(c.strays, id)
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	c.j.largeNow -= s.size
	return s, ok
}

// RemoveStrays deletes the large files that came before a time and have no
// record yet. A record that comes later all the same is storage.ErrCorrupt
// until its file has come again.
func (c *Copy) RemoveStrays(before time.Time) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if errors.Is(c.refuses(), ErrClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.strays {
		if !s.came.Before(before) || c.large[id] != nil { // or it comes again
			continue
		}
		c.forget(id)
		if !c.refers(id) {
			c.j.removeLarge(id)
		}
	}
}

// WriteLarge takes a large file, which is durable when it returns. One to
// which a record refers is there already, and stays as it is.
func (c *Copy) WriteLarge(ctx context.Context, id uint64, size int64, body io.Reader) error {
	if id == 0 || size < 0 {
		return fmt.Errorf("%w: a large file without a name", storage.ErrInvalid)
	}
	c.gate.RLock()
	err := c.refuses()
	c.gate.RUnlock() // the body may take long; without a record it is nothing
	if err != nil {
		return err
	}
	release, err := c.claimLarge(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if c.refers(id) {
		_, err := io.CopyN(io.Discard, body, size)
		return err
	}
	c.take(id)
	if err := c.j.unlink(c.j.largePath(id)); err != nil {
		return err
	}
	f, err := c.j.fs.Create(c.j.largePath(id))
	if err != nil {
		return diskError("copying a large file", err)
	}
	l := &large{j: c.j, id: id, file: f}
	sum := crc32.New(castagnoli())
	if err := l.fill(ctx, io.TeeReader(body, sum), size); err != nil {
		l.discard()
		return err
	}
	if err := l.finish(); err != nil {
		l.discard()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strays[id] = stray{crc: sum.Sum32(), size: l.size, came: time.Now()}
	return nil
}

// claimLarge waits until nobody else writes the large file: one who gave up
// removes what came of it.
func (c *Copy) claimLarge(ctx context.Context, id uint64) (release func(), err error) {
	for {
		c.mu.Lock()
		other := c.large[id]
		if other == nil {
			c.large[id] = make(chan struct{})
		}
		c.mu.Unlock()
		if other == nil {
			return func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				close(c.large[id])
				delete(c.large, id)
			}, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fill copies size bytes into the file.
func (l *large) fill(ctx context.Context, body io.Reader, size int64) error {
	chunk := make([]byte, min(size, chunkSize))
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(body, chunk[:min(left, chunkSize)])
		if err != nil {
			return err
		}
		if err := l.put([][]byte{chunk[:n]}, int64(n)); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// refers tells whether a durable record has the large file.
func (c *Copy) refers(id uint64) bool {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	return slices.ContainsFunc(c.j.segments, func(s *segment) bool { return slices.Contains(s.large, id) })
}
