package journal

import (
	"cmp"
	"strconv"
	"time"
)

// Position is the place of an entry in one journal. Positions are ordered as
// the entries were appended and are never used twice, also not after a
// segment was removed. The zero Position lies before every entry.
type Position struct {
	Segment uint64
	Offset  int64
}

// Compare returns -1, 0 or +1 as p lies before, at or after q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Segment, q.Segment), cmp.Compare(p.Offset, q.Offset))
}

// String is the position as segment:offset, for logs and error texts.
func (p Position) String() string {
	return strconv.FormatUint(p.Segment, 10) + ":" + strconv.FormatInt(p.Offset, 10) // made of each that is read
}

// Entry is one durable record, without its payload.
type Entry struct {
	Position Position
	// Header holds the bytes that were given to Commit.
	Header []byte
	// Size is the length of the payload in bytes, prefix included.
	Size int64
	// Value is what was given to Commit; nil for an entry that was read back.
	Value any
}

// Segment describes a segment of the journal.
type Segment struct {
	Number uint64
	// Bytes is what Remove would release, large files included.
	Bytes int64
	// Entries counts the durable entries, the first and last of which lie at
	// First and Last; both are zero when there is none.
	Entries     int
	First, Last Position
	// End is the offset at which what is written of it ends.
	End int64
	// Sealed segments take no more entries and may be removed.
	Sealed bool
	// Damaged tells that Open found damage in it: see Options.AllowDamage.
	Damaged bool
}

// Stats are the journal's counters since Open, for metrics.
type Stats struct {
	Bytes    int64 // on disk now, large files included
	Segments int
	Pending  int    // entries written but not yet durable
	Entries  uint64 // entries made durable
	Fsyncs   uint64 // group fsyncs of segments
	// FsyncTime is the sum over Fsyncs; Options.Synced sees each one.
	FsyncTime time.Duration
	// Poisoned counts segments given up because a fsync failed.
	Poisoned uint64
}
