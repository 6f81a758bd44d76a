package journal

import (
	"context"
	"fmt"
)

// Replay calls fn for every entry that was durable when it began and lies
// after a position, in order. The headers' checksums are checked, payloads
// are not read. It ends with fn's first error, or with one that wraps
// storage.ErrCorrupt at damage, unless Options.AllowDamage says to log and
// skip it. A segment that is removed meanwhile is left out.
func (j *Journal) Replay(ctx context.Context, after Position, fn func(Entry) error) error {
	for _, s := range j.snapshot() {
		if s.number < after.Segment {
			continue
		}
		from := int64(segmentHeaderSize)
		if s.number == after.Segment {
			from = max(from, after.Offset)
		}
		err := j.walkSegment(ctx, s, from, func(r *record) error {
			e := r.entry(s.number)
			if e.Position.Compare(after) <= 0 {
				return nil
			}
			return fn(e)
		}, func(g gap) error {
			err := fmt.Errorf("journal segment %d, offset %d: %w", s.number, g.at, g.err)
			if !j.o.AllowDamage {
				return err
			}
			j.o.Logger.Error("journal entries are damaged and left out", "segment", s.number,
				"offset", g.at, "bytes", g.next-g.at, "err", g.err)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// snapshot copies the segments as they are now.
func (j *Journal) snapshot() []segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]segment, 0, len(j.segments))
	for _, s := range j.segments {
		c := *s
		c.file = nil
		list = append(list, c)
	}
	return list
}

// walkSegment walks through a segment's durable records. When it was removed
// meanwhile there is nothing to walk through.
func (j *Journal) walkSegment(ctx context.Context, s segment, from int64, visit func(*record) error, skip func(gap) error) error {
	if s.durable <= from {
		return nil
	}
	f, err := j.fs.Open(j.segmentPath(s.number))
	if err != nil {
		if j.removed(s.number) {
			return nil
		}
		return diskError("opening a journal segment", err)
	}
	defer f.Close()
	return newScanner(f, s.salt, s.durable).walk(ctx, from, visit, skip)
}

func (j *Journal) removed(number uint64) bool {
	j.removing.Lock() // a Remove that is under way ends first
	defer j.removing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.find(number) == nil
}
