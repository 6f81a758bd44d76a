package s3

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// plan is how a range is read: from where to where, by which blocks, in parts
// of which length.
type plan struct {
	from, to int64
	block    int64
	step     int64
	checked  bool
}

// plan widens a range to whole blocks, so that they can be checked. Where
// that would read more than 1 MiB and more than twice of what is wanted, which
// is a frame out of a very large object, it is left as it is and unchecked.
func (a *Archive) plan(r storage.Range, h head) plan {
	p := plan{from: r.Offset, to: r.End(), block: smallBlock}
	if block := h.sums.block; block > 0 {
		from := r.Offset / block * block
		to := min((r.End()+block-1)/block*block, h.size)
		if extra := to - from - r.Length; extra <= max(mib, r.Length) {
			p = plan{from: from, to: to, block: block, checked: true}
		}
	}
	p.step = evenly(p.to-p.from, a.o.ReadPart, p.block)
	return p
}

// evenly is the length of equal parts of whole blocks that are about as long
// as part: what is little longer than one is not cut in two.
func evenly(length, part, block int64) int64 {
	n := max(1, (length+part/2)/part)
	return max(1, ((length+n-1)/n+block-1)/block) * block
}

func (p plan) part(i int64) storage.Range {
	at := p.from + i*p.step
	return storage.Range{Offset: at, Length: min(p.step, p.to-at)}
}

func (p plan) parts() int64 { return (p.to - p.from + p.step - 1) / p.step }

// reader yields a range whose parts are read by goroutines of its own, which
// Close waits for.
type reader struct {
	archive *Archive
	key     string
	wanted  storage.Range
	head    head
	plan    plan

	ctx    context.Context //nolint:containedctx // ends the goroutines at Close
	cancel context.CancelFunc
	all    sync.WaitGroup
	parts  chan chan chunk // in order; each yields the chunks of a part
	part   chan chunk
	now    chunk
	rest   []byte // of now
	given  int    // how much of rest Next has given away
	at     int64  // of the next byte
	failed error
}

// chunk is a block that was read and checked, or why there is none.
type chunk struct {
	data []byte
	free func()
	err  error
}

// newReader begins to read. When first is given, it is an answer that begins
// with the plan's first part.
func (a *Archive) newReader(ctx context.Context, key string, r storage.Range, h head, first *stream) *reader {
	in := &reader{archive: a, key: key, wanted: r, head: h, plan: a.plan(r, h), at: r.Offset}
	in.ctx, in.cancel = context.WithCancel(ctx)
	parallel := int64(a.o.ReadParallel)
	if in.plan.checked { // what is held must fit into the window, also for large blocks
		parallel = max(1, min(parallel, a.o.ReadWindow/in.plan.block))
	}
	in.parts = make(chan chan chunk, parallel-1)
	ahead := max(0, a.o.ReadWindow/parallel/in.plan.block-1)
	in.all.Go(func() { in.dispatch(first, min(ahead, in.plan.step/in.plan.block)) })
	return in
}

// dispatch starts the parts in their order, as many at once as there is room
// for in the channel, and one that the reader is at.
func (r *reader) dispatch(first *stream, ahead int64) {
	defer close(r.parts)
	for i := range r.plan.parts() {
		chunks := make(chan chunk, ahead)
		select {
		case r.parts <- chunks:
		case <-r.ctx.Done():
			if first != nil {
				first.Close()
			}
			return
		}
		f := &fetcher{reader: r, chunks: chunks, at: r.plan.part(i).Offset, end: r.plan.part(i).End(), stream: first}
		first = nil
		r.all.Go(f.run)
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.settle()
	for len(r.rest) == 0 {
		if r.failed != nil {
			return 0, r.failed
		}
		r.next()
	}
	n := copy(p, r.rest)
	r.take(n)
	return n, nil
}

// Next implements archive.Nexter: a block is given away as it is.
func (r *reader) Next(most int64) ([]byte, error) {
	r.settle()
	for len(r.rest) == 0 {
		if r.failed != nil {
			return nil, r.failed
		}
		r.next()
	}
	r.given = int(min(most, int64(len(r.rest))))
	return r.rest[:r.given], nil
}

// WriteTo implements io.WriterTo: blocks are written as they are, uncopied.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	written := int64(0)
	r.settle()
	for {
		for len(r.rest) == 0 {
			if errors.Is(r.failed, io.EOF) {
				return written, nil
			}
			if r.failed != nil {
				return written, r.failed
			}
			r.next()
		}
		n, err := w.Write(r.rest)
		r.take(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// settle takes what Next has given away: it is used by now.
func (r *reader) settle() {
	if r.given > 0 {
		n := r.given
		r.given = 0
		r.take(n)
	}
}

func (r *reader) take(n int) {
	r.rest = r.rest[n:]
	r.at += int64(n)
	if len(r.rest) == 0 {
		r.release()
	}
}

func (r *reader) release() {
	if r.now.free != nil {
		r.now.free()
	}
	r.now = chunk{}
}

// next waits for the next chunk, or sets failed.
func (r *reader) next() {
	if r.at == r.wanted.End() {
		r.failed = io.EOF
		return
	}
	if r.part == nil {
		part, ok := <-r.parts
		if !ok {
			r.failed = r.stopped()
			return
		}
		r.part = part
	}
	c, ok := <-r.part
	if !ok {
		r.part = nil
		return
	}
	if c.err != nil {
		r.failed = c.err
		return
	}
	r.now, r.rest = c, c.data
}

// stopped is why a reader has no more, before its end.
func (r *reader) stopped() error {
	if err := ended(r.ctx, "read", r.key); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q ends at byte %d", storage.ErrCorrupt, r.key, r.at)
}

// Close ends what is under way and waits for it.
func (r *reader) Close() error {
	r.cancel()
	r.all.Wait()
	r.release()
	r.rest = nil
	if r.failed == nil {
		r.failed = fmt.Errorf("read %q: %w", r.key, context.Canceled)
	}
	return nil
}

// fetcher reads one part, block by block, again where it has to.
type fetcher struct {
	*reader
	chunks  chan chunk
	at, end int64
	stream  *stream
}

// flips is how often a block may come damaged before the object is believed
// to be.
const flips = 3

func (f *fetcher) run() {
	defer close(f.chunks)
	defer f.hangUp()
	failures, damaged := 0, 0
	for f.at < f.end {
		c := f.block()
		switch {
		case c.err == nil:
			failures, damaged = 0, 0
		case f.ctx.Err() != nil:
			c.err = ended(f.ctx, "read", f.key)
		case errors.Is(c.err, storage.ErrCorrupt):
			if damaged++; damaged < flips {
				continue
			}
			f.archive.forget(f.key)
		case gone(c.err):
			c.err = f.vanished(c.err)
		default:
			var again bool
			c.err, again = explain("read", f.key, c.err)
			if failures++; again && failures < f.archive.o.Attempts && f.archive.pause(f.ctx, failures) == nil {
				continue
			}
		}
		select {
		case f.chunks <- c:
		case <-f.ctx.Done():
			if c.free != nil {
				c.free()
			}
			return
		}
		if c.err != nil {
			return
		}
	}
}

// vanished explains that the object is not there any more as it was.
func (f *fetcher) vanished(err error) error {
	f.archive.forget(f.key)
	err, _ = explain("read", f.key, err)
	if errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w: it was replaced while it was read: %w", storage.ErrUnavailable, err)
}

func (f *fetcher) hangUp() {
	if f.stream != nil {
		f.stream.Close()
		f.stream = nil
	}
}

// block reads the block at f.at, asking for the rest of the part where no
// answer is at hand, and steps over it when it is sound.
func (f *fetcher) block() chunk {
	if f.stream == nil {
		s, _, err := f.archive.openOnce(f.ctx, f.key, storage.Range{Offset: f.at, Length: f.end - f.at}, f.head.etag)
		if err != nil {
			return chunk{err: err}
		}
		f.stream = s
	}
	data, free := f.archive.buffer(min(f.plan.block, f.end-f.at))
	err := f.stream.fill(data, f.archive.o.Timeout, f.archive.allowance(int64(len(data))))
	if err == nil {
		err = f.check(data)
	}
	if err != nil {
		free()
		f.hangUp()
		return chunk{err: err}
	}
	from := max(f.wanted.Offset-f.at, 0)
	to := min(f.wanted.End()-f.at, int64(len(data)))
	f.at += int64(len(data))
	return chunk{data: data[from:max(from, to)], free: free}
}

func (f *fetcher) check(data []byte) error {
	if !f.plan.checked {
		return nil
	}
	if crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) != f.head.sums.crcs[f.at/f.plan.block] {
		return fmt.Errorf("read %q: %w: %d bytes from %d do not have the checksum they were put with",
			f.key, storage.ErrCorrupt, len(data), f.at)
	}
	return nil
}

// buffer returns a buffer of so many bytes, and what gives it back.
func (a *Archive) buffer(n int64) ([]byte, func()) {
	if n > smallBlock {
		return make([]byte, n), func() {}
	}
	b := a.buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool has nothing else
	return (*b)[:n], func() { a.buffers.Put(b) }
}
