package journal

import (
	"errors"
	"io/fs"
	"slices"
)

// preallocateStep is how much of the active segment is reserved ahead. It
// makes an fsync cheaper (DESIGN.md) and takes little from a disk that is
// nearly full.
const preallocateStep = 16 << 20

// segment is what the journal knows of a segment file; Journal.mu guards it.
type segment struct {
	number, salt uint64
	file         File  // open for writing while the segment is active
	end          int64 // where the next record goes, or the sealed end
	durable      int64 // up to where it is known to be durable
	reserved     int64 // up to where space was preallocated
	entries      int   // durable ones, as all below
	first, last  int64
	large        []uint64
	largeBytes   int64
	sealed       bool
	// Found when the journal was opened: what is damaged, and how many bytes
	// of a torn tail were left in place (ReadOnly).
	damage []error
	torn   int64
	// Of a copy: up to where it has no gap, and whether it is known to have
	// come whole and to be durable.
	good  int64
	whole bool
	// early is what is being written beyond end, or nil.
	early *early
}

func (s *segment) bytes() int64 { return s.end + s.largeBytes }

func (s *segment) describe() Segment {
	d := Segment{Number: s.number, Bytes: s.bytes(), Entries: s.entries, End: s.end, Sealed: s.sealed, Damaged: len(s.damage) > 0}
	if s.entries > 0 {
		d.First = Position{Segment: s.number, Offset: s.first}
		d.Last = Position{Segment: s.number, Offset: s.last}
	}
	return d
}

// empty tells whether nothing is lost without the segment.
func (s *segment) empty() bool { return s.entries == 0 && len(s.damage) == 0 }

// add counts a durable entry.
func (s *segment) add(offset int64, large uint64, largeBytes int64) {
	if s.entries == 0 {
		s.first = offset
	}
	s.entries++
	s.last = offset
	if large != 0 {
		s.large = append(s.large, large)
		s.largeBytes += largeBytes
	}
}

// allocate reserves space for the n bytes after the end, and more.
func (s *segment) allocate(n int64, o Options) {
	if s.end+n > s.reserved {
		step := max(n, min(preallocateStep, o.SegmentBytes))
		_ = s.file.Preallocate(s.end, step) // a hint
		s.reserved = s.end + step
	}
}

// write puts a record at the end, or leaves the end as it was. It consists of
// what precedes its body, and of the body, some of which may be there already.
func (s *segment) write(r *record, before [][]byte, body *buffer, written int64, o Options) error {
	s.allocate(r.length(), o)
	if err := s.put(r, before, body, written); err != nil {
		// Leave the tail clean. Should this fail too, the salt and the
		// offset in each record still keep the remains from being read.
		if terr := s.file.Truncate(s.end); terr != nil {
			o.Logger.Warn("journal could not cut a failed write", "segment", s.number, "offset", s.end, "err", terr)
		}
		s.reserved = s.end
		return err
	}
	s.end = r.end()
	return nil
}

func (s *segment) put(r *record, before [][]byte, body *buffer, written int64) error {
	var zeros [recordAlign]byte
	padding := zeros[:r.length()-r.unpadded()]
	if written == 0 {
		return s.file.WriteVAt(body.vectors(before, 0, int64(body.size), padding), s.end)
	}
	if err := s.file.WriteVAt(before, s.end); err != nil {
		return err
	}
	return s.file.WriteVAt(body.vectors(nil, written, int64(body.size), padding), r.body().Offset+written)
}

// seal closes the file; end is where it ends from now on.
func (s *segment) seal(end int64, o Options) {
	s.endEarly()
	s.end, s.durable, s.sealed = end, end, true
	// Frees what was reserved, and after a failed fsync cuts what was lost.
	if err := errors.Join(s.file.Truncate(end), s.file.Close()); err != nil {
		o.Logger.Warn("journal could not close a segment in order", "segment", s.number, "err", err)
	}
	s.file = nil
}

// activate makes sure that there is an active segment; mu is held.
func (j *Journal) activate() error {
	if j.active != nil {
		return nil
	}
	s, err := j.createSegment()
	if err != nil {
		return diskError("beginning a journal segment", err)
	}
	j.segments = append(slices.DeleteFunc(j.segments, j.dropEmpty), s)
	j.active = s
	j.changes()
	return nil
}

// dropEmpty deletes a segment that has nothing in it. It is only called when
// one with a higher number exists: numbers are never used twice.
func (j *Journal) dropEmpty(s *segment) bool {
	if !s.empty() {
		return false
	}
	err := j.fs.Remove(j.segmentPath(s.number))
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// createSegment makes the next segment's file, durable with its header.
func (j *Journal) createSegment() (*segment, error) {
	j.highest++
	h := segmentHeader{number: j.highest, salt: random(), id: j.id}
	for _, s := range slices.Backward(j.segments) {
		if !s.empty() {
			h.previous, h.previousEnd = s.number, s.end
			break
		}
	}
	name := j.segmentPath(h.number)
	f, err := j.fs.Create(name)
	if err != nil {
		return nil, err
	}
	err = f.WriteVAt([][]byte{h.encode()}, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.fs.SyncDir(j.o.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), j.fs.Remove(name))
	}
	j.kept = h.number
	return &segment{
		number: h.number, salt: h.salt, file: f,
		end: segmentHeaderSize, durable: segmentHeaderSize, reserved: segmentHeaderSize,
	}, nil
}

// full tells whether a new segment should begin.
func (s *segment) full(o Options) bool { return s.bytes() >= o.SegmentBytes }

func (r *record) entry(segment uint64) Entry {
	return Entry{
		Position: Position{Segment: segment, Offset: r.offset},
		Header:   r.header, Size: r.size(),
	}
}
