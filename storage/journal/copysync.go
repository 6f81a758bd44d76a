package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// Sync makes durable what was written of a segment, and returns up to where it
// is now, always between two records. After an error of the disk what was
// written since the last Sync is not believed, and the segment begins again.
func (c *Copy) Sync(number uint64) (int64, error) {
	c.mu.Lock()
	w := c.writers[number]
	c.mu.Unlock()
	if w == nil {
		return c.durable(number)
	}
	w.mu.Lock()
	checked, count, named := w.checked, len(w.found), w.named
	empty := w.written == 0
	w.mu.Unlock()
	if empty {
		return c.durable(number)
	}
	err := c.sync(w, named)
	w.mu.Lock()
	defer w.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.dropped { // what it wrote may be cut by now
		return c.durable(number)
	}
	if err != nil {
		w.failed = diskError("making the copy of a journal durable", err)
		return 0, w.failed
	}
	w.named = true
	c.count(w, checked, count)
	return checked, nil
}

// sync is the fsync, beside which more may be written.
func (c *Copy) sync(w *writer, named bool) error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if w.dropped {
		return nil
	}
	err := w.file.Sync()
	if err == nil && !named {
		err = c.j.fs.SyncDir(c.j.o.Dir)
	}
	return err
}

func (c *Copy) durable(number uint64) (int64, error) {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	if s := c.j.find(number); s != nil {
		return s.good, nil
	}
	return 0, fmt.Errorf("%w: segment %d", storage.ErrNotFound, number)
}

// count enters the first records that were found, which are durable now;
// w.mu is held.
func (c *Copy) count(w *writer, checked int64, records int) {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	for _, r := range w.found[:records] {
		w.s.add(r.offset, r.large, r.size)
	}
	w.found = w.found[records:]
	w.s.end, w.s.durable, w.s.good = checked, checked, checked
	c.j.stats.Fsyncs++
	c.j.stats.Entries += uint64(records)
}

// End tells that a segment ends at an offset, cuts what came from there on,
// and makes the segment durable as a whole. An end that is not between two
// records, or beyond what came, is storage.ErrInvalid.
func (c *Copy) End(ctx context.Context, number uint64, end int64) error {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if err := c.refuses(); err != nil {
		return err
	}
	if c.isWhole(number, end) {
		return nil
	}
	if !c.has(number) {
		return fmt.Errorf("%w: segment %d", storage.ErrNotFound, number)
	}
	w, err := c.writer(ctx, number, 0, nil)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	defer c.giveUp(number, w)
	if w.failed != nil {
		return w.failed
	}
	if end > w.checked || end < segmentHeaderSize {
		return fmt.Errorf("%w: segment %d ends at %d, and came up to %d", storage.ErrInvalid, number, end, w.checked)
	}
	return diskErrorOrOwn("ending the copy of a journal segment", c.finish(ctx, w, end))
}

// diskErrorOrOwn leaves an error of ours as it is.
func diskErrorOrOwn(doing string, err error) error {
	if errors.Is(err, storage.ErrCorrupt) {
		return err
	}
	return diskError(doing, err)
}

func (c *Copy) isWhole(number uint64, end int64) bool {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	s := c.j.find(number)
	return s != nil && s.whole && s.end == end
}

// finish cuts, syncs and marks a segment.
func (c *Copy) finish(ctx context.Context, w *writer, end int64) error {
	w.found = slices.DeleteFunc(w.found, func(r found) bool { return r.offset >= end })
	var err error
	if end < w.s.good {
		err = c.cut(ctx, w.s, w.file, end)
	} else {
		err = w.file.Truncate(end) // frees what was reserved, too
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		err = c.mark(w.s.number)
	}
	if err != nil {
		return err
	}
	c.count(w, end, len(w.found))
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	w.s.whole = true
	return nil
}

// mark makes the file that says that a segment is whole.
func (c *Copy) mark(number uint64) error {
	if err := c.j.fs.SyncDir(c.j.o.Dir); err != nil { // the segment's own name comes first
		return err
	}
	f, err := c.j.fs.Create(c.j.wholePath(number))
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return c.j.fs.SyncDir(c.j.o.Dir)
}
