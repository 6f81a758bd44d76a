package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// recovery is what Open finds on the disk.
type recovery struct {
	j *Journal
	// large holds the sizes of the large files; those that a record refers
	// to are taken out.
	large map[uint64]int64
	// ends tells where a segment ended, from the header of the next.
	ends map[uint64]int64
	// damage is everything found that was acknowledged and is not there.
	damage []error
}

// recover reads all segments, cuts the torn tail, and deletes what is left
// over; with ReadOnly it only reads.
func (j *Journal) recover(ctx context.Context) error {
	files, err := j.fs.ReadDir(j.o.Dir)
	if err != nil {
		return err
	}
	r := &recovery{j: j, ends: map[uint64]int64{}}
	if r.large, err = j.listLarge(); err != nil {
		return err
	}
	numbers := segmentNumbers(files)
	if len(numbers) > 0 {
		j.highest = slices.Max(numbers)
		j.kept = j.highest
	}
	for _, n := range numbers {
		if err := r.load(n, files[filepath.Base(j.segmentPath(n))]); err != nil {
			return err
		}
	}
	for _, s := range j.segments {
		if err := r.scan(ctx, s); err != nil {
			return fmt.Errorf("segment %d: %w", s.number, err)
		}
		r.damage = append(r.damage, s.damage...)
	}
	return r.finish()
}

// finish decides what the damage means and deletes unneeded large files.
func (r *recovery) finish() error {
	if r.j.o.ReadOnly {
		return nil
	}
	if len(r.damage) == 0 {
		for id := range r.large {
			r.j.o.Logger.Info("journal deletes a large file that no entry refers to", "file", r.j.largePath(id))
			r.j.removeLarge(id)
		}
		return nil
	}
	err := errors.Join(r.damage...)
	if !r.j.o.AllowDamage {
		return fmt.Errorf("instances that had been acknowledged are damaged: %w", err)
	}
	// A large file may belong to an entry that can't be read: keep them all.
	r.j.o.Logger.Error("journal is damaged and serves what is left", "dir", r.j.o.Dir, "err", err)
	return nil
}

// listLarge returns the large files and their sizes.
func (j *Journal) listLarge() (map[uint64]int64, error) {
	files, err := j.fs.ReadDir(j.largeDir())
	if err != nil && !(j.o.ReadOnly && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	sizes := make(map[uint64]int64, len(files))
	for name, size := range files {
		if id, err := strconv.ParseUint(name, 16, 64); err == nil && len(name) == 16 {
			sizes[id] = size
		}
	}
	return sizes, nil
}

// segmentNumbers returns the numbers of the segment files, in order.
func segmentNumbers(files map[string]int64) []uint64 {
	var numbers []uint64
	for _, name := range slices.Sorted(maps.Keys(files)) {
		digits, ok := strings.CutSuffix(name, ".segment")
		if n, err := strconv.ParseUint(digits, 16, 64); ok && err == nil && len(digits) == 16 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// load reads a segment's header. A file that is no longer than a header and
// is not one was about to become a segment: it has no entries.
func (r *recovery) load(number uint64, size int64) error {
	s := &segment{number: number, end: segmentHeaderSize, durable: segmentHeaderSize, sealed: true}
	r.j.segments = append(r.j.segments, s)
	f, err := r.j.fs.Open(r.j.segmentPath(number))
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, segmentHeaderSize)
	err = readFull(f, b, 0)
	var h segmentHeader
	if err == nil {
		h, err = parseSegmentHeader(b)
	}
	if err == nil && (h.number != number || h.id != r.j.id) {
		err = fmt.Errorf("%w: it is segment %d of journal %s", storage.ErrCorrupt, h.number, h.id)
	}
	switch {
	case err == nil:
		s.salt, s.end = h.salt, size
		if h.previous != 0 {
			r.ends[h.previous] = h.previousEnd
		}
	case !errors.Is(err, storage.ErrCorrupt):
		return err
	case size > segmentHeaderSize:
		s.damage = append(s.damage, fmt.Errorf("journal segment %d: %w", number, err))
	}
	return nil
}

// scan finds out what a segment holds and where it ends.
func (r *recovery) scan(ctx context.Context, s *segment) error {
	if s.salt == 0 {
		return nil // no entries, or none that can be told
	}
	size := s.end
	end, known := r.ends[s.number]
	open := r.j.fs.Open
	if !r.j.o.ReadOnly && (!known || size > end) {
		open = r.j.fs.Reopen
	}
	f, err := open(r.j.segmentPath(s.number))
	if err != nil {
		return err
	}
	defer f.Close()
	t := &tail{f: f, bad: -1, recovery: r, segment: s, checkBodies: !known, buf: make([]byte, largeChunk)}
	if known {
		t.expected = end
	}
	if err := t.read(ctx, size); err != nil {
		return err
	}
	t.settle(size)
	if r.j.o.ReadOnly || known && s.torn == 0 {
		return nil
	}
	return s.cut(f, r.j.o)
}

// cut takes the torn tail off, and what was reserved after it.
func (s *segment) cut(f File, o Options) error {
	if s.torn > 0 {
		o.Logger.Warn("journal cuts a torn tail: it was never acknowledged",
			"segment", s.number, "offset", s.end, "bytes", s.torn)
		s.torn = 0
	}
	if err := f.Truncate(s.end); err != nil {
		return err
	}
	return f.Sync()
}

// tail reads one segment and finds where it ends.
//
// A crash may leave any part of what was not fsynced: a record may be broken
// and the ones after it whole. What tells a torn tail from damage is the
// durable offset in each record: a record vouches for everything before it,
// and so does the header of the next segment.
type tail struct {
	*recovery
	f           File
	segment     *segment
	checkBodies bool  // where it ends is not known
	expected    int64 // where it ends; 0: not known
	vouched     int64 // everything before was acknowledged
	bad         int64 // the first damage; -1: none
	why         error
	found       []found
	buf         []byte
}

// found is a whole record.
type found struct {
	offset, end, size int64
	large             uint64
}

func (t *tail) read(ctx context.Context, size int64) error {
	limit := size
	if t.expected > 0 {
		limit = min(limit, t.expected)
	}
	t.vouched = t.expected
	err := newScanner(t.f, t.segment.salt, limit).walk(ctx, segmentHeaderSize, func(rec *record) error {
		t.vouched = max(t.vouched, rec.durable)
		err := t.check(ctx, rec)
		if err == nil {
			t.found = append(t.found, found{offset: rec.offset, end: rec.end(), size: rec.bodyLen, large: rec.large})
			return nil
		}
		if !errors.Is(err, storage.ErrCorrupt) {
			return err
		}
		return t.broken(gap{at: rec.offset, err: err})
	}, t.broken)
	if err == nil && limit < t.expected {
		err = t.broken(gap{at: limit, err: fmt.Errorf("%w: it ends %d bytes early", storage.ErrCorrupt, t.expected-limit)})
	}
	return err
}

func (t *tail) broken(g gap) error {
	if t.bad < 0 {
		t.bad, t.why = g.at, g.err
	}
	return nil
}

// check looks at what the record's own checksum does not cover.
func (t *tail) check(ctx context.Context, rec *record) error {
	if rec.large == 0 {
		if !t.checkBodies {
			return nil
		}
		return checkBody(ctx, t.f, rec, t.buf)
	}
	size, ok := t.large[rec.large]
	switch {
	case !ok:
		return fmt.Errorf("%w: the large file %016x is not there", storage.ErrCorrupt, rec.large)
	case size != rec.bodyLen:
		return fmt.Errorf("%w: the large file %016x has %d bytes, not %d", storage.ErrCorrupt, rec.large, size, rec.bodyLen)
	}
	return nil
}

// settle decides where the segment ends and counts what it holds.
func (t *tail) settle(size int64) {
	s := t.segment
	s.end = cmp.Or(t.expected, size)
	switch {
	case t.bad >= 0 && t.bad < t.vouched:
		s.damage = append(s.damage, fmt.Errorf("journal segment %d, offset %d: %w", s.number, t.bad, t.why))
		s.end = min(t.vouched, size)
		if n := len(t.found); n > 0 {
			s.end = max(s.end, t.found[n-1].end)
		}
	case t.bad >= 0:
		s.end = t.bad
	}
	s.torn = max(size-s.end, 0)
	s.durable = s.end
	for _, rec := range t.found {
		if rec.offset >= s.end {
			break
		}
		s.add(rec.offset, rec.large, rec.size)
		delete(t.large, rec.large)
	}
}
