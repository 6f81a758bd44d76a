package pack

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// compressor compresses instances, some blocks at the same time.
type compressor struct {
	jobs   []*job // the blocks of an instance take turns in them
	method uint16
}

// job is the compression of one block.
type job struct {
	encoder *encoder
	raw     []byte
	last    bool

	running bool
	done    sync.WaitGroup
	out     []byte
	err     error
}

// maxJobs bounds the processors that one Build takes, and its memory: a job
// takes some three blocks.
const maxJobs = 4

func newCompressor(method uint16) (*compressor, error) {
	c := &compressor{method: method}
	// One more than can run, so that a block is read meanwhile.
	for range min(runtime.GOMAXPROCS(0), maxJobs) + 1 {
		e, err := newEncoder(method)
		if err != nil {
			return nil, err
		}
		c.jobs = append(c.jobs, &job{encoder: e})
	}
	return c, nil
}

// packed is an instance that was compressed.
type packed struct {
	blocks *blocks
	crc    uint32 // of all compressed bytes
}

// compress reads a member and gives its compressed blocks to sink, in their
// order. It returns nil when it does not shrink enough; that depends on the
// member's bytes alone, and sink was given some of them. A member that is not
// as its CRC32 says is storage.ErrCorrupt.
func (c *compressor) compress(ctx context.Context, m *Member, cuts cuts, sink io.Writer) (*packed, error) {
	src, err := m.Open(ctx, storage.Range{Length: m.Size})
	if err != nil {
		return nil, fmt.Errorf("open %s for its pack: %w", m.Key, err)
	}
	defer src.Close()
	run := compression{member: m, sink: sink, out: &packed{blocks: &blocks{cuts: cuts, method: c.method}}}
	defer c.wait()
	crc := uint32(0)
	for i, count := int64(0), cuts.count(m.Size); i < count; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		j := c.jobs[i%int64(len(c.jobs))]
		if err := run.finish(j); err != nil || run.vain {
			return nil, err
		}
		if err := j.read(src, cuts.rangeOf(i, m.Size).Length); err != nil {
			return nil, fmt.Errorf("read %s for its pack: %w", m.Key, err)
		}
		crc = crc32.Update(crc, crc32.IEEETable, j.raw)
		j.last = i == count-1
		j.start()
	}
	for i := range c.jobs {
		// From the one that began first.
		if err := run.finish(c.jobs[(cuts.count(m.Size)+int64(i))%int64(len(c.jobs))]); err != nil || run.vain {
			return nil, err
		}
	}
	if crc != m.CRC32 {
		return nil, fmt.Errorf("%w: %s has CRC-32 %08x, not %08x", storage.ErrCorrupt, m.Key, crc, m.CRC32)
	}
	if !worthwhile(run.out.blocks.length, m.Size) {
		return nil, nil //nolint:nilnil // it stays as it is
	}
	return run.out, nil
}

// wait waits for what compress has left when it failed.
func (c *compressor) wait() {
	for _, j := range c.jobs {
		j.done.Wait()
		j.running = false
	}
}

// read reads the block's bytes.
func (j *job) read(src io.Reader, n int64) error {
	j.raw = slices.Grow(j.raw[:0], int(n))[:n]
	_, err := io.ReadFull(src, j.raw)
	return asCorrupt(err)
}

func (j *job) start() {
	j.running = true
	j.done.Go(func() { j.out, j.err = j.encoder.encode(j.raw, j.last) })
}

// compression is the state of one compress.
type compression struct {
	member *Member
	sink   io.Writer
	out    *packed
	raw    int64 // that went into out
	tried  bool
	vain   bool // it does not shrink
}

// finish waits for a block, the next in order, and hands it on.
func (r *compression) finish(j *job) error {
	if !j.running {
		return nil
	}
	j.done.Wait()
	j.running = false
	if j.err != nil {
		return fmt.Errorf("compress %s: %w", r.member.Key, j.err)
	}
	r.out.blocks.add(len(j.out), crc32.ChecksumIEEE(j.raw))
	r.out.crc = crc32.Update(r.out.crc, crc32.IEEETable, j.out)
	r.raw += int64(len(j.raw))
	if !r.tried && r.raw >= tryBytes {
		r.tried = true
		if r.vain = !worthwhile(r.out.blocks.length, r.raw); r.vain {
			return nil
		}
	}
	_, err := r.sink.Write(j.out)
	return err
}

// again reads a range of a member's compressed bytes by compressing it another
// time, from the block on in which the range begins: for what was too large
// to be kept when it was compressed first.
func (b *blocks) again(m *Member) func(context.Context, storage.Range) (io.ReadCloser, error) {
	return func(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
		walk := b.walk(m.Size)
		next, ok := walk.next()
		for ok && next.compressed.End() <= r.Offset && !next.last {
			next, ok = walk.next()
		}
		if !ok {
			return nil, corrupt("%s has no block at %d", m.Key, r.Offset)
		}
		e, err := newEncoder(b.method)
		if err != nil {
			return nil, err
		}
		src, err := m.Open(ctx, storage.Range{Offset: next.raw.Offset, Length: m.Size - next.raw.Offset})
		if err != nil {
			return nil, err
		}
		return &againReader{member: m, encoder: e, ReadCloser: src, walk: walk, next: next, skip: r.Offset - next.compressed.Offset}, nil
	}
}

// againReader compresses as it is read. It does not end at the range's end.
type againReader struct {
	io.ReadCloser
	member  *Member
	encoder *encoder
	raw     []byte
	walk    blockWalk
	next    block
	ended   bool
	skip    int64
	rest    []byte
}

// Read implements io.Reader.
func (a *againReader) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.ended {
			return 0, io.EOF
		}
		if err := a.compress(); err != nil {
			return 0, err
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// compress compresses the next block. It has the length that it had before,
// or the member is another.
func (a *againReader) compress() error {
	a.raw = slices.Grow(a.raw[:0], int(a.next.raw.Length))[:a.next.raw.Length]
	if _, err := io.ReadFull(a.ReadCloser, a.raw); err != nil {
		return fmt.Errorf("read %s again: %w", a.member.Key, asCorrupt(err))
	}
	out, err := a.encoder.encode(a.raw, a.next.last)
	if err != nil {
		return err
	}
	if int64(len(out)) != a.next.compressed.Length || crc32.ChecksumIEEE(a.raw) != a.next.crc {
		return corrupt("%s is not what it was when it was compressed first, at %d", a.member.Key, a.next.raw.Offset)
	}
	a.rest, a.skip = out[a.skip:], 0
	var ok bool
	a.next, ok = a.walk.next()
	a.ended = !ok
	return nil
}
