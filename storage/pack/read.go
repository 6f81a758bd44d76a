package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// Open reads a range of the stored Part 10 form of entry i of a pack whose
// Directory this is, by one range read. What is not compressed comes from the
// blob's own reader, which holds it against the entry's CRC-32 when the blob
// is a SoundBlob; what is comes block by block, some decompressed ahead,
// each after it was compared with its CRC-32: a block that differs is
// storage.ErrCorrupt, and none of it is given away. The memory is that of a
// few blocks, whatever the pack says. The reader must be closed.
func (d *Directory) Open(ctx context.Context, blob Blob, i int, r storage.Range) (io.ReadCloser, error) {
	e := &d.Entries[i]
	if !r.Within(e.Size) {
		return nil, fmt.Errorf("%w: bytes %d-%d of %d", storage.ErrInvalid, r.Offset, r.End(), e.Size)
	}
	if e.blocks == nil {
		if s, ok := blob.(SoundBlob); ok {
			return s.OpenSound(ctx, e.Stored().Sub(r), e.Stored(), e.CRC32)
		}
		return blob.Open(ctx, e.Stored().Sub(r))
	}
	if r.Length == 0 {
		return &bytesReader{}, nil
	}
	walk := e.blocks.from(e.Size, r.Offset)
	first := walk
	begin, _ := first.next()
	end := begin
	for end.raw.End() < r.End() {
		end, _ = first.next()
	}
	ctx, cancel := context.WithCancel(ctx)
	src, err := blob.Open(ctx, e.Stored().Sub(storage.Range{
		Offset: begin.compressed.Offset, Length: end.compressed.End() - begin.compressed.Offset,
	}))
	if err != nil {
		cancel()
		return nil, err
	}
	b := &blockReader{directory: d, entry: e, src: src, cancel: cancel, walk: walk, skip: r.Offset - begin.raw.Offset, left: r.Length}
	if last := end.raw.Offset; last > begin.raw.Offset {
		b.readAhead(ctx, last)
	}
	return b, nil
}

// slots is how many blocks of one reader are in memory: one that is given
// away, and those that are decompressed meanwhile.
const slots = 3

// slot is the place of one block.
type slot struct {
	decoder    decoder
	compressed []byte
	raw        []byte
	block      block
	done       sync.WaitGroup
	err        error
}

// blockReader reads compressed blocks. With one goroutine that reads them
// ahead, and one for each that is decompressed; with none when there is only
// one block.
type blockReader struct {
	directory *Directory
	entry     *Entry
	src       io.ReadCloser
	cancel    context.CancelFunc
	walk      blockWalk
	skip      int64 // of the first block
	left      int64

	ahead   chan *slot    // in order; nil when nothing is read ahead
	free    chan struct{} // a token for each slot that may be filled
	reading sync.WaitGroup

	current *slot
	rest    []byte
	err     error
}

// readAhead begins to read the blocks up to the one that begins at last.
func (b *blockReader) readAhead(ctx context.Context, last int64) {
	b.ahead, b.free = make(chan *slot, slots), make(chan struct{}, slots)
	for range slots {
		b.free <- struct{}{}
	}
	b.reading.Go(func() {
		defer close(b.ahead)
		for {
			select {
			case <-b.free:
			case <-ctx.Done():
				return
			}
			s := b.fetch()
			// Once it is decoded or given away, the slot is another's.
			ended := s.err != nil || s.block.raw.Offset >= last
			if s.err == nil {
				s.done.Go(func() { s.err = s.decode(b.entry.blocks.method) })
			}
			b.ahead <- s // never blocks: there are no more slots than it holds
			if ended {
				return
			}
		}
	})
}

// fetch reads the next block's compressed bytes into a slot.
func (b *blockReader) fetch() *slot {
	s, ok := b.directory.slots.Get().(*slot)
	if !ok {
		s = new(slot)
	}
	next, _ := b.walk.next() // there is one: the table was checked
	s.err = asCorrupt(s.fetch(b.src, next))
	return s
}

func (s *slot) fetch(src io.Reader, b block) error {
	n := int(b.compressed.Length)
	s.block = b
	s.compressed = slices.Grow(s.compressed[:0], n+len(emptyEnd))[:n]
	_, err := io.ReadFull(src, s.compressed)
	return err
}

// decode decompresses what was fetched into raw.
func (s *slot) decode(method uint16) error {
	n := int(s.block.raw.Length)
	s.raw = slices.Grow(s.raw[:0], n)[:n]
	return s.decoder.decode(method, s.block, s.compressed, s.raw)
}

// next makes the next block current.
func (b *blockReader) next() error {
	b.release()
	if b.ahead == nil {
		b.current = b.fetch()
		if b.current.err == nil {
			b.current.err = b.current.decode(b.entry.blocks.method)
		}
	} else if b.current = <-b.ahead; b.current == nil {
		return context.Canceled
	}
	b.current.done.Wait()
	if err := b.current.err; err != nil {
		return fmt.Errorf("instance %s: %w", b.entry.Key, err)
	}
	b.rest = b.current.raw[b.skip:min(int64(len(b.current.raw)), b.skip+b.left)]
	b.skip = 0
	b.left -= int64(len(b.rest))
	return nil
}

// release gives the current slot back.
func (b *blockReader) release() {
	if b.current == nil {
		return
	}
	b.directory.slots.Put(b.current)
	b.current = nil
	if b.free != nil {
		b.free <- struct{}{}
	}
}

// fill makes sure that there is something in rest.
func (b *blockReader) fill() error {
	for len(b.rest) == 0 && b.err == nil {
		if b.left == 0 {
			b.err = io.EOF
		} else {
			b.err = b.next()
		}
	}
	if len(b.rest) > 0 {
		return nil
	}
	return b.err
}

// Read implements io.Reader.
func (b *blockReader) Read(p []byte) (int, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: blocks are written as they lie in memory.
func (b *blockReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := b.fill()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(b.rest)
		total += int64(n)
		b.rest = b.rest[n:]
		if err != nil {
			return total, err
		}
	}
}

// Close implements io.Closer. It waits for what is read ahead.
func (b *blockReader) Close() error {
	b.cancel()
	b.release()
	if b.ahead != nil {
		for s := range b.ahead {
			s.done.Wait()
			b.directory.slots.Put(s)
		}
		b.reading.Wait()
		b.ahead = nil
	}
	b.rest, b.left, b.err = nil, 0, io.ErrClosedPipe
	return b.src.Close()
}
