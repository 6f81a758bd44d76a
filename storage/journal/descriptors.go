package journal

import (
	"errors"
	"slices"
	"sync"
)

// idleMost is how many files of segments stay open for those who read next.
const idleMost = 32

// descriptors keeps files of segments open that were read. A study is read
// entry by entry; to open and close the segment for each of them took longer
// than all else but sending it.
type descriptors struct {
	mu     sync.Mutex
	idle   []descriptor   // the last that was given back is the last
	lent   map[uint64]int // how many of a segment are in use or being opened
	gone   map[uint64]bool
	closed bool
}

type descriptor struct {
	segment uint64
	file    File
}

// lend returns a file of the segment that nobody uses, or nil, and then the
// caller opens one. Either way it must be given back, as nil when that failed.
func (d *descriptors) lend(segment uint64) File {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lent == nil {
		d.lent, d.gone = map[uint64]int{}, map[uint64]bool{}
	}
	d.lent[segment]++
	return d.take(segment)
}

// take takes the newest idle file of a segment; mu is held.
func (d *descriptors) take(segment uint64) File {
	for i, one := range slices.Backward(d.idle) {
		if one.segment == segment {
			d.idle = slices.Delete(d.idle, i, i+1)
			return one.file
		}
	}
	return nil
}

// give takes back what was lent. A file of a segment that was removed is
// closed, lest it keeps the space.
func (d *descriptors) give(segment uint64, f File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := d.gone[segment]
	if d.lent[segment]--; d.lent[segment] == 0 {
		delete(d.lent, segment)
		delete(d.gone, segment)
	}
	if f == nil {
		return nil
	}
	if gone || d.closed {
		return f.Close()
	}
	if d.idle = append(d.idle, descriptor{segment, f}); len(d.idle) <= idleMost {
		return nil
	}
	oldest := d.idle[0].file
	d.idle = slices.Delete(d.idle, 0, 1)
	return oldest.Close()
}

// forget closes what is idle of a segment that was removed; what is lent of it
// is closed when it comes back.
func (d *descriptors) forget(segment uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lent[segment] > 0 {
		d.gone[segment] = true
	}
	var err error
	for f := d.take(segment); f != nil; f = d.take(segment) {
		err = errors.Join(err, f.Close())
	}
	return err
}

// close closes all that are idle, and from now on what is given back.
func (d *descriptors) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var err error
	for _, one := range d.idle {
		err = errors.Join(err, one.file.Close())
	}
	d.idle = nil
	return err
}

// lentFile is a file of a segment that is given back by Close, which must be
// called once.
type lentFile struct {
	File
	segment uint64
	from    *descriptors
}

// Close implements io.Closer.
func (f *lentFile) Close() error { return f.from.give(f.segment, f.File) }

// discard is Close for a file that somebody may still be reading from.
func (f *lentFile) discard() error {
	return errors.Join(f.File.Close(), f.from.give(f.segment, nil))
}

// openSegment opens a segment for reading, or a file of it that is open.
func (j *Journal) openSegment(number uint64) (File, error) {
	if j.copied { // what is cut or removed there may come again
		return j.fs.Open(j.segmentPath(number))
	}
	f := j.descriptors.lend(number)
	if f == nil {
		var err error
		if f, err = j.fs.Open(j.segmentPath(number)); err != nil {
			return nil, errors.Join(err, j.descriptors.give(number, nil))
		}
	}
	return &lentFile{f, number, &j.descriptors}, nil
}
