package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
)

// Seal closes the active segment, when it has entries, so that it may be
// removed, and begins another. It returns when that is done, or when ctx
// ends, and then it is done all the same.
func (j *Journal) Seal(ctx context.Context) error {
	done := make(chan struct{})
	j.mu.Lock()
	if j.closed || j.o.ReadOnly {
		j.mu.Unlock()
		return ErrClosed
	}
	j.sealers = append(j.sealers, done)
	j.mu.Unlock()
	j.poke()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove deletes a sealed segment and its large files. Readers that are open
// go on working. Removing what is not there does nothing; a segment that is
// not sealed is storage.ErrInvalid. After a crash within it the next Open
// leaves either the whole segment or nothing of it; after an error it may be
// repeated.
func (j *Journal) Remove(ctx context.Context, number uint64) error {
	j.removing.Lock()
	defer j.removing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := j.removable(number)
	if err != nil || s == nil {
		return err
	}
	// The segment first: large files without it are deleted by Open, while
	// a segment without them would be damaged.
	if err := j.keepEnd(number); err != nil {
		return err
	}
	if err := j.unlink(j.segmentPath(number)); err != nil {
		return err
	}
	if err := j.unlink(j.endPath(s)); err != nil {
		return err
	}
	if err := j.fs.SyncDir(j.o.Dir); err != nil {
		return diskError("removing a journal segment", err)
	}
	for _, id := range s.large {
		if err := j.unlink(j.largePath(id)); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.segments = slices.DeleteFunc(j.segments, func(o *segment) bool { return o == s })
	j.changes()
	return diskError("closing a journal segment that was removed", j.descriptors.forget(number))
}

func (j *Journal) removable(number uint64) (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.o.ReadOnly {
		return nil, ErrClosed
	}
	s := j.find(number)
	if s == nil {
		return nil, nil
	}
	if !s.sealed {
		return nil, fmt.Errorf("%w: journal segment %d is not sealed", storage.ErrInvalid, number)
	}
	if j.copied || number < j.kept { // the numbers of a copy are the original's
		return s, nil
	}
	return s, j.keepNumber()
}

// keepNumber makes an empty file with a higher number, so that the highest
// number survives the removal of the segment that has it. It needs no block,
// and so works on a full disk. mu is held.
func (j *Journal) keepNumber() error {
	j.highest++
	f, err := j.fs.Create(j.segmentPath(j.highest))
	if err == nil {
		err = closeAfter(f, j.fs.SyncDir(j.o.Dir))
	}
	if err == nil {
		j.kept = j.highest
	}
	return diskError("keeping the journal's segment number", err)
}

// keepEnd writes down, as a file's name, where the segment before one that is
// being removed ends: only the header of that told it, and damage would look
// like a torn tail.
func (j *Journal) keepEnd(number uint64) error {
	if j.copied {
		return nil // it is told by the file that says it came whole
	}
	j.mu.Lock()
	name := ""
	for _, s := range j.segments {
		if s.number < number && !s.empty() {
			name = j.endPath(s)
		}
	}
	j.mu.Unlock()
	if name == "" {
		return nil
	}
	f, err := j.fs.Create(name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = closeAfter(f, j.fs.SyncDir(j.o.Dir))
	}
	return diskError("keeping the end of a journal segment", err)
}

func (j *Journal) unlink(name string) error {
	if err := j.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("removing a journal segment", err)
	}
	return nil
}
