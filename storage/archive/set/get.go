package set

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Get implements archive.Archive. The reader comes from the first archive that
// sends its first byte; one that fails or falls silent later is replaced by
// the next, from the byte that was read last. No archive that failed is asked
// again.
func (s *Set) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	return s.get(ctx, key, r, nil)
}

// Compares implements archive.Comparer.
func (s *Set) Compares() bool {
	return slices.ContainsFunc(s.members, func(m *member) bool { return archive.Compares(m.Archive) })
}

// GetSound implements archive.Comparer. An archive whose copy does not match
// is replaced by the next; once bytes went out that may be damaged, none is.
func (s *Set) GetSound(ctx context.Context, key string, r storage.Range, sum archive.Sum) (io.ReadCloser, error) {
	return s.get(ctx, key, r, &sum)
}

func (s *Set) get(ctx context.Context, key string, r storage.Range, sum *archive.Sum) (io.ReadCloser, error) {
	if err := accept(ctx, key); err != nil {
		return nil, err
	}
	in := &reader{set: s, ctx: ctx, key: key, sum: sum, at: r.Offset, end: r.End(), asked: make([]bool, len(s.members))}
	if err := in.begin(r); err != nil { //nolint:contextcheck // it is the reader's
		return nil, err
	}
	return in, nil
}

// reader reads a range from one member after another.
type reader struct {
	set      *Set
	ctx      context.Context //nolint:containedctx // Get's, for the archives that are asked later
	key      string
	sum      *archive.Sum // nil when it is not known
	at, end  int64
	asked    []bool
	failures []error

	now    *source
	timer  *time.Timer // ends now when it stalls
	failed error       // for good
	buf    []byte      // of Next
	closed bool
}

// source is a member that was asked.
type source struct {
	*member
	io.ReadCloser
	cancel context.CancelFunc
	turn   int    // the later it was asked, the higher
	head   []byte // what was read to see whether it reads
	err    error
}

// ask asks a member and waits for its first bytes.
func (r *reader) ask(ctx context.Context, s *source, rng storage.Range) *source {
	if r.sum == nil {
		s.ReadCloser, s.err = s.Get(ctx, r.key, rng)
	} else {
		s.ReadCloser, s.err = archive.GetSound(ctx, s.Archive, r.key, rng, *r.sum)
	}
	if s.err == nil && rng.Length > 0 {
		s.head = make([]byte, min(rng.Length, 32<<10))
		n := 0
		for n == 0 && s.err == nil {
			n, s.err = s.Read(s.head)
		}
		s.head = s.head[:n]
		if n > 0 {
			s.err = nil // comes again, or does not matter
		} else if errors.Is(s.err, io.EOF) {
			s.err = short(r.key, rng.Length)
		}
	}
	if s.err != nil {
		s.close()
	}
	return s
}

func (s *source) close() {
	s.cancel()
	if s.ReadCloser != nil {
		_ = s.Close() // nothing was written
	}
}

func short(key string, missing int64) error {
	return fmt.Errorf("%w: %q ends %d bytes too early", storage.ErrCorrupt, key, missing)
}

// begin finds a member that reads the range; those already asked are left out.
func (r *reader) begin(rng storage.Range) error {
	answers := make(chan *source, len(r.set.members))
	waiting := map[*source]bool{}
	defer func() { r.dismiss(answers, waiting) }()
	next := r.remaining()
	hedge := time.NewTimer(0)
	defer hedge.Stop()
	for {
		select {
		case <-hedge.C:
			if len(next) == 0 {
				break
			}
			m, turn := next[0], len(r.set.members)-len(next)
			next = next[1:]
			r.asked[m.at] = true
			if m.hanging.Load() >= mostHanging {
				r.failures = append(r.failures, fmt.Errorf("read %q: %w: %s does not answer those who asked it before", r.key, storage.ErrUnavailable, m))
				hedge.Reset(0)
				break
			}
			ctx, cancel := context.WithCancel(r.ctx)
			s := &source{member: m, cancel: cancel, turn: turn}
			waiting[s] = true
			go func() { answers <- r.ask(ctx, s, rng) }()
			hedge.Reset(r.hedge(m))
		case s := <-answers:
			delete(waiting, s)
			r.set.note(r.ctx, s.member, s.err)
			if s.err == nil {
				r.adopt(s)
				return nil
			}
			r.failures = append(r.failures, s.err)
			r.report(s.member, s.err)
			hedge.Reset(0)
		case <-r.ctx.Done():
		}
		if err := r.ctx.Err(); err != nil {
			return fmt.Errorf("read %q: %w", r.key, err)
		}
		if len(waiting) == 0 && len(next) == 0 {
			return verdict("read", r.key, r.failures)
		}
	}
}

func (r *reader) remaining() []*member {
	var left []*member
	for _, m := range r.set.order() {
		if !r.asked[m.at] {
			left = append(left, m)
		}
	}
	return left
}

func (r *reader) adopt(s *source) {
	r.now = s
	r.timer = time.AfterFunc(time.Hour, s.cancel)
	r.timer.Stop()
}

// report tells of a copy that is not as it should be.
func (r *reader) report(m *member, err error) {
	if errors.Is(err, storage.ErrCorrupt) {
		r.set.o.Damaged(r.key, m.String(), err)
	}
}

// replace gives up the member that failed and goes on with another, or sets
// failed.
func (r *reader) replace(err error) {
	r.timer.Stop()
	m := r.now.member
	p, ok := r.now.ReadCloser.(archive.Prover)
	proven := !ok || p.Proven()
	r.now.close()
	r.now = nil
	if r.ctx.Err() != nil {
		r.failed = r.ctx.Err()
		return
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("read %q: %w: %s sent nothing for %v", r.key, storage.ErrUnavailable, m, r.set.o.Stall)
	}
	r.set.note(r.ctx, m, err)
	r.report(m, err)
	r.failures = append(r.failures, err)
	if !proven { // another copy's bytes would make no whole with those that went out
		r.failed = verdict("read", r.key, r.failures)
		return
	}
	if err := r.begin(storage.Range{Offset: r.at, Length: r.end - r.at}); err != nil {
		r.failed = err
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for {
		switch {
		case r.failed != nil:
			return 0, r.failed
		case r.at == r.end:
			return 0, io.EOF
		case len(r.now.head) > 0:
			n := copy(p, r.now.head)
			r.now.head = r.now.head[n:]
			r.at += int64(n)
			return n, nil
		}
		r.timer.Reset(r.set.o.Stall)
		n, err := r.now.Read(p[:min(int64(len(p)), r.end-r.at)])
		r.timer.Stop()
		r.at += int64(n)
		if n > 0 || len(p) == 0 {
			return n, nil // an error comes again
		}
		if err != nil {
			r.replace(r.explain(err))
		}
	}
}

// Next implements archive.Nexter.
func (r *reader) Next(most int64) ([]byte, error) {
	for {
		switch {
		case r.failed != nil:
			return nil, r.failed
		case r.at == r.end:
			return nil, io.EOF
		case len(r.now.head) > 0:
			given := r.now.head[:min(most, int64(len(r.now.head)))]
			r.now.head = r.now.head[len(given):]
			r.at += int64(len(given))
			return given, nil
		}
		r.timer.Reset(r.set.o.Stall)
		given, err := archive.Next(r.now.ReadCloser, min(most, r.end-r.at), &r.buf)
		r.timer.Stop()
		if err == nil {
			r.at += int64(len(given))
			return given, nil
		}
		r.replace(r.explain(err))
	}
}

func (r *reader) explain(err error) error {
	if errors.Is(err, io.EOF) {
		return short(r.key, r.end-r.at)
	}
	return err
}

// WriteTo implements io.WriterTo, by that of the member where it has one: a
// file is still handed to the kernel.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	out := &stallWriter{Writer: w, reader: r}
	begin := r.at
	for r.failed == nil && r.at < r.end {
		if len(r.now.head) > 0 {
			n, err := w.Write(r.now.head)
			r.now.head = r.now.head[n:]
			r.at += int64(n)
			if err != nil {
				return r.at - begin, err
			}
			continue
		}
		r.timer.Reset(r.set.o.Stall)
		n, err := io.Copy(out, r.now.ReadCloser)
		r.timer.Stop()
		r.at += n
		switch {
		case out.failed != nil:
			return r.at - begin, out.failed
		case err == nil && r.at < r.end:
			err = short(r.key, r.end-r.at)
		}
		if err != nil {
			r.replace(err)
		}
	}
	return r.at - begin, r.failed
}

// stallWriter counts only the time between writes as the member's.
type stallWriter struct {
	io.Writer
	reader *reader
	failed error
}

func (s *stallWriter) Write(p []byte) (int, error) {
	s.reader.timer.Stop()
	n, err := s.Writer.Write(p)
	s.failed = err
	s.reader.timer.Reset(s.reader.set.o.Stall)
	return n, err
}

// ReadFrom implements io.ReaderFrom for what the kernel can copy: a file does
// not stall as a connection does. Unless the disk says so (EIO), a failure is
// the writer's: a client that takes nothing is no fault of an archive.
func (s *stallWriter) ReadFrom(from io.Reader) (int64, error) {
	if w, ok := s.Writer.(io.ReaderFrom); ok && isFile(from) {
		s.reader.timer.Stop()
		n, err := w.ReadFrom(from)
		if !errors.Is(err, syscall.EIO) {
			s.failed = err
		}
		return n, err
	}
	return io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{from})
}

func isFile(r io.Reader) bool {
	if l, ok := r.(*io.LimitedReader); ok {
		r = l.R
	}
	_, ok := r.(*os.File)
	return ok
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if r.now != nil {
		r.timer.Stop()
		r.now.close()
		r.now = nil
	}
	r.failed = fmt.Errorf("read %q: %w", r.key, context.Canceled)
	return nil
}
