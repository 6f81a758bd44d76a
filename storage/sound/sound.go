// Package sound holds ranges of files against their checksums before they are
// given away. See DESIGN.md.
package sound

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	// AtOnce is the longest range that is compared before its first byte is
	// given away, and of which parts can be compared: by reading all of it.
	AtOnce = 32 << 20

	piece     = 128 << 10 // what is read at once: it stays in the processor's cache
	gatePiece = 1 << 20   // what of a longer range is given away at once
	believed  = 4 << 30   // the longest range that is remembered: the page cache must hold it
	remember  = time.Minute
	remembers = 4096
)

// Sum is what a range of a file adds up to.
type Sum struct {
	storage.Range
	Table *crc32.Table
	CRC   uint32
}

// Comparer compares. Its zero value is ready, and safe for use by many
// goroutines.
type Comparer struct {
	buffers sync.Pool // of *[piece]byte

	mu   sync.Mutex
	seen *simplelru.LRU[seen, time.Time] // until when
}

// seen is a range that was found sound.
type seen struct {
	name     string
	offset   int64
	crc      uint32
	modified int64
}

// File is what is compared: Name and Modified are what it is remembered by.
type File struct {
	io.ReaderAt
	Name     string
	Modified time.Time
}

// Open makes sure that part of f, a range within that of sum, may be given
// away: sum's range is read, and what does not match, or ends early, is
// storage.ErrCorrupt. What was found sound within the last minute, in a file
// that was not changed since, is not read again.
//
// A range of more than AtOnce that is wanted whole is compared while it is
// given away: the Gate that is returned then says how far, and one of up to 4 GiB
// that was found sound to its end is not read again either. A part of such a range is not compared
// at all. The Gate is nil where nothing is left to compare.
func (c *Comparer) Open(ctx context.Context, f File, part storage.Range, sum Sum) (*Gate, error) {
	whole := part == sum.Range
	id := seen{f.Name, sum.Offset, sum.CRC, f.Modified.UnixNano()}
	switch {
	case part.Length == 0, sum.Length > AtOnce && !whole, c.remembered(id):
		return nil, nil
	case sum.Length > AtOnce:
		return &Gate{comparer: c, ctx: ctx, file: f, id: id, at: sum.Offset, sum: sum}, nil
	}
	got, err := c.add(ctx, f, sum.Range, 0, sum.Table)
	if err != nil {
		return nil, err
	}
	if got != sum.CRC {
		return nil, sum.mismatch(f.Name, got)
	}
	c.keep(id)
	return nil, nil
}

func (s Sum) mismatch(name string, got uint32) error {
	return fmt.Errorf("%w: %d bytes from %d of %s have the checksum %08x, not %08x",
		storage.ErrCorrupt, s.Length, s.Offset, name, got, s.CRC)
}

// add reads a range and adds it to a checksum.
func (c *Comparer) add(ctx context.Context, f File, r storage.Range, crc uint32, table *crc32.Table) (uint32, error) {
	buf, ok := c.buffers.Get().(*[piece]byte)
	if !ok {
		buf = new([piece]byte)
	}
	defer c.buffers.Put(buf)
	for at := r.Offset; at < r.End(); {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("compare %s: %w", f.Name, err)
		}
		b := buf[:min(piece, r.End()-at)]
		n, err := f.ReadAt(b, at)
		if n < len(b) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: %s ends at %d", storage.ErrCorrupt, f.Name, at+int64(n))
			}
			return 0, err
		}
		crc = crc32.Update(crc, table, b)
		at += int64(n)
	}
	return crc, nil
}

func (c *Comparer) remembered(id seen) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		return false
	}
	until, ok := c.seen.Get(id)
	return ok && time.Now().Before(until)
}

func (c *Comparer) keep(id seen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen, _ = simplelru.NewLRU[seen, time.Time](remembers, nil) // fails only for a size below 1
	}
	c.seen.Add(id, time.Now().Add(remember))
}

// Gate lets a range out that is compared meanwhile: its last bytes when all
// of it was found sound. It is for one goroutine.
type Gate struct {
	comparer *Comparer
	ctx      context.Context //nolint:containedctx // that of the reader, which may hand all to the kernel
	file     File
	id       seen
	sum      Sum
	crc      uint32
	at       int64 // behind what was added
	open     int64 // how much of that was not given away
	failed   error
}

// Next tells how many bytes may be given away now, at least one unless the
// range is over. What rotted is storage.ErrCorrupt in place of the last.
func (g *Gate) Next() (int64, error) {
	if g == nil {
		return 1<<63 - 1, nil
	}
	if g.open > 0 || g.failed != nil || g.at == g.sum.End() {
		return g.open, g.failed
	}
	next := storage.Range{Offset: g.at, Length: min(gatePiece, g.sum.End()-g.at)}
	g.crc, g.failed = g.comparer.add(g.ctx, g.file, next, g.crc, g.sum.Table)
	if g.failed == nil && next.End() == g.sum.End() {
		g.failed = g.end()
	}
	if g.failed == nil {
		g.at, g.open = next.End(), next.Length
	}
	return g.open, g.failed
}

// end compares what all of the range has added up to.
func (g *Gate) end() error {
	if g.crc != g.sum.CRC {
		return g.sum.mismatch(g.file.Name, g.crc)
	}
	if g.sum.Length <= believed {
		g.comparer.keep(g.id)
	}
	return nil
}

// Gave tells how many bytes were given away.
func (g *Gate) Gave(n int64) {
	if g != nil {
		g.open -= n
	}
}

// Give has give give away what is left of a range, as many bytes at once as may
// be, and takes them off left. When it gives fewer without an error, short is
// the error.
func (g *Gate) Give(left *int64, give func(n int64) (int64, error), short func() error) (total int64, err error) {
	for *left > 0 {
		most, err := g.Next()
		if err != nil {
			return total, err
		}
		want := min(most, *left)
		n, err := give(want)
		total += n
		*left -= n
		g.Gave(n)
		if err == nil && n < want {
			err = short()
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// Proven tells whether what was given away is known to be sound.
func (g *Gate) Proven() bool { return g == nil || g.failed == nil && g.at == g.sum.End() }
