package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
)

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
	s.good = s.end
	if t.bad >= 0 {
		s.good = t.bad
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
