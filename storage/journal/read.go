package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// headerGuess is read at once in the hope that header and prefix are in it.
const headerGuess = 8 << 10

// Header returns the entry at a position. Errors wrap storage.ErrNotFound
// when no durable entry lies there, and storage.ErrCorrupt.
func (j *Journal) Header(ctx context.Context, at Position) (Entry, error) {
	f, w, err := j.reach(ctx, at)
	if err != nil {
		return Entry{}, err
	}
	r, err := j.record(f, at, w)
	if err != nil {
		return Entry{}, closeAfter(f, err)
	}
	return r.entry(at.Segment), f.Close()
}

// Read returns a range of the payload of the entry at a position. The reader
// has a file descriptor of its own, must be closed, and goes on working when
// the segment is removed. It implements io.WriterTo: io.Copy to a connection
// or an http.ResponseWriter lets the kernel send the file. The payload is held
// against its checksum before its first byte is given away, unless it was a
// moment ago (sound.Comparer.Open); one of more than sound.AtOnce before its
// last is, and a part of one not at all. Errors wrap
// storage.ErrNotFound when no durable entry lies there, storage.ErrInvalid
// when the range is not within its Size, and storage.ErrCorrupt.
func (j *Journal) Read(ctx context.Context, at Position, part storage.Range) (io.ReadCloser, error) {
	f, w, err := j.reach(ctx, at)
	if err != nil {
		return nil, err
	}
	_, modified, err := f.Stat()
	if err != nil {
		return nil, closeAfter(f, lookingAt(at, err))
	}
	r, err := j.recently(f, at, w, modified)
	if err != nil {
		return nil, closeAfter(f, err)
	}
	if !part.Within(r.size()) {
		return nil, closeAfter(f, fmt.Errorf("%w: bytes %d+%d of an entry of %d", storage.ErrInvalid, part.Offset, part.Length, r.size()))
	}
	if r.large != 0 {
		if err := f.Close(); err != nil {
			return nil, err
		}
		if f, err = j.fs.Open(j.largePath(r.large)); err != nil {
			return nil, j.lost(at, err)
		}
		if _, modified, err = f.Stat(); err != nil {
			return nil, closeAfter(f, lookingAt(at, err))
		}
	}
	return j.newReader(ctx, f, at, r, part, modified)
}

func lookingAt(at Position, err error) error {
	return diskError("looking at journal entry "+at.String(), err)
}

// within is what of a segment may be read.
type within struct {
	salt    uint64
	durable int64
}

// reach opens the segment of a position at which a durable entry may begin.
func (j *Journal) reach(ctx context.Context, at Position) (File, within, error) {
	if err := ctx.Err(); err != nil {
		return nil, within{}, err
	}
	j.mu.Lock()
	s := j.find(at.Segment)
	var w within
	if s != nil {
		w = within{s.salt, s.durable}
	}
	j.mu.Unlock()
	if s == nil || at.Offset < segmentHeaderSize || at.Offset >= w.durable || at.Offset%recordAlign != 0 {
		return nil, w, fmt.Errorf("%w: no entry at %s of the journal", storage.ErrNotFound, at)
	}
	f, err := j.openSegment(at.Segment)
	if err != nil {
		return nil, w, j.lost(at, err)
	}
	return f, w, nil
}

// recently is record, out of memory when it was read a moment ago, and then
// without its header.
func (j *Journal) recently(f File, at Position, w within, modified time.Time) (*record, error) {
	if j.copied { // what is cut there may be written anew
		return j.record(f, at, w)
	}
	if r := j.recent.get(at, modified); r != nil {
		return r, nil
	}
	r, err := j.record(f, at, w)
	if err == nil {
		j.recent.put(at, modified, r)
	}
	return r, err
}

// record reads the record at a position.
func (j *Journal) record(f File, at Position, w within) (*record, error) {
	guess, ok := j.guesses.Get().(*[headerGuess]byte)
	if !ok {
		guess = new([headerGuess]byte)
	}
	r, err := readRecord(f, w.salt, at.Offset, w.durable, guess[:])
	j.guesses.Put(guess)
	if err != nil {
		return nil, fmt.Errorf("journal entry %s: %w", at, err)
	}
	return &r, nil
}

// lost explains why a file could not be opened: it was removed just now, or
// something is wrong.
func (j *Journal) lost(at Position, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: journal entry %s was removed: %w", storage.ErrNotFound, at, err)
	}
	return diskError("opening journal entry "+at.String(), err)
}

// reader yields a part of the prefix and then a part of the body.
type reader struct {
	file   File
	prefix []byte
	body   io.Reader
	left   int64 // of the body
	gate   *sound.Gate
	// using and closed keep a file that is read from while it is closed from
	// being another reader's.
	using, closed atomic.Bool
}

func (j *Journal) newReader(ctx context.Context, f File, at Position, r *record, part storage.Range, modified time.Time) (*reader, error) {
	prefixLen := int64(r.prefixLen)
	from, to := min(part.Offset, prefixLen), min(part.End(), prefixLen)
	body := r.body().Sub(storage.Range{
		Offset: part.Offset - from,
		Length: part.Length - (to - from),
	})
	file := sound.File{ReaderAt: f, Name: "journal entry " + at.String(), Modified: modified}
	gate, err := j.comparer.Open(ctx, file, body, sound.Sum{Range: r.body(), Table: castagnoli(), CRC: r.bodyCRC})
	if err != nil {
		if errors.Is(err, storage.ErrCorrupt) { // whoever reads may have another copy, and say nothing
			j.o.Logger.Error("the journal is damaged: a payload does not match its checksum", "segment", at.Segment, "offset", at.Offset, "err", err)
		}
		return nil, closeAfter(f, err)
	}
	src, err := f.Stream(body)
	if err != nil {
		return nil, closeAfter(f, err)
	}
	return &reader{file: f, prefix: r.prefix[from:to], body: src, left: body.Length, gate: gate}, nil
}

// use begins to use the file, or tells that it is closed.
func (r *reader) use() error {
	r.using.Store(true)
	if r.closed.Load() {
		return fmt.Errorf("read the journal: %w", fs.ErrClosed)
	}
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.use(); err != nil {
		return 0, err
	}
	defer r.using.Store(false)
	if len(r.prefix) > 0 {
		n := copy(p, r.prefix)
		r.prefix = r.prefix[n:]
		return n, nil
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	most, err := r.gate.Next()
	if err != nil {
		return 0, err
	}
	n, err := r.body.Read(p[:min(int64(len(p)), most)])
	r.left -= int64(n)
	r.gate.Gave(int64(n))
	if errors.Is(err, io.EOF) && r.left > 0 {
		err = r.short()
	}
	return n, err
}

// WriteTo implements io.WriterTo.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	if err := r.use(); err != nil {
		return 0, err
	}
	defer r.using.Store(false)
	var total int64
	if len(r.prefix) > 0 {
		n, err := w.Write(r.prefix)
		r.prefix = r.prefix[n:]
		total = int64(n)
		if err != nil {
			return total, err
		}
	}
	n, err := r.gate.Give(&r.left, func(n int64) (int64, error) { return io.Copy(w, r.next(n)) }, r.short)
	return total + n, err
}

// next is the next bytes of the body, as the kernel takes them: a file with a
// limit, not one with two.
func (r *reader) next(n int64) *io.LimitedReader {
	if l, ok := r.body.(*io.LimitedReader); ok {
		return &io.LimitedReader{R: l.R, N: n}
	}
	return &io.LimitedReader{R: r.body, N: n}
}

func (r *reader) short() error {
	return fmt.Errorf("%w: the journal's file ends %d bytes early", storage.ErrCorrupt, r.left)
}

func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if lent, ok := r.file.(*lentFile); ok && r.using.Load() {
		return lent.discard()
	}
	return r.file.Close()
}
