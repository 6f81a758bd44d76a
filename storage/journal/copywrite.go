package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
)

// writer is a segment of a copy that is being written.
type writer struct {
	s    *segment
	file File

	mu      sync.Mutex // of what follows
	written int64      // up to where bytes came
	checked int64      // up to where they are whole and sound records
	found   []found    // records that are not durable yet
	named   bool       // the folder has the file's name for good
	failed  error      // of a Sync: what was written since the last is not believed
	buf     []byte     // what is checked is read into it

	syncing sync.Mutex // held during Sync, so that the file stays open
	dropped bool       // set with Copy.mu and syncing held
}

// Write takes bytes of a segment: from offset 0 on when the copy has none of
// it, and then what follows on what came last. After an error, and after
// GiveUp, a segment begins again at its Extent's End, and what lies behind is
// cut. Records are checked as they come whole. Errors wrap storage.ErrInvalid
// when the bytes belong elsewhere, storage.ErrCorrupt when they are no sound
// records or a large file is not there, ErrRetired, ErrClosed, storage.ErrFull
// or storage.ErrUnavailable.
func (c *Copy) Write(ctx context.Context, number uint64, offset int64, b []byte) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	w, err := c.writer(ctx, number, offset, b)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err = w.failed; offset != w.written {
		err = fmt.Errorf("%w: bytes at offset %d of segment %d, which goes on at %d", storage.ErrInvalid, offset, number, w.written)
	}
	if err == nil {
		err = w.put(offset, b)
	}
	if err == nil {
		err = w.check(ctx, c)
	}
	if err != nil {
		c.giveUp(number, w)
	}
	return err
}

// GiveUp is called when nothing more comes of a segment for now: what was not
// made durable of it is not believed.
func (c *Copy) GiveUp(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.writers[number]; w != nil {
		c.drop(number, w)
	}
}

// writer returns the writer of a segment, and makes it when bytes come at the
// offset at which the segment begins or goes on.
func (c *Copy) writer(ctx context.Context, number uint64, offset int64, b []byte) (*writer, error) {
	if err := c.refuses(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.writers[number]
	if w != nil {
		return w, nil
	}
	var err error
	if c.has(number) {
		w, err = c.resume(ctx, number)
	} else {
		w, err = c.begin(number, offset, b)
	}
	if err == nil {
		c.writers[number] = w
	}
	return w, err
}

func (c *Copy) has(number uint64) bool {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	s := c.j.find(number)
	return s != nil && s.salt != 0
}

// begin makes the file of a segment that is new.
func (c *Copy) begin(number uint64, offset int64, b []byte) (*writer, error) {
	if offset != 0 {
		return nil, fmt.Errorf("%w: segment %d begins at offset 0, not %d", storage.ErrInvalid, number, offset)
	}
	h, err := parseSegmentHeader(b)
	if err != nil {
		return nil, err
	}
	if h.number != number || h.id != c.j.id || h.salt == 0 {
		return nil, fmt.Errorf("%w: it is segment %d of journal %s", storage.ErrInvalid, h.number, h.id)
	}
	if err := c.clear(number); err != nil {
		return nil, diskError("copying a journal segment", err)
	}
	f, err := c.j.fs.Create(c.j.segmentPath(number))
	if err != nil {
		return nil, diskError("copying a journal segment", err)
	}
	s := &segment{number: number, salt: h.salt, end: segmentHeaderSize, durable: segmentHeaderSize, sealed: true}
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	c.j.segments = slices.DeleteFunc(c.j.segments, func(o *segment) bool { return o.number == number })
	i, _ := slices.BinarySearchFunc(c.j.segments, number, func(o *segment, n uint64) int {
		return Position{Segment: o.number}.Compare(Position{Segment: n})
	})
	c.j.segments = slices.Insert(c.j.segments, i, s)
	return &writer{s: s, file: f, checked: segmentHeaderSize}, nil
}

// clear makes room for a segment. A file that is there is no segment: a crash
// left it while it was made. A mark that an earlier one left would vouch for
// the new one, so it is gone for good first.
func (c *Copy) clear(number uint64) error {
	if err := c.j.unlink(c.j.segmentPath(number)); err != nil {
		return err
	}
	err := c.j.fs.Remove(c.j.wholePath(number))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.j.fs.SyncDir(c.j.o.Dir)
}

// resume goes on with a segment where it has no gap.
func (c *Copy) resume(ctx context.Context, number uint64) (*writer, error) {
	c.j.mu.Lock()
	s := c.j.find(number)
	good, whole := s.good, s.whole
	c.j.mu.Unlock()
	if whole {
		return nil, fmt.Errorf("%w: segment %d is whole", storage.ErrInvalid, number)
	}
	if good < segmentHeaderSize {
		good = 0 // not even the header was durable
	}
	f, err := c.j.fs.Reopen(c.j.segmentPath(number))
	if err != nil {
		return nil, diskError("copying a journal segment", err)
	}
	if err := c.cut(ctx, s, f, good); err != nil {
		return nil, closeAfter(f, diskError("cutting the copy of a journal", err))
	}
	return &writer{s: s, file: f, written: good, checked: max(good, segmentHeaderSize)}, nil
}

// cut shortens a segment and counts anew what is in it.
func (c *Copy) cut(ctx context.Context, s *segment, f File, end int64) error {
	if err := f.Truncate(end); err != nil {
		return err
	}
	fresh := segment{}
	// What is counted must fit the file: it is done or it fails.
	err := newScanner(f, s.salt, end).walk(context.WithoutCancel(ctx), segmentHeaderSize, func(r *record) error {
		fresh.add(r.offset, r.large, r.bodyLen)
		return nil
	}, func(g gap) error { return g.err })
	if err != nil {
		return err
	}
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	s.end = max(end, segmentHeaderSize)
	s.durable, s.good, s.damage, s.reserved = s.end, end, nil, end
	s.entries, s.first, s.last, s.large, s.largeBytes = fresh.entries, fresh.first, fresh.last, fresh.large, fresh.largeBytes
	return nil
}

// giveUp drops a writer: the segment begins again at its Extent's End.
func (c *Copy) giveUp(number uint64, w *writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(number, w)
}

// drop is giveUp; mu is held.
func (c *Copy) drop(number uint64, w *writer) {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if w.dropped {
		return
	}
	w.dropped = true
	if err := w.file.Close(); err != nil {
		c.j.o.Logger.Warn("the copy of a journal segment could not be closed in order", "segment", number, "err", err)
	}
	delete(c.writers, number)
}

// put writes bytes where they belong.
func (w *writer) put(offset int64, b []byte) error {
	if w.written+int64(len(b)) > w.s.reserved {
		step := max(int64(len(b)), preallocateStep)
		_ = w.file.Preallocate(offset, step) // a hint
		w.s.reserved = offset + step
	}
	if err := w.file.WriteVAt([][]byte{b}, offset); err != nil {
		return diskError("writing to the copy of a journal", err)
	}
	w.written += int64(len(b))
	return nil
}

// check looks at the records that are whole by now.
func (w *writer) check(ctx context.Context, c *Copy) error {
	if w.buf == nil {
		w.buf = make([]byte, headerGuess+chunkSize)
	}
	buf, body := w.buf[:headerGuess], w.buf[headerGuess:]
	for w.written-w.checked >= recordHeaderSize {
		if err := readFull(w.file, buf[:recordHeaderSize], w.checked); err != nil {
			return err
		}
		r, err := parseRecord(buf[:recordHeaderSize], w.s.salt, w.checked, maxSegment)
		if err == nil && r.end() > w.written {
			return nil
		}
		if err == nil {
			r, err = readRecord(w.file, w.s.salt, w.checked, w.written, buf)
		}
		if err == nil {
			err = w.checkBody(ctx, c, &r, body)
		}
		if err != nil {
			return fmt.Errorf("copy of journal segment %d, offset %d: %w", w.s.number, w.checked, err)
		}
		w.found = append(w.found, found{offset: r.offset, end: r.end(), size: r.bodyLen, large: r.large})
		w.checked = r.end()
	}
	return nil
}

func (w *writer) checkBody(ctx context.Context, c *Copy, r *record, buf []byte) error {
	if r.large == 0 {
		return checkBody(ctx, w.file, r, buf)
	}
	came, ok := c.take(r.large) // first: from here on it stays, or is gone already
	f, err := c.j.fs.Open(c.j.largePath(r.large))
	if err != nil {
		return fmt.Errorf("%w: the large file %016x is not there: %w", storage.ErrCorrupt, r.large, err)
	}
	defer f.Close()
	size, _, err := f.Stat()
	if err == nil && size != r.bodyLen {
		err = fmt.Errorf("%w: the large file %016x has %d bytes, not %d", storage.ErrCorrupt, r.large, size, r.bodyLen)
	}
	if err == nil && (!ok || came.crc != r.bodyCRC) { // to read gigabytes again would hold up what comes behind
		err = checkBody(ctx, f, r, buf)
	}
	return err
}
