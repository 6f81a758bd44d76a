package journal

import (
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
		if j.copied {
			_, j.segments[len(j.segments)-1].whole = files[filepath.Base(j.wholePath(n))]
		}
	}
	r.keptEnds(files)
	for _, s := range j.segments {
		if err := r.scan(ctx, s); err != nil {
			return fmt.Errorf("segment %d: %w", s.number, err)
		}
		r.damage = append(r.damage, s.damage...)
	}
	return r.finish()
}

// keptEnds reads where segments end whose successors were removed.
func (r *recovery) keptEnds(files map[string]int64) {
	for name := range files {
		of, found := strings.CutSuffix(name, ".end")
		number, end, both := strings.Cut(of, "-")
		n, err1 := strconv.ParseUint(number, 16, 64)
		at, err2 := strconv.ParseInt(end, 16, 64)
		if found && both && err1 == nil && err2 == nil {
			r.ends[n] = at
		}
	}
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
	if r.j.copied {
		r.j.o.Logger.Info("the copy of a journal is not whole", "dir", r.j.o.Dir, "err", err)
		return nil
	}
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
	if err != nil && (!j.o.ReadOnly || !errors.Is(err, fs.ErrNotExist)) {
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
	t := &tail{f: f, bad: -1, recovery: r, segment: s, checkBodies: !known || r.j.copied && !s.whole, buf: make([]byte, chunkSize)}
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
