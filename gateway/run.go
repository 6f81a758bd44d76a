package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Streamer is an archive that is told when a long stretch of an object is
// going to be read once, from its first byte to its last.
type Streamer interface {
	Stream(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error)
}

const (
	// runGap is how much may lie between two reads that are one run: the ZIP
	// headers, and little else.
	runGap = 4 << 10
	// runAhead is how much of a run is left when the next one begins.
	runAhead = 32 << 20
	// missesMost is how many streams may be begun in vain, each of which reads
	// ahead, before the order is taken for none.
	missesMost = 2
)

// runs are the packs of one request that reads all of several instances. What
// is asked for in the order in which it lies is read from the archive in one
// go, and the next pack is begun before the one before has come to its end.
type runs struct {
	ctx    context.Context //nolint:containedctx // the request's, with which all ends
	cancel context.CancelFunc
	each   []*run

	mu  sync.Mutex     // ends and begins exclude each other
	all sync.WaitGroup // of the runs that are begun ahead
}

// newRuns returns runs that end with ctx.
func newRuns(ctx context.Context) *runs {
	r := &runs{}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// end ends what was begun ahead, and waits for it. What is being read ends
// with its reader.
func (r *runs) end() {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.all.Wait()
	for _, one := range r.each {
		one.mu.Lock()
		if !one.busy {
			one.drop()
		}
		one.mu.Unlock()
	}
}

// run is one pack of them.
type run struct {
	of    *runs
	blob  *packBlob
	whole []storage.Range // the instances that are wanted, in their order
	next  *run

	mu     sync.Mutex
	stream io.ReadCloser // nil while there is none
	at     int64         // of its next byte
	busy   bool          // it is being read
	missed int           // how often what came next was not asked for
	buf    []byte        // of its stream's bytes, where they must be copied
	ahead  chan begun    // capacity 1, when the run was begun ahead
}

// begun is a stream that was opened ahead of its reader.
type begun struct {
	stream io.ReadCloser
	err    error
}

// open reads a range of the pack, out of the run's stream when it is what
// comes next there.
func (r *run) open(ctx context.Context, want storage.Range) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy || r.missed > missesMost || !r.instance(want) {
		return r.blob.Open(ctx, want)
	}
	if err := r.join(ctx); err != nil {
		return nil, err
	}
	if gap := want.Offset - r.at; r.stream != nil && gap >= 0 && gap <= runGap {
		if n, err := io.CopyN(io.Discard, r.stream, gap); err != nil {
			r.drop()
			return nil, fmt.Errorf("%w: %d of %d bytes before an instance of %s: %w", storage.ErrCorrupt, n, gap, r.blob.key, err)
		}
		r.at = want.Offset
	} else if err := r.begin(want.Offset); err != nil {
		return nil, err
	}
	r.busy = true
	return &runReader{run: r, left: want.Length}, nil
}

// instance tells whether a range is all of an instance: others are no run.
func (r *run) instance(want storage.Range) bool {
	i := sort.Search(len(r.whole), func(i int) bool { return r.whole[i].Offset >= want.Offset })
	return i < len(r.whole) && r.whole[i] == want
}

func (r *run) end() int64 { return r.whole[len(r.whole)-1].End() }

// begin opens a stream from an offset to the end of the run.
func (r *run) begin(from int64) error {
	if r.stream != nil {
		r.missed++
	}
	r.drop()
	stream, err := r.openFrom(from)
	if err != nil {
		return err
	}
	r.stream, r.at = stream, from
	return nil
}

func (r *run) openFrom(from int64) (io.ReadCloser, error) {
	rest := storage.Range{Offset: from, Length: r.end() - from}
	if s, ok := r.blob.archive.(Streamer); ok {
		return s.Stream(r.of.ctx, r.blob.key, rest)
	}
	return r.blob.archive.Get(r.of.ctx, r.blob.key, rest)
}

// start begins the run ahead of its reader.
func (r *run) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.ahead != nil || r.stream != nil || r.of.ctx.Err() != nil {
		return
	}
	ahead := make(chan begun, 1)
	r.ahead = ahead
	r.of.all.Go(func() {
		stream, err := r.openFrom(r.whole[0].Offset)
		ahead <- begun{stream, err}
		<-r.of.ctx.Done()
		select {
		case b := <-ahead: // nobody came for it
			if b.err == nil {
				b.stream.Close()
			}
		default:
		}
	})
}

// join takes over what was begun ahead. That it failed there says nothing: it
// is tried again here.
func (r *run) join(ctx context.Context) error {
	if r.ahead == nil {
		return nil
	}
	select {
	case b := <-r.ahead:
		r.ahead = nil
		if b.err == nil {
			r.stream, r.at = b.stream, r.whole[0].Offset
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) drop() {
	if r.stream != nil {
		r.stream.Close()
		r.stream = nil
	}
}

// done is called when a reader is closed, with what it left unread.
func (r *run) done(unread int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	if unread > 0 || r.at >= r.end() || r.of.ctx.Err() != nil {
		r.drop()
	}
	if r.next != nil && unread == 0 && r.end()-r.at <= runAhead {
		r.next.start()
	}
}

// runReader is the bytes of one instance out of a run.
type runReader struct {
	run    *run
	left   int64
	closed bool
}

// Read implements io.Reader.
func (r *runReader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, fmt.Errorf("read %q: %w", r.run.blob.key, context.Canceled)
	case r.left == 0:
		return 0, io.EOF
	}
	n, err := r.run.stream.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.run.at += int64(n)
	if errors.Is(err, io.EOF) {
		if err = io.ErrUnexpectedEOF; r.left == 0 {
			err = nil
		}
	}
	return n, err
}

// WriteTo implements io.WriterTo: what the archive has in memory is written as
// it lies there.
func (r *runReader) WriteTo(w io.Writer) (int64, error) {
	written := int64(0)
	for r.left > 0 {
		if r.closed {
			return written, fmt.Errorf("read %q: %w", r.run.blob.key, context.Canceled)
		}
		given, err := archive.Next(r.run.stream, r.left, &r.run.buf)
		if errors.Is(err, io.EOF) {
			return written, io.ErrUnexpectedEOF
		}
		if err != nil {
			return written, err
		}
		r.left -= int64(len(given))
		r.run.at += int64(len(given))
		n, err := w.Write(given)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Close implements io.Closer.
func (r *runReader) Close() error {
	if !r.closed {
		r.closed = true
		r.run.done(r.left)
	}
	return nil
}

// chain makes runs of packs that are read one after the other; none when the
// archive is near, whose files the kernel can send itself, or has to be told
// of each instance what is sound.
func (r *Retriever) chain(ctx context.Context, packs []*details) {
	if !r.o.Far || archive.Compares(r.o.Archive) {
		return
	}
	all := newRuns(ctx)
	for _, d := range packs {
		if len(d.whole) == 0 {
			continue
		}
		d.run = &run{of: all, blob: d.packBlob, whole: d.whole}
		if n := len(all.each); n > 0 {
			all.each[n-1].next = d.run
		}
		all.each = append(all.each, d.run)
	}
	context.AfterFunc(ctx, all.end)
}

// expecting is an archive that is spared a question when it is told how long
// an object is.
type expecting interface{ Expect(key string, size int64) }

func expect(a archive.Archive, key string, size int64) {
	if e, ok := a.(expecting); ok {
		e.Expect(key, size)
	}
}
