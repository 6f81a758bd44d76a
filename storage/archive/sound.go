package archive

import (
	"context"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// Sum is what a range of an object adds up to, by CRC-32 (IEEE).
type Sum struct {
	storage.Range
	CRC32 uint32
}

// Comparer is an archive that gives away what lies there as it is, unless it
// is told what that must add up to. Others have checksums of their own.
type Comparer interface {
	// Compares tells whether it does that.
	Compares() bool
	// GetSound is Get of a range within that of sum. What does not match is
	// storage.ErrCorrupt, before a byte of it is given away; where that would
	// mean to read very much, before the last is, or of a part, not at all.
	GetSound(ctx context.Context, key string, r storage.Range, sum Sum) (io.ReadCloser, error)
}

// Compares tells whether an archive has to be told what is sound.
func Compares(a Archive) bool {
	c, ok := a.(Comparer)
	return ok && c.Compares()
}

// GetSound reads what is sound from any archive: by its own checksums, or by
// sum.
func GetSound(ctx context.Context, a Archive, key string, r storage.Range, sum Sum) (io.ReadCloser, error) {
	if c, ok := a.(Comparer); ok {
		return c.GetSound(ctx, key, r, sum)
	}
	return a.Get(ctx, key, r)
}

// Prover is a reader that may give away what it finds to be damaged later.
type Prover interface {
	// Proven tells whether all that it gave away is known to be sound, as far
	// as it was asked to know.
	Proven() bool
}
