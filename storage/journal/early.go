package journal

import "sync"

const (
	// earlyAlign is the size of a page. What is written early begins and ends
	// with one: no page of a record that others wait for is written again, and
	// none of its own twice.
	earlyAlign = 4 << 10
	// maxGap bounds what a record may leave unused before its body.
	maxGap = 32 << 10
)

// early is what one Append has written of its body before it has a place:
// beyond the end of the active segment, where nothing is believed, behind room
// for what precedes a body. Commit writes that and moves the end. When another
// record comes first, or the segment ends, or the disk fails, it is as if
// nothing had been written: the body is still in memory, and is written with
// its record as any other.
type early struct {
	segment *segment
	start   int64 // where the body begins

	// mu is held while the body is written. Who holds Journal.mu may take it,
	// not the other way round.
	mu      sync.Mutex
	lost    bool  // nothing more may be written there
	written int64 // how much of the body was
}

// writeEarly writes what has come, if that is worth a call.
func (a *Append) writeEarly() {
	if a.early == nil && a.size >= a.j.o.EarlyBytes {
		a.early = a.j.beginEarly()
	}
	if a.early != nil {
		a.early.write(&a.buf, a.j.o.EarlyBytes)
	}
}

// beginEarly finds a place for the body of the only Append that is open: of
// several any might come next. It finds none while the disk is at work on
// others, who would wait for this one, too. It waits for nobody: while a segment
// begins, the lock is held for long, and the bytes can wait in memory.
func (j *Journal) beginEarly() *early {
	if j.appends.Load() != 1 || !j.mu.TryLock() {
		return nil
	}
	defer j.mu.Unlock()
	s := j.active
	if j.closed || s == nil || s.durable < s.end || s.full(j.o) {
		return nil
	}
	// What precedes the body is known last, and is about as long as that of the
	// last record.
	start := (s.end + j.lead + j.lead/8 + earlyAlign - 1) &^ (earlyAlign - 1)
	if start-s.end > maxGap {
		return nil
	}
	s.endEarly()
	s.allocate(start-s.end+int64(j.o.InlineBytes), j.o)
	s.early = &early{segment: s, start: start}
	return s.early
}

// write writes what b has beyond what was written, in whole pages, when it is
// as much as least. It returns no error: Commit will ask the disk again.
func (e *early) write(b *buffer, least int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	to := int64(b.size) &^ (earlyAlign - 1)
	n := to - e.written
	if e.lost || n < least {
		return
	}
	at, f := e.start+e.written, e.segment.file
	err := f.WriteVAt(b.vectors(nil, e.written, to), at)
	if err == nil {
		err = f.StartWriteback(at, n)
	}
	e.lost = err != nil
	e.written = to
}

// end waits for what is being written, and lets nothing more be. It returns how
// much of the body lies there: nothing when it cannot be relied on.
func (e *early) end() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost {
		return 0
	}
	e.lost = true
	return e.written
}

// endEarly ends what is being written early in the segment, whose end is about
// to move; mu is held. It tells by which early, if any, and how much.
func (s *segment) endEarly() (by *early, written int64) {
	if by = s.early; by != nil {
		s.early, written = nil, by.end()
	}
	return by, written
}

// place ends what is being written early in the segment, for a record comes;
// mu is held. It returns how much of the record's body e has written, and after
// what gap: nothing when it was not e, or what precedes the body, lead, does not
// fit before it.
func (s *segment) place(e *early, lead int64) (written int64, gap uint32) {
	by, written := s.endEarly()
	if by == nil || by != e || written == 0 || e.start-s.end < lead {
		return 0, 0
	}
	return written, uint32(e.start - s.end - lead)
}
