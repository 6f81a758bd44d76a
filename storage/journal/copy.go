package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// ErrRetired wraps storage.ErrUnavailable: the journal takes nothing any more,
// neither where it was written nor in its copies.
var ErrRetired = fmt.Errorf("%w: the journal is retired", storage.ErrUnavailable)

// Copy is the copy of another node's journal: the same segments and large
// files byte for byte, so that a position means the same in both. It grows by
// what a Follower of the original gives, and is read as a Journal is.
//
// Methods may be called concurrently; those that write to one segment, by one
// goroutine at a time, Sync and WriteLarge beside it. Close must be called.
type Copy struct {
	j *Journal
	// gate is held shared while something is written.
	gate    sync.RWMutex
	retired bool

	mu      sync.Mutex
	writers map[uint64]*writer
	large   map[uint64]chan struct{} // large files that are being written; closed when one is not any more
	strays  map[uint64]stray         // those that came whole, and whose records did not come yet
}

// stray is a large file whose record did not come yet. It counts in largeNow.
type stray struct {
	crc  uint32
	size int64
	came time.Time
}

// Extent tells how far a segment has come.
type Extent struct {
	Segment uint64
	// End is up to where it is durable and without a gap.
	End int64
	// Whole tells that nothing follows.
	Whole bool
}

// OpenCopy opens the copy of the journal with that id in o.Dir, and makes it
// when there is none. What a crash left half written is cut; what is damaged
// is read around, see Extents. Of the options those of appending don't count.
func OpenCopy(ctx context.Context, id string, o Options) (*Copy, error) {
	o = o.withDefaults()
	o.AllowDamage = true
	j := &Journal{o: o, fs: o.FS, copied: true}
	err := j.id.parse(id)
	if err == nil {
		err = j.openCopy(ctx)
	}
	if err != nil {
		if j.lock != nil {
			err = errors.Join(err, j.lock.Close())
		}
		return nil, fmt.Errorf("copy of journal %s: %w", id, err)
	}
	return &Copy{j: j, writers: map[uint64]*writer{}, large: map[uint64]chan struct{}{}, strays: map[uint64]stray{}}, nil
}

func (j *Journal) openCopy(ctx context.Context) (err error) {
	if err := j.fs.MkdirAll(j.largeDir()); err != nil {
		return err
	}
	if j.lock, err = j.fs.LockDir(j.o.Dir, false); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	if err := j.claimID(); err != nil {
		return err
	}
	if err := j.recover(ctx); err != nil {
		return err
	}
	// What was about to become a segment is nothing to go on with.
	j.segments = slices.DeleteFunc(j.segments, func(s *segment) bool {
		return s.salt == 0 && !s.whole && j.unlink(j.segmentPath(s.number)) == nil
	})
	return nil
}

// ID is that of the journal that is copied.
func (c *Copy) ID() string { return c.j.ID() }

// Close gives the folder free. What was not made durable may be lost.
func (c *Copy) Close() error {
	c.gate.Lock() // nothing is being written
	defer c.gate.Unlock()
	c.j.mu.Lock()
	closed := c.j.closed
	c.j.closed = true
	c.j.mu.Unlock()
	if closed {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for number, w := range c.writers {
		c.drop(number, w)
	}
	return c.j.lock.Close()
}

// Header is Journal.Header.
func (c *Copy) Header(ctx context.Context, at Position) (Entry, error) { return c.j.Header(ctx, at) }

// Read is Journal.Read.
func (c *Copy) Read(ctx context.Context, at Position, part storage.Range) (io.ReadCloser, error) {
	return c.j.Read(ctx, at, part)
}

// Replay is Journal.Replay; what is damaged is logged and left out.
func (c *Copy) Replay(ctx context.Context, after Position, fn func(Entry) error) error {
	return c.j.Replay(ctx, after, fn)
}

// Verify is Journal.Verify.
func (c *Copy) Verify(ctx context.Context, fn func(Entry, error) error) error {
	return c.j.Verify(ctx, fn)
}

// Segments is Journal.Segments; Sealed are those that are whole.
func (c *Copy) Segments() []Segment {
	list := c.j.Segments()
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	for i := range list {
		s := c.j.find(list[i].Number)
		list[i].Sealed = s != nil && s.whole
	}
	return list
}

// Stats counts segments and bytes alone.
func (c *Copy) Stats() Stats { return c.j.Stats() }

// Extents tells what the copy has, in order. Who writes on begins at End.
func (c *Copy) Extents() []Extent {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	list := make([]Extent, 0, len(c.j.segments))
	for _, s := range c.j.segments {
		if s.salt != 0 {
			list = append(list, Extent{Segment: s.number, End: s.good, Whole: s.whole})
		}
	}
	return list
}

// Retire refuses with ErrRetired all that would be written from now on. When
// it returns nothing is being written any more.
func (c *Copy) Retire() {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.retired = true
}

// refuses tells why nothing may be written; gate is held.
func (c *Copy) refuses() error {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	switch {
	case c.j.closed:
		return ErrClosed
	case c.retired:
		return ErrRetired
	}
	return nil
}

// Remove deletes a segment and its large files, as Journal.Remove does. One
// that is being written is storage.ErrInvalid.
func (c *Copy) Remove(ctx context.Context, number uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writers[number] != nil {
		return fmt.Errorf("%w: segment %d is being copied", storage.ErrInvalid, number)
	}
	if err := c.j.Remove(ctx, number); err != nil {
		return err
	}
	return c.j.unlink(c.j.wholePath(number))
}

func (j *Journal) wholePath(number uint64) string {
	return filepath.Join(j.o.Dir, fmt.Sprintf("%016x.whole", number))
}
