package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/esante-alsace/cigogne/storage"
)

// ErrTornTail is given to Verify's function by a journal that is open
// ReadOnly: bytes at the end of a segment are no whole entry. They were never
// acknowledged, and the next Open cuts them. It is no damage.
var ErrTornTail = errors.New("torn tail")

// Verify reads every durable entry, payload and all, and calls fn for each:
// with nil when it is what was written, else with an error that says in plain
// words what is wrong and where. It goes on after damage; Entry then has the
// position and what else is known. It ends with fn's first error, or when the
// disk or ctx fails. Entries that are appended or removed meanwhile are left
// out.
func (j *Journal) Verify(ctx context.Context, fn func(Entry, error) error) error {
	buf := make([]byte, chunkSize)
	for _, s := range j.snapshot() {
		if err := j.verifySegment(ctx, s, buf, fn); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) verifySegment(ctx context.Context, s segment, buf []byte, fn func(Entry, error) error) error {
	gaps := 0
	err := j.walkSegment(ctx, s, segmentHeaderSize, func(r *record) error {
		err := j.verifyBody(ctx, s.number, r, buf)
		if err != nil {
			if j.removed(s.number) {
				return nil
			}
			gaps++
			err = fmt.Errorf("journal entry %d:%d: %w", s.number, r.offset, err)
		}
		return fn(r.entry(s.number), err)
	}, func(g gap) error {
		gaps++
		at := Position{Segment: s.number, Offset: g.at}
		return fn(Entry{Position: at}, fmt.Errorf("journal segment %d: the %d bytes from offset %d on can't be read: %w",
			s.number, g.next-g.at, g.at, g.err))
	})
	if err != nil {
		return err
	}
	if gaps == 0 { // what Open found and the walk can't see: a bad segment header, a missing end
		for _, damage := range s.damage {
			if err := fn(Entry{Position: Position{Segment: s.number}}, damage); err != nil {
				return err
			}
		}
	}
	if s.torn > 0 {
		return fn(Entry{Position: Position{Segment: s.number, Offset: s.end}},
			fmt.Errorf("journal segment %d: %w: the last %d bytes, from offset %d on, were never acknowledged; the next start cuts them",
				s.number, ErrTornTail, s.torn, s.end))
	}
	return nil
}

// verifyBody reads the payload of an entry. A disk that can't read it is
// reported as damage, too.
func (j *Journal) verifyBody(ctx context.Context, number uint64, r *record, buf []byte) error {
	name := j.segmentPath(number)
	if r.large != 0 {
		name = j.largePath(r.large)
	}
	f, err := j.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: its file %s is not there", storage.ErrCorrupt, name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if r.large != 0 {
		if size, _, err := f.Stat(); err != nil || size != r.bodyLen {
			return fmt.Errorf("%w: its file %s has %d bytes, not %d (%w)", storage.ErrCorrupt, name, size, r.bodyLen, err)
		}
	}
	return checkBody(ctx, f, r, buf)
}
